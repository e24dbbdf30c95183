"""Settings of what tells cardholders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from cardwatch.sections import Section, hex_digits


class NoticeSettings(Section):
    """How cardholders are told."""

    sender: Literal["log", "webhook", "smtp"] = Field(description="log, webhook or smtp")
    webhook_url: str = Field(pattern=r"^(https?://\S{1,2000})?$", description="http(s)://..., or empty")
    webhook_secret: Annotated[SecretStr, AfterValidator(hex_digits(64))] = Field(
        default=SecretStr(""),
        description="64 lower-case hex digits: `openssl rand -hex 32`",
    )
    page_url: str = Field(pattern=r"^(https?://[^\s?#]{1,200}[^\s?#/])?$", description="https://..., no / at its end")
    link_hours: int = Field(ge=1, le=24 * 30, description="hours, 1 to 720")
    smtp_host: str = Field(pattern=r"^[A-Za-z0-9.:-]{0,253}$", description="a mail server, or empty")
    smtp_port: int = Field(ge=1, le=65535, description="1 to 65535")
    smtp_starttls: bool = Field(description="true or false")
    smtp_user: str = Field(max_length=256, description="a user, or empty to hand mail in without")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="the user's password")
    smtp_from: str = Field(pattern=r"^([^\s@<>]{1,64}@[A-Za-z0-9.-]{1,189})?$", description="an address, or empty")

    @model_validator(mode="after")
    def _check_together(self) -> NoticeSettings:
        """Refuse a sender without what it needs; nothing of what was given is repeated."""
        if self.sender == "webhook" and not (self.webhook_url and self.webhook_secret.get_secret_value()):
            message = "notices.webhook_url and notices.webhook_secret are what the sender webhook needs"
            raise ValueError(message)
        if self.sender == "smtp" and not (self.smtp_host and self.smtp_from):
            message = "notices.smtp_host and notices.smtp_from are what the sender smtp needs"
            raise ValueError(message)
        return self
