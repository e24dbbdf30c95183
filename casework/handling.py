"""What people and time do to cards and cases: each method plans one atomic step and has the store carry it out."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import TypeVar

import msgspec

from casework import listing, plans
from casework.authority import Act, Authority, Person
from casework.cases import ENDS_CALL, OPEN_STATES, CaseState
from casework.commands import Command, Take, encode_commands
from casework.deeds import Scene
from casework.errors import (
    CaseNotFoundError,
    CommandError,
    ConfigurationError,
    IdempotencyConflictError,
    InvalidCommandError,
    StoreContentionError,
    VersionConflictError,
)
from casework.ids import call_step_id, digest_of, keyed_step_id, unkeyed_step_id
from casework.overrides import commands_of
from casework.playbook import Playbook
from casework.store import NO_STEP, Recorded, Snapshot, Store, StoredCase
from casework.traits import admits
from casework.verification import MINIMUM_KEY_BYTES
from casework.views import CardOrder, CardView, CaseFilters, CaseView, Opening, Override, Preview
from casework.work import Work
from detector.vocabulary import CardStatus

MAXIMUM_TOKEN_CHARACTERS = 64
MAXIMUM_ACTOR_CHARACTERS = 128
MAXIMUM_REASON_CHARACTERS = 2_000
MAXIMUM_KEY_CHARACTERS = 256

# Each failed attempt means that somebody else changed the same card meanwhile. Twenty in a row is not bad luck.
ATTEMPTS = 20
# What nobody need look at before its time is not handed out.
TAKEN_FROM = sorted(OPEN_STATES - {CaseState.WAITING})
# Those that others work on stand in front: a page should reach behind them, and costs a question to every list.
# Whoever asks at the same moment takes one of these each.
_READ_CASES = 8
_DUE_CASES = 200

View = TypeVar("View")


class Handling:
    """The part of the desk behind people's commands, and behind the clock."""

    def __init__(self, store: Store, playbook: Playbook, authority: Authority, code_key: bytes) -> None:
        """Work on `store` by the rules of `playbook`.

        Args:
            store: the system of record.
            playbook: what follows what.
            authority: who may do what.
            code_key: the installation's secret for one-time codes, 32 bytes or more; empty where nobody verifies
                identity, as with workers that only respond.

        Raises:
            ConfigurationError: the key is too short.
        """
        if code_key and len(code_key) < MINIMUM_KEY_BYTES:
            message = f"the key for one-time codes needs at least {MINIMUM_KEY_BYTES} bytes"
            raise ConfigurationError(message)
        self._store = store
        self._playbook = playbook
        self._authority = authority
        self._code_key = code_key

    @property
    def playbook(self) -> Playbook:
        """What follows what; for pages that offer it."""
        return self._playbook

    @property
    def authority(self) -> Authority:
        """Who may do what."""
        return self._authority

    async def open_case(
        self, card_token: str, opening: Opening, by: Person, *, now_ms: int, idempotency_key: str | None = None
    ) -> CaseView:
        """Open a case for a card; one that is reported lost or stolen is frozen at once.

        Args:
            card_token: which card.
            opening: what it is about.
            by: who opens it.
            now_ms: when.
            idempotency_key: known per card for a day.

        Raises:
            InvalidCommandError: a text or one of the kind's fields is out of bounds.
            NotAuthorisedError: the role may not open cases.
            CaseOpenError: the card has an open case.
            IdempotencyConflictError: the key was used for another request on this card.
        """
        check_length("card_token", card_token, MAXIMUM_TOKEN_CHARACTERS)
        check_length("note", opening.note, MAXIMUM_REASON_CHARACTERS)
        self._authority.require(by, Act.CASE_OPEN)
        digest = digest_of("open", by.name, msgspec.json.encode(opening, order="deterministic").decode())
        request = _request(card_token, digest, idempotency_key, now_ms)
        for _ in range(ATTEMPTS):
            (snapshot,) = await self._store.load([(card_token, request.step_id)])
            if snapshot.recorded is not None:
                return _answer(snapshot.recorded.case, snapshot.recorded, request)
            step, view = plans.plan_opening(request, snapshot, opening, by, self._playbook)
            if (await self._store.commit([step]))[0]:
                return view
        raise contention()

    async def act(
        self,
        case_id: str,
        commands: tuple[Command, ...],
        by: Person,
        *,
        now_ms: int,
        nonce: str,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CaseView:
        """Do something about a case: all of the commands, in their order, in one atomic step, or none of them.

        Args:
            case_id: which case.
            commands: one to ten, see `casework.commands`.
            by: who does it.
            now_ms: when; alerts that are not later than a command to the card do not change it any more.
            nonce: fresh randomness of at least 16 characters, for codes and tokens.
            idempotency_key: known per case for a day: the same request again gets the same answer.
            if_match: the `case.sequence` the person had seen.

        Returns:
            the case after it.

        Raises:
            CaseNotFoundError: no such case.
            InvalidCommandError: something is out of bounds, or does not go with this case.
            NotAuthorisedError: the matrix does not allow it.
            IdentityNotVerifiedError: it needs the cardholder's verified identity.
            VerificationError: identity cannot be verified this way now.
            CaseLockedError: somebody else works on the case.
            CaseOpenError: the card has another open case, so this one cannot be reopened.
            NothingWaitsError: there is nothing to approve, refuse or undo.
            IdempotencyConflictError: the key was used for another request on this case.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CaseEvent`s.
            IllegalCaseMoveError, IllegalCardMoveError: a lifecycle forbids it.
        """
        check_length("actor", by.name, MAXIMUM_ACTOR_CHARACTERS)
        digest = digest_of("act", by.name, encode_commands(commands))
        request = _request(case_id, digest, idempotency_key, now_ms)
        for _ in range(ATTEMPTS):
            stored, snapshot = await self._case_to_change(case_id, request.step_id)
            if snapshot.recorded is not None:
                return _answer(snapshot.recorded.case, snapshot.recorded, request)
            if if_match is not None and if_match != stored.case.sequence:
                changes = [event for event in stored.events if event.sequence > if_match]
                raise VersionConflictError(if_match, stored.case.sequence, changes)
            if stored.case.is_open and snapshot.case != stored.case:
                continue
            scene = self._scene(request, snapshot, stored, by, nonce)
            step, view = plans.plan_acts(scene, request, stored, commands)
            if (await self._store.commit([step]))[0]:
                return view
        raise contention()

    async def preview(
        self, case_id: str, commands: tuple[Command, ...], by: Person, *, now_ms: int, nonce: str
    ) -> Preview:
        """What `act` would do now, and what everybody would be told, a macro with its effects; nothing is done.

        Raises:
            CommandError: what `act` would raise.
        """
        request = _request(case_id, "preview", None, now_ms)
        for _ in range(ATTEMPTS):
            stored, snapshot = await self._case_to_change(case_id, request.step_id)
            if not stored.case.is_open or snapshot.case == stored.case:
                scene = self._scene(request, snapshot, stored, by, nonce)
                return plans.plan_preview(scene, commands)
        raise contention()

    async def _case_to_change(self, case_id: str, step_id: str) -> tuple[StoredCase, Snapshot]:
        """A case, and its card with what is known of the step.

        A closed case is not part of the card's snapshot, so it is read once more behind it: a change of it after that
        changes the card's version.

        Raises:
            CaseNotFoundError: there is none.
        """
        stored = await self._store.load_case(case_id)
        if stored is None:
            raise not_found()
        (snapshot,) = await self._store.load([(stored.case.card_token, step_id)])
        if not stored.case.is_open:
            stored = await self._store.load_case(case_id) or stored
        return stored, snapshot

    def _scene(self, request: plans.Request, snapshot: Snapshot, stored: StoredCase, by: Person, nonce: str) -> Scene:
        """Who acts on what, by which rules."""
        work = Work(request.step_id, snapshot, self._playbook, request.now_ms, stored.case)
        return Scene(work, by, self._authority, self._code_key, nonce, verified_at_ms=request.now_ms)

    async def override(
        self,
        case_id: str,
        command: Override,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CaseView:
        """Decide and close a case: its events, the card's state, labels, damping, notice and outbox in one step.

        Args:
            case_id: which case.
            command: the decision.
            now_ms: the time of the decision; alerts that are not later do not change the card any more.
            idempotency_key: as for `act`.
            if_match: as for `act`.

        Raises:
            CommandError: as `act`; unfreezing needs verified identity here as well.
        """
        check_length("note", command.note, MAXIMUM_REASON_CHARACTERS)
        return await self.act(
            case_id,
            commands_of(command),
            command.by,
            now_ms=now_ms,
            nonce=f"{case_id}{now_ms}",
            idempotency_key=idempotency_key,
            if_match=if_match,
        )

    async def next_case(self, by: Person, *, now_ms: int) -> CaseView | None:
        """Take the most urgent case that this person may work on and nobody else does; None where there is none.

        Whoever holds a case already gets the most urgent one of all the same; the other stays theirs until its lock
        expires. Two who ask at once get different cases.
        """
        self._authority.require(by, Act.CASE_TAKE)
        after, wanted = listing.START, CaseFilters(taker=by, now_ms=now_ms)
        while True:
            listed = await self._store.list_cases(TAKEN_FROM, after, _READ_CASES, wanted)
            for entry in listed:
                case = entry.case
                if case is None or not admits(wanted, case):
                    continue
                with contextlib.suppress(CommandError):
                    return await self.act(
                        case.case_id,
                        (Take(),),
                        by,
                        now_ms=now_ms,
                        nonce=f"{case.case_id}{now_ms}",
                        if_match=case.sequence,
                    )
            if len(listed) < _READ_CASES:
                return None
            after = listed[-1].position

    async def tick(self, now_ms: int, shards: Collection[int] | None = None) -> int:
        """Do to cases what time does: snoozes end, targets come near and are missed, macros follow.

        Args:
            now_ms: the time.
            shards: of which shards; None: of all.

        Returns:
            how many cases changed.
        """
        changed = 0
        for shard in range(self._store.shards) if shards is None else shards:
            for case_id in await self._store.due_cases(shard, now_ms, _DUE_CASES):
                changed += await self._tick(case_id, now_ms)
        return changed

    async def _tick(self, case_id: str, now_ms: int) -> bool:
        """Let time pass for a case; whoever overtakes us lets it pass instead, or the next tick does."""
        stored = await self._store.load_case(case_id)
        if stored is None:
            return False
        (snapshot,) = await self._store.load([(stored.case.card_token, NO_STEP)])
        if snapshot.case != stored.case:
            return False
        step = plans.plan_tick(snapshot, stored.case, self._playbook, self._authority, now_ms)
        return step is not None and (await self._store.commit([step]))[0]

    async def call_due(self, case_id: str, notification_id: str, note: str, *, since_ms: int, now_ms: int) -> bool:
        """Have somebody call the cardholder about a notice, once, unless they were heard since it was sent.

        Args:
            case_id: the notice's case.
            notification_id: names the step.
            note: template and channel of the notice, for whoever calls.
            since_ms: when the notice was sent.
            now_ms: the time.

        Returns:
            whether a call is due now; not where the case is closed, or somebody was there before.

        Raises:
            StoreContentionError: others kept changing the card. Ask again.
        """
        step_id = call_step_id(notification_id)
        for _ in range(ATTEMPTS):
            stored = await self._store.load_case(case_id)
            if stored is None or not stored.case.is_open or _was_heard(stored, since_ms):
                return False
            (snapshot,) = await self._store.load([(stored.case.card_token, step_id)])
            if snapshot.recorded is not None:
                return False
            if snapshot.case != stored.case:
                continue
            step = plans.plan_call(step_id, snapshot, stored.case, self._playbook, note, now_ms)
            if (await self._store.commit([step]))[0]:
                return True
        raise contention()

    async def set_card_state(
        self,
        card_token: str,
        target: CardStatus,
        reason: str,
        by: Person,
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> CardView:
        """Carry out a person's command on a card; it wins over every alert that is not later.

        An open case stays open and notes the change. Commanding the present state confirms it.

        Args:
            card_token: which card.
            target: active, frozen or blocked.
            reason: why, in the person's words: 1 to 2,000 characters.
            by: who commands.
            now_ms: the time of the command.
            idempotency_key: known per card for a day: the same request again gets the same answer.
            if_match: the card's `sequence` the person had seen.

        Returns:
            the card after it.

        Raises:
            InvalidCommandError: card token, reason, actor or key out of bounds.
            NotAuthorisedError: the matrix does not allow it, or only with a second person, which takes a case.
            IdentityNotVerifiedError: unfreezing needs a case in which the cardholder's identity is verified.
            CaseLockedError: somebody else works on the card's case; freezing is possible all the same.
            IdempotencyConflictError: the key was used for another request on this card.
            VersionConflictError: `if_match` is not the current sequence; `changes` are `CardChange`s.
            IllegalCardMoveError: the card cannot become that.
        """
        check_length("card_token", card_token, MAXIMUM_TOKEN_CHARACTERS)
        check_length("reason", reason, MAXIMUM_REASON_CHARACTERS)
        check_length("actor", by.name, MAXIMUM_ACTOR_CHARACTERS)
        order = CardOrder(card_token, target, reason, by)
        digest = digest_of("card", target.wire, reason, by.name)
        request = _request(card_token, digest, idempotency_key, now_ms)
        for _ in range(ATTEMPTS):
            (snapshot,) = await self._store.load([(card_token, request.step_id)])
            if snapshot.recorded is not None:
                return _answer(snapshot.recorded.card, snapshot.recorded, request)
            sequence = snapshot.card.sequence
            if if_match is not None and if_match != sequence:
                changes = [change for change in snapshot.card.history if change.sequence > if_match]
                raise VersionConflictError(if_match, sequence, changes)
            step, view = plans.plan_card_order(request, snapshot, order, self._playbook, self._authority)
            if (await self._store.commit([step]))[0]:
                return view
        raise contention()


def _was_heard(stored: StoredCase, since_ms: int) -> bool:
    """Whether something has happened since that makes a call needless."""
    return any(event.type in ENDS_CALL and event.time_ms >= since_ms for event in stored.events)


def check_length(name: str, text: str, maximum: int) -> None:
    """Refuse an empty text or one that is too long."""
    if not text.strip() or len(text) > maximum:
        message = f"{name} must have 1 to {maximum} characters"
        raise InvalidCommandError(message)


def _request(subject: str, digest: str, idempotency_key: str | None, now_ms: int) -> plans.Request:
    """Name the step of a person's command."""
    if idempotency_key is None:
        return plans.Request(unkeyed_step_id(subject, digest, now_ms), digest, now_ms)
    check_length("idempotency_key", idempotency_key, MAXIMUM_KEY_CHARACTERS)
    return plans.Request(keyed_step_id(subject, idempotency_key), digest, now_ms)


def _answer(view: View | None, recorded: Recorded, request: plans.Request) -> View:
    """The answer given before, if it was to the same request."""
    if view is None or recorded.request != request.digest:
        message = "the Idempotency-Key was used for another request"
        raise IdempotencyConflictError(message)
    return view


def not_found() -> CaseNotFoundError:
    """The error for a case nobody knows."""
    message = "no such case is open, or was closed lately"
    return CaseNotFoundError(message)


def contention() -> StoreContentionError:
    """The error after too many attempts."""
    message = f"the card changed during each of {ATTEMPTS} attempts"
    return StoreContentionError(message)
