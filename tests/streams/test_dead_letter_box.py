"""Dead letters are known by where their record stood, sent again as they came, and never with a card number."""

from __future__ import annotations

import pytest

from streams.dead_letter_box import RETRY_HEADER, LetterState, Resolution, open_box, resolved, sent_again
from streams.dead_letters import dead_letter
from streams.events import Outgoing
from streams.records import ReadRecord, TopicPartition
from streams.rejections import Reason, Rejected
from streams.topics import TRANSACTIONS

CARD_NUMBER = "4111111111111111"
SOURCE = TopicPartition(TRANSACTIONS, 3)
NOW_MS = 1_760_000_000_000


def put_aside(offset: int, value: bytes, key: bytes | None = b"card-1") -> Outgoing:
    """The dead letter of a record."""
    record = ReadRecord(*SOURCE, offset, NOW_MS, key, value, (("traceparent", b"00-1"),))
    return dead_letter(Rejected(record, Reason.NOT_JSON, "the value is not JSON"), SOURCE, NOW_MS)


def read(*records: Outgoing) -> list[ReadRecord]:
    """Records as they stand in the topic."""
    return [
        ReadRecord(record.topic, record.partition or 0, place, NOW_MS, record.key, record.value, _pairs(record))
        for place, record in enumerate(records)
    ]


def _pairs(record: Outgoing) -> tuple[tuple[str, bytes | None], ...]:
    return tuple((name, text.encode() if isinstance(text, str) else text) for name, text in record.headers)


def test_a_letter_is_sent_again_as_its_record_came() -> None:
    """Key, value and headers are the same; a header says which letter it was; its place in the source is its id."""
    letters = open_box(read(put_aside(7, b"{"), put_aside(8, b"[]", None), put_aside(7, b"{")))
    assert list(letters) == [f"{TRANSACTIONS}/3/7", f"{TRANSACTIONS}/3/8"]
    again = sent_again(letters[f"{TRANSACTIONS}/3/7"])
    assert (again.topic, again.partition, again.key, again.value) == (TRANSACTIONS, None, b"card-1", b"{")
    assert again.headers == [("traceparent", b"00-1"), (RETRY_HEADER, f"{TRANSACTIONS}/3/7".encode())]
    assert sent_again(letters[f"{TRANSACTIONS}/3/8"]).partition == 3


@pytest.mark.parametrize(
    "letter",
    [
        put_aside(1, f'{{"card_token": "{CARD_NUMBER}"}}'.encode()),
        put_aside(1, b"{}", CARD_NUMBER.encode()),
        put_aside(1, b"\xff\xfe"),
        put_aside(1, b"x" * 100_000),
        put_aside(1, b"{}")._replace(value=f'{{"note": "{CARD_NUMBER}"}}'.encode()),
    ],
)
def test_what_is_not_whole_is_not_sent_again(letter: Outgoing) -> None:
    """A record that a card number was taken out of, or that was cut, is for its sender to send; it is shown without."""
    (found,) = open_box(read(letter)).values()
    assert found.altered
    assert CARD_NUMBER.encode() not in (found.value or b"") + (found.key or b"")
    with pytest.raises(ValueError, match="its sender"):
        sent_again(found)


def test_what_was_done_is_in_the_topic() -> None:
    """A resolution stands behind its letter; the last one counts, and all are kept."""
    (letter,) = open_box(read(put_aside(7, b"{"))).values()
    assert letter.state is LetterState.WAITING
    done = [Resolution(letter.letter_id, state, "ann", "seen", NOW_MS + 1) for state in list(LetterState)[1:]]
    box = open_box(read(put_aside(7, b"{"), *(resolved(letter, each) for each in done), put_aside(9, b"{")))
    assert [each.state for each in box.values()] == [LetterState.DROPPED, LetterState.WAITING]
    assert box[letter.letter_id].resolutions == done


def test_what_others_wrote_is_passed_over() -> None:
    """The topic is a topic: records that are no letters of ours do not break the box."""
    strangers = [
        ReadRecord("t", 0, 0, NOW_MS, None, b"", ()),
        ReadRecord("t", 0, 1, NOW_MS, None, b"{", (("resolves", b"x"),)),
        ReadRecord("t", 0, 2, NOW_MS, None, None, (("source_topic", b"t"), ("source_partition", b"a"))),
    ]
    assert open_box(strangers) == {}
