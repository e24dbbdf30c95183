"""Card numbers never leave again: canaries in every disguise we could think of."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.card_numbers import MAXIMUM_VALUE_BYTES, CardNumberCheck, passes_luhn, redact_bytes, redact_text
from streams.dead_letters import dead_letter
from streams.events import Outgoing
from streams.records import TopicPartition
from streams.rejections import Reason, Rejected
from streams.topics import TRANSACTIONS
from tests.streams.raw_records import NOW_MS, raw

CANARIES = ("4111111111111111", "5500005555555559", "378282246310005", "30569309025904", "6799990100000000019")


def letter_of(value: bytes, key: bytes = b"k", headers: tuple[tuple[str, bytes], ...] = ()) -> Outgoing:
    record = raw(value, key=key, headers=headers)
    rejected = Rejected(record, Reason.WRONG_TYPE, "card_token: Expected `str`")
    return dead_letter(rejected, TopicPartition(TRANSACTIONS, 3), NOW_MS)


def digits_written(letter: Outgoing) -> str:
    """Every digit that the dead letter shows, however it is written."""
    parts = [letter.key or b"", letter.value or b"", *(value or b"" for _, value in letter.headers)]
    parts += [name.encode() for name, _ in letter.headers]
    shown = []
    for part in parts:
        text = part if isinstance(part, str) else bytes(part).decode(errors="replace")
        text = re.sub(r"\\u00(3\d)", lambda match: chr(int(match.group(1), 16)), text, flags=re.IGNORECASE)
        shown.append("".join(str(int(c)) for c in text if c.isdecimal()))
    return "|".join(shown)


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(
    "disguise",
    [
        lambda n: json.dumps({"card_token": n}).encode(),
        lambda n: json.dumps({"card_token": int(n)}).encode(),
        lambda n: json.dumps({"amount": float(int(n))}).encode(),
        lambda n: json.dumps({n: 1}).encode(),
        lambda n: json.dumps({"a": [{"b": f"card {n}!"}]}).encode(),
        lambda n: json.dumps({"a": " ".join(n[i : i + 4] for i in range(0, len(n), 4))}).encode(),
        lambda n: json.dumps({"a": "-".join(n[i : i + 4] for i in range(0, len(n), 4))}).encode(),
        lambda n: ('{"a":"' + "".join(f"\\u00{ord(c):02x}" for c in n) + '"}').encode(),
        lambda n: ('{"a":"' + "".join(f"\\u00{ord(c):02X}" for c in n) + '"').encode(),
        lambda n: ("not json " + n).encode(),
        lambda n: ("x=" + n + "&y=1").encode(),
        lambda n: b"\xff\xfe" + n.encode() + b"\xff",
        lambda n: n.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")).encode(),
        lambda n: ("00" + n + "1234567").encode(),
    ],
)
def test_no_disguise_gets_a_card_number_into_a_dead_letter(canary: str, disguise: Any) -> None:
    """In the value, the key and the headers; as text, number or name; escaped, grouped or in another script."""
    data = disguise(canary)
    letter = letter_of(data, key=data, headers=(("h", data), (canary, b"x")))
    assert canary not in digits_written(letter)


@given(st.integers(1_000_000_000_000, 3_999_999_999_999))
def test_a_time_stays_as_it_is(time_ms: int) -> None:
    """A record with a time in milliseconds can be sent again, whatever its digits add up to."""
    data = json.dumps({"event_time_ms": time_ms, "note": f"at {time_ms}"}).encode()
    letter = letter_of(data)
    assert letter.value == data
    assert dict(letter.headers)["altered"] == b"0"


@pytest.mark.parametrize("number", ["4222222222222", "1 7958 1000 0004", "17958-1000-0004"])
def test_thirteen_digits_that_are_no_time_are_taken_out(number: str) -> None:
    """Visa's old numbers, and whatever is grouped as people group card numbers."""
    assert passes_luhn(re.sub(r"\D", "", number))
    assert redact_text(number) == "[card number removed]"


@given(st.text(max_size=40), st.sampled_from(CANARIES), st.text(max_size=40))
def test_no_surroundings_hide_a_card_number(before: str, canary: str, after: str) -> None:
    """Whatever stands around it in a JSON string."""
    letter = letter_of(json.dumps({"note": before + canary + after}).encode())
    assert canary not in json.dumps(json.loads(bytes(letter.value or b"")), ensure_ascii=False)


@given(st.dictionaries(st.text(max_size=8), st.integers(-(10**6), 10**6) | st.text(alphabet="abcxyz ", max_size=20)))
def test_what_holds_no_card_number_stays_as_it_is(record: dict[str, Any]) -> None:
    """A dead letter is for people who look for the fault: it shows what came."""
    data = json.dumps(record).encode()
    assert json.loads(redact_bytes(data) or b"") == record


def test_redacted_json_stays_json() -> None:
    """Programs that read dead letters still can."""
    value = letter_of(json.dumps({"card_token": int(CANARIES[0]), "amount_minor": 12}).encode()).value
    assert msgspec.json.decode(bytes(value or b"")) == {"card_token": "[card number removed]", "amount_minor": 12}


def test_the_origin_and_the_reason_are_told() -> None:
    """Headers say why, and where the record stood."""
    letter = letter_of(b"{}", headers=(("traceparent", b"00-a-b-01"),))
    headers = dict(letter.headers)
    assert letter.partition == 3
    assert headers["reason"] == b"wrong_type"
    assert (headers["source_topic"], headers["source_partition"], headers["source_offset"]) == (
        TRANSACTIONS.encode(), b"3", b"0",
    )  # fmt: skip
    assert headers["original_traceparent"] == b"00-a-b-01"


def test_a_huge_value_is_cut() -> None:
    """A dead letter is never larger than the record that Kafka would take."""
    assert len(letter_of(b"x" * 1_000_000).value or b"") == MAXIMUM_VALUE_BYTES


@pytest.mark.parametrize("number", CANARIES)
def test_card_numbers_are_told_from_tokens(number: str) -> None:
    """Luhn's check decides; one wrong digit makes it a token."""
    check = CardNumberCheck()
    assert check.is_card_number(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not check.is_card_number(wrong)
    assert not passes_luhn(wrong)


def test_short_and_long_numbers_are_none() -> None:
    """Twelve to nineteen digits."""
    check = CardNumberCheck()
    assert not check.is_card_number("0" * 11)
    assert check.is_card_number("0" * 12)
    assert check.is_card_number("0" * 19)
    assert not check.is_card_number("0" * 20)
    assert redact_text("order 12345678901") == "order 12345678901"
