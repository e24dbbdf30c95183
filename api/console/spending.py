"""The card's spending as a picture: one bar a payment, oldest first, those of the case marked. Numbers only, no SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from api.console.words import event_time_ms, is_alerted, payment_money
from casework.alerts import Payment
from casework.cases import CaseAlert
from casework.views import CaseView

# The drawing's own units; the page scales it.
WIDTH, HEIGHT, FLOOR = 400, 96, 92
MOST_PAYMENTS = 24
_LEAST_BAR = 2
_GAP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Bar:
    """One payment.

    Attributes:
        x, y, width, height: in units of the drawing.
        is_alerted: whether an alert of the case is about it.
        label: what it is, in words.
        place: country code, where it differs from that of the bar before.
    """

    x: float
    y: float
    width: float
    height: float
    is_alerted: bool
    label: str
    place: str


@dataclass(frozen=True, slots=True)
class Spending:
    """The picture.

    Attributes:
        bars: oldest first.
        usual_y: where the line of the usual amount is; None where there is none, or amounts cannot be compared.
        times_usual: how many times the usual amount the highest of the case is; None as above.
    """

    bars: list[Bar]
    usual_y: float | None
    times_usual: float | None


def payments_of(view: CaseView) -> list[Payment]:
    """Every payment that the case's alerts know of, each once, oldest first.

    An alert lists the payments before it; later ones list some of the same again. What an alert is about is a payment
    too, even where no list holds it.
    """
    known: dict[tuple[int, object], Payment] = {}
    for alert in view.alerts:
        for payment in alert.payments:
            known.setdefault((event_time_ms(payment), payment.get("amount_minor")), payment)
        known.setdefault((alert.event_time_ms, alert.amount_minor), _of_alert(alert))
    return sorted(known.values(), key=event_time_ms)


def spending_of(payments: Sequence[Payment], alerts: Sequence[CaseAlert], rates: Mapping[str, float]) -> Spending:
    """Lay the picture out.

    Args:
        payments: oldest first.
        alerts: the case's.
        rates: what a minor unit of a currency is worth in that of the reference currency; a payment whose currency is
            unknown gets the smallest bar, so that it is seen and means nothing.
    """
    shown = payments[-MOST_PAYMENTS:]
    values = [_value(payment, rates) for payment in shown]
    marks = [is_alerted(payment, alerts) for payment in shown]
    highest = max((value for value in values if value), default=0.0)
    before = [value for value, marked in zip(values, marks, strict=True) if value and not marked]
    peak = max((value for value, marked in zip(values, marks, strict=True) if value and marked), default=0.0)
    usual = median(before) if before else 0.0
    slot = WIDTH / max(len(shown), 8)
    bars = []
    place = ""
    for number, (payment, value, marked) in enumerate(zip(shown, values, marks, strict=True)):
        height = max(float(_LEAST_BAR), FLOOR * (value or 0.0) / highest) if highest else float(_LEAST_BAR)
        country = str(payment.get("country") or "")
        bars.append(
            Bar(
                round(number * slot + slot * _GAP_SHARE / 2, 1),
                round(FLOOR - height, 1),
                round(slot * (1 - _GAP_SHARE), 1),
                round(height, 1),
                marked,
                f"{payment_money(payment)} {country}".strip(),
                country if country != place else "",
            )
        )
        place = country or place
    if not usual or not highest:
        return Spending(bars, None, None)
    return Spending(bars, round(FLOOR - FLOOR * usual / highest, 1), peak / usual if peak else None)


def _value(payment: Payment, rates: Mapping[str, float]) -> float | None:
    """A payment's amount in minor units of the reference currency; None where it cannot be told."""
    amount, rate = payment.get("amount_minor"), rates.get(str(payment.get("currency")))
    return None if rate is None or not isinstance(amount, int | float) else amount * rate


def _of_alert(alert: CaseAlert) -> Payment:
    """The payment that an alert is about, as far as the alert says."""
    return {
        "transaction_id": alert.transaction_id,
        "event_time_ms": alert.event_time_ms,
        "amount_minor": alert.amount_minor,
        "currency": alert.currency,
        "merchant_id": alert.merchant_id,
        "country": alert.country,
    }
