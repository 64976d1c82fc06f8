"""Letters to people: a link for who forgot a password, and one that shows an address is theirs.

What is asked for is done after the answer: neither its words nor its time say whether somebody
has the address. A letter that cannot be sent is logged; whoever misses it asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from insight_cloud import ratelimit
from insight_cloud.app.accounts import audit, queries, rules, secret
from insight_cloud.app.accounts.models import Account, Caller, Purpose
from insight_cloud.app.api import Context
from insight_cloud.core.errors import Conflict, InsightError, Invalid, Missing, Refused

__all__ = [
    "LINK_LIFE",
    "SENDS_NOTHING",
    "ask_for_password",
    "ask_to_verify",
    "sends_mail",
    "settled",
    "verify",
]

log = logging.getLogger("insight.accounts")

LINK_LIFE = timedelta(hours=1)
SENDS_NOTHING = (
    "this server sends no e-mail; ask an administrator for a link: `insight users link ADDRESS` "
    "prints one, and so does the page of the users"
)
_UNSENT: set[asyncio.Task[None]] = set()

_ANEW = """\
Somebody asked for a new password for {email} on {server}.

Open this within an hour to choose one. It works once:

{server}/welcome/{link}

If it was not you, do nothing: your password stays as it is.
"""
_VERIFY = """\
Somebody says that {email} is their address on {server}.

Open this within an hour to confirm it. It works once:

{server}/verify/{link}

If it was not you, do nothing: the address stays unconfirmed.
"""


def sends_mail(context: Context) -> bool:
    """Whether this server can write to people."""
    return context.mail is not None


async def ask_for_password(context: Context, email: str) -> None:
    """Send a link that sets a new password, if somebody who may sign in has that address.

    Raises:
        Refused: this server sends no e-mail.
    """
    _require_mail(context)
    _later(_send_password_link(context, email))


async def ask_to_verify(context: Context, caller: Caller) -> None:
    """Send the caller a link that shows that its address is its own.

    Raises:
        Refused: this server sends no e-mail, or the caller is an API token.
        Conflict: that was shown already.
        RateLimited: too many were sent.
    """
    _require_mail(context)
    if caller.user_id is None or caller.kind == "token":
        raise Refused("only a person who signed in has an address to confirm")
    account = await queries.find_account(context.pool, caller.email)
    if account is None or account.verified_at is not None:
        raise Conflict("your address is confirmed already")
    ratelimit.require(await _permit(context, account.email))
    _later(_send(context, account, "verify"))


async def verify(context: Context, text: str) -> str:
    """Use a link that shows that an address is somebody's own; return the address.

    Raises:
        Missing: it was used, has expired, or never was one.
    """
    used = Missing("this link was used, replaced or has expired; ask for a new one")
    if secret.kind(text) != "link":
        raise used
    async with context.pool.transaction() as db:
        found = await queries.find_link(db, secret.digest(text), now=context.now())
        if found is None or found.purpose != "verify":
            raise used
        # Critical section: who deletes the link's row has it, anybody else finds nothing.
        taken = await queries.take_link(db, secret.digest(text), now=context.now())
        if taken is None or taken.user_id is None or found.email is None:
            raise used
        await queries.set_verified(db, user_id=taken.user_id, now=context.now())
        await audit.record(db, context, "address verified", by=found.email, target=found.email)
    return found.email


async def settled() -> None:
    """Wait until every letter is sent or given up: at shutdown, and in tests."""
    while _UNSENT:
        await asyncio.gather(*_UNSENT, return_exceptions=True)


def _require_mail(context: Context) -> None:
    if context.mail is None:
        raise Refused(SENDS_NOTHING)


def _later(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _UNSENT.add(task)  # a task that nobody holds may be collected
    task.add_done_callback(_UNSENT.discard)


async def _send_password_link(context: Context, email: str) -> None:
    try:
        account = await queries.find_account(context.pool, rules.email(email))
        if account is None or account.disabled_at is not None:
            return
        if not (await _permit(context, account.email)).admitted:
            log.warning("accounts.mail_limited: too many links for one address")
            return
    except Invalid:
        return  # nobody's
    except InsightError as error:
        log.warning("accounts.mail_failed: %s", error)
        return
    await _send(context, account, "password")


async def _permit(context: Context, email: str) -> ratelimit.Decision:
    policy = context.limits.policies["strict"]
    decision = await context.limits.limiter.hit(policy, f"letter:{email.lower()}")
    if not decision.admitted:
        context.limits.count(decision)
    return decision


async def _send(context: Context, account: Account, purpose: Purpose) -> None:
    assert context.mail is not None  # noqa: S101 - asked before
    text, now = secret.make("link"), context.now()
    is_password = purpose == "password"
    server = context.settings.server.url
    subject = "Choose a new password" if is_password else "Confirm your address"
    body = (_ANEW if is_password else _VERIFY).format(email=account.email, server=server, link=text)
    try:
        async with context.pool.transaction() as db:
            # Beside the links that are there: asking must not undo an administrator's.
            await queries.add_link(
                db,
                digest=secret.digest(text),
                purpose=purpose,
                user_id=account.id,
                now=now,
                expires_at=now + LINK_LIFE,
            )
            if is_password:
                await audit.record(
                    db, context, "password link sent", by="somebody", target=account.email
                )
        await context.mail.post(account.email, f"{subject} - Insight", body)
    except InsightError as error:
        log.warning("accounts.mail_failed: %s", error)
