#!/usr/bin/env bash
# Installs what the tests need on a Debian machine with Rust: packages by apt, Python tools by pip
# into .venv, each pinned. Does nothing where it is all there already.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(systemd protobuf-compiler prometheus prometheus-alertmanager prometheus-node-exporter chromium python3-venv curl strace faketime openssl
  ipmitool openipmi snmpd snmp victoria-metrics influxdb slurmctld slurmd slurm-client munge
  golang-go golang-golang-x-mod-dev fonts-noto-core)
commands=(systemd-analyze protoc promtool prometheus amtool prometheus-node-exporter chromium curl strace faketime openssl
  ipmitool ipmi_sim snmpd snmpget victoria-metrics influxd slurmctld slurmd squeue munged
  go)

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
missing=()
for command in "${commands[@]}"; do
  # Servers are in sbin, which is not everybody's path.
  PATH="$PATH:/usr/sbin" command -v "$command" >/dev/null || missing+=("$command")
done
[ -d /usr/share/gocode/src/golang.org/x/mod ] || missing+=(golang-golang-x-mod-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing Debian packages for: ${missing[*]}"
  "${root[@]}" apt-get update -qq
  # The tests start what they need themselves: no service of these packages is to run beside them.
  policy=/usr/sbin/policy-rc.d
  if ! [ -e $policy ]; then
    trap '"${root[@]}" rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod +x $policy
  fi
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends \
    "${packages[@]}" >/dev/null
fi

python=.venv/bin/python
modules='pymodbus, pyghmi, pysmi, simhall, snmpsim, sushy_tools, duckdb, axe_core_python, grafana_foundation_sdk, grpc'
if ! [ -x "$python" ] || ! "$python" -c "import $modules" 2>/dev/null; then
  echo "installing Python tools into .venv"
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
  # It says that it wants Python 3.12; what the tests use of it runs on Debian's 3.11 too.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --ignore-requires-python simhall==0.1.0
fi
