"""Problems: every error is problem+json in our own words, and nothing of a request ever comes back or is logged."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from api.console.sessions import COOKIE_NAME
from api.problems import MEDIA_TYPE, ProblemDocument, problem_of
from api.roles import Role
from casework import errors as casework_errors
from casework.errors import CaseworkError, CommandError, StoreError
from tests.api.support import CARD_NUMBER, NOW_MS, OTHER_CARD_NUMBER, SECRETS, World, alert, desk, payment, world

REASON = {"reason": "cardholder called"}
DECISION = {"disposition": "confirmed_fraud", "card_action": "keep", "note": "not theirs"}
GROUPED = " ".join(CARD_NUMBER[start : start + 4] for start in range(0, 16, 4))
SHIPPED_HEADERS = (
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "x-frame-options",
    "x-request-id",
)


class BrokenDesk:
    """A desk whose every method fails the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.authority = desk().authority

    def __getattr__(self, name: str) -> Any:
        async def fail(*_positional: Any, **_named: Any) -> None:
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/docs", 404, "not-found"),
        ("GET", "/v1/cases/", 404, "not-found"),
        ("DELETE", "/v1/cases", 405, "method-not-allowed"),
        ("GET", "/v1/cards/tok_1/freeze", 405, "method-not-allowed"),
        ("BREW", "/livez", 405, "method-not-allowed"),
        ("GET", "/v1/cases?limit=0", 422, "invalid-request"),
    ],
)
def test_framework_errors_are_problems(world: World, method: str, path: str, status: int, code: str) -> None:
    """What the framework refuses by itself looks like everything else."""
    response = world.client.request(method, path, role=Role.AGENT)
    assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE)
    problem = ProblemDocument.model_validate(response.json())
    assert (problem.type, problem.status) == (f"urn:cardwatch:problem:{code}", status)
    assert all(name in response.headers for name in SHIPPED_HEADERS)
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 5_000, b'{"reason": NaN}', b'"text"', b'{"reason": "\\ud800"}']
)
def test_unreadable_bodies_are_problems(world: World, body: bytes) -> None:
    """Whatever is no JSON object is refused."""
    headers = {"content-type": "application/json"}
    response = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, content=body, headers=headers)
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == MEDIA_TYPE


def test_large_bodies_are_refused_before_they_are_read(world: World) -> None:
    """Announced or streamed: one byte over the limit is too much, and one below is read."""
    fitting = {"reason": "x" * 1_000}
    assert world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=fitting).status_code == 200
    large = b'{"reason": "' + b"x" * 16_384 + b'"}'

    async def stream() -> Any:
        for start in range(0, len(large), 1_000):
            yield large[start : start + 1_000]

    for content in (large, stream()):
        response = world.client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, content=content)
        assert (response.status_code, response.json()["type"]) == (413, "urn:cardwatch:problem:body-too-large")


def test_half_a_body_is_no_body(world: World) -> None:
    """A client that leaves in the middle of a form has not sent a shorter form."""
    case_id = world.open_case()
    messages = [
        {"type": "http.request", "body": b'{"reason": "half of"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = [
        (b"authorization", f"Bearer {SECRETS[Role.AGENT]}".encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"90"),
    ]
    path = "/v1/cards/tok_3fa85f6457174562/unfreeze"
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "scheme": "http", "headers": headers, "server": ("cardwatch.test", 80), "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(world.client.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT).json()["card_state"] == "frozen"


def _leaves(kind: type[CaseworkError]) -> list[type[CaseworkError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in _leaves(each)] if below else [kind]


def _raised(kind: type[CaseworkError]) -> CaseworkError:
    if issubclass(kind, casework_errors.IllegalMoveError):
        return kind("frozen", ["active", "blocked"])
    if issubclass(kind, casework_errors.VersionConflictError):
        return casework_errors.VersionConflictError[Any](1, 2, [])
    if issubclass(kind, casework_errors.NotAuthorisedError):
        return kind("card_block", "role")
    if issubclass(kind, casework_errors.VerificationError | casework_errors.CaseOpenError):
        return kind("locked")
    if issubclass(kind, casework_errors.CaseLockedError):
        return kind("ann", NOW_MS)
    return kind(f"a message with {CARD_NUMBER}")


@pytest.mark.parametrize("kind", [*_leaves(CommandError), *_leaves(StoreError)])
def test_every_casework_error_has_its_problem(kind: type[CaseworkError]) -> None:
    """A person's mistakes are 4xx, the store's troubles are 503; none of them is our own 500."""
    client = world(desk_port=BrokenDesk(_raised(kind))).client
    response = client.post("/v1/cards/tok_1/freeze", role=Role.AGENT, json=REASON)
    expected = {503} if issubclass(kind, StoreError) else {403, 404, 409, 412, 422}
    assert response.status_code in expected
    assert CARD_NUMBER not in response.text
    if response.status_code == 503:
        assert response.headers["retry-after"]


@pytest.mark.parametrize("path", ["/v1/cases/case-1", "/console/sign-in"])
def test_our_own_bugs_are_500_without_their_message(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is answered and logged by class and place; its message may hold anything."""
    broken = world(desk_port=BrokenDesk(RuntimeError(f"unexpected {CARD_NUMBER}")), session_lifetime_ms=1)
    if path.startswith("/console"):
        broken.clock.now_ms = None  # type: ignore[assignment]
        response = broken.client.post(path, data={"api_key": "cw-test-agent-0123456789abcdef"})
    else:
        response = broken.client.get(path, role=Role.AGENT)
    assert response.status_code == 500
    assert CARD_NUMBER not in response.text + caplog.text
    logged = [
        record for record in caplog.records if record.name == "cardwatch.api.request" and record.levelname == "ERROR"
    ]
    assert len(logged) == 1
    assert response.headers["x-request-id"] in logged[0].getMessage()
    assert all(name in response.headers for name in SHIPPED_HEADERS)


def _canary_requests(case_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """A card number in every place of a request that takes input, and in some that do not."""
    number, other = CARD_NUMBER, OTHER_CARD_NUMBER
    override = f"/v1/cases/{case_id}/override"
    return [
        ("GET", f"/v1/cards/{number}", {}),
        ("GET", f"/{number}", {}),
        ("GET", f"/v1/cases/{number}", {}),
        ("GET", f"/console/cases/{number}", {}),
        ("GET", f"/console/{number}", {}),
        (number, f"/v1/cards/{number}", {}),
        ("POST", f"/v1/cards/{number}/freeze", {"json": REASON}),
        ("POST", f"/v1/cases/{number}/override", {"json": DECISION}),
        ("GET", "/v1/cases", {"params": {"card_token": number}}),
        ("GET", "/v1/cases", {"params": {"cursor": number, "state": other, "action": number, "limit": other}}),
        ("GET", "/v1/cases", {"params": {number: other}}),
        ("GET", "/console", {"params": {"cursor": number, "state": number, "action": number}}),
        ("GET", "/v1/cases", {"headers": {"Authorization": f"Bearer {number}"}}),
        ("GET", "/metrics", {"headers": {"Accept": f"application/openmetrics-text; version={number}"}}),
        ("GET", "/livez", {"headers": {"X-Request-Id": number, "traceparent": number, "Host": number}}),
        ("GET", "/console", {"headers": {"Cookie": f"{COOKIE_NAME}=agent|{number}|{other}|{number}"}}),
        ("POST", "/v1/cards/tok_1/freeze", {"json": REASON, "headers": {"Idempotency-Key": number}}),
        ("POST", "/v1/cards/tok_1/freeze", {"json": REASON, "headers": {"If-Match": f'"{number}"'}}),
        ("POST", "/v1/cards/tok_1/freeze", {"json": {"reason": f"card {GROUPED} was stolen"}}),
        ("POST", "/v1/cards/tok_1/freeze", {"json": {"reason": "fine", number: other}}),
        ("POST", "/v1/cards/tok_1/freeze", {"json": number}),
        ("POST", "/v1/cards/tok_1/freeze", {"content": f'{{"reason": {number}'}),
        ("POST", "/v1/cards/tok_1/freeze", {"content": number, "headers": {"Content-Type": f"text/{number}"}}),
        ("POST", override, {"json": DECISION | {"note": f"see {number}"}}),
        ("POST", override, {"json": DECISION | {"disposition": number, "card_action": other}}),
        ("POST", "/console/sign-in", {"data": {"api_key": number}}),
        ("POST", "/console/sign-in", {"data": {"api_key": number}, "headers": {"Origin": f"https://{number}"}}),
    ]


@pytest.mark.parametrize("index", range(len(_canary_requests(""))))
def test_a_card_number_never_comes_back(world: World, index: int, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a card number stands, it is in no answer, no log line and no metric, then or later."""
    caplog.set_level(logging.DEBUG)
    case_id = world.open_case(card_token="tok_1")
    method, path, options = _canary_requests(case_id)[index]
    role = None if "Authorization" in options.get("headers", {}) else Role.AGENT
    answers = [
        world.client.request(method, path, role=role, **options),
        world.client.get(f"/v1/cases/{case_id}", role=Role.AGENT),
        world.client.get("/v1/cards/tok_1", role=Role.AGENT),
        world.client.get("/metrics"),
    ]
    # The test's own client logs what it sends.
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith(("http", "asyncio"))]
    assert logged
    for text in [*logged, *(answer.text + repr(answer.headers.raw) for answer in answers)]:
        for number in (CARD_NUMBER, OTHER_CARD_NUMBER, GROUPED):
            assert number not in text


def test_a_signed_in_agent_gets_no_card_number_back_either(world: World) -> None:
    """The override form keeps an agent's words after a conflict, but not when they hold a card number."""
    case_id = world.open_case()
    world.client.post("/console/sign-in", data={"api_key": "cw-test-agent-0123456789abcdef"})
    page = world.client.get(f"/console/cases/{case_id}").text
    token = page.split('name="form_token" value="')[1].split('"')[0]
    form = DECISION | {"form_token": token, "version": "1", "idempotency_key": "k", "note": f"see {CARD_NUMBER}"}
    response = world.client.post(f"/console/cases/{case_id}/override", data=form)
    assert response.status_code == 422
    assert CARD_NUMBER not in response.text
    assert "Card number in clear" in response.text


def test_numeric_tokens_of_an_issuer_pass() -> None:
    """Where the issuer's tokens are numbers, their pattern says so."""
    numeric = world(issuer_token_pattern=re.compile(r"41\d{14}"))
    assert numeric.client.get(f"/v1/cards/{CARD_NUMBER}", role=Role.AGENT).status_code == 200
    assert numeric.client.get(f"/v1/cards/{OTHER_CARD_NUMBER}", role=Role.AGENT).status_code == 422


def test_unknown_errors_are_internal() -> None:
    """What nobody thought of is our fault, not the client's."""
    assert problem_of(ValueError(CARD_NUMBER)).status == 500


def test_requests_are_logged_by_template(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A log line names the route, never the path; the caller by the key's name, never by the key."""
    caplog.set_level(logging.INFO)
    world.client.get("/v1/cards/tok_secret", role=Role.AGENT)
    world.client.get("/anything/else", role=Role.AGENT)
    lines = [record.getMessage() for record in caplog.records if record.name == "cardwatch.api.request"]
    assert lines[0].startswith("GET /v1/cards/{card_token:card_token} 200 ")
    assert "caller=agent" in lines[0]
    assert lines[1].startswith("GET unmatched 404 ")
    assert "tok_secret" not in "".join(lines)


def test_payments_of_odd_shape_are_shown(world: World) -> None:
    """What the engine lists of a payment may lack fields and have others."""
    odd = [{"amount_minor": 5}, payment(1, NOW_MS) | {"mcc": 5411, "refused": True, "channel": None}, {}]
    world.respond(alert(last_payments=odd, evidence=[], amount_minor=None, currency=None))
    assert len(world.client.get("/v1/cards/tok_3fa85f6457174562", role=Role.AGENT).json()["payments"]) == 3
    world.client.post("/console/sign-in", data={"api_key": "cw-test-agent-0123456789abcdef"})
    (case,) = world.client.get("/v1/cases", role=Role.AGENT).json()["cases"]
    assert world.client.get(f"/console/cases/{case['case_id']}").status_code == 200
