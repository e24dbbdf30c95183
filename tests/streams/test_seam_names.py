"""The batch seam overrides Faust's private names: here it shows when one of them changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module

import faust
import pytest

from streams import seam_names
from streams.errors import SeamError


@pytest.mark.parametrize("place", list(seam_names.PRIVATE_NAMES), ids=lambda place: f"{place[0].__name__}.{place[1]}")
def test_private_names_have_the_parameters_we_use(place: tuple[type, str]) -> None:
    """Each name is there, with the parameters it had when the seam was written."""
    function: Callable[..., object] = getattr(*place)
    assert tuple(inspect.signature(function).parameters) == seam_names.PRIVATE_NAMES[place]


@pytest.mark.parametrize(
    "name",
    [
        "consumer_generation_id",
        "flow_active",
        "_session_timeout_ms",
        "_retry_backoff_ms",
        "_cluster",
        "_client",
        "_subscription",
        "_stopped",
        "consumer_stopped_errors",
        "_partition_assignment_strategy",
        "_fetch_max_wait_ms",
        "_coordinator",
        "_performed_join_prepare",
        "_group_subscription",
        "should_stop",
        "rebalancing",
        "crash_reason",
    ],
)
def test_private_attributes_are_still_used_where_we_set_or_read_them(name: str) -> None:
    """Attributes have no signature; that the sources still speak of them is what can be checked."""
    modules = (
        "faust.app.base", "faust.transport.consumer", "faust.transport.drivers.aiokafka", "faust.tables.recovery",
        "aiokafka.consumer.consumer", "aiokafka.consumer.group_coordinator", "mode.services",
    )  # fmt: skip
    assert any(name in inspect.getsource(import_module(module)) for module in modules)


def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker on another Faust says so before it starts, instead of misbehaving."""
    seam_names.check_versions()
    monkeypatch.setattr(faust, "__version__", "0.16.0")
    with pytest.raises(SeamError, match=r"0\.15\.3"):
        seam_names.check_versions()
