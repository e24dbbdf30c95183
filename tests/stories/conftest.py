"""One running cardwatch for all stories: what `cardwatch demo` runs, with the people, the bank and a browser."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from api.roles import Role
from cardwatch.commands.trigger import send
from cardwatch.desk_client import DeskClient
from cardwatch.services import Layers
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.wire import Record
from cardwatch.system import System, Traffic
from streams.clock import epoch_ms
from streams.topics import ALERTS
from tests.api.chromium import Browser, browser_program, running_browser
from tests.services.process import free_ports, wait_until
from tests.stories.bank import Bank, running_bank

PEOPLE = {"ana-tier-1": Role.AGENT, "ben-tier-2": Role.SENIOR_AGENT, "cleo-tier-3": Role.SUPERVISOR}
PHONE, DESK = (390, 844), (1280, 900)
WAIT_S = 60.0
_ATTACKS = 12
_FLOWING, _FLOWS_S = 50, 300.0
_TIER_1_SCORE = 0.99
_ALARM, _CHANGED = "[role=alert]", "Changed meanwhile"


@dataclass
class Stage:
    """Everything a story needs.

    Attributes:
        shots: where screenshots go.
        cards: how many were attacked so far.
        tools: of those who used them.
    """

    system: System
    bank: Bank
    browser: Browser
    keys: dict[str, str]
    shots: Path
    console: str
    cards: int = 0
    tools: dict[str, DeskClient] = field(default_factory=dict)

    def desk(self, person: str) -> DeskClient:
        """A person's tools."""
        if person not in self.tools:
            self.tools[person] = DeskClient(self.system.api_url, self.keys[person])
        return self.tools[person]

    def shot(self, name: str) -> None:
        """Keep what is seen now."""
        self.browser.screenshot(self.shots / f"{name}.png")

    def enter(self, person: str, path: str = "") -> None:
        """Sign in at the console, as nobody else any more, and go to a page."""
        self.browser.forget()
        self.browser.view(*DESK).open(f"{self.console}/sign-in")
        self.browser.fill("#api_key", self.keys[person])
        self.browser.submit("button.main")
        if path:
            self.browser.open(self.console + path)

    def on_phone(self, address: str) -> None:
        """Open a page on a telephone."""
        self.browser.view(*PHONE).open(address)

    def text(self, selector: str = "main") -> str:
        """What is to be read there."""
        return str(self.browser.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def fill_form(self, do: str, **fields: str) -> None:
        """Open the form of a command on the case page, fill it in and send it."""
        self.browser.evaluate(f"void (document.getElementById('do-{do}').open = true)")
        for name, value in fields.items():
            self.browser.fill(f"#{do}-{name}", value)
        self.browser.submit(f"#do-{do} button.main")

    def does(self, act: Callable[[], None]) -> None:
        """Do something about a case as an agent does: who is told that it changed meanwhile looks, and does it again.

        Raises:
            AssertionError: the console refused it; the message is what it said.
        """
        act()
        if _CHANGED in self.text(_ALARM):
            act()
        assert not self.text(_ALARM), self.text(_ALARM)

    def press(self, keys: str) -> None:
        """Press keys one after another; `!` stands for Ctrl+Enter, which sends a form and leads to the next page."""
        for key in keys:
            if key == "!":
                self.browser.press_to_leave("Enter", ctrl=True)
            elif key in "nqu":
                self.browser.press_to_leave(key)
            else:
                self.browser.press(key)

    def attack(self, **changes: Any) -> tuple[str, str]:
        """Let stolen cards pay abroad until one is frozen; its token, and the case's id."""
        for _ in range(_ATTACKS):
            payments = self._next_attack()
            card_token = str(payments[0]["card_token"])
            if self._is_frozen_by([payments[0], *({**payment, **changes} for payment in payments[1:])]):
                desk = self.desk("ben-tier-2")
                wait_until(lambda: bool(desk.open_cases(card_token)), seconds=WAIT_S, what="a case is open")  # noqa: B023
                return card_token, str(desk.open_cases(card_token)[0]["case_id"])
        message = "the engine freezes nobody"
        raise AssertionError(message)

    def _is_frozen_by(self, payments: list[Record]) -> bool:
        """Whether the engine froze the card of these payments, one sent after the other."""
        desk = self.desk("ben-tier-2")
        for payment in payments:
            send(self.system.settings.kafka, [payment])
            if _within(lambda: desk.card(str(payment["card_token"]))["state"] == "frozen", 4.0):  # noqa: B023
                return True
        return False

    def false_freeze(self, **changes: Any) -> tuple[str, str]:
        """The same, of which the engine is not so sure that only tier 2 may let the card go."""
        desk = self.desk("ben-tier-2")
        for _ in range(_ATTACKS):
            card_token, case_id = self.attack(**changes)
            if desk.case(case_id)[0]["case"]["score"] <= _TIER_1_SCORE:
                return card_token, case_id
        message = "the engine is sure of every attack"
        raise AssertionError(message)

    def _next_attack(self) -> list[Record]:
        """An attack on another card, of a world where nobody pays but thieves: its case changes by people alone."""
        self.cards += 1
        world = self.system.traffic.world
        return Simulator(replace(world, seed=world.seed + 1)).attack("stolen_card", epoch_ms() + self.cards)

    def raise_alerts(self, count: int, action: str, **fields: Any) -> list[str]:
        """Put alerts on their topic, as the score role does; their cards' tokens once each has its case."""
        producer = Producer({"bootstrap.servers": self.system.settings.kafka.bootstrap_servers})
        mark, at_ms = uuid.uuid4().hex[:8], epoch_ms()
        tokens = [f"tok_{mark}{number:04d}" for number in range(count)]
        for number, token in enumerate(tokens):
            body = {
                "alert_id": f"al-{mark}-{number}", "transaction_id": f"tx-{mark}-{number}", "card_token": token,
                "event_time_ms": at_ms - 1_000 - number, "action": action, "amount_minor": 4_900 + number,
                "currency": "EUR", "merchant_id": f"mrc_{number % 7}", "country": "DE", "score": 0.4,
                "reasons": ["amount_above_usual"],
            } | fields  # fmt: skip
            producer.produce(ALERTS, json.dumps(body).encode(), token.encode())
        producer.flush(WAIT_S)
        desk = self.desk("ben-tier-2")
        waiting = set(tokens)

        def all_have_cases() -> bool:
            waiting.difference_update([token for token in waiting if desk.open_cases(token)])
            return not waiting

        wait_until(all_have_cases, seconds=2 * WAIT_S, what="every card has a case")
        return tokens


def _decided(system: System) -> float:
    """How many payments were decided so far."""
    return system.readings()["score"].total("cardwatch_decisions_total")


def _within(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it comes true in a moment."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _playbook(folder: Path) -> str:
    """The shipped playbook, but with a target that a story can wait for: a minute for referrals."""
    shipped = resources.files("configs").joinpath("playbook.toml").read_text("utf-8")
    before = 'kind = "referral"\ncalendar = "office"\nbusiness_days = 2'
    assert before in shipped
    path = folder / "playbook.toml"
    path.write_text(shipped.replace(before, 'kind = "referral"\ncalendar = "always"\nminutes = 1'), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Started once: embedded Kafka and Redis, every role, the API, and payments that flow."""
    program = browser_program()
    if program is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("stories")
    shots = Path(os.environ.get("CARDWATCH_SCREENSHOTS", folder / "screenshots"))
    shots.mkdir(parents=True, exist_ok=True)
    keys = {name: f"cw-story-{uuid.uuid4().hex}" for name in PEOPLE}
    (port,) = free_ports(1)
    with running_bank() as bank:
        flags = {
            "data": {"directory": os.environ.get("CARDWATCH_STORIES_DATA", str(folder / "data"))},
            "files": {"playbook": _playbook(folder)},
            "api": {
                "port": port,
                "keys": {
                    name: {"role": role.value, "sha256": hashlib.sha256(keys[name].encode()).hexdigest()}
                    for name, role in PEOPLE.items()
                },
            },
            "notices": {
                "sender": "webhook", "webhook_url": bank.url, "webhook_secret": "5" * 64,
                "page_url": f"http://localhost:{port}",
            },
        }  # fmt: skip
        traffic = Traffic(WorldSettings(payments_per_card_day=4.0, attacks_per_thousand_cards_day=0.0), 20.0)
        system = System(Layers(None, flags), traffic, say=print)
        try:
            system.start_services()
            system.warm()
            system.start_workers()
            system.start_traffic()
            # Ready is who listens; a busy machine needs a while until the first payment is decided.
            wait_until(lambda: _decided(system) >= _FLOWING, seconds=_FLOWS_S, what="payments are decided")
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
                running_browser(program, Path(profile)) as browser,
            ):
                made = Stage(system, bank, browser, keys, shots, f"http://localhost:{port}/console")
                yield made
                for tools in made.tools.values():
                    tools.close()
        finally:
            system.stop()
