"""Why a record cannot be taken, and where it came from: what a dead letter says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from streams.card_numbers import CardNumberCheck
from streams.records import RawRecord


class Reason(StrEnum):
    """Reasons for a dead letter; the values are the contract's words and the label of a metric."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NEGATIVE_AMOUNT = "negative_amount"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNKNOWN_CURRENCY = "unknown_currency"
    DATED_IN_FUTURE = "dated_in_future"
    CARD_NUMBER_IN_CLEAR = "card_number_in_clear"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    UNKNOWN_VALUE = "unknown_value"
    BAD_COUNTRY = "bad_country"
    BAD_MCC = "bad_mcc"
    BAD_COORDINATES = "bad_coordinates"
    MISSING_REFERENCE = "missing_reference"
    SCORING_FAILED = "scoring_failed"
    LABELLING_FAILED = "labelling_failed"
    ALERT_FAILED = "alert_failed"
    NOTICE_UNREADABLE = "notice_unreadable"
    NOTICE_FAILED = "notice_failed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is put aside.

    Attributes:
        record: as it came; its content must not be written anywhere without redaction.
        reason: the reason that is counted.
        detail: the field and what was expected of it, never what was found.
    """

    record: RawRecord
    reason: Reason
    detail: str


# Every broken record costs an exception and a second decode; the depth of nesting is bounded by msgspec.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIELD = re.compile(r"`\$\.(\w+)|field `(\w+)`")
_MISSING = re.compile(r"missing required field|got `null`|of length >= 1")


def _reason_of(message: str, field: str) -> Reason:
    """Read the reason out of msgspec's message; `tests/streams` hold it to the wording."""
    if _MISSING.search(message):
        return Reason.MISSING_FIELD
    if "of length <=" in message:
        return Reason.TOO_LONG
    if "Expected `int` " in message:
        if field != "amount_minor":
            return Reason.TIME_OUT_OF_RANGE
        return Reason.NEGATIVE_AMOUNT if ">=" in message else Reason.AMOUNT_OUT_OF_RANGE
    return Reason.WRONG_TYPE


def diagnose(record: RawRecord, error: Exception, check: CardNumberCheck) -> Rejected:
    """Say why a record did not decode; a card number in the place of the token comes before everything else.

    Args:
        record: the record.
        error: what its decoder raised.
        check: knows card numbers from tokens.
    """
    try:
        value = msgspec.json.decode(record.value or b"")
    except UNREADABLE:
        return Rejected(record, Reason.NOT_JSON, "the value is not one JSON value in UTF-8")
    if not isinstance(value, dict):
        return Rejected(record, Reason.NOT_AN_OBJECT, "the value is JSON, but not an object")
    token = value.get("card_token")
    if isinstance(token, int | str) and not isinstance(token, bool) and check.is_card_number(str(token)):
        return Rejected(record, Reason.CARD_NUMBER_IN_CLEAR, "card_token")
    message = str(error)
    found = _FIELD.search(message)
    field = (found.group(1) or found.group(2)) if found else ""
    expected = message.split(" - at ", maxsplit=1)[0]
    return Rejected(record, _reason_of(message, field), f"{field}: {expected}" if field else expected)
