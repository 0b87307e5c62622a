#!/usr/bin/env python3
"""Lints rules/*.yml and alertmanager.example.yml: python3 lint.py

What promtool accepts and a person at night would curse: an own port of the checks of cloudflare/pint that fit here, and of the house's
own rules (README.md). Exit 0: no finding. 1: findings, one a line. The rules are then broken in memory, one way at a time, and a break
that goes unnoticed is a finding too. Whether a metric exists is dashboards/check.py's question.
"""
import pathlib
import re
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
SCRAPE_SECONDS = 15  # dashboards/prometheus.example.yml
SEVERITIES, TEAMS = {"page", "ticket", "info"}, {"platform", "facility", "audit"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RANGED = re.compile(r"\b(rate|increase|delta|deriv|irate)\((?:\()?(bijli_\w+)[^\[]*\[(\d+)([smhd])")


def alerts_of(text):
    """Name and text of every alert: from its line to the next blank one, as the house writes them."""
    return re.findall(r"(?ms)^      - alert: (\w+)\n(.*?)(?=^$|\Z)", text + "\n")


def value(body, key):
    found = re.search(rf"(?m)^ +{key}: (.+)$", body)
    return found.group(1).strip("'") if found else ""


def expression(body):
    return re.search(r"(?ms)^        expr: (.*?)(?=^        (?:for|labels):)", body).group(1)


def kept_labels(expr):
    """What the outermost aggregation leaves: the first `by`, for the house writes max by (...) around every selector."""
    first = re.search(r"\bby \(([^)]*)\)", expr)
    return set(re.split(r",\s*", first.group(1))) if first else set()


def alert_findings(name, body, runbook):
    expr = expression(body)
    if name != "BijliDeadMan":
        if not value(body, "for"):
            yield "for: it does not wait"
        if not re.search(r"(?<![=!~<>{])(==|!=|<=?|>=?)(?![=~\"])", re.sub(r'"[^"]*"', "", expr)):
            yield "comparison: it fires for every series"
        if "$labels.hub" not in value(body, "summary") and "$labels.hub" not in body.split("summary:")[1].split("description:")[0]:
            yield "summary: it does not say which hub"
        has_threshold = set(re.findall(r"[<>]=? +([\d.]+)", expr)) - {"0", "1"}
        if has_threshold and not re.search(r"\d|\$value", body.split("description:")[1].split("runbook_url:")[0]):
            yield "description: it does not say how much"
    for function, metric, size, unit in RANGED.findall(expr):
        if function in ("rate", "increase", "irate") and not metric.endswith("_total"):
            yield f"rate: {metric} is no counter"
        if function in ("delta", "deriv") and metric.endswith("_total"):
            yield f"rate: {metric} is a counter, for which {function} is wrong"
        if int(size) * SECONDS[unit] < 4 * SCRAPE_SECONDS:
            yield f"range: {size}{unit} of {metric} is under four scrapes"
    for label in sorted(set(re.findall(r"\$labels\.(\w+)", body)) - kept_labels(expr)):
        yield f"template: the label {label} is aggregated away"
    if value(body, "severity") not in SEVERITIES or value(body, "team") not in TEAMS:
        yield "labels: severity and team must be of the lists in README.md"
    if value(body, "runbook_url") != f"docs/runbooks/{name}.md":
        yield "runbook: runbook_url is not its own"
    if f"Severity: {value(body, 'severity')}" not in runbook or f"Team: {value(body, 'team')}." not in runbook:
        yield "runbook: it names another severity or team"
    if not value(body, "dashboard_url").startswith("/d/bijli-hub"):
        yield "dashboard: dashboard_url leads nowhere"
    if "power_cap" in expr:
        yield "power cap: holding a GPU at its cap is no fault"


def xid_findings(found, catalogue):
    """The XIDs of the rules against collector/xids.toml: a page is a page, and none is forgotten."""
    for alert, severity in {"BijliGpuFatalXid": "page", "BijliGpuXid": "ticket"}.items():
        listed = re.search(r'xid=~"([\d|]+)"', found.get(alert, ""))
        wanted = sorted(code for xid in catalogue["xid"] if xid["severity"] == severity for code in xid["codes"])
        if not listed or sorted(map(int, listed.group(1).split("|"))) != wanted:
            yield f"{alert}: xids: they are not those that collector/xids.toml calls a {severity}"


def findings(rules, routes, runbooks, catalogue):
    found = [alert for text in rules.values() for alert in alerts_of(text)]
    names = [name for name, _ in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: duplicate: it is there twice"
    for name, body in found:
        yield from (f"{name}: {finding}" for finding in alert_findings(name, body, runbooks.get(name, "")))
    yield from xid_findings(dict(found), catalogue)
    for pattern in sorted(set(re.findall(r"\bBijli\w+(?:\.\*)?", re.sub(r"(?m)^\s*#.*$", "", routes)))):
        if not any(re.fullmatch(pattern, name) for name in names):
            yield f"alertmanager.example.yml: dead: {pattern} is no alert"


# A file, what is replaced in it, by what, and the word of the finding.
MUTANTS = [
    ("power", "        for: 1m\n        keep_firing_for: 5m", "        keep_firing_for: 5m", "for"),
    ("power", "(bijli_ups_on_battery) == 1\n        for", "(bijli_ups_on_battery)\n        for", "comparison"),
    ("power", "'Hub {{ $labels.hub }}: UPS {{ $labels.meter }} runs", "'UPS {{ $labels.meter }} runs", "summary"),
    ("gpus", "the last 60 minutes", "the last hour", "description"),
    ("collector", "increase(bijli_collector_feed_refused_lines_total", "increase(bijli_collector_feed_lag_seconds", "rate"),
    ("cooling", "delta(bijli_cooling_supply_temperature_celsius", "delta(bijli_meter_resets_total", "rate"),
    ("collector", "_refused_lines_total[1h]", "_refused_lines_total[30s]", "range"),
    ("gpus", "max by (hub, node, gpu) (bijli_gpu_row_remap_pending)", "max by (hub, node) (bijli_gpu_row_remap_pending)", "template"),
    ("power", "severity: info", "severity: warning", "labels"),
    ("power", "docs/runbooks/BijliMainsLost.md", "docs/runbooks/BijliUpsOnBattery.md", "runbook"),
    ("power", "severity: page", "severity: ticket", "runbook"),
    ("power", "/d/bijli-hub?var-hub", "/d/hub?var-hub", "dashboard"),
    ("cooling", "hw_thermal|sw_thermal", "hw_thermal|power_cap", "power cap"),
    ("gpus", "|79|", "|", "xids"),
    ("gpus", '"1|2|3|', '"2|3|', "xids"),
    ("watch", "alert: BijliNodeDown", "alert: BijliHubBlind", "duplicate"),
    ("power", "alert: BijliUpsChargeLow", "alert: BijliUpsChargeLittle", "dead"),
]


def main():
    rules = {f.stem: f.read_text(encoding="utf-8") for f in sorted((HERE / "rules").glob("*.yml"))}
    routes = (HERE / "alertmanager.example.yml").read_text(encoding="utf-8")
    runbooks = {f.stem: f.read_text(encoding="utf-8") for f in (HERE.parent / "docs/runbooks").glob("Bijli*.md")}
    catalogue = tomllib.loads((HERE.parent / "collector/xids.toml").read_text(encoding="utf-8"))
    told = list(findings(rules, routes, runbooks, catalogue))
    for file, old, new, word in MUTANTS if not told else []:
        broken = {**rules, file: rules[file].replace(old, new, 1)}
        if broken == rules or not any(f": {word}: " in f for f in findings(broken, routes, runbooks, catalogue)):
            told.append(f"lint.py: unnoticed: {old!r} for {new!r} in {file}")
    for finding in told:
        print(finding)
    if not told:
        print(f"alerts: {sum(len(alerts_of(t)) for t in rules.values())} alerts linted; {len(MUTANTS)} broken ones, every one noticed")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
