"""What the Redis store promises beyond the port: keys for a cluster, expiry, and what happens when Redis fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.asyncio.cluster import RedisCluster

from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_store import RedisStore
from casework.cards import OutcomeKind
from casework.cases import CaseState, Disposition
from casework.errors import StoreError, StoreFullError, StoreSetupError, StoreUnavailableError
from casework.views import CardAction, CaseFilters, Override
from tests.casework.examples import AGENT, NOW_MS, alert, desk_on, verify
from tests.casework.test_access import ACCESS
from tests.contracts.conftest import Bench, Servers
from tests.services.process import LOOPBACK, free_ports

pytestmark = pytest.mark.redis
CLOSE = Override(Disposition.FALSE_POSITIVE, CardAction.UNFREEZE, "Hers.", AGENT)


@pytest.fixture
def redis_bench(new_redis_bench: Callable[[asyncio.Runner], Bench], runner: asyncio.Runner) -> Iterator[Bench]:
    made = new_redis_bench(runner)
    yield made
    made.close()


def connection_to(url: str, policy: ConnectionPolicy, **options: Any) -> RedisConnection:
    return RedisConnection(connect(RedisAddress(url), policy), policy, **options)


def client_of(store: Any) -> Any:
    """The redis-py client of a store."""
    assert isinstance(store, RedisStore)
    return store._redis.client


def keys_of(bench: Bench, store: Any) -> list[str]:
    """All keys under the store's prefix."""
    pattern = f"{store._settings.prefix}:*"

    async def scan() -> list[str]:
        return [key.decode() async for key in client_of(store).scan_iter(match=pattern, count=1_000)]

    return bench.run(scan())


def test_all_keys_of_a_card_share_their_shard(redis_bench: Bench) -> None:
    """Card, case, lists, step and outbox carry the same hash tag, so they live on one node of a cluster."""
    store = redis_bench.store()
    desk = desk_on(store)
    redis_bench.run(desk.open())
    outcome = redis_bench.run(desk.respond([alert("a")], NOW_MS))[0]
    redis_bench.run(verify(desk, outcome.case_id or "", NOW_MS + 1))
    redis_bench.run(desk.override(outcome.case_id or "", CLOSE, now_ms=NOW_MS + 1, idempotency_key="k"))
    keys = [key for key in keys_of(redis_bench, store) if not key.endswith((":setup", ":breakers", ":fence"))]
    assert len({key.split(":")[1] for key in keys}) == 1
    assert sorted({key.split(":")[2] for key in keys}) == ["card", "case", "cases", "outbox", "step"]


def test_a_forgotten_script_is_sent_again(redis_bench: Bench) -> None:
    """A Redis that was restarted knows no script; the step is carried out all the same."""
    store = redis_bench.store()
    desk = desk_on(store)
    redis_bench.run(desk.open())
    for name in ("a", "b"):
        client = client_of(store)
        nodes = {"target_nodes": RedisCluster.ALL_NODES} if isinstance(client, RedisCluster) else {}
        redis_bench.run(client.execute_command("SCRIPT FLUSH", **nodes))
        alerts = [alert(f"{name}-{place}", card_token=f"card-{name}-{place % 2}") for place in range(4)]
        kinds = [outcome.kind for outcome in redis_bench.run(desk.respond(alerts, NOW_MS))]
        assert kinds == [OutcomeKind.FROZEN] * 2 + [OutcomeKind.ATTACHED] * 2


def test_what_is_remembered_for_a_time_expires(redis_bench: Bench) -> None:
    """Steps and closed cases have a time to live, cards and open cases have none."""
    store = redis_bench.store()
    desk = desk_on(store)
    redis_bench.run(desk.open())
    outcome = redis_bench.run(desk.respond([alert("a")], NOW_MS))[0]
    redis_bench.run(desk.respond([alert("b", card_token="card-2")], NOW_MS))
    redis_bench.run(verify(desk, outcome.case_id or "", NOW_MS + 1))
    redis_bench.run(desk.override(outcome.case_id or "", CLOSE, now_ms=NOW_MS + 1))
    lives = {key: redis_bench.run(client_of(store).execute_command("PTTL", key)) for key in keys_of(redis_bench, store)}
    expiring = {key for key, life_ms in lives.items() if life_ms > 0}
    assert {key for key in lives if ":step:" in key} <= expiring
    assert {key for key in expiring if ":step:" not in key} == {key for key in lives if str(outcome.case_id) in key}


def test_closed_cases_leave_their_list_when_they_are_forgotten(redis_bench: Bench) -> None:
    """The list of closed cases is trimmed by the next case that closes, so it does not grow for ever."""
    desk = redis_bench.desk(shards=1)
    month_ms = 31 * 86_400_000
    for place, now_ms in enumerate((NOW_MS, NOW_MS + 1, NOW_MS + month_ms)):
        outcome = redis_bench.run(desk.respond([alert(str(place), card_token=f"card-{place}")], now_ms))[0]
        redis_bench.run(verify(desk, outcome.case_id or "", now_ms + 1))
        redis_bench.run(desk.override(outcome.case_id or "", CLOSE, now_ms=now_ms + 1))
    assert redis_bench.run(desk.count_cases()) == dict.fromkeys(CaseState, 0) | {CaseState.CLOSED: 1}
    page = redis_bench.run(desk.list_cases(CaseFilters(state=CaseState.CLOSED)))
    assert [case.card_token for case in page.cases] == ["card-2"]


def test_another_set_up_is_refused(redis_bench: Bench) -> None:
    """Shards cannot change: cards would be looked for where they are not."""
    redis_bench.desk(shards=4)
    with pytest.raises(StoreSetupError, match="shards"):
        redis_bench.desk(shards=8)


@pytest.mark.parametrize("shards", [0, 3, 8192])
def test_shards_are_a_power_of_two(shards: int) -> None:
    """Case ids carry twelve bits of their card's hash, so that many shards can be told from them."""
    with pytest.raises(StoreSetupError, match="power of two"):
        RedisStore(connection_to("redis://127.0.0.1:1/0", ConnectionPolicy()), RedisStoreSettings(shards=shards))


@pytest.mark.parametrize("cluster", [False, True])
def test_no_answer_is_named_as_such(runner: asyncio.Runner, *, cluster: bool) -> None:
    """Where nobody listens every call says so, and may be made again."""
    (port,) = free_ports(1)
    address = RedisAddress(f"redis://{LOOPBACK}:{port}", cluster)
    policy = ConnectionPolicy(timeout_s=0.2, retries=1)
    store = RedisStore(RedisConnection(connect(address, policy), policy), RedisStoreSettings())
    desk = desk_on(store)
    with pytest.raises(StoreUnavailableError):
        runner.run(desk.ping())
    with pytest.raises(StoreUnavailableError):
        runner.run(desk.respond([alert("a")], NOW_MS))
    runner.run(store.close())


def test_a_refusal_does_not_repeat_what_was_sent(redis_bench: Bench) -> None:
    """A command that Redis refuses, or a document that cannot be read, is an error of the store without card tokens."""
    store = redis_bench.store()
    desk = desk_on(store)
    redis_bench.run(desk.open())
    redis_bench.run(desk.respond([alert("a")], NOW_MS))
    (card_key,) = [key for key in keys_of(redis_bench, store) if ":card:" in key]
    redis_bench.run(client_of(store).execute_command("HSET", card_key, "card", "{"))
    with pytest.raises(StoreError) as unreadable:
        redis_bench.run(desk.card("card-1"))
    redis_bench.run(client_of(store).execute_command("SET", card_key, "text"))
    with pytest.raises(StoreError) as refused:
        redis_bench.run(desk.card("card-1"))
    assert "card-1" not in f"{unreadable.value}{refused.value}"


def test_a_redis_out_of_memory_refuses_and_recovers(servers: Servers, runner: asyncio.Runner) -> None:
    """Writes are refused as a whole while Redis has no memory left; asked again later they are done."""
    url = servers.url("bundled")
    store = RedisStore(connection_to(url, ConnectionPolicy()), RedisStoreSettings(prefix="out-of-memory"))
    desk = desk_on(store)
    runner.run(desk.open())
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreFullError):
                runner.run(desk.respond([alert("a")], NOW_MS))
            # Nobody may look unseen, so nobody may look.
            with pytest.raises(StoreFullError):
                runner.run(desk.tell_access(ACCESS))
        finally:
            client.config_set("maxmemory", "0")
    assert runner.run(desk.card("card-1")).sequence == 0
    assert runner.run(desk.respond([alert("a")], NOW_MS))[0].kind is OutcomeKind.FROZEN
    runner.run(store.close())
