"""From the simulator's numbers to what others read: columns for `build_batch`, contract records, labels."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cardwatch.simulator.attacks import ATTACK_NAMES
from cardwatch.simulator.genuine import IS_ONLINE
from cardwatch.simulator.payments import RESPONSE_CODES, Payments
from cardwatch.simulator.places import CATEGORIES, CITIES, CURRENCIES
from cardwatch.simulator.words import tokens
from cardwatch.simulator.world import World
from detector.vocabulary import Channel, EntryMode, Kind

Record: TypeAlias = dict[str, Any]
Columns: TypeAlias = dict[str, Any]

_CURRENCY_CODES = np.array([currency.code for currency in CURRENCIES], dtype=object)
_COUNTRIES = np.array([city.country for city in CITIES] + [None], dtype=object)
_CATEGORY_NAMES = np.array([category.name for category in CATEGORIES], dtype=object)
_MCC = np.array([int(category.mcc) for category in CATEGORIES], dtype=np.int64)
_RESPONSES = np.array([*RESPONSE_CODES, None], dtype=object)
_ATTACKS = np.array(["", *ATTACK_NAMES], dtype=object)
_ENUMERATIONS: dict[str, dict[int, str | None]] = {
    "kind": {int(member): member.wire for member in Kind},
    "channel": {int(member): member.wire if member else None for member in Channel},
    "entry_mode": {int(member): member.wire if member else None for member in EntryMode},
}


def transaction_ids(payments: Payments) -> list[str]:
    """Transaction ids of payments."""
    return tokens("tx_", payments.transaction)


def _optional_tokens(prefix: str, words: NDArray[np.uint64]) -> list[str | None]:
    """Tokens of words, None for the word 0."""
    texts: NDArray[Any] = np.array(tokens(prefix, words), dtype=object)
    texts[words == 0] = None
    result: list[str | None] = texts.tolist()
    return result


def to_columns(world: World, payments: Payments) -> Columns:
    """Write payments as columns for `detector.transactions.build_batch`.

    Enumerations are codes of the vocabulary, missing texts None, missing coordinates NaN. The truth is not among them.
    """
    cards, merchants = world.cards, world.merchants
    category = merchants.category[payments.merchant]
    online = IS_ONLINE[category]
    return {
        "transaction_id": transaction_ids(payments),
        "card_token": tokens("tok_", world.card_words(payments.card)),
        "event_time_ms": payments.event_time_ms,
        "amount_minor": payments.amount_minor,
        "currency": _CURRENCY_CODES[payments.currency].tolist(),
        "kind": payments.kind,
        "refers_to": _optional_tokens("tx_", payments.refers_to),
        "terminal_id": tokens("trm_", world.terminal_words(payments.terminal)),
        "merchant_id": tokens("mer_", world.merchant_words(payments.merchant)),
        "mcc": _MCC[category],
        "merchant_category": _CATEGORY_NAMES[category].tolist(),
        "country": _COUNTRIES[merchants.city[payments.merchant]].tolist(),
        "channel": payments.channel,
        "entry_mode": payments.entry_mode,
        "device_id": _optional_tokens("dev_", payments.device),
        "customer_id": tokens("cus_", world.customer_words(payments.card)),
        "ip_country": _COUNTRIES[payments.ip_city].tolist(),
        "latitude": np.where(online, np.nan, merchants.latitude[payments.merchant]),
        "longitude": np.where(online, np.nan, merchants.longitude[payments.merchant]),
        "home_latitude": cards.latitude[payments.card],
        "home_longitude": cards.longitude[payments.card],
        "response_code": _RESPONSES[payments.response].tolist(),
    }


def to_plain_columns(world: World, payments: Payments) -> dict[str, list[Any]]:
    """Write payments as columns of plain values with the words of the contract; None where a field is not given."""
    plain: dict[str, list[Any]] = {}
    for name, column in to_columns(world, payments).items():
        values = column.tolist() if isinstance(column, np.ndarray) else column
        if name in _ENUMERATIONS:
            values = [_ENUMERATIONS[name][code] for code in values]
        elif name == "mcc":
            values = [f"{code:04d}" for code in values]
        elif name in ("latitude", "longitude"):
            values = [None if math.isnan(value) else value for value in values]
        plain[name] = values
    return plain


def to_records(world: World, payments: Payments) -> list[Record]:
    """Write payments as records of `payments.transactions.v1`; fields that are not given are left out."""
    plain = to_plain_columns(world, payments)
    names = tuple(plain)
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*plain.values(), strict=True)
    ]


def to_labels(world: World, payments: Payments, delay_ms: int) -> Columns:
    """Write the truth as labels, in the order of the payments: each becomes known `delay_ms` after its payment.

    Reversals move no money of their own and get none.

    Returns:
        columns `transaction_id`, `card_token`, `label` (1 fraud, 0 genuine), `label_time_ms` and `attack` ("" if none).
    """
    labelled = payments[payments.kind != Kind.REVERSAL]
    return {
        "transaction_id": transaction_ids(labelled),
        "card_token": tokens("tok_", world.card_words(labelled.card)),
        "label": labelled.fraud.astype(np.int64),
        "label_time_ms": labelled.event_time_ms + delay_ms,
        "attack": _ATTACKS[labelled.attack].tolist(),
    }
