"""Settings that contradict each other are refused by name; metrics say what they count."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from detector.shadows import Shadow
from detector.vocabulary import Flag
from streams.errors import SettingsError
from streams.metrics import StreamMetrics
from streams.settings import StreamSettings
from tests.streams.stand_in import KEY


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"fingerprint_key": b"short"}, "fingerprint_key"),
        ({"partitions": 0}, "partitions"),
        ({"linger_ms": 0}, "linger_ms"),
        ({"checkpoints_kept": 1}, "checkpoints_kept"),
        ({"stall_timeout_s": 10.0}, "stall_timeout_s"),
        ({"issuer_token_pattern": "("}, "issuer_token_pattern"),
        ({"embedded": True, "session_timeout_s": 2.0}, "session_timeout_s"),
    ],
)
def test_a_wrong_setting_is_named(changed: dict[str, Any], named: str) -> None:
    """The message names the setting and what would be right."""
    with pytest.raises(SettingsError, match=named):
        StreamSettings(**({"bootstrap_servers": "b", "checkpoint_url": "memory://", "fingerprint_key": KEY} | changed))


def test_secrets_are_not_shown() -> None:
    """Neither the key nor a password stands in what is logged of the settings."""
    shown = repr(StreamSettings("b", "memory://", KEY, {"sasl.password": "pa55word"}))
    assert "pa55word" not in shown
    assert KEY.decode() not in shown


def test_a_histogram_counts_like_prometheus() -> None:
    """Bounds are inclusive, buckets cumulate, and a batch counts like its values one by one."""
    registry = CollectorRegistry()
    histogram = StreamMetrics(registry).decision_latency
    histogram.observe_many(np.array([0.0001, 0.00011, 0.003, 100.0]))
    histogram.observe_many(np.array([0.0005]))
    name = "cardwatch_decision_latency_seconds"
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.0001"}) == 1
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.0005"}) == 3
    assert registry.get_sample_value(f"{name}_bucket", {"le": "10.0"}) == 4
    assert registry.get_sample_value(f"{name}_bucket", {"le": "+Inf"}) == 5
    assert registry.get_sample_value(f"{name}_count") == 5


def test_what_does_not_act_is_counted_beside_what_was_answered() -> None:
    """By pairs of actions, of the rows that are answered now; a repeated payment keeps its first answer."""
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry)
    action, other = np.array([0, 0, 2, 4, 0]), np.array([0, 4, 2, 0, 4])
    flags = np.array([0, 0, 0, 0, int(Flag.DUPLICATE)])
    shadow = Shadow("faster", "policy-1", np.zeros(5), other)
    metrics.compared([shadow], action, flags, np.array([0, 1, 2, 4]))
    metrics.compared([], action, flags, np.arange(5))
    name = "cardwatch_shadow_decisions_total"
    found = {
        (sample.labels["action"], sample.labels["shadow_action"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and sample.labels["shadow"] == "model faster"
    }
    assert found == {("ALLOW", "ALLOW"): 1.0, ("ALLOW", "FREEZE"): 1.0, ("REVIEW", "REVIEW"): 1.0}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    """Names, units and help texts follow Prometheus' conventions."""
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry)
    metrics.decision_latency.observe_many(np.array([0.1]))
    metrics.model_in_use("m-000001")
    metrics.checkpoint_done(1, 0.1)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
