"""Monitoring as code: from objectives in configuration to the rules, alerts and dashboards that watch them."""
