"""How a cardholder wants to be reached, by card: language, channels, addresses, quiet hours."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from casework.errors import InvalidCommandError

LOCALES = ("en", "fil", "zh")
CHANNELS = ("sms", "email", "app")
_LocalTime = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class ContactRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of a cardholder; what is not, follows the playbook.

    Attributes:
        locale: language of notices and of the self-service page.
        channels: the preferred one first.
        email: address; without it no e-mail is sent.
        time_zone: IANA name; times are told in it, and quiet hours are counted in it.
        quiet_from, quiet_until: local times between which only urgent notices come, such as 22:00 and 07:00.
    """

    locale: Annotated[str, Meta(pattern="^(en|fil|zh)$")] | None = None
    channels: Annotated[tuple[Annotated[str, Meta(pattern="^(sms|email|app)$")], ...], Meta(max_length=3)] = ()
    email: Annotated[str, Meta(pattern=r"^[^\s@<>,;:\"()]{1,64}@[A-Za-z0-9.-]{1,189}$")] | None = None
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    quiet_from: _LocalTime | None = None
    quiet_until: _LocalTime | None = None

    @property
    def zone(self) -> tzinfo:
        """The cardholder's time zone; UTC where it is not known."""
        return UTC if self.time_zone is None else ZoneInfo(self.time_zone)

    def quiet_end_ms(self, now_ms: int) -> int | None:
        """When the quiet hours end that it is within now; None where it is within none."""
        if self.quiet_from is None or self.quiet_until is None or self.quiet_from == self.quiet_until:
            return None
        now = datetime.fromtimestamp(now_ms / 1000, self.zone)
        start, end = time.fromisoformat(self.quiet_from), time.fromisoformat(self.quiet_until)
        clock = now.time()
        is_quiet = start <= clock < end if start < end else clock >= start or clock < end
        if not is_quiet:
            return None
        day = now.date() if clock < end else now.date() + timedelta(days=1)
        return int(datetime.combine(day, end, self.zone).timestamp() * 1000)


def check_contact(contact: ContactRecord) -> None:
    """Refuse a record that contradicts itself.

    Raises:
        InvalidCommandError: the time zone is not known, or of the quiet hours one end is missing.
    """
    if (contact.quiet_from is None) != (contact.quiet_until is None):
        message = "quiet_from must be given with quiet_until"
        raise InvalidCommandError(message)
    try:
        _ = contact.zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "time_zone must be a name such as Asia/Manila"
        raise InvalidCommandError(message) from None


class Contacts(Protocol):
    """The records of cardholders; every implementation passes `tests/contracts/test_deliveries.py`.

    Every method raises `StoreUnavailableError` where the records give no answer.
    """

    async def contact(self, card_token: str) -> ContactRecord | None:
        """The record of a card's holder; None where there is none."""

    async def put_contact(self, card_token: str, contact: ContactRecord) -> None:
        """Replace the record of a card's holder."""
