"""How a cardholder wants to be reached, by card: language, channels, addresses, quiet hours."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

LOCALES = ("en", "fil", "zh")
CHANNELS = ("sms", "email", "app")


class ContactRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of a cardholder; what is not, follows the playbook.

    Attributes:
        locale: language of notices and of the self-service page.
        channels: the preferred one first.
        email: address; without it no e-mail is sent.
    """

    locale: Annotated[str, Meta(pattern="^(en|fil|zh)$")] | None = None
    channels: Annotated[tuple[Annotated[str, Meta(pattern="^(sms|email|app)$")], ...], Meta(max_length=3)] = ()
    email: Annotated[str, Meta(pattern=r"^[^\s@<>,;:\"()]{1,64}@[A-Za-z0-9.-]{1,189}$")] | None = None


class Contacts(Protocol):
    """The records of cardholders; every implementation passes `tests/contracts/test_deliveries.py`.

    Every method raises `StoreUnavailableError` where the records give no answer.
    """

    async def contact(self, card_token: str) -> ContactRecord | None:
        """The record of a card's holder; None where there is none."""

    async def put_contact(self, card_token: str, contact: ContactRecord) -> None:
        """Replace the record of a card's holder."""
