"""Settings of webhooks: which systems are told what happens with cases and cards."""

from __future__ import annotations

from typing import Annotated

import httpx
from pydantic import AfterValidator, Field, SecretStr, model_validator

from cardwatch.sections import Section
from casework.errors import WebhookSecretError
from casework.webhooks import kinds_of, secret_of

MOST_ENDPOINTS = 16
_PORTS = 65_536


def _signs(secret: SecretStr) -> SecretStr:
    """Refuse what cannot sign; it is not repeated."""
    text = secret.get_secret_value()
    if text:
        try:
            secret_of(text)
        except WebhookSecretError as error:
            raise ValueError(str(error)) from None
    return secret


def _address(url: str) -> str:
    """Refuse what nobody could post to; it is not repeated."""
    try:
        port = httpx.URL(url).port
    except (httpx.InvalidURL, UnicodeError):
        port = 0
    if port is not None and not 0 < port < _PORTS:
        message = "it is no address"
        raise ValueError(message)
    return url


def _meant(patterns: list[str]) -> list[str]:
    """Refuse patterns that mean no event."""
    kinds_of(patterns)
    return patterns


WebhookSecret = Annotated[SecretStr, AfterValidator(_signs)]
EndpointName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class EndpointSettings(Section):
    """One system that is told."""

    url: Annotated[str, AfterValidator(_address)] = Field(
        pattern=r"^https?://[^\s?#@/]{1,255}(/[^\s#@]{0,1000})?$", description="https://..., no user in it"
    )
    events: Annotated[list[str], AfterValidator(_meant)] = Field(
        min_length=1, max_length=64, description='kinds of docs/webhooks.md, such as ["case.closed", "card.*"]'
    )
    secret: WebhookSecret = Field(
        default=SecretStr(""), description='"whsec_..." and 24 to 64 bytes: `echo whsec_$(openssl rand -base64 32)`'
    )
    old_secret: WebhookSecret = Field(
        default=SecretStr(""), description="the secret before, while the receiver changes over; else empty"
    )
    private: bool = Field(default=False, description="true or false: whether it stands in a private network")
    active: bool = Field(default=True, description="true or false")

    @model_validator(mode="after")
    def _check_together(self) -> EndpointSettings:
        """Refuse what nobody could verify, or others could read; nothing of what was given is repeated."""
        if not self.secret.get_secret_value():
            message = "its secret is missing: `echo whsec_$(openssl rand -base64 32)`"
            raise ValueError(message)
        if self.url.startswith("http:") and not self.private:
            message = "its url is https://..., unless it is private"
            raise ValueError(message)
        return self


class WebhookSettings(Section):
    """Who is told of cases and cards."""

    timeout_s: float = Field(ge=1, le=60, description="seconds, 1 to 60")
    give_up_hours: int = Field(ge=1, le=24 * 30, description="hours, 1 to 720")
    endpoints: dict[EndpointName, EndpointSettings] = Field(
        max_length=MOST_ENDPOINTS, description="name = { url, events, secret, ... }, at most 16; names: a-z 0-9 -"
    )
