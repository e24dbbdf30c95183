"""What is configured of the identity provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.console.rendering import CALLBACK_PATH, SIGN_IN_PATH
from api.roles import Role


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """An OpenID Connect provider, and what its words mean here.

    Attributes:
        issuer: as the provider's discovery document states it.
        client_id: what the provider calls this service.
        client_secret: empty for a public client, which PKCE alone protects.
        desk_url: how agents reach this service from outside: scheme and host, no slash at its end.
        scope: what is asked for; `openid` among it.
        name_claim: the claim that names a person in events. It must never be given to another person.
        roles_claim: the claim that holds the provider's words for roles; dots lead into objects.
        roles: what each of those words means here.
        clock_skew_s: by how much the provider's clock may differ from ours.
        ask: whom somebody without a role asks for one; shown to them.
    """

    issuer: str
    client_id: str
    client_secret: str
    desk_url: str
    scope: str
    name_claim: str
    roles_claim: str
    roles: Mapping[str, Role]
    clock_skew_s: int = 60
    ask: str = ""

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to; it must know this address."""
        return self.desk_url + CALLBACK_PATH

    @property
    def signed_out_uri(self) -> str:
        """Where the provider sends people who have signed out; it must know this address as well."""
        return self.desk_url + SIGN_IN_PATH
