"""The rules of accounts: who may sign in, what a token may do, what ends what.

Every function takes the context, whose clock decides about expiry, and raises errors of
`insight_cloud.core.errors` only.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from insight_cloud import ratelimit
from insight_cloud.app.accounts import audit, passwords, policy, queries, rules, secret, sessions
from insight_cloud.app.accounts.models import (
    SCOPES,
    Account,
    ApiToken,
    Browser,
    Caller,
    Cleaned,
    Link,
    NewApiToken,
    Role,
    Scope,
    Session,
    Tokens,
    User,
)
from insight_cloud.app.api import Context
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused, Unauthenticated
from insight_cloud.database import Connection
from insight_cloud.database.statements import Statements

__all__ = [
    "add_token",
    "add_user",
    "add_without_password",
    "begin_session",
    "change_user",
    "clean",
    "disable",
    "enable",
    "end_browser",
    "find_link",
    "find_user",
    "first_admin_link",
    "identify",
    "invite",
    "list_all_tokens",
    "list_browsers",
    "list_tokens",
    "list_tokens_of_project",
    "list_users",
    "operator_token",
    "password_link",
    "redeem",
    "refresh",
    "register",
    "require",
    "revoke_any_token",
    "revoke_token",
    "revoke_token_of_project",
    "sign_in",
    "sign_out",
    "tokens",
]

_NO_PASSWORD = ""
"""What no password hashes to: whoever has it comes in by a link or by single sign-on."""

_LINK_LIFE = timedelta(hours=24)
_TOKENS_PER_USER = 100
_LIST_LIMIT = 1_000
_SHOWN_OF_TOKEN = 10
_USER_AGENT_LIMIT = 200
_ROLE_FOR_SCOPE: dict[Scope, Role] = {
    "read": "viewer",
    "ingest": "triager",
    "triage": "triager",
    "admin": "maintainer",
}


# -- who is asking ---------------------------------------------------------------------------


async def identify(context: Context, text: str, *kinds: secret.Kind) -> Caller | None:
    """Say whose secret `text` is, if it is one of `kinds` and valid now. One look-up."""
    kind = secret.kind(text)
    if kind is None or kind not in kinds:
        return None
    digest, now = secret.digest(text), context.now()
    if kind == "token":
        token = await queries.find_api_token(context.pool, digest, now=now)
        return None if token is None else _caller_with_token(token)
    row = await sessions.find(context, digest, now=now)
    if row is None:
        return None
    return Caller(
        user_id=row.user_id,
        public_id=row.public_id,
        name=row.name,
        email=row.email,
        is_admin=row.is_admin,
        sees_all=row.is_admin,
        scopes=SCOPES,
        project_id=None,
        project=None,
        kind="session" if kind == "session" else "access",
    )


def _caller_with_token(token: queries.ApiTokenRow) -> Caller:
    # The operator's token stands for the server itself, within its scopes and its project.
    sees_all = token.user_id is None or bool(token.is_admin)
    return Caller(
        user_id=token.user_id,
        public_id=token.public_id,
        name=token.name or token.token_name,
        email=token.email or "",
        is_admin=sees_all and "admin" in token.scopes and token.project_id is None,
        sees_all=sees_all,
        scopes=frozenset(token.scopes),
        project_id=token.project_id,
        project=token.project,
        kind="token",
        token_number=token.id,
    )


def require(caller: Caller, scope: Scope) -> None:
    """Let pass who may use `scope`; a signed-in person always may.

    Raises:
        Refused: the caller's token was made without it.
    """
    if scope not in caller.scopes:
        raise Refused(f"this token lacks the scope {scope!r}; use one that was made with it")


# -- users -----------------------------------------------------------------------------------


async def register(context: Context, *, email: str, name: str, password: str) -> User:
    """Add the person who asks, when registration is open.

    Raises:
        Refused: registration is closed.
        Invalid: the address, the name or the password cannot be used.
        Conflict: the address is taken.
    """
    if context.settings.accounts.registration != "open":
        raise Refused("registration is closed; ask an administrator to add you")
    return await add_user(context, email=email, name=name, password=password, by=email)


async def add_user(
    context: Context,
    *,
    email: str,
    name: str,
    password: str,
    is_admin: bool = False,
    by: Caller | str | None = None,
) -> User:
    """Add a user, whoever asks; the audit log names `by`, or the operator.

    Raises:
        Invalid: the address, the name or the password cannot be used.
        Conflict: the address is taken.
    """
    email, name = rules.email(email), rules.name(name)
    password_hash = await passwords.hashed(rules.password(password, email=email, name=name))
    async with context.pool.transaction() as db:
        if is_admin:
            await queries.lock_first_admin(db)
            await queries.drop_links(db, purpose="first-admin", user_id=None)
        account = await _add(
            db,
            email=email,
            name=name,
            password_hash=password_hash,
            is_admin=is_admin,
            # Who registers says only so; an administrator and the operator vouch for whom they add.
            is_verified=not isinstance(by, str),
            now=context.now(),
        )
        detail = "administrator" if is_admin else ""
        await audit.record(db, context, "user added", by=by, target=email, detail=detail)
    return account.user


async def invite(context: Context, caller: Caller, *, email: str, name: str) -> str:
    """Add somebody who has no password yet; return the secret of the link that sets one.

    Raises:
        Invalid: the address or the name cannot be used.
        Conflict: the address is taken.
    """
    email, name = rules.email(email), rules.name(name)
    text, now = secret.make("link"), context.now()
    async with context.pool.transaction() as db:
        account = await _add(
            db,
            email=email,
            name=name,
            password_hash=_NO_PASSWORD,
            is_admin=False,
            is_verified=True,
            now=now,
        )
        await queries.replace_link(
            db,
            digest=secret.digest(text),
            purpose="password",
            user_id=account.id,
            now=now,
            expires_at=now + _LINK_LIFE,
        )
        await audit.record(db, context, "user added", by=caller, target=email, detail="by link")
    return text


async def add_without_password(
    db: Statements, context: Context, *, email: str, name: str
) -> Account:
    """Add somebody whose address another service vouches for, and who comes in by it.

    Raises:
        Conflict: the address is taken.
    """
    return await _add(
        db,
        email=email,
        name=name,
        password_hash=_NO_PASSWORD,
        is_admin=False,
        is_verified=True,
        now=context.now(),
    )


async def list_users(context: Context) -> list[User]:
    """Every user, for the operator."""
    return await queries.list_users(context.pool)


async def find_user(context: Context, email: str) -> User:
    """The user with that address.

    Raises:
        Missing: nobody has it.
    """
    account = await queries.find_account(context.pool, email)
    if account is None:
        raise Missing(f"no user has the address {email}")
    return account.user


async def disable(context: Context, email: str, *, by: Caller | None = None) -> User:
    """Shut a user out now: every session ends, and no token works while it is disabled.

    Raises:
        Missing: nobody has that address.
    """
    async with context.pool.transaction() as db:
        account = await queries.set_disabled(db, email=email, disabled_at=context.now())
        if account is None:
            raise Missing(f"no user has the address {email}")
        ended = await queries.end_all(db, user_id=account.id)
        await queries.drop_links(db, purpose="password", user_id=account.id)
        await audit.record(db, context, "user disabled", by=by, target=account.email)
    await sessions.forget(context, ended)
    return account.user


async def enable(context: Context, email: str, *, by: Caller | None = None) -> User:
    """Let a disabled user in again; API tokens work as before.

    Raises:
        Missing: nobody has that address.
    """
    async with context.pool.transaction() as db:
        account = await queries.set_disabled(db, email=email, disabled_at=None)
        if account is None:
            raise Missing(f"no user has the address {email}")
        await audit.record(db, context, "user enabled", by=by, target=account.email)
    return account.user


async def change_user(
    context: Context,
    caller: Caller,
    email: str,
    *,
    disabled: bool | None = None,
    is_admin: bool | None = None,
) -> User:
    """Disable or enable a user, make an administrator or unmake one; None leaves as it is.

    Raises:
        Missing: nobody has that address.
        Conflict: the caller would shut itself out.
    """
    if email.strip().lower() == caller.email.lower() and (disabled or is_admin is False):
        raise Conflict("you cannot shut yourself out; let another administrator do it")
    account = await queries.find_account(context.pool, email)
    if account is None:
        raise Missing(f"no user has the address {email}")
    user = account.user
    if is_admin is not None and is_admin != user.is_admin:
        user = await _set_admin(context, caller, email, is_admin=is_admin)
    if disabled is not None and disabled != (user.disabled_at is not None):
        change = disable if disabled else enable
        user = await change(context, email, by=caller)
    return user


async def _set_admin(context: Context, caller: Caller, email: str, *, is_admin: bool) -> User:
    async with context.pool.transaction() as db:
        account = await queries.set_admin(db, email=email, is_admin=is_admin)
        if account is None:
            raise Missing(f"no user has the address {email}")
        # A session that is kept near at hand knows the old rights: it ends.
        ended = await queries.end_all(db, user_id=account.id)
        event: audit.Event = "administrator made" if is_admin else "administrator unmade"
        await audit.record(db, context, event, by=caller, target=account.email)
    await sessions.forget(context, ended)
    return account.user


async def _add(db: Statements, *, email: str, **columns: Any) -> Account:
    account = await queries.add_user(db, email=email, **columns)
    if account is None:
        raise Conflict(f"there is an account for {email} already; sign in instead")
    return account


# -- signing in and out ----------------------------------------------------------------------


async def sign_in(context: Context, *, email: str, password: str, user_agent: str = "") -> Session:
    """Begin a browser session.

    Raises:
        Unauthenticated: wrong, unknown or disabled; which of them is not said, in words or time.
        Unavailable: too many people are signing in.
    """
    account = await _signing_in(context, email, password)
    session = await begin_session(context.pool, context, account, user_agent)
    if session is None:
        raise _wrong()
    await audit.record(context.pool, context, "signed in", by=account.email, detail="browser")
    return session


async def tokens(context: Context, *, email: str, password: str, user_agent: str = "") -> Tokens:
    """Begin a family of an access token and a refresh token; errors as in `sign_in`."""
    account = await _signing_in(context, email, password)
    now, family = context.now(), uuid.uuid4()
    access = secret.make("access")
    async with context.pool.transaction() as db:
        began = await queries.add_session(
            db,
            digest=secret.digest(access),
            account=account,
            family=family,
            now=now,
            expires_at=now + _access_life(context),
            user_agent=_printable(user_agent),
        )
        if not began:
            raise _wrong()
        await audit.record(db, context, "signed in", by=account.email, detail="access token")
        return await _with_refresh_token(
            db, context, access, user_id=account.id, family=family, now=now
        )


async def refresh(context: Context, text: str) -> Tokens:
    """Replace a refresh token by new tokens of its family.

    A token works once. When a used one comes back, somebody else has it: the family ends,
    with every access token in it, and its owner signs in again. There is no grace period, so
    a client sends its token from one place at a time.

    Raises:
        Unauthenticated: unknown, expired or used before.
    """
    tokens, ended = None, list[bytes]()
    if secret.kind(text) == "refresh":
        # The family's end must be committed although the caller gets an error: the
        # transaction ends before we raise.
        async with context.pool.transaction() as db:
            tokens = await _rotated(db, context, secret.digest(text), ended)
    await sessions.forget(context, ended)
    if tokens is None:
        raise Unauthenticated("the refresh token is not valid (any more); sign in again")
    return tokens


async def sign_out(context: Context, text: str) -> None:
    """End the session, or the family, that `text` belongs to. What is not valid has ended.

    Raises:
        Refused: it is an API token, which does not end but is revoked.
    """
    kind, digest = secret.kind(text), secret.digest(text)
    if kind == "token":
        raise Refused("an API token is not signed out; revoke it instead")
    ended: list[bytes] = []
    async with context.pool.transaction() as db:
        if kind in {"session", "access"}:
            ended = await queries.end_session(db, digest)
        elif kind == "refresh":
            row = await queries.find_refresh_token(db, digest, now=context.now())
            if row is not None:
                ended = await queries.end_family(db, row.family)
    await sessions.forget(context, ended)


async def list_browsers(context: Context, caller: Caller, this: str = "") -> list[Browser]:
    """Where the caller is signed in by a browser; `this` is the secret of the one that asks.

    Raises:
        Refused: the caller is an API token.
    """
    return await queries.list_browsers(
        context.pool,
        user_id=_person(caller),
        this=secret.digest(this),
        now=context.now(),
        limit=_LIST_LIMIT,
    )


async def end_browser(context: Context, caller: Caller, session_id: str) -> None:
    """End one of the caller's browser sessions.

    Raises:
        Refused: the caller is an API token.
        Missing: the caller has no such session.
    """
    ended = await queries.end_browser(context.pool, user_id=_person(caller), session_id=session_id)
    if ended is None:
        raise Missing("you have no such session; perhaps it has ended already")
    await sessions.forget(context, [ended])


async def _signing_in(context: Context, email: str, password: str) -> Account:
    """As `_proved`; an attempt that fails is written down, however the address is spelled."""
    try:
        return await _proved(context, email, password)
    except Unauthenticated:
        await audit.record(context.pool, context, "sign-in failed", by=_printable(email))
        raise


async def _proved(context: Context, email: str, password: str) -> Account:
    """The account that `email` and `password` belong to; attempts that fail are limited.

    Raises:
        Unauthenticated: they belong to none that may sign in.
        RateLimited: too many attempts for this address failed, whoever made them.
        Unavailable: too many people are signing in, or Redis is away and nobody can count.
    """
    try:
        address = rules.email(email)
    except Invalid:
        address = None  # nobody's; the form must not say so faster
    if address is None:
        return await _compared(context, None, password)
    limiter, policy = context.limits.limiter, context.limits.policies["auth"]
    attempt = await limiter.hit(policy, f"account:{address.lower()}")
    if not attempt.admitted:
        context.limits.count(attempt)
    ratelimit.require(attempt)
    account = await _compared(context, address, password)
    await limiter.refund(attempt)
    return account


async def _compared(context: Context, address: str | None, password: str) -> Account:
    """Find and compare, with the same work in every case."""
    account = None if address is None else await queries.find_account(context.pool, address)
    stored = None if account is None else account.password_hash
    matches = await passwords.matches(password[: 4 * rules.PASSWORD_LIMITS[1]], stored)
    if account is None or account.disabled_at is not None or not matches:
        raise _wrong()
    if not passwords.is_outdated(account.password_hash):
        return account
    renewed = await passwords.hashed(password)
    replaced = await queries.replace_password(
        context.pool, user_id=account.id, old=account.password_hash, password_hash=renewed
    )
    if not replaced:
        # Somebody changed the hash since: what was proved is proved against the new one, too.
        return await _compared(context, address, password)
    return replace(account, password_hash=renewed)


async def begin_session(
    db: Statements, context: Context, account: Account, user_agent: str
) -> Session | None:
    """Begin a browser session of somebody who has proved who that is; None: it must not begin."""
    now, text = context.now(), secret.make("session")
    expires_at = now + timedelta(days=context.settings.accounts.session_days)
    began = await queries.add_session(
        db,
        digest=secret.digest(text),
        account=account,
        family=None,
        now=now,
        expires_at=expires_at,
        user_agent=_printable(user_agent),
    )
    return Session(user=account.user, expires_at=expires_at, secret=text) if began else None


async def _rotated(
    db: Connection, context: Context, digest: bytes, ended: list[bytes]
) -> Tokens | None:
    """The tokens that replace this one. A stolen family ends instead, and is noted in `ended`."""
    now = context.now()
    # Critical section: the owner's row is locked from here to the commit, so two requests
    # with tokens of one family follow each other, and the later one sees what the earlier did.
    row = await queries.find_refresh_token(db, digest, now=now)
    if row is None:
        return None
    if row.is_used:
        ended += await queries.end_family(db, row.family)
        return None
    if not row.is_valid:
        return None
    await queries.use_refresh_token(db, digest, now=now)
    access = secret.make("access")
    await queries.add_access_token(
        db,
        digest=secret.digest(access),
        user_id=row.user_id,
        family=row.family,
        now=now,
        expires_at=now + _access_life(context),
    )
    return await _with_refresh_token(
        db, context, access, user_id=row.user_id, family=row.family, now=now
    )


async def _with_refresh_token(
    db: Connection, context: Context, access: str, *, user_id: int, family: UUID, now: datetime
) -> Tokens:
    text = secret.make("refresh")
    await queries.add_refresh_token(
        db,
        digest=secret.digest(text),
        user_id=user_id,
        family=family,
        now=now,
        expires_at=now + timedelta(days=context.settings.accounts.refresh_days),
    )
    return Tokens(
        access_token=access,
        refresh_token=text,
        expires_in=int(_access_life(context).total_seconds()),
    )


def _access_life(context: Context) -> timedelta:
    return timedelta(minutes=context.settings.accounts.access_minutes)


def _printable(user_agent: str) -> str:
    return "".join(letter for letter in user_agent if letter.isprintable())[:_USER_AGENT_LIMIT]


def _wrong() -> Unauthenticated:
    return Unauthenticated("the e-mail address or the password is wrong")


# -- API tokens ------------------------------------------------------------------------------


async def list_tokens(context: Context, caller: Caller) -> list[ApiToken]:
    """The caller's API tokens, the newest first; an administrator sees the operator's too."""
    return await queries.list_api_tokens(
        context.pool,
        user_id=_person(caller),
        with_operators=caller.is_admin,
        limit=_LIST_LIMIT,
    )


async def list_tokens_of_project(context: Context, project_number: int) -> list[ApiToken]:
    """The tokens for one project only, whosever they are; `projects` knows who may ask."""
    return await queries.list_api_tokens_of_project(
        context.pool, project_id=project_number, limit=_LIST_LIMIT
    )


async def revoke_token_of_project(
    context: Context, caller: Caller, project_number: int, token_id: UUID
) -> None:
    """End a token for one project only, whosever it is; `projects` knows who may ask.

    Raises:
        Missing: the project has no such token.
    """
    async with context.pool.transaction() as db:
        revoked = await queries.revoke_api_token_of_project(
            db, token_id=token_id, project_id=project_number, now=context.now()
        )
        if not revoked:
            raise Missing(f"the project has no API token {token_id}")
        await audit.record(db, context, "token revoked", by=caller, target=str(token_id))


async def add_token(
    context: Context,
    caller: Caller,
    *,
    name: str,
    scopes: Iterable[Scope],
    project: str | None = None,
    days: int | None = None,
) -> NewApiToken:
    """Make an API token for the caller; `days` None does not expire.

    It never does more than its owner: what is granted is compared with the owner's role when
    it is made, and again whenever it is used.

    Raises:
        Refused: the caller is a token itself, or its role in `project` is too low.
        Missing: there is no such project that the caller may see.
        Conflict: the caller has too many tokens.
    """
    user_id, wanted = _person(caller), sorted(set(scopes))
    project_id = await _grantable(context, caller, project, wanted) if project else None
    if await queries.count_api_tokens(context.pool, user_id=user_id) >= _TOKENS_PER_USER:
        raise Conflict(f"you have {_TOKENS_PER_USER} API tokens; revoke one first")
    return await _add_token(
        context,
        name=name,
        scopes=wanted,
        user_id=user_id,
        project_id=project_id,
        days=days,
        by=caller,
    )


async def operator_token(
    context: Context,
    *,
    name: str,
    scopes: Iterable[Scope],
    project: str | None = None,
    days: int | None = None,
) -> NewApiToken:
    """Make a token of the server itself: it belongs to nobody, and no account's end ends it.

    Raises:
        Missing: there is no such project.
    """
    project_id = None
    if project is not None:
        row = await queries.find_role(context.pool, slug=project, user_id=None)
        if row is None:
            raise Missing(f"there is no project {project!r}")
        project_id = row.project_id
    return await _add_token(
        context,
        name=name,
        scopes=sorted(set(scopes)),
        user_id=None,
        project_id=project_id,
        days=days,
    )


async def revoke_token(context: Context, caller: Caller, token_id: UUID) -> None:
    """End an API token of the caller's; an administrator may end anybody's.

    Raises:
        Missing: the caller has no such token.
    """
    user_id = _person(caller)
    await _revoke(context, caller, token_id, user_id=user_id, any_owner=caller.is_admin)


async def list_all_tokens(context: Context) -> list[ApiToken]:
    """Everybody's API tokens, the newest first, for administrators."""
    return await queries.list_all_api_tokens(context.pool, limit=_LIST_LIMIT)


async def revoke_any_token(context: Context, caller: Caller, token_id: UUID) -> None:
    """End an API token, whosever it is. For administrators.

    Raises:
        Missing: there is no such token.
    """
    await _revoke(context, caller, token_id, user_id=None, any_owner=True)


async def _revoke(
    context: Context, caller: Caller, token_id: UUID, *, user_id: int | None, any_owner: bool
) -> None:
    async with context.pool.transaction() as db:
        revoked = await queries.revoke_api_token(
            db, token_id=token_id, user_id=user_id, any_owner=any_owner, now=context.now()
        )
        if not revoked:
            raise Missing(f"you have no API token {token_id}")
        await audit.record(db, context, "token revoked", by=caller, target=str(token_id))


async def _grantable(context: Context, caller: Caller, project: str, scopes: list[Scope]) -> int:
    row = await queries.find_role(context.pool, slug=project, user_id=caller.user_id)
    if row is None or (row.role is None and not caller.sees_all):
        raise Missing(f"there is no project {project!r}")
    role: Role = "maintainer" if caller.sees_all or row.role is None else row.role
    for scope in scopes:
        if not policy.at_least(role, _ROLE_FOR_SCOPE[scope]):
            raise Refused(f"a {role} of {project!r} cannot grant the scope {scope!r}")
    return row.project_id


async def _add_token(
    context: Context,
    *,
    name: str,
    scopes: list[Scope],
    user_id: int | None,
    project_id: int | None,
    days: int | None,
    by: Caller | None = None,
) -> NewApiToken:
    if not scopes or not set(scopes) <= SCOPES:
        raise Invalid(
            "scopes: one or more of " + ", ".join(sorted(SCOPES)),
            problems=(("/body/scopes", "not a set of scopes"),),
        )
    now, text = context.now(), secret.make("token")
    async with context.pool.transaction() as db:
        token = await queries.add_api_token(
            db,
            digest=secret.digest(text),
            prefix=text[:_SHOWN_OF_TOKEN],
            name=rules.name(name),
            scopes=scopes,
            user_id=user_id,
            project_id=project_id,
            now=now,
            expires_at=None if days is None else now + timedelta(days=days),
        )
        await audit.record(
            db,
            context,
            "token made",
            by=by,
            project=token.project,
            target=f"{token.name} ({token.prefix}…)",
            detail=", ".join(scopes),
        )
    return NewApiToken(token=text, details=token)


def _person(caller: Caller) -> int:
    """The id of a person who signed in: a leaked token must not be able to make more of them."""
    if caller.kind == "token" or caller.user_id is None:
        raise Refused("only a person who signed in manages tokens and sessions, no API token does")
    return caller.user_id


# -- links -----------------------------------------------------------------------------------


async def first_admin_link(context: Context) -> str | None:
    """Make the secret of the first administrator's link; None when there is an administrator.

    It is valid for 24 hours and replaces the one before.
    """
    async with context.pool.transaction() as db:
        await queries.lock_first_admin(db)
        if await queries.has_admin(db):
            return None
        text, now = secret.make("link"), context.now()
        await queries.replace_link(
            db,
            digest=secret.digest(text),
            purpose="first-admin",
            user_id=None,
            now=now,
            expires_at=now + _LINK_LIFE,
        )
    return text


async def password_link(context: Context, email: str, *, by: Caller | None = None) -> str:
    """Make the secret of a link that sets a new password; valid 24 hours, replaces older ones.

    `by` None is the operator of the server.

    Raises:
        Missing: nobody has that address.
        Refused: the user is disabled.
    """
    account = await queries.find_account(context.pool, email)
    if account is None:
        raise Missing(f"no user has the address {email}")
    if account.disabled_at is not None:
        raise Refused(f"{email} is disabled; `insight users enable {email}` first")
    text, now = secret.make("link"), context.now()
    async with context.pool.transaction() as db:
        await queries.replace_link(
            db,
            digest=secret.digest(text),
            purpose="password",
            user_id=account.id,
            now=now,
            expires_at=now + _LINK_LIFE,
        )
        await audit.record(db, context, "password link sent", by=by, target=account.email)
    return text


async def find_link(context: Context, text: str) -> Link:
    """Say what a link is for, without using it.

    Raises:
        Missing: it was used, replaced, has expired, or never was one.
    """
    link = None
    if secret.kind(text) == "link":
        link = await queries.find_link(context.pool, secret.digest(text), now=context.now())
    if link is None or link.purpose == "verify":
        raise _used()
    return link


async def redeem(
    context: Context,
    text: str,
    *,
    password: str,
    email: str = "",
    name: str = "",
    user_agent: str = "",
) -> Session:
    """Use a link: become the first administrator, or set a new password. Signs in.

    `email` and `name` are read for the first administrator only. A new password ends every
    session of the user. Whatever fails leaves the link as it was.

    Raises:
        Missing: it was used, replaced, has expired, or never was one.
        Invalid: the address, the name or the password cannot be used.
        Conflict: the first administrator's address has an account already.
    """
    link = await find_link(context, text)
    email, name = link.email or rules.email(email), link.name or rules.name(name)
    password_hash = await passwords.hashed(rules.password(password, email=email, name=name))
    async with context.pool.transaction() as db:
        await queries.lock_first_admin(db)
        # Critical section: who deletes the link's row has it, anybody else finds nothing.
        taken = await queries.take_link(db, secret.digest(text), now=context.now())
        if taken is None:
            raise _used()
        ended: list[bytes] = []
        if taken.user_id is None:
            account = await _first_admin(db, context, email, name, password_hash)
            await audit.record(
                db, context, "user added", by=email, target=email, detail="first administrator"
            )
        else:
            account, ended = await _with_new_password(db, taken.user_id, password_hash)
            await audit.record(db, context, "password changed", by=account.email, detail="by link")
        session = await begin_session(db, context, account, user_agent)
        if session is None:
            raise _used()
    await sessions.forget(context, ended)
    return session


async def _first_admin(
    db: Connection, context: Context, email: str, name: str, password_hash: str
) -> Account:
    if await queries.has_admin(db):
        raise _used()
    return await _add(
        db,
        email=email,
        name=name,
        password_hash=password_hash,
        is_admin=True,
        is_verified=True,
        now=context.now(),
    )


async def _with_new_password(
    db: Connection, user_id: int, password_hash: str
) -> tuple[Account, list[bytes]]:
    account = await queries.set_password(db, user_id=user_id, password_hash=password_hash)
    if account is None:
        raise _used()
    ended = await queries.end_all(db, user_id=user_id)
    await queries.drop_links(db, purpose="password", user_id=user_id)
    return account, ended


def _used() -> Missing:
    return Missing("this link was used, replaced or has expired; ask for a new one")


# -- clean-up --------------------------------------------------------------------------------


async def clean(context: Context) -> Cleaned:
    """Delete sessions, refresh tokens and links that have expired."""
    return await queries.clean(context.pool, now=context.now())
