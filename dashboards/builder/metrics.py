"""Every metric that exists, read from the pages that are written from the code (a test compares those with it)."""
import pathlib
import re
from typing import NamedTuple

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
# What the pages of the programs' own metrics do not list: every label that one of them may have.
OWN_LABELS = {"bijli_collector_": ("hub", "outcome", "store", "version"), "bijli_agent_": ("hub", "node", "outcome", "probe", "version")}


class Metric(NamedTuple):
    name: str
    kind: str
    labels: tuple


def rows(page):
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("| `bijli_"):
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


def load():
    """By name. A histogram is its three counters."""
    found = {}
    for name, kind, _unit, labels, *_ in rows("metrics.md"):
        found[name.strip("`")] = Metric(name.strip("`"), kind, tuple(labels.split(", ")))
    for page in ("metrics-collector.md", "metrics-agent.md"):
        for name, kind, *_ in rows(page):
            name = name.strip("`")
            labels = next(labels for prefix, labels in OWN_LABELS.items() if name.startswith(prefix))
            if kind == "histogram":
                for end, more in (("_bucket", ("le",)), ("_sum", ()), ("_count", ())):
                    found[name + end] = Metric(name + end, "counter", labels + more)
            else:
                found[name] = Metric(name, kind, labels)
    if len(found) < 100:
        raise SystemExit(f"docs/metrics*.md: only {len(found)} metrics could be read; has the table another form now?")
    return found


NAME = re.compile(r"(?<![A-Za-z0-9_])bijli_[a-z0-9_]+")
# Sums of closed intervals: they move when an interval closes, and late facts may still correct them.
CLOSED = re.compile(r"bijli_(facility|project|idle|host_overhead|unattributed|pue|ledger)_")
# What the programs say of themselves.
OWN = re.compile(r"bijli_(collector|agent)_")
EXISTING = load()
