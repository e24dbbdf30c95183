"""Settings of the identity provider at which agents sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, model_validator

from api.oidc.addresses import is_safe_address
from api.roles import Role
from cardwatch.sections import Section

if TYPE_CHECKING:
    from api.oidc.settings import ProviderSettings

_ADDRESS = r"^(https?://[^\s?#]{1,1000})?$"


class OidcSettings(Section):
    """Sign-in at the desk by OpenID Connect; off where `issuer` is empty."""

    issuer: str = Field(pattern=_ADDRESS, description="https://..., as the provider's discovery document states it")
    client_id: str = Field(max_length=256, description="what the provider calls this desk")
    client_secret: SecretStr = Field(default=SecretStr(""), description="the secret that goes with client_id")
    desk_url: str = Field(
        pattern=r"^(https?://[^\s?#/]{1,253})?$", description="https://host of the desk, without a path"
    )
    scope: str = Field(pattern=r"^openid( [\x21\x23-\x5b\x5d-\x7e]{1,100}){0,20}$", description="openid and others")
    name_claim: str = Field(min_length=1, max_length=256, description="a claim of the ID token")
    roles_claim: str = Field(
        min_length=1, max_length=256, description="a claim of the ID token; dots lead into objects"
    )
    clock_skew_s: int = Field(ge=0, le=300, description="seconds, 0 to 300")
    ask: str = Field(max_length=200, description="a person, team or address")
    roles: dict[str, Literal["agent", "senior_agent", "supervisor"]] = Field(
        description='"the provider\'s word" = "agent", "senior_agent" or "supervisor"'
    )

    @model_validator(mode="after")
    def _check_together(self) -> OidcSettings:
        """Refuse a provider without what signing in there needs, or one that others could listen to."""
        if not self.issuer:
            return self
        if not (self.client_id and self.desk_url and self.roles):
            message = "oidc.client_id, oidc.desk_url and [oidc.roles] are what oidc.issuer needs"
            raise ValueError(message)
        if not (is_safe_address(self.issuer) and is_safe_address(self.desk_url)):
            message = "oidc.issuer and oidc.desk_url must be https:// addresses, but on this very machine"
            raise ValueError(message)
        return self

    def provider(self) -> ProviderSettings | None:
        """The provider; None where there is none."""
        if not self.issuer:
            return None
        from api.oidc.settings import ProviderSettings  # noqa: PLC0415  every command reads settings, few sign in

        return ProviderSettings(
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value(),
            desk_url=self.desk_url,
            scope=self.scope,
            name_claim=self.name_claim,
            roles_claim=self.roles_claim,
            roles={word: Role(role) for word, role in self.roles.items()},
            clock_skew_s=self.clock_skew_s,
            ask=self.ask,
        )
