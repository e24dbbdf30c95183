"""What payment systems and the scorer are told of a person's decision: one-off orders, and directives for a card.

Orders go to `cards.orders.v1`; each has an id and is carried out once. Directives go to the compacted
`cardwatch.control.v1`: each says everything under its key and replaces the one before.
"""

from __future__ import annotations

from typing import Any

from casework.outbox import CONTROL_TOPIC, Draft

CARDS_ORDERS_TOPIC = "cards.orders.v1"


def order_draft(
    order_id: str, card_token: str, told: dict[str, Any], *, case_id: str, actor: str, time_ms: int
) -> Draft:
    """A record of `cards.orders.v1`.

    Args:
        order_id: the same for every copy.
        card_token: the card it is about.
        told: `type` and what belongs to it.
        case_id: of which case.
        actor: who ordered it.
        time_ms: when.
    """
    body = {
        "order_id": order_id,
        "card_token": card_token,
        "case_id": case_id,
        "actor": actor,
        "order_time_ms": time_ms,
        **told,
    }
    return Draft(CARDS_ORDERS_TOPIC, card_token, f"cardwatch.order.{told['type']}", body)


def directive_draft(told: dict[str, Any]) -> Draft:
    """A record of `cardwatch.control.v1` about a card: `kind`, `card_token` and what belongs to the kind."""
    key = f"{told['kind']}:{told['card_token']}"
    if "merchant_id" in told:
        key += f":{told['merchant_id']}"
    return Draft(CONTROL_TOPIC, key, f"cardwatch.control.{told['kind']}", told)
