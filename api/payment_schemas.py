"""JSON of /v1/transactions: the contract's transaction in, its decision out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import TimeMs
from detector.vocabulary import Action, Channel, EntryMode, Kind, StepUp, WireEnum

MAXIMUM_BULK = 1_000
_LARGEST_AMOUNT_MINOR = 10**13
_LATEST_TIME_MS = 10**14
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)]
Text = Annotated[str, Field(max_length=128)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


def _names(vocabulary: type[WireEnum], left_out: WireEnum | None = None) -> dict[str, Any]:
    """The words of a vocabulary, for the document; which are known is checked with everything else."""
    return {"enum": [member.wire for member in vocabulary if member is not left_out]}


class TransactionIn(BaseModel):
    """A transaction as `payments.transactions.v1` has it. Members that are not known are passed over."""

    # No coercion: what Kafka's reader would refuse is refused here.
    model_config = ConfigDict(strict=True)

    transaction_id: Identifier = Field(description="With card_token the transaction's identity")
    card_token: Identifier = Field(description="The card's opaque token, never its number")
    event_time_ms: int = Field(ge=0, le=_LATEST_TIME_MS, description="UTC epoch milliseconds")
    amount_minor: int = Field(ge=0, le=_LARGEST_AMOUNT_MINOR, description="Minor units of the currency")
    currency: str = Field(min_length=3, max_length=3, description="ISO 4217", examples=["EUR"])
    kind: str = Field(default=Kind.PURCHASE.wire, max_length=128, json_schema_extra=_names(Kind))
    refers_to: Identifier | None = Field(default=None, description="Of a reversal or outcome: its transaction")
    terminal_id: Text | None = None
    merchant_id: Text | None = None
    mcc: Text | None = Field(default=None, description="ISO 18245, four digits")
    merchant_category: Text | None = None
    country: Text | None = Field(default=None, description="ISO 3166-1 alpha-2")
    channel: Text | None = Field(default=None, json_schema_extra=_names(Channel, Channel.NONE))
    entry_mode: Text | None = Field(default=None, json_schema_extra=_names(EntryMode, EntryMode.NONE))
    device_id: Text | None = None
    customer_id: Text | None = None
    ip_country: Text | None = Field(default=None, description="ISO 3166-1 alpha-2")
    latitude: Latitude | None = Field(default=None, description="Where the payment happens, degrees")
    longitude: Longitude | None = Field(default=None, description="Where the payment happens, degrees")
    home_latitude: Latitude | None = Field(default=None, description="Of the cardholder, degrees")
    home_longitude: Longitude | None = Field(default=None, description="Of the cardholder, degrees")
    response_code: Text | None = Field(default=None, description="ISO 8583 field 39, after authorisation")
    step_up: Text | None = Field(default=None, json_schema_extra=_names(StepUp, StepUp.NONE))

    def record(self) -> bytes:
        """The record that goes onto the topic."""
        return self.model_dump_json(exclude_none=True).encode()


class BulkIn(BaseModel):
    """Many transactions at once."""

    transactions: list[TransactionIn] = Field(min_length=1, max_length=MAXIMUM_BULK)


class SourceOut(BaseModel):
    """Where the transaction stands in Kafka."""

    topic: str
    partition: int = Field(description="-1 where Kafka has not acknowledged it in time")
    offset: int = Field(description="-1 where Kafka has not acknowledged it in time")


class DecisionOut(BaseModel):
    """The decision on a transaction, as it stands on `fraud.decisions.v1`, without the evidence."""

    transaction_id: str
    card_token: str
    event_time_ms: TimeMs
    action: Literal["ALLOW", "STEP_UP", "REVIEW", "DECLINE", "FREEZE"] = Field(
        description="What to do with the payment", examples=[Action.ALLOW.wire]
    )
    score: float = Field(description="Calibrated probability of fraud; 0 where `degraded`")
    anomaly: float = Field(description="0 to 1, from the model without labels; 0 where `degraded`")
    reasons: list[str] = Field(description="Codes, strongest first; `deadline_passed` where no decision came in time")
    rules: list[str]
    expected_loss_minor: int
    flags: list[str] = Field(description="late, duplicate, degraded, cold_start, random_review")
    model_version: str
    policy_version: str
    rates_version: str
    source: SourceOut
    alert_id: str | None = None


class RefusalOut(BaseModel):
    """Why one transaction of many was not taken."""

    field: str = Field(description="The field at fault")
    rule: str = Field(description="The contract's word for what is wrong")


class BulkItemOut(BaseModel):
    """The answer to one transaction of many: one of the two."""

    decision: DecisionOut | None = None
    refused: RefusalOut | None = None


class BulkOut(BaseModel):
    """The answers, in the order of the transactions."""

    results: list[BulkItemOut]
