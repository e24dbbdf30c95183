"""How the console says things: money, ages, tokens, reasons. Pure functions from values to words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from casework.alerts import Evidence, Payment, Scalar
from casework.cases import CaseAlert

# ISO 4217 currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENTS = dict.fromkeys(_WHOLE.split(" "), 0) | dict.fromkeys(_THOUSANDTHS.split(" "), 3)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
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


def age(now_ms: int, then_ms: int) -> str:
    """How long ago, in the largest unit that says enough: "just now", "4 min", "3 h", "2 d"."""
    seconds = max(0, now_ms - then_ms) // 1000
    if seconds < _MINUTE_S:
        return "just now"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds // _HOUR_S} h"
    return f"{seconds // _DAY_S} d"


def moment(time_ms: int) -> str:
    """A time for people: "22 Nov 2026, 19:05:07 UTC"."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def _short_moment(time_ms: int) -> str:
    """A time for a narrow column whose heading says UTC: "22 Nov, 19:05:07"."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%d %b, %H:%M:%S")


def machine_moment(time_ms: int) -> str:
    """A time for `<time datetime>`: ISO 8601."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def short_token(token: str) -> str:
    """A token with its middle left out; a short one stays as it is."""
    if len(token) <= 2 * _TOKEN_EDGE + 1:
        return token
    return f"{token[:_TOKEN_EDGE]}…{token[-_TOKEN_EDGE:]}"


def measure(value: Scalar, unit: str) -> str:
    """An observed or usual value, with its unit."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _NOTHING
    if isinstance(value, str):
        return value
    number = float(value)
    if unit == "yes_no" or isinstance(value, bool):
        return "yes" if number >= 0.5 else "no"
    if unit == "money":
        return money(round(number), None)
    if unit == "seconds":
        return _duration(number)
    if unit == "share":
        return f"{number:.0%}"
    if unit == "hour":
        return f"{int(number) % 24:02d}:00 UTC"
    if unit == "weekday":
        return _WEEKDAYS[int(number) % 7]
    suffix = {"times": " \N{MULTIPLICATION SIGN}", "km": " km", "km_per_hour": " km/h"}.get(unit, "")
    return _number(number) + suffix


def _number(number: float) -> str:
    """Three significant digits below a thousand, whole numbers above."""
    if abs(number) >= 1000 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} d"


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


def evidence_lines(evidence: tuple[Evidence, ...], texts: Mapping[str, ReasonText]) -> list[EvidenceLine]:
    """An alert's evidence in words."""
    total = sum(max(0.0, item.contribution) for item in evidence if math.isfinite(item.contribution))
    lines = []
    for item in evidence:
        key = item.text_key or item.code
        unit = texts[key].unit if key in texts else "number"
        share = max(0.0, item.contribution) / total if total and math.isfinite(item.contribution) else 0.0
        lines.append(
            EvidenceLine(
                sentence(texts, key),
                measure(item.observed, unit),
                measure(item.usual, unit),
                round(100 * share),
                is_against=item.contribution < 0.0,
            )
        )
    return lines


# Fields of a payment worth a column, in this order, with their headings; the rest stays in the API's answer.
_PAYMENT_COLUMNS = (
    ("event_time_ms", "When (UTC)"),
    ("amount_minor", "Amount"),
    ("kind", "Kind"),
    ("channel", "Channel"),
    ("entry_mode", "Presented"),
    ("merchant_id", "Merchant"),
    ("merchant_category", "Category"),
    ("mcc", "MCC"),
    ("terminal_id", "Terminal"),
    ("country", "Country"),
    ("action", "Answer"),
    ("response_code", "Response"),
    ("refused", "Refused"),
    ("reversed", "Reversed"),
)


_NAMES = {"pos": "POS", "atm": "ATM", "moto": "Mail or phone", "ecom": "Online"}


@dataclass(frozen=True, slots=True)
class PaymentTable:
    """Last payments as the case page shows them, newest first; columns nobody filled are left out.

    Attributes:
        alerted: per row, whether one of the case's alerts is about it.
    """

    headings: list[str]
    rows: list[list[str]]
    alerted: list[bool]


def payment_table(payments: tuple[Payment, ...], alerts: tuple[CaseAlert, ...]) -> PaymentTable:
    """Lay out a card's last payments.

    A payment of the case is known by its id, or where the engine remembers no ids, by its time and amount.
    """
    ids = {alert.transaction_id for alert in alerts}
    moments = {(alert.event_time_ms, alert.amount_minor) for alert in alerts}
    newest_first = sorted(payments, key=_event_time_ms, reverse=True)
    columns = [
        (name, heading)
        for name, heading in _PAYMENT_COLUMNS
        if any(_is_said(payment.get(name)) for payment in newest_first)
    ]
    return PaymentTable(
        headings=[heading for _, heading in columns],
        rows=[[_payment_cell(payment, name) for name, _ in columns] for payment in newest_first],
        alerted=[
            payment.get("transaction_id") in ids
            or (payment.get("event_time_ms"), payment.get("amount_minor")) in moments
            for payment in newest_first
        ],
    )


def _is_said(value: Scalar) -> bool:
    """Whether a field says anything: an amount of 0 does, an unset flag or an empty text does not."""
    return value is not None and value is not False and value not in {"", "none"}


def _event_time_ms(payment: Payment) -> int:
    value = payment.get("event_time_ms")
    return int(value) if isinstance(value, int | float) else 0


def _payment_cell(payment: Payment, name: str) -> str:
    value = payment.get(name)
    if isinstance(value, bool):
        return "yes" if value else ""
    if not _is_said(value):
        return _NOTHING
    if name == "event_time_ms" and isinstance(value, int | float):
        return _short_moment(int(value))
    if name.endswith("_id"):
        return short_token(str(value))
    if name == "amount_minor" and isinstance(value, int | float):
        currency = payment.get("currency")
        return money(int(value), currency if isinstance(currency, str) else None)
    if name in {"kind", "channel", "entry_mode"}:
        return _NAMES.get(str(value), words(str(value)))
    return str(value)
