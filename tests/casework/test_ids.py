"""Ids follow from their cause, and a case's id tells its shard."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from casework.ids import (
    MAXIMUM_SHARDS,
    case_id_of,
    command_id_of,
    keyed_step_id,
    message_id_of,
    notification_id_of,
    shard_of_card,
    shard_of_case,
    unkeyed_step_id,
)

TOKENS = st.text(min_size=1, max_size=64)
SHARDS = st.sampled_from([2**bits for bits in range(13)])


@given(card_token=TOKENS, alert_id=TOKENS, shards=SHARDS)
def test_a_case_is_found_in_its_cards_shard(card_token: str, alert_id: str, shards: int) -> None:
    """From the case's id alone, for every number of shards; the shard is the CRC-32 of the token modulo it."""
    shard = shard_of_card(card_token, shards)
    assert shard == zlib.crc32(card_token.encode()) % shards
    assert shard_of_case(case_id_of(alert_id, card_token), shards) == shard


def test_what_is_no_case_id_has_no_shard() -> None:
    """Texts from outside lead nowhere."""
    good = case_id_of("a", "card-1")
    for text in ("", "case-", good[:-1], good + "0", good.upper(), f" {good}", "case-xyz-" + "0" * 24):
        assert shard_of_case(text, MAXIMUM_SHARDS) is None


def test_ids_of_different_causes_differ() -> None:
    """Neither kinds nor neighbouring causes share an id, and the same cause has the same id for ever."""
    ids = [
        case_id_of("a", "card-1"),
        case_id_of("b", "card-1"),
        command_id_of("a"),
        notification_id_of("a"),
        message_id_of("a", 0),
        message_id_of("a", 1),
        keyed_step_id("card-1", "k"),
        keyed_step_id("card-2", "k"),
        unkeyed_step_id("card-1", "digest", 1),
        unkeyed_step_id("card-1", "digest", 2),
    ]
    assert len(set(ids)) == len(ids)
    assert case_id_of("a", "card-1") == "case-394-58aa7e7521b22651bd164da3"
