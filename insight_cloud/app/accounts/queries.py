"""Every statement of accounts: what goes in, what comes out. The SQL stands in `queries.sql`.

`db` is the pool, or a transaction where several statements belong together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from insight_cloud.app.accounts.models import (
    Account,
    ApiToken,
    Browser,
    Cleaned,
    Link,
    Purpose,
    Role,
    Scope,
    User,
)
from insight_cloud.database import Connection, sql
from insight_cloud.database.statements import Statements

_SQL = sql.load(Path(__file__).with_name("queries.sql"))
_BATCH = 5_000
_TOUCHED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Whose session or access token it is."""

    user_id: int
    public_id: UUID
    email: str
    name: str
    is_admin: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApiTokenRow:
    """An API token that is valid now, and its owner if it has one."""

    id: int
    token_name: str
    scopes: list[Scope]
    project_id: int | None
    project: str | None
    last_used_at: datetime | None
    user_id: int | None
    public_id: UUID | None
    email: str | None
    name: str | None
    is_admin: bool | None


@dataclass(frozen=True, slots=True)
class RefreshRow:
    """A refresh token that we know; `is_used` says that it was replaced already."""

    family: UUID
    user_id: int
    is_valid: bool
    is_used: bool


@dataclass(frozen=True, slots=True)
class TakenLink:
    """A link that nobody can use again."""

    purpose: Purpose
    user_id: int | None


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A project and the user's role in it, None for somebody who is no member."""

    project_id: int
    role: Role | None


# -- who is asking ---------------------------------------------------------------------------


async def find_session(db: Statements, digest: bytes, *, now: datetime) -> SessionRow | None:
    """The owner of a browser session or an access token that is valid at `now`."""
    return await db.fetch_maybe(_SQL.find_session, SessionRow, hash=digest, now=now)


async def find_api_token(db: Statements, digest: bytes, *, now: datetime) -> ApiTokenRow | None:
    """The API token that is valid at `now`; note its use, at most once a minute."""
    row = await db.fetch_maybe(_SQL.find_api_token, ApiTokenRow, hash=digest, now=now)
    before = now - _TOUCHED_EVERY
    if row is not None and (row.last_used_at is None or row.last_used_at <= before):
        await db.execute(_SQL.touch_api_token, id=row.id, now=now, before=before)
    return row


# -- users -----------------------------------------------------------------------------------


async def find_account(db: Statements, email: str) -> Account | None:
    """The account with that address, in any case of letters."""
    return await db.fetch_maybe(_SQL.find_account, Account, email=email)


async def list_users(db: Statements) -> list[User]:
    """Every user, by address."""
    return await db.fetch_all(_SQL.list_users, User)


async def add_user(
    db: Statements,
    *,
    email: str,
    name: str,
    password_hash: str,
    is_admin: bool,
    is_verified: bool,
    now: datetime,
) -> Account | None:
    """Add a user; None when the address is taken."""
    return await db.fetch_maybe(
        _SQL.add_user,
        Account,
        email=email,
        name=name,
        password_hash=password_hash,
        is_admin=is_admin,
        is_verified=is_verified,
        now=now,
    )


async def replace_password(db: Statements, *, user_id: int, old: str, password_hash: str) -> bool:
    """Store a newer hash of the same password; False when it is no longer `old`."""
    replaced = await db.execute(
        _SQL.replace_password, user_id=user_id, old=old, password_hash=password_hash
    )
    return replaced == 1


async def set_password(db: Connection, *, user_id: int, password_hash: str) -> Account | None:
    """Give an enabled user a new password and lock its row; None when there is no such user."""
    return await db.fetch_maybe(
        _SQL.set_password, Account, user_id=user_id, password_hash=password_hash
    )


async def set_disabled(
    db: Connection, *, email: str, disabled_at: datetime | None
) -> Account | None:
    """Disable or enable a user and lock its row; None when there is no such user."""
    return await db.fetch_maybe(_SQL.set_disabled, Account, email=email, disabled_at=disabled_at)


async def set_admin(db: Connection, *, email: str, is_admin: bool) -> Account | None:
    """Make a user administrator or not, and lock its row; None when there is no such user."""
    return await db.fetch_maybe(_SQL.set_admin, Account, email=email, is_admin=is_admin)


async def has_admin(db: Statements) -> bool:
    """Whether somebody can act as administrator."""
    return bool(await db.fetch_value(_SQL.has_admin))


# -- sessions and refresh tokens -------------------------------------------------------------


async def add_session(
    db: Statements,
    *,
    digest: bytes,
    account: Account,
    family: UUID | None,
    now: datetime,
    expires_at: datetime,
    user_agent: str,
) -> bool:
    """Begin a session; False when the account's password changed or it was disabled meanwhile."""
    added = await db.execute(
        _SQL.add_session,
        hash=digest,
        user_id=account.id,
        password_hash=account.password_hash,
        family=family,
        now=now,
        expires_at=expires_at,
        user_agent=user_agent,
    )
    return added == 1


async def add_access_token(
    db: Connection,
    *,
    digest: bytes,
    user_id: int,
    family: UUID,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add an access token to a family whose owner's row is locked."""
    await db.execute(
        _SQL.add_access_token,
        hash=digest,
        user_id=user_id,
        family=family,
        now=now,
        expires_at=expires_at,
    )


async def add_refresh_token(
    db: Connection,
    *,
    digest: bytes,
    user_id: int,
    family: UUID,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add a refresh token to a family."""
    await db.execute(
        _SQL.add_refresh_token,
        hash=digest,
        user_id=user_id,
        family=family,
        now=now,
        expires_at=expires_at,
    )


async def find_refresh_token(db: Connection, digest: bytes, *, now: datetime) -> RefreshRow | None:
    """Lock the owner's row, then read the token: whatever others did to its family is seen."""
    if await db.fetch_value(_SQL.lock_owner_of_refresh_token, hash=digest) is None:
        return None
    return await db.fetch_maybe(_SQL.find_refresh_token, RefreshRow, hash=digest, now=now)


async def use_refresh_token(db: Connection, digest: bytes, *, now: datetime) -> None:
    """Mark the token as replaced."""
    await db.execute(_SQL.use_refresh_token, hash=digest, now=now)


async def end_session(db: Connection, digest: bytes) -> list[bytes]:
    """End a browser session, or the whole family that an access token belongs to.

    This and the next two return the digests of the sessions and access tokens that ended.
    """
    await db.fetch_value(_SQL.lock_owner_of_session, hash=digest)
    family = await db.fetch_value(_SQL.end_session, hash=digest)
    return [digest] if family is None else [digest, *await end_family(db, family)]


async def end_family(db: Connection, family: UUID) -> list[bytes]:
    """End every refresh and access token of the family; its owner's row is locked."""
    ended = await db.fetch_all(_SQL.end_access_of_family, bytes, family=family)
    await db.execute(_SQL.end_refresh_of_family, family=family)
    return ended


async def end_all(db: Connection, *, user_id: int) -> list[bytes]:
    """End every session, access token and refresh token of a user whose row is locked."""
    ended = await db.fetch_all(_SQL.end_sessions_of_user, bytes, user_id=user_id)
    await db.execute(_SQL.end_refresh_of_user, user_id=user_id)
    return ended


async def list_browsers(
    db: Statements, *, user_id: int, this: bytes, now: datetime, limit: int
) -> list[Browser]:
    """The user's browser sessions that are valid at `now`, the newest first."""
    return await db.fetch_all(
        _SQL.list_browsers, Browser, user_id=user_id, this=this, now=now, limit=limit
    )


async def end_browser(db: Statements, *, user_id: int, session_id: str) -> bytes | None:
    """End one of the user's browser sessions: its digest, None when there is none of that id."""
    ended: bytes | None = await db.fetch_value(_SQL.end_browser, user_id=user_id, id=session_id)
    return ended


# -- API tokens ------------------------------------------------------------------------------


async def list_api_tokens(
    db: Statements, *, user_id: int, with_operators: bool, limit: int
) -> list[ApiToken]:
    """The user's tokens that are not revoked, the newest first; the operator's too if asked."""
    return await db.fetch_all(
        _SQL.list_api_tokens,
        ApiToken,
        user_id=user_id,
        with_operators=with_operators,
        limit=limit,
    )


async def list_all_api_tokens(db: Statements, *, limit: int) -> list[ApiToken]:
    """Everybody's tokens that are not revoked, the newest first."""
    return await db.fetch_all(_SQL.list_all_api_tokens, ApiToken, limit=limit)


async def list_api_tokens_of_project(
    db: Statements, *, project_id: int, limit: int
) -> list[ApiToken]:
    """The tokens for that project only, whosever they are, the newest first."""
    return await db.fetch_all(
        _SQL.list_api_tokens_of_project, ApiToken, project_id=project_id, limit=limit
    )


async def revoke_api_token_of_project(
    db: Statements, *, token_id: UUID, project_id: int, now: datetime
) -> bool:
    """Revoke a token for that project only; False when it has none with that id."""
    revoked = await db.execute(
        _SQL.revoke_api_token_of_project, id=token_id, project_id=project_id, now=now
    )
    return revoked == 1


async def count_api_tokens(db: Statements, *, user_id: int) -> int:
    """How many tokens of the user are not revoked."""
    return int(await db.fetch_value(_SQL.count_api_tokens, user_id=user_id))


async def add_api_token(
    db: Statements,
    *,
    digest: bytes,
    prefix: str,
    name: str,
    scopes: list[Scope],
    user_id: int | None,
    project_id: int | None,
    now: datetime,
    expires_at: datetime | None,
) -> ApiToken:
    """Add an API token; `user_id` None makes it the operator's."""
    return await db.fetch_one(
        _SQL.add_api_token,
        ApiToken,
        hash=digest,
        prefix=prefix,
        name=name,
        scopes=scopes,
        user_id=user_id,
        project_id=project_id,
        now=now,
        expires_at=expires_at,
    )


async def revoke_api_token(
    db: Statements, *, token_id: UUID, user_id: int | None, any_owner: bool, now: datetime
) -> bool:
    """Revoke a token; False when the user has none with that id."""
    revoked = await db.execute(
        _SQL.revoke_api_token, id=token_id, user_id=user_id, any_owner=any_owner, now=now
    )
    return revoked == 1


async def find_role(db: Statements, *, slug: str, user_id: int | None) -> RoleRow | None:
    """The project called `slug` and the user's role in it; None when there is no such project."""
    return await db.fetch_maybe(_SQL.find_role, RoleRow, slug=slug, user_id=user_id)


# -- links -----------------------------------------------------------------------------------


async def lock_first_admin(db: Connection) -> None:
    """Let one transaction at a time decide who the first administrator is."""
    await db.lock("accounts.first-admin")


async def replace_link(
    db: Connection,
    *,
    digest: bytes,
    purpose: Purpose,
    user_id: int | None,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add a link in place of the older ones for the same purpose and user."""
    await drop_links(db, purpose=purpose, user_id=user_id)
    await add_link(
        db, digest=digest, purpose=purpose, user_id=user_id, now=now, expires_at=expires_at
    )


async def add_link(
    db: Connection,
    *,
    digest: bytes,
    purpose: Purpose,
    user_id: int | None,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add a link beside those that are there."""
    await db.execute(
        _SQL.add_link,
        hash=digest,
        purpose=purpose,
        user_id=user_id,
        now=now,
        expires_at=expires_at,
    )


async def drop_links(db: Connection, *, purpose: Purpose, user_id: int | None) -> None:
    """Delete the links for the purpose and, where it has one, the user."""
    if purpose == "first-admin":
        await db.execute(_SQL.drop_first_admin_links)
    else:
        await db.execute(_SQL.drop_password_links, user_id=user_id)


async def set_verified(db: Connection, *, user_id: int, now: datetime) -> None:
    """Note that the address is the user's own; every other link for that is void."""
    await db.execute(_SQL.set_verified, user_id=user_id, now=now)
    await db.execute(_SQL.drop_verify_links, user_id=user_id)


async def find_link(db: Statements, digest: bytes, *, now: datetime) -> Link | None:
    """What a link is for that is valid at `now`."""
    return await db.fetch_maybe(_SQL.find_link, Link, hash=digest, now=now)


async def take_link(db: Connection, digest: bytes, *, now: datetime) -> TakenLink | None:
    """Use a link up; None when it is not there (any more)."""
    return await db.fetch_maybe(_SQL.take_link, TakenLink, hash=digest, now=now)


# -- sign-in by another service ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that was sent elsewhere, and cannot come back again."""

    browser: bytes
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    next_path: str
    expires_at: datetime


async def add_sign_in(
    db: Statements,
    *,
    digest: bytes,
    browser: bytes,
    nonce: str,
    verifier: str,
    next_path: str,
    expires_at: datetime,
) -> None:
    """Note that somebody is sent to the provider."""
    await db.execute(
        _SQL.add_sign_in,
        hash=digest,
        browser=browser,
        nonce=nonce,
        verifier=verifier,
        next=next_path,
        expires_at=expires_at,
    )


async def take_sign_in(db: Statements, digest: bytes, *, now: datetime) -> SignIn | None:
    """Use a sign-in up; None when it is not there (any more) or has expired."""
    found = await db.fetch_maybe(_SQL.take_sign_in, SignIn, hash=digest)
    return found if found is not None and found.expires_at > now else None


async def find_identity(db: Statements, *, issuer: str, subject: str) -> Account | None:
    """The user whom another service knows by that name."""
    return await db.fetch_maybe(_SQL.find_identity, Account, issuer=issuer, subject=subject)


async def add_identity(
    db: Statements, *, issuer: str, subject: str, user_id: int, now: datetime
) -> None:
    """Note who the user is at another service."""
    await db.execute(_SQL.add_identity, issuer=issuer, subject=subject, user_id=user_id, now=now)


async def touch_identity(db: Statements, *, issuer: str, subject: str, now: datetime) -> None:
    """Note that the user came by it."""
    await db.execute(_SQL.touch_identity, issuer=issuer, subject=subject, now=now)


# -- clean-up --------------------------------------------------------------------------------


async def clean(db: Statements, *, now: datetime) -> Cleaned:
    """Delete what expired before `now`, 5,000 rows a statement, so that no lock lasts long."""
    return Cleaned(
        sessions=await _clean(db, _SQL.clean_sessions, now),
        refresh_tokens=await _clean(db, _SQL.clean_refresh_tokens, now),
        links=await _clean(db, _SQL.clean_links, now) + await _clean(db, _SQL.clean_sign_ins, now),
    )


async def _clean(db: Statements, query: sql.Query, now: datetime) -> int:
    total, count = 0, _BATCH
    while count == _BATCH:
        count = await db.execute(query, now=now, batch=_BATCH)
        total += count
    return total
