"""`insight users`: who may sign in, as the operator of the server decides on its database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.app.accounts.models import Scope, User
    from insight_cloud.app.api import Context
    from insight_cloud.settings import Settings

__all__ = ["command"]

T = TypeVar("T")

# As in `accounts.models.Scope`, which would load the web framework for a help text.
_SCOPES = ("ingest", "read", "triage", "admin")

_config = click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)


@click.group(epilog=statuses(3, 4, 5, 6))
def command() -> None:
    """Add people, send them links, make tokens: on the database itself, as its operator."""


@command.command("list", epilog=statuses(6))
@_config
@json_option
def list_(config: Path | None, *, as_json: bool) -> None:
    """List every user."""
    from insight_cloud.app.accounts import service

    users = _run(config, lambda context, _: service.list_users(context))

    def human() -> None:
        for user in users:
            click.echo("\t".join([user.email, user.name, _state(user)]))

    emit(users, as_json=as_json, human=human)


@command.command(epilog=statuses(4, 5, 6))
@click.argument("email")
@click.option("--name", help="How the person is shown.  [default: the address before the @]")
@click.option("--admin", is_flag=True, help="Make an administrator.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_config
@json_option
def add(
    email: str,
    name: str | None,
    config: Path | None,
    *,
    admin: bool,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add a user with the address EMAIL. The password is asked for, never an argument."""
    from insight_cloud.app.accounts import service

    password = _password(from_stdin=password_stdin)
    user = _run(
        config,
        lambda context, _: service.add_user(
            context,
            email=email,
            name=name or email.strip().partition("@")[0],
            password=password,
            is_admin=admin,
        ),
    )
    emit(user, as_json=as_json, human=lambda: say(f"added {user.email}, {_state(user)}"))


@command.command(epilog=statuses(3, 4, 5, 6))
@click.argument("email", required=False)
@_config
@json_option
def link(email: str | None, config: Path | None, *, as_json: bool) -> None:
    """Print a link that works once, within 24 hours, and replaces the one before.

    With EMAIL, the person who opens it sets a new password for that account. Without, it
    makes the first administrator's account, as long as there is no administrator.
    """

    async def make(context: Context, settings: Settings) -> str:
        from insight_cloud.app.accounts import service
        from insight_cloud.core.errors import Conflict

        made: str | None
        if email:
            made = await service.password_link(context, email)
        else:
            made = await service.first_admin_link(context)
        if made is None:
            raise Conflict("there is an administrator already; name a user to set a password for")
        return f"{settings.server.url}/welcome/{made}"

    url = _run(config, make)
    emit({"url": url}, as_json=as_json, human=lambda: click.echo(url))


@command.command(epilog=statuses(3, 4, 6))
@click.option("--name", required=True, help="What the token is for.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(_SCOPES),
    help="What it may do; repeat for more.",
)
@click.option("--project", metavar="SLUG", help="Only for this project.  [default: for all]")
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires.")
@_config
@json_option
def token(
    name: str,
    scopes: Sequence[Scope],
    project: str | None,
    days: int | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make an API token that belongs to the server, not to a person, and print it, once.

    With the scope `ingest` and no project, an upload with it creates the projects it names.
    """
    from insight_cloud.app.accounts import service

    made = _run(
        config,
        lambda context, _: service.operator_token(
            context, name=name, scopes=scopes, project=project, days=days
        ),
    )
    emit(made, as_json=as_json, human=lambda: click.echo(made.token))


@command.command(epilog=statuses(3, 6))
@click.argument("email")
@_config
@json_option
def disable(email: str, config: Path | None, *, as_json: bool) -> None:
    """Shut the user EMAIL out at once: sessions end, tokens stop working."""
    from insight_cloud.app.accounts import service

    user = _run(config, lambda context, _: service.disable(context, email))
    emit(user, as_json=as_json, human=lambda: say(f"disabled {user.email}"))


@command.command(epilog=statuses(3, 6))
@click.argument("email")
@_config
@json_option
def enable(email: str, config: Path | None, *, as_json: bool) -> None:
    """Let the user EMAIL, who was disabled, in again."""
    from insight_cloud.app.accounts import service

    user = _run(config, lambda context, _: service.enable(context, email))
    emit(user, as_json=as_json, human=lambda: say(f"enabled {user.email}"))


def _run(config: Path | None, work: Callable[[Context, Settings], Awaitable[T]]) -> T:
    """Do `work` on the database of the settings."""
    from insight_cloud import settings, wiring
    from insight_cloud.app import api

    async def run() -> T:
        found = settings.load(config)
        async with wiring.opened(found) as components:
            return await work(api.Context.of(components, found), found)

    return asyncio.run(run())


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _state(user: User) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "administrator" if user.is_admin else "user"
