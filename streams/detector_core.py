"""The engine behind the score role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.assessments import Assessments
from detector.desk_lists import DeskLists
from detector.engine import adopt_decision, assess_batch
from detector.errors import ModelError
from detector.inheritance import Histories, history_of
from detector.label_kernel import APPLIED, CORRECTED, REPEATED, TOO_LATE, UNKNOWN
from detector.labels import Matured, apply_labels, build_label_batch, mature
from detector.layout import SOURCE_POSITION
from detector.models.version import ModelVersion
from detector.policy import Policy
from detector.saved import StateImage
from detector.sources import (
    Applied,
    SharedRows,
    apply_shared_rows,
    close_gap,
    is_ahead,
    known_to,
    raise_to,
    will_be_replayed,
)
from detector.state import EngineState, StateConfig
from detector.transactions import TransactionBatch, build_batch
from detector.usage import state_usage
from detector.vocabulary import CardStatus, Kind
from streams.checkpoint_objects import Room
from streams.core import AssessedBatch, LabelOutcome, Progress, StateChanges, StateUse, UnusableBroadcastError
from streams.encoding import Versions
from streams.histories import decode_history, encode_history
from streams.recovery import StandingDecision
from streams.topics import CARD_STATES, CONTROL, HISTORIES, MODELS

_STATUSES = CardStatus.by_wire()
_WARM_UP_MS = 1_700_000_000_000
_LABEL_COLUMNS = ("transaction_id", "card_token", "label", "label_time_ms", "source", "labelled_by")
_LABEL_OUTCOMES = {
    int(APPLIED): "applied",
    int(UNKNOWN): "unknown",
    int(REPEATED): "repeated",
    int(CORRECTED): "corrected",
    int(TOO_LATE): "late",
}


class _CardState(msgspec.Struct):
    card_token: str
    state: str
    command_time_ms: int


class _Damp(msgspec.Struct, tag_field="kind", tag="damp"):
    card_token: str
    reasons: list[str]
    until_ms: int


class _Watch(msgspec.Struct, tag_field="kind", tag="watch"):
    card_token: str
    until_ms: int


class _AllowMerchant(msgspec.Struct, tag_field="kind", tag="allow_merchant"):
    card_token: str
    merchant_id: str
    until_ms: int


class _Travel(msgspec.Struct, tag_field="kind", tag="travel"):
    card_token: str
    countries: list[str]
    until_ms: int


class _Inherit(msgspec.Struct, tag_field="kind", tag="inherit"):
    card_token: str
    new_card_token: str


class _ListEntry(msgspec.Struct, tag_field="kind", tag="list_entry"):
    effect: Literal["block", "allow", "watch"]
    subject: Literal["card", "merchant", "terminal", "device", "country"]
    value: str
    until_ms: int


_Directive = _Damp | _Watch | _AllowMerchant | _Travel | _Inherit | _ListEntry
# The lists that rules of policy.toml name.
_LIST_NAMES = {
    (effect, subject): f"{adjective}_{plural}"
    for effect, adjective in (("block", "blocked"), ("watch", "watched"))
    for subject, plural in (
        ("card", "cards"),
        ("merchant", "merchants"),
        ("terminal", "terminals"),
        ("device", "devices"),
        ("country", "countries"),
    )
}
_card_states = msgspec.json.Decoder(_CardState)
_directives: msgspec.json.Decoder[_Directive] = msgspec.json.Decoder(_Directive)


class DetectorCore:
    """`ScoringCore` on the detector's engine."""

    def __init__(self, state: EngineState, model: ModelVersion, policy: Policy, tried: Policy | None = None) -> None:
        """Score with `model` until another version is broadcast; `tried` decides beside `policy` and does not act."""
        self._state = state
        self._model = model
        self._policy = policy
        self._lists = DeskLists()
        self._tried = tried
        # A second one, since each keeps what it has laid over one policy.
        self._tried_lists = DeskLists()
        self._histories = Histories(state.config.fingerprint_key)
        # New cards by the old ones whose histories are to be told, and whether any of those may be here unseen.
        self._heirs: dict[str, str] = {}
        self._may_tell = False

    def warm_up(self) -> None:
        """See `ScoringCore`. Compiling takes most of a minute where nothing is cached, and lets nothing else run."""
        key = self._state.config.fingerprint_key
        config = StateConfig(key, cards=64, events=256, payments=64, entities=64, buckets=1024)
        state = EngineState(config, self._state.rates)
        state.open_partition(0)
        columns = {
            "transaction_id": ["a", "b", "c"],
            "card_token": ["card"] * 3,
            "event_time_ms": [_WARM_UP_MS] * 3,
            "amount_minor": [100] * 3,
            "currency": [self._state.rates.reference_currency] * 3,
            "kind": [Kind.PURCHASE, Kind.PURCHASE, Kind.REVERSAL],
            "refers_to": [None, None, "b"],
            "terminal_id": ["terminal"] * 3,
            "response_code": ["00"] * 3,
        }
        state.directives.set_card_state("another", CardStatus.FROZEN, 0)
        assessed = assess_batch(state, build_batch(columns, key=key), self._model, self._policy)
        self._model.contributions(self._model.binner.bins(assessed.features))
        labels: dict[str, list[Any]] = {
            "transaction_id": ["a"],
            "card_token": ["card"],
            "label": [1],
            "label_time_ms": [_WARM_UP_MS],
        }
        apply_labels(state, build_label_batch(labels, key=key))
        apply_shared_rows(state, assessed.shared)
        mature(state, 0, _WARM_UP_MS)
        for changes in (state.changes(0), state.shared_changes):
            changes.drain(1 << 20)
            changes.put_back(changes.take())
            changes.drain(1 << 20)
            image = StateImage(changes.layout)
            image.apply(changes.take().arrays())

    def config_digest(self) -> str:
        """See `ScoringCore`."""
        return self._state.config.digest()

    def new_room(self, layout: str) -> Room:
        """See `ScoringCore`."""
        return StateImage(layout)

    def open(self, partition: int, saved: Room | None) -> None:
        """See `ScoringCore`."""
        self._state.drop_partition(partition)
        if saved is None:
            self._state.open_partition(partition)
        else:
            self._state.restore(partition, cast("StateImage", saved))
        self._may_tell = True

    def drop(self, partition: int) -> None:
        """See `ScoringCore`."""
        self._state.drop_partition(partition)

    def progress(self, partition: int) -> Progress:
        """See `ScoringCore`."""
        state = self._state.partition(partition)
        is_replaying = is_ahead(self._state, partition)
        return Progress(state.next_offset, state.label_next_offset, state.watermark_ms, is_replaying)

    def changes(self, subject: int | None) -> StateChanges:
        """See `ScoringCore`."""
        return self._state.shared_changes if subject is None else self._state.changes(subject)

    def open_shared(self, saved: Room | None) -> None:
        """See `ScoringCore`."""
        if saved is None:
            self._state.empty_shared()
        else:
            self._state.restore_shared(cast("StateImage", saved))

    def build(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> TransactionBatch:
        """See `ScoringCore`."""
        return build_batch(columns, key=self._state.config.fingerprint_key, partition=partition, offset=offset)

    def assess(self, batch: TransactionBatch) -> AssessedBatch:
        """See `ScoringCore`."""
        self._histories.hand_over(self._state, batch)
        times = batch.event_time_ms
        latest_ms = int(times.max()) if len(times) else 0
        policy = self._lists.over(self._policy, latest_ms)
        tried = None if self._tried is None else self._tried_lists.over(self._tried, latest_ms)
        return assess_batch(self._state, batch, self._model, policy, tried)

    def adopt(self, assessed: AssessedBatch, row: int, standing: StandingDecision) -> None:
        """See `ScoringCore`."""
        made = cast("Assessments", assessed)
        if made.duplicate[row]:
            return  # its first decision was adopted with the first
        decision = (standing.action, standing.flags, standing.score, standing.anomaly)
        payment_row = int(made.payment_row[row])
        adopt_decision(self._state, made.batch.partition, payment_row, decision, list(standing.reasons))

    def label(self, columns: Mapping[str, Any], partition: int, offset: NDArray[np.int64]) -> LabelOutcome:
        """See `ScoringCore`."""
        key = self._state.config.fingerprint_key
        labels = {name: columns[name] for name in _LABEL_COLUMNS}
        result = apply_labels(self._state, build_label_batch(labels, key=key, partition=partition, offset=offset))
        outcomes = [_LABEL_OUTCOMES[code] for code in result.outcome.tolist()]
        return LabelOutcome(result.examples, outcomes, result.payment_time_ms, result.action, result.shared)

    def mature(self, partition: int, now_ms: int) -> Matured:
        """See `ScoringCore`."""
        return mature(self._state, partition, now_ms)

    def follow(self, partitions: Iterable[int]) -> None:
        """See `ScoringCore`."""
        self._state.follow(partitions)

    def apply_rows(self, rows: SharedRows) -> Applied:
        """See `ScoringCore`."""
        return apply_shared_rows(self._state, rows)

    def will_be_replayed(self, rows: SharedRows) -> bool:
        """See `ScoringCore`."""
        return will_be_replayed(self._state, rows)

    def rows_position(self, partition: int) -> int:
        """See `ScoringCore`."""
        return known_to(self._state.shared, partition, SOURCE_POSITION)

    def rows_read(self, partition: int, position: int) -> None:
        """See `ScoringCore`."""
        with self._state.change_shared():
            raise_to(self._state.shared, partition, SOURCE_POSITION, position)

    def close_gap(self, partition: int) -> int:
        """See `ScoringCore`."""
        return close_gap(self._state, partition)

    def usage(self) -> StateUse:
        """See `ScoringCore`."""
        tables = {use.table: (use.rows, use.capacity_rows, use.size_bytes) for use in state_usage(self._state)}
        return StateUse(tables, self._state.directives.frozen_cards())

    def versions(self) -> Versions:
        """See `ScoringCore`."""
        return Versions(self._model.name, self._policy.version, self._state.rates.version, tuple(self._policy.rule_ids))

    def _obey(self, directive: _Directive) -> None:
        """Do what the desk says from the next batch on."""
        directives = self._state.directives
        if isinstance(directive, _Damp):
            directives.damp(directive.card_token, directive.reasons, directive.until_ms)
        elif isinstance(directive, _Watch):
            self._put(_LIST_NAMES["watch", "card"], directive.card_token, directive.until_ms)
        elif isinstance(directive, _AllowMerchant):
            directives.allow_merchant(directive.card_token, directive.merchant_id, directive.until_ms)
        elif isinstance(directive, _Travel):
            directives.travel(directive.card_token, directive.countries, directive.until_ms)
        elif isinstance(directive, _Inherit):
            directives.inherit(directive.card_token, directive.new_card_token)
            self._heirs[directive.card_token] = directive.new_card_token
            self._may_tell = True
        elif directive.effect == "allow":
            directives.allow(directive.subject, directive.value, directive.until_ms)
        else:
            self._put(_LIST_NAMES[directive.effect, directive.subject], directive.value, directive.until_ms)

    def _put(self, name: str, value: str, until_ms: int) -> None:
        """Put an entry of the desk's on a list of both policies."""
        for lists in (self._lists, self._tried_lists):
            lists.put(name, value, until_ms)

    def bequests(self) -> list[tuple[str, bytes]]:
        """See `ScoringCore`."""
        if not self._may_tell:
            return []
        self._may_tell = False
        told, digest = [], self._state.config.digest()
        for card_token, new_card_token in list(self._heirs.items()):
            if new_card_token in self._histories:
                del self._heirs[card_token]
                continue
            for partition in self._state.partitions.values():
                history = history_of(partition, card_token, self._state.config.fingerprint_key)
                if history is not None:
                    told.append((new_card_token, encode_history(new_card_token, history, digest)))
                    del self._heirs[card_token]
                    break
        return told

    def take_over(self, topic: str, value: bytes | None) -> None:
        """See `ScoringCore`."""
        if value is None:
            return
        try:
            if topic == MODELS:
                model = ModelVersion.from_bytes(value)
                model.require_catalogue(self._model.catalogue_digest)
                self._model = model.for_scoring()
            elif topic == CARD_STATES:
                state = _card_states.decode(value)
                status = CardStatus(_STATUSES[state.state])
                self._state.directives.set_card_state(state.card_token, status, state.command_time_ms)
            elif topic == CONTROL:
                self._obey(_directives.decode(value))
            elif topic == HISTORIES:
                self._histories.put(*decode_history(value, self._state.config.digest()))
        except (ModelError, msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
            # What was read is not repeated: it may hold anything.
            message = f"{topic}: {type(error).__name__}"
            raise UnusableBroadcastError(message) from None
