"""What the demo asks the HTTP service, as an agent's own tools would."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from cardwatch.errors import StoryError

_TIMEOUT_S = 10.0


class DeskClient:
    """The API with an agent's key."""

    def __init__(self, url: str, key: str) -> None:
        """Take the service's address and the agent's secret."""
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def card(self, card_token: str) -> dict[str, Any]:
        """A card with its state, history and alerts."""
        return self._answer(self._http.get(f"/v1/cards/{card_token}"))

    def open_cases(self, card_token: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Open cases, the most urgent first."""
        asked: dict[str, str | int] = {"limit": limit}
        if card_token is not None:
            asked["card_token"] = card_token
        return list(self._answer(self._http.get("/v1/cases", params=asked))["cases"])

    def case(self, case_id: str) -> tuple[dict[str, Any], str]:
        """A case with its evidence, and its ETag."""
        answer = self._http.get(f"/v1/cases/{case_id}")
        return self._answer(answer), answer.headers.get("etag", "")

    def override(self, case_id: str, etag: str, disposition: str, card_action: str, note: str) -> dict[str, Any]:
        """Decide a case, on the version of it that was read."""
        answer = self._http.post(
            f"/v1/cases/{case_id}/override",
            headers={"If-Match": etag, "Idempotency-Key": str(uuid.uuid4())},
            json={"disposition": disposition, "card_action": card_action, "note": note},
        )
        return self._answer(answer)

    def act(self, case_id: str, *actions: dict[str, Any]) -> dict[str, Any]:
        """Do some things about a case, in one step."""
        answer = self._http.post(
            f"/v1/cases/{case_id}/actions",
            headers={"Idempotency-Key": str(uuid.uuid4())},
            json={"actions": list(actions)},
        )
        return self._answer(answer)

    @staticmethod
    def _answer(answer: httpx.Response) -> dict[str, Any]:
        """The body of a good answer.

        Raises:
            StoryError: the service answered with a problem.
        """
        if answer.is_success:
            return dict(answer.json())
        try:
            title = str(answer.json().get("title", ""))
        except ValueError:
            title = ""
        message = f"the API answered {answer.status_code} {title} to {answer.request.method} {answer.request.url.path}"
        raise StoryError(message)
