"""Grafana's dashboards, as code: ``make generated`` writes them to dashboards/*.json."""
