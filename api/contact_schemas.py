"""JSON of /v1/contacts: how a cardholder wants to be reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_LOCAL_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


class ContactBody(BaseModel):
    """A cardholder's record; what is not said follows the playbook."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    locale: Literal["en", "fil", "zh"] | None = Field(default=None, description="Language of what they are told")
    channels: Annotated[list[Literal["sms", "email", "app"]], Field(max_length=3)] = Field(
        default=[], description="The preferred one first"
    )
    email: str | None = Field(
        default=None,
        max_length=254,
        pattern=r'^[^\s@<>,;:"()]{1,64}@[A-Za-z0-9.-]{1,189}$',
        description="Without it no e-mail is sent",
    )
    time_zone: str | None = Field(default=None, min_length=1, max_length=64, description="Such as Asia/Manila")
    quiet_from: str | None = Field(default=None, pattern=_LOCAL_TIME, description="With quiet_until: 22:00")
    quiet_until: str | None = Field(default=None, pattern=_LOCAL_TIME, description="With quiet_from: 07:00")
