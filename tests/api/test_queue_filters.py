"""The queue's filters and saved views, and the supervisor's page."""

from __future__ import annotations

import html
import re

import pytest

from api.console.queue_filters import (
    LONGEST_NAME,
    MOST_VIEWS,
    VIEWS_COOKIE,
    QueueFilters,
    SavedView,
    checked_name,
    read_views,
    with_view,
    written,
)
from api.roles import Role
from tests.api.support import CARD_NUMBER, Memory, World, world
from tests.api.test_console import hidden, sign_in

MINUTE_MS = 60_000
DUE = QueueFilters(kind="fraud_alert", due="near")


def test_the_queue_shows_what_was_asked_for(world: World) -> None:
    """Mine, nobody's, by kind and target; words that are none of ours are as if they were not there."""
    case_id = world.open_case()
    dispute = world.open_dispute("tok_2")
    sign_in(world)
    token = hidden(world.client.get("/console").text, "form_token")
    world.client.post("/console/next", data={"form_token": token})
    for query, shown in (
        ("owner=mine", {case_id}), ("owner=nobody", {dispute}), ("kind=dispute", {dispute}), ("due=missed", set()),
        ("kind=x&owner=<b>&due=y&state=z&action=q", {case_id, dispute}), ("kind=dispute&owner=mine", set()),
    ):  # fmt: skip
        page = world.client.get(f"/console?{query}").text
        assert set(re.findall(r'href="/console/cases/([^"]*)"', page)) == shown, query


def test_a_view_is_saved_used_and_removed(world: World) -> None:
    """Under the name that was given; it is there on every queue, marked where one is, and goes when told."""
    world.open_case()
    sign_in(world)
    token = hidden(world.client.get("/console").text, "form_token")
    form = {"form_token": token, "name": "Hot <fraud>", "kind": "fraud_alert", "due": "near"}
    saved = world.client.post("/console/views", data=form)
    assert saved.headers["location"] == "/console?kind=fraud_alert&due=near"
    page = world.client.get(saved.headers["location"]).text
    (link,) = re.findall(r'href="([^"]*)" aria-current="page">Hot &lt;fraud&gt;', page)
    assert html.unescape(link) == "/console?kind=fraud_alert&due=near"
    assert "Hot &lt;fraud&gt;" in world.client.get("/console").text
    world.client.post("/console/views", data={"form_token": token, "remove": "Hot <fraud>"})
    assert "Hot &lt;fraud&gt;" not in world.client.get("/console").text


@pytest.mark.parametrize("name", ["", " ", "x" * (LONGEST_NAME + 1), "a\nb", f"card {CARD_NUMBER}"])
def test_names_of_views_are_checked(world: World, name: str) -> None:
    """Nothing unprintable, endless or like a card's number is kept."""
    with pytest.raises(ValueError, match="name"):
        checked_name(name)
    sign_in(world)
    token = hidden(world.client.get("/console").text, "form_token")
    refused = world.client.post("/console/views", data={"form_token": token, "name": name})
    assert refused.status_code == 422
    assert CARD_NUMBER not in refused.text
    assert world.client.post("/console/views", data={"name": "x"}).status_code == 403


def test_views_come_back_as_they_were() -> None:
    """In order; the same name replaces; the oldest goes; a cookie never outgrows what browsers keep."""
    views = [SavedView(f"view {number} 案件", DUE) for number in range(MOST_VIEWS)]
    assert read_views(written(views)) == views
    assert with_view(views, SavedView("view 3 案件", QueueFilters()))[-1].filters == QueueFilters()
    assert len(with_view(views, SavedView("view 3 案件", DUE))) == MOST_VIEWS
    assert with_view(views, SavedView("new", DUE))[0] == views[1]
    wide = [SavedView(chr(0x1F600 + number) * LONGEST_NAME, DUE) for number in range(MOST_VIEWS)]
    assert len(written(wide)) <= 3_500
    assert read_views(written(wide))[-1] == wide[-1]


@pytest.mark.parametrize("cookie", ["", "x", "é", "W10=", "e30=", "WzFd", "W1siYSIsIDFdXQ==", "W1siIiwgImE9YiJdXQ=="])
def test_a_cookie_that_is_not_ours_is_no_harm(world: World, cookie: str) -> None:
    """It may hold anything: at worst there are no views."""
    assert all(view.filters == QueueFilters() for view in read_views(cookie))
    sign_in(world)
    if cookie.isascii():
        world.client.cookies[VIEWS_COOKIE] = cookie
        assert world.client.get("/console").status_code == 200


def test_the_shift_is_for_supervisors() -> None:
    """Backlog, what presses and who has what; others are refused and not even shown the way."""
    made = world(history=Memory())
    case_id = made.open_case()
    sign_in(made, Role.SENIOR_AGENT)
    queue = made.client.get("/console").text
    assert "/console/shift" not in queue
    assert made.client.get("/console/shift").status_code == 403
    made.client.post("/console/next", data={"form_token": hidden(queue, "form_token")})
    sign_in(made, Role.SUPERVISOR)
    assert 'href="/console/shift"' in made.client.get("/console").text
    page = made.client.get("/console/shift").text
    assert re.search(r"<b>senior_agent</b> 1: <a href=\"/console/cases/" + case_id, page)
    made.clock.now_ms += 14 * MINUTE_MS
    page = made.client.get("/console/shift").text
    assert "1 min left" in page
    assert "Nobody works on a case now." in page
