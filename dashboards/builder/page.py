"""A page: its variables, rows of panels that flow from left to right, and what it says of itself first."""
import json

from .panel import SOURCE
from .query import scoped

COLUMNS = 24


class Page:
    """`variables`: name, label, the query of its values, and whether several may be chosen; `scope`: which label each limits, e.g. {"hub": '="$hub"'}."""

    def __init__(self, uid, title, about, *, variables, scope, answers, cannot, rows, span="24h"):
        self.uid, self.title, self.about, self.variables, self.scope = uid, title, about, variables, scope
        self.answers, self.cannot, self.rows, self.span = answers, cannot, rows, span

    def json(self):
        return {
            "id": None, "uid": self.uid, "title": self.title, "description": self.about, "tags": ["bijli"], "schemaVersion": 39,
            "version": 1, "editable": False, "graphTooltip": 1, "refresh": "30s", "timezone": "browser", "weekStart": "monday",
            "fiscalYearStartMonth": 0, "liveNow": False, "time": {"from": f"now-{self.span}", "to": "now"}, "timepicker": {},
            "links": [PAGES], "preload": False, "annotations": {"list": [GRAFANA_NOTES, self.closed_until()]},
            "templating": {"list": [DATA_SOURCE] + [self.variable(*one) for one in self.variables]},
            "panels": self.panels(),
        }

    def text(self):
        return json.dumps(self.json(), indent=2, ensure_ascii=False) + "\n"

    def closed_until(self):
        """A line where the books end: right of it everything is provisional."""
        expr = scoped("bijli_ledger_closed_until_timestamp_seconds", {"hub": self.scope["hub"]})
        return {
            "name": "books closed until here", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": "purple",
            "expr": f"{expr} * 1000", "useValueForTime": "on",
        }

    def variable(self, name, label, query, several=False):
        query = scoped(query.replace("'", '"'), {})
        return {
            "name": name, "label": label, "type": "query", "datasource": SOURCE,
            "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "current": {"text": "All", "value": "$__all"} if several else {}, "hide": 0, "includeAll": several, "multi": several,
            **({"allValue": ".+"} if several else {}), "options": [], "refresh": 2, "regex": "", "skipUrlSync": False, "sort": 1,
        }

    def panels(self):
        content = f"**This page answers**: {self.answers}\n\n**It cannot answer**: {self.cannot}\n\n{ALWAYS}"
        found = [{**TEXT, "id": 1, "options": {**TEXT["options"], "content": content}}]
        y = TEXT["gridPos"]["h"]
        for title, panels in self.rows:
            row = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
            found.append({"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": row, "panels": []})
            x, y, deepest = 0, y + 1, 0
            for panel in panels:
                if x + panel.width > COLUMNS:
                    x, y, deepest = 0, y + deepest, 0
                found.append(panel.json(len(found) + 1, x, y, self.scope, scoped))
                x, deepest = x + panel.width, max(deepest, panel.height)
            y += deepest
        return found


ALWAYS = (
    "**(closed)** in a title: from closed intervals of the books, moving in steps of 15 minutes, up to the purple line. **(live)**: as read, provisional. "
    "A blank is a blank: **no data is never zero**, and no line is drawn over a gap. Figures to publish come from the collector's books, with their proofs: "
    "Prometheus holds rounded joules, and `increase` extrapolates at its edges."
)
PAGES = {
    "type": "dashboards", "title": "bijli", "tags": ["bijli"], "asDropdown": True, "includeVars": True, "keepTime": True,
    "targetBlank": False, "icon": "external link", "tooltip": "the other pages, for the same hub and time", "url": "",
}
GRAFANA_NOTES = {
    "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
}
DATA_SOURCE = {
    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0,
    "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "", "skipUrlSync": False,
}
TEXT = {
    "type": "text", "title": "What this page answers, and what it cannot", "transparent": True,
    "description": "Read first: what the numbers on this page are good for. Thresholds: none, this is text.",
    "gridPos": {"h": 6, "w": COLUMNS, "x": 0, "y": 0},
    "options": {"mode": "markdown", "code": {"language": "plaintext", "showLineNumbers": False, "showMiniMap": False}},
}
HUB = ("hub", "Hub", "label_values(bijli_collector_nodes_reporting, hub)")
ONE_HUB = {"hub": '="$hub"'}
