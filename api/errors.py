"""Every error the HTTP service raises, as one tree. `api/problems.py` alone says what a client sees of them.

ApiError
├── KeyConfigurationError     configured API keys that cannot be used
├── AuthenticationError       no key, an unknown key, or a session that ended
├── ForgedRequestError        a console form that did not come from the console
├── SignInError               a sign-in at the identity provider that came to nothing
│   ├── ProviderUnavailableError  the provider gives no answer that can be used
│   ├── SignInRefusedError    what came back from it cannot be accepted; says why
│   └── RoleMissingError      it vouches for somebody who has no role here
├── HistoryMissingError       this service has no memory of closed cases
├── NoticesMissingError       this service has no memory of notices
├── ScoringUnavailableError   payments cannot be taken for a decision now
├── TooManyListenersError     as many follow the queue as may
└── RequestError              a request that cannot be carried out as it stands
    ├── RefusedPaymentError   a payment that breaks the contract of transactions
    ├── CardNumberError       a full card number where a token or a text was expected
    ├── HeaderError           an If-Match or Idempotency-Key that does not parse
    ├── FormError             a console form with missing or impossible values
    ├── BodyTooLargeError     a body over the limit
    └── BodyIncompleteError   the client left before its body was whole
"""

from __future__ import annotations

from api.oidc.refused import Refused


class ApiError(Exception):
    """Base of everything the HTTP service raises on purpose."""


class KeyConfigurationError(ApiError):
    """A configured API key cannot be used; the message names it and says what would be right."""


class AuthenticationError(ApiError):
    """The request carries no valid API key or session."""


class ForgedRequestError(ApiError):
    """A console form came from another site or without the session's form token."""


class SignInError(ApiError):
    """A sign-in at the identity provider came to nothing.

    Attributes:
        outcome: one word for it, to count by.
    """

    outcome = "failed"


class ProviderUnavailableError(SignInError):
    """The identity provider gives no answer that can be used; trying again later may help."""

    outcome = "provider_unavailable"


class SignInRefusedError(SignInError):
    """What came back from the identity provider cannot be accepted; nothing of it is repeated.

    Attributes:
        why: which check it failed.
    """

    def __init__(self, why: Refused) -> None:
        """Say why."""
        super().__init__(why.value)
        self.why = why
        self.outcome = why.value


class RoleMissingError(SignInError):
    """The identity provider vouches for somebody none of whose roles means anything here.

    Attributes:
        ask: whom to ask for one, as configured; may be empty.
    """

    outcome = "role_missing"

    def __init__(self, ask: str) -> None:
        """Say whom to ask."""
        super().__init__("no role at the desk")
        self.ask = ask


# How signing in ends, in one word each.
SIGNED_IN, UNKNOWN_KEY = "signed_in", "unknown_key"
SIGN_IN_OUTCOMES = (SIGNED_IN, UNKNOWN_KEY, ProviderUnavailableError.outcome, RoleMissingError.outcome, *Refused)


class HistoryMissingError(ApiError):
    """This service has no memory of closed cases."""


class NoticesMissingError(ApiError):
    """This service has no memory of notices."""


class ScoringUnavailableError(ApiError):
    """Payments cannot be taken for a decision now; the same again later is safe."""


class TooManyListenersError(ApiError):
    """As many follow the queue by events as may; its page works without."""


class RequestError(ApiError):
    """The request cannot be carried out as it stands."""


class RefusedPaymentError(RequestError):
    """A payment breaks the contract of transactions in a way that its schema cannot say.

    Attributes:
        field: the field at fault.
        reason: the contract's word for it.
    """

    def __init__(self, field: str, reason: str) -> None:
        """Name the field and the reason."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class CardNumberError(RequestError):
    """A full card number stands where a token or a text was expected; the message never contains it."""


class HeaderError(RequestError):
    """An If-Match or Idempotency-Key header does not parse."""


class FormError(RequestError):
    """A console form has missing or impossible values.

    Attributes:
        field: name of the first field at fault, one of our own names.
    """

    def __init__(self, field: str) -> None:
        """Name the field."""
        super().__init__(f"form field {field}")
        self.field = field


class BodyTooLargeError(RequestError):
    """The body is larger than the service accepts."""


class BodyIncompleteError(RequestError):
    """The client left before its body was whole; half a form must not pass for a short one."""
