"""Why a sign-in at the identity provider is not accepted, in one word each."""

from __future__ import annotations

from enum import StrEnum


class Refused(StrEnum):
    """Why what came back from the identity provider cannot be accepted."""

    STATE = "state"
    """It answers no sign-in that began in this browser, or one that is over."""
    DENIED = "denied"
    """The provider, or the person, said no."""
    CODE = "code"
    """The provider does not know the code, or not any more."""
    MALFORMED = "malformed"
    """The ID token cannot be read, or lacks a claim that it must have."""
    ALGORITHM = "algorithm"
    """It is signed by an algorithm that is not on our list."""
    KEY = "key"
    """It is signed with a key that the provider does not publish."""
    SIGNATURE = "signature"
    """Its signature is wrong."""
    ISSUER = "issuer"
    """It was issued by somebody else."""
    AUDIENCE = "audience"
    """It was issued for somebody else."""
    TIME = "time"
    """It has ended, is from the future, or is too old."""
    NONCE = "nonce"
    """It belongs to another sign-in."""
    NAME = "name"
    """The name in it cannot stand in events."""
