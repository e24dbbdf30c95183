"""The end of a certificate is read as openssl reads it."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pytest

from telemetry.certificates import first_expiry_s

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def certificate(folder: Path, days: int) -> str:
    """A certificate that ends in so many days, made by openssl."""
    made = folder / f"{days}.pem"
    command = f"openssl req -x509 -newkey ed25519 -nodes -days {days} -subj /CN=test -keyout {folder}/key -out {made}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return made.read_text()


@pytest.mark.parametrize("days", [1, 30, 365 * 40])
def test_the_end_agrees_with_openssl(tmp_path: Path, days: int) -> None:
    """Years beyond 2049 are written in another form, and read all the same."""
    pem = certificate(tmp_path, days)
    said = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate"], input=pem, check=True, capture_output=True, text=True
    ).stdout
    wanted = dt.datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert first_expiry_s(pem) == wanted.timestamp()


def test_the_first_end_of_a_chain_counts(tmp_path: Path) -> None:
    """A chain is as good as its first certificate to end; keys and broken blocks are passed over."""
    soon, late = certificate(tmp_path, 5), certificate(tmp_path, 50)
    key = (tmp_path / "key").read_text()
    broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    assert first_expiry_s(late + key + broken + soon) == first_expiry_s(soon)


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_end(text: str) -> None:
    """A wrong file shows nothing rather than ending the process."""
    assert first_expiry_s(text) is None
