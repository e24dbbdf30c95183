"""Random streams of transactions and labels that are mean on purpose.

Times lie on the edges of windows, late, equal and far apart; reversals, outcomes and repetitions mean what is
remembered and what is not; fields are missing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_225_600_000

# How far the stream moves on before an event: onto, just before and just behind the edges of windows and buckets.
GAPS_MS = (
    *(0, 0, 0, 1, 999, 1_000, 56_249, 56_250, 56_251, 300_000, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, 5 * HOUR_MS),
    *(DAY_MS - 1, DAY_MS, DAY_MS + 1, 2 * DAY_MS, 2 * DAY_MS + 1, 7 * DAY_MS - 1, 7 * DAY_MS, 8 * DAY_MS),
    *(30 * DAY_MS - 1, 30 * DAY_MS, 31 * DAY_MS),
)
# How far behind the stream an event is dated.
DELAYS_MS = (0, 0, 0, 0, 1, 1_500, HOUR_MS, 5 * HOUR_MS, DAY_MS, 2 * DAY_MS - 1, 2 * DAY_MS, 2 * DAY_MS + 1, 9 * DAY_MS)
# How many of the gaps, from the smallest, a long stream draws from: small ones often, so that windows fill.
_REACHES = (8, 8, 8, 8, 8, 10, 10, 14, 14, 18, len(GAPS_MS))
WHATS = (
    *("payment",) * 14,
    *("repetition", "reversal", "reversal", "outcome", "outcome", "fraud", "fraud", "genuine"),
)
PLACES = ((52.52, 13.405), (52.520008, 13.404954), (40.713, -74.006), (-33.869, 151.209), (89.9, 179.9), (0.0, -180.0))
AMOUNTS = (0, 99, 200, 250, 4_999, 5_000, 5_100, 9_900, 12_400, 15_500, 123_456, 999_999_999)


@dataclass(frozen=True)
class Step:
    """One drawn event, still without the history it refers to."""

    what: str
    gap_ms: int
    delay_ms: int
    back: int
    card: int
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Event:
    """A transaction record or a label, of a source partition."""

    partition: int
    is_label: bool
    value: dict[str, Any]


STEPS = st.builds(
    Step,
    what=st.sampled_from(WHATS),
    gap_ms=st.sampled_from(GAPS_MS),
    delay_ms=st.sampled_from(DELAYS_MS),
    back=st.integers(1, 9),
    card=st.integers(0, 3),
    choices=st.tuples(*[st.integers(0, 11)] * 12),
)


def random_steps(seed: int, count: int) -> list[Step]:
    """A long stream by seed, mostly of small gaps so that windows fill."""
    rng = random.Random(seed)
    return [
        Step(
            what=rng.choice(WHATS),
            gap_ms=rng.choice(GAPS_MS[: rng.choice(_REACHES)]),
            delay_ms=rng.choice(DELAYS_MS),
            back=rng.randint(1, 9),
            card=rng.randint(0, 3),
            choices=tuple(rng.randint(0, 11) for _ in range(12)),
        )
        for _ in range(count)
    ]


def _chosen(options: Sequence[Any], choice: int) -> Any:
    return options[choice % len(options)]


def _payment(step: Step, number: int, now_ms: int) -> dict[str, Any]:
    """A payment with what the step has chosen; None stands for a field that is not given."""
    c = step.choices
    place, home = _chosen((None, *PLACES), c[0]), _chosen((None, *PLACES), c[1])
    fields: dict[str, Any] = {
        "transaction_id": f"t{number}",
        "card_token": f"tok_{step.card}",
        "event_time_ms": now_ms - step.delay_ms,
        "amount_minor": _chosen(AMOUNTS, c[2]),
        "currency": _chosen(("EUR", "EUR", "USD", "JPY", "ABC"), c[3]),
        "kind": _chosen((None, "purchase", "purchase", "purchase", "cash", "refund", "verification"), c[4]),
        "terminal_id": _chosen((None, "trm_a", "trm_a", "trm_b"), c[5]),
        "merchant_id": _chosen((None, "mer_a", "mer_a", "mer_b", "mer_c"), c[6]),
        "mcc": _chosen((None, "5411", "5411", "6011"), c[1]),
        "merchant_category": _chosen((None, None, "food"), c[0]),
        "country": _chosen((None, "DE", "DE", "FR"), c[7]),
        "ip_country": _chosen((None, "DE", "FR"), c[8]),
        "device_id": _chosen((None, "dev_a", "dev_b"), c[9]),
        "channel": _chosen((None, "pos", "ecom", "atm", "moto", "wallet"), c[10]),
        "entry_mode": _chosen((None, "chip", "manual", "token"), c[10]),
        "response_code": _chosen((None, "00", "00", "51", "85"), c[11]),
        "step_up": _chosen((None, None, "passed", "failed"), c[3]),
    }
    if place is not None:
        fields["latitude"], fields["longitude"] = place
        if c[1] == 11:
            del fields["longitude"]
    if home is not None:
        fields["home_latitude"], fields["home_longitude"] = home
    return {name: value for name, value in fields.items() if value is not None}


def build_events(steps: Sequence[Step], partitions: int = 1) -> list[Event]:
    """Turn steps into events; a card stays in its partition."""
    events: list[Event] = []
    now_ms = START_MS
    for number, step in enumerate(steps):
        now_ms += step.gap_ms
        payment = _payment(step, number, now_ms)
        partition = step.card % partitions
        earlier = [e.value for e in events if e.partition == partition and not e.is_label]
        target = earlier[-step.back] if step.back <= len(earlier) else {**payment, "transaction_id": "unknown"}
        if step.what in ("fraud", "genuine"):
            label = {
                "transaction_id": target["transaction_id"],
                "card_token": target["card_token"],
                "label": step.what,
                "source": "agent",
                "label_time_ms": now_ms - step.delay_ms,
            }
            events.append(Event(partition, is_label=True, value=label))
            continue
        if step.what == "repetition":
            payment |= {"transaction_id": target["transaction_id"], "card_token": target["card_token"]}
        elif step.what in ("reversal", "outcome"):
            payment |= {"kind": step.what, "refers_to": target["transaction_id"], "card_token": target["card_token"]}
        events.append(Event(partition, is_label=False, value=payment))
    return events
