"""Broker credentials for Faust, from the same options in librdkafka's names that every other client here takes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

from streams.errors import SettingsError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def broker_credentials(options: Mapping[str, str]) -> Any:
    """Translate `security.protocol` and its companions.

    Raises:
        SettingsError: the protocol is none of Kafka's.
    """
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        message = f"security.protocol must be one of {', '.join(_PROTOCOLS)}, not {protocol}"
        raise SettingsError(message)
    if protocol == "PLAINTEXT":
        return None
    context = _tls_context(options) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return SSLCredentials(context)
    return SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")),
        ssl_context=context,
    )


def _tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """A verifying TLS context with the configured authority and client certificate."""
    context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    if "ssl.certificate.location" in options:
        context.load_cert_chain(
            options["ssl.certificate.location"], options.get("ssl.key.location"), options.get("ssl.key.password")
        )
    return context
