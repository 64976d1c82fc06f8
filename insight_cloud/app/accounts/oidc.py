"""Sign-in by another service: a browser is sent there, comes back, and is let in, or told why not.

Three things must fit together when it comes back: the state in the address, which works once; the
cookie of the browser that was sent; the nonce in the signed token. So neither a link that somebody
else made, nor an answer that was seen before, signs anybody in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from insight_cloud.app.accounts import audit, queries, rules, service
from insight_cloud.app.accounts.models import Account, Session
from insight_cloud.app.accounts.provider import Identity, Provider, challenge
from insight_cloud.app.api import Context
from insight_cloud.core.errors import Invalid, Refused, Unauthenticated
from insight_cloud.database import Connection
from insight_cloud.settings import OidcSettings

__all__ = ["CALLBACK", "COOKIE", "Begun", "Came", "begin", "finish", "offered", "provider"]

CALLBACK = "/sign-in/oidc/callback"
COOKIE = "insight_oidc"
_LIFE = timedelta(minutes=10)
_BYTES = 32
_CODES = {
    "access_denied": "you did not allow it there, or may not use this service",
    "login_required": "you are not signed in there",
    "temporarily_unavailable": "it is not available right now",
    "server_error": "it has a fault",
}
"""What another service may say in our words; nothing of its own text reaches a page."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun: where to send the browser, and what it keeps meanwhile."""

    url: str
    browser: str = field(repr=False)
    seconds: int = int(_LIFE.total_seconds())


@dataclass(frozen=True, slots=True)
class Came:
    """What a browser brings back."""

    state: str = field(repr=False)
    browser: str = field(repr=False)
    code: str = field(default="", repr=False)
    error: str = ""
    issuer: str | None = None
    user_agent: str = ""


def offered(context: Context) -> bool:
    """Whether people can sign in by another service."""
    return context.settings.oidc.issuer is not None


def provider(settings: OidcSettings, server_url: str) -> Provider | None:
    """The provider of the settings; one for a process, because it remembers keys."""
    if settings.issuer is None or settings.client_id is None or settings.client_secret is None:
        return None
    return Provider(
        settings.issuer,
        settings.client_id,
        settings.client_secret.get_secret_value(),
        redirect_uri=f"{server_url}{CALLBACK}",
        scopes=settings.scopes,
        timeout_seconds=settings.timeout_seconds,
    )


async def begin(context: Context, provider: Provider, *, next_path: str) -> Begun:
    """Send somebody to the provider; `next_path`, a path of ours, is where it goes afterwards.

    Raises:
        Unavailable: the provider cannot be reached.
    """
    state, browser, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(4))
    url = await provider.authorization_url(state=state, nonce=nonce, challenge=challenge(verifier))
    await queries.add_sign_in(
        context.pool,
        digest=_digest(state),
        browser=_digest(browser),
        nonce=nonce,
        verifier=verifier,
        next_path=next_path,
        expires_at=context.now() + _LIFE,
    )
    return Begun(url, browser)


async def finish(context: Context, provider: Provider, came: Came) -> tuple[Session, str]:
    """Let somebody in who came back; return the session and where to go.

    Raises:
        Unauthenticated: what came back does not fit, or the provider refused.
        Refused: it fits, and that person may not come in, or not to that account.
        Unavailable: the provider cannot be reached.
    """
    # Whatever happens next, this state never works again.
    begun = await queries.take_sign_in(context.pool, _digest(came.state), now=context.now())
    if begun is None or not hmac.compare_digest(begun.browser, _digest(came.browser)):
        raise Unauthenticated(
            "this sign-in was not begun in this browser, took too long, or was used already"
        )
    if came.error or not came.code:
        why = _CODES.get(came.error, "it gave no reason that we know")
        raise Unauthenticated(f"the other service did not sign you in: {why}")
    identity = await provider.identity(
        code=came.code,
        verifier=begun.verifier,
        nonce=begun.nonce,
        issuer=came.issuer,
        now=context.now(),
    )
    async with context.pool.transaction() as db:
        account = await _account(db, context, identity)
        session = await service.begin_session(db, context, account, came.user_agent)
        if session is None:
            raise Refused("this account is disabled; ask an administrator")
        await audit.record(db, context, "signed in", by=account.email, detail="single sign-on")
    return session, begun.next_path


async def _account(db: Connection, context: Context, identity: Identity) -> Account:
    known = await queries.find_identity(db, issuer=identity.issuer, subject=identity.subject)
    if known is not None:
        _require_domain(context, known.email)
        await queries.touch_identity(
            db, issuer=identity.issuer, subject=identity.subject, now=context.now()
        )
        return known
    email = _address(identity)
    _require_domain(context, email)
    account = await queries.find_account(db, email)
    if account is None:
        account = await _joined(db, context, identity, email)
    elif account.verified_at is None:
        # Whoever registered it may be somebody else, waiting for its owner to come.
        raise Refused(
            "there is an account with your address, and nobody has shown that it is theirs; sign "
            "in with its password, confirm the address under your account, then come back"
        )
    await queries.add_identity(
        db,
        issuer=identity.issuer,
        subject=identity.subject,
        user_id=account.id,
        now=context.now(),
    )
    await queries.set_verified(db, user_id=account.id, now=context.now())
    return account


def _address(identity: Identity) -> str:
    if not identity.email_verified:
        raise Refused("the other service does not vouch for your address; confirm it there first")
    try:
        return rules.email(identity.email)
    except Invalid as error:
        raise Refused("the other service does not tell your address") from error


def _require_domain(context: Context, email: str) -> None:
    allowed = {domain.lower().lstrip("@") for domain in context.settings.oidc.allowed_domains}
    if allowed and email.rpartition("@")[2].lower() not in allowed:
        raise Refused("people with an address like yours may not sign in here this way")


async def _joined(db: Connection, context: Context, identity: Identity, email: str) -> Account:
    if not context.settings.oidc.create_accounts:
        raise Refused("you have no account here; ask an administrator to add you")
    try:
        name = rules.name(identity.name)
    except Invalid:
        name = email.partition("@")[0][: rules.NAME_LIMIT]
    account = await service.add_without_password(db, context, email=email, name=name)
    await audit.record(
        db, context, "user added", by=email, target=email, detail="by single sign-on"
    )
    return account


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
