"""`insight load`: many people at once, or so many requests a second, and what must hold then."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED, INTERRUPTED, Invalid

if TYPE_CHECKING:
    from insight_cloud.load import Figures, Scenario
    from insight_cloud.load.launcher import Progress

__all__ = ["command"]

_INVALID = 8
_END = statuses(
    3, 4, 6, s1="a threshold failed", s8="invalid: the generator itself was the bottleneck"
)
_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Load a site and say how fast it answered: one of your own, or one whose owner agreed.

    Durations count from when a request was meant to begin, so a site that stands still is seen.
    """


def _options(function: _F) -> _F:
    """What every run may be told."""
    for option in reversed(
        (
            click.option(
                "--path",
                "paths",
                multiple=True,
                metavar="/PATH",
                help="Get only this instead of the scenario's steps; may be repeated.",
            ),
            click.option(
                "--threshold",
                "conditions",
                nargs=2,
                multiple=True,
                metavar="METRIC EXPRESSION",
                help="One more condition, as http_req_duration 'p(95)<500'; may be repeated.",
            ),
            click.option(
                "--variables", type=_FILE, help="TOML file with values for the scenario's texts."
            ),
            click.option(
                "--workers",
                type=click.IntRange(0, 64),
                default=0,
                help="Processes on this machine that share the work; 0: one, without a leader.",
            ),
            click.option(
                "--expect",
                type=click.IntRange(0, 1000),
                default=0,
                help="Further workers to wait for, from other machines.",
            ),
            click.option(
                "--listen",
                metavar="HOST:PORT",
                help="Where they join. Not encrypted: only in a network of your own.",
            ),
            click.option(
                "--ca-file", type=_FILE, help="Certificates to trust instead of the machine's."
            ),
            click.option("--html", type=_FILE, help="Write a report for people into this file."),
            click.option("--junit", type=_FILE, help="Write a JUnit report into this file."),
            json_option,
        )
    ):
        function = option(function)
    return function


def _built_in(name: str, sentence: str) -> None:
    @command.command(name=name, help=sentence, epilog=_END)
    @click.argument("url")
    @_options
    @click.pass_context
    def begin(ctx: click.Context, /, url: str, **options: Any) -> None:
        from insight_cloud import load

        _run(ctx, load.built_in(name), url, **options)


_built_in("smoke", "Two users for ten seconds: does it work at all?")
_built_in("short", "Up to 20 users in one minute.")
_built_in("normal", "A normal day: up to 100 users, 12 minutes.")
_built_in("peak", "The busiest hour: up to 500 users, 8 minutes.")
_built_in("stress", "More than is expected: up to 1,000 users, 6 minutes.")


@command.command(name="run", epilog=_END)
@click.argument("file", type=_FILE)
@click.argument("url")
@_options
@click.pass_context
def run(ctx: click.Context, /, file: Path, url: str, **options: Any) -> None:
    """Load URL as the scenario in FILE says."""
    from insight_cloud import load

    _run(ctx, load.read(file), url, **options)


@command.command(name="example", epilog=statuses(3))
@click.argument("name", default="short")
def example(name: str) -> None:
    """Print a built-in scenario, to begin one of your own with."""
    from insight_cloud.load import scenario

    click.echo(scenario.source(name), nl=False)


@command.command(name="worker", epilog=statuses(4, 6))
@click.argument("leader", metavar="HOST:PORT")
@click.option("--wait", type=click.IntRange(1, 86400), default=60, help="Seconds to wait for it.")
def worker(leader: str, wait: int) -> None:
    """Make requests for the run that listens at HOST:PORT, on this machine too, until it ends."""
    from insight_cloud import load

    host, port = _address(leader)
    say(f"working for {host}:{port}")
    asyncio.run(load.join(host, port, patience_seconds=wait))


def _run(
    ctx: click.Context,
    scenario: Scenario,
    url: str,
    *,
    paths: Sequence[str],
    conditions: Sequence[tuple[str, str]],
    variables: Path | None,
    workers: int,
    expect: int,
    listen: str | None,
    ca_file: Path | None,
    html: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    from insight_cloud import load
    from insight_cloud.core import files
    from insight_cloud.load import report

    if bool(expect) != bool(listen):
        raise Invalid("--expect and --listen belong together")
    given = {} if variables is None else _variables(variables)
    steps = load.paths(paths) if paths else None
    wanted = scenario.changed(variables=given, conditions=conditions, steps=steps)
    say(f"{wanted.name}: {wanted.seconds:.0f} s, up to {wanted.users} users, on {url}")
    found = asyncio.run(
        load.run(
            wanted,
            url,
            tell=_progress(),
            workers=workers,
            expect=expect,
            listen=_address(listen) if listen else None,
            ca_file=ca_file,
        )
    )
    if html is not None:
        files.write(html, report.html(found).encode())
    if junit is not None:
        files.write(junit, report.junit(found))
    emit(found.as_dict(), as_json=as_json, human=lambda: click.echo(report.text(found)))
    ctx.exit(_status(found))


def _status(found: Figures) -> int:
    if found.interrupted:
        return INTERRUPTED
    if not found.valid:
        return _INVALID
    return 0 if found.passed else CHECK_FAILED


def _progress() -> Callable[[Progress], None]:
    """Tell how it goes: on a terminal in one line, else every ten seconds."""
    alive, last = sys.stderr.isatty(), [-10.0]

    def tell(now: Progress) -> None:
        line = (
            f"{now.seconds:4.0f} of {now.of:.0f} s · {now.requests} requests, {now.failed} failed"
            f" · {now.per_second} a second · p95 {now.p95_ms:.0f} ms"
            f" · generator {now.cpu_percent:.0f} %, {now.lag_ms:.1f} ms late"
        )
        if alive:
            click.echo(f"\r\x1b[K{line}", err=True, nl=now.seconds >= now.of)
        elif now.seconds - last[0] >= 10:
            last[0] = now.seconds
            say(line)

    return tell


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise Invalid(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _variables(file: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"cannot read {file}: {error}") from error
    wrong = next((name for name, value in found.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise Invalid(f"{file}: the value of {wrong} is no text")
    return found
