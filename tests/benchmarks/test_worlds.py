"""The worlds that nothing was tuned on: made as they are described, replayed as a stranger's file, judged and told."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pytest

from benchmarks import bouts, worlds
from benchmarks.options import Options
from cardwatch.replay import configuration, read_sections
from cardwatch.simulator import WorldSettings

_SMALL = bouts.Setting(cards=60, shops=48, days=40)


def test_bouts_are_as_described() -> None:
    """One payment in two hundred is a thief's, at night, at his amounts, and no farther from home than others."""
    table = bouts.make(bouts.Setting(cards=300))
    stolen = table.column("stolen").to_numpy() == 1
    assert 0.004 < stolen.mean() < 0.008
    hours = pc.hour(table.column("purchased_at")).to_numpy()
    at_night = (hours >= 22) | (hours < 4)
    assert at_night[stolen].mean() > 0.8
    assert 0.1 < at_night[~stolen].mean() < 0.3
    usd = table.column("usd").to_numpy()
    assert np.median(usd[stolen]) > 3 * np.median(usd[~stolen])
    away = np.abs(table.column("home_lat").to_numpy() - table.column("shop_lat").to_numpy())
    assert away[stolen].mean() == pytest.approx(away[~stolen].mean(), rel=0.1)
    assert away.max() <= 1.0
    seconds = table.column("purchased_at").cast("int64").to_numpy()
    assert (np.diff(seconds) >= 0).all()


def test_a_bout_keeps_to_its_card_and_its_nights() -> None:
    """Few cards have all the frauds, each within days."""
    table = bouts.make(_SMALL)
    stolen = table.filter(pc.equal(table.column("stolen"), 1))
    cards = stolen.column("card_number").to_pylist()
    assert len(set(cards)) <= len(cards) / 7
    assert bouts.make(_SMALL).equals(table)
    assert not bouts.make(bouts.Setting(cards=60, shops=48, days=40, seed=1)).equals(table)


@pytest.mark.compiled
def test_a_world_is_replayed_under_its_mapping_and_told() -> None:
    """Its own columns become ours, its labels come late, and what is judged lies behind the warm-up."""
    file = worlds.at_night(12_000)
    found = worlds.measure("bouts at night", file, configuration(read_sections(None)), _options())
    ours = found["models"][0]
    assert found["days"] > worlds.WARM_UP_DAYS
    assert 0 < ours["quality"]["payments"] < found["payments"]
    assert 0.5 < ours["quality"]["auc"] <= 1.0
    text = worlds.text_of(1.0, [found])
    assert "**Bouts at night**: " in text
    assert "| **cardwatch** | 0." in text


def test_reversals_of_the_simulators_worlds_have_no_label() -> None:
    """They move no money of their own."""
    file = worlds.simulated(WorldSettings(3, 150, 500, 5.0, 8.0), 4_000)
    assert len(file.label) == len(file.transactions) == 4_000
    assert 0 < (~file.is_labelled).sum() < 200
    assert file.label[~file.is_labelled].sum() == 0
    assert file.label.sum() > 0


def _options() -> Options:
    return Options(records=10_000, handbook=None, peer_seconds=1.0, with_peers=False)
