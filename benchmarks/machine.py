"""What a result was measured on: hardware and versions, without names of hosts or paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("numpy", "numba", "river", "faust-streaming", "aiokafka", "confluent-kafka")
_GIB = 1024**3


def describe() -> dict[str, str]:
    """Hardware and versions by name, in the order in which people read them."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB)} GiB",
        "system": f"{platform.system()} {platform.machine()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def java_version() -> str:
    """The version of the Java that runs Kafka, "unknown" where it does not say."""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "([^"]+)"', said)
    return found[1] if found else "unknown"


def _processor() -> str:
    """The processor's own name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()
