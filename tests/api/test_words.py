"""How the console says things."""

from __future__ import annotations

import tomllib

import pytest

from api.card_numbers import contains_card_number, is_card_number
from api.console import words
from casework import records
from casework.alerts import Evidence, Payment, Scalar
from casework.cards import OutcomeKind
from detector.catalogue import CATALOGUE
from tests.api.support import CARD_NUMBER, CONFIGS, alert, language, texts


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        (123456, "EUR", "1,234.56 EUR"),
        (500, "JPY", "500 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (5, None, "0.05"),
        (None, "EUR", "–"),
    ],
)
def test_money(amount: int | None, currency: str | None, said: str) -> None:
    """Minor units become what is printed on a receipt, by the currency's own decimals."""
    assert words.money(amount, currency) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "just now"), (59, "just now"), (60, "1 min"), (7_199, "1 h"), (172_800, "2 d"), (864_000, "10 d")],
)
def test_age(seconds: int, said: str) -> None:
    """The largest unit that says enough; a clock that lags behind says "just now"."""
    assert language().age(seconds * 1_000, 0) == said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (3.14159, "number", "3.14"), (14.2, "times", "14.2 ×"), (12_345.6, "km", "12,346 km"),
        (900, "km_per_hour", "900 km/h"), (1, "yes_no", "yes"), (0.0, "yes_no", "no"), (True, "number", "yes"),
        (0.256, "share", "26%"), (3, "hour", "03:00 UTC"),
        (6, "weekday", "Sunday"), (45, "seconds", "45 s"), (600, "seconds", "10 min"), (90_000, "seconds", "25 h"),
        (400_000, "seconds", "5 d"), (9_950, "money", "99.50"), (None, "number", "–"), (float("nan"), "km", "–"),
        (float("inf"), "hour", "–"), ("DE", "number", "DE"),
    ],
)  # fmt: skip
def test_measure(value: Scalar, unit: str, said: str) -> None:
    """Every unit, missing values and oddities included."""
    assert language().measure(value, unit) == said


@pytest.mark.parametrize(
    ("due_s", "said"), [(900, "15 min left"), (0, "0 min over"), (-300, "5 min over"), (7_200, "2 h left")]
)
def test_time_left(due_s: int, said: str) -> None:
    """What is left of a target, or by how much it was missed."""
    assert language().left(0, due_s * 1_000) == said


def test_tokens_are_shortened_in_the_middle() -> None:
    """Both ends stay, to tell tokens apart; short ones stay whole."""
    assert words.short_token("tok_3fa85f6457174562") == "tok_3f…174562"
    assert words.short_token("tok_1") == "tok_1"


def test_evidence_shares_add_up() -> None:
    """What speaks against the alert has no share; an unknown code is shown in words."""
    evidence = (
        Evidence("new_country", "new_country", 1.0, 0.0, 3.0),
        Evidence("odd_code", "", 7, None, 1.0),
        Evidence("channel", "channel", None, None, -2.0),
        Evidence("channel", "channel", None, None, float("nan")),
    )
    lines = words.evidence_lines(evidence, texts(), language().texts)
    assert [line.percent for line in lines] == [75, 25, 0, 0]
    assert [line.is_against for line in lines] == [False, False, True, False]
    assert [line.sentence for line in lines[:2]] == ["First payment in this country", "Odd code"]


def test_every_reason_of_the_catalogue_has_its_sentence() -> None:
    """No agent reads a code where a feature spoke."""
    assert {feature.text_key for feature in CATALOGUE} <= set(texts())


@pytest.mark.parametrize("entry", [{"sentence": "", "unit": "km"}, {"sentence": "Far", "unit": "miles"}])
def test_wrong_sentences_are_named(entry: dict[str, str]) -> None:
    """A wrong entry stops the start and is named."""
    with pytest.raises(ValueError, match="far_away"):
        words.reason_texts({"far_away": entry})


def test_shipped_sentences_are_sentences() -> None:
    """Read aloud they make sense: no codes, no full stop, a capital first."""
    shipped = tomllib.loads((CONFIGS / "messages" / "reasons.en.toml").read_text("utf-8"))
    for entry in shipped.values():
        assert entry["sentence"][0].isupper()
        assert not set("_.") & set(entry["sentence"])


@pytest.mark.parametrize(
    "token",
    [CARD_NUMBER, "378282246310005", "6304000000000000", "36227206271667", "4111 1111 1111 1111", "٤١١١١١١١١١١١١١١١"],
)
def test_card_numbers_are_recognised(token: str) -> None:
    """As a token and in a text, grouped or not, beside other numbers or not, in digits of any script."""
    assert is_card_number(token)
    digits = token.replace(" ", "")
    grouped = " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
    for text in (
        token, f"card {grouped}.", f"card:{grouped.replace(' ', '-')}!", f"{token} 12/27 123", f"{grouped} 123",
        f"{token}/1227", f"on 22/11/2026 {token}",
    ):  # fmt: skip
        assert contains_card_number(text)


def test_numbers_too_long_for_a_card_may_hide_one() -> None:
    """Nobody needs them in a note."""
    assert contains_card_number(f"0000000{CARD_NUMBER}0000000")


@pytest.mark.parametrize("token", ["tok_4111111111111111", "4111111111111112", "12345678901", "", "4111--111111111111"])
def test_tokens_are_not_card_numbers(token: str) -> None:
    """Whatever is not 12 to 19 digits with a right check digit is a token."""
    assert not is_card_number(token)


@pytest.mark.parametrize(
    "text", ["called +63 917 123 4567", "order 4111111111111112", "on 22 Nov 2026 at 19:05", "2026-11-22 19:05:11", ""]
)
def test_ordinary_words_pass(text: str) -> None:
    """Agents write numbers."""
    assert not contains_card_number(text)


def test_payments_of_the_case_are_marked() -> None:
    """By id, or by time and amount where the engine remembers no ids; newest first; columns nobody fills left out."""
    case_alert = records.case_alert(alert(1), OutcomeKind.FROZEN)
    by_time: Payment = {
        "event_time_ms": case_alert.event_time_ms,
        "amount_minor": case_alert.amount_minor,
        "currency": "EUR",
    }
    by_id: Payment = {
        "event_time_ms": 5,
        "amount_minor": 100,
        "transaction_id": case_alert.transaction_id,
        "refused": True,
    }
    other: Payment = {"event_time_ms": 10, "amount_minor": 100, "refused": False, "reversed": False}
    table = words.payment_table((other, by_time, by_id), (case_alert,), language().texts)
    assert table.alerted == [True, False, True]
    assert table.headings == ["When (UTC)", "Amount", "Refused"]
    assert [row[2] for row in table.rows] == ["–", "", "yes"]
