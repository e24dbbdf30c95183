"""Errors of the telemetry package.

TelemetryError
├── CatalogueError   the catalogue contradicts itself, or code asks it for what it does not hold
└── EndpointError    a port for metrics and probes cannot be had
"""

from __future__ import annotations


class TelemetryError(Exception):
    """Root of all errors of this package."""


class CatalogueError(TelemetryError):
    """The catalogue contradicts itself, or code asks it for what it does not hold."""


class EndpointError(TelemetryError):
    """A port for metrics and probes cannot be had."""
