#!/usr/bin/env python3
"""Lints dashboards/*.json, alerts/ and docs/runbooks/ without a Grafana: python3 check.py METRICS.txt [--self-test]

METRICS.txt has one exported metric name per line (made from the code). Exit 0: no finding. 1: findings, one a line. 2: cannot run.
--self-test also breaks the page in memory, one way at a time, and fails when a break goes unnoticed.
The rules follow grafana/dashboard-linter where they apply; instead of job and instance, every selector must carry the hub.
"""
import copy
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PANELS_MAX = 20
UNITS = {"none", "short", "watt", "joule", "kwatth", "celsius", "percentunit", "s", "bytes", "volt", "hertz", "dateTimeAsIso"}
GIVEN = {"__range", "__rate_interval", "__interval"}
SECTIONS = ["What it means", "Who is affected", "Is energy being lost?", "First look", "What to do", "When it resolves", "False alarms known"]
METRIC = re.compile(r"(?<![A-Za-z0-9_])bijli_[a-z0-9_]+(?!\.ya?ml)\b")
# Counters of the closed books move once in 15 minutes, so a rate over less than an hour would show steps that are not there.
BOOK_RANGE = {"1h", "$__range"}
FAST_RANGE = {"$__rate_interval", "$__range"}
BOOKED = re.compile(r"bijli_(facility|project|idle|host_overhead|unattributed|ledger)_")
CLOSED = re.compile(r"bijli_(facility|project|idle|host_overhead|unattributed|pue|ledger)_")
OWN = re.compile(r"bijli_(collector|agent)_")
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def grid_findings(panels):
    for i, one in enumerate(panels):
        a = one.get("gridPos", {})
        if set(a) != {"x", "y", "w", "h"} or a["x"] + a["w"] > 24:
            yield f"grid: {one.get('title')!r} lies outside the 24 columns"
            continue
        for other in panels[i + 1:]:
            b = other.get("gridPos", {})
            if set(b) == set(a) and (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
                                     and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]):
                yield f"grid: {one.get('title')!r} overlaps {other.get('title')!r}"


def is_exported(name, metrics):
    return name in metrics or HISTOGRAM.sub("", name) in metrics


def expr_findings(expr, metrics, variables):
    used = METRIC.findall(expr)
    if not used:
        yield "query: names no metric of bijli"
    for name in used:
        if not is_exported(name, metrics):
            yield f"metric: {name} is not exported"
    for name in re.findall(r"\$\{?(\w+)", expr):
        if name not in variables | GIVEN:
            yield f"variable: ${name} does not exist on the page"
    if expr.count("(") != expr.count(")") or expr.count("{") != expr.count("}"):
        yield "query: brackets do not match"
    for name, matchers in re.findall(r"(bijli_\w+)(\{[^}]*\})?", expr):
        if 'hub="$hub"' not in matchers and 'hub=~"$hub"' not in matchers:
            yield f"hub: {name} is not limited to the hub of the page"
    for name in re.findall(r"(bijli_\w+_total)\b", expr):
        ranges = re.findall(r"(?:rate|increase)\(" + name + r"(?:\{[^}]*\})?\[([^\]]+)\]", expr)
        allowed = BOOK_RANGE if BOOKED.match(name) else FAST_RANGE
        if not ranges:
            yield f"counter: {name} is shown raw, outside rate or increase"
        elif not set(ranges) <= allowed:
            yield f"range: {name} over {ranges}, allowed {sorted(allowed)}"
    for name in re.findall(r"(?:rate|increase)\((bijli_\w+)", expr):
        if not name.endswith("_total") and not HISTOGRAM.search(name):
            yield f"counter: {name} is no counter, but is inside rate or increase"


def books_findings(where, panel):
    """Whether the title says which numbers are of closed books and which are as read."""
    names = {n for t in panel.get("targets", []) for n in METRIC.findall(t.get("expr", "")) if not OWN.match(n)}
    books = sorted({"closed" if CLOSED.match(name) else "live" for name in names})
    said = re.search(r" \(((?:closed|live|, )+)\)$", where)
    if (said.group(1) if said else "") != ", ".join(books):
        yield f"books: the title of {where} must say ({', '.join(books)})"


def panel_findings(panel, metrics, variables):
    where = panel.get("title") or f"panel {panel.get('id')}"
    if not panel.get("title"):
        yield f"title: panel {panel.get('id')} has none"
    description = panel.get("description", "")
    if len(description) < 40:
        yield f"description: {where} has none worth the name"
    elif "Thresholds:" not in description:
        yield f"thresholds: the description of {where} does not say where they come from"
    if panel["type"] == "text":
        return
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if defaults.get("unit") not in UNITS:
        yield f"unit: {where} has {defaults.get('unit')!r}"
    if not defaults.get("thresholds", {}).get("steps"):
        yield f"thresholds: {where} has none"
    elif "(source:" not in description and "(ISO" not in description:
        yield f"thresholds: {where} does not name their source"
    if panel["type"] == "timeseries" and defaults.get("custom", {}).get("spanNulls") is not False:
        yield f"gaps: {where} draws over gaps"
    if not panel.get("targets"):
        yield f"query: {where} has no query"
    for holder in [panel, *panel.get("targets", [])]:
        if holder.get("datasource", {}).get("uid") != "${datasource}":
            yield f"datasource: {where} does not use the variable"
    yield from books_findings(where, panel)
    refs = [t.get("refId") for t in panel.get("targets", [])]
    if len(set(refs)) != len(refs):
        yield f"query: {where} uses a refId twice"
    for target in panel.get("targets", []):
        if not target.get("legendFormat"):
            yield f"legend: {where} has none"
        yield from (f"{finding} ({where})" for finding in expr_findings(target.get("expr", ""), metrics, variables))


def variable_findings(page):
    found = {v.get("name"): v for v in page.get("templating", {}).get("list", [])}
    source, hub = found.get("datasource", {}), found.get("hub", {})
    if (source.get("type"), source.get("query"), source.get("label")) != ("datasource", "prometheus", "Data source"):
        yield "variable: datasource must be of type datasource, for prometheus, labelled 'Data source'"
    if hub.get("type") != "query" or hub.get("refresh") != 2 or hub.get("datasource", {}).get("uid") != "${datasource}":
        yield "variable: hub must be a query over ${datasource} that refreshes on time change (2)"


def page_findings(page, metrics):
    for key, wanted in {"editable": False, "graphTooltip": 1, "schemaVersion": 39, "id": None}.items():
        if key not in page or page[key] != wanted:
            yield f"page: {key} must be {json.dumps(wanted)}"
    if not re.fullmatch(r"bijli-[a-z-]{1,34}", page.get("uid", "")):
        yield "page: uid must be fixed and begin with bijli-"
    yield from variable_findings(page)
    variables = {v.get("name") for v in page.get("templating", {}).get("list", [])}
    for name in METRIC.findall(json.dumps(page.get("templating", {}))):
        if name not in metrics:
            yield f"metric: {name} is not exported (variable)"
    panels = page.get("panels", [])
    shown = [p for p in panels if p.get("type") != "row"]
    first = panels[0].get("options", {}).get("content", "") if panels else ""
    if "**This page answers**" not in first or "**It cannot answer**" not in first:
        yield "page: the first panel must be a text that says what the page answers, and what it cannot"
    notes = [note.get("expr", "") for note in page.get("annotations", {}).get("list", [])]
    if not any(expr.startswith("bijli_ledger_closed_until_timestamp_seconds{hub") for expr in notes):
        yield "page: no line says until when the books are closed"
    if len(shown) > PANELS_MAX:
        yield f"page: {len(shown)} panels, more than {PANELS_MAX}"
    for key in ("id", "title"):
        values = [p.get(key) for p in panels]
        if len(set(values)) != len(values):
            yield f"page: two panels share one {key}"
    if any(p.get("panels") for p in panels):
        yield "page: a row hides panels; rows are open here"
    yield from grid_findings(panels)
    for panel in shown:
        yield from panel_findings(panel, metrics, set(variables))


def text_findings(name, text, metrics):
    """Every name of a metric in the text of a rules file, a test or a runbook; comments are left out."""
    uncommented = re.sub(r"(?m)^\s*#\s.*$", "", text) if name.endswith(".yml") else text
    for used in sorted(set(METRIC.findall(uncommented))):
        if not is_exported(used, metrics):
            yield f"metric: {used} is not exported"


def reference_findings(name, page, uids, alerts):
    """Links lead to a page that there is, and thresholds that name an alert name one that there is."""
    text = json.dumps(page)
    for uid in sorted(set(re.findall(r'"/d/([a-z-]+)', text)) - uids):
        yield f"{name}: link: no page has the uid {uid}"
    for alert in sorted(set(re.findall(r"\bBijli[A-Z]\w+", text)) - alerts):
        yield f"{name}: alert: there is none named {alert}"


def runbook_findings(rules, runbooks):
    alerts = set(re.findall(r"(?m)^\s*- alert: (\w+)$", rules))
    for missing in sorted(alerts - set(runbooks)):
        yield f"runbook: {missing} has none"
    for orphan in sorted(set(runbooks) - alerts):
        yield f"runbook: {orphan} belongs to no alert"
    for name, text in sorted(runbooks.items()):
        if re.findall(r"(?m)^## (.+)$", text) != SECTIONS:
            yield f"runbook: {name} does not have the seven sections in order"


def all_findings(pages, texts, metrics):
    uids = [p.get("uid") for p in pages.values()]
    if len(set(uids)) != len(uids):
        yield "dashboards: two pages share one uid"
    for name, page in sorted(pages.items()):
        yield from (f"{name}: {finding}" for finding in page_findings(page, metrics))
    for name, text in sorted(texts.items()):
        yield from (f"{name}: {finding}" for finding in text_findings(name, text, metrics))
    rules = "\n".join(t for n, t in texts.items() if n.startswith("alerts/rules/"))
    alerts = set(re.findall(r"(?m)^\s*- alert: (\w+)$", rules))
    for name, page in sorted(pages.items()):
        yield from reference_findings(name, page, set(uids), alerts)
    runbooks = {pathlib.Path(n).stem: t for n, t in texts.items() if n.startswith("docs/runbooks/")}
    yield from runbook_findings(rules, runbooks)


def panel_of(page, kind, nth=0):
    return [p for p in page["panels"] if p["type"] == kind][nth]


def replace_expr(page, old, new):
    for panel in page["panels"]:
        for target in panel.get("targets", []):
            if old in target["expr"]:
                target["expr"] = target["expr"].replace(old, new)
                return
    raise AssertionError(f"no query has {old}")


# What is done to the hub page, and the word that the finding must begin with.
MUTANTS = {
    "description dropped": ("description", lambda p: panel_of(p, "stat").pop("description")),
    "threshold source dropped": ("thresholds", lambda p: panel_of(p, "stat").update(description="A description that is long enough, but silent.")),
    "thresholds dropped": ("thresholds", lambda p: panel_of(p, "stat")["fieldConfig"]["defaults"].pop("thresholds")),
    "title dropped": ("title", lambda p: panel_of(p, "stat").update(title="")),
    "unit dropped": ("unit", lambda p: panel_of(p, "stat")["fieldConfig"]["defaults"].pop("unit")),
    "unit misspelt": ("unit", lambda p: panel_of(p, "timeseries", 1)["fieldConfig"]["defaults"].update(unit="wat")),
    "gaps drawn over": ("gaps", lambda p: panel_of(p, "timeseries")["fieldConfig"]["defaults"]["custom"].update(spanNulls=True)),
    "grid overlap": ("grid", lambda p: panel_of(p, "stat", 1)["gridPos"].update(x=3)),
    "panel off the grid": ("grid", lambda p: panel_of(p, "stat", 4)["gridPos"].update(x=22)),
    "metric misspelt": ("metric", lambda p: replace_expr(p, "bijli_pue_ratio", "bijli_pue_ratios")),
    "metric misspelt in variable": ("metric", lambda p: p["templating"]["list"][1]["query"].update(query="label_values(bijli_hubs, hub)")),
    "hub matcher dropped": ("hub", lambda p: replace_expr(p, '{hub="$hub"}', "")),
    "raw counter": ("counter", lambda p: replace_expr(p, "rate(", "abs(")),
    "rate of a gauge": ("counter", lambda p: replace_expr(p, "bijli_ledger_imbalance_joules", "rate(bijli_ledger_imbalance_joules")),
    "rate over too short a range": ("range", lambda p: replace_expr(p, "[1h]", "[5m]")),
    "unknown variable": ("variable", lambda p: replace_expr(p, "$__range", "$period")),
    "brackets": ("query", lambda p: replace_expr(p, "sum by (source) (", "sum by (source) ((")),
    "query dropped": ("query", lambda p: panel_of(p, "stat").update(targets=[])),
    "fixed datasource": ("datasource", lambda p: panel_of(p, "stat")["datasource"].update(uid="prom")),
    "datasource variable unlabelled": ("variable", lambda p: p["templating"]["list"][0].pop("label")),
    "hub variable does not refresh": ("variable", lambda p: p["templating"]["list"][1].update(refresh=1)),
    "editable": ("page", lambda p: p.update(editable=True)),
    "duplicate id": ("page", lambda p: panel_of(p, "stat").update(id=panel_of(p, "stat", 1)["id"])),
    "text panel moved": ("page", lambda p: p["panels"].reverse()),
    "a link to nowhere": ("link", lambda p: p["panels"][2]["fieldConfig"]["defaults"].update(links=[{"title": "x", "url": "/d/bijli-nowhere?x"}])),
    "an alert that is none": ("alert", lambda p: p["panels"][2].update(description=p["panels"][2]["description"] + " alert BijliNothing.")),
    "closed books not said": ("books", lambda p: p["panels"][2].update(title="Interim PUE")),
    "no line where the books end": ("page", lambda p: p["annotations"]["list"].pop()),
    "what it cannot answer dropped": ("page", lambda p: p["panels"][0]["options"].update(content="**This page answers**: all")),
    "one panel too many": ("page", lambda p: p["panels"].append({"type": "text", "id": 999, "title": "x", "gridPos": dict(x=0, y=99, w=1, h=1)})),
}


def self_test(pages, texts, metrics):
    """The breaks that went unnoticed."""
    (name, page), = [(n, p) for n, p in pages.items() if p.get("uid") == "bijli-hub"]
    for what, (word, mutate) in MUTANTS.items():
        broken = copy.deepcopy(page)
        mutate(broken)
        found = list(all_findings({**pages, name: broken}, texts, metrics))
        if not any(f.startswith(f"{name}: {word}:") for f in found):
            yield f"self-test: {what} was not noticed"
    for file in sorted(texts):
        if not any("oops" in f for f in all_findings(pages, {**texts, file: texts[file] + "\nbijli_oops_total\n"}, metrics)):
            yield f"self-test: a wrong metric in {file} was not noticed"
    runbooks = [n for n in texts if n.startswith("docs/runbooks/")]
    without = {n: t for n, t in texts.items() if n != runbooks[0]}
    shortened = {**texts, runbooks[0]: texts[runbooks[0]].replace("## False alarms known", "")}
    for what, changed in {"a lost runbook": without, "a lost section": shortened}.items():
        if not any(f.startswith("runbook:") for f in all_findings(pages, changed, metrics)):
            yield f"self-test: {what} was not noticed"


def main(arguments):
    paths = [a for a in arguments if not a.startswith("--")]
    if len(paths) != 1 or set(arguments) - set(paths) - {"--self-test"}:
        print(__doc__, file=sys.stderr)
        return 2
    metrics = set(pathlib.Path(paths[0]).read_text(encoding="utf-8").split())
    files = [*ROOT.glob("alerts/rules/*.yml"), *ROOT.glob("alerts/tests/*.yml"),
             *(f for f in ROOT.glob("docs/runbooks/*.md") if f.name != "README.md")]
    texts = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8") for f in files}
    pages = {str(f.relative_to(ROOT)): json.loads(f.read_text(encoding="utf-8")) for f in ROOT.glob("dashboards/*.json")}
    if not metrics or not pages or not any(n.startswith("alerts/rules/") for n in texts):
        print("check.py: no metrics, no pages or no rules to check", file=sys.stderr)
        return 2
    findings = list(all_findings(pages, texts, metrics))
    if "--self-test" in arguments and not findings:
        findings = list(self_test(pages, texts, metrics))
        if not findings:
            print(f"check.py: {len(MUTANTS)} broken pages, every one noticed")
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
