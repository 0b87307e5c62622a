#!/bin/sh
# Checks everything in alerts/ with the programs that will run it. Called by `make test`; no arguments.
#
# It fails, and does not skip, when promtool (Debian: prometheus >= 2.42) is missing. amtool (Debian: prometheus-alertmanager) is
# optional: without it the last line says that the example routing was NOT checked; BIJLI_REQUIRE_AMTOOL=1 makes that a failure.
#
# The mutants at the end prove that the tests can fail: each breaks one rule in a copy, and the tests must notice.
set -eu
cd "$(dirname "$0")"

fail() { echo "alerts/check.sh: $*" >&2; exit 1; }

command -v promtool >/dev/null || fail "promtool is not installed (apt-get install prometheus)"

promtool check rules ./*.rules.yml
promtool test rules tests/*_test.yml
promtool check config --syntax-only ../dashboards/prometheus.example.yml

for alert in $(sed -n 's/^ *- alert: //p' ./*.rules.yml | sort -u); do
    [ -s "../docs/runbooks/$alert.md" ] || fail "$alert has no docs/runbooks/$alert.md"
    grep -q "alertname: $alert\$\|alertname: $alert," tests/*_test.yml || fail "$alert has no test"
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mutants=0
# mutant WHAT SED-SCRIPT [TESTS]: the tests (bijli) must fail once the rules are changed by the script.
mutant() {
    mkdir -p "$scratch/tests"
    cp tests/*_test.yml "$scratch/tests/"
    sed "$2" bijli.rules.yml >"$scratch/bijli.rules.yml"
    cmp -s bijli.rules.yml "$scratch/bijli.rules.yml" && fail "mutant changes nothing: $1"
    promtool check rules "$scratch/bijli.rules.yml" >/dev/null || fail "mutant is not even valid: $1"
    if promtool test rules "$scratch/tests/${3:-bijli}_test.yml" >/dev/null 2>&1; then fail "tests do not notice: $1"; fi
    mutants=$((mutants + 1))
}
mutant "the dead man is off"                        's/expr: vector(1)/expr: vector(1) > 1/'
mutant "HubBlind pages at 80%"                      's/) < 0\.8/) <= 0.8/'
mutant "HubBlind waits 9 minutes"                   's/for: 10m/for: 9m/'
mutant "HubBlind does not keep firing"              '/alert: BijliHubBlind/,/labels:/ s/keep_firing_for: 10m/keep_firing_for: 30s/'
mutant "HubBlind forgets an absent hub in an hour"  's/max_over_time(bijli_collector_nodes_expected\[7d\])/max_over_time(bijli_collector_nodes_expected[1h])/'
mutant "HubBlind misses a hub that expects nobody"  's/(max by (hub) (bijli_collector_nodes_expected) > 0)/max by (hub) (bijli_collector_nodes_expected)/'
mutant "HubBlind misses that nothing is scraped"    's/"hub", "none"/"hub", "nothing"/'
mutant "HubBlind sums a standby collector in"       's/max by (hub) (bijli_collector_nodes_\([a-z]*\))/sum by (hub) (bijli_collector_nodes_\1)/'
mutant "MeterSilent waits longer"                   's/) > 300/) > 600/'
mutant "MeterSilent is quicker than a slow meter"   's/) > 300/) > 60/'
mutant "MeterSilent misses a meter never read"      's/(bijli_meter_info) \* Inf/(bijli_meter_info) * 0/'
mutant "LedgerImbalance sees a surplus only"        's/!= 0/> 0/'
mutant "LedgerImbalance forgets a single scrape"    's/\[15m\]/[30s]/g'
mutant "LedgerImbalance does not keep firing"       's/keep_firing_for: 1h/keep_firing_for: 1m/'
mutant "GpuLost ignores whether the node is up"     's/and on (hub, node) max by (hub, node) (bijli_node_up) == 1/and on (hub, node) max by (hub, node) (bijli_node_up) >= 0/'
mutant "GpuLost forgets a GPU that left the bus"    's/\[6h:10m\]/[20m:10m]/'
mutant "GpuLost waits two minutes"                  '/alert: BijliGpuLost/,/labels:/ s/for: 5m/for: 2m/'
mutant "SpoolFilling counts what is only kept"      's/bijli_agent_spool_waiting_bytes/bijli_agent_spool_bytes/'
mutant "SpoolFilling fires at 70%"                  's/> 0\.7/>= 0.7/'
mutant "SpoolFilling waits two minutes"             '/alert: BijliSpoolFilling/,/labels:/ s/for: 5m/for: 2m/'
mutant "SpoolFilling does not keep firing"          '/alert: BijliSpoolFilling/,/labels:/ s/keep_firing_for: 10m/keep_firing_for: 30s/'
mutant "CertificateEnds fires without TLS"          's/bijli_agent_certificate_left_seconds != 0/bijli_agent_certificate_left_seconds/'
mutant "CertificateEnds forgets an ended one"       's/bijli_collector_certificate_left_seconds != 0/bijli_collector_certificate_left_seconds > 0/'
mutant "CertificateEnds fires at 7 days"            's/) < 604800/) <= 604800/'
mutant "CertificateEnds believes the better of two" 's/min by (hub, node) (/max by (hub, node) (/'
mutant "LedgerDiffers does not wait"                '/alert: BijliLedgerDiffers/,/labels:/ s/for: 2m/for: 0s/' ledger_log
mutant "LedgerDiffers does not keep firing"         '/alert: BijliLedgerDiffers/,/labels:/ s/keep_firing_for: 1h/keep_firing_for: 1m/' ledger_log
mutant "LedgerDiffers never fires"                  's/(bijli_collector_ledger_differs) > 0/(bijli_collector_ledger_differs) > 1/' ledger_log
mutant "FeedLate fires at 20 minutes"               's/feed_lag_seconds) > 1800/feed_lag_seconds) > 1200/' ledger_log
mutant "FeedLate does not wait"                     '/alert: BijliFeedLate/,/labels:/ s/for: 10m/for: 1m/' ledger_log
mutant "FeedLate keeps firing for long"             '/alert: BijliFeedLate/,/labels:/ s/keep_firing_for: 10m/keep_firing_for: 5h/' ledger_log
mutant "SnapshotFails counts for ever"              's/increase(bijli_collector_snapshot_failures_total\[6h\])/bijli_collector_snapshot_failures_total/' ledger_log
mutant "SnapshotFails forgets in an hour"           's/snapshot_failures_total\[6h\]/snapshot_failures_total[10m]/' ledger_log
mutant "FatalXid forgets XID 79"                    's/|79|/|/' gpu_health
mutant "FatalXid wakes for XID 45"                  's/xid=~"46|/xid=~"45|46|/' gpu_health
mutant "FatalXid never forgets"                     's/) < 900/) < 90000/' gpu_health
mutant "FatalXid is told by each collector"         's/max by (hub, node, gpu, xid) (/max by (hub, node, gpu, xid, instance) (/' gpu_health
mutant "NeedsRecovery does not wait"                '/alert: BijliGpuNeedsRecovery/,/labels:/ s/for: 5m/for: 1m/' gpu_health
mutant "NeedsRecovery misses a reset"               's/(bijli_gpu_recovery_action) > 0/(bijli_gpu_recovery_action) > 1/' gpu_health
mutant "ToReplace misses SRAM"                      's/(bijli_gpu_sram_threshold_exceeded) == 1/(bijli_gpu_sram_threshold_exceeded) == 2/' gpu_health
mutant "ToReplace misses rows"                      's/(bijli_gpu_row_remap_failure) == 1/(bijli_gpu_row_remap_failure) == 2/' gpu_health
mutant "HeldDownByHeat counts the power cap"        's/{reason="sw_thermal"}/{reason=~"sw_thermal|power_cap"}/' gpu_health
mutant "HeldDownByHeat misses hardware"             's/{reason="hw_thermal"}/{reason="hw"}/' gpu_health
mutant "HeldDownByHeat misses the driver"           's/{reason="sw_thermal"}/{reason="sw"}/' gpu_health
mutant "PowerBrake is told per GPU"                 '/alert: BijliGpuPowerBrake/,/labels:/ s/max by (hub, node) (/max by (hub, node, gpu) (/' gpu_health
mutant "PowerBrake fires without a brake"           '/alert: BijliGpuPowerBrake/,/labels:/ s/> 0/>= 0/' gpu_health
mutant "GpusMissing does not wait"                  '/alert: BijliGpusMissing/,/labels:/ s/for: 10m/for: 5m/' gpu_health
mutant "RegisterDistrusted does not wait"           '/alert: BijliGpuRegisterDistrusted/,/labels:/ s/for: 1h/for: 10m/' gpu_health
echo "alerts: $mutants broken rule files, every one noticed by the tests"

if command -v amtool >/dev/null; then
    amtool check-config alertmanager.example.yml
    # route WANTED LABEL=VALUE...: where the example sends an alert.
    route() {
        wanted=$1; shift
        amtool config routes test --config.file alertmanager.example.yml --verify.receivers="$wanted" "$@" >/dev/null \
            || fail "the example does not send {$*} to $wanted"
    }
    route heartbeat       alertname=BijliDeadMan         severity=info   team=platform
    route platform-oncall alertname=BijliHubBlind        severity=page   team=platform hub=isb
    route tickets         alertname=BijliMeterSilent     severity=ticket team=facility hub=isb
    route auditor         alertname=BijliLedgerImbalance severity=page   team=audit    hub=isb
    route tickets         alertname=BijliGpuLost         severity=ticket team=platform hub=isb
    route platform-oncall alertname=BijliGpuFatalXid     severity=page   team=platform hub=isb
    route tickets         alertname=BijliGpuHeldDownByHeat severity=ticket team=facility hub=isb
    route auditor         alertname=BijliGpuRegisterDistrusted severity=ticket team=audit hub=isb
    route tickets         alertname=BijliSpoolFilling    severity=ticket team=platform hub=isb
    route tickets         alertname=BijliCertificateEnds severity=ticket team=platform hub=isb
    route auditor         alertname=BijliLedgerDiffers   severity=ticket team=audit    hub=isb
    route tickets         alertname=BijliSnapshotFails   severity=ticket team=platform hub=isb
    route tickets         alertname=BijliFeedLate        severity=ticket team=platform hub=isb
    echo "alerts: example routing checked"
elif [ "${BIJLI_REQUIRE_AMTOOL:-0}" = 1 ]; then
    fail "amtool is not installed (apt-get install prometheus-alertmanager)"
else
    echo "alerts: amtool is not installed; alertmanager.example.yml was NOT checked"
fi
