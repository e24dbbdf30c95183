"""What a person's decision teaches: labels for the models, and damping for the scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from casework.cards import CardRecord
from casework.cases import Case
from casework.outbox import CONTROL_TOPIC, LABELS_TOPIC, Draft
from detector.vocabulary import Label, LabelSource

DAMP_KEY_PREFIX = "damp:"


def label_drafts(
    case: Case, label: Label, label_time_ms: int, transaction_ids: Sequence[str], source: LabelSource, labelled_by: str
) -> list[Draft]:
    """A label for each of these transactions of the case's card, given by `labelled_by`."""
    return [
        Draft(
            topic=LABELS_TOPIC,
            key=case.card_token,
            ce_type="cardwatch.label.given",
            body={
                "transaction_id": transaction_id,
                "card_token": case.card_token,
                "label": label.wire,
                "source": source.wire,
                "label_time_ms": label_time_ms,
                "case_id": case.case_id,
                "labelled_by": labelled_by,
            },
        )
        for transaction_id in transaction_ids
    ]


def damp(card: CardRecord, reasons: tuple[str, ...], damp_ms: int, now_ms: int) -> tuple[CardRecord, list[Draft]]:
    """Damp reasons on a card, or lift every damping where `damp_ms` is 0.

    The control topic is compacted, so the newest directive must say everything: it names the reasons still damped from
    before as well, all of them until the later of both times.

    Returns:
        the card, and the directive: none where nothing changes.
    """
    still_damped = card.damped_reasons if card.damped_until_ms > now_ms else ()
    if damp_ms > 0 and reasons:
        damped = tuple(dict.fromkeys((*still_damped, *reasons)))
        until_ms = max(now_ms + damp_ms, card.damped_until_ms)
    elif damp_ms == 0 and still_damped:
        damped, until_ms = (), now_ms
    else:
        return card, []
    changed = replace(card, damped_reasons=damped, damped_until_ms=until_ms)
    directive = Draft(
        topic=CONTROL_TOPIC,
        key=f"{DAMP_KEY_PREFIX}{card.card_token}",
        ce_type="cardwatch.control.damp",
        body={"kind": "damp", "card_token": card.card_token, "reasons": list(damped), "until_ms": until_ms},
    )
    return changed, [directive]
