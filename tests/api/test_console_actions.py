"""What agents do at the console beyond the override: each action by its form, by the same rules as over HTTP."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from api.console.actions import read_command, read_details
from api.errors import FormError
from api.roles import Role
from casework import commands as do
from casework.cases import CaseState, Severity
from casework.verification import Method, code_of
from tests.api.support import CARD_NUMBER, CODE_KEY, NOW_MS, World
from tests.api.test_cases import outbox
from tests.api.test_console import hidden, sign_in


def act(world: World, case_id: str, action: str, **fields: str) -> httpx.Response:
    """Send one form of the case page as an agent would, and follow where it leads."""
    page = world.client.get(f"/console/cases/{case_id}").text
    forms = re.findall(r'<form[^>]*action="/console/cases/[^"]*/act".*?</form>', page, flags=re.DOTALL)
    (form,) = [form for form in forms if f'name="do" value="{action}"' in form]
    given = {
        html.unescape(name): html.unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    }
    response = world.client.post(f"/console/cases/{case_id}/act", data=given | fields)
    if response.status_code == 303:
        return world.client.get(response.headers["location"])
    return response


def test_the_common_case_at_the_console(world: World) -> None:
    """Next case, a code, its answer, unfreeze by macro: without a script, and the page says where things stand."""
    case_id = world.open_case()
    sign_in(world)
    queue = world.client.get("/console").text
    taken = world.client.post("/console/next", data={"form_token": hidden(queue, "form_token")})
    assert taken.headers["location"] == f"/console/cases/{case_id}"
    act(world, case_id, "verify_begin", **{"f.method": "code"})
    (notice,) = [value for _, value in outbox(world) if value.get("template") == "verification_code"]
    page = act(world, case_id, "verify_answer", **{"f.answer": code_of(CODE_KEY, notice["parameters"]["code_nonce"])})
    assert "Verified until" in page.text
    preview = act(world, case_id, "macro", **{"f.name": "it_was_them", "f.note": "All hers.", "preview": "1"})
    assert "This would happen" in preview.text
    assert "fraud.labels.v1" in preview.text
    page = act(world, case_id, "macro", **{"f.name": "it_was_them", "f.note": "All hers."})
    assert "unless it is undone" in page.text
    act(world, case_id, "undo")
    act(world, case_id, "unfreeze", **{"f.reason": "Hers."})
    case = world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()
    assert (case["card_state"], case["case"]["owner"]) == ("active", "agent")


def test_what_is_refused_comes_back_on_the_page(world: World) -> None:
    """With the reason, and nothing done; a card number is not shown again."""
    case_id = world.open_case()
    sign_in(world)
    refused = act(world, case_id, "unfreeze", **{"f.reason": "Hers."})
    assert (refused.status_code, "Identity not verified" in refused.text) == (403, True)
    numbered = act(world, case_id, "note", **{"f.text": f"It is {CARD_NUMBER}"})
    assert numbered.status_code == 422
    assert CARD_NUMBER not in numbered.text
    assert world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()["case"]["version"] == 2


def test_forms_are_offered_by_role_state_and_lock(world: World) -> None:
    """What somebody may not do is not offered; while another works on the case, only notes and freezing are."""
    case_id = world.open_case()
    sign_in(world)
    page = world.client.get(f"/console/cases/{case_id}").text
    offered = set(re.findall(r'name="do" value="([a-z_]+)"', page))
    assert {"unfreeze", "snooze", "escalate", "macro", "close"} <= offered
    assert not {"block", "reissue", "assign", "freeze", "return", "undo", "approve"} & offered
    act(world, case_id, "take")
    sign_in(world, Role.SENIOR_AGENT)
    page = world.client.get(f"/console/cases/{case_id}").text
    assert set(re.findall(r'name="do" value="([a-z_]+)"', page)) == {"note", "freeze"}


def test_a_knowledge_question_shows_payments_to_tick(world: World) -> None:
    """Each with its amount; a wrong choice verifies nothing."""
    case_id = world.open_case()
    sign_in(world)
    page = act(world, case_id, "verify_begin", **{"f.method": "knowledge"}).text
    assert len(re.findall(r'type="checkbox" name="answer\.\d+"', page)) == 8
    page = act(world, case_id, "verify_answer", **{"answer.0": "1"}).text
    assert "Not verified" in page


def test_a_case_is_opened_by_hand(world: World) -> None:
    """Each kind has its fields; a second case for the card leads to the first; what was typed is kept."""
    sign_in(world)
    for kind in ("lost_or_stolen", "dispute", "limit_change", "account_access", "referral", "declined_payment"):
        assert world.client.get(f"/console/new?kind={kind}").status_code == 200
    page = world.client.get("/console/new?kind=dispute").text
    form = {
        "form_token": hidden(page, "form_token"),
        "idempotency_key": hidden(page, "idempotency_key"),
        "card_token": "tok_9",
        "channel": "phone",
        "detail.transaction_id": "tx-1",
        "detail.reason": "not_received",
        "detail.amount_minor": "4900",
        "detail.currency": "EUR",
        "detail.evidence": "receipt\r\nletter",
        "note": "Shoes never came.",
    }
    opened = world.client.post("/console/new?kind=dispute", data=form)
    assert opened.status_code == 303
    case = world.client.get(opened.headers["location"].replace("/console", "/v1"), role=Role.AGENT).json()["case"]
    assert case["details"]["evidence"] == ["receipt", "letter"]
    again = world.client.post("/console/new?kind=dispute", data=form | {"idempotency_key": "another"})
    assert (again.status_code, f"/console/cases/{case['case_id']}" in again.text) == (409, True)
    assert "Shoes never came." in again.text
    wrong = world.client.post(
        "/console/new?kind=dispute", data=form | {"card_token": "tok_8", "detail.amount_minor": "many"}
    )
    assert (wrong.status_code, "Details amount minor" in wrong.text) == (422, True)
    number = world.client.post("/console/new?kind=dispute", data=form | {"note": CARD_NUMBER})
    assert (number.status_code, CARD_NUMBER in number.text) == (422, False)


def test_lists_are_seen_by_agents_and_edited_by_supervisors(world: World) -> None:
    """With an end; taken off by a button; others see them only."""
    sign_in(world)
    assert "Put something on a list" not in world.client.get("/console/lists").text
    sign_in(world, Role.SUPERVISOR)
    page = world.client.get("/console/lists").text
    form = {
        "form_token": hidden(page, "form_token"),
        "effect": "block",
        "subject": "merchant",
        "value": "m-skimmed",
        "hours": "72",
        "reason": "Skimmer found.",
    }
    done = world.client.post("/console/lists", data=form)
    assert done.headers["location"] == "/console/lists?done=1"
    page = world.client.get("/console/lists?done=1").text
    assert "m-skimmed" in page
    assert "Skimmer found." in page
    assert world.client.post("/console/lists", data=form | {"hours": "-1"}).status_code == 422
    assert world.client.post("/console/lists", data=form | {"value": CARD_NUMBER}).status_code == 422
    world.client.post("/console/lists", data=form | {"hours": "0"})
    assert "m-skimmed" not in world.client.get("/console/lists").text
    sign_in(world, Role.AGENT)
    token = hidden(world.client.get("/console/lists").text, "form_token")
    assert world.client.post("/console/lists", data=form | {"form_token": token}).status_code == 403


@pytest.mark.parametrize("path", ["/cases/{case}/act", "/next", "/new", "/lists"])
def test_every_form_needs_its_token(world: World, path: str) -> None:
    """Another site's form does nothing."""
    case_id = world.open_case()
    sign_in(world)
    response = world.client.post("/console" + path.replace("{case}", case_id), data={"do": "take"})
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("form", "command"),
    [
        ({"do": "move", "f.state": "contacting"}, do.Move(CaseState.CONTACTING)),
        ({"do": "watch", "f.days": "7"}, do.Watch(7)),
        ({"do": "snooze", "span.until_ms": "4", "f.reason": "x"}, do.Snooze(NOW_MS + 4 * 3_600_000, "x")),
        ({"do": "travel", "f.countries": "JP, SG", "span.until_ms": "24"},
         do.Travel(("JP", "SG"), NOW_MS + 24 * 3_600_000)),
        ({"do": "cardholder_answer", "f.transaction_id": "t", "f.mine": "false"}, do.CardholderAnswer("t", mine=False)),
        ({"do": "customer", "f.vulnerable": "true"}, do.Customer(waiting=False, vulnerable=True)),
        ({"do": "verify_seen", "f.method": "call_back"}, do.VerifySeen(Method.CALL_BACK)),
        ({"do": "verify_answer", "answer.3": "1", "answer.1": "1"}, do.VerifyAnswer("1,3")),
        ({"do": "lower_limit", "f.limit_minor": "500", "f.currency": "EUR"}, do.LowerLimit(500, "EUR")),
        ({"do": "severity", "f.severity": "3", "f.reason": "x"}, do.SetSeverity(Severity.URGENT, "x")),
    ],
)  # fmt: skip
def test_forms_become_commands(form: dict[str, str], command: do.Command) -> None:
    """Numbers, spans of time, lists and ticks."""
    assert read_command(form, NOW_MS) == command


@pytest.mark.parametrize("text", ["2025-10-09T08:53", "2025-10-09 08:53", "1760000000000"])
def test_times_are_written_as_people_write_them(text: str) -> None:
    """As a browser's picker sends them, as UTC; the number that the API takes is taken as well."""
    expected_ms = 1_760_000_000_000 if text.isdecimal() else 1_760_000_000_000 - 20_000
    assert read_details({"detail.paid_ms": text}) == {"paid_ms": expected_ms}
    assert read_details({"detail.paid_ms": "2025-13-41T08:53"}) == {"paid_ms": "2025-13-41T08:53"}


@pytest.mark.parametrize(
    ("form", "field"),
    [({}, "do"), ({"do": "melt"}, "do"), ({"do": "note"}, "text"), ({"do": "watch", "f.days": "soon"}, "days"),
     ({"do": "snooze", "f.reason": "x", "span.until_ms": "9"}, "until_ms")],
)  # fmt: skip
def test_wrong_forms_are_named(form: dict[str, str], field: str) -> None:
    """By the field at fault."""
    with pytest.raises(FormError) as caught:
        read_command(form, NOW_MS)
    assert caught.value.field == field
