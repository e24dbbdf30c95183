"""Notices: what a cardholder is told, as data, and put into words by a catalogue of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from string import Template
from typing import Protocol

import msgspec

from casework.errors import CaseworkError, ConfigurationError
from casework.verification import code_of

_PHRASES = {
    "payment_with_amount": {"money", "moment"},
    "payment_without_amount": {"moment"},
    "payment_unknown": set[str](),
    "answer_with_link": {"link"},
    "answer_without_link": set[str](),
}
_TEMPLATE_WORDS = {"payment", "answer", "wait", "code", "minutes"}
CODE_NONCE = "code_nonce"
# How long a one-time code works.
MINUTES = "minutes"

# ISO 4217: every currency has two decimals but these.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_DECIMALS = dict.fromkeys(_WHOLE.split(" "), 0) | dict.fromkeys(_THOUSANDTHS.split(" "), 3)
_SHOWN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to a cardholder, before it is put into words: a record of `fraud.notifications.v1`.

    Attributes:
        template: which message of the catalogue.
        parameters: `amount_minor`, `currency` and `event_time_ms` of the payment it is about, those that are known.
            Never a score, a reason or a person's note. For a one-time code the nonce that it follows from, never the
            code itself, and for how many `minutes` it works.
    """

    notification_id: str
    card_token: str
    channel: str
    locale: str
    template: str
    parameters: dict[str, str | int]
    time_ms: int
    case_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A notice in words.

    Attributes:
        is_secret: whether the text holds a one-time code: it is for the cardholder alone and is never written down.
    """

    title: str
    text: str
    is_secret: bool = False


class NoticeSender(Protocol):
    """Hands a message to whoever delivers it."""

    @property
    def name(self) -> str:
        """The sender's name: log, webhook or smtp."""

    async def send(self, notice: Notice, message: Message, now_ms: int) -> None:
        """Return when it was taken over.

        Raises:
            SendError: it was not, within the allowed attempts; sending again is safe, `notification_id` tells copies.
        """


def decode_notice(value: bytes) -> Notice:
    """Read a record of `fraud.notifications.v1`.

    Raises:
        CaseworkError: it is not one.
    """
    try:
        return msgspec.json.decode(value, type=Notice)
    except msgspec.DecodeError as error:
        message = f"not a notice: {error}"
        raise CaseworkError(message) from None


def mask_card_token(card_token: str) -> str:
    """A card token for logs: its last four characters, and those only of a token long enough to hide the rest."""
    if len(card_token) <= 2 * _SHOWN_CHARACTERS:
        return "…"
    return f"…{card_token[-_SHOWN_CHARACTERS:]}"


def format_money(amount_minor: int, currency: str) -> str:
    """An amount as people read it, such as `EUR 1,234.50`."""
    decimals = _DECIMALS.get(currency, 2)
    whole, rest = divmod(amount_minor, 10**decimals)
    return f"{currency} {whole:,}" + (f".{rest:0{decimals}d}" if decimals else "")


class Messages:
    """Catalogues of messages by locale."""

    def __init__(
        self, catalogues: Mapping[str, Mapping[str, object]], code_key: bytes = b"", wait_minutes: int = 15
    ) -> None:
        """Read the contents of `configs/messages/*.toml`, by locale.

        Args:
            catalogues: by locale.
            code_key: the installation's secret that one-time codes follow from.
            wait_minutes: after how many minutes of silence somebody is to call the cardholder.

        Raises:
            ConfigurationError: a catalogue is incomplete or uses a word nobody fills in; the message names it.
        """
        self._code_key = code_key
        self._wait_minutes = wait_minutes
        self._catalogues = {locale: _Catalogue(locale, content) for locale, content in catalogues.items()}

    def require(self, locale: str, templates: Iterable[str]) -> None:
        """Check that a locale has these templates.

        Raises:
            ConfigurationError: one is missing; the message names it.
        """
        missing = sorted(set(templates) - set(self._catalogue(locale).templates))
        if missing:
            message = f"messages/{locale}: [templates] lacks {', '.join(missing)}"
            raise ConfigurationError(message)

    def render(self, notice: Notice, link: str = "", zone: tzinfo = UTC) -> Message:
        """Put a notice into words.

        Args:
            notice: what is to be said.
            link: where the cardholder can answer; empty where they cannot but by calling.
            zone: in which times are told; the name of UTC is said, the cardholder's own zone needs none.

        Raises:
            ConfigurationError: its locale or template is unknown.
        """
        self.require(notice.locale, [notice.template])
        catalogue = self._catalogue(notice.locale)
        title, text = catalogue.templates[notice.template]
        nonce = notice.parameters.get(CODE_NONCE)
        words = {
            "payment": catalogue.payment(notice.parameters, zone),
            "answer": catalogue.answer(link),
            "wait": str(self._wait_minutes),
            "minutes": str(notice.parameters.get(MINUTES, "")),
            "code": code_of(self._code_key, nonce) if isinstance(nonce, str) else "",
        }
        return Message(title.substitute(words), text.substitute(words), is_secret=isinstance(nonce, str))

    def _catalogue(self, locale: str) -> _Catalogue:
        """The catalogue of a locale."""
        if locale not in self._catalogues:
            message = f"messages: no catalogue for locale {locale}; there are {', '.join(sorted(self._catalogues))}"
            raise ConfigurationError(message)
        return self._catalogues[locale]


class _TemplateSettings(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    text: str


class _CatalogueSettings(msgspec.Struct, forbid_unknown_fields=True):
    """A file's structure."""

    phrases: dict[str, str]
    templates: dict[str, _TemplateSettings]


class _Catalogue:
    """The messages of one locale."""

    def __init__(self, locale: str, content: Mapping[str, object]) -> None:
        """Read and check a file's content."""
        try:
            read = msgspec.convert(dict(content), _CatalogueSettings)
        except msgspec.ValidationError as error:
            message = f"messages/{locale}: {error}"
            raise ConfigurationError(message) from None
        if set(read.phrases) != set(_PHRASES):
            message = f"messages/{locale}: [phrases] must have exactly the entries {', '.join(_PHRASES)}"
            raise ConfigurationError(message)
        self.phrases = {
            name: _template(f"messages/{locale}: phrases.{name}", text, _PHRASES[name])
            for name, text in read.phrases.items()
        }
        self.templates = {
            name: (
                _template(f"messages/{locale}: templates.{name}.title", template.title, _TEMPLATE_WORDS),
                _template(f"messages/{locale}: templates.{name}.text", template.text, _TEMPLATE_WORDS),
            )
            for name, template in read.templates.items()
        }

    def answer(self, link: str) -> str:
        """Say how to answer us."""
        if not link:
            return self.phrases["answer_without_link"].substitute()
        return self.phrases["answer_with_link"].substitute(link=link)

    def payment(self, parameters: Mapping[str, str | int], zone: tzinfo) -> str:
        """Name the payment as far as it is known."""
        event_time_ms, amount_minor = parameters.get("event_time_ms"), parameters.get("amount_minor")
        if not isinstance(event_time_ms, int):
            return self.phrases["payment_unknown"].substitute()
        moment = datetime.fromtimestamp(event_time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")
        moment += " UTC" if zone is UTC else ""
        if not isinstance(amount_minor, int) or "currency" not in parameters:
            return self.phrases["payment_without_amount"].substitute(moment=moment)
        money = format_money(amount_minor, str(parameters["currency"]))
        return self.phrases["payment_with_amount"].substitute(money=money, moment=moment)


def _template(name: str, text: str, words: set[str]) -> Template:
    """Read a text with `$words`; it may use these and no others."""
    template = Template(text)
    if not template.is_valid() or not set(template.get_identifiers()) <= words:
        allowed = ", ".join(f"${word}" for word in sorted(words)) or "none"
        message = f"{name} may use these words only: {allowed}"
        raise ConfigurationError(message)
    return template
