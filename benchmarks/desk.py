"""The desk at size: 10,000 open cases in a real Redis, 2,000,000 closed ones in SQLite and in a real PostgreSQL.

What agents wait for is asked of a running `cardwatch api` over HTTP, at a steady rate, each request timed from when it
was due.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from api.keys import hash_key
from benchmarks import closed_cases, http_load, results
from benchmarks.closed_cases import COMMON_WORD, RARE_WORDS, START_MS, Filled
from benchmarks.options import Options
from benchmarks.processes import Watched
from cardwatch.embedded import DataDirectory
from cardwatch.metrics import PROCESS_VARIABLE, read_url
from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_store import RedisStore
from casework.cases import CaseEvent
from tests.api.chromium import browser_program, running_browser
from tests.services.postgres_server import running_postgres
from tests.services.redis_server import running_redis

NAME = "desk"
PURPOSE = "what agents wait for with 10,000 open and 2,000,000 closed cases: list, next, case page, search"

_OPEN, _CLOSED = 10_000, 2_000_000
_AGENTS = 100
_RATE_PER_S, _REQUESTS, _WARM_REQUESTS = 20.0, 400, 40
_CONNECTIONS = 32
_START_S = 60.0
_TARGET_MS = 50.0
_SLICE = 250
_LAST_ALERT = 10_000_000
# Next case, it was fraud, do it.
_KEYS = (("n", False), ("c", False), ("Enter", True))
_DECIDED = 40
_READY_MS = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


@dataclass(frozen=True, slots=True)
class Question:
    """Something that is asked again and again.

    Attributes:
        name: in words.
        requests: whole requests, asked in turn.
    """

    name: str
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Measured:
    """The answers to one question.

    Attributes:
        database: which memory of closed cases; empty where none was asked.
        milliseconds: of each request that counts.
        kilobytes: of an answer, on average.
    """

    name: str
    database: str
    milliseconds: list[float]
    kilobytes: float

    def quantile(self, share: float) -> float:
        """In ms."""
        return float(np.quantile(self.milliseconds, share))

    def row(self) -> list[str]:
        """A row of the table."""
        times = [f"{self.quantile(share):.1f}" for share in (0.5, 0.99)]
        return [self.name, self.database or "–", *times, f"{max(self.milliseconds):.1f}", f"{self.kilobytes:.0f}"]


@dataclass(frozen=True, slots=True)
class AtTheKeys:
    """An agent in Chromium who takes the next case and decides it as fraud, again and again.

    Attributes:
        presses: of keys, from the next case to its decision.
        ready_ms: from the key that takes the next case to the page's scripts having run.
        whole_ms: from that key to the page that says the decision was taken.
    """

    presses: int
    ready_ms: list[float]
    whole_ms: list[float]


class Agents:
    """The people at the desk: their keys, and one console session."""

    def __init__(self) -> None:
        self.keys = {f"agent-{number:03d}": secrets.token_urlsafe(24) for number in range(_AGENTS)}

    def settings(self) -> str:
        """The keys as the service is told them."""
        return json.dumps({name: {"role": "senior_agent", "sha256": hash_key(key)} for name, key in self.keys.items()})

    @property
    def first(self) -> str:
        """The key of the first one."""
        return next(iter(self.keys.values()))


def run(options: Options) -> None:
    """Fill, measure, save, and write the table."""
    scratch = results.CACHE / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name, running_redis(Path(name) / "redis") as redis:
        folder = Path(name)
        options.say(f"opening {_OPEN:,} cases")
        events = asyncio.run(_open_cases(redis.url))
        measured: list[Measured] = []
        for database, url in (("SQLite", f"sqlite:///{folder / 'cases.db'}"), ("PostgreSQL", "")):
            with _database(url) as found:
                options.say(f"filling {database}")
                filled = closed_cases.fill(found, _CLOSED, folder, options.say)
                closed_cases.taken_in(found, events)
                with _service(folder / database, redis.url, found, agents := Agents()) as address:
                    measured += asyncio.run(_measure(address, agents, filled, events, database, options))
                    if database == "SQLite":
                        typed = _at_the_keys(f"{address}/console", agents.first, folder / "profile")
    kept = {"measured": [asdict(each) for each in measured], "at_the_keys": asdict(typed)}
    results.save(NAME, {"load_before": options.busy_before, **kept})
    results.write_section(NAME, _text(options, measured, typed))


@contextmanager
def _database(url: str) -> Iterator[str]:
    """The address given, or that of a PostgreSQL of its own."""
    if url:
        yield url
        return
    with running_postgres() as address:
        yield address


async def _open_cases(redis_url: str) -> list[CaseEvent]:
    """Open cases by alerts, as the respond role does, beginning with the oldest; what was told of them."""
    policy = ConnectionPolicy(timeout_s=20.0, budget_s=60.0)
    store = RedisStore(RedisConnection(connect(RedisAddress(redis_url), policy), policy), RedisStoreSettings())
    desk = closed_cases.desk_on(store)
    await desk.open()
    rng, now_ms = random.Random(23), int(time.time() * 1000)
    alerts = [closed_cases.made_alert(_LAST_ALERT - number, now_ms - number * 1_000, rng) for number in range(_OPEN)]
    for start in range(0, _OPEN, _SLICE):
        await desk.respond(alerts[start : start + _SLICE], now_ms)
    events: list[CaseEvent] = []
    for shard in range(desk.shards):
        events += closed_cases.case_events(await desk.read_outbox(shard, None, 1_000_000))
    await store.close()
    return events


@contextmanager
def _service(folder: Path, redis_url: str, history_url: str, agents: Agents) -> Iterator[str]:
    """`cardwatch api` on these servers; its address."""
    folder.mkdir()
    environment = {
        "CARDWATCH_DATA__DIRECTORY": str(folder),
        "CARDWATCH_REDIS__URL": redis_url,
        "CARDWATCH_HISTORY__URL": history_url,
        "CARDWATCH_DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
        "CARDWATCH_API__SESSION_SECRET": secrets.token_hex(32),
        "CARDWATCH_DESK__CODE_SECRET": secrets.token_hex(32),
        "CARDWATCH_API__KEYS": agents.settings(),
        "CARDWATCH_API__PORT": "0",
        PROCESS_VARIABLE: "api",
    }
    api = Watched(["cardwatch", "api"], folder / "api.log", environment)
    try:
        deadline_s = time.monotonic() + _START_S
        while True:
            api.require_alive()
            address = read_url(DataDirectory(folder), "api")
            if address is not None and _is_ready(address):
                break
            if time.monotonic() > deadline_s:
                message = "the service did not become ready"
                raise TimeoutError(message)
            time.sleep(0.2)
        yield address
    finally:
        api.stop()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.HTTPError:
        return False


async def _measure(
    address: str, agents: Agents, filled: Filled, events: Sequence[CaseEvent], database: str, options: Options
) -> list[Measured]:
    """Ask every question; those that Redis answers only beside the first database."""
    host = urlsplit(address)
    measured = []
    asked = _searches(address, agents, filled)
    if database == "SQLite":
        asked = [*_desk_questions(address, agents, events), *asked]
    for question in asked:
        count = _WARM_REQUESTS + _REQUESTS
        requests = [question.requests[place % len(question.requests)] for place in range(count)]
        seconds, bodies = await http_load.steady(
            host.hostname or "", host.port or 0, requests, _RATE_PER_S, _CONNECTIONS
        )
        counted: NDArray[np.float64] = seconds[_WARM_REQUESTS:] * 1e3
        size_kb = sum(map(len, bodies)) / len(bodies) / 1e3
        is_of_redis = question.name in _OF_REDIS
        one = Measured(question.name, "" if is_of_redis else database, counted.tolist(), size_kb)
        options.say(f"{one.name}, {database}: p50 {one.quantile(0.5):.1f} ms, p99 {one.quantile(0.99):.1f} ms")
        measured.append(one)
    return measured


_LIST, _PAGE, _NARROW, _NEXT, _CASE = (
    "list of cases", "queue page", "list, narrowed to what few cases are", "next case", "case page",
)  # fmt: skip
_OF_REDIS = frozenset({_LIST, _PAGE, _NARROW, _NEXT, _CASE})


def _desk_questions(address: str, agents: Agents, events: Sequence[CaseEvent]) -> list[Question]:
    """What is asked of the open cases."""
    host = urlsplit(address).netloc
    with httpx.Client(base_url=address) as client:
        answer = client.post("/console/sign-in", data={"api_key": agents.first})
        cookie = answer.headers["set-cookie"].partition(";")[0]
    case_ids = list(dict.fromkeys(event.case_id for event in events))
    shown = random.Random(31).sample(case_ids, 500)
    bearer = f"authorization: Bearer {agents.first}"
    return [
        Question(_LIST, [http_load.get("/v1/cases?limit=50", host, bearer)]),
        Question(_PAGE, [http_load.get("/console", host, f"cookie: {cookie}")]),
        Question(
            _NARROW,
            [
                http_load.get(f"/v1/cases?{query}", host, bearer)
                for query in ("kind=dispute", "owner=agent-007", "due=missed&kind=referral", "action=DECLINE")
            ],
        ),
        Question(_NEXT, [http_load.post("/v1/cases/next", host, key, b"") for key in agents.keys.values()]),
        Question(_CASE, [http_load.get(f"/console/cases/{each}", host, f"cookie: {cookie}") for each in shown]),
    ]


def _searches(address: str, agents: Agents, filled: Filled) -> list[Question]:
    """What is asked of the memory of closed cases."""
    host = urlsplit(address).netloc
    asked = {
        "search: card token": [filled.card_token],
        "search: transaction": [filled.transaction_id],
        "search: case": [filled.case_id],
        "search: merchant": [filled.merchant_id, *(f"mrc_{number:05d}" for number in range(20))],
        "search: one note's reference": [filled.reference],
        "search: a word of most notes": [COMMON_WORD],
        "search: a word of few notes": [RARE_WORDS[0]],
        "search: two words": [f"{RARE_WORDS[0]} {RARE_WORDS[1]}", f"{COMMON_WORD} {RARE_WORDS[1]}"],
        "search: words that no note has": ["unheardofword", f"{COMMON_WORD} unheardofword"],
    }
    bearer = f"authorization: Bearer {agents.first}"
    questions = [
        Question(name, [http_load.get(f"/v1/history?q={quote(text)}", host, bearer) for text in texts])
        for name, texts in asked.items()
    ]
    narrowed = f"closed=true&disposition=confirmed_fraud&closed_from_ms={START_MS + filled.cases * 30_000}"
    texts = (COMMON_WORD, RARE_WORDS[0], filled.merchant_id)
    # What stands at the far end of everything that holds the words.
    old = f"closed_from_ms={START_MS}&closed_before_ms={START_MS + 30 * 86_400_000}&closed_by=agent-07"
    return [
        *questions,
        Question(
            "search, narrowed by outcome and time",
            [http_load.get(f"/v1/history?q={quote(each)}&{narrowed}", host, bearer) for each in texts],
        ),
        Question(
            "search, narrowed to one person's oldest cases",
            [http_load.get(f"/v1/history?q={quote(each)}&{old}", host, bearer) for each in texts],
        ),
        Question("closed cases, newest first", [http_load.get("/v1/history?closed=true", host, bearer)]),
    ]


def _at_the_keys(console: str, key: str, profile: Path) -> AtTheKeys:
    """Decide some cases by keys alone."""
    typed = AtTheKeys(len(_KEYS), [], [])
    with running_browser(browser_program() or "", profile) as browser:
        browser.view(1280).open(console)
        browser.fill("#api_key", key)
        browser.submit("button.main")
        for _ in range(_DECIDED):
            started_s = time.perf_counter()
            for name, ctrl in _KEYS:
                if name == "c":
                    typed.ready_ms.append(float(browser.evaluate(_READY_MS)))
                    browser.press(name)
                else:
                    browser.press_to_leave(name, ctrl=ctrl)
            typed.whole_ms.append((time.perf_counter() - started_s) * 1e3)
            if not browser.evaluate("document.getElementById('pending') !== null"):
                message = "no decision was taken"
                raise RuntimeError(message)
    return typed


def _text(options: Options, measured: Sequence[Measured], typed: AtTheKeys) -> str:
    """The table, and whether the target is met."""
    head = ("what is asked", "closed cases in", "p50, ms", "p99, ms", "slowest, ms", "answer, kB")
    slow = [f"{each.name} ({each.database or 'Redis'})" for each in measured if each.quantile(0.99) > _TARGET_MS]
    verdict = (
        f"All within {_TARGET_MS:.0f} ms at p99." if not slow else f"Beyond {_TARGET_MS:.0f} ms: {', '.join(slow)}."
    )
    said = (
        f"{_OPEN:,} open cases in Debian's Redis (every write forced to disk), {_CLOSED:,} closed ones; one process of "
        f"`cardwatch api`; {_REQUESTS} requests each, {_RATE_PER_S:g} a second, timed from when each was due; "
        f"{_AGENTS} agents ask for their next case and keep it. " + verdict
    )
    ready, whole = (np.quantile(times, (0.5, 0.95)) for times in (typed.ready_ms, typed.whole_ms))
    keys = (
        f"In Chromium, {len(typed.ready_ms)} cases from the next to the decision that closes it: {typed.presses} "
        f"key presses each; the case page is ready after {ready[0]:.0f} ms (p95 {ready[1]:.0f} ms), it stands "
        f"{whole[0]:.0f} ms (p95 {whole[1]:.0f} ms) after the first press, without a pause to think."
    )
    table = results.table(head, [each.row() for each in measured])
    return "\n\n".join((results.machine_lines(options.busy_before), said, table, keys))
