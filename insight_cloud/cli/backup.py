"""`insight backup`: make, prove, restore and remove backups of any PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from insight_cloud.cli._backup_schedule import schedule, scheduled
from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import (
    CHECK_FAILED,
    Conflict,
    Corrupt,
    InsightError,
    Missing,
    Refused,
    SettingsError,
    Unavailable,
)

if TYPE_CHECKING:
    from insight_cloud.backup import (
        Announcer,
        Catalogue,
        Created,
        Held,
        Holdings,
        Job,
        Level,
        Manifest,
        Progress,
        Recovered,
        Restored,
        Type,
    )
    from insight_cloud.backup.pruning import Pruning
    from insight_cloud.core.plan import Change, Plan
    from insight_cloud.core.report import Check
    from insight_cloud.core.storage import Store
    from insight_cloud.settings import Settings

__all__ = ["command"]

_MIB = 1024 * 1024
_WAIT_SECONDS = 4 * 3600.0
_SETTLED_SECONDS = 1.0
"""After which a rate means something."""


@dataclass(frozen=True)
class _Where:
    """What every command may be told in place of the settings."""

    config: Path | None
    url: str | None
    name: str | None
    stores: tuple[str, ...]

    def settings(self) -> Settings:
        from insight_cloud import settings

        return settings.load(self.config)

    @asynccontextmanager
    async def job(self, settings: Settings, *, database: bool = True) -> AsyncIterator[Job]:
        from insight_cloud import wiring

        async with wiring.backups(
            settings, url=self.url, name=self.name, stores=self.stores, database=database
        ) as job:
            yield job


def _refuse_password(ctx: click.Context, param: click.Parameter, url: str | None) -> str | None:  # noqa: ARG001 - click's signature
    if url is None:
        return None
    with contextlib.suppress(ValueError):
        if urlsplit(url).password is None and "password=" not in url:
            return url
    raise SettingsError(
        "the database URL holds a password, which everybody on this machine can read while the"
        " command runs: give the URL as DATABASE_URL, or the password in ~/.pgpass or PGPASSWORD"
    )


def _where(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say which database, which stores, which settings."""
    options = [
        click.option(
            "--config", type=click.Path(path_type=Path), help="Settings file.  [insight.toml]"
        ),
        click.option(
            "--url",
            callback=_refuse_password,
            help="Another database, without a password in it.  [the service's own]",
        ),
        click.option("--name", help="Folder in the stores.  [the database's name]"),
        click.option("--store", "stores", multiple=True, help="Store, in place of the settings'."),
    ]

    def wrapped(
        *,
        config: Path | None,
        url: str | None,
        name: str | None,
        stores: tuple[str, ...],
        **others: Any,
    ) -> None:
        function(_Where(config, url, name, stores), **others)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    wrapped.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]  # where click keeps them
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.group(epilog=statuses(1, 3, 4, 5, 6, 7))
def command() -> None:
    """Make, prove, restore and remove backups of any PostgreSQL.

    Without options it is about the service's own database and the stores in the settings.
    """


command.add_command(schedule)


# -- create ------------------------------------------------------------------------------------


@command.command(epilog=statuses(4, 5, 6, 7))
@_where
@click.option(
    "--type",
    "type_",
    type=click.Choice(["manual", "daily", "weekly", "monthly"]),
    help="How long it is kept.  [manual]",
)
@click.option(
    "--by-date",
    is_flag=True,
    help="Without --type: take the type from the date. CI=true means the same.",
)
@click.option("--plain", is_flag=True, help="One file of SQL, gzip -9: psql alone restores it.")
@click.option("--digests", is_flag=True, help="Also hash the rows of every table.")
@click.option("--wait", is_flag=True, help="Wait for the end of another backup of the database.")
@click.option("--prune", is_flag=True, help="Afterwards remove what the retention does not keep.")
@json_option
def create(
    where: _Where,
    *,
    type_: Type | None,
    by_date: bool,
    plain: bool,
    digests: bool,
    wait: bool,
    prune: bool,
    as_json: bool,
) -> None:
    """Back the database up into every store, and read it back from each.

    When a store fails, the others have their backup, and the exit status is 6.
    """
    from insight_cloud.backup import type_of_day

    if type_ is None:
        by_date = by_date or os.environ.get("CI", "").lower() not in {"", "0", "false"}
        type_ = type_of_day(datetime.now(UTC).astimezone()) if by_date else "manual"
    seconds = _WAIT_SECONDS if wait else 0.0
    created = asyncio.run(_create(where, type_, plain=plain, digests=digests, wait_seconds=seconds))
    emit(_created(created), as_json=as_json, human=lambda: _show_created(created))
    if created.failures:
        raise _degraded(created)
    if prune:
        pruned = asyncio.run(_prune(where, do_it=True))
        for change in pruned.removed:
            say(f"removed {change.target}  ({change.reason})")
        pruned.away.tell()


def _degraded(created: Created) -> InsightError:
    told = "; ".join(str(error) for error in created.failures.values())
    return Unavailable(f"{created.manifest.id} is not in every store: {told}")


async def _create(
    where: _Where, type_: Type, *, plain: bool, digests: bool, wait_seconds: float
) -> Created:
    from insight_cloud import wiring
    from insight_cloud.backup import create

    settings = where.settings()
    announcer = wiring.announcer(settings)
    async with _announced(announcer, "The backup") as tell, where.job(settings) as job:
        with _progress() as report:
            created = await create(
                job,
                type_,
                plain=plain,
                digests=digests or settings.backup.digests,
                wait_seconds=wait_seconds,
                report=report,
            )
        if created.failures:
            await _tell(
                announcer.failed(f"Backup of {job.name} is incomplete", str(_degraded(created)))
            )
        else:
            await tell(f"Backup of {job.name} succeeded", _sentence(created))
        return created


def _sentence(created: Created) -> str:
    manifest = created.manifest
    return (
        f"{manifest.id}: {manifest.rows:,} rows of {len(manifest.tables)} tables,"
        f" {manifest.server.bytes / _MIB:,.1f} MiB as {manifest.stored_bytes / _MIB:,.1f} MiB in"
        f" {manifest.seconds:.1f} s"
    )


def _created(created: Created) -> dict[str, Any]:
    manifest = created.manifest
    return {
        "id": manifest.id,
        "type": manifest.type,
        "encrypted": manifest.encryption is not None,
        "rows": manifest.rows,
        "tables": len(manifest.tables),
        "database_bytes": manifest.server.bytes,
        "stored_bytes": manifest.stored_bytes,
        "seconds": manifest.seconds,
        "stores": [store.url for store in created.stores],
        "failures": {store.url: str(error) for store, error in created.failures.items()},
        "cleaned": list(created.cleaned),
    }


def _show_created(created: Created) -> None:
    click.echo(_sentence(created))
    for store in created.stores:
        click.echo(f"  read back from {store.url}")
    for removed in created.cleaned:
        say(f"removed what a run that was broken off had left: {removed}")
    if created.manifest.encryption is None:
        say("not encrypted: set backup.recipients; `insight backup new-key` makes a key")


# -- list --------------------------------------------------------------------------------------


@command.command("list", epilog=statuses(6))
@_where
@json_option
def list_(where: _Where, *, as_json: bool) -> None:
    """List the backups in every store, the newest first."""
    holdings, away = asyncio.run(_holdings(where))
    emit(
        [_holding(held) for held in holdings] + away.rows(),
        as_json=as_json,
        human=lambda: _show_holdings(holdings),
    )
    away.tell()


@dataclass
class _Away:
    """Stores that could not be asked: they hide no other, and are told at the end."""

    problems: dict[str, InsightError] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        return [{"store": url, "problem": str(error)} for url, error in self.problems.items()]

    def tell(self) -> None:
        """Say what each has; the first one decides the exit status."""
        for error in list(self.problems.values())[1:]:
            say(f"insight: {error}")
        for error in self.problems.values():
            raise error


async def _holdings(where: _Where) -> tuple[list[Holdings], _Away]:
    async with where.job(where.settings(), database=False) as job:
        return await _read_all(job)


async def _read_all(job: Job) -> tuple[list[Holdings], _Away]:
    from insight_cloud.backup import Catalogue

    found, away = [], _Away()
    reads = (Catalogue(store, job.name).read() for store in job.stores)
    answers = await asyncio.gather(*reads, return_exceptions=True)
    for store, answer in zip(job.stores, answers, strict=True):
        if isinstance(answer, InsightError):
            away.problems[store.url] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(answer)
    return found, away


def _holding(holdings: Holdings) -> dict[str, Any]:
    return {
        "store": holdings.store.url,
        "backups": [_held(held) for held in holdings.backups],
        "unfinished": [left.id for left in holdings.unfinished],
    }


def _held(held: Held) -> dict[str, Any]:
    manifest = held.manifest
    row: dict[str, Any] = {
        "id": held.id,
        "at": held.at.isoformat(),
        "good": held.good,
        "problem": held.problem,
    }
    if manifest is not None:
        row |= {
            "type": held.type,
            "kind": manifest.kind,
            "encrypted": manifest.encryption is not None,
            "server_version": manifest.server.version,
            "database": manifest.server.database,
            "database_bytes": manifest.server.bytes,
            "stored_bytes": manifest.stored_bytes,
            "rows": manifest.rows,
            "tables": len(manifest.tables),
            "extensions": {each.name: each.version for each in manifest.extensions},
            "roles": list(manifest.roles),
            "seconds": manifest.seconds,
            "tool": manifest.tool,
        }
    return row


def _show_holdings(holdings: Sequence[Holdings]) -> None:
    for held in holdings:
        click.echo(held.store.url)
        for one in held.backups:
            click.echo(f"  {_line(one)}")
        if not held.backups:
            click.echo("  no backups")
        for left in held.unfinished:
            click.echo(f"  {left.id}  unfinished: being made, or left by a run that was broken off")


def _line(held: Held) -> str:
    when = held.at.astimezone(UTC)
    start = f"{held.id:34}  {when:%Y-%m-%d %H:%M} UTC"
    if held.manifest is None or held.problem is not None:
        return f"{start}  DAMAGED: {held.problem}"
    manifest = held.manifest
    lock = "encrypted" if manifest.encryption else "open"
    rows = "whole cluster" if manifest.kind == "base" else f"{manifest.rows:,} rows"
    return (
        f"{start}  {manifest.stored_bytes / _MIB:>9,.1f} MiB  {rows:>17}  {lock:9}"
        f"  PostgreSQL {manifest.server.version.split()[0]}"
    )


# -- verify ------------------------------------------------------------------------------------


@command.command(epilog=statuses(1, 3, 6))
@click.argument("backup_id", required=False, metavar="[ID]")
@_where
@click.option("--all", "everything", is_flag=True, help="Every backup, not the newest alone.")
@click.option("--stored", is_flag=True, help="Only read back and compare hashes: needs no key.")
@click.option(
    "--restore", is_flag=True, help="Also restore it into a scratch database and count the rows."
)
@click.option(
    "--server", callback=_refuse_password, help="Server for the scratch database.  [the source's]"
)
@json_option
def verify(
    where: _Where,
    *,
    backup_id: str | None,
    everything: bool,
    stored: bool,
    restore: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Verify the newest backup of every store, or the one that is named.

    Every part is read back and its SHA-256 compared; then it is decrypted and unpacked, and
    pg_restore reads every archive to its end.
    """
    if stored and restore:
        raise click.UsageError("--stored and --restore exclude each other")
    level: Level = "stored" if stored else "restore" if restore else "contents"
    found, away = asyncio.run(_verify(where, backup_id, level, server, everything=everything))
    emit(found + away.rows(), as_json=as_json, human=lambda: _show_verified(found))
    away.tell()
    if any(check["status"] == "fail" for one in found for check in one["checks"]):
        raise SystemExit(CHECK_FAILED)


async def _verify(
    where: _Where, backup_id: str | None, level: Level, server: str | None, *, everything: bool
) -> tuple[list[dict[str, Any]], _Away]:
    from dataclasses import asdict

    from insight_cloud.backup import Catalogue, verify

    needs_server = level == "restore" and server is None
    async with where.job(where.settings(), database=needs_server) as job:
        found = []
        holdings, away = await _read_all(job)
        for held_there in holdings:
            store = held_there.store
            try:
                chosen = _chosen(held_there, backup_id, everything=everything)
            except Missing as error:
                away.problems[store.url] = error
                continue
            for held in chosen:
                with _progress() as report:
                    checks = await verify(
                        job,
                        Catalogue(store, job.name),
                        held,
                        level=level,
                        server=server,
                        report=report,
                    )
                rows = [asdict(check) for check in checks]
                found.append({"store": store.url, "id": held.id, "checks": rows})
    return found, away


def _chosen(holdings: Holdings, backup_id: str | None, *, everything: bool) -> list[Held]:
    if backup_id is not None:
        return [holdings.find(backup_id)]
    if everything:
        return list(holdings.backups)
    if not holdings.logical:
        raise Missing(f"{holdings.store.url} has no backup")
    return [holdings.logical[0]]


def _show_verified(found: Sequence[dict[str, Any]]) -> None:
    for one in found:
        click.echo(f"{one['id']} in {one['store']}")
        for check in one["checks"]:
            click.echo(f"  {check['status']:4}  {check['name']:16}  {check['detail']}")


# -- restore -----------------------------------------------------------------------------------


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:  # noqa: ARG001 - click's signature
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}: write 2026-11-25T14:30, with a zone at will"
        ) from error
    return found.astimezone(UTC) if found.tzinfo else found.astimezone().astimezone(UTC)


@command.command(epilog=statuses(3, 4, 5, 6, 7))
@click.argument("backup_id", required=False, metavar="[ID]")
@_where
@click.option("--before", callback=_moment, help="The newest one from before this time.")
@click.option("--at", callback=_moment, help="Point in time, from the archive; needs --directory.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="With --at: where the recovered cluster goes; it must not exist.",
)
@click.option("--into", metavar="NAME", help="Name of the restored database.  [as it was called]")
@click.option("--replace", metavar="NAME", help="Replace a database that is not empty: its name.")
@click.option("--create-roles", is_flag=True, help="Create missing roles; they cannot sign in.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, do nothing.")
@json_option
def restore(
    where: _Where,
    *,
    backup_id: str | None,
    before: datetime | None,
    at: datetime | None,
    directory: Path | None,
    into: str | None,
    replace: str | None,
    create_roles: bool,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Restore the newest good backup, or the one that is named.

    Everything is verified before a row is restored. The new database is built beside the old
    one, compared, and then swapped in; the old one is kept under another name. A restore that
    fails leaves everything as it was.

    With --at a whole cluster is brought to that moment, into a new data directory.
    """
    if (at is None) != (directory is None):
        raise click.UsageError("--at and --directory belong together")
    if at is not None and directory is not None:
        recovered = asyncio.run(_recover(where, at, directory))
        emit(recovered, as_json=as_json, human=lambda: _show_recovered(recovered))
        return
    wish = _Wish(backup_id, before, into, replace, create_roles)
    if plan_only:
        changes, obstacle = asyncio.run(_restore_plan(where, wish))
        emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))
        if obstacle is not None:
            raise obstacle
        return
    done = asyncio.run(_restore(where, wish))
    emit(done, as_json=as_json, human=lambda: _show_restored(done))


@dataclass(frozen=True)
class _Wish:
    backup_id: str | None
    before: datetime | None
    into: str | None
    replace: str | None
    create_roles: bool


async def _restore_plan(where: _Where, wish: _Wish) -> tuple[Plan, InsightError | None]:
    """What would be done, and what stands in its way."""
    from insight_cloud.backup import inspect
    from insight_cloud.backup.restoration import check_target, plan

    async with where.job(where.settings()) as job:
        _, held = (await _find(job, wish))[0]
        manifest = held.manifest
        assert manifest is not None  # noqa: S101 - a good one
        target = await inspect(job.url, wish.into or manifest.server.database, manifest)
        changes = plan(manifest, target, create_roles=wish.create_roles)
        try:
            check_target(manifest, target, replace=wish.replace, create_roles=wish.create_roles)
        except (Conflict, Refused) as error:
            return changes, error
        return changes, None


async def _restore(where: _Where, wish: _Wish) -> Restored:
    async with where.job(where.settings()) as job:
        found = await _find(job, wish)
        manifest = found[0][1].manifest
        assert manifest is not None  # noqa: S101 - a good one
        replace = wish.replace or await _confirmed(job, wish, manifest)
        for (catalogue, held), following in zip(found, [*found[1:], None], strict=True):
            try:
                return await _restore_from(job, catalogue, held, wish, replace)
            except (Corrupt, Missing) as error:
                if following is None:
                    raise
                say(f"insight: {error}; {following[0].store.url} has it, too")
    raise AssertionError  # the last one returns or raises


async def _confirmed(job: Job, wish: _Wish, manifest: Manifest) -> str | None:
    """The name of the database that is to be replaced, typed by a person."""
    from insight_cloud.backup import inspect
    from insight_cloud.backup.restoration import check_target

    name = wish.into or manifest.server.database
    target = await inspect(job.url, name, manifest)
    if not target.filled or not sys.stdin.isatty():
        return None
    check_target(manifest, target, replace=name, create_roles=wish.create_roles)
    question = f"The database {name} is not empty. Type its name to replace it"
    return str(click.prompt(question, err=True))


async def _restore_from(
    job: Job, catalogue: Catalogue, held: Held, wish: _Wish, replace: str | None
) -> Restored:
    from insight_cloud.backup import opened, restore

    backup = await opened(catalogue, held.id, job.identity)
    name = wish.into or backup.manifest.server.database
    told = False

    with _progress() as show:

        def report(progress: Progress) -> None:
            nonlocal told
            if not told:  # nothing has refused it
                told = True
                say(f"restoring {held.id} from {catalogue.store.url} as {name}")
            show(progress)

        return await restore(
            backup,
            job.url,
            name,
            programs=job.programs,
            parallel=job.parallel,
            replace=replace,
            create_roles=wish.create_roles,
            report=report,
        )


async def _recover(where: _Where, at: datetime, directory: Path) -> Recovered:
    from insight_cloud import wiring
    from insight_cloud.backup import Catalogue, recover

    async with where.job(where.settings(), database=False) as job:
        problems: list[InsightError] = []
        for store in job.stores:
            try:
                with _progress() as report:
                    done = await recover(
                        job,
                        Catalogue(store, job.name),
                        at,
                        directory,
                        uid=wiring.server_uid(),
                        report=report,
                    )
            except (Missing, Unavailable, Corrupt, Refused) as error:
                problems.append(error)
            else:
                for problem in problems:
                    say(f"insight: {problem}")
                return done
        for words in list(dict.fromkeys(map(str, problems)))[1:]:
            say(f"insight: {words}")
        raise problems[0]


def _show_recovered(done: Recovered) -> None:
    click.echo(f"{done.directory} is the cluster as it was at {done.at:%Y-%m-%d %H:%M:%S.%f} UTC")
    if done.last_commit is not None:
        click.echo(f"last transaction in it: {done.last_commit:%Y-%m-%d %H:%M:%S.%f} UTC")
    click.echo(
        f"from {done.backup_id} and {done.segments} segments of the log in {done.seconds:.1f} s;"
        f" start it with PostgreSQL {done.version.split()[0]}"
    )
    owner = done.directory.stat().st_uid
    if owner != os.geteuid():
        click.echo(
            f"it belongs to the user {owner}: give it to whom the server runs as, by chown -R"
        )


async def _find(job: Job, wish: _Wish) -> list[tuple[Catalogue, Held]]:
    """The stores that have it and answer, in the order of the settings; at least one."""
    from insight_cloud.backup import Catalogue

    found: list[tuple[Catalogue, Held]] = []
    problems: list[InsightError] = []
    holdings, away = await _read_all(job)
    for there in holdings:
        try:
            held = (
                there.newest_good(before=wish.before)
                if wish.backup_id is None
                else there.find(wish.backup_id)
            )
        except Missing as error:
            problems.append(error)
            continue
        if held.good:
            found.append((Catalogue(there.store, job.name), held))
        else:
            problems.append(Refused(f"{there.store.url}: {held.id} is damaged: {held.problem}"))
    problems += away.problems.values()
    if not found:
        if len(problems) == 1:
            raise problems[0]
        raise type(problems[0])("; ".join(map(str, problems)))
    for problem in away.problems.values():
        say(f"insight: {problem}")
    newest = max(found, key=lambda one: one[1].at)[1] if wish.backup_id is None else found[0][1]
    return [one for one in found if one[1].id == newest.id]


def _show_restored(done: Restored) -> None:
    click.echo(f"{done.backup_id} is now the database {done.database} ({done.seconds:.1f} s)")
    if done.kept is not None:
        click.echo(f"what was there is kept as {done.kept}; drop it when you are content:")
        click.echo(f'  drop database "{done.kept}";')
    if done.roles_created:
        names = ", ".join(done.roles_created)
        click.echo(f"created without the right to sign in: {names}")


# -- prune -------------------------------------------------------------------------------------


@command.command(epilog=statuses(4, 6))
@_where
@click.option("--apply", "do_it", is_flag=True, help="Remove them; without it, only say which.")
@json_option
def prune(where: _Where, *, do_it: bool, as_json: bool) -> None:
    """Say what the retention keeps and removes, with the reason for each; --apply removes it."""
    done = asyncio.run(_prune(where, do_it=do_it))
    emit(
        {
            "stores": [_pruning(pruning) for pruning in done.prunings] + done.away.rows(),
            "removed": [change.before for change in done.removed] if do_it else None,
        },
        as_json=as_json,
        human=lambda: _show_pruned(done.prunings, done.removed if do_it else None),
    )
    done.away.tell()


@dataclass(frozen=True)
class _Pruned:
    prunings: tuple[Pruning, ...]
    removed: tuple[Change, ...]
    away: _Away


async def _prune(where: _Where, *, do_it: bool) -> _Pruned:
    from insight_cloud.backup import pruning

    settings = where.settings()
    async with where.job(settings, database=False) as job:
        holdings, away = await _read_all(job)
        days = settings.backup.archive_days
        prunings = await pruning.plan(job, holdings, archive_days=days)
        removed = await pruning.apply(job, prunings) if do_it else ()
        return _Pruned(prunings, removed, away)


def _pruning(pruning: Pruning) -> dict[str, Any]:
    return {
        "store": pruning.store.url,
        "keep": {d.entry.id: list(d.reasons) for d in pruning.decisions if d.keep},
        "remove": {change.before: change.reason for change in pruning.plan},
    }


def _show_pruned(prunings: Sequence[Pruning], removed: Sequence[Change] | None) -> None:
    for pruning in prunings:
        click.echo(pruning.store.url)
        for decision in pruning.decisions:
            if decision.keep:
                click.echo(f"  = {decision.entry.id}  ({'; '.join(decision.reasons)})")
        for change in pruning.plan:
            click.echo(f"  - {change.before}  ({change.reason})")
    if removed is not None:
        say(f"{len(removed)} removed")
    elif any(pruning.plan for pruning in prunings):
        say("nothing was removed: --apply does it")


# -- point in time -----------------------------------------------------------------------------


@command.command("base", epilog=statuses(3, 4, 6, 7))
@_where
@json_option
def base_(where: _Where, *, as_json: bool) -> None:
    """Copy the whole cluster: where `restore --at` begins. Make one a week or so."""
    created = asyncio.run(_base(where))
    manifest = created.manifest
    data = {
        "id": manifest.id,
        "stored_bytes": manifest.stored_bytes,
        "seconds": manifest.seconds,
        "stores": [store.url for store in created.stores],
        "failures": {store.url: str(error) for store, error in created.failures.items()},
    }

    def human() -> None:
        size = manifest.stored_bytes / _MIB
        click.echo(f"{manifest.id}: {size:,.1f} MiB in {manifest.seconds:.1f} s")
        for store in created.stores:
            click.echo(f"  read back from {store.url}")

    emit(data, as_json=as_json, human=human)
    if created.failures:
        raise _degraded(created)


async def _base(where: _Where) -> Created:
    from insight_cloud import wiring
    from insight_cloud.backup import base

    settings = where.settings()
    async with (
        _announced(wiring.announcer(settings), "The base backup"),
        where.job(settings) as job,
    ):
        with _progress() as report:
            return await base(job, report=report)


@command.command(epilog=statuses(3, 4, 5, 6))
@_where
@click.option(
    "--end", "ending", is_flag=True, help="End it for good; the stores keep what they have."
)
def archive(where: _Where, *, ending: bool) -> None:
    """Keep sending the server's log to the stores, until it is stopped; for a service manager.

    Everything that was committed more than backup.archive_seconds ago can be restored. The
    server keeps what was not fetched: when the archive is not wanted any more, --end it.
    """
    asyncio.run(_end_archive(where) if ending else _archive(where))


async def _end_archive(where: _Where) -> None:
    from insight_cloud.backup import archive

    async with where.job(where.settings()) as job:
        await archive.end(job)
    say("the archive has ended: the server keeps no log for it any more")


async def _archive(where: _Where) -> None:
    from insight_cloud import wiring
    from insight_cloud.backup import Archiver

    settings = where.settings()
    announcer = wiring.announcer(settings)
    async with _announced(announcer, "The archive"), where.job(settings) as job:
        spool = wiring.archive_directory(settings) / job.name
        say(f"sending the log of {job.name} to {', '.join(store.url for store in job.stores)}")

        async def trouble(store: Store, error: InsightError | None) -> None:
            """Once when it begins, once when it ends: not every few seconds."""
            if error is None:
                say(f"{store.url} has caught up")
                await _tell(announcer.succeeded("The archive goes on", store.url))
                return
            say(f"insight: {error}; it is tried again until it works")
            await _tell(announcer.failed("The archive has stopped in a store", str(error)))

        await Archiver(job, spool, settings.backup.archive_seconds, trouble=trouble).run()


# -- drill, status -----------------------------------------------------------------------------


@command.command(epilog=statuses(1, 6))
@_where
@click.option(
    "--server",
    callback=_refuse_password,
    help="Restore on this server instead of a fresh one; nothing of it stays there.",
)
@json_option
def drill(where: _Where, *, server: str | None, as_json: bool) -> None:
    """Restore the newest backup of every store on a fresh server, compare, take the time."""
    checks = asyncio.run(_drill(where, server))
    _emit_checks(checks, as_json=as_json)


async def _drill(where: _Where, server: str | None) -> list[Check]:
    from insight_cloud import wiring
    from insight_cloud.backup import Catalogue, drill

    settings = where.settings()
    announcer = wiring.announcer(settings)

    @asynccontextmanager
    async def given() -> AsyncIterator[str]:
        assert server is not None  # noqa: S101 - chosen below
        yield server

    checks = []
    async with _announced(announcer, "The drill") as tell:
        async with where.job(settings, database=False) as job:
            for store in job.stores:
                fresh = wiring.fresh_server if server is None else given
                with _progress() as report:
                    check = await drill(job, Catalogue(store, job.name), fresh, report=report)
                checks.append(check)
        failed = [check for check in checks if check.status == "fail"]
        if failed:
            details = "\n".join(check.detail for check in failed)
            await _tell(announcer.failed(f"Drill of {job.name} failed", details))
        else:
            await tell(f"Drill of {job.name} succeeded", "\n".join(c.detail for c in checks))
    return checks


@command.command(epilog=statuses(1))
@_where
@json_option
def status(where: _Where, *, as_json: bool) -> None:
    """Say how every store stands, and when the next backup will be made.

    How old is the newest good backup, how did the last drill go, how far does the archive
    reach? Fails (status 1) when a store has no backup that is young enough, the last drill
    failed, or the archive does not run: made for monitoring.
    """
    _emit_checks(asyncio.run(_status(where)), as_json=as_json)


async def _status(where: _Where) -> list[Check]:
    from insight_cloud.backup import state

    settings = where.settings()
    async with where.job(settings, database=False) as job:
        states = await state.read(job)
        oldest = timedelta(hours=settings.backup.oldest_hours)
        checks = state.check(states, now=job.clock(), oldest=oldest)
    # Another database, or another name, is not what this machine's scheduler backs up.
    usual = where.url is None and where.name is None
    return checks + (await scheduled(settings, where.config) if usual else [])


def _emit_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    from insight_cloud.core.report import Report

    report = Report.of(checks)

    def human() -> None:
        for check in report.checks:
            click.echo(f"{check.status:4}  {check.name}  {check.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.failed:
        raise SystemExit(CHECK_FAILED)


# -- keys --------------------------------------------------------------------------------------


@command.command("new-key", epilog=statuses(4))
@click.argument("file", type=click.Path(path_type=Path))
def new_key(file: Path) -> None:
    """Make a key pair: the identity into FILE, its recipient (the public half) is printed.

    Put the recipient into backup.recipients. Keep FILE where the server cannot read it, and a
    copy where the disaster does not reach: without it no backup can be opened.
    """
    from insight_cloud.backup import new_identity

    identity, recipient = new_identity()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(f"# public key: {recipient}\n{identity}\n")
    except OSError as error:
        raise Refused(f"cannot write the key to {file}: {error.strerror}") from error
    click.echo(recipient)


# -- telling -----------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A line on a terminal that says how far it is, how fast, and how long it will take."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    line = _Line()
    try:
        yield line.show
    finally:
        line.clear()


class _Line:
    """The line; redrawn five times a second at most."""

    def __init__(self) -> None:
        self._what = ""
        self._started = self._shown = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.what != self._what:
            self._what, self._started = progress.what, now
        elif now - self._shown < 0.2:
            return
        self._shown = now
        sys.stderr.write(f"\r\033[K{_words(progress, now - self._started)}")
        sys.stderr.flush()

    def clear(self) -> None:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def _words(progress: Progress, seconds: float) -> str:
    if not progress.total:
        return f"{progress.what} …"
    words = f"{progress.done / _MIB:,.0f} of about {progress.total / _MIB:,.0f} MiB {progress.what}"
    if seconds < _SETTLED_SECONDS or not progress.done:  # nobody knows yet
        return words
    rate = progress.done / seconds
    left = max(progress.total - progress.done, 0) / rate
    time_left = f"{left:,.0f} s" if left < 120 else f"{left / 60:,.0f} min"
    return f"{words}, {rate / _MIB:,.0f} MiB/s, {time_left} left"


@asynccontextmanager
async def _announced(announcer: Announcer, what: str) -> AsyncIterator[Callable[[str, str], Any]]:
    """Tell of an error of ours before it goes on; success is told by calling what is yielded."""

    async def succeeded(subject: str, detail: str) -> None:
        await _tell(announcer.succeeded(subject, detail))

    try:
        yield succeeded
    except InsightError as error:
        await _tell(announcer.failed(f"{what} failed", str(error)))
        raise


async def _tell(telling: Any) -> None:
    for problem in await telling:
        say(problem)
