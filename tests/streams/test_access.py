"""What of `kafka.client` is refused before anything connects, and what it becomes for Faust."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from streams.access import Complaints, require_usable
from streams.errors import AccessError, SettingsError
from streams.seam_security import broker_credentials
from tests.services.certificates import Authority

SECRET = "pa55-w0rd"
SCRAM = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": SECRET}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"security.protocol": SECRET}, "security.protocol must be one of PLAINTEXT, SSL"),
        ({"security.protocol": "SASL_SSL"}, "sasl.mechanism must be one of PLAIN, SCRAM"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism must be one of PLAIN, SCRAM"),
        ({"security.protocol": "SASL_PLAINTEXT", **SCRAM, "sasl.password": ""}, "sasl.password missing"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, "ssl.ca.location: cannot be read (No such file"),
        ({"security.protocol": "SSL", "ssl.ca.location": __file__}, "ssl.ca.location: is no such thing"),
        ({"security.protocol": "SSL", "ssl.certificate.location": "/nowhere"}, "ssl.certificate.location"),
        (
            {"security.protocol": "SSL", "ssl.ca.pem": SECRET},
            "ssl.ca.pem cannot be used here; right is ssl.ca.location",
        ),
        ({"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"}, "right is ssl.ca.location"),
    ],
)
def test_what_a_client_could_not_use_is_named(options: Mapping[str, str], named: str) -> None:
    """The option and what would be right; its value never, for it may be a password in the wrong place."""
    with pytest.raises(SettingsError) as raised:
        require_usable(options)
    assert named in str(raised.value)
    assert SECRET not in str(raised.value)


def test_faust_gets_the_same() -> None:
    """Nothing in the clear where a protocol was asked for; no user where none is needed."""
    assert broker_credentials({}) is None
    given = broker_credentials({"security.protocol": "sasl_plaintext", **SCRAM})
    assert (given.username, given.password, given.mechanism.value) == ("u", SECRET, "SCRAM-SHA-512")
    assert SECRET not in repr(given)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_certificates_are_read_and_the_broker_is_verified(tmp_path: Path) -> None:
    """Ours with its key, and the authority; a key that belongs to another certificate is found."""
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("ours"), authority.issue("theirs")
    options = {
        "security.protocol": "SSL", "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(ours.certificate), "ssl.key.location": str(ours.key),
    }  # fmt: skip
    context = broker_credentials(options).context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    with pytest.raises(SettingsError, match=r"ssl\.key\.location.*KEY_VALUES_MISMATCH"):
        require_usable(options | {"ssl.key.location": str(theirs.key)})


def test_a_refusal_is_kept_and_says_what_to_do() -> None:
    """What librdkafka says besides does not hide it."""
    complaints = Complaints()
    complaints.require_let_in()
    for code in (KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN):
        complaints(KafkaError(code))
    with pytest.raises(AccessError, match=r"sasl\.username, sasl\.password and sasl\.mechanism"):
        complaints.require_let_in()
