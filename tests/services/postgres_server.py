"""A real PostgreSQL server: Debian's, in a directory of its own, as the user that Debian made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import LOOPBACK, ServerProcess, ServiceError, free_ports

_USER = "postgres"
_START_SECONDS = 60.0


def postgres_programs() -> Path | None:
    """The folder of the newest version's programs, None without one; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return (
        ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command] if not os.geteuid() else command
    )


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server for the time of a `with` block; yields SQLAlchemy's URL of an empty database.

    Raises:
        ServiceError: there is no PostgreSQL, or it does not come up.
    """
    programs = postgres_programs()
    if programs is None:
        message = "PostgreSQL is not here: install Debian's package postgresql"
        raise ServiceError(message)
    (port,) = free_ports(1)
    # pytest's folders are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="cardwatch-postgres-"))
    try:
        if not os.geteuid():
            shutil.chown(folder, _USER, _USER)
        data = folder / "data"
        made = _as_postgres([str(programs / "initdb"), "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "-N"])
        subprocess.run(made, check=True, capture_output=True)
        options = ["-D", str(data), "-p", str(port), "-h", LOOPBACK, "-k", "", "-c", "fsync=off"]
        server = ServerProcess(_as_postgres([str(programs / "postgres"), *options]), folder / "postgres.log")
        server.start(lambda: _answers(programs, port), seconds=_START_SECONDS)
        try:
            yield f"postgresql+psycopg://{_USER}@{LOOPBACK}:{port}/postgres"
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(programs: Path, port: int) -> bool:
    command = [str(programs / "pg_isready"), "-h", LOOPBACK, "-p", str(port), "-q"]
    return subprocess.run(command, check=False).returncode == 0
