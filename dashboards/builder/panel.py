"""The kinds of panels. Each says what it shows, in which unit, what its colours mean and where their limits come from."""
from .metrics import CLOSED, NAME, OWN
from .query import Query

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PLAIN = [("green", None)]
CLOSED_WORDS = "Closed books: late facts may still correct them, and until a period is closed nothing here is final."
LIVE_WORDS = "Live readings: provisional, as the devices gave them."


class Panel:
    """One panel before it has a place. `limits`: colours from which value on, and `source`: who says so."""

    def __init__(self, kind, title, queries, unit, says, *, limits=None, source, width, height=8, link=None, decimals=None, **more):
        self.kind, self.title, self.unit, self.says = kind, title, unit, says
        self.queries = [queries] if isinstance(queries, Query) else list(queries)
        self.limits, self.source, self.width, self.height = limits or PLAIN, source, width, height
        self.link, self.decimals, self.more = link, decimals, more

    def books(self):
        """Which of two worlds its numbers are from; what the programs count of themselves is of neither."""
        names = {name for query in self.queries for name in NAME.findall(query.expr) if not OWN.match(name)}
        return sorted({("closed" if CLOSED.match(name) else "live") for name in names})

    def description(self):
        words = [CLOSED_WORDS] if "closed" in self.books() else []
        words += [LIVE_WORDS] if "live" in self.books() else []
        return " ".join([self.says, *words, f"Thresholds: {self.source}."])

    def json(self, id_, x, y, scope, scoped):
        defaults = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in self.limits]},
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "mappings": self.more.get("mappings", []),
            "noValue": self.more.get("no_value", "no data"),
        }
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        if self.kind in ("bargauge", "timeseries") and "least" in self.more:
            defaults["min"] = self.more["least"]
        if self.link:
            defaults["links"] = [{"title": self.link[0], "url": self.link[1] + "&${__url_time_range}", "targetBlank": False}]
        if self.kind == "timeseries":
            defaults["custom"] = self.lines()
        title = f"{self.title} ({', '.join(self.books())})" if self.books() else self.title
        panel = {
            "id": id_, "type": self.kind, "title": title, "description": self.description(),
            "datasource": SOURCE, "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": OPTIONS[self.kind],
            "targets": [self.target(index, query, scope, scoped) for index, query in enumerate(self.queries)],
        }
        if self.kind == "table":
            hidden = {name: True for name in self.more["hidden"]}
            organize = {"excludeByName": hidden, "indexByName": {}, "renameByName": self.more.get("renamed", {})}
            panel["transformations"] = [{"id": "organize", "options": organize}]
        return panel

    def lines(self):
        """A gap is a gap: nothing is drawn over it."""
        is_stacked = self.more.get("stacked", False)
        return {
            "drawStyle": "line", "lineInterpolation": self.more.get("shape", "linear"), "lineWidth": 1,
            "fillOpacity": 40 if is_stacked else 0, "showPoints": "auto", "spanNulls": False, "insertNulls": False,
            "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if self.limits != PLAIN else "off"},
        }

    def target(self, index, query, scope, scoped):
        return {
            "refId": chr(ord("A") + index), "datasource": SOURCE, "expr": scoped(query.expr, scope), "legendFormat": query.legend,
            "editorMode": "code", "format": "table" if self.kind == "table" else "time_series",
            "instant": query.instant, "range": not query.instant,
        }


REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS = {
    "stat": {"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "reduceOptions": REDUCED},
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "bargauge": {
        "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "minVizHeight": 12, "minVizWidth": 8,
        "valueMode": "color", "reduceOptions": REDUCED,
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}


def stat(title, query, unit, says, *, width=4, **more):
    return Panel("stat", title, query, unit, says, width=width, height=5, **more)


def lines(title, queries, unit, says, *, width=8, **more):
    return Panel("timeseries", title, queries, unit, says, width=width, **more)


def stack(title, queries, unit, says, *, width=8, **more):
    """Parts that sum to a whole."""
    return Panel("timeseries", title, queries, unit, says, width=width, stacked=True, least=0, **more)


def bars(title, query, unit, says, *, width=8, **more):
    return Panel("bargauge", title, query, unit, says, width=width, least=0, **more)


def table(title, query, unit, says, *, width=8, hidden=("Time",), **more):
    return Panel("table", title, query, unit, says, width=width, hidden=hidden, **more)
