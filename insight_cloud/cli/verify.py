"""`insight verify`: hold a deployment against seven suites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED, Invalid

if TYPE_CHECKING:
    from insight_cloud.settings import Settings
    from insight_cloud.verify import Check, Subject, Verification

__all__ = ["command"]

_NO_ANSWER = 9
_END = statuses(
    3, 4, s1="a check failed", s9="a check had no answer, or none could be asked (--strict: all)"
)
_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_COLOURS = {"pass": "green", "fail": "red", "error": "yellow", "not run": None}


@click.group()
def command() -> None:
    """Verify a deployment: each check says pass, fail, error (no answer) or not run, with why.

    Without --allow-writes nothing is asked that could change something.
    """


def _options(function: _F) -> _F:
    for option in reversed(
        (
            click.option("--url", help="The site.  [default: that of the settings]"),
            click.option(
                "--page", "pages", multiple=True, metavar="/PATH", help="A page; may be repeated."
            ),
            click.option("--openapi", metavar="/PATH", help="Where the API is described."),
            click.option("--token-file", type=_FILE, help="File with a token for the API."),
            click.option("--migrations", type=_FOLDER, help="Folder of the database's migrations."),
            click.option("--project", type=_FOLDER, help="Folder of the source, to be audited."),
            click.option("--osv-url", help="Service of known vulnerabilities that speaks OSV."),
            click.option(
                "--ca-file", type=_FILE, help="Certificates to trust instead of the machine's."
            ),
            click.option(
                "--browser",
                type=_FILE,
                default=Path("/usr/bin/chromium"),
                show_default=True,
                help="Chromium or Chrome.",
            ),
            click.option("--lighthouse", type=_FILE, help="The program lighthouse."),
            click.option(
                "--allow-writes",
                "writes",
                is_flag=True,
                help="Make accounts and try what changes something: for staging systems.",
            ),
            click.option("--full", is_flag=True, help="The long form: more pages, cases and time."),
            click.option("--strict", is_flag=True, help="What is not run is no success either."),
            click.option("--html", type=_FILE, help="Write a report with pictures into this file."),
            click.option("--junit", type=_FILE, help="Write a JUnit report into this file."),
            json_option,
        )
    ):
        function = option(function)
    return function


def _suite(name: str, suites: tuple[str, ...], sentence: str) -> None:
    @command.command(name=name, help=sentence, epilog=_END)
    @_options
    @click.pass_context
    def begin(ctx: click.Context, /, **options: Any) -> None:
        _run(ctx, suites, **options)


_ALL = ("api", "security", "database", "backup", "e2e", "performance", "load")
_suite("all", _ALL, "Run all seven suites, those that disturb the service last.")
_suite("e2e", ("e2e",), "Look at the pages in a real browser, and make a journey.")
_suite("load", ("load",), "Let many people come at once.")
_suite("security", ("security",), "Audit answers, TLS, sign-in, source and dependencies.")
_suite("performance", ("performance",), "Measure Web Vitals, weight, answers, Lighthouse.")
_suite("api", ("api",), "Hold the API against its own description.")
_suite("database", ("database",), "Ask the database whether it is whole.")
_suite("backup", ("backup",), "Make a backup, restore it, look at the stores.")


@command.command(name="schema", epilog=statuses())
def schema() -> None:
    """Print the JSON schema of what --json prints."""
    from insight_cloud.verify import json_schema

    emit(json_schema(), as_json=True, human=lambda: None)


def _run(
    ctx: click.Context,
    suites: tuple[str, ...],
    *,
    strict: bool,
    html: Path | None,
    junit: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    from insight_cloud import verify
    from insight_cloud.core import files

    pictures: dict[str, bytes] = {}
    found = asyncio.run(_verify(suites, pictures, options))
    if html is not None:
        files.write(html, verify.html(found, pictures).encode())
    if junit is not None:
        files.write(junit, verify.junit(found))
    emit(found.as_dict(), as_json=as_json, human=lambda: _print(found))
    ctx.exit(_status(found, strict=strict))


async def _verify(
    suites: tuple[str, ...], pictures: dict[str, bytes], options: dict[str, Any]
) -> Verification:
    from insight_cloud import settings, verify

    async with _subject(settings.load(), suites, **options) as subject:
        say(f"verifying {subject.url}")
        return await verify.run(subject, suites, tell=_tell, pictures=pictures)


@asynccontextmanager
async def _subject(
    settings: Settings,
    suites: tuple[str, ...],
    *,
    url: str | None,
    pages: tuple[str, ...],
    token_file: Path | None,
    migrations: Path | None,
    full: bool,
    **others: Any,
) -> AsyncIterator[Subject]:
    """What is verified. Database and stores are those of the settings, if they belong to it."""
    import insight_cloud
    from insight_cloud import verify, wiring

    ours = url is None or url.rstrip("/") == settings.server.url
    if migrations is None and ours:
        migrations = Path(insight_cloud.__file__).parent / "app" / "migrations"
    async with AsyncExitStack() as stack:
        database, job = None, None
        if {"database", "backup"} & set(suites):
            if ours or settings.database.url is not None:
                database = await stack.enter_async_context(wiring.database_url(settings))
            if database is not None and (ours or settings.backup.stores):
                job = await stack.enter_async_context(wiring.backups(settings, url=database))
        yield verify.Subject(
            url or settings.server.url,
            pages=pages or ("/",),
            token=None if token_file is None else _token(token_file),
            database_url=database,
            migrations=migrations,
            backup=job,
            scratch=wiring.fresh_server,
            short=not full,
            **others,
        )


def _token(file: Path) -> str:
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise Invalid(f"cannot read the token file {file}: {error}") from error
    if not found or any(ord(c) < 33 or ord(c) > 126 for c in found):
        raise Invalid(f"{file} does not hold a token")
    return found


def _status(found: Verification, *, strict: bool) -> int:
    if found.status == "fail":
        return CHECK_FAILED
    if found.status != "pass" or (strict and found.counts["not run"]):
        return _NO_ANSWER
    return 0


def _tell(suite: str, check: Check) -> None:
    """One line for each check, as soon as it is done."""
    status = click.style(f"{check.status:7}", fg=_COLOURS[check.status])
    detail = f": {check.detail}" if check.detail else ""
    click.echo(f"{status}  {suite:11} {check.name}{detail}", err=True)


def _print(found: Verification) -> None:
    for suite in found.suites:
        counts = [str(check.status) for check in suite.checks]
        parts = [f"{counts.count(s)} {s}" for s in _COLOURS if counts.count(s)]
        click.echo(f"{suite.name:12} {suite.status:8} {suite.seconds:6.1f} s  {', '.join(parts)}")
        for check in suite.checks:
            if check.status in {"fail", "error"}:
                click.echo(f"  {check.status}: {check.name}: {check.detail}")
                for line in check.evidence:
                    click.echo(f"    {line}")
    rate = "nothing was asked" if found.success_rate is None else f"{found.success_rate:.1%}"
    click.echo(f"{found.status}: {rate} of what had an answer, in {found.seconds:.0f} s")
