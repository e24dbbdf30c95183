"""Settings of the HTTP service."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from cardwatch.sections import Hours, Port, Section, hex_digits


def _networks(text: str) -> str:
    """Refuse what is no address or network; a bound that is misspelt would be none."""
    try:
        for part in text.split(",") if text else ():
            ip_network(part.strip())
    except ValueError:
        message = "it is no IP address and no network"
        raise ValueError(message) from None
    return text


class ApiKeySettings(Section):
    """One API key: its role, and the SHA-256 of its secret."""

    role: Literal["agent", "senior_agent", "supervisor", "payment_system", "sre"] = Field(
        description="agent, senior_agent, supervisor, payment_system or sre"
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description='64 hex digits: printf %s "$KEY" | sha256sum')


class ApiSettings(Section):
    """The HTTP service."""

    host: str = Field(min_length=1, description="an address of this machine")
    port: Port
    tls_certificate: str = Field(description="a file in PEM, and tls_key with it; or empty")
    tls_key: str = Field(description="a file in PEM without a password, and tls_certificate with it; or empty")
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        description="addresses or networks, such as 10.0.0.0/8,192.168.1.7; or empty"
    )
    session_secret: Annotated[SecretStr, AfterValidator(hex_digits(64))] = Field(
        default=SecretStr(""),
        description="64 lower-case hex digits: `openssl rand -hex 32`",
    )
    session_hours: Hours
    metrics_need_key: bool = Field(description="true or false")
    locale: Literal["en", "fil", "zh"] = Field(
        description="en, fil or zh: the language of the console where nobody has chosen another"
    )
    keys: dict[str, ApiKeySettings] = Field(description="name = { role, sha256 }")

    @model_validator(mode="after")
    def _check_together(self) -> ApiSettings:
        """Refuse half of what TLS needs."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            message = "api.tls_certificate and api.tls_key need each other"
            raise ValueError(message)
        return self
