"""Broker credentials for Faust, from the same options in librdkafka's names that every other client here takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

from streams.access import mechanism_of, protocol_of, tls_context


def broker_credentials(options: Mapping[str, str]) -> Any:
    """Translate `security.protocol` and its companions.

    Raises:
        SettingsError: an option is not one that both clients understand, or a file is not what it should be.
    """
    protocol = protocol_of(options)
    if protocol == "PLAINTEXT":
        return None
    context = tls_context(options) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return SSLCredentials(context)
    return SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=mechanism_of(options),
        ssl_context=context,
    )
