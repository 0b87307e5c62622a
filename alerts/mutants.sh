#!/bin/sh
# Breaks each alert on purpose, in a copy; the tests that speak of that alert must notice. Called by check.sh; no arguments.
#
# Of every alert but the dead man: it does not wait (`for: 0s`, so a test must show it resting before its time), and it never fires
# (`for` of 40 days, so a test must show it firing). The list at the end breaks thresholds, joins and look-backs.
set -eu
cd "$(dirname "$0")"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
processors=$(nproc)

# reduced FILE ALERT: only those tests of tests/FILE_test.yml that name the alert, over the rules beside them. A test begins at its list item.
reduced() {
    awk -v alert="alertname: $2[,\n]" '
        /^tests:$/ { print; in_tests = 1; next }
        !in_tests { sub(/\.\.\/rules\//, ""); print; next }
        /^  - (name|interval):/ { if (one ~ alert) printf "%s", one; one = "" }
        { one = one $0 "\n" }
        END { if (one ~ alert) printf "%s", one }
    ' "tests/$1_test.yml"
}

# break_one ALERT WHAT SED-SCRIPT: leaves a line in $scratch/unnoticed when no test fails. Without a script, when one does.
break_one() {
    file=$(basename "$(grep -l "alert: $1\$" rules/*.yml)" .yml)
    here=$(mktemp -d "$scratch/XXXXXX")
    sed "/alert: $1\$/,/^\$/{
$3
}" "rules/$file.yml" >"$here/$file.yml"
    reduced "$file" "$1" >"$here/test.yml"
    if [ -z "$3" ]; then
        promtool test rules "$here/test.yml" >/dev/null 2>&1 || echo "tests fail on the sound rule: $1" >>"$scratch/unnoticed"
    elif cmp -s "rules/$file.yml" "$here/$file.yml"; then
        echo "mutant changes nothing: $1 $2" >>"$scratch/unnoticed"
    elif ! promtool check rules "$here/$file.yml" >/dev/null 2>"$here/why"; then
        echo "mutant is not even valid: $1 $2: $(tail -1 "$here/why")" >>"$scratch/unnoticed"
    elif promtool test rules "$here/test.yml" >/dev/null 2>&1; then
        echo "tests do not notice: $1 $2" >>"$scratch/unnoticed"
    fi
    rm -rf "$here"
}

# at_once ALERT WHAT SED-SCRIPT: as many as there are processors.
running=0
started=0
at_once() {
    break_one "$@" &
    running=$((running + 1))
    [ $((running % processors)) -ne 0 ] || wait
}
mutant() {
    started=$((started + 1))
    at_once "Bijli$1" "$2" "$3"
}

# Else every broken rule would seem to be noticed.
for alert in $(sed -n 's/^ *- alert: //p' rules/*.yml); do
    at_once "$alert" "sound" ""
done
for alert in $(sed -n 's/^ *- alert: Bijli//p' rules/*.yml | grep -v '^DeadMan$'); do
    # Its time is a fact that stays: it has nothing to wait for.
    [ "$alert" = GpuFatalXid ] || mutant "$alert" "does not wait" 's/^        for: .*/        for: 0s/'
    mutant "$alert" "never fires" 's/^        for: .*/        for: 40d/'
done
mutant DeadMan              "is off"                                                        's/expr: vector(1)/expr: vector(1) > 1/'
mutant HubBlind             "pages at 80%"                                                  's/) < 0\.8/) <= 0.8/'
mutant HubBlind             "waits 9 minutes"                                               's/ for: 10m/ for: 9m/'
mutant HubBlind             "does not keep firing"                                          's/keep_firing_for: 10m/keep_firing_for: 30s/'
mutant HubBlind             "forgets an absent hub in an hour"                              's/max_over_time(bijli_collector_nodes_expected\[7d\])/max_over_time(bijli_collector_nodes_expected[1h])/'
mutant HubBlind             "misses a hub that expects nobody"                              's/(max by (hub) (bijli_collector_nodes_expected) > 0)/max by (hub) (bijli_collector_nodes_expected)/'
mutant HubBlind             "misses that nothing is scraped"                                's/"hub", "none"/"hub", "nothing"/'
mutant HubBlind             "sums a standby collector in"                                   's/max by (hub) (bijli_collector_nodes_\([a-z]*\))/sum by (hub) (bijli_collector_nodes_\1)/'
mutant NodesLostTogether    "fires for four"                                                's/) > 4/) > 3/'
mutant NodesLostTogether    "counts what was down all along"                                's/\[20m\])) == 1/[20m])) >= 0/'
mutant NodeDown             "is told by each collector"                                     's/max by (hub, node)/max by (hub, node, instance)/'
mutant NodesMissing         "takes a node that is down for a missing one"                   's/max by (hub, node) (bijli_node_up)/bijli_node_up == 1/'
mutant SpoolFilling         "counts what is only kept"                                      's/bijli_agent_spool_waiting_bytes/bijli_agent_spool_bytes/'
mutant SpoolFilling         "fires at 70%"                                                  's/> 0\.7/>= 0.7/'
mutant SpoolFilling         "waits two minutes"                                             's/ for: 5m/ for: 2m/'
mutant SpoolFilling         "does not keep firing"                                          's/keep_firing_for: 10m/keep_firing_for: 30s/'
mutant CertificateEnds      "fires without TLS"                                             's/bijli_agent_certificate_left_seconds != 0/bijli_agent_certificate_left_seconds/'
mutant CertificateEnds      "forgets an ended one"                                          's/bijli_collector_certificate_left_seconds != 0/bijli_collector_certificate_left_seconds > 0/'
mutant CertificateEnds      "fires at 7 days"                                               's/) < 604800/) <= 604800/'
mutant CertificateEnds      "believes the better of two"                                    's/min by (hub, node) (/max by (hub, node) (/'
mutant SamplesSkipped       "fires at a tenth"                                              's/> 0\.2/> 0.05/'
mutant SamplesSkipped       "counts since the start"                                        's/rate(\(bijli_agent_samples_total[^[]*\)\[10m\])/\1/g'
mutant ProbeHung            "forgets that the first event has no past"                      '/^ *or$/d;s/0 \* max by (hub, node) (bijli_node_up offset 1h)//'
mutant ProbeHung            "takes a Prometheus without memory for an event"                's/bijli_node_up offset 1h/bijli_node_up/'
mutant ProbeHung            "counts any event"                                              's/{kind="probe_hung"}//g'
mutant SpoolThinned         "tells it for ever"                                             's/ offset 1h/ offset 2d/g'
mutant AgentBacklog         "waits two hours"                                               's/> 3600/> 7200/'
mutant AgentBacklog         "fires at a quarter of an hour"                                 's/> 3600/> 900/'
mutant BatchesQuarantined   "misses the first"                                              's/0 \* max/1 * max/'
mutant TwoSendersOneName    "misses forks"                                                  's/identity_forks_total\[1h\]/identity_contests_total[1h]/'
mutant NodeClockWrong       "misses a clock that is behind"                                 's/abs(bijli_node_clock_offset_seconds)/-bijli_node_clock_offset_seconds/'
mutant FeedLate             "fires at 20 minutes"                                           's/feed_lag_seconds) > 1800/feed_lag_seconds) > 1200/'
mutant FeedLate             "does not wait"                                                 's/ for: 10m/ for: 1m/'
mutant FeedLate             "keeps firing for long"                                         's/keep_firing_for: 10m/keep_firing_for: 5h/'
mutant SnapshotFails        "counts for ever"                                               's/increase(bijli_collector_snapshot_failures_total\[6h\])/bijli_collector_snapshot_failures_total/'
mutant SnapshotFails        "forgets in an hour"                                            's/snapshot_failures_total\[6h\]/snapshot_failures_total[10m]/'
mutant CollectorNotReady    "waits an hour"                                                 's/ for: 10m/ for: 1h/'
mutant DiskLow              "is at 1 GiB"                                                   's/10 \* 1024/1 * 1024/'
mutant DiskLow              "takes a collector that has not written yet for a full disk"    's/bijli_collector_disk_free_bytes > 0/bijli_collector_disk_free_bytes/'
mutant DiskWillFill         "looks a year ahead"                                            's/3 \* 86400/365 * 86400/'
mutant DiskWillFill         "looks an hour ahead"                                           's/3 \* 86400/3600/'
mutant JournalDamaged       "misses the scrub"                                              's/(bijli_collector_scrub_lost_records) > 0/(bijli_collector_scrub_lost_records) > 9/'
mutant JournalDamaged       "misses what a start finds"                                     's/max by (hub) (\(bijli_collector_journal_lost_records_total\))/max by (hub) (increase(\1[1h]))/'
mutant FeedRefuses          "counts for ever"                                               's/increase(\(bijli_collector_feed_refused_lines_total\)\[1h\])/\1/'
mutant FeedMissed           "forgets in an hour"                                            's/\[1d\]/[1h]/'
mutant LedgerImbalance      "sees a surplus only"                                           's/!= 0/> 0/'
mutant LedgerImbalance      "forgets a single scrape"                                       's/\[15m\]/[30s]/g'
mutant LedgerImbalance      "does not keep firing"                                          's/keep_firing_for: 1h/keep_firing_for: 1m/'
mutant LedgerDiffers        "does not wait"                                                 's/ for: 2m/ for: 0s/'
mutant LedgerDiffers        "does not keep firing"                                          's/keep_firing_for: 1h/keep_firing_for: 1m/'
mutant LedgerDiffers        "never fires"                                                   's/(bijli_collector_ledger_differs) > 0/(bijli_collector_ledger_differs) > 1/'
mutant IntervalsStayOpen    "waits a day"                                                   's/> 7200/> 86400/'
mutant IntervalsStayOpen    "fires at half an hour"                                         's/> 7200/> 200/'
mutant LedgerLogStalled     "ignores whether intervals close"                               's/^            > 0$/            > -1/'
mutant LedgerLogStalled     "ignores whether leaves are added"                              's/^            == 0$/            >= 0/'
mutant LedgerLeavesLost     "misses the daily comparison"                                   's/(bijli_collector_ledger_rotten_leaves_total) > 0/(bijli_collector_ledger_rotten_leaves_total) > 9/'
mutant IndexDiffers         "counts for ever"                                               's/increase(\(bijli_collector_index_differences_total\)\[1d\])/\1/'
mutant PueCoverageLow       "is at 99%"                                                     's/< 0\.95/< 0.99/'
mutant PueCoverageLow       "looks at the hour"                                             's/window="1d"/window="1h"/'
mutant PueImplausible       "ignores coverage"                                              's/^          and on (hub) max by (hub) (bijli_pue_coverage_ratio{window="1h"}) == 1$//'
mutant PueImplausible       "misses that there is none"                                     's/0 \* (max by (hub) (bijli_pue_coverage_ratio{window="1h"}) == 1/0 * (max by (hub) (bijli_pue_coverage_ratio{window="1h"}) == 2/'
mutant PueImplausible       "fires for a hub that is switched off"                          's/(bijli_node_power_watts)) > 0/(bijli_node_power_watts)) >= 0/'
mutant PueDrift             "ignores coverage"                                              's/>= 0\.95/>= 0.5/'
mutant PueDrift             "fires at 5%"                                                   's/> 1\.1/> 1.05/'
mutant UnattributedHigh     "needs a project"                                               '/^ *or$/d;s/0 \* max by (hub) (bijli_unattributed_energy_joules_total)//'
mutant UnattributedHigh     "fires at half a percent"                                       's/> 0\.02/> 0.005/'
mutant HeldIdleHigh         "minds 2 MJ"                                                    's/> 36e6/> 1e5/'
mutant HeldIdleHigh         "fires at a third"                                              's/> 0\.5/> 0.3/'
mutant BudgetUsed           "fires at 70%"                                                's/> 0\.9/> 0.7/'
mutant BudgetUsed           "goes on when it is spent"                                    's/ <= 1$//'
mutant BudgetUsed           "looks at one hub"                                            's/sum by (project)/max by (project)/'
mutant BudgetUsed           "is told where nothing was used"                              's/_used_joules) > 0)/_used_joules) >= 0)/'
mutant BudgetSpent          "waits for 110%"                                              's/> 1$/> 1.1/'
mutant BudgetSpent          "adds up the budgets of hubs"                                 's/max by (project) (bijli_project_budget_joules)/sum by (project) (bijli_project_budget_joules)/'
mutant BudgetForecast       "believes the first days"                                     's/> 0\.1)/> 0)/'
mutant BudgetForecast       "looks at one hub"                                            's/sum by (project) ($/max by (project) (/'
mutant BudgetForecast       "tells what is told already"                                  's/> 0\.9/> 9/'
mutant BudgetForecast       "is at 120%"                                                  's/> 1$/> 1.2/'
mutant MeterBookDue         "waits five weeks"                                              's/> 28 \* 86400/> 35 * 86400/'
mutant MeterSilent          "waits longer"                                                  's/) > 300/) > 600/'
mutant MeterSilent          "is quicker than a slow meter"                                  's/) > 300/) > 60/'
mutant MeterSilent          "misses a meter never read"                                     's/(bijli_meter_info) \* Inf/(bijli_meter_info) * 0/'
mutant MeterImplausible     "counts for ever"                                               's/increase(\(bijli_meter_implausible_total\)\[1h\])/\1/'
mutant MeterReset           "counts for ever"                                               's/increase(\(bijli_meter_resets_total\)\[1d\])/\1/'
mutant CheckFailed          "minds what flaps"                                              's/for: 30m/for: 5m/'
mutant CheckFailed          "waits for two"                                                 's/(bijli_check_failed) == 1/(bijli_check_failed) == 2/'
mutant Leak                 "pages at a warning"                                            's/(bijli_leak_state) == 2/(bijli_leak_state) >= 1/'
mutant Leak                 "never pages"                                                   's/(bijli_leak_state) == 2/(bijli_leak_state) == 3/'
mutant MeterChanged         "misses the first"                                              's/0 \* max/1 * max/'
mutant MeterChanged         "forgets in an hour"                                            's/offset 1d/offset 1h/g'
mutant MainsLost            "takes the sun for a cut"                                       's/^                unless on (hub)$/                and on (hub)/'
mutant MainsLost            "fires for a hub that is off"                                   's/(bijli_node_power_watts)) > 0/(bijli_node_power_watts)) >= 0/'
mutant MainsLost            "looks at a UPS's output"                                       's/and on (hub, meter) bijli_meter_info{role="grid"}) < 11/and on (hub, meter) bijli_meter_info) < 11/'
mutant UpsOnBattery         "pages while a generator starts"                                's/ for: 1m/ for: 0s/'
mutant UpsChargeLow         "pages while it is charged"                                     's/(bijli_ups_on_battery) == 1/(bijli_ups_on_battery) >= 0/'
mutant UpsChargeLow         "pages at half"                                                 's/< 0\.3/< 0.6/'
mutant UpsTimeShort         "pages though it feeds from the mains"                          's/(bijli_ups_on_battery) == 1/(bijli_ups_on_battery) >= 0/'
mutant UpsTimeShort         "pages with half an hour left"                                  's/< 600/< 2000/'
mutant FrequencyOutOfBand   "is 1 Hz wide"                                                  's/49\.5/49/'
mutant FrequencyOutOfBand   "takes a cut for low frequency"                                 's/< 49\.5) > 40/< 49.5) >= 0/'
mutant FrequencyOutOfBand   "minds generators"                                              's/{role="grid"}//'
mutant VoltageOutOfBand     "misses a swell"                                                's/> 253/> 263/'
mutant VoltageOutOfBand     "takes a cut for low voltage"                                   's/< 207) > 50/< 207) >= 0/'
mutant VoltageOutOfBand     "takes 6,350 V for a swell"                                     's/> 253) < 300/> 253) < 30000/'
mutant PowerFactorPoor      "takes a sign for a poor factor"                                's/abs(\(bijli_meter_power_factor_ratio\))/\1/'
mutant PowerFactorPoor      "minds 2 kW"                                                    's/> 10000/> 1000/'
mutant CoolingSupplyHot     "is at 40"                                                      's/> 32/> 40/'
mutant CoolingSupplyHot     "pages for an empty hub"                                        's/> 5000/> 0/'
mutant CoolingSupplyRising  "pages for a chiller's step"                                    's/> 24/> 4/'
mutant CoolingSupplyRising  "pages at 0.8 K"                                                's/> 2$/> 0.8/'
mutant CoolingFlowLost      "pages when a twin takes over"                                  's/by (hub)/by (hub, meter)/g'
mutant CoolingFlowLost      "takes a lost sensor for lost flow"                             '/^ *and on (hub, meter)$/,/bijli_cooling/d'
mutant CoolingFlowLost      "pages for an empty hub"                                        's/> 5000/> 0/'
mutant GpusHotTogether      "pages for seven"                                               's/> 7/> 6/'
mutant GpusHotTogether      "pages for the power cap"                                       's/|sw_thermal/|sw_thermal|power_cap/'
mutant GpuLost              "ignores whether the node is up"                                's/and on (hub, node) max by (hub, node) (bijli_node_up) == 1/and on (hub, node) max by (hub, node) (bijli_node_up) >= 0/'
mutant GpuLost              "forgets a GPU that left the bus"                               's/\[6h:10m\]/[20m:10m]/'
mutant GpuLost              "waits two minutes"                                             's/ for: 5m/ for: 2m/'
mutant GpuFatalXid          "forgets XID 79"                                                's/|79|/|/'
mutant GpuFatalXid          "wakes for XID 45"                                              's/xid=~"46|/xid=~"45|46|/'
mutant GpuFatalXid          "never forgets"                                                 's/) < 900/) < 90000/'
mutant GpuFatalXid          "is told by each collector"                                     's/max by (hub, node, gpu, xid) (/max by (hub, node, gpu, xid, instance) (/'
mutant GpuNeedsRecovery     "does not wait"                                                 's/ for: 5m/ for: 1m/'
mutant GpuNeedsRecovery     "misses a reset"                                                's/(bijli_gpu_recovery_action) > 0/(bijli_gpu_recovery_action) > 1/'
mutant GpuToReplace         "misses SRAM"                                                   's/(bijli_gpu_sram_threshold_exceeded) == 1/(bijli_gpu_sram_threshold_exceeded) == 2/'
mutant GpuToReplace         "misses rows"                                                   's/(bijli_gpu_row_remap_failure) == 1/(bijli_gpu_row_remap_failure) == 2/'
mutant GpuHeldDownByHeat    "counts the power cap"                                          's/{reason="sw_thermal"}/{reason=~"sw_thermal|power_cap"}/'
mutant GpuHeldDownByHeat    "misses hardware"                                               's/{reason="hw_thermal"}/{reason="hw"}/'
mutant GpuHeldDownByHeat    "misses the driver"                                             's/{reason="sw_thermal"}/{reason="sw"}/'
mutant GpuPowerBrake        "is told per GPU"                                               's/max by (hub, node) (/max by (hub, node, gpu) (/'
mutant GpuPowerBrake        "fires without a brake"                                         's/> 0/>= 0/'
mutant GpusMissing          "does not wait"                                                 's/ for: 10m/ for: 5m/'
mutant GpuRegisterDistrusted "does not wait"                                                's/ for: 1h/ for: 10m/'
mutant GpuHot               "believes a margin alone"                                       's/> 75/> 0/'
mutant GpuHot               "takes the memory's temperature"                                's/sensor="core"/sensor=~"core|memory"/'
mutant GpuEccUncorrected    "takes a loaded driver for errors"                              's/min_over_time/max_over_time/;s/) > 0/) != 0/'
mutant GpuEccUncorrected    "tells old errors"                                              's/^ *- min_over_time.*$//'
mutant GpuRowRemapPending   "does not wait"                                                 's/ for: 1h/ for: 10m/'
mutant GpuNvlinkErrors      "tells old errors"                                              's/^ *- min_over_time.*$//'
mutant GpuNvlinkErrors      "counts CRC errors"                                             's/replay|recovery/replay|recovery|crc/g'
mutant GpuNvlinkDown        "compares with itself"                                          's/max by (hub, node) (bijli/min by (hub, node) (bijli/'
mutant GpuPcieDegraded      "minds an idle GPU"                                             's/> 0\.5/>= 0/'
mutant GpuPcieDegraded      "misses lanes"                                                  's/(bijli_gpu_pcie_width_lanes)$/(bijli_gpu_pcie_generation)/'
mutant GpuXid               "forgets XID 74"                                                's/|74|/|/'
mutant GpuXid               "tells a page twice"                                            's/|74|/|74|79|/'
mutant GpuFabricStuck       "takes completed for stuck"                                     's/< 3/< 4/'
mutant GpuFabricStuck       "takes a board without a fabric for stuck"                      's/> 0)/>= 0)/'
wait

if [ -s "$scratch/unnoticed" ]; then
    sort "$scratch/unnoticed" | sed 's/^/alerts\/mutants.sh: /' >&2
    exit 1
fi
echo "alerts: $started broken rules, every one noticed by the tests"
