"""No score knows a label before its time: the checks of `leaks.py` on the replay, and on scorers that do peek.

A slice of the simulator's world, a month and a half of few cards, runs on every change.
"""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from cardwatch.replay import configuration, make_replay, read_sections
from cardwatch.replay.labelling import KnownLabels
from cardwatch.replay.mapping import own_names
from cardwatch.replay.source import Transactions
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.output import write_files
from tests.replay import leaks
from tests.replay.leaks import DAY_MS, Scorer, Scores, World

pytestmark = [pytest.mark.compiled, pytest.mark.slow]
KEY = bytes(range(16))
START_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six weeks of 300 cards, with attacks of all kinds among them; labels come after a week."""
    folder = tmp_path_factory.mktemp("leaks")
    stream = Simulator(WorldSettings(seed=4, cards=300, merchants=500, attacks_per_thousand_cards_day=4)).stream(
        START_MS
    )
    write_files(stream, 37_000, folder / "payments.parquet", folder / "labels.parquet", 7 * DAY_MS)
    table = pq.read_table(folder / "payments.parquet")
    transactions = Transactions(table, own_names(table.column_names), KEY)
    known = dict(
        zip(
            *(
                pq.read_table(folder / "labels.parquet").column(name).to_pylist()
                for name in ("transaction_id", "label")
            ),
            strict=True,
        )
    )
    truth = np.array([known.get(name, 0) for name in transactions.transaction_ids().to_pylist()], dtype=np.int64)
    return World(transactions, truth, 7 * DAY_MS)


def replayed(transactions: Transactions, labels: KnownLabels) -> Scores:
    """The scores of `cardwatch replay`."""
    replay = make_replay(transactions, labels, configuration(read_sections(None)))
    return np.concatenate([table.column("score").to_numpy() for table in replay.run(lambda _: None)])


def impatient(transactions: Transactions, labels: KnownLabels) -> Scores:
    """A planted leak: the same engine, but each label acts as soon as its payment has happened."""
    return replayed(transactions, KnownLabels(labels.row, labels.label, transactions.event_time_ms[labels.row]))


def clairvoyant(transactions: Transactions, labels: KnownLabels) -> Scores:
    """A planted leak: a payment's own label moves its score by a little."""
    scores = np.full(len(transactions), 0.1) + np.arange(len(transactions)) % 97 / 1000
    scores[labels.row] += 0.05 * labels.label
    return scores


PEEKING = pytest.mark.parametrize("scorer", [impatient, clairvoyant])


def test_labels_are_felt(world: World) -> None:
    """The replay learns, so the silence of the checks below means something."""
    assert world.truth.sum() > 300
    assert leaks.is_felt_at_all(world, replayed)


def test_labels_after_the_cut_do_not_change_a_score_before_it(world: World) -> None:
    """Permuting what becomes known later leaves every earlier score as it is, bit for bit."""
    assert leaks.felt_before_the_cut(world, replayed) == 0


def test_labels_of_later_payments_change_nothing_before_they_can_be_known(world: World) -> None:
    """Removing the labels of payments after a moment changes nothing until the delay has passed."""
    assert leaks.felt_before_the_delay(world, replayed) == 0


def test_waiting_a_week_longer_costs_precision(world: World) -> None:
    """Labels a week later are labels that teach less."""
    assert leaks.lost_by_waiting(world, replayed) > 0.005


@PEEKING
def test_a_planted_leak_is_found_by_permuting(world: World, scorer: Scorer) -> None:
    """A scorer that feels labels before their time is caught."""
    assert leaks.felt_before_the_cut(world, scorer) > 0


@PEEKING
def test_a_planted_leak_is_found_by_removing(world: World, scorer: Scorer) -> None:
    """A scorer that feels labels of payments of the last week is caught."""
    assert leaks.felt_before_the_delay(world, scorer) > 0


@PEEKING
def test_a_planted_leak_is_found_by_waiting(world: World, scorer: Scorer) -> None:
    """A scorer that does not wait for its labels loses nothing when they come later."""
    assert leaks.lost_by_waiting(world, scorer) <= 0.005


def test_the_checks_see_a_single_score(world: World) -> None:
    """One changed bit in one early score is found."""
    honest = clairvoyant(world.transactions, world.labels())
    other = honest.copy()
    other[5] = np.nextafter(other[5], 1.0)
    assert leaks.moved_before(world, world.moment(0.5), honest, other) == 1
    assert leaks.moved_before(world, int(world.transactions.event_time_ms[0]) - 1, honest, other) == 0
