"""Which cases have something in common, on every store."""

from __future__ import annotations

import pytest

from casework.cases import Disposition
from casework.errors import CaseNotFoundError
from casework.views import CardAction, Override
from detector.vocabulary import Action
from tests.casework.examples import NOW_MS, SENIOR, alert
from tests.contracts.conftest import Bench

KEEP = Override(Disposition.CONFIRMED_FRAUD, CardAction.KEEP, "Not hers.", SENIOR)


def test_cases_are_related_by_card_merchant_terminal_and_device(bench: Bench) -> None:
    """Across shards, open and closed, each once with all that is common, the latest first."""
    desk = bench.desk(shards=8)
    alerts = [
        alert("a", Action.REVIEW, card_token="card-a", merchant_id="m", terminal_ref="t", device_ref="d"),
        alert("b", Action.REVIEW, card_token="card-b", merchant_id="m", terminal_ref="t"),
        alert("c", Action.REVIEW, card_token="card-c", device_ref="d"),
        alert("x", Action.REVIEW, card_token="card-x", merchant_id="other", terminal_ref="d", device_ref="t"),
    ]
    ids = []
    for place, each in enumerate(alerts):
        (outcome,) = bench.run(desk.respond([each], NOW_MS + place))
        ids.append(outcome.case_id or "")
    bench.run(desk.override(ids[1], KEEP, now_ms=NOW_MS + 10))
    found = bench.run(desk.related(ids[0]))
    assert [(each.case.case_id, each.by) for each in found] == [
        (ids[2], ("device",)),
        (ids[1], ("merchant", "terminal")),
    ]
    assert bench.run(desk.related(ids[3])) == []
    bench.run(desk.override(ids[0], KEEP, now_ms=NOW_MS + 11))
    again = alert("a2", Action.REVIEW, card_token="card-a", merchant_id="m", event_time_ms=NOW_MS + 20)
    (outcome,) = bench.run(desk.respond([again], NOW_MS + 30))
    found = bench.run(desk.related(outcome.case_id or ""))
    assert [(each.case.case_id, each.by) for each in found] == [
        (ids[1], ("merchant",)),
        (ids[0], ("card", "merchant")),
    ]
    with pytest.raises(CaseNotFoundError):
        bench.run(desk.related("nonsense"))


def test_a_hot_place_shows_its_latest_cases(bench: Bench) -> None:
    """Bounded, however many there are."""
    desk = bench.desk()
    alerts = [alert(str(n), Action.REVIEW, card_token=f"card-{n}", terminal_ref="t") for n in range(150)]
    ids = []
    for place, each in enumerate(alerts):
        (outcome,) = bench.run(desk.respond([each], NOW_MS + place))
        ids.append(outcome.case_id)
    found = bench.run(desk.related(ids[0] or ""))
    assert [each.case.case_id for each in found] == ids[-1:-21:-1]
