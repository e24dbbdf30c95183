"""Every attack by name looks like what it is called."""

from __future__ import annotations

import numpy as np
import pytest

from cardwatch.simulator import ATTACK_NAMES, Simulator, UnknownAttackError, WorldSettings
from cardwatch.simulator.payments import Payments
from cardwatch.simulator.wire import Record, to_records
from cardwatch.simulator.words import tokens

AT_MS = 1_767_300_000_000
SEEDS = range(4)


@pytest.fixture(scope="module")
def simulators() -> list[Simulator]:
    return [Simulator(WorldSettings(seed=seed, cards=800, merchants=600)) for seed in SEEDS]


def played(simulators: list[Simulator], name: str) -> list[tuple[Payments, list[Record]]]:
    """Payments and records of one attack in several worlds."""
    scenes = [simulator.attack_payments(name, AT_MS) for simulator in simulators]
    return [(scene, to_records(s.world, scene)) for s, scene in zip(simulators, scenes, strict=True)]


def frauds(scene: Payments, records: list[Record]) -> list[Record]:
    return [record for record, fraud in zip(records, scene.fraud, strict=True) if fraud]


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_an_attack_ends_at_its_moment_on_existing_cards(simulators: list[Simulator], name: str) -> None:
    """Records are in time order, the last at the moment asked for, within three hours; cards are the world's."""
    for simulator in simulators:
        records = simulator.attack(name, AT_MS)
        times = [record["event_time_ms"] for record in records]
        assert times == sorted(times)
        assert times[-1] == AT_MS
        assert AT_MS - times[0] <= 3 * 3_600_000
        existing = set(tokens("tok_", simulator.world.card_words(np.arange(800))))
        assert {record["card_token"] for record in records} <= existing
        assert len({record["transaction_id"] for record in records}) == len(records)


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_an_attack_can_be_repeated_or_renewed(simulators: list[Simulator], name: str) -> None:
    """The same moment gives the same records, so that sending them twice counts once; another moment gives others."""
    simulator = simulators[0]
    again, later = simulator.attack(name, AT_MS), simulator.attack(name, AT_MS + 1)
    assert simulator.attack(name, AT_MS) == again
    assert not {r["transaction_id"] for r in again} & {r["transaction_id"] for r in later}


def test_stolen_card(simulators: list[Simulator]) -> None:
    """After a payment at home, one card pays high amounts abroad by stripe or touch, minutes apart, far from home."""
    for scene, records in played(simulators, "stolen_card"):
        prelude, stolen = records[0], frauds(scene, records)
        assert len(stolen) == len(records) - 1 >= 6
        assert len({record["card_token"] for record in records}) == 1
        assert {record["country"] for record in stolen}.isdisjoint({prelude["country"]})
        assert {record["entry_mode"] for record in stolen} <= {"magstripe", "contactless"}
        assert stolen[-1]["event_time_ms"] - stolen[0]["event_time_ms"] < 3_600_000
        assert all(abs(record["latitude"] - record["home_latitude"]) > 1 for record in stolen)


def test_card_testing(simulators: list[Simulator]) -> None:
    """Many tiny online amounts at one merchant, many refused, and then high ones, from one device."""
    for scene, records in played(simulators, "card_testing"):
        tested = frauds(scene, records)
        assert len({record["card_token"] for record in tested}) == 4
        assert len({record["device_id"] for record in tested}) == 1
        assert {record["channel"] for record in tested} == {"ecom"}
        euro = [record for record in tested if record["currency"] == "EUR"]
        tiny = [record for record in euro if record["amount_minor"] <= 200]
        high = [record for record in euro if record["amount_minor"] >= 25_000]
        assert len(tiny) + len(high) == len(euro)
        assert len({record["merchant_id"] for record in tiny}) <= 1
        refused = [record for record in tested if record["response_code"] != "00"]
        assert len(refused) > len(tested) / 4


def test_compromised_terminal(simulators: list[Simulator]) -> None:
    """Cards that paid at one terminal are copied, and their copies are swiped elsewhere."""
    for scene, records in played(simulators, "compromised_terminal"):
        visits = [record for record, fraud in zip(records, scene.fraud, strict=True) if not fraud]
        copied = frauds(scene, records)
        assert len({record["terminal_id"] for record in visits}) == 1
        assert {record["card_token"] for record in copied} == {record["card_token"] for record in visits}
        assert len(visits) >= 8
        assert {record["entry_mode"] for record in copied} == {"magstripe"}
        assert min(r["event_time_ms"] for r in copied) > max(r["event_time_ms"] for r in visits)


def test_account_takeover(simulators: list[Simulator]) -> None:
    """A new device in another country spends high amounts online."""
    for scene, records in played(simulators, "account_takeover"):
        own, taken = records[0], frauds(scene, records)
        assert len({record["card_token"] for record in records}) == 1
        assert len({record["device_id"] for record in taken}) == 1
        assert taken[0]["device_id"] != own["device_id"]
        assert taken[0]["ip_country"] != own["ip_country"]
        assert {record["channel"] for record in taken} == {"ecom"}
        assert all(record["amount_minor"] >= 25_000 for record in taken)


def test_card_range_burst(simulators: list[Simulator]) -> None:
    """Many cards whose tokens start alike pay at one merchant within minutes."""
    for scene, records in played(simulators, "card_range_burst"):
        burst = frauds(scene, records)
        assert len(burst) == len(records)
        assert len({record["card_token"] for record in burst}) >= 20
        assert len({record["card_token"][:10] for record in burst}) == 1
        assert len({record["merchant_id"] for record in burst}) == 1
        assert burst[-1]["event_time_ms"] - burst[0]["event_time_ms"] < 5 * 60_000


def test_in_a_stream_a_compromised_terminal_strikes_for_weeks() -> None:
    """At its natural pace, copies are used from a day after the last visit on, for weeks."""
    simulator = Simulator(WorldSettings(seed=5, cards=800, merchants=600, attacks_per_thousand_cards_day=2.0))
    payments = simulator.stream(AT_MS).take(150_000)
    days = np.unique(payments.event_time_ms[payments.attack == 3] // 86_400_000)
    assert days[-1] - days[0] > 21


def test_an_unknown_attack_is_named(simulators: list[Simulator]) -> None:
    """A wrong name is answered with those there are."""
    with pytest.raises(UnknownAttackError, match="stolen_card, card_testing"):
        simulators[0].attack("phishing", AT_MS)
