"""The circuit breaker: what it lets through, when it opens, and that asking twice counts once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casework import breaker as breakers
from casework.breaker import HOUR_MS, MINUTE_MS, Breaker, BreakerClock, BreakerLimits, BreakerState
from tests.casework.examples import NOW_MS, alert

LIMITS = BreakerLimits(freezes_per_minute=3, freezes_per_hour=5)


def let_through(breaker: Breaker, times: list[int], limits: BreakerLimits = LIMITS) -> tuple[Breaker, int]:
    """Ask for one freeze at each moment; the breaker afterwards, and how many were allowed."""
    alerts = [alert(f"{place}-{time_ms}", event_time_ms=time_ms) for place, time_ms in enumerate(times)]
    after, allowed, _ = breakers.ask(breaker, alerts, limits, NOW_MS)
    return after, len(allowed)


def test_it_opens_at_the_first_freeze_past_the_rate_and_stays_open() -> None:
    """Three a minute go through, the fourth and everything after it waits for a person, however slow it comes."""
    after, count = let_through(Breaker("p-1"), [NOW_MS, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3])
    assert (count, after.state, after.reason) == (3, BreakerState.OPEN, "more than 3 freezes within one minute")
    assert let_through(after, [NOW_MS + 10 * HOUR_MS]) == (after, 0)


def test_the_share_of_cards_counts_by_the_hour() -> None:
    """Freezes too slow for the rate open it once they are too many for the hour."""
    times = [NOW_MS + place * MINUTE_MS for place in range(7)]
    after, count = let_through(Breaker("p-1"), times)
    assert (count, after.reason) == (5, "more than 5 freezes within one hour")
    assert not let_through(Breaker("p-1"), [NOW_MS + place * HOUR_MS for place in range(20)])[0].is_open


def test_a_backlog_is_no_storm_by_the_time_of_payments_and_is_one_by_ours() -> None:
    """An hour's freezes handled in one moment go through by event time; by processing time they are a rate."""
    times = [NOW_MS + place * HOUR_MS for place in range(6)]
    assert let_through(Breaker("p-1"), times)[1] == 6
    ours = BreakerLimits(3, 5, BreakerClock.PROCESSING)
    assert let_through(Breaker("p-1"), times, ours)[1] == 3


def test_an_opening_and_a_release_are_told_once() -> None:
    """The audit hears of each change of state, with who and why; releasing a closed one is no change."""
    alerts = [alert(str(place)) for place in range(5)]
    opened, _, told = breakers.ask(Breaker("p-1"), alerts, LIMITS, NOW_MS)
    assert [draft.ce_type for draft in told] == ["cardwatch.freeze_breaker.opened"]
    assert breakers.ask(opened, [alert("later")], LIMITS, NOW_MS)[2] == []
    released, told = breakers.release(opened, "ann", "a bad rule is gone", NOW_MS + 1)
    assert [(draft.body["actor"], draft.body["reason"]) for draft in told] == [("ann", "a bad rule is gone")]
    assert (released.state, released.granted) == (BreakerState.CLOSED, {})
    assert breakers.release(released, "bob", "again", NOW_MS + 2) == (released, [])


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3 * HOUR_MS)), max_size=60),
    st.lists(st.integers(1, 7), min_size=1),
)
def test_whatever_comes_twice_or_late_the_limits_hold(asked: list[tuple[int, int]], cuts: list[int]) -> None:
    """In any order, cut anywhere, asked again at will: never more within a minute or an hour than the limits say."""
    moments = dict(asked)
    breaker, granted, place = Breaker("p-1"), dict[str, int](), 0
    for cut in cuts * len(asked):
        batch = [alert(f"{name}", event_time_ms=NOW_MS + moments[name]) for name, _ in asked[place : place + cut]]
        after, allowed, told = breakers.ask(breaker, batch, LIMITS, NOW_MS)
        assert (after is breaker) == (after.revision == breaker.revision)
        assert bool(told) == (after.is_open and not breaker.is_open)
        again, allowed_again, _ = breakers.ask(after, batch, LIMITS, NOW_MS)
        remembered = {each.alert_id for each in batch if each.alert_id in after.granted}
        assert remembered <= allowed_again
        assert again.is_open or allowed == allowed_again
        granted |= {each.alert_id: each.event_time_ms for each in batch if each.alert_id in allowed}
        breaker, place = after, place + cut
    newest_ms = max(granted.values(), default=0)
    times = sorted(time_ms for time_ms in granted.values() if time_ms > newest_ms - HOUR_MS)
    assert len(times) <= LIMITS.freezes_per_hour
    for start in times:
        assert sum(start <= time_ms < start + MINUTE_MS for time_ms in times) <= LIMITS.freezes_per_minute
