"""How the console says things: money, ages, tokens, reasons. Pure functions from values to words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from casework.alerts import Evidence, Payment, Scalar
from casework.cases import CaseAlert

# ISO 4217 currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENTS = dict.fromkeys(_WHOLE.split(" "), 0) | dict.fromkeys(_THOUSANDTHS.split(" "), 3)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TOKEN_EDGE = 6
_NOTHING = "\N{EN DASH}"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class ReasonText:
    """How a reason is explained.

    Attributes:
        sentence: in words an agent can read to a colleague.
        unit: how the observed and usual values are to be read, one of `UNITS`.
    """

    sentence: str
    unit: str = "number"


UNITS = frozenset({"number", "times", "money", "seconds", "km", "km_per_hour", "share", "yes_no", "hour", "weekday"})


def reason_texts(settings: Mapping[str, Mapping[str, str]]) -> dict[str, ReasonText]:
    """Sentences by text key, from the content of `configs/messages/reasons.en.toml`.

    Raises:
        ValueError: an entry has no sentence, or a unit that is not one of `UNITS`; the message names the entry.
    """
    texts = {}
    for key, entry in settings.items():
        text = ReasonText(entry.get("sentence", ""), entry.get("unit", "number"))
        if not text.sentence or text.unit not in UNITS:
            message = f"reason text {key}: needs a sentence, and a unit out of {', '.join(sorted(UNITS))}"
            raise ValueError(message)
        texts[key] = text
    return texts


def words(code: str) -> str:
    """A code of the contract as words: `confirmed_fraud` becomes "Confirmed fraud"."""
    return code.replace("_", " ").replace(".", " ").strip().capitalize()


def say(texts: Mapping[str, str], key: str, **values: object) -> str:
    """A text of the console with its values in their places, or its key in words."""
    text = texts.get(key)
    return words(key.rpartition(".")[2]) if text is None else text.format(**values)


def sentence(texts: Mapping[str, ReasonText], key: str) -> str:
    """The sentence that explains a reason, or its code in words."""
    text = texts.get(key)
    return words(key) if text is None else text.sentence


def money(amount_minor: int | None, currency: str | None) -> str:
    """An amount with its currency: `money(123456, "EUR")` is "1,234.56 EUR"."""
    if amount_minor is None:
        return _NOTHING
    exponent = _EXPONENTS.get(currency or "", 2)
    return f"{amount_minor / 10**exponent:,.{exponent}f} {currency or ''}".strip()


def age(now_ms: int, then_ms: int, texts: Mapping[str, str]) -> str:
    """How long ago, in the largest unit that says enough: "just now", "4 min", "3 h", "2 d"."""
    passed_ms = max(0, now_ms - then_ms)
    return say(texts, "formats.just_now") if passed_ms < 1000 * _MINUTE_S else _span(passed_ms, texts)


def left(now_ms: int, due_ms: int, texts: Mapping[str, str]) -> str:
    """How much time is left until then, or by how much it is over."""
    key = "formats.left" if now_ms < due_ms else "formats.over"
    return say(texts, key, span=_span(abs(due_ms - now_ms), texts))


def _span(span_ms: int, texts: Mapping[str, str]) -> str:
    """A span of time in minutes, hours or days."""
    seconds = span_ms // 1000
    if seconds < _HOUR_S:
        return say(texts, "formats.minutes", count=seconds // _MINUTE_S)
    if seconds < 2 * _DAY_S:
        return say(texts, "formats.hours", count=seconds // _HOUR_S)
    return say(texts, "formats.days", count=seconds // _DAY_S)


def moment(time_ms: int, texts: Mapping[str, str]) -> str:
    """A time for people: "22 Nov 2026, 19:05:07 UTC"."""
    return _formatted(time_ms, texts, "formats.moment")


def _short_moment(time_ms: int, texts: Mapping[str, str]) -> str:
    """A time for a narrow column whose heading says UTC: "22 Nov, 19:05"."""
    return _formatted(time_ms, texts, "formats.short_moment")


def _formatted(time_ms: int, texts: Mapping[str, str], key: str) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(texts.get(key, "%Y-%m-%d %H:%M:%S UTC"))


def machine_moment(time_ms: int) -> str:
    """A time for `<time datetime>`: ISO 8601."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def short_token(token: str) -> str:
    """A token with its middle left out; a short one stays as it is."""
    if len(token) <= 2 * _TOKEN_EDGE + 1:
        return token
    return f"{token[:_TOKEN_EDGE]}…{token[-_TOKEN_EDGE:]}"


def measure(value: Scalar, unit: str, texts: Mapping[str, str]) -> str:
    """An observed or usual value, with its unit."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _NOTHING
    if isinstance(value, str):
        return _named(value, texts)
    number = float(value)
    if unit == "yes_no" or isinstance(value, bool):
        return say(texts, "formats.yes" if number >= 0.5 else "formats.no")
    if unit == "money":
        return money(round(number), None)
    if unit == "seconds":
        return _duration(number, texts)
    if unit == "share":
        return f"{number:.0%}"
    if unit == "hour":
        return f"{int(number) % 24:02d}:00 UTC"
    if unit == "weekday":
        return say(texts, f"formats.{_WEEKDAYS[int(number) % 7]}")
    suffix = {"times": " \N{MULTIPLICATION SIGN}", "km": " km", "km_per_hour": " km/h"}.get(unit, "")
    return _number(number) + suffix


def _number(number: float) -> str:
    """Three significant digits below a thousand, whole numbers above."""
    if abs(number) >= 1000 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _duration(seconds: float, texts: Mapping[str, str]) -> str:
    if seconds < 2 * _MINUTE_S:
        return say(texts, "formats.seconds", count=f"{seconds:.0f}")
    if seconds < 2 * _HOUR_S:
        return say(texts, "formats.minutes", count=f"{seconds / _MINUTE_S:.0f}")
    if seconds < 2 * _DAY_S:
        return say(texts, "formats.hours", count=f"{seconds / _HOUR_S:.0f}")
    return say(texts, "formats.days", count=f"{seconds / _DAY_S:.0f}")


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One reason as the case page shows it.

    Attributes:
        percent: its share of all that spoke for the alert, 0 to 100; 0 where it spoke against.
        is_against: whether it spoke against fraud.
    """

    sentence: str
    observed: str
    usual: str
    percent: int
    is_against: bool = False


def evidence_lines(
    evidence: tuple[Evidence, ...], reasons: Mapping[str, ReasonText], texts: Mapping[str, str]
) -> list[EvidenceLine]:
    """An alert's evidence in words."""
    total = sum(max(0.0, item.contribution) for item in evidence if math.isfinite(item.contribution))
    lines = []
    for item in evidence:
        key = item.text_key or item.code
        unit = reasons[key].unit if key in reasons else "number"
        share = max(0.0, item.contribution) / total if total and math.isfinite(item.contribution) else 0.0
        lines.append(
            EvidenceLine(
                sentence(reasons, key),
                measure(item.observed, unit, texts),
                measure(item.usual, unit, texts),
                round(100 * share),
                is_against=item.contribution < 0.0,
            )
        )
    return lines


# Fields of a payment worth a column, in this order; the rest stays in the API's answer.
_PAYMENT_COLUMNS = (
    "event_time_ms", "amount_minor", "merchant_id", "country", "kind", "channel", "entry_mode", "merchant_category",
    "mcc", "terminal_id", "action", "response_code", "refused", "reversed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PaymentTable:
    """Last payments as the case page shows them, newest first; columns nobody filled are left out.

    Attributes:
        alerted: per row, whether one of the case's alerts is about it.
    """

    headings: list[str]
    rows: list[list[str]]
    alerted: list[bool]


def payment_table(payments: Sequence[Payment], alerts: Sequence[CaseAlert], texts: Mapping[str, str]) -> PaymentTable:
    """Lay out a card's last payments.

    A payment of the case is known by its id, or where the engine remembers no ids, by its time and amount.
    """
    newest_first = sorted(payments, key=event_time_ms, reverse=True)
    columns = [name for name in _PAYMENT_COLUMNS if any(_is_said(payment.get(name)) for payment in newest_first)]
    return PaymentTable(
        headings=[say(texts, f"payments.{name}") for name in columns],
        rows=[[_payment_cell(payment, name, texts) for name in columns] for payment in newest_first],
        alerted=[is_alerted(payment, alerts) for payment in newest_first],
    )


def is_alerted(payment: Payment, alerts: Sequence[CaseAlert]) -> bool:
    """Whether one of the alerts is about this payment."""
    identity = (payment.get("event_time_ms"), payment.get("amount_minor"))
    return any(
        payment.get("transaction_id") == alert.transaction_id or identity == (alert.event_time_ms, alert.amount_minor)
        for alert in alerts
    )


def _is_said(value: Scalar) -> bool:
    """Whether a field says anything: an amount of 0 does, an unset flag or an empty text does not."""
    return value is not None and value is not False and value not in {"", "none"}


def event_time_ms(payment: Payment) -> int:
    """When it was paid; 0 where the record does not say."""
    value = payment.get("event_time_ms")
    return int(value) if isinstance(value, int | float) else 0


def payment_money(payment: Payment) -> str:
    """What was paid, with its currency."""
    amount, currency = payment.get("amount_minor"), payment.get("currency")
    return money(int(amount) if isinstance(amount, int | float) else None,
                 currency if isinstance(currency, str) else None)  # fmt: skip


def _payment_cell(payment: Payment, name: str, texts: Mapping[str, str]) -> str:
    value = payment.get(name)
    if isinstance(value, bool):
        return say(texts, "formats.yes") if value else ""
    if not _is_said(value):
        return _NOTHING
    if name == "event_time_ms" and isinstance(value, int | float):
        return _short_moment(int(value), texts)
    if name.endswith("_id"):
        return short_token(str(value))
    if name == "amount_minor":
        return payment_money(payment)
    return _named(str(value), texts) if name in {"kind", "channel", "entry_mode"} else str(value)


def _named(value: str, texts: Mapping[str, str]) -> str:
    """A word of the contract in words, such as how a card was presented; what is none of ours stays as it is."""
    return texts.get(f"values.{value}", words(value) if "_" in value else value)
