#!/bin/sh
# Where alertmanager.example.yml sends each alert: by team and severity, every alert of the rules by its own labels, and a few by name.
# Called by check.sh where amtool is installed; no arguments.
set -eu
cd "$(dirname "$0")"

config=alertmanager.example.yml
amtool check-config "$config"

# route WANTED LABEL=VALUE...: where the example sends an alert.
route() {
    wanted=$1; shift
    amtool config routes test --config.file "$config" --verify.receivers="$wanted" "$@" >/dev/null 2>&1 \
        || { echo "alerts/routes.sh: the example does not send {$*} to $wanted" >&2; exit 1; }
}
# receiver SEVERITY TEAM: what the route of such an alert must be.
receiver() {
    case $1-$2 in
        page-audit) echo auditor-oncall ;;
        ticket-audit) echo auditor ;;
        page-facility) echo facility-oncall ;;
        page-platform) echo platform-oncall ;;
        ticket-facility) echo facility-tickets ;;
        ticket-platform) echo platform-tickets ;;
        info-*) echo record ;;
        *) echo "no receiver for $1-$2" ;;
    esac
}

list=$(mktemp)
trap 'rm -f "$list"' EXIT
routed=0
sed -n 's/^ *- alert: /alert /p; s/^ *severity: /severity /p; s/^ *team: /team /p' rules/*.yml | paste -d' ' - - - >"$list"
while read -r _ alert _ severity _ team; do
    wanted=$(receiver "$severity" "$team")
    [ "$alert" != BijliDeadMan ] || wanted=heartbeat
    route "$wanted" alertname="$alert" severity="$severity" team="$team" hub=isb
    routed=$((routed + 1))
done <"$list"

# What no rule has yet, and what nobody sorted: it must still reach somebody.
route auditor-oncall   alertname=Another severity=page   team=audit
route platform-oncall  alertname=Another severity=page
route platform-tickets alertname=Another severity=ticket
route platform-tickets alertname=Another
echo "alerts: example routing checked for $routed alerts"
