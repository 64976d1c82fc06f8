"""`insight tls`: issue, install, renew, look at, check and grade certificates."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED, Conflict, Refused, SettingsError

if TYPE_CHECKING:
    from cryptography import x509

    from insight_cloud.core.plan import Plan
    from insight_cloud.core.report import Check, Report
    from insight_cloud.core.schedule import Choice, Job, Scope
    from insight_cloud.settings import Settings
    from insight_cloud.tls import Certificate, Keeper
    from insight_cloud.tls.rating import Grade

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_LETTERS = ("A+", "A", "A-", "B", "C", "D", "E", "F")
_JOB = "tls-renew"
_REASONS = {"unspecified": 0, "key-compromise": 1, "affiliation-changed": 3, "superseded": 4}

_config = click.option("--config", type=_FILE, help="Settings file.  [default: insight.toml]")
_plan_only = click.option("--plan", "plan_only", is_flag=True, help="Print what would be done.")
_scope = click.option(
    "--scope",
    type=click.Choice(("system", "user")),
    help="Whose scheduler.  [default: system for root, else user]",
)
_roots = click.option("--roots", type=_FILE, help="Roots to trust instead of the public ones.")


@click.group()
def command() -> None:
    """Keep the certificate of this service, and look at that of any.

    What to keep is said in the section [tls] of the settings.
    """


@command.command(epilog=statuses(1, 3, 4, 5, 6, 7))
@click.option("--again", is_flag=True, help="Replace a certificate that is still good.")
@_plan_only
@_config
@json_option
@click.pass_context
def issue(
    ctx: click.Context, config: Path | None, *, again: bool, plan_only: bool, as_json: bool
) -> None:
    """Get the first certificate, or one for other names; do nothing when all is as it should be.

    With http-01 the running service answers the authority. When nothing listens on the plain
    HTTP port, this command does it itself.
    """
    _run(ctx, config, force=again, first=True, plan_only=plan_only, as_json=as_json)


@command.command(epilog=statuses(1, 3, 4, 5, 6, 7))
@click.option("--now", is_flag=True, help="Renew whether it is due or not.")
@click.option(
    "--wait",
    type=click.IntRange(0, 86400),
    default=0,
    metavar="SECONDS",
    help="Begin at a random moment within SECONDS, for schedules.",
)
@_plan_only
@_config
@json_option
@click.pass_context
def renew(
    ctx: click.Context, config: Path | None, *, now: bool, wait: int, plan_only: bool, as_json: bool
) -> None:
    """Renew the certificate if it is due, and run hooks that failed before."""
    if wait and not plan_only:
        seconds = random.uniform(0, wait)  # noqa: S311 - spreads load, guards nothing
        say(f"beginning in {seconds:.0f} s")
        time.sleep(seconds)
    _run(ctx, config, force=now, first=False, plan_only=plan_only, as_json=as_json)


@command.command(epilog=statuses(1, 3, 4, 5, 6, 7))
@click.argument("chain", type=_FILE, required=False)
@click.argument("key", type=_FILE, required=False)
@click.option("--version", help="Go back to this version of the history instead.")
@click.option("--untrusted", is_flag=True, help="Accept a chain that leads to no trusted root.")
@_roots
@_config
@json_option
@click.pass_context
def install(  # noqa: PLR0917 - click passes them by name
    ctx: click.Context,
    chain: Path | None,
    key: Path | None,
    version: str | None,
    roots: Path | None,
    config: Path | None,
    *,
    untrusted: bool,
    as_json: bool,
) -> None:
    """Install the certificates in CHAIN (leaf first) with the private key in KEY.

    Everything is checked first: order and expiry of the chain, names, the key, its permissions,
    and trust. A pair that would not serve is refused, and what is in use stays.
    """
    keeper, settings = _keeper(config)
    if version is not None:
        report = asyncio.run(keeper.use(version))
    elif chain is None or key is None:
        raise click.UsageError("give CHAIN and KEY, or --version")
    else:
        trusted = None if untrusted else _read_roots(roots or settings.tls.roots_file)
        found = _acceptable(chain, key, settings.tls.names, trusted)
        report = asyncio.run(_install(keeper, chain, key, found))
    _finish(ctx, report, as_json=as_json)


@command.command(epilog=statuses(1, 7))
@_config
@json_option
@click.pass_context
def status(ctx: click.Context, config: Path | None, *, as_json: bool) -> None:
    """Show the certificate in use, when it will be renewed, and the history."""
    keeper, settings = _keeper(config)
    report = asyncio.run(_local_checks(keeper, settings))
    data = {**_standing(keeper), **report.as_dict()}
    emit(data, as_json=as_json, human=lambda: _print_standing(data, report))
    if report.failed:
        ctx.exit(CHECK_FAILED)


@command.command(epilog=statuses(1, 3, 6, 7))
@click.argument("hosts", nargs=-1, metavar="[HOST[:PORT]]...")
@click.option("--files", nargs=2, type=_FILE, metavar="CHAIN KEY", help="Check these files.")
@click.option("--untrusted", is_flag=True, help="Do not ask whether a trusted root is reached.")
@_roots
@_config
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    hosts: tuple[str, ...],
    files: tuple[Path, Path] | None,
    roots: Path | None,
    config: Path | None,
    *,
    untrusted: bool,
    as_json: bool,
) -> None:
    """Check the installed certificate, or what HOST really shows, or files.

    Asked are order and expiry of the chain, names, strength, trust, key, permissions, and
    revocation where the authority publishes it.
    """
    from insight_cloud.core.report import Report

    keeper, settings = _keeper(config)
    trusted = None if untrusted else _read_roots(roots or settings.tls.roots_file)
    found = asyncio.run(_checks(keeper, settings, hosts, files, trusted))
    _finish(ctx, Report.of(found), as_json=as_json)


@command.command(epilog=statuses(3, 6, 7, s1="a grade is below --at-least"))
@click.argument("hosts", nargs=-1, required=True, metavar="HOST[:PORT]...")
@click.option("--at-least", type=click.Choice(_LETTERS), help="Fail when a host is graded lower.")
@click.option("--address", help="Connect to this address instead of the host's own.")
@click.option("--untrusted", is_flag=True, help="Do not ask whether a trusted root is reached.")
@_roots
@json_option
@click.pass_context
def grade(
    ctx: click.Context,
    hosts: tuple[str, ...],
    at_least: str | None,
    address: str | None,
    roots: Path | None,
    *,
    untrusted: bool,
    as_json: bool,
) -> None:
    """Grade each HOST by SSL Labs' guide: a letter, a score, and the reasons.

    Our own prober makes some fifty short connections. It does not try ROBOT and Ticketbleed.
    """
    trusted = None if untrusted else _read_roots(roots)
    data = asyncio.run(_grades(hosts, address, trusted))
    emit(data, as_json=as_json, human=lambda: _print_grades(data))
    if at_least is not None and any(_below(entry["grade"], at_least) for entry in data):
        ctx.exit(CHECK_FAILED)


@command.command(epilog=statuses(3, 4, 5, 6, 7))
@click.option(
    "--reason",
    type=click.Choice(tuple(_REASONS)),
    default="unspecified",
    show_default=True,
    help="What the authority is told.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_config
def revoke(config: Path | None, *, reason: str, yes: bool) -> None:
    """Declare the certificate in use invalid, for example because its key was seen.

    Get a new one right after it: `insight tls issue --again`.
    """
    keeper, settings = _keeper(config)
    if not yes:
        click.confirm(f"Revoke the certificate for {', '.join(settings.tls.names)}?", abort=True)
    version = asyncio.run(keeper.revoke(reason=_REASONS[reason]))
    click.echo(f"revoked {version.name}; it is still served: insight tls issue --again")


@command.group()
def schedule() -> None:
    """Look several times a day whether renewal is due, by the scheduler of this machine.

    The running service with `server.tls` does so by itself; this is for everybody else, such as
    a machine whose nginx serves the certificate.
    """


@schedule.command(name="install", epilog=statuses(3, 4, 6))
@click.option(
    "--times",
    type=click.IntRange(2, 24),
    default=6,
    show_default=True,
    help="Looks a day, each at a minute of this machine's own.",
)
@click.option("--at", help="Fixed times instead, such as 'daily 03:00'; short lives need more.")
@_scope
@_plan_only
@_config
@json_option
def schedule_install(
    times: int,
    at: str | None,
    scope: str | None,
    config: Path | None,
    *,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Install the job, or change it; afterwards nothing is left to do."""
    _, settings = _keeper(config)
    job = _job(settings, config, times, at)
    changes = asyncio.run(_scheduled([job], scope, plan_only=plan_only))
    emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))


@schedule.command(name="status", epilog=statuses(1, 3, 6))
@_scope
@json_option
@click.pass_context
def schedule_status(ctx: click.Context, scope: str | None, *, as_json: bool) -> None:
    """Say whether the job is installed, and how its last run went."""
    from insight_cloud.core.report import Report

    _finish(ctx, Report.of([asyncio.run(_installed_job(scope))]), as_json=as_json)


@schedule.command(name="uninstall", epilog=statuses(3, 4, 6))
@_scope
@_plan_only
@json_option
def schedule_uninstall(scope: str | None, *, plan_only: bool, as_json: bool) -> None:
    """Remove the job."""
    changes = asyncio.run(_scheduled([], scope, plan_only=plan_only))
    emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))


def _job(settings: Settings, config: Path | None, times: int, at: str | None) -> Job:
    import shutil
    import socket
    import sys
    from datetime import timedelta

    from insight_cloud import wiring
    from insight_cloud.core import schedule as jobs

    program = shutil.which(sys.argv[0]) or sys.argv[0]
    is_insight = Path(program).name.startswith("insight")
    words = (
        (str(Path(program).absolute()),)
        if is_insight
        else (sys.executable, "-m", "insight_cloud.cli")
    )
    named = ("--config", str(config.absolute())) if config else ()
    return jobs.Job(
        _JOB,
        (*words, "tls", "renew", *named),
        jobs.parse(at) if at else jobs.several(times, seed=f"{socket.gethostname()}/tls"),
        "Renew the certificate when it is due",
        directory=Path.cwd(),
        writes=(wiring.certificate_store(settings).directory,),
        limit=timedelta(hours=1),
    )


async def _scheduled(jobs: Sequence[Job], scope: str | None, *, plan_only: bool) -> Plan:
    from insight_cloud.core import schedule as scheduling

    choice = await _chosen(scope)
    scheduler = choice.scheduler
    changes = scheduling.plan(scheduler, jobs, await scheduler.read("tls"))
    if not plan_only:
        await scheduling.apply(scheduler, changes)
    say(f"{scheduler.kind}: {choice.reason}")
    return changes


async def _installed_job(scope: str | None) -> Check:
    from insight_cloud.core.report import Check

    scheduler = (await _chosen(scope)).scheduler
    entry = (await scheduler.read("tls")).get(f"insight-{_JOB}")
    name = f"schedule.{_JOB}"
    if entry is None:
        return Check(name, "fail", f"not installed with {scheduler.kind}: tls schedule install")
    if not entry.active:
        return Check(name, "fail", f"installed with {scheduler.kind}, but not active")
    ended_well = not entry.last or entry.last.startswith("succeeded")
    detail = f"installed with {scheduler.kind}; the last run {entry.last or 'is still to come'}"
    return Check(name, "pass" if ended_well else "warn", detail)


async def _chosen(scope: str | None) -> Choice:
    from insight_cloud.core import schedule as scheduling

    wanted: Scope = "system" if (scope or scheduling.default_scope()) == "system" else "user"
    return await scheduling.choose(wanted)


def _run(
    ctx: click.Context,
    config: Path | None,
    *,
    force: bool,
    first: bool,
    plan_only: bool,
    as_json: bool,
) -> None:
    keeper, settings = _keeper(config)
    if not settings.tls.names and settings.tls.method != "custom":
        raise SettingsError('say for which names: set tls.names = ["www.example.com"]')
    if first and settings.tls.method == "custom":
        raise SettingsError("with tls.method custom you bring the files: insight tls install")
    plan, report = asyncio.run(
        _renewed(keeper, settings, force=force, first=first, plan_only=plan_only)
    )
    data = {"plan": list(plan), **report.as_dict(), **_standing(keeper)}
    emit(data, as_json=as_json, human=lambda: _print_run(plan, report, data))
    if report.failed:
        ctx.exit(CHECK_FAILED)


async def _renewed(
    keeper: Keeper, settings: Settings, *, force: bool, first: bool, plan_only: bool
) -> tuple[Plan, Report]:
    from insight_cloud.core.report import Report

    if plan_only:
        return keeper.plan(await keeper.read(), force=force), Report(())
    if first and not force:
        # A person who asks for the first certificate does not wait for a pause to end.
        standing = keeper.look()
        force = standing.certificate is None or bool(standing.fault)
    due = keeper.plan(await keeper.read(), force=force)
    async with _answering(settings, keeper) if due else contextlib.nullcontext():
        return await keeper.renew(force=force)


@contextlib.asynccontextmanager
async def _answering(settings: Settings, keeper: Keeper) -> AsyncIterator[None]:
    """Answer http-01 ourselves, unless the running service does: then the port is taken."""
    from insight_cloud.tls import serving

    wanted = settings.tls
    by_http = wanted.method == "certbot" or (
        wanted.method == "letsencrypt" and wanted.challenge == "http-01"
    )
    if not by_http or wanted.http_port == 0:
        yield
        return
    try:
        listener = serving.listen(wanted.http_host, wanted.http_port)
    except Conflict:
        say(f"port {wanted.http_port} is taken: whoever listens there must answer the challenge")
        yield
        return
    plain = serving.PlainHttp(keeper.store, names=wanted.names)
    with listener:
        answering = asyncio.create_task(plain.serve(listener))
        try:
            yield
        finally:
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering


def _acceptable(
    chain: Path, key: Path, names: Sequence[str], roots: Sequence[x509.Certificate] | None
) -> list[Check]:
    from insight_cloud.tls import checks

    found = checks.check_files(chain.absolute(), key.absolute(), names=names, roots=roots)
    wrong = [check.detail for check in found if check.status == "fail"]
    if wrong:
        raise Refused(f"nothing was installed: {'; '.join(wrong)}")
    return found


async def _install(keeper: Keeper, chain: Path, key: Path, found: list[Check]) -> Report:
    from insight_cloud.tls import store

    chain_pem, key_pem = store.read(chain, 64 * 1024), store.read(key, 16 * 1024)
    report = await keeper.install(chain_pem, key_pem, source=str(chain))
    return type(report).of([*found, *report.checks])


async def _local_checks(keeper: Keeper, settings: Settings) -> Report:
    from insight_cloud.core.report import Report
    from insight_cloud.tls import checks

    return Report.of(await checks.check(keeper.store, names=settings.tls.names))


async def _checks(
    keeper: Keeper,
    settings: Settings,
    hosts: Sequence[str],
    files: tuple[Path, Path] | None,
    roots: Sequence[x509.Certificate] | None,
) -> list[Check]:
    from insight_cloud.tls import checks

    if files:
        return checks.check_files(*files, names=hosts, roots=roots)
    if not hosts:
        return await checks.check(keeper.store, names=settings.tls.names, roots=roots)
    found: list[Check] = []
    for text in hosts:
        host, port = _host_and_port(text)
        ours = _installed(keeper) if host in settings.tls.names else None
        found += await checks.check_server(host, port, roots=roots, expected=ours)
    return found


def _installed(keeper: Keeper) -> Certificate | None:
    version = keeper.store.current()
    return version.read() if version is not None else None


async def _grades(
    hosts: Sequence[str], address: str | None, roots: Sequence[x509.Certificate] | None
) -> list[dict[str, Any]]:
    from insight_cloud.tls import prober, rating

    found = []
    for text in hosts:
        host, port = _host_and_port(text)
        findings = await prober.probe(host, port, address=address)
        result = rating.rate(findings, now=_now(), roots=roots)
        found.append(_graded(text, findings, result))
    return found


def _graded(text: str, findings: Any, result: Grade) -> dict[str, Any]:
    return {
        "host": text,
        **result.as_dict(),
        "versions": {
            version.title: [suite.name for suite in accepted]
            for version, accepted in findings.suites.items()
            if accepted
        },
        "notes": list(findings.notes),
        "connections": findings.connections,
        "seconds": round(findings.seconds, 3),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _host_and_port(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or (":" in host and not host.endswith("]")):
        return text.strip("[]"), 443
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{text!r} is no HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def _below(letter: str, least: str) -> bool:
    return letter not in _LETTERS or _LETTERS.index(letter) > _LETTERS.index(least)


def _keeper(config: Path | None) -> tuple[Keeper, Settings]:
    from insight_cloud import settings as settings_module
    from insight_cloud import wiring

    settings = settings_module.load(config)
    return wiring.certificate_keeper(settings), settings


def _read_roots(file: Path | None) -> tuple[x509.Certificate, ...]:
    from insight_cloud.tls import checks

    return checks.read_roots(file)


def _standing(keeper: Keeper) -> dict[str, Any]:
    standing = keeper.look()
    found, decision = standing.certificate, keeper.decide(standing)
    return {
        "directory": str(keeper.store.directory),
        "version": standing.version.name if standing.version else None,
        "certificate": None
        if found is None
        else {
            "names": list(found.names),
            "issuer": found.issuer,
            "serial": found.serial,
            "begins": found.begins.isoformat(),
            "ends": found.ends.isoformat(),
        },
        "renewal": {
            "due": decision.act,
            "at": decision.at.isoformat(),
            "reason": decision.reason,
            "failures": standing.state.failures,
            "problem": standing.state.problem,
        },
        "history": [
            {"version": v.name, "method": v.meta.method, "source": v.meta.source}
            for v in keeper.store.history()
        ],
    }


def _finish(ctx: click.Context, report: Report, *, as_json: bool) -> None:
    emit(report.as_dict(), as_json=as_json, human=lambda: _print_checks(report))
    if report.failed:
        ctx.exit(CHECK_FAILED)


def _print_checks(report: Report) -> None:
    for entry in report.checks:
        click.echo(f"{entry.status:4}  {entry.name:16}  {entry.detail}")


def _print_run(plan: Plan, report: Report, data: dict[str, Any]) -> None:
    click.echo(str(plan))
    _print_checks(report)
    if not plan and data["certificate"]:
        click.echo(f"the next renewal is due at {_minute(data['renewal']['at'])}")


def _print_standing(data: dict[str, Any], report: Report) -> None:
    _print_checks(report)
    renewal = data["renewal"]
    when = "now" if renewal["due"] else f"at {_minute(renewal['at'])}"
    click.echo(f"renewal is due {when}: {renewal['reason']}")
    for entry in data["history"]:
        mark = "*" if entry["version"] == data["version"] else " "
        click.echo(f"{mark} {entry['version']}  {entry['method']}  {entry['source']}".rstrip())


def _print_grades(data: Sequence[dict[str, Any]]) -> None:
    for entry in data:
        parts = (
            f"protocol {entry['protocol']}, key {entry['key_exchange']}, cipher {entry['cipher']}"
        )
        click.echo(f"{entry['host']}: {entry['grade']}  (score {entry['score']}: {parts})")
        for cap in entry["caps"]:
            click.echo(f"  at most {cap['grade']}: {cap['reason']}")
        for warning in entry["warnings"]:
            click.echo(f"  no plus: {warning}")
        if entry["grade_if_trusted"] != entry["grade"]:
            click.echo(f"  with a trusted certificate: {entry['grade_if_trusted']}")
        for version, accepted in entry["versions"].items():
            click.echo(f"  {version}: {len(accepted)} suites")
        click.echo(f"  {'; '.join(entry['notes'])}; {entry['seconds']:.2f} s")


def _minute(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC"
