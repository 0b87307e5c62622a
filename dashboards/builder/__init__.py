"""Makes Grafana pages from a few lines a panel: metrics.py what exists, query.py the words of Prometheus, panel.py and page.py the JSON."""
