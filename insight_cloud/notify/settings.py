"""What an operator may say about messages: where they go, and how bad they must be."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from insight_cloud.notify.message import Severity

__all__ = ["NotifySettings", "Security"]

Security = Literal["starttls", "tls", "none"]
"""How mail is encrypted: after a greeting (port 587), from the start (465), or not at all (25)."""


class NotifySettings(BaseModel):
    """Where messages for the operator go; each channel that is set gets them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    slack_webhook_url: SecretStr | None = None
    """Slack incoming webhook, or one of a service that understands the same."""
    slack_minimum: Severity = "info"
    """The mildest severity that Slack gets."""
    email_to: tuple[str, ...] = ()
    """Who gets e-mail."""
    email_from: str | None = None
    """Sender of the e-mail."""
    email_minimum: Severity = "warning"
    """The mildest severity that is mailed."""
    smtp_host: str | None = None
    """The mail server."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """TCP port of the mail server."""
    smtp_security: Security = "starttls"
    """Encryption: after the greeting, from the start (usually port 465), or none."""
    smtp_username: str | None = None
    """User name at the mail server."""
    smtp_password: SecretStr | None = None
    """Password at the mail server."""
    webhook_url: SecretStr | None = None
    """Where to post messages as signed JSON."""
    webhook_secret: SecretStr | None = None
    """Secret that signs them: `whsec_` and the Base64 of at least 24 random bytes."""
    webhook_minimum: Severity = "info"
    """The mildest severity that the webhook gets."""
    apprise_urls: tuple[SecretStr, ...] = ()
    """Services that Apprise knows, by its URLs; each is a channel. Secret."""
    apprise_minimum: Severity = "info"
    """The mildest severity that these services get."""
    repeat_seconds: float = Field(default=900, ge=0, le=86400)
    """Seconds for which the same message is not said again; a summary says how often it came."""
    burst: int = Field(default=30, ge=1, le=1000)
    """Different messages within `repeat_seconds`, for each channel; further ones are summed up."""
    deadline_seconds: float = Field(default=30, ge=1, le=300)
    """Seconds after which a channel is given up for a message, with all attempts."""

    @model_validator(mode="after")
    def _complete(self) -> NotifySettings:
        mail = (self.email_to, self.email_from, self.smtp_host)
        if any(mail) and not all(mail):
            raise ValueError("e-mail needs email_to, email_from and smtp_host together")
        if (self.webhook_url is None) != (self.webhook_secret is None):
            raise ValueError("webhook_url and webhook_secret belong together")
        return self
