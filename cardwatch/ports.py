"""Whether a TCP port can be listened on."""

from __future__ import annotations

import os
import socket


def listening_problem(host: str, port: int) -> str:
    """Why a port cannot be had, in the system's words; empty where it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return ""
    except OSError as error:
        # Its own text repeats the address.
        return os.strerror(error.errno) if error.errno else type(error).__name__
