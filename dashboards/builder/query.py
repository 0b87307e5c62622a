"""Queries as they are written on a page, and what becomes of them: limited to the page's variables, every metric and label checked."""
import re

from .metrics import EXISTING, NAME


class NoSuchMetric(Exception):
    """A page names a metric, or a label of one, that the code does not export."""


class Query:
    """`expr` with 'single quotes' around label values; `legend` in Grafana's {{label}} form."""

    def __init__(self, expr, legend, instant=False):
        self.expr, self.legend, self.instant = " ".join(expr.split()).replace("'", '"'), legend, instant


def now(expr, legend):
    """A query that is asked once, at the end of the page's time range."""
    return Query(expr, legend, instant=True)


def scoped(expr, scope):
    """Each metric of `expr` limited by the matchers of `scope` (label: matcher) whose label it has."""

    def limit(match):
        name, braces = match.group(1), match.group(2) or ""
        metric = EXISTING.get(name)
        if metric is None:
            raise NoSuchMetric(f"{name} is not in docs/metrics*.md, which are written from the code:\n    {expr}")
        own = [part for part in re.findall(r'\w+\s*(?:=~|!~|!=|=)\s*"[^"]*"', braces)]
        for part in own:
            label = re.match(r"\w+", part).group()
            if label not in metric.labels:
                raise NoSuchMetric(f"{name} has no label {label}, it has {', '.join(metric.labels)}:\n    {expr}")
        wanted = [f"{label}{matcher}" for label, matcher in scope.items() if label in metric.labels]
        return f"{name}{{{','.join(wanted + own)}}}"

    return re.sub(r"(" + NAME.pattern + r")(\{[^}]*\})?", limit, expr)
