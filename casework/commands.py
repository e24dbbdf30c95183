"""What a person can do about a case, as data: one structure each, read from HTTP, macros and approvals alike.

A command says what, never who or when. `casework.acting` says what each does and which act of the matrix it is.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from casework.cases import Disposition, Severity
from casework.errors import InvalidCommandError
from casework.kinds import Detail
from casework.lifecycle import CaseState
from casework.verification import Method

MAXIMUM_COMMANDS = 10
Text = Annotated[str, Meta(min_length=1, max_length=2_000, description="In words; no card numbers")]
Token = Annotated[str, Meta(min_length=1, max_length=64)]
TimeMs = Annotated[int, Meta(ge=0, le=4_102_444_800_000, description="UTC epoch milliseconds")]
AmountMinor = Annotated[int, Meta(ge=1, le=2**53, description="Minor units")]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", omit_defaults=True):
    """Base of all commands."""


class Move(_Command, frozen=True, tag="move"):
    """Put the case into a working state."""

    state: CaseState


class Note(_Command, frozen=True, tag="note"):
    """Write something down."""

    text: Text


class Take(_Command, frozen=True, tag="take"):
    """Work on the case: nobody else may, until the lock expires. Taking it again extends the lock."""


class Release(_Command, frozen=True, tag="release"):
    """Stop working on the case."""


class Assign(_Command, frozen=True, tag="assign"):
    """Give the case to somebody, whoever works on it now."""

    owner: Token


class Describe(_Command, frozen=True, tag="describe"):
    """Say more of the kind's own fields."""

    details: dict[str, Detail]


class Customer(_Command, frozen=True, tag="customer"):
    """Note whether the customer waits for us now, and whether they need particular care."""

    waiting: bool | None = None
    vulnerable: bool | None = None


class SetSeverity(_Command, frozen=True, tag="severity"):
    """Say how much the case matters. Lowering it is an act of its own."""

    severity: Severity
    reason: Text


class Snooze(_Command, frozen=True, tag="snooze"):
    """Let the case wait until a time; while it waits for the customer its clock stands still."""

    until_ms: TimeMs
    reason: Text
    for_customer: bool = True


class Return(_Command, frozen=True, tag="return"):
    """Take a waiting case up again before its time."""


class Escalate(_Command, frozen=True, tag="escalate"):
    """Hand the case to the next tier."""

    reason: Text


class VerifyBegin(_Command, frozen=True, tag="verify_begin"):
    """Ask the cardholder: send a one-time code, or show payments of theirs among made-up ones."""

    method: Method


class VerifyAnswer(_Command, frozen=True, tag="verify_answer"):
    """Take the cardholder's answer: the code, or the places of the chosen payments from 0, joined by commas."""

    answer: Annotated[str, Meta(min_length=1, max_length=40)]


class VerifySeen(_Command, frozen=True, tag="verify_seen"):
    """Record that the cardholder was called back on the number on record, or showed a document."""

    method: Method


class CardholderAnswer(_Command, frozen=True, tag="cardholder_answer"):
    """Record the cardholder's answer to "Was this you?": a weak label; with a code, a verification as well."""

    transaction_id: Token
    mine: bool
    code: Annotated[str, Meta(min_length=1, max_length=40)] | None = None


class Freeze(_Command, frozen=True, tag="freeze"):
    """Stop the card's payments until somebody unfreezes it."""

    reason: Text


class Unfreeze(_Command, frozen=True, tag="unfreeze"):
    """Let the card pay again."""

    reason: Text


class Block(_Command, frozen=True, tag="block"):
    """Stop the card for good."""

    reason: Text


class Reissue(_Command, frozen=True, tag="reissue"):
    """Order a new card: this one never pays again, the new one inherits its history."""

    reason: Text
    new_card_token: Annotated[str, Meta(min_length=1, max_length=64, description="Made up where none is given")] | (
        None
    ) = None


class LowerLimit(_Command, frozen=True, tag="lower_limit"):
    """Order a lower limit."""

    limit_minor: AmountMinor
    currency: Currency
    until_ms: TimeMs | None = None


class ChangeLimit(_Command, frozen=True, tag="change_limit"):
    """Order another limit."""

    limit_minor: AmountMinor
    currency: Currency
    until_ms: TimeMs | None = None


class AcceptDispute(_Command, frozen=True, tag="accept_dispute"):
    """Accept a dispute: order a provisional credit for the disputed amount."""

    reason: Text


class Watch(_Command, frozen=True, tag="watch"):
    """Have every payment of the card reviewed for some days."""

    days: Annotated[int, Meta(ge=0, le=365, description="0 ends the watch")]


class AllowMerchant(_Command, frozen=True, tag="allow_merchant"):
    """Let this card pay at a merchant until a time, whatever the models say."""

    merchant_id: Token
    until_ms: Annotated[int, Meta(ge=0, le=4_102_444_800_000, description="A time that is over ends it")]


class Travel(_Command, frozen=True, tag="travel"):
    """Note that the cardholder travels: being in these countries speaks against no payment until a time."""

    countries: Annotated[tuple[Country, ...], Meta(max_length=20, description="None ends the note")]
    until_ms: TimeMs


class Decide(_Command, frozen=True, tag="decide"):
    """Say what it was: labels for the payments named, or all of the case, go to the models at once."""

    disposition: Disposition
    note: Text
    transaction_ids: Annotated[tuple[Token, ...], Meta(max_length=100)] = ()


class Close(_Command, frozen=True, tag="close"):
    """End the case. Needs its outcome and a note."""

    outcome: Token
    note: Text


class Reopen(_Command, frozen=True, tag="reopen"):
    """Take a closed case up again."""

    reason: Text


class Approve(_Command, frozen=True, tag="approve"):
    """Agree to what somebody else asked for: it is done now."""


class Refuse(_Command, frozen=True, tag="refuse"):
    """Do not agree to what somebody else asked for."""

    reason: Text


class Macro(_Command, frozen=True, tag="macro"):
    """Begin a macro of the playbook: its effects follow in a few seconds unless it is undone."""

    name: Token
    note: Text


class Undo(_Command, frozen=True, tag="undo"):
    """Undo a macro whose effects have not followed yet."""


Command = (
    Move | Note | Take | Release | Assign | Describe | Customer | SetSeverity | Snooze | Return | Escalate
    | VerifyBegin | VerifyAnswer | VerifySeen | CardholderAnswer | Freeze | Unfreeze | Block | Reissue | LowerLimit
    | ChangeLimit | AcceptDispute | Watch | AllowMerchant | Travel | Decide | Close | Reopen | Approve | Refuse
    | Macro | Undo
)  # fmt: skip


class Commands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One to ten commands that are carried out together, in this order, or not at all."""

    actions: Annotated[tuple[Command, ...], Meta(min_length=1, max_length=MAXIMUM_COMMANDS)]


_decoder = msgspec.json.Decoder(Commands)
_encoder = msgspec.json.Encoder()


def decode_commands(body: bytes | str) -> tuple[Command, ...]:
    """Read commands from JSON.

    Raises:
        InvalidCommandError: they are none; the message names the field as our schema spells it, and its rule.
    """
    try:
        return _decoder.decode(body).actions
    except msgspec.DecodeError as error:
        raise InvalidCommandError(str(error)) from None


def encode_commands(commands: tuple[Command, ...]) -> str:
    """Write commands as JSON."""
    return _encoder.encode(Commands(commands)).decode()
