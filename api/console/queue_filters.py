"""What the queue is narrowed to, and the views that somebody has saved of it in their browser.

Views are kept in a cookie: they are one person's habit at one computer, hold nothing of any case, and so need neither
the store nor a script. Nothing in the cookie is trusted: what is read from it is checked like what an address says.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from api.card_numbers import contains_card_number
from casework.cases import CaseState
from casework.kinds import CaseKind
from casework.views import CaseFilters, Due
from detector.vocabulary import Action

VIEWS_COOKIE = "cardwatch_views"
MOST_VIEWS = 8
LONGEST_NAME = 40
ALERT_ACTIONS = tuple(action.wire for action in Action if action is not Action.ALLOW)
OWNERS = ("mine", "nobody")
_LONGEST_COOKIE = 3_500


@dataclass(frozen=True, slots=True)
class QueueFilters:
    """What the queue is narrowed to, as the form names it; empty strings are "any"."""

    state: str = ""
    action: str = ""
    kind: str = ""
    owner: str = ""
    due: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> QueueFilters:
        """Read an address; what is none of our words is as if it were not there."""
        known = {
            "state": {str(state) for state in CaseState},
            "action": set(ALERT_ACTIONS),
            "kind": {str(kind) for kind in CaseKind},
            "owner": set(OWNERS),
            "due": {str(due) for due in Due},
        }
        return cls(**{name: query[name] for name, values in known.items() if query.get(name) in values})

    def as_query(self, cursor: str = "") -> dict[str, str]:
        """As the address of a page says it."""
        fields = {"state": self.state, "action": self.action, "kind": self.kind, "owner": self.owner, "due": self.due}
        return {name: value for name, value in (fields | {"cursor": cursor}).items() if value}

    def of_person(self, name: str, now_ms: int) -> CaseFilters:
        """What the desk is asked for.

        Args:
            name: of the person who asks.
            now_ms: when.
        """
        return CaseFilters(
            state=CaseState(self.state) if self.state else None,
            action=Action[self.action] if self.action else None,
            kind=CaseKind(self.kind) if self.kind else None,
            owner={"mine": name, "nobody": ""}.get(self.owner),
            due=Due(self.due) if self.due else None,
            now_ms=now_ms,
        )


@dataclass(frozen=True, slots=True)
class SavedView:
    """Filters under a name."""

    name: str
    filters: QueueFilters


def read_views(cookie: str) -> list[SavedView]:
    """The views of a cookie; none where it is not ours."""
    try:
        listed = json.loads(base64.urlsafe_b64decode(cookie.encode("ascii")))
        return [_view(str(name), str(query)) for name, query in listed][:MOST_VIEWS]
    except (binascii.Error, ValueError, TypeError):
        return []


def _view(name: str, query: str) -> SavedView:
    return SavedView(checked_name(name), QueueFilters.from_query(dict(parse_qsl(query))))


def checked_name(name: str) -> str:
    """A view's name.

    Raises:
        ValueError: it is empty, too long, unprintable, or may hold a card's number.
    """
    plain = name.strip()
    if not 1 <= len(plain) <= LONGEST_NAME or not plain.isprintable() or contains_card_number(plain):
        message = "not the name of a view"
        raise ValueError(message)
    return plain


def with_view(views: Iterable[SavedView], view: SavedView) -> list[SavedView]:
    """Views with one more; one of the same name is replaced, and the oldest goes where there are too many."""
    return [*(each for each in views if each.name != view.name), view][-MOST_VIEWS:]


def written(views: Iterable[SavedView]) -> str:
    """Views as a cookie keeps them, as many of the latest as fit."""
    listed = [[view.name, urlencode(view.filters.as_query())] for view in views]
    while True:
        cookie = base64.urlsafe_b64encode(json.dumps(listed).encode()).decode()
        if len(cookie) <= _LONGEST_COOKIE:
            return cookie
        listed.pop(0)
