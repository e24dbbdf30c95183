"""The OpenAPI document, and answers to requests made up from it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.roles import Role
from api.webhook_schemas import CARD_EXAMPLE, CASE_EXAMPLE, CardWebhook, CaseWebhook
from casework.adapters.memory_notices import MemoryNotices
from casework.links import Link, Links, Purpose
from casework.outbox import CARDS_STATE_TOPIC, CASES_TOPIC
from casework.records import case_event_draft
from casework.webhooks import webhook_of
from tests.api.support import CODE_KEY, NOW_MS, SECRETS, Memory, Scoring, world
from tests.contracts.test_history import story

LINKS = Links(CODE_KEY)
WORLD = world(scoring=Scoring(), history=Memory(), notices=MemoryNotices(), links=LINKS)
CASE_ID = WORLD.open_case()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_asgi("/openapi.json", WORLD.client.app)


@pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.PAYMENT_SYSTEM, Role.SRE])
@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_answer_is_undocumented(case: schemathesis.Case[Any], role: Role) -> None:
    """Whatever is sent, the answer is no 500 and is one that the document announces, in its form."""
    # Every other request is about a case that exists, or it would hardly get past 404.
    parameters = case.path_parameters or {}
    if "case_id" in parameters and len(str(parameters["case_id"])) % 2:
        parameters["case_id"] = CASE_ID
    if "endpoint" in parameters and len(str(parameters["endpoint"])) % 2:
        parameters["endpoint"] = "bank"
    if "visit" in parameters and len(str(parameters["visit"])) % 2:
        purpose = Purpose.SETTINGS if case.path.endswith("/settings") else Purpose.ANSWER
        parameters["visit"] = LINKS.sign(Link(CASE_ID, purpose, NOW_MS // 1000 + 3600))
    case.call_and_validate(headers={"Authorization": f"Bearer {SECRETS[role]}"}, checks=CHECKS)


def _document() -> dict[str, Any]:
    document: dict[str, Any] = WORLD.client.get("/openapi.json").json()
    return document


def test_document_is_openapi_3_1() -> None:
    """The document is public, of version 3.1, and leaves the console out."""
    document = _document()
    assert document["openapi"].startswith("3.1")
    assert not [path for path in document["paths"] if path.startswith("/console")]


def test_every_operation_is_described() -> None:
    """Each has a name of its own, a description, and problems in the one schema; cardholders are told by a page."""
    operations = [(path, each) for path, methods in _document()["paths"].items() for each in methods.values()]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for path, operation in operations:
        assert operation["description"]
        told = "text/html" if path.startswith("/s/") else "application/problem+json"
        for status, response in operation["responses"].items():
            if status[0] in "45":
                assert list(response["content"]) == [told]


def test_headers_are_documented() -> None:
    """Writes on cards and cases announce Idempotency-Key and If-Match; what has a version announces its ETag.

    Releasing a breaker is the same however often it is done, and a payment is its own key; neither has versions, nor
    has an endpoint of webhooks. The forms of cardholders bring their key as a field.
    """
    paths = _document()["paths"]
    for path, methods in paths.items():
        of_desk = not path.startswith(
            ("/v1/breakers", "/v1/lists", "/v1/transactions", "/v1/history", "/v1/contacts", "/v1/webhooks", "/s/")
        )
        # A case that is opened has no version yet; what is taken is whatever is next; a preview changes nothing.
        unconditional = path in {"/v1/cases", "/v1/cases/next"} or path.endswith("/preview")
        for method, operation in methods.items():
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert ("If-Match" in names) is (of_desk and method == "post" and not unconditional)
            assert "Idempotency-Key" in names or not of_desk or method != "post" or path != "/v1/cases"
            versioned = (
                path.startswith("/v1/")
                and (path, method) != ("/v1/cases", "get")
                and of_desk
                and not path.endswith(("/related", "/notices"))
            )
            assert ("ETag" in operation["responses"].get("200", {}).get("headers", {})) is versioned


def test_webhooks_are_documented_with_what_is_really_told() -> None:
    """Their examples are what casework tells of such records, and what it tells of a whole story fits the schemas."""
    described = _document()["webhooks"]
    wanted: dict[str, tuple[dict[str, Any], type[BaseModel]]] = {
        "case": (CASE_EXAMPLE, CaseWebhook), "card": (CARD_EXAMPLE, CardWebhook),
    }  # fmt: skip
    assert described.keys() == wanted.keys()
    for name, (example, model) in wanted.items():
        operation = described[name]["post"]
        (documented,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
        assert documented["value"] == example
        assert {each["name"] for each in operation["parameters"]} == {
            "webhook-id", "webhook-timestamp", "webhook-signature",
        }  # fmt: skip
        assert model.model_validate(example).model_dump(mode="json", exclude_none=True) == example
    card = json.dumps(CARD_EXAMPLE["data"] | {"reason": "words"}).encode()
    assert json.loads(webhook_of(CARDS_STATE_TOPIC, "event-1", card).body) == CARD_EXAMPLE
    for event in story():
        body = {name: value for name, value in case_event_draft(event).body.items() if value is not None}
        told = json.loads(webhook_of(CASES_TOPIC, "event-1", msgspec.json.encode(body)).body)
        read = CaseWebhook.model_validate(told).model_dump(mode="json", exclude_none=True)
        assert read == told
        if told["type"] == "case.opened":
            assert _names(told) == _names(CASE_EXAMPLE)


def _names(tree: Any) -> Any:
    return {name: _names(value) for name, value in tree.items()} if isinstance(tree, dict) else type(tree)
