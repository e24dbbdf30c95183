"""Redis and the memory of closed cases are lost and come back from copies, made and put in place by the runbooks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import create_engine, select

from cardwatch.commands.store import with_desk
from cardwatch.settings import load_settings
from casework.adapters.sql_history import schema
from casework.desk import Desk
from casework.views import CardView
from detector.vocabulary import CardStatus
from streams.clock import epoch_ms
from tests.casework.examples import SENIOR
from tests.integration.installation import Installation, command
from tests.integration.runbooks import FOLDER
from tests.integration.test_effects_commands import alert, done, ended
from tests.services.postgres_server import postgres_programs, running_postgres
from tests.services.process import ServerProcess, wait_until
from tests.services.redis_server import RedisServer, redis_program, running_redis
from tests.streams.kafka_world import World

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(redis_program() is None or postgres_programs() is None, reason="no Redis or PostgreSQL here"),
]
_WITHIN_S = 240.0
_SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED, LATER = range(5), range(5, 8)
BLOCKED, UNTOLD = "card-0", "card-untold"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def places(tmp_path: Path, redis: RedisServer, postgres: str) -> dict[str, str]:
    """Where things are, as the runbooks ask for it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    return {
        "REDIS": redis.url, "REDIS_DIRECTORY": str(redis.directory), "COPY": str(copy),
        "HISTORY_FILE": str(tmp_path / "data" / "history" / "cases.db"),
        "POSTGRES": postgres.replace("postgresql+psycopg", "postgresql"),
    }  # fmt: skip


def follow(page: str, places: Mapping[str, str]) -> None:
    """Run the shell commands of a runbook, one block after the other."""
    for block in _SHELL.findall((FOLDER / f"{page}.md").read_text("utf-8")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env={**os.environ, **places}, capture_output=True, text=True,
            check=False, timeout=_WITHIN_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


@contextmanager
def working(installation: Installation, postgres: str, *roles: str) -> Iterator[None]:
    """Roles as processes of their own; the history twice, for each kind of database."""
    with ExitStack() as stack:
        for name in roles:
            more = {"CARDWATCH_HISTORY__URL": postgres} if name == "postgres" else {}
            role = "history" if name == "postgres" else name
            log = installation.data / f"{name}.log"
            process = ServerProcess(command("worker", "--roles", role), log, {**installation.environment, **more})
            process.start(lambda: True, seconds=_WITHIN_S)
            stack.callback(process.stop)
        yield


def on_the_desk(installation: Installation, card: str, target: CardStatus) -> CardView:
    """What a person commands."""

    async def play(desk: Desk) -> CardView:
        return await desk.set_card_state(card, target, "Seen.", SENIOR, now_ms=epoch_ms())

    with mock.patch.dict(os.environ, installation.environment):
        return asyncio.run(with_desk(load_settings(), play))


def state_of(installation: Installation, card: str) -> CardStatus:
    async def play(desk: Desk) -> CardView:
        return await desk.card(card)

    with mock.patch.dict(os.environ, installation.environment):
        return asyncio.run(with_desk(load_settings(), play)).state


def cases_in(url: str) -> dict[str, tuple[str, str]]:
    """State and body of every case of a read model; none where it has no tables yet."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(select(schema.cases.c.case_id, schema.cases.c.state, schema.cases.c.body))
            return {case_id: (state, body) for case_id, state, body in rows}
    except Exception:  # noqa: BLE001 - whatever it is, it holds nothing yet
        return {}
    finally:
        engine.dispose()


def agrees(installation: Installation) -> bool:
    return ended(installation, "audit")[0] == 0


def alerts(world: World, numbers: range) -> None:
    for number in numbers:
        alert(world, number)
    assert world.writer.flush(30) == 0


def test_what_was_lost_comes_back_by_the_runbooks(
    world: World, redis: RedisServer, postgres: str, places: Mapping[str, str], tmp_path: Path
) -> None:
    """After restore Redis agrees with Kafka, also about what came after the copy, and so does each read model."""
    installation = Installation(tmp_path / "data", world, redis.url)
    sqlite = f"sqlite:///{places['HISTORY_FILE']}"

    def told(count: int) -> bool:
        return agrees(installation) and all(len(cases_in(url)) == count for url in (sqlite, postgres))

    with working(installation, postgres, "respond", "history", "postgres"):
        alerts(world, COPIED)
        wait_until(lambda: told(len(COPIED)), seconds=_WITHIN_S, what="what is copied is everywhere")
        follow("backup", places)
        alerts(world, LATER)
        case = on_the_desk(installation, BLOCKED, CardStatus.BLOCKED).open_case
        assert case is not None
        everything = len(COPIED) + len(LATER)

        def told_all() -> bool:
            taken = [cases_in(url).get(case.case_id) for url in (sqlite, postgres)]
            return told(everything) and all(it and json.loads(it[1])["sequence"] >= case.sequence for it in taken)

        wait_until(told_all, seconds=_WITHIN_S, what="what came after the copy is everywhere")
    before = cases_in(sqlite)
    assert cases_in(postgres) == before
    on_the_desk(installation, UNTOLD, CardStatus.BLOCKED)

    _lose(redis, places)
    follow("restore", places)
    redis.start()
    assert [len(cases_in(url)) for url in (sqlite, postgres)] == [len(COPIED)] * 2
    code, lacking = ended(installation, "audit")
    assert (code, "take no writes" in lacking) == (1, True), lacking
    assert all(f"card card-{number}:" in lacking for number in (0, *LATER)), lacking

    with working(installation, postgres, "respond", "history", "postgres"):
        wait_until(told_all, seconds=_WITHIN_S, what="what the copies lacked is back")
    assert state_of(installation, BLOCKED) is CardStatus.BLOCKED
    assert {state_of(installation, f"card-{number}") for number in (1, *LATER)} == {CardStatus.FROZEN}
    assert cases_in(sqlite) == cases_in(postgres) == before
    # Nobody but Redis knew of it: what the outbox has not relayed is lost, as the page says.
    assert state_of(installation, UNTOLD) is CardStatus.ACTIVE

    assert "put back: " in done(installation, "rebuild", "redis", "--wipe")
    assert agrees(installation)
    done(installation, "rebuild", "history")
    assert cases_in(sqlite) == before


def _lose(redis: RedisServer, places: Mapping[str, str]) -> None:
    """Redis with its disk, and the file of the read model; PostgreSQL's tables are replaced by those of the copy."""
    redis.kill()
    shutil.rmtree(Path(places["REDIS_DIRECTORY"]) / "appendonlydir")
    Path(places["HISTORY_FILE"]).unlink()
