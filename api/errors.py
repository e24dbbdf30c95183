"""Every error the HTTP service raises, as one tree. `api/problems.py` alone says what a client sees of them.

ApiError
├── KeyConfigurationError     configured API keys that cannot be used
├── AuthenticationError       no key, an unknown key, or a session that ended
├── ForgedRequestError        a console form that did not come from the console
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


class ApiError(Exception):
    """Base of everything the HTTP service raises on purpose."""


class KeyConfigurationError(ApiError):
    """A configured API key cannot be used; the message names it and says what would be right."""


class AuthenticationError(ApiError):
    """The request carries no valid API key or session."""


class ForgedRequestError(ApiError):
    """A console form came from another site or without the session's form token."""


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
