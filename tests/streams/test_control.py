"""What the desk says on the control topic changes what the scorer answers from the next batch on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from casework.orders import directive_draft
from detector.directives import Directives
from detector.models import ModelsConfig, Trainer
from detector.policy import Policy
from detector.rates import RateTable
from detector.state import EngineState, StateConfig
from detector.transactions import build_batch
from detector.vocabulary import Action
from streams.core import UnusableBroadcastError
from streams.detector_core import DetectorCore
from streams.topics import CONTROL, HISTORIES
from tests.detector.policy_inputs import shipped

pytestmark = pytest.mark.compiled
NOW_MS = 1_760_000_000_000
LATER_MS = NOW_MS + 60_000


class Scorer:
    """A core with one partition, and payments of one card after another."""

    def __init__(self) -> None:
        config = StateConfig(bytes(16), cards=64, events=256, payments=64, entities=64, buckets=1024)
        rates = RateTable.from_mapping(shipped("rates.toml"))
        model = Trainer(ModelsConfig.from_mapping(shipped("models.toml"))).version("m-000000", 0)
        policy = Policy.from_mapping(shipped("policy.toml") | {"random_review_share": 0.0})
        self.core = DetectorCore(EngineState(config, rates), model, policy)
        self.core.open(0, None)
        self.paid = 0

    def pay(self, **fields: Any) -> Action:
        """What a plain payment is answered."""
        self.paid += 1
        columns = {
            "transaction_id": f"t-{self.paid}",
            "card_token": "card-1",
            "event_time_ms": NOW_MS + self.paid,
            "amount_minor": 500,
            "currency": "EUR",
            "merchant_id": "m-1",
            "terminal_id": f"terminal-{self.paid}",
            "device_id": f"device-{self.paid}",
            "country": "DE",
        } | fields
        batch = self.core.build({name: [value] for name, value in columns.items()}, 0, np.array([self.paid]))
        return Action(int(self.core.assess(batch).action[0]))

    def tell(self, **told: Any) -> None:
        """Take over a directive, in the very words in which the desk writes it."""
        body = dict(directive_draft({"card_token": "card-1", **told}).body) if told["kind"] != "list_entry" else told
        self.core.take_over(CONTROL, msgspec.json.encode(body))


@pytest.fixture(name="scorer", scope="module")
def fixture_scorer() -> Scorer:
    return Scorer()


def test_a_watched_card_is_reviewed_until_then(scorer: Scorer) -> None:
    """Every payment of it, and of no other."""
    assert scorer.pay() is Action.ALLOW
    scorer.tell(kind="watch", until_ms=LATER_MS)
    assert scorer.pay() is Action.REVIEW
    assert scorer.pay(card_token="card-2") is Action.ALLOW
    scorer.tell(kind="allow_merchant", merchant_id="m-1", until_ms=LATER_MS)
    assert scorer.pay() is Action.ALLOW
    assert scorer.pay(merchant_id="m-2") is Action.REVIEW
    scorer.tell(kind="watch", until_ms=0)
    assert scorer.pay(merchant_id="m-2") is Action.ALLOW


@pytest.mark.parametrize("subject", ["card", "merchant", "terminal", "device", "country"])
def test_lists_block_watch_and_allow(scorer: Scorer, subject: str) -> None:
    """Each kind of entity, until the entry is taken off; what is blocked is so even where it is allowed."""
    field, value = {
        "card": ("card_token", f"listed-{subject}"),
        "country": ("country", "KP"),
    }.get(subject, (f"{subject}_id", f"listed-{subject}"))
    plain = {"card_token": f"card-of-{subject}", "merchant_id": f"m-of-{subject}"}
    entry = {"kind": "list_entry", "subject": subject, "value": value}
    scorer.tell(**entry, effect="watch", until_ms=LATER_MS)
    assert scorer.pay(**(plain | {field: value})) is Action.REVIEW
    assert scorer.pay(**plain) is Action.ALLOW
    scorer.tell(**entry, effect="allow", until_ms=LATER_MS)
    assert scorer.pay(**(plain | {field: value})) is Action.ALLOW
    scorer.tell(**entry, effect="block", until_ms=LATER_MS)
    assert scorer.pay(**(plain | {field: value})) is Action.DECLINE
    for effect in ("block", "allow", "watch"):
        scorer.tell(**entry, effect=effect, until_ms=0)
    assert scorer.pay(**(plain | {field: value})) is Action.ALLOW


def test_an_entry_ends_by_the_time_of_payments(scorer: Scorer) -> None:
    """Without another word from the desk."""
    scorer.tell(kind="list_entry", subject="merchant", value="m-9", effect="block", until_ms=NOW_MS + 50_000)
    assert scorer.pay(merchant_id="m-9", card_token="card-9") is Action.DECLINE
    assert scorer.pay(merchant_id="m-9", card_token="card-9", event_time_ms=NOW_MS + 50_000) is Action.ALLOW


@pytest.mark.parametrize("value", [b"{}", b'{"kind":"melt"}', b'{"kind":"watch","card_token":"c"}', b"x"])
def test_what_is_no_directive_changes_nothing(scorer: Scorer, value: bytes) -> None:
    """It is counted by the caller and the stream goes on."""
    with pytest.raises(UnusableBroadcastError):
        scorer.core.take_over(CONTROL, value)


def test_travel_is_understood(scorer: Scorer) -> None:
    """It does not disturb the stream."""
    scorer.tell(kind="travel", countries=["JP"], until_ms=LATER_MS)
    assert scorer.pay(country="JP", card_token="card-8") is Action.ALLOW


@pytest.mark.parametrize("first", ["allowed", "inherited"])
def test_allowed_merchants_hold_for_the_new_card_and_watching_does_not(scorer: Scorer, first: str) -> None:
    """Whichever of the two was said first; also over two replacements, and a card never inherits from itself."""
    old, new, newest = (f"{name}-{first}" for name in ("old", "new", "newest"))
    inheriting = (
        {"kind": "inherit", "card_token": old, "new_card_token": new},
        {"kind": "inherit", "card_token": new, "new_card_token": newest},
        {"kind": "inherit", "card_token": newest, "new_card_token": old},
    )
    said: list[dict[str, Any]] = [
        {"kind": "allow_merchant", "card_token": old, "merchant_id": "m-7", "until_ms": LATER_MS},
        {"kind": "watch", "card_token": old, "until_ms": LATER_MS},
    ]
    for directive in [*said, *inheriting] if first == "allowed" else [*inheriting, *said]:
        scorer.tell(**directive)
    assert scorer.pay(card_token=old) is Action.REVIEW
    for card in (new, newest):
        assert scorer.pay(card_token=card) is Action.ALLOW
        scorer.tell(kind="watch", card_token=card, until_ms=LATER_MS)
        assert scorer.pay(card_token=card, merchant_id="m-2") is Action.REVIEW
        assert scorer.pay(card_token=card, merchant_id="m-7") is Action.ALLOW


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_journey_holds_for_the_cards_that_replace_the_travellers(order: tuple[int, int, int]) -> None:
    """Over two replacements, whatever was said first."""
    directives, key = Directives(), bytes(16)
    said = (
        lambda: directives.travel("old", ["JP"], LATER_MS),
        lambda: directives.inherit("old", "new"),
        lambda: directives.inherit("new", "newest"),
    )
    for number in order:
        said[number]()
    cards = ["old", "new", "newest", "another"]
    columns = {
        "transaction_id": cards, "card_token": cards, "event_time_ms": [NOW_MS] * 4, "amount_minor": [1] * 4,
        "currency": ["EUR"] * 4, "country": ["JP"] * 4,
    }  # fmt: skip
    batch = build_batch(columns, key=key)
    rows = {row for row, _ in directives.damped_reasons(batch, batch.event_time_ms, key)}
    assert rows == {0, 1, 2}


def test_a_history_that_cannot_be_read_changes_nothing(scorer: Scorer) -> None:
    """Another key's for instance: counted by the caller, and the new card begins without."""
    with pytest.raises(UnusableBroadcastError, match="no history"):
        scorer.core.take_over(HISTORIES, b"x")
