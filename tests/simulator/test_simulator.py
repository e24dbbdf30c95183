"""The simulated world keeps its promises: one seed, one stream, to the contract."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardwatch.simulator import SettingError, Simulator, WorldSettings
from cardwatch.simulator.wire import Record, to_columns, to_labels, to_records
from cardwatch.simulator.world import DAY_MS
from detector.transactions import build_batch
from detector.vocabulary import Channel, EntryMode, Kind
from tests.columns import columns_of

START_MS = 1_767_225_600_000
SMALL = WorldSettings(seed=11, cards=400, merchants=600, attacks_per_thousand_cards_day=5.0)
TEXTS = (
    *("transaction_id", "card_token", "currency", "kind", "refers_to", "terminal_id", "merchant_id", "mcc"),
    *("merchant_category", "country", "channel", "entry_mode", "device_id", "customer_id", "ip_country"),
    "response_code",
)
NUMBERS = {"event_time_ms": int, "amount_minor": int} | dict.fromkeys(
    ("latitude", "longitude", "home_latitude", "home_longitude"), float
)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SMALL)


@pytest.fixture(scope="module")
def records(simulator: Simulator) -> list[Record]:
    return simulator.stream(START_MS).records(20_000)


def test_the_same_seed_gives_the_same_bytes(records: list[Record]) -> None:
    """A second world of the same settings writes the same stream, byte for byte; another seed writes another."""
    encode = msgspec.json.encode
    assert encode(Simulator(SMALL).stream(START_MS).records(20_000)) == encode(records)
    other = Simulator(WorldSettings(seed=12, cards=400, merchants=600))
    assert encode(other.stream(START_MS).records(100)) != encode(records[:100])


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=6))
@settings(max_examples=10)
def test_a_stream_does_not_depend_on_how_it_is_cut(cuts: list[int]) -> None:
    """Taking a stream in pieces gives what taking it whole gives."""
    simulator = Simulator(SMALL)
    pieces = simulator.stream(START_MS)
    cut = [record for count in cuts for record in pieces.records(count)]
    assert cut == simulator.stream(START_MS).records(sum(cuts))


def test_iterating_is_taking(simulator: Simulator, records: list[Record]) -> None:
    """A stream iterates over its records without end."""
    stream = iter(simulator.stream(START_MS))
    assert [next(stream) for _ in range(2_500)] == records[:2_500]


def test_records_come_in_time_order_with_ids_of_their_own(records: list[Record]) -> None:
    """Event times never go back, and no transaction id is used twice."""
    times = [record["event_time_ms"] for record in records]
    assert times[0] >= START_MS
    assert times == sorted(times)
    assert len({record["transaction_id"] for record in records}) == len(records)


def test_records_keep_to_the_contract(records: list[Record]) -> None:
    """Fields, types and words are the contract's; what is not given is left out; the truth is not in there."""
    words = {"kind": set(Kind.by_wire()), "channel": set(Channel.by_wire()), "entry_mode": set(EntryMode.by_wire())}
    for record in records:
        for name, value in record.items():
            assert name in TEXTS or name in NUMBERS, name
            assert type(value) is NUMBERS.get(name, str), (name, value)
            assert value in words.get(name, {value}), (name, value)
        assert record["amount_minor"] >= 0
        assert len(record["currency"]) == 3
        assert len(record["mcc"]) == 4
        assert len(record["country"]) == 2
        assert ("refers_to" in record) == (record["kind"] == "reversal")


def test_no_token_looks_like_a_card_number(records: list[Record]) -> None:
    """Tokens are never all digits, so no check for card numbers in the clear refuses one."""
    tokens = {record["card_token"] for record in records}
    assert len(tokens) > 300
    assert all(token.startswith("tok_") and len(token) == 20 for token in tokens)


def test_a_reversal_takes_back_an_earlier_purchase_of_its_card(records: list[Record]) -> None:
    """`refers_to` names a purchase of the same card, at most half an hour before."""
    by_id = {record["transaction_id"]: record for record in records}
    reversals = [record for record in records if record["kind"] == "reversal"]
    assert reversals
    for reversal in reversals:
        purchase = by_id[reversal["refers_to"]]
        assert purchase["kind"] == "purchase"
        assert purchase["card_token"] == reversal["card_token"]
        assert purchase["amount_minor"] == reversal["amount_minor"]
        assert 0 < reversal["event_time_ms"] - purchase["event_time_ms"] <= 30 * 60_000


def test_columns_say_what_records_say(simulator: Simulator, records: list[Record]) -> None:
    """The columns of a stream build the batch that its records describe."""
    columns = simulator.stream(START_MS).columns(3_000)
    batch = build_batch(columns, key=bytes(16))
    expected = build_batch(columns_of(records[:3_000]), key=bytes(16))
    for name in batch.__slots__:
        assert np.array_equal(getattr(batch, name), getattr(expected, name)), name


def test_people_have_habits(simulator: Simulator) -> None:
    """Most pay at home, at favourites, by day; some travel and pay in other currencies; a few are declined."""
    stream = simulator.stream(START_MS)
    payments = stream.take(20_000)
    genuine = payments[~payments.fraud]
    world = simulator.world
    favourites = world.cards.favourites[genuine.card]
    assert 0.5 < (favourites == genuine.merchant[:, None]).any(axis=1).mean() < 0.9
    street = genuine[genuine.merchant < world.merchants.online_first]
    at_home = world.merchants.city[street.merchant] == world.cards.city[street.card]
    assert 0.85 < at_home.mean() < 0.99
    hours = genuine.event_time_ms % DAY_MS // 3_600_000
    assert (hours == 16).sum() > 5 * (hours == 2).sum()
    assert 0.005 < (genuine.response > 0).mean() < 0.03
    days = (genuine.event_time_ms[-1] - genuine.event_time_ms[0]) / DAY_MS
    assert 2.5 < len(genuine) / days / SMALL.cards < 3.5


def test_no_traveller_is_faster_than_an_aeroplane() -> None:
    """Where nobody is attacked, payments in two different cities lie at least half a day apart."""
    simulator = Simulator(replace(SMALL, attacks_per_thousand_cards_day=0.0))
    payments, merchants = simulator.stream(START_MS).take(40_000), simulator.world.merchants
    street = payments[(payments.merchant < merchants.online_first) & (payments.kind != Kind.REVERSAL)]
    order = np.lexsort((street.event_time_ms, street.card))
    city = merchants.city[street.merchant[order]]
    moved = (np.diff(street.card[order]) == 0) & (np.diff(city) != 0)
    assert moved.sum() > 10
    assert np.diff(street.event_time_ms[order])[moved].min() >= DAY_MS // 2


def test_attacks_are_rare_and_of_all_kinds() -> None:
    """At the default rate about one payment in a hundred is fraudulent; at rate 0 none is."""
    payments = Simulator(WorldSettings(seed=3)).stream(START_MS).take(150_000)
    assert 0.002 < payments.fraud.mean() < 0.03
    assert set(payments.attack.tolist()) == {0, 1, 2, 3, 4, 5}
    quiet = Simulator(WorldSettings(seed=3, attacks_per_thousand_cards_day=0.0)).stream(START_MS).take(20_000)
    assert not quiet.fraud.any()


def test_labels_are_the_truth_in_time_order(simulator: Simulator) -> None:
    """Every payment but a reversal has its label, `delay` after it."""
    payments = simulator.stream(START_MS).take(5_000)
    labels = to_labels(simulator.world, payments, 7 * DAY_MS)
    columns = to_columns(simulator.world, payments)
    kept = payments.kind != Kind.REVERSAL
    assert labels["transaction_id"] == [t for t, k in zip(columns["transaction_id"], kept, strict=True) if k]
    assert labels["label"].tolist() == payments.fraud[kept].astype(int).tolist()
    assert (labels["label_time_ms"] == payments.event_time_ms[kept] + 7 * DAY_MS).all()
    assert [bool(name) for name in labels["attack"]] == payments.fraud[kept].tolist()


def test_a_larger_world_holds_the_smaller_one() -> None:
    """The first cards of a larger world are those of a smaller one: token, home and favourites."""
    small, large = Simulator(SMALL).world, Simulator(WorldSettings(seed=11, cards=1_000, merchants=600)).world
    first = np.arange(400)
    assert np.array_equal(small.card_words(first), large.card_words(first))
    for name in ("city", "latitude", "longitude", "favourites", "spending", "profile", "wallet"):
        assert np.array_equal(getattr(small.cards, name), getattr(large.cards, name)[:400]), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("cards", 99),
        ("merchants", 499),
        ("payments_per_card_day", 0.0),
        ("attacks_per_thousand_cards_day", -0.1),
        ("payments_per_card_day", float("nan")),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: float) -> None:
    """A setting out of range is refused by name, with what would be right."""
    with pytest.raises(SettingError, match=f"{name} is .*must be"):
        WorldSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("start_ms", [-1, 2**62])
def test_a_start_must_be_a_time(simulator: Simulator, start_ms: int) -> None:
    """Streams and attacks refuse times that are none."""
    with pytest.raises(SettingError, match="epoch milliseconds"):
        simulator.stream(start_ms)
    with pytest.raises(SettingError, match="epoch milliseconds"):
        simulator.attack("stolen_card", start_ms)


def test_no_payments_is_no_records(simulator: Simulator) -> None:
    """Nothing taken is nothing written."""
    assert to_records(simulator.world, simulator.stream(START_MS).take(0)) == []
