"""E-mail by SMTP, encrypted unless the operator says otherwise.

`aiosmtplib` is imported nowhere else, and only when something is sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses
from typing import TYPE_CHECKING
from uuid import uuid4

from insight_cloud.core.errors import InsightError, Refused, SettingsError, Unavailable
from insight_cloud.notify.message import Message
from insight_cloud.notify.settings import Security

if TYPE_CHECKING:
    from aiosmtplib import SMTPException

__all__ = ["Mail", "letter"]


_LETTER_SECONDS = 30


class Mail:
    """Mails messages to `to` through the server `host`.

    With `starttls` a server that does not offer it gets no mail: nothing falls back to plain
    text. A password is sent over an encrypted connection only.
    """

    def __init__(
        self,
        host: str,
        *,
        to: Sequence[str],
        sender: str,
        port: int = 587,
        security: Security = "starttls",
        username: str | None = None,
        password: str | None = None,
        name: str = "email",
        context: ssl.SSLContext | None = None,
    ) -> None:
        if (username is None) != (password is None):
            raise SettingsError(f"{name}: a user name and a password belong together")
        if password is not None and security == "none":
            raise SettingsError(f"{name}: a password is not sent without encryption; use starttls")
        if not to:
            raise SettingsError(f"{name}: there is nobody to send to")
        self.name = name
        self._to = tuple(_address(name, text) for text in to)
        self._sender = _address(name, sender)
        self._host, self._port, self._security = host, port, security
        self._username, self._password = username, password
        self._context = context

    async def deliver(self, message: Message) -> None:
        """Say it; see `Channel`. `Refused` also when only some of the recipients were."""
        await self._send(letter(message, self._sender, self._to))

    async def post(self, to: str, subject: str, text: str) -> None:
        """Write a letter to one person, who is none of the operator's recipients.

        Gives up after 30 seconds.

        Raises:
            SettingsError: `to` is no e-mail address, or the server does not take our account.
            Refused: the server does not want the letter.
            Unavailable: it cannot be reached.
        """
        mail = EmailMessage()
        mail["Subject"] = " ".join(subject.split())
        mail["From"] = self._sender
        mail["To"] = _address(self.name, to)
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{uuid4().hex}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        try:
            async with asyncio.timeout(_LETTER_SECONDS):
                await self._send(mail)
        except TimeoutError as error:
            raise Unavailable(f"{self.name}: {self._host} takes too long") from error

    async def _send(self, mail: EmailMessage) -> None:
        import aiosmtplib

        try:
            refused, _ = await aiosmtplib.send(
                mail,
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._security == "tls",
                start_tls=self._security == "starttls",
                tls_context=self._verify(),
                local_hostname=socket.gethostname(),
                timeout=None,  # the caller's
            )
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise self._translate(error) from None  # a server may quote what it was sent
        if refused:
            raise Refused(f"{self.name}: the server took it, but not for {', '.join(refused)}")

    def _verify(self) -> ssl.SSLContext | None:
        if self._context is None and self._security != "none":
            self._context = ssl.create_default_context()
        return self._context

    def _translate(self, error: SMTPException | OSError | ValueError) -> InsightError:
        import aiosmtplib

        where = f"{self.name}: {self._host}:{self._port}"
        match error:
            case aiosmtplib.SMTPAuthenticationError(code=code):
                return SettingsError(f"{where} refuses the user name or the password ({code})")
            case aiosmtplib.SMTPRecipientsRefused(recipients=refused):
                names = ", ".join(one.recipient for one in refused)
                text = f"{where} refuses every recipient: {names}"
                later = all(one.code < 500 for one in refused)
                return Unavailable(text, retry_after=0) if later else Refused(text)
            case aiosmtplib.SMTPResponseException(code=code) if code >= 500:
                return Refused(f"{where} refuses the mail ({code})")
        if reason := _untrusted(error):
            return SettingsError(f"{where}: untrusted certificate: {reason}")
        if "STARTTLS extension not supported" in str(error):
            return SettingsError(f"{where} does not offer STARTTLS; is it the right port?")
        away = isinstance(error, aiosmtplib.SMTPConnectError)
        what = "cannot be reached" if away else f"does not take it ({type(error).__name__})"
        return Unavailable(f"{where} {what}", retry_after=0)


def letter(message: Message, sender: Address, to: Sequence[Address]) -> EmailMessage:
    """The message as a mail of plain text."""
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = sender
    mail["To"] = tuple(to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note comes back
    mail["X-Insight-Severity"] = message.severity
    mail.set_content(message.text)
    return mail


def _untrusted(error: BaseException) -> str:
    """Why a certificate was not trusted, if that is what lies behind `error`."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return ""


def _address(name: str, text: str) -> Address:
    try:
        ((person, spec),) = getaddresses([text])  # exactly one
        address = Address(person, addr_spec=spec)
    except (ValueError, IndexError, MessageError):  # the standard library's parser raises all
        address = Address()
    if not address.username or not address.domain:
        raise SettingsError(f"{name}: {text!r} is no e-mail address")
    return address
