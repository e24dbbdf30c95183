"""Kinds of cases, as data: what each kind says of its own, how it can end, and which words its fields may hold.

A kind's fields are checked here alone; forms, the OpenAPI document and the docs are made from the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from casework.errors import InvalidCommandError

Detail = str | int | bool | list[str]
Details = dict[str, Detail]

MAXIMUM_TEXT = 2_000
MAXIMUM_ITEMS = 20
MAXIMUM_ITEM = 200
_LARGEST_MINOR = 2**53
_LATEST_MS = 4_102_444_800_000


class CaseKind(StrEnum):
    """What a case is about."""

    FRAUD_ALERT = "fraud_alert"
    LOST_OR_STOLEN = "lost_or_stolen"
    DISPUTE = "dispute"
    DECLINED_PAYMENT = "declined_payment"
    LIMIT_CHANGE = "limit_change"
    ACCOUNT_ACCESS = "account_access"
    REFERRAL = "referral"


class FieldType(StrEnum):
    """What a field holds."""

    TOKEN = "token"  # noqa: S105  a word for the form's field, no secret
    TEXT = "text"
    AMOUNT = "amount"
    CURRENCY = "currency"
    TIME = "time"
    CHOICE = "choice"
    FLAG = "flag"
    ITEMS = "items"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind.

    Attributes:
        choices: the words allowed, for CHOICE.
        required: whether a case of the kind cannot be opened without it.
    """

    name: str
    type: FieldType
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KindSpec:
    """What is particular to a kind.

    Attributes:
        fields: its own fields.
        outcomes: how a case of it can end.
    """

    fields: tuple[Field, ...]
    outcomes: tuple[str, ...]


DISPOSITIONS = ("confirmed_fraud", "false_positive", "valuable_alert")
DISPUTE_REASONS = (
    "not_authorised", "not_received", "not_as_described", "charged_twice", "wrong_amount", "refund_missing",
    "cancelled",
)  # fmt: skip

KINDS: Mapping[CaseKind, KindSpec] = {
    CaseKind.FRAUD_ALERT: KindSpec((), DISPOSITIONS),
    CaseKind.LOST_OR_STOLEN: KindSpec(
        (
            Field("circumstance", FieldType.CHOICE, required=True, choices=("lost", "stolen", "not_received")),
            Field("missed_since_ms", FieldType.TIME),
            Field("place", FieldType.TEXT),
            Field("police_report", FieldType.TEXT),
        ),
        ("replaced", "found", *DISPOSITIONS),
    ),
    CaseKind.DISPUTE: KindSpec(
        (
            Field("transaction_id", FieldType.TOKEN, required=True),
            Field("reason", FieldType.CHOICE, required=True, choices=DISPUTE_REASONS),
            Field("amount_minor", FieldType.AMOUNT, required=True),
            Field("currency", FieldType.CURRENCY, required=True),
            Field("merchant_id", FieldType.TOKEN),
            Field("paid_ms", FieldType.TIME),
            Field("evidence", FieldType.ITEMS),
        ),
        ("accepted", "declined", "withdrawn", *DISPOSITIONS),
    ),
    CaseKind.DECLINED_PAYMENT: KindSpec(
        (
            Field("transaction_id", FieldType.TOKEN),
            Field("merchant_id", FieldType.TOKEN),
            Field("amount_minor", FieldType.AMOUNT),
            Field("currency", FieldType.CURRENCY),
        ),
        ("explained", "enabled", *DISPOSITIONS),
    ),
    CaseKind.LIMIT_CHANGE: KindSpec(
        (
            Field("limit_minor", FieldType.AMOUNT, required=True),
            Field("currency", FieldType.CURRENCY, required=True),
            Field("until_ms", FieldType.TIME),
        ),
        ("granted", "refused", "withdrawn"),
    ),
    CaseKind.ACCOUNT_ACCESS: KindSpec(
        (
            Field("problem", FieldType.CHOICE, required=True,
                  choices=("locked_out", "changed_phone", "forgot", "other")),
        ),
        ("restored", "refused", "withdrawn"),
    ),
    CaseKind.REFERRAL: KindSpec(
        (
            Field("destination", FieldType.CHOICE, required=True,
                  choices=("sales", "applications", "rewards", "billing", "complaints")),
            Field("handover", FieldType.TEXT, required=True),
        ),
        ("handed_over", "withdrawn"),
    ),
}  # fmt: skip


def checked_details(kind: CaseKind, given: Mapping[str, object], known: Mapping[str, Detail] | None = None) -> Details:
    """A kind's own fields, checked.

    Args:
        kind: of the case.
        given: what is said now.
        known: what was said before, and stays where nothing new is said.

    Raises:
        InvalidCommandError: a field is unknown, missing or out of bounds; the message names it and never what it held.
    """
    fields = {field.name: field for field in KINDS[kind].fields}
    if unknown := set(given) - set(fields):
        message = f"details: {len(unknown)} of the fields are none of {kind}; it has {', '.join(fields) or 'none'}"
        raise InvalidCommandError(message)
    details: Details = dict(known or {}) | {name: _checked(fields[name], value) for name, value in given.items()}
    for field in fields.values():
        if field.required and field.name not in details:
            message = f"details.{field.name} is required"
            raise InvalidCommandError(message)
    return details


def _checked(field: Field, value: object) -> Detail:
    """One value, or InvalidCommandError with what the field may hold."""
    held = _held(field, value)
    if held is None:
        message = f"details.{field.name} must be {rule_of(field)}"
        raise InvalidCommandError(message)
    return held


def _held(field: Field, value: object) -> Detail | None:
    """The value, if the field may hold it."""
    if field.type is FieldType.FLAG:
        return value if isinstance(value, bool) else None
    if field.type in {FieldType.AMOUNT, FieldType.TIME}:
        most = _LARGEST_MINOR if field.type is FieldType.AMOUNT else _LATEST_MS
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return value if is_number and isinstance(value, int) and 0 <= value <= most else None
    if field.type is FieldType.ITEMS:
        is_list = isinstance(value, list | tuple) and len(value) <= MAXIMUM_ITEMS
        texts = [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []
        whole = is_list and isinstance(value, list | tuple) and len(texts) == len(value)
        return texts if whole and all(_is_text(text, MAXIMUM_ITEM) for text in texts) else None
    if not isinstance(value, str):
        return None
    if field.type is FieldType.CHOICE:
        return value if value in field.choices else None
    if field.type is FieldType.CURRENCY:
        return value if len(value) == 3 and value.isascii() and value.isupper() else None
    return value if _is_text(value, 64 if field.type is FieldType.TOKEN else MAXIMUM_TEXT) else None


def _is_text(text: str, longest: int) -> bool:
    return len(text.strip()) >= 1 and len(text) <= longest and (text.isprintable() or "\n" in text)


def rule_of(field: Field) -> str:
    """What a field may hold, in words."""
    return {
        FieldType.TOKEN: "a text of 1 to 64 characters",
        FieldType.TEXT: f"a text of 1 to {MAXIMUM_TEXT} characters",
        FieldType.AMOUNT: "an amount in minor units, 0 or more",
        FieldType.CURRENCY: "an ISO 4217 code",
        FieldType.TIME: "a time in UTC epoch milliseconds",
        FieldType.CHOICE: f"one of {', '.join(field.choices)}",
        FieldType.FLAG: "true or false",
        FieldType.ITEMS: f"a list of at most {MAXIMUM_ITEMS} texts of 1 to {MAXIMUM_ITEM} characters",
    }[field.type]


def check_outcome(kind: CaseKind, outcome: str) -> None:
    """Pass if a case of the kind can end so.

    Raises:
        InvalidCommandError: it cannot.
    """
    if outcome not in KINDS[kind].outcomes:
        message = f"outcome must be one of {', '.join(KINDS[kind].outcomes)}"
        raise InvalidCommandError(message)
