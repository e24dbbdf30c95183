"""The playbook: what to do about each action and disposition, read from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from casework.breaker import BreakerClock, BreakerLimits
from casework.cases import Contact, Disposition, Severity
from casework.clocks import ClockRules, ClockSettings
from casework.errors import ConfigurationError
from casework.kinds import CaseKind
from casework.macros import MacroSettings, MacroSpec, read_macros
from casework.urgency import UrgencyRules, UrgencySettings
from casework.verification import VerificationRules, VerificationSettings
from detector.vocabulary import Action, CardStatus, Label

CODE_TEMPLATE = "verification_code"
CARDHOLDER_NO, CARDHOLDER_LOST, CARDHOLDER_YES = "no", "lost", "yes"
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MAXIMUM_FREEZES_PER_HOUR = 20_000
_RESPONSES = tuple(action for action in Action if action is not Action.ALLOW)
Subject = TypeVar("Subject")
_COMMANDED_STATES = (CardStatus.ACTIVE, CardStatus.FROZEN, CardStatus.BLOCKED)


class CaseHandling(StrEnum):
    """What an alert does to the card's case. Every way but `none` joins a case that is open already."""

    OPEN = "open"
    ATTACH = "attach"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Response:
    """What to do about an action; `notice` names a message template."""

    case: CaseHandling
    notice: str | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a disposition means: the label of the case's transactions, and how long its reasons are damped."""

    label: Label
    damp_ms: int


@dataclass(frozen=True, slots=True)
class Playbook:
    """The rules, from `configs/playbook.toml`.

    Attributes:
        responses: for every action but ALLOW.
        resolutions: for every disposition.
        card_notices: template by the state a person put the card into; no notice for a state that is not here.
        channel, locale: of notices.
        urgent_notices: templates that break a cardholder's quiet hours.
        called_about: templates after which somebody calls where the cardholder stays silent for `silence_ms`.
        outcome_memory_ms: how long an alert's outcome is known. Longer than `fraud.alerts.v1` keeps records, so no
            alert that can be replayed is ever new again.
        answer_memory_ms: how long the answer under an Idempotency-Key is known.
        closed_case_memory_ms: how long closed cases are kept in the store.
        breaker: limits of the circuit breaker for freezes.
        breakers: limits of policy versions that have their own.
        clocks: by when cases must be answered.
        urgency: in which order.
        verification: how identity is verified.
        action_severity, kind_severity: how much an alert matters at first, and a case that a person opens.
        lock_ms: how long nobody else may change a case after its owner did.
        undo_ms: how long a macro can be undone.
        longest_snooze_ms, longest_allowance_ms: how far ahead a return, an allowance or a travel note may lie.
        macros: by name.
        cardholder: what follows what cardholders say on their page: CARDHOLDER_NO, CARDHOLDER_LOST, and
            CARDHOLDER_YES where it is proven.
    """

    version: str
    responses: Mapping[Action, Response]
    resolutions: Mapping[Disposition, Resolution]
    card_notices: Mapping[CardStatus, str]
    channel: str
    locale: str
    urgent_notices: frozenset[str]
    called_about: frozenset[str]
    silence_ms: int
    outcome_memory_ms: int
    answer_memory_ms: int
    closed_case_memory_ms: int
    breaker: BreakerLimits
    breakers: Mapping[str, BreakerLimits]
    clocks: ClockRules
    urgency: UrgencyRules
    verification: VerificationRules
    action_severity: Mapping[Action, Severity]
    kind_severity: Mapping[CaseKind, Severity]
    lock_ms: int
    undo_ms: int
    longest_snooze_ms: int
    longest_allowance_ms: int
    macros: Mapping[str, MacroSpec]
    cardholder: Mapping[str, MacroSpec]

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> Playbook:
        """Read the content of `configs/playbook.toml`.

        Raises:
            ConfigurationError: a setting is missing, unknown or wrong; the message names it.
        """
        try:
            read = msgspec.convert(dict(settings), _Settings)
        except msgspec.ValidationError as error:
            message = f"playbook: {error}"
            raise ConfigurationError(message) from None
        if read.memory.answer_hours > 24 * read.memory.closed_case_days:
            message = "playbook: memory.answer_hours must not exceed memory.closed_case_days"
            raise ConfigurationError(message)
        return cls(
            version=read.version,
            responses=_responses(read.actions),
            resolutions=_resolutions(read.dispositions),
            card_notices=_card_notices(read.card_notices),
            channel=read.notices.channel,
            locale=read.notices.locale,
            urgent_notices=frozenset(read.notices.urgent),
            called_about=frozenset(read.notices.call_about),
            silence_ms=read.notices.silence_minutes * _MINUTE_MS,
            outcome_memory_ms=read.memory.outcome_days * _DAY_MS,
            answer_memory_ms=read.memory.answer_hours * _HOUR_MS,
            closed_case_memory_ms=read.memory.closed_case_days * _DAY_MS,
            breaker=_breaker_limits(read.breaker, read.breaker),
            breakers={name: _breaker_limits(own, read.breaker) for name, own in read.breaker.policies.items()},
            clocks=read.clocks.rules(tuple(Contact)),
            urgency=read.urgency.rules(),
            verification=read.verification.rules(),
            action_severity=_severities(
                "actions", read.severity.actions, {action.wire: action for action in _RESPONSES}
            ),
            kind_severity=_severities("kinds", read.severity.kinds, {str(kind): kind for kind in CaseKind}),
            lock_ms=read.cases.lock_minutes * _MINUTE_MS,
            undo_ms=read.cases.undo_seconds * 1000,
            longest_snooze_ms=read.cases.longest_snooze_days * _DAY_MS,
            longest_allowance_ms=read.cases.longest_allowance_days * _DAY_MS,
            macros=read_macros(read.macros),
            cardholder=read_macros(
                {
                    CARDHOLDER_NO: read.cardholder.no,
                    CARDHOLDER_LOST: read.cardholder.lost,
                    CARDHOLDER_YES: read.cardholder.yes,
                }
            ),
        )

    def breaker_limits(self, policy_version: str) -> BreakerLimits:
        """How much this version of the policy may freeze before people decide."""
        return self.breakers.get(policy_version, self.breaker)

    def templates(self) -> frozenset[str]:
        """Every message template the playbook may ask for."""
        of_actions = {response.notice for response in self.responses.values() if response.notice is not None}
        named = self.urgent_notices | self.called_about
        return frozenset(of_actions | set(self.card_notices.values()) | {CODE_TEMPLATE} | named)


_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    case: CaseHandling
    notice: _Word | None = None


class _Disposition(msgspec.Struct, forbid_unknown_fields=True):
    label: _Word
    damp_hours: Annotated[int, msgspec.Meta(ge=0, le=24 * 365)]


class _Notices(msgspec.Struct, forbid_unknown_fields=True):
    channel: _Word
    locale: _Word
    urgent: list[_Word]
    call_about: list[_Word]
    silence_minutes: Annotated[int, msgspec.Meta(ge=1, le=24 * 60)]


class _Memory(msgspec.Struct, forbid_unknown_fields=True):
    outcome_days: Annotated[int, msgspec.Meta(ge=1, le=365)]
    answer_hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 30)]
    closed_case_days: Annotated[int, msgspec.Meta(ge=1, le=365)]


_FreezesPerMinute = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
_ShareOfCards = Annotated[float, msgspec.Meta(gt=0, le=1)]


class _PolicyBreaker(msgspec.Struct, forbid_unknown_fields=True):
    freezes_per_minute: _FreezesPerMinute
    share_of_cards_per_hour: _ShareOfCards


class _Breaker(msgspec.Struct, forbid_unknown_fields=True):
    freezes_per_minute: _FreezesPerMinute
    share_of_cards_per_hour: _ShareOfCards
    cards: Annotated[int, msgspec.Meta(ge=1, le=10**10)]
    clock: BreakerClock
    policies: dict[str, _PolicyBreaker] = {}


class _Cases(msgspec.Struct, forbid_unknown_fields=True):
    lock_minutes: Annotated[int, msgspec.Meta(ge=1, le=24 * 60)]
    undo_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)]
    longest_snooze_days: Annotated[int, msgspec.Meta(ge=1, le=365)]
    longest_allowance_days: Annotated[int, msgspec.Meta(ge=1, le=3 * 365)]


class _Severity(msgspec.Struct, forbid_unknown_fields=True):
    actions: dict[str, _Word]
    kinds: dict[str, _Word]


class _Cardholder(msgspec.Struct, forbid_unknown_fields=True):
    no: MacroSettings
    lost: MacroSettings
    yes: MacroSettings


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The file's structure; what it means is checked below."""

    version: _Word
    actions: dict[str, _Action]
    dispositions: dict[str, _Disposition]
    card_notices: dict[str, _Word]
    notices: _Notices
    memory: _Memory
    breaker: _Breaker
    cases: _Cases
    severity: _Severity
    clocks: ClockSettings
    urgency: UrgencySettings
    verification: VerificationSettings
    cardholder: _Cardholder
    macros: dict[str, MacroSettings] = {}


def _check_names(section: str, given: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Refuse a section that lacks a name or has one too many."""
    if set(given) != set(known):
        message = f"playbook: [{section}] must have exactly the entries {', '.join(known)}"
        raise ConfigurationError(message)


def _responses(given: Mapping[str, _Action]) -> dict[Action, Response]:
    """Read `[actions]`."""
    known = {action.wire: action for action in _RESPONSES}
    _check_names("actions", given, known)
    if given[Action.FREEZE.wire].case is not CaseHandling.OPEN:
        message = 'playbook: actions.FREEZE.case must be "open": somebody must look at every frozen card'
        raise ConfigurationError(message)
    return {action: Response(given[name].case, given[name].notice) for name, action in known.items()}


def _resolutions(given: Mapping[str, _Disposition]) -> dict[Disposition, Resolution]:
    """Read `[dispositions]`."""
    known = {str(disposition): disposition for disposition in Disposition}
    _check_names("dispositions", given, known)
    labels = {Label.FRAUD.wire: Label.FRAUD, Label.GENUINE.wire: Label.GENUINE}
    resolutions = {}
    for name, disposition in known.items():
        label = labels.get(given[name].label)
        if label is None:
            message = f"playbook: dispositions.{name}.label must be one of {', '.join(labels)}"
            raise ConfigurationError(message)
        resolutions[disposition] = Resolution(label, given[name].damp_hours * _HOUR_MS)
    return resolutions


def _card_notices(given: Mapping[str, str]) -> dict[CardStatus, str]:
    """Read `[card_notices]`; a state may be left out."""
    known = {state.wire: state for state in _COMMANDED_STATES}
    if not set(given) <= set(known):
        message = f"playbook: [card_notices] may have the entries {', '.join(known)} only"
        raise ConfigurationError(message)
    return {known[name]: template for name, template in given.items()}


def _breaker_limits(given: _Breaker | _PolicyBreaker, common: _Breaker) -> BreakerLimits:
    """Limits in freezes; each freeze of the last hour is remembered by its alert's id, so their number is bounded."""
    freezes_per_hour = max(1, int(common.cards * given.share_of_cards_per_hour))
    if freezes_per_hour > _MAXIMUM_FREEZES_PER_HOUR:
        message = (
            f"playbook: breaker.cards times share_of_cards_per_hour must be at most {_MAXIMUM_FREEZES_PER_HOUR:,} "
            "freezes an hour"
        )
        raise ConfigurationError(message)
    return BreakerLimits(given.freezes_per_minute, freezes_per_hour, common.clock)


def _severities(section: str, given: Mapping[str, str], known: Mapping[str, Subject]) -> dict[Subject, Severity]:
    """Read a table of `[severity]`."""
    _check_names(f"severity.{section}", given, known)
    names = {severity.name.lower(): severity for severity in Severity}
    for name, word in given.items():
        if word not in names:
            message = f"playbook: severity.{section}.{name} must be one of {', '.join(names)}"
            raise ConfigurationError(message)
    return {subject: names[given[name]] for name, subject in known.items()}
