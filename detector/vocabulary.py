"""The words that cross cardwatch's borders: actions, flags, kinds, channels, card states, labels.

Each enum's value is its code inside NumPy columns; its wire name is the JSON string of the contract. Code 0 of the
optional ones means "not given", so a zeroed column is a column of missing values.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

# What may drift beside the features, by the names that observers are told.
DRIFT_OF_SCORE, DRIFT_OF_LABELS, DRIFT_OF_LOSS = "score", "labels", "loss"
# The reasons of decisions that no engine made.
SCORING_FAILED, DEADLINE_PASSED = "scoring_failed", "deadline_passed"


class WireEnum(IntEnum):
    """An integer code with a wire name: the member's name in lower case unless a class says otherwise."""

    @property
    def wire(self) -> str:
        """The JSON string of the contract."""
        return self.name.lower()

    @classmethod
    def by_wire(cls) -> dict[str, int]:
        """Map every wire name to its code."""
        return {member.wire: int(member) for member in cls}


class Action(WireEnum):
    """What cardwatch answers to a transaction, in order of severity."""

    ALLOW = 0
    STEP_UP = 1
    REVIEW = 2
    DECLINE = 3
    FREEZE = 4

    @property
    def wire(self) -> str:
        """Actions are written in capitals."""
        return self.name


class Flag(IntFlag):
    """Circumstances of an assessment; several may hold at once."""

    LATE = 1
    DUPLICATE = 2
    DEGRADED = 4
    COLD_START = 8
    RANDOM_REVIEW = 16


FLAG_NAMES: tuple[tuple[int, str], ...] = tuple((int(flag), str(flag.name).lower()) for flag in Flag)


class Kind(WireEnum):
    """What a record of the transaction stream is about."""

    PURCHASE = 0
    CASH = 1
    REFUND = 2
    REVERSAL = 3
    VERIFICATION = 4
    OUTCOME = 5


class Channel(WireEnum):
    """Where a payment was made; NONE is "not given"."""

    NONE = 0
    POS = 1
    ECOM = 2
    ATM = 3
    MOTO = 4
    WALLET = 5


class EntryMode(WireEnum):
    """How the card was presented; NONE is "not given"."""

    NONE = 0
    CHIP = 1
    CONTACTLESS = 2
    MAGSTRIPE = 3
    MANUAL = 4
    CREDENTIAL_ON_FILE = 5
    TOKEN = 6


class StepUp(WireEnum):
    """The result of asking the cardholder; NONE is "not given"."""

    NONE = 0
    PASSED = 1
    FAILED = 2


class CardStatus(WireEnum):
    """The state of a card as payment systems obey it."""

    ACTIVE = 0
    FROZEN = 1
    BLOCKED = 2
    REISSUED = 3


class Label(WireEnum):
    """What became known of a transaction. UNLABELLED marks examples for the model without labels."""

    UNLABELLED = -1
    GENUINE = 0
    FRAUD = 1


class LabelSource(WireEnum):
    """Who said so."""

    AGENT = 0
    CARDHOLDER = 1
    CHARGEBACK = 2
    NETWORK = 3
    IMPORT = 4
    MATURITY = 5


# Scores are whole billionths: nine decimals say one to the last bit, in the engine, on the wire and after recovery.
SCORE_UNITS = 1_000_000_000

# ISO 8583 field 39: approved, honour with identification, approved for partial amount, approved (VIP), verified (no
# reason to decline).
APPROVED_RESPONSE_CODES: frozenset[str] = frozenset({"00", "08", "10", "11", "16", "85"})
