"""What lists of cases leave out: every store by the same rule, whatever the cases are like and whoever asks."""

from __future__ import annotations

import itertools

from casework import commands as do
from casework.authority import Person, Role
from casework.cases import OPEN_STATES, Contact
from casework.desk import Desk
from casework.kinds import CaseKind
from casework.store import Store
from casework.traits import admits
from casework.verification import Method
from casework.views import CaseFilters, Due, Opening
from detector.vocabulary import Action
from tests.casework.examples import AGENT, NONCE, NOW_MS, SENIOR, SUPERVISOR, alert, desk_on
from tests.contracts.conftest import Bench

MINUTE_MS = 60_000
# A name with all that a script could stumble over.
ODD = Person('o|dd "%a-1"*', Role.AGENT)
LOOKED_AT_MS = (NOW_MS, NOW_MS + 13 * MINUTE_MS, NOW_MS + 16 * MINUTE_MS)


async def fill(desk: Desk) -> None:
    """Cases that are taken, escalated, near their target, missed, waiting, disputed, and about to be closed."""
    await desk.open()
    case_ids = []
    for number in range(7):
        raised = alert(str(number), (Action.FREEZE, Action.REVIEW)[number % 2], card_token=f"card-{number}")
        (outcome,) = await desk.respond([raised], NOW_MS)
        case_ids.append(outcome.case_id or "")
    details = {"transaction_id": "tx-1", "reason": "not_received", "amount_minor": 100, "currency": "EUR"}
    opening = Opening(CaseKind.DISPUTE, Contact.PHONE, details, "Shoes.")
    await desk.open_case("card-9", opening, AGENT, now_ms=NOW_MS)
    for case_id, by, command in (
        (case_ids[0], AGENT, do.Take()),
        (case_ids[1], ODD, do.Take()),
        (case_ids[2], AGENT, do.Escalate("Too much for me.")),
        (case_ids[3], SENIOR, do.VerifySeen(Method.CALL_BACK)),
    ):
        await desk.act(case_id, (command,), by, now_ms=NOW_MS + 1, nonce=NONCE)
    await desk.tick(NOW_MS + 12 * MINUTE_MS)
    macro = (do.Macro("stolen_card", "Not theirs."),)
    await desk.act(case_ids[4], macro, SUPERVISOR, now_ms=NOW_MS + 12 * MINUTE_MS, nonce=NONCE)


def every_filter() -> list[CaseFilters]:
    """All of them with all others."""
    choices = itertools.product(
        (None, Action.FREEZE, Action.DECLINE),
        (None, CaseKind.FRAUD_ALERT, CaseKind.DISPUTE),
        (None, "", AGENT.name, ODD.name),
        (None, *Due),
        (None, AGENT, ODD, SENIOR),
        LOOKED_AT_MS,
    )
    return [
        CaseFilters(action=action, kind=kind, owner=owner, due=due, taker=taker, now_ms=now_ms)
        for action, kind, owner, due, taker, now_ms in choices
    ]


def test_lists_hold_what_passes_and_nothing_else(bench: Bench) -> None:
    """By answer, kind, who works on it, target and who may take it, alone and with each other."""
    store: Store = bench.store()
    bench.run(fill(desk_on(store)))
    states = sorted(OPEN_STATES)
    everything = bench.run(store.list_cases(states, "", 100))
    assert len(everything) == 8
    seen = set()
    for filters in every_filter():
        expected = [entry for entry in everything if entry.case is not None and admits(filters, entry.case)]
        assert bench.run(store.list_cases(states, "", 100, filters)) == expected, filters
        seen.add(len(expected))
    assert seen >= {0, 1, 2, 3}


def test_a_narrowed_list_goes_on_behind_a_position(bench: Bench) -> None:
    """Page by page it is the same list, each case once."""
    store = bench.store()
    bench.run(fill(desk_on(store)))
    filters = CaseFilters(kind=CaseKind.FRAUD_ALERT, now_ms=NOW_MS)
    whole = bench.run(store.list_cases(sorted(OPEN_STATES), "", 100, filters))
    pages, after = [], ""
    while page := bench.run(store.list_cases(sorted(OPEN_STATES), after, 2, filters)):
        pages += page
        after = page[-1].position
    assert pages == whole
    assert len(whole) == 7


def test_what_is_rare_is_found_behind_many(bench: Bench) -> None:
    """Beyond what a store looks at in one go."""
    store, case_count = bench.store(shards=1), 450
    desk = desk_on(store)
    bench.run(desk.open())
    alerts = [alert(str(number), Action.REVIEW, card_token=f"card-{number}") for number in range(case_count)]
    bench.run(desk.respond(alerts, NOW_MS))
    last = bench.run(store.list_cases(sorted(OPEN_STATES), "", case_count))[-1].case
    assert last is not None
    bench.run(desk.act(last.case_id, (do.Take(),), AGENT, now_ms=NOW_MS + 1, nonce=NONCE))
    found = bench.run(store.list_cases(sorted(OPEN_STATES), "", 5, CaseFilters(owner=AGENT.name, now_ms=NOW_MS + 2)))
    assert [entry.case and entry.case.case_id for entry in found] == [last.case_id]
