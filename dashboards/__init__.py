"""Grafana's dashboards, written from `cardwatch.monitoring.panels`: `python -m dashboards`. Needs the extra `dev`."""
