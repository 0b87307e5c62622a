#!/bin/sh
# Checks everything in alerts/ with the programs that will run it. Called by `make test`; no arguments.
#
# It fails, and does not skip, when promtool (Debian: prometheus >= 2.42) is missing. amtool (Debian: prometheus-alertmanager) is
# optional: without it the last line says that the example routing was NOT checked; BIJLI_REQUIRE_AMTOOL=1 makes that a failure.
#
# mutants.sh proves that the tests can fail: it breaks each rule in a copy, and the tests must notice.
set -eu
cd "$(dirname "$0")"

fail() { echo "alerts/check.sh: $*" >&2; exit 1; }

command -v promtool >/dev/null || fail "promtool is not installed (apt-get install prometheus)"

promtool check rules rules/*.yml
promtool test rules tests/*_test.yml
promtool check config --syntax-only ../dashboards/prometheus.example.yml
promtool check config --syntax-only ../dashboards/national.example.yml
python3 lint.py

for alert in $(sed -n 's/^ *- alert: //p' rules/*.yml | sort -u); do
    [ -s "../docs/runbooks/$alert.md" ] || fail "$alert has no docs/runbooks/$alert.md"
    grep -q "^| $alert |" README.md || fail "$alert is not in the table of README.md"
done

./mutants.sh

if command -v amtool >/dev/null; then
    ./routes.sh
elif [ "${BIJLI_REQUIRE_AMTOOL:-0}" = 1 ]; then
    fail "amtool is not installed (apt-get install prometheus-alertmanager)"
else
    echo "alerts: amtool is not installed; alertmanager.example.yml was NOT checked"
fi
