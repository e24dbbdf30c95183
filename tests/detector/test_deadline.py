"""The policy for deadlines: what nobody has looked at is allowed up to a bound, and declined above it."""

from __future__ import annotations

from typing import Any

import pytest

from detector.deadline import DeadlinePolicy
from detector.errors import ConfigurationError
from detector.section import Section
from detector.vocabulary import Action, Channel


def policy(**limits: Any) -> DeadlinePolicy:
    return DeadlinePolicy.from_section(Section({"allow_up_to_minor": limits}, "deadline"))


@pytest.mark.parametrize(
    ("channel", "amount", "action"),
    [
        (Channel.POS, 5_000, Action.ALLOW),
        (Channel.POS, 5_001, Action.DECLINE),
        (Channel.ATM, 1, Action.DECLINE),
        (Channel.ECOM, 10, Action.ALLOW),
        (Channel.NONE, 11, Action.DECLINE),
        (Channel.POS, None, Action.DECLINE),
    ],
)
def test_limits_by_channel(channel: Channel, amount: int | None, action: Action) -> None:
    """A channel's limit, or that of all others; an amount that cannot be compared is too much."""
    assert policy(pos=5_000, atm=0, other=10).action(channel, amount) is action


def test_without_a_policy_everything_is_declined() -> None:
    """Who has not chosen what to risk risks nothing."""
    assert DeadlinePolicy().action(Channel.POS, 1) is Action.DECLINE


@pytest.mark.parametrize(("name", "limit"), [("posh", 5), ("none", 5), ("pos", -1), ("pos", 1.5), ("pos", True)])
def test_wrong_limits_are_named(name: str, limit: Any) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=r"deadline\.allow_up_to_minor\." + name):
        policy(**{name: limit})
