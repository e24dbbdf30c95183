"""The queue's changes as events: one for each change, none lost, a bounded number of listeners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from api.console import feed as feeds
from api.console.feed import BEAT, Pace, QueueFeed
from api.errors import TooManyListenersError
from api.roles import Role
from casework.errors import StoreUnavailableError
from casework.views import Page
from tests.api.support import World, alert
from tests.api.test_console import sign_in

PACE = Pace(look_s=2.0, beat_s=6.0, life_s=20.0)


class Time:
    """A clock that moves when somebody sleeps, and lets something happen while they do."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.meanwhile: dict[float, Callable[[], Awaitable[Any]]] = {}

    async def sleep(self, span_s: float) -> None:
        self.now_s += span_s
        if self.now_s in self.meanwhile:
            await self.meanwhile[self.now_s]()


async def heard(stream: AsyncIterator[str]) -> list[str]:
    """Everything a stream says until it ends."""
    return [said async for said in stream]


def kinds(said: list[str]) -> list[str]:
    """The events without their ids."""
    return ["beat" if each == BEAT else each.partition(":")[0] for each in said]


def test_a_change_is_told_once_and_silence_is_kept_alive(world: World) -> None:
    """One event for how it is, one for a new case, beats between, and an end after which the browser comes again."""
    time = Time()
    feed = QueueFeed(world.desk, PACE, time.sleep, lambda: time.now_s)
    time.meanwhile[8.0] = lambda: world.desk.respond([alert(2, card_token="tok_2")], world.clock.now_ms)
    said = asyncio.run(heard(feed.open("kim", "")))
    assert kinds(said) == ["retry", "id", "beat", "id", "beat"]
    assert said[1] != said[3]
    assert feed.listeners == 0


def test_who_comes_again_hears_only_what_is_new(world: World) -> None:
    """From behind the last event: nothing where nothing happened, the change where something did."""
    time = Time()
    feed = QueueFeed(world.desk, PACE, time.sleep, lambda: time.now_s)
    first = asyncio.run(heard(feed.open("kim", "")))
    last = first[1].partition("\n")[0].removeprefix("id: ")
    assert kinds(asyncio.run(heard(feed.open("kim", last)))) == ["retry", "beat", "beat", "beat"]
    world.open_case()
    assert kinds(asyncio.run(heard(feed.open("kim", last))))[:2] == ["retry", "id"]


def test_listeners_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all and for each person; who leaves makes room."""

    async def story() -> None:
        monkeypatch.setattr(feeds, "MOST_LISTENERS", 3)
        monkeypatch.setattr(feeds, "MOST_OF_ONE_PERSON", 2)
        feed = QueueFeed(world.desk)
        streams = [feed.open("kim", ""), feed.open("kim", "")]
        for stream in streams:
            await anext(stream)
        with pytest.raises(TooManyListenersError):
            feed.open("kim", "")
        streams.append(feed.open("lee", ""))
        await anext(streams[-1])
        with pytest.raises(TooManyListenersError):
            feed.open("max", "")
        await streams[0].aclose()  # type: ignore[attr-defined]
        feed.open("max", "")
        assert feed.listeners == 2

    asyncio.run(story())


def test_the_store_is_asked_once_for_all_and_may_be_away(world: World) -> None:
    """However many listen; while it is away nothing is said, and the change is told when it is back."""

    class Counting:
        def __init__(self) -> None:
            self.asked = 0
            self.is_away = False

        async def list_cases(self, **options: Any) -> Page:
            self.asked += 1
            if self.is_away:
                raise StoreUnavailableError
            return await world.desk.list_cases(**options)

        async def count_cases(self) -> Any:
            return await world.desk.count_cases()

    async def story() -> None:
        time, desk = Time(), Counting()
        feed = QueueFeed(desk, PACE, time.sleep, lambda: time.now_s)  # type: ignore[arg-type]
        streams = [feed.open(name, "") for name in ("a", "b", "c")]
        for stream in streams:
            assert kinds([await anext(stream), await anext(stream)]) == ["retry", "id"]
        assert desk.asked == 1
        desk.is_away = True
        await world.desk.respond([alert(1)], world.clock.now_ms)

        async def comes_back() -> None:
            desk.is_away = False

        time.meanwhile[14.0] = comes_back
        assert kinds(await heard(streams[0])) == ["beat", "beat", "id"]

    asyncio.run(story())


def test_the_stream_is_for_people_who_are_signed_in(world: World) -> None:
    """Without a session one is led to sign in; with too many listeners one is told, and when to come again."""
    assert world.client.get("/console/events").status_code == 303
    sign_in(world, Role.AGENT)
    feed = world.client.app.state.context.feed
    feed._listeners["agent"] = feeds.MOST_OF_ONE_PERSON
    refused = world.client.get("/console/events")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
    feed._listeners.clear()
    feed._pace = Pace(look_s=0.0, life_s=0.0)
    answer = world.client.get("/console/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: ")


def test_how_long_somebody_listens_is_no_latency(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An objective of latency would otherwise be missed by every open page."""
    time = Time()
    monkeypatch.setattr("api.middleware.time.perf_counter", lambda: time.now_s)
    sign_in(world, Role.AGENT)
    feed = world.client.app.state.context.feed
    feed._pace, feed._sleep, feed._now_s = PACE, time.sleep, lambda: time.now_s
    assert world.client.get("/console/events").status_code == 200
    assert time.now_s == PACE.life_s
    labels = {"route": "/console/events"}
    assert world.registry.get_sample_value("cardwatch_http_request_duration_seconds_count", labels) == 1
    assert world.registry.get_sample_value("cardwatch_http_request_duration_seconds_sum", labels) == 0
