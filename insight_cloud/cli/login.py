"""`insight login`: keep a token for a server, so that later commands can upload."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

__all__ = ["command"]


@click.command(epilog=statuses(4, 6))
@click.argument("server")
@click.option("--token-stdin", is_flag=True, help="Read an API token from standard input.")
@click.option("--email", help="Account to sign in with; asked for when it is not given.")
@json_option
def command(server: str, email: str | None, *, token_stdin: bool, as_json: bool) -> None:
    """Sign in to SERVER and keep a token for it in ~/.config/insight/credentials.json.

    With an e-mail address and a password, a token is made that may upload and read. A
    password is never taken from the command line.
    """
    if token_stdin:
        token = sys.stdin.readline().strip()
        found = asyncio.run(_with_token(server, token))
    else:
        email = email or click.prompt("E-mail", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
        found = asyncio.run(_with_password(server, email, password))
    emit(found, as_json=as_json, human=lambda: say(f"Signed in to {found['server']}"))


async def _with_token(server: str, token: str) -> dict[str, Any]:
    from insight_cloud.app.client import Client, Credentials

    async with Client(server, token) as client:
        await client.me()
        Credentials().store(client.server, token)
        return {"server": client.server}


async def _with_password(server: str, email: str, password: str) -> dict[str, Any]:
    from insight_cloud.app.client import Client, Credentials

    async with Client(server) as client:
        await client.sign_in(email, password)
        token = await client.make_token(f"insight on {socket.gethostname()}", ["ingest", "read"])
        Credentials().store(client.server, token)
        return {"server": client.server}
