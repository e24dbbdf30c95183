"""How a broker lets us in: what of `kafka.client` every client of ours understands, and why a broker refuses.

librdkafka and Faust's client take the same options. What only one of the two understands is refused, for a role would
connect with one and not with the other. Nothing here repeats a value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from confluent_kafka import KafkaError

from streams.errors import AccessError, SettingsError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_INSTEAD_OF = {
    "ssl.ca.pem": "ssl.ca.location",
    "ssl.certificate.pem": "ssl.certificate.location",
    "ssl.key.pem": "ssl.key.location",
    "ssl.keystore.location": "ssl.certificate.location and ssl.key.location",
    "enable.ssl.certificate.verification": "ssl.ca.location, a file with the authority that signed the certificate",
}
_REFUSALS: Mapping[int, str] = {
    KafkaError._AUTHENTICATION: (  # noqa: SLF001 - the name the client gives it, and the next
        "the broker refuses our user: check sasl.username, sasl.password and sasl.mechanism of kafka.client"
    ),
    KafkaError._SSL: (  # noqa: SLF001
        "TLS with the broker fails: check ssl.ca.location of kafka.client (the authority that signed the broker's "
        "certificate), that this certificate names the host of kafka.bootstrap_servers, and ssl.certificate.location "
        "where the broker asks for one of ours"
    ),
}


class Complaints:
    """What librdkafka says of its connections, for its `error_cb`; runs in whichever thread serves callbacks.

    Attributes:
        refusal: why the broker does not let us in, and what to do; empty while nothing says so.
    """

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.refusal = ""

    def __call__(self, error: KafkaError) -> None:
        """Take what was said."""
        self.refusal = _REFUSALS.get(error.code(), self.refusal)

    def require_let_in(self) -> None:
        """Raises AccessError if a broker does not let us in; to be asked when no answer has come."""
        if self.refusal:
            raise AccessError(self.refusal)


def protocol_of(options: Mapping[str, str]) -> str:
    """`security.protocol`.

    Raises:
        SettingsError: it is none of Kafka's.
    """
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        message = f"kafka.client: security.protocol must be one of {', '.join(_PROTOCOLS)}"
        raise SettingsError(message)
    return protocol


def mechanism_of(options: Mapping[str, str]) -> str:
    """`sasl.mechanism`.

    Raises:
        SettingsError: it is none that both clients speak.
    """
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", ""))
    if mechanism not in _MECHANISMS:
        message = f"kafka.client: sasl.mechanism must be one of {', '.join(_MECHANISMS)}"
        raise SettingsError(message)
    return mechanism


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """A verifying TLS context with the configured authority and client certificate.

    Raises:
        SettingsError: a file cannot be read, or is not what it should be.
    """
    for name, instead in _INSTEAD_OF.items():
        if name in options:
            message = f"kafka.client: {name} cannot be used here; right is {instead}"
            raise SettingsError(message)
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    except OSError as error:  # an SSLError is one
        message = f"kafka.client: ssl.ca.location: {file_problem(error)}; right is a file of certificates in PEM"
        raise SettingsError(message) from None
    if options.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if "ssl.certificate.location" in options:
        key, password = options.get("ssl.key.location"), options.get("ssl.key.password", "")
        try:
            context.load_cert_chain(options["ssl.certificate.location"], key, lambda: password)
        except OSError as error:
            message = (
                f"kafka.client: ssl.certificate.location, ssl.key.location, ssl.key.password: {file_problem(error)}; "
                "right are a certificate and its key in PEM"
            )
            raise SettingsError(message) from None
    return context


def require_usable(options: Mapping[str, str]) -> None:
    """Find out before anything connects whether every client can be made with these options.

    Raises:
        SettingsError: names the option and what would be right.
    """
    protocol = protocol_of(options)
    if protocol.startswith("SASL"):
        mechanism_of(options)
        missing = [name for name in ("sasl.username", "sasl.password") if not options.get(name)]
        if missing:
            message = f"kafka.client: {' and '.join(missing)} missing, which security.protocol {protocol} needs"
            raise SettingsError(message)
    if protocol.endswith("SSL"):
        tls_context(options)


def file_problem(error: OSError) -> str:
    """What is wrong with a file of certificates or keys, without its content."""
    if isinstance(error, ssl.SSLError):
        return f"is no such thing ({error.reason or type(error).__name__})"
    return f"cannot be read ({error.strerror})"
