"""The whole story, unattended: an attack is caught, an agent overrules, the card works again, the models have learned.

Every step is seen from outside, over HTTP, in the topics or in the metrics, and printed with its time.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cardwatch.commands.trigger import play, send
from cardwatch.desk_client import DeskClient
from cardwatch.errors import StoryError
from cardwatch.live import scoring_version
from cardwatch.simulator.wire import Record
from cardwatch.system import AGENT, System
from cardwatch.topic_reader import TopicReader
from casework.playbook import CODE_TEMPLATE
from casework.verification import code_of
from streams.clock import epoch_ms
from streams.topics import CARD_STATES, DECISIONS, LABELS, MODELS, NOTIFICATIONS

NOTE = "The cardholder called from abroad and confirmed every payment."
_FLOWING_PAYMENTS = 200
_POLL_S = 0.1
_PAY_AGAIN_EVERY_S = 1.0
_WORKING_ACTIONS = frozenset({"ALLOW", "STEP_UP", "REVIEW"})
_SHOWN_CHARACTERS = 6


@dataclass(frozen=True, slots=True)
class _Version:
    """What the story needs of a published model."""

    name: str
    examples_learned: int


@dataclass(slots=True)
class Story:
    """Plays and checks the steps on a system that has been started.

    Attributes:
        system: the running system.
        attack: name of the attack to play.
        deadline_s: by `monotonic`, when the last step must have happened.
        say: takes a line for the person at the terminal.
        began_s: by `monotonic`, when the story began.
    """

    system: System
    attack: str
    deadline_s: float
    say: Callable[[str], None]
    began_s: float
    monotonic: Callable[[], float] = field(default=time.monotonic)

    def tell(self) -> None:
        """Play everything after the start of the system.

        Raises:
            StoryError: a step did not happen in time.
            ServiceError: a process ended for good.
        """
        desk = DeskClient(self.system.api_url, self.system.api_keys[AGENT])
        states = TopicReader(self.system.settings.kafka, CARD_STATES)
        labels = TopicReader(self.system.settings.kafka, LABELS)
        decisions = TopicReader(self.system.settings.kafka, DECISIONS)
        notices = TopicReader(self.system.settings.kafka, NOTIFICATIONS)
        models = TopicReader(self.system.settings.kafka, MODELS, back=1)
        try:
            self._payments_flow()
            card_token, payments = self._attack_is_caught(desk)
            case = self._case_is_open(desk, card_token)
            model = self._newest_model(models)
            self._cardholder_is_verified(desk, notices, case["case_id"])
            case = self._agent_overrules(desk, card_token, case["case_id"])
            self._card_state_is_published(states, card_token)
            self._card_pays_again(decisions, payments, card_token)
            count = self._labels_are_published(labels, case)
            self._model_has_learned(models, model, count)
        finally:
            desk.close()
            for reader in (states, labels, decisions, notices, models):
                reader.close()

    def step(self, title: str, detail: str = "") -> None:
        """Print a step that has happened, with the time since the story began."""
        happened_s = self.monotonic() - self.began_s
        self.say(f"[{happened_s:6.1f} s] {title}{': ' if detail else ''}{detail}")

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        left_s = self.deadline_s - self.monotonic()
        if not self.system.supervisor.wait_until(condition, left_s, _POLL_S):
            message = f"this did not happen in time: {what}"
            raise StoryError(message)

    def _payments_flow(self) -> None:
        if self.system.traffic.rate_per_s <= 0:
            return

        def answered() -> float:
            return self.system.readings()["score"].total("cardwatch_decisions_total")

        self._await("payments are answered", lambda: answered() >= _FLOWING_PAYMENTS)
        self.step("payments flow", f"{answered():.0f} answered so far, {self.system.traffic.rate_per_s:g} a second")

    def _attack_is_caught(self, desk: DeskClient) -> tuple[str, list[Record]]:
        payments = play(self.system.settings.kafka, self.system.traffic.world, self.attack)
        sent_s = self.monotonic()
        cards = list(dict.fromkeys(str(payment["card_token"]) for payment in payments))
        self.step("attack", f"{self.attack}, {len(payments)} payments of {len(cards)} card(s)")
        frozen: list[str] = []

        def seen() -> bool:
            frozen.extend(token for token in cards if desk.card(token)["state"] == "frozen")
            return bool(frozen)

        self._await("a card is frozen", seen)
        took_s = self.monotonic() - sent_s
        self.step("card frozen", f"{_short(frozen[0])}, seen over HTTP {took_s:.2f} s after Kafka had the attack")
        return frozen[0], [payment for payment in payments if payment["card_token"] == frozen[0]]

    def _case_is_open(self, desk: DeskClient, card_token: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found.extend(desk.open_cases(card_token))
            return bool(found)

        self._await("a case is open", seen)
        reasons = ", ".join(found[0]["reasons"])
        self.step("case open", f"{found[0]['case_id']}, because of {reasons}")
        return found[0]

    def _cardholder_is_verified(self, desk: DeskClient, notices: TopicReader, case_id: str) -> None:
        """Nobody unfreezes a card for a stranger: the cardholder reads out the code that their notice brought."""
        desk.act(case_id, {"do": "verify_begin", "method": "code"})
        codes: list[str] = []
        key = bytes.fromhex(self.system.settings.desk.code_secret.get_secret_value())

        def sent() -> bool:
            codes.extend(
                code_of(key, str(notice["parameters"]["code_nonce"]))
                for notice in (record.fields() for record in notices.read())
                if notice.get("case_id") == case_id and notice.get("template") == CODE_TEMPLATE
            )
            return bool(codes)

        self._await("the cardholder gets a code", sent)
        case = desk.act(case_id, {"do": "verify_answer", "answer": codes[-1]})["case"]
        if case["verification"]["verified_until_ms"] <= epoch_ms():
            message = "the cardholder's code was not accepted"
            raise StoryError(message)
        self.step("cardholder verified", "by a one-time code from their notice")

    def _agent_overrules(self, desk: DeskClient, card_token: str, case_id: str) -> dict[str, Any]:
        """Decide the case as it is now; the case after that, with all payments that joined it before."""
        _, etag = desk.case(case_id)
        decided: dict[str, Any] = desk.override(case_id, etag, "false_positive", "unfreeze", NOTE)["case"]
        self.step("agent overrules", f"the case is {decided['state']} as {decided['disposition']}")
        self._await("the card is active again", lambda: desk.card(card_token)["state"] == "active")
        self.step("card active again", "seen over HTTP")
        return decided

    def _card_state_is_published(self, states: TopicReader, card_token: str) -> None:
        published: list[str] = []

        def seen() -> bool:
            published.extend(
                str(event["state"])
                for event in (record.fields() for record in states.read())
                if event.get("card_token") == card_token
            )
            return published[-1:] == ["active"]

        self._await(f"{CARD_STATES} says that the card is active", seen)
        self.step("card state published", f"{CARD_STATES} said {', then '.join(published)}")

    def _card_pays_again(self, decisions: TopicReader, payments: list[Record], card_token: str) -> None:
        """Pay with the card, now and then, until it is not declined any more."""
        ours: set[str] = set()
        answers: list[str] = []
        next_payment_s = self.monotonic()

        def works() -> bool:
            nonlocal next_payment_s
            if self.monotonic() >= next_payment_s:
                next_payment_s = self.monotonic() + _PAY_AGAIN_EVERY_S
                payment = _small_payment(payments[0], len(ours))
                ours.add(payment["transaction_id"])
                send(self.system.settings.kafka, [payment])
            answers.extend(
                str(decision["action"])
                for decision in (record.fields() for record in decisions.read())
                if decision.get("transaction_id") in ours
            )
            return not _WORKING_ACTIONS.isdisjoint(answers)

        self._await("a payment of the card is not declined", works)
        self.step("card pays again", f"{_short(card_token)}: {', '.join(answers)}")

    def _labels_are_published(self, labels: TopicReader, case: dict[str, Any]) -> int:
        wanted = set(case["transaction_ids"])
        seen: dict[str, str] = {}

        def published() -> bool:
            for label in (record.fields() for record in labels.read()):
                if label.get("transaction_id") in wanted:
                    seen[label["transaction_id"]] = f"{label['label']} by {label['source']}"
            return set(seen) == wanted

        self._await(f"{LABELS} has the agent's labels", published)
        self.step("labels published", f"{len(seen)} of them: {', '.join(sorted(set(seen.values())))}")
        return len(seen)

    def _newest_model(self, models: TopicReader) -> _Version:
        """The version published last."""
        found: list[_Version] = []

        def seen() -> bool:
            found.extend(_versions(models))
            return bool(found)

        self._await(f"{MODELS} has a version", seen)
        return found[-1]

    def _model_has_learned(self, models: TopicReader, before: _Version, count: int) -> None:
        """A version is published that has learned so many labels more, and the scorer uses it or a later one."""
        newer: list[_Version] = []

        def learned() -> bool:
            newer.extend(_versions(models))
            return any(version.examples_learned >= before.examples_learned + count for version in newer)

        self._await(f"a model version has learned {count} labels", learned)
        version = next(v for v in newer if v.examples_learned >= before.examples_learned + count)
        self.step(
            "model has learned", f"{version.name}, {version.examples_learned - before.examples_learned} labels more"
        )

        def used() -> bool:
            return self._scoring_version() >= version.name

        self._await(f"the scorer uses {version.name}", used)
        self.step("model in use", f"{self._scoring_version()} scores")

    def _scoring_version(self) -> str:
        return scoring_version(self.system.readings()["score"])


def _versions(models: TopicReader) -> list[_Version]:
    """Versions published since the last call."""
    found = []
    for record in models.read():
        # Only the lineage is looked at; detector.models would bring the compiler with it, for seconds of importing.
        with np.load(io.BytesIO(record.value), allow_pickle=False) as archive:
            lineage = json.loads(archive["meta"].tobytes())
        found.append(_Version(str(lineage["name"]), int(lineage["examples_learned"])))
    return found


def _small_payment(like: Record, number: int) -> Record:
    """A small payment of the card, made now, where it paid before."""
    at_ms = epoch_ms()
    return {**like, "transaction_id": f"demo-{at_ms}-{number}", "event_time_ms": at_ms, "amount_minor": 450}


def _short(card_token: str) -> str:
    return f"card …{card_token[-_SHOWN_CHARACTERS:]}"
