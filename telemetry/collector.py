"""Python's garbage collector in a process that serves for long."""

from __future__ import annotations

import gc

# Objects that may be referred to in circles, made since the last look. Python's default of 700 has a batch of payments
# looked at dozens of times, and nothing is found.
_COLLECT_AFTER = 50_000


def settle() -> None:
    """Look no more at what exists now, which lives as long as the process; call it when a process is ready to serve.

    A look at everything takes a tenth of a second in a process with a web framework, and stops all requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
