"""The cardholder's page as HTML; everything that is printed is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from starlette.responses import HTMLResponse

from api.console.rendering import environment, static_digest
from api.self_service.words import LANGUAGE_NAMES, LANGUAGE_TAGS, page_words
from casework.cases import CaseAlert
from casework.contacts import CHANNELS, ContactRecord
from casework.notices import format_money
from casework.proof import answers_of
from casework.views import CaseView
from detector.vocabulary import CardStatus

SELF_SERVICE_PATH = "/s"
# Enough for anybody to remember; the desk sees the others.
_SHOWN_PAYMENTS = 10


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """A payment as the cardholder sees it.

    Attributes:
        name: amount, time and country, those that are known.
        happened: what we did about it, in a sentence.
        answer: "yes", "no", or empty where it was not answered.
    """

    transaction_id: str
    name: tuple[str, ...]
    happened: str
    answer: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows besides the case.

    Attributes:
        link, settings_link: of this page and of the one for language and channel.
        locale: language of the page.
        once: makes a form that is sent twice one write.
        said: key of the sentence about what was just done; empty for none.
        is_bad: whether that sentence says that something could not be done.
        code_sent: whether a code is on its way, so that there is a field for it.
    """

    link: str
    settings_link: str
    locale: str
    once: str
    said: str = ""
    is_bad: bool = False
    code_sent: bool = False


def answer_page(view: CaseView, shown: Shown, zone: tzinfo, now_ms: int) -> HTMLResponse:
    """Was this you? With what happened, what happens now, and one tap for a lost card."""
    words = page_words(shown.locale)
    payments = [_line(alert, view, words, zone) for alert in reversed(view.alerts[-_SHOWN_PAYMENTS:])]
    return _render(
        "self_service.html",
        shown.locale,
        shown=shown,
        payments=payments,
        is_open=view.case.is_open,
        can_report=view.card_state in {CardStatus.ACTIVE, CardStatus.FROZEN},
        card=words[f"card_{view.card_state.wire}"],
        state=words["state_open" if view.case.is_open else "state_closed"],
        verified=view.case.verification.holds(now_ms),
    )


def settings_page(contact: ContactRecord, link: str, locale: str, *, done: bool) -> HTMLResponse:
    """Language and channel."""
    chosen = contact.channels[0] if contact.channels else ""
    return _render(
        "self_service_settings.html", locale, link=link, channels=CHANNELS, chosen=chosen, done=done,
        chosen_locale=contact.locale or locale,
    )  # fmt: skip


def dead_link_page(status: int) -> HTMLResponse:
    """A link that leads nowhere, or something that cannot be done now: whom to call, in every language."""
    key = "dead_link" if status < 500 else "unavailable"
    texts = [(LANGUAGE_TAGS[locale], page_words(locale)[key]) for locale in LANGUAGE_NAMES]
    return _render("self_service_dead.html", "en", status_code=status, texts=texts)


def _line(alert: CaseAlert, view: CaseView, words: Mapping[str, str], zone: tzinfo) -> PaymentLine:
    moment = datetime.fromtimestamp(alert.event_time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")
    parts = [moment + (" UTC" if zone is UTC else "")]
    if alert.amount_minor is not None and alert.currency is not None:
        parts.insert(0, format_money(alert.amount_minor, alert.currency))
    if alert.country:
        parts.append(alert.country)
    return PaymentLine(
        alert.transaction_id,
        tuple(parts),
        words[f"payment_{alert.action.wire.lower()}"],
        {True: "yes", False: "no", None: ""}[answers_of(view).get(alert.transaction_id)],
    )


def _render(template: str, locale: str, *, status_code: int = 200, **values: Any) -> HTMLResponse:
    body = environment().get_template(template).render(
        words=page_words(locale), locale=locale, tag=LANGUAGE_TAGS[locale], languages=LANGUAGE_NAMES,
        tags=LANGUAGE_TAGS, path=SELF_SERVICE_PATH, version=static_digest("self_service.css"), **values,
    )  # fmt: skip
    return HTMLResponse(body, status_code=status_code)
