"""The port of a worker: metrics in both formats, probes that tell the truth, and nothing else."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from telemetry.catalogue import CATALOGUE
from telemetry.endpoint import serve
from telemetry.errors import EndpointError
from telemetry.instruments import Instruments
from telemetry.vitals import LONGEST_SILENCE_AT_START_S, LONGEST_SILENCE_S, Vitals

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_scrape_gets_what_it_accepts() -> None:
    """OpenMetrics with exemplars for those who accept it, the plain format for all others."""
    registry = CollectorRegistry()
    latency = Instruments(registry).histogram("cardwatch_decision_latency_seconds")
    latency.observe_many(np.array([0.003, 0.003]))
    latency.exemplify(0.003, TRACE, 1_700_000_000.0)
    url = f"http://127.0.0.1:{serve(registry, Vitals(), '127.0.0.1', 0)}/metrics"
    plain = httpx.get(url)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert TRACE not in plain.text
    modern = httpx.get(url, headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    wanted = f'cardwatch_decision_latency_seconds_bucket{{le="0.005"}} 2 # {{trace_id="{TRACE}"}} 0.003 1.7e+09'
    assert wanted in modern.text.replace("1700000000.0", "1.7e+09").replace("} 2.0 ", "} 2 ")
    assert modern.text.endswith("# EOF\n")


def test_a_value_that_is_no_number_does_not_spoil_a_histogram() -> None:
    """The sum stays a number, and the rest of the batch counts."""
    registry = CollectorRegistry()
    latency = Instruments(registry).histogram("cardwatch_decision_latency_seconds")
    latency.observe_many(np.array([1.0, np.nan, np.inf]))
    latency.observe_many(np.array([1.0] * 100 + [np.nan, -np.inf]))
    latency.observe(float("nan"))
    assert registry.get_sample_value("cardwatch_decision_latency_seconds_sum") == 101.0
    assert registry.get_sample_value("cardwatch_decision_latency_seconds_count") == 101


@given(st.lists(st.floats(0, 20), max_size=40))
def test_a_batch_counts_like_its_values(values: list[float]) -> None:
    """However large it is; bounds belong to the bucket below them, as Prometheus has it."""
    registries = CollectorRegistry(), CollectorRegistry()
    name = "cardwatch_decision_latency_seconds"
    batch, single = (Instruments(registry).histogram(name) for registry in registries)
    bounds = [0.0001, 0.25, 10.0]
    batch.observe_many(np.array(values + bounds))
    for value in values + bounds:
        single.observe(value)
    pages = [[sample for family in it.collect() for sample in family.samples] for it in (batch, single)]
    assert [(it.name, it.labels) for it in pages[0]] == [(it.name, it.labels) for it in pages[1]]
    assert [it.value for it in pages[0]] == pytest.approx([it.value for it in pages[1]])


@settings(max_examples=20)
@given(st.lists(st.integers(0, 9_000), max_size=6), st.integers(0, 2**32))
def test_many_batches_count_like_prometheus_own(sizes: list[int], seed: int) -> None:
    """However they fall into what is laid aside, and whenever somebody looks."""
    registry, rng = CollectorRegistry(), np.random.default_rng(seed)
    name = "cardwatch_decision_latency_seconds"
    ours = Instruments(registry).histogram(name)
    theirs = Histogram(name, "the twin", buckets=CATALOGUE[name].buckets, registry=None)
    for size in sizes:
        values = rng.exponential(0.1, size)
        ours.observe_many(values)
        ours.observe(float(size))
        for value in (*values, size):
            theirs.observe(value)
        (found,) = ours.collect()
        (wanted,) = theirs.collect()
        counted = {
            (it.name, it.labels.get("le")): it.value for it in wanted.samples if not it.name.endswith("_created")
        }
        assert len(counted) == len(found.samples)
        for sample in found.samples:
            assert sample.value == pytest.approx(counted[sample.name, sample.labels.get("le")])


def test_a_taken_port_is_named() -> None:
    """Two roles on one port are told apart from a bug."""
    port = serve(CollectorRegistry(), Vitals(), "127.0.0.1", 0)
    with pytest.raises(EndpointError, match=rf"127\.0\.0\.1:{port} \(.*\)"):
        serve(CollectorRegistry(), Vitals(), "127.0.0.1", port)


def test_probes_follow_the_life_of_a_process() -> None:
    """Starting, working, cut off from Redis, hanging: each probe says yes exactly where it should."""
    clock = Clock()
    vitals = Vitals(clock)
    url = f"http://127.0.0.1:{serve(CollectorRegistry(), vitals, '127.0.0.1', 0)}"

    def answers() -> tuple[int, int, int]:
        live, startup, ready = (httpx.get(f"{url}/{probe}").status_code for probe in ("livez", "startupz", "readyz"))
        return live, startup, ready

    vitals.phase("kernels", 0.2)
    assert answers() == (200, 503, 503)
    assert httpx.get(f"{url}/readyz").json()["phase"] == "kernels"
    clock.now_s += LONGEST_SILENCE_AT_START_S - 1
    assert answers() == (200, 503, 503)
    vitals.started()
    assert answers() == (200, 200, 200)
    vitals.waits_for("redis", "ConnectionError")
    assert answers() == (200, 200, 503)
    assert httpx.get(f"{url}/livez").json()["waits_for"] == {"redis": "ConnectionError"}
    vitals.waits_for("redis", None)
    assert answers() == (200, 200, 200)
    clock.now_s += LONGEST_SILENCE_S + 1
    assert answers() == (503, 200, 200)
    vitals.beat()
    assert answers() == (200, 200, 200)


def test_a_replay_shows_how_far_it_has_come() -> None:
    """Catching up is told by all probes, with a share that grows."""
    vitals = Vitals()
    vitals.started()
    vitals.behind(80_000, at_most=10_000)
    vitals.behind(20_000, at_most=10_000)
    assert not vitals.ready().is_good
    assert vitals.live().is_good
    assert vitals.live().picture["waits_for"] == {"caught up": "20000 records behind, 75% of the way"}
    vitals.behind(10_000, at_most=10_000)
    assert vitals.ready().is_good


def test_nothing_else_is_served() -> None:
    """What is asked for is not repeated in the answer."""
    url = f"http://127.0.0.1:{serve(CollectorRegistry(), Vitals(), '127.0.0.1', 0)}"
    answer = httpx.get(f"{url}/4111111111111111")
    assert answer.status_code == 404
    assert json.loads(answer.text) == {"status": "not found"}
    assert "4111" not in str(answer.headers)
    assert httpx.post(f"{url}/metrics").status_code == 501
