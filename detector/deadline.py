"""What a waiting caller is told when no decision came in time: small payments go through, large ones do not.

Nobody has looked at such a payment. What may be lost by letting it through is bounded by its amount, and how much a
channel may lose that way is the issuer's choice, not a model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.section import Section
from detector.vocabulary import Action, Channel

_LARGEST_LIMIT_MINOR = 10**12
# For channels without a limit of their own, and payments without a channel.
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Up to which amount a payment is allowed unseen.

    Attributes:
        allow_up_to_minor: by code of `Channel`, minor units of the policy's reference currency; 0 declines everything
            but payments of nothing.
        otherwise_minor: for channels that are not named.
    """

    allow_up_to_minor: Mapping[int, int] = field(default_factory=dict)
    otherwise_minor: int = 0

    @classmethod
    def from_section(cls, section: Section) -> DeadlinePolicy:
        """Parse `[deadline]`.

        Raises:
            ConfigurationError: a channel is unknown or a limit out of bounds.
        """
        section.refuse_unknown(("allow_up_to_minor",))
        limits = section.section("allow_up_to_minor")
        channels = {channel.wire: channel for channel in Channel if channel is not Channel.NONE}
        limits.refuse_unknown((*channels, _OTHER))
        given = {name: limits.integer(name, 0, _LARGEST_LIMIT_MINOR) for name in limits.keys()}  # noqa: SIM118 - a Section is no dictionary
        otherwise = given.pop(_OTHER, 0)
        return cls({int(channels[name]): limit for name, limit in given.items()}, otherwise)

    def action(self, channel: int, amount_reference: int | None) -> Action:
        """ALLOW or DECLINE.

        Args:
            channel: code of `Channel`.
            amount_reference: in minor units of the reference currency; None where its currency has no rate, which is
                taken for too much.
        """
        limit = self.allow_up_to_minor.get(channel, self.otherwise_minor)
        return Action.ALLOW if amount_reference is not None and amount_reference <= limit else Action.DECLINE
