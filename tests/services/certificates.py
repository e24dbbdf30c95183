"""An authority that signs certificates of servers on loopback, made by openssl for one test."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import LOOPBACK

_DAYS = "2"


@dataclass(frozen=True)
class Certificate:
    """Two files in PEM: a certificate, and its key without a password."""

    certificate: Path
    key: Path

    def pem(self) -> str:
        """Both in one, as Kafka's PEM keystores have them."""
        return self.key.read_text() + self.certificate.read_text()


class Authority:
    """Signs what it is asked for."""

    def __init__(self, directory: Path) -> None:
        """Make it, with files in `directory`."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._own = self._made("authority", "-addext", "keyUsage=critical,keyCertSign")

    @property
    def file(self) -> Path:
        """What clients trust."""
        return self._own.certificate

    def issue(self, name: str, host: str = LOOPBACK) -> Certificate:
        """A certificate of a server at an address."""
        signed_by = ["-CA", str(self._own.certificate), "-CAkey", str(self._own.key)]
        extensions = ["-addext", f"subjectAltName=IP:{host}", "-addext", "basicConstraints=critical,CA:FALSE"]
        return self._made(name, *signed_by, *extensions)

    def _made(self, name: str, *more: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", _DAYS]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run(
            ["openssl", "req", "-x509", *kind, "-subj", f"/CN={name}", *files, *more], check=True, capture_output=True
        )
        return made
