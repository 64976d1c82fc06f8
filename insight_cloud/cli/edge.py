"""`insight edge`: what Cloudflare does before the application, planned, proved, applied, undone."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED, Conflict, InsightError, Refused, SettingsError

if TYPE_CHECKING:
    from insight_cloud.edge import EdgeFile, EdgePlan, Fake, Simulator, State, Wanted, Zone
    from insight_cloud.edge.samples import Outcome, Samples
    from insight_cloud.settings import Settings

__all__ = ["command"]

_CHANGES = 2
_DIFFERENCE = statuses(s1="an error, or wrong usage", s2="there are changes")
_file = click.option(
    "--file", "path", type=click.Path(path_type=Path), help="What the edge shall do."
)
_samples = click.option(
    "--samples", type=click.Path(path_type=Path), help="Sample requests and their verdicts."
)
_removals = click.option(
    "--allow-removals", is_flag=True, help="Allow to remove more than a third of many rules."
)


class _WrongUsage(click.UsageError):
    exit_code = CHECK_FAILED


class _Compared(click.Command):
    """A command whose status 2 means changes, so that wrong usage and errors must be 1."""

    def make_context(self, *given: Any, **named: Any) -> click.Context:
        """Read the arguments; wrong ones end with status 1."""
        try:
            return super().make_context(*given, **named)
        except click.UsageError as error:
            raise _WrongUsage(error.message, error.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours ends with status 1."""
        try:
            return super().invoke(ctx)
        except InsightError as error:
            click.secho(f"insight: {error}", fg="red", err=True)
            ctx.exit(CHECK_FAILED)


@click.group()
def command() -> None:
    """Plan, prove, apply and take back what Cloudflare does before the application.

    What it shall do stands in edge.toml. The zone and the token come from CLOUDFLARE_ZONE_ID
    and CLOUDFLARE_API_TOKEN; `insight edge fake` rehearses everything without an account.
    """


# -- files -----------------------------------------------------------------------------------


@command.command(epilog=statuses(5))
@click.option("--staging", is_flag=True, help="The variant for a staging site.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def init(*, staging: bool, force: bool) -> None:
    """Write the default edge.toml, and samples that test it."""
    from insight_cloud.edge import file
    from insight_cloud.edge.records import write_whole

    settings = _settings().edge
    texts = {settings.file: file.default("staging" if staging else "production")}
    if not staging:  # the samples are for what production does
        texts[settings.samples] = file.default_samples()
    existing = [str(path) for path in texts if path.exists()]
    if existing and not force:
        raise Conflict(f"{' and '.join(existing)} exist; --force replaces them")
    for path, text in texts.items():
        write_whole(path, text)
        click.echo(f"wrote {path}")


@command.command(epilog=statuses())
def schema() -> None:
    """Print the JSON Schema of edge.toml, for editors."""
    from insight_cloud.edge import json_schema

    click.echo(json_schema(), nl=False)


@command.command(epilog=statuses())
@json_option
def token(*, as_json: bool) -> None:
    """List what the API token must be allowed, for this zone only."""
    from insight_cloud.edge import PERMISSIONS

    def human() -> None:
        for name, why in PERMISSIONS.items():
            click.echo(f"{name:30} {why}")

    emit(dict(PERMISSIONS), as_json=as_json, human=human)


# -- looking ---------------------------------------------------------------------------------


@command.command(epilog=statuses(3, 4, 6))
@json_option
def read(*, as_json: bool) -> None:
    """Show what is on the zone now."""
    from insight_cloud.cli import _edge

    state = asyncio.run(_read(_settings()))
    emit(state.as_dict(), as_json=as_json, human=lambda: _edge.print_state(state))


@command.command(cls=_Compared, epilog=_DIFFERENCE)
@_file
@click.option("--out", type=click.Path(path_type=Path), help="Save the plan for `apply`.")
@click.option("--markdown", is_flag=True, help="Print it as a comment for a review.")
@json_option
@click.pass_context
def plan(
    ctx: click.Context, path: Path | None, out: Path | None, *, markdown: bool, as_json: bool
) -> None:
    """Show what `apply` would change, without changing anything."""
    ctx.exit(_compare(path, out=out, markdown=markdown, as_json=as_json))


@command.command(cls=_Compared, epilog=_DIFFERENCE)
@_file
@click.option("--markdown", is_flag=True, help="Print it as a comment for a review.")
@json_option
@click.pass_context
def drift(ctx: click.Context, path: Path | None, *, markdown: bool, as_json: bool) -> None:
    """Show where the zone is not as the file says, for a timer or CI."""
    ctx.exit(_compare(path, out=None, markdown=markdown, as_json=as_json, notes=False))


@command.command(epilog=statuses(1, 3, 4, 6))
@_file
@json_option
@click.pass_context
def check(ctx: click.Context, path: Path | None, *, as_json: bool) -> None:
    """Check the token, the zone, its certificate, the site, the origin, and for drift."""
    from insight_cloud.cli import _edge
    from insight_cloud.core.report import Report

    report = Report.of(asyncio.run(_check(_settings(), path)))
    emit(report.as_dict(), as_json=as_json, human=lambda: _edge.print_report(report))
    if report.failed:
        ctx.exit(CHECK_FAILED)


# -- changing --------------------------------------------------------------------------------


@command.command(epilog=statuses(3, 4, 5, 6, 7))
@click.argument("saved", required=False, type=click.Path(path_type=Path), metavar="[PLAN]")
@_file
@_samples
@click.option("--yes", is_flag=True, help="Do not ask.")
@_removals
@json_option
def apply(
    saved: Path | None,
    path: Path | None,
    samples: Path | None,
    *,
    yes: bool,
    allow_removals: bool,
    as_json: bool,
) -> None:
    """Make the zone what the file says, or exactly what the saved PLAN says.

    The samples are tested first, then every rule is rehearsed on the server. The state before
    is kept; a failure, an interruption, or a site that stops to answer takes everything back.
    """
    applied = asyncio.run(
        _apply(_settings(), saved, path, samples, yes=yes, removals=allow_removals)
    )

    def human() -> None:
        if applied is None or not applied["written"]:
            click.echo("nothing to do: the zone is as the file says")
        else:
            click.echo(f"applied: {', '.join(applied['written'])}")
            click.echo(f"to go back: insight edge rollback {applied['snapshot']}")

    emit(applied, as_json=as_json, human=human)


@command.command(epilog=statuses(3, 4, 5, 6, 7))
@click.argument("snapshot", required=False, type=click.Path(path_type=Path))
@click.option("--although-moved", is_flag=True, help="Also when somebody changed it since.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rollback(snapshot: Path | None, *, although_moved: bool, yes: bool, as_json: bool) -> None:
    """Bring back the state before the last apply, or the one in SNAPSHOT."""
    done = asyncio.run(_rollback(_settings(), snapshot, although_moved=although_moved, yes=yes))
    emit(
        done,
        as_json=as_json,
        human=lambda: click.echo(f"brought back: {', '.join(done['written']) or 'nothing to do'}"),
    )


@command.command(name="import", epilog=statuses(3, 4, 5, 6))
@click.option("--out", type=click.Path(path_type=Path), help="Write it here, if nothing is there.")
def import_(out: Path | None) -> None:
    """Print an edge.toml that asks for exactly what is on the zone."""
    from insight_cloud.edge import importing
    from insight_cloud.edge.records import write_whole

    if out is not None and out.exists():
        raise Conflict(f"{out} exists already")
    text = importing.toml(asyncio.run(_read(_settings())))
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text)
        say(f"wrote {out}")


# -- proving ---------------------------------------------------------------------------------


@command.command(epilog=statuses(3, 6, s1="a sample or a route is not as it shall be"))
@_file
@_samples
@click.option("--live", is_flag=True, help="Test the rules that are on the zone now.")
@click.option("--app", metavar="MODULE:NAME", help="Try every route of an ASGI application.")
@click.option("--openapi", metavar="FILE|URL", help="Try every route of an OpenAPI document.")
@click.option("--static", metavar="FOLDER[=PREFIX]", help="Try every file of a folder.")
@click.option("--mutants/--no-mutants", default=True, help="Change each rule in small ways.")
@click.option("--strict", is_flag=True, help="Fail as well for what no sample notices.")
@json_option
@click.pass_context
def test(
    ctx: click.Context,
    path: Path | None,
    samples: Path | None,
    *,
    app: str | None,
    openapi: str | None,
    static: str | None,
    live: bool,
    mutants: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Try the rules on sample requests and on the application's routes, without sending any.

    Tells which rules no sample meets, and which small changes of a rule no sample would notice.
    """
    from insight_cloud.cli import _edge

    sources = _Sources(app, openapi, static)
    found = asyncio.run(_test(_settings(), path, samples, sources, live=live, mutants=mutants))
    emit(found, as_json=as_json, human=lambda: _edge.print_tested(found))
    if _is_wrong(found, strict=strict):
        ctx.exit(CHECK_FAILED)


@command.command(epilog=statuses(4))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--zone", default="example.com", show_default=True, help="The zone's name.")
@click.option(
    "--plan",
    "plan_",
    type=click.Choice(["free", "pro", "business", "enterprise"]),
    default="free",
    show_default=True,
    help="Its Cloudflare plan.",
)
@click.option("--latency-ms", type=click.IntRange(0, 60_000), default=0, help="For each call.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[:METHOD[:PATH[:TIMES]]]",
    help="Fail some calls: 429, 500, 503, refused, denied, cut, cut-after, html, lost, slow.",
)
@click.option("--state", type=click.Path(path_type=Path), help="Keep the zone in this file.")
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    help="Write settings that lead here, such as insight.toml, if nothing is there.",
)
def fake(
    *,
    port: int,
    zone: str,
    plan_: str,
    latency_ms: int,
    faults: tuple[str, ...],
    state: Path | None,
    write: Path | None,
) -> None:
    """Run a stand-in for Cloudflare's API, to rehearse without an account.

    It has a zone with one rule that somebody made in the dashboard, and takes and gives only
    what Cloudflare's published schema allows. Ctrl-C ends it.
    """
    if write is not None and write.exists():
        raise Conflict(f"{write} exists already; name another file, or add what is printed here")
    from insight_cloud.edge import Fake
    from insight_cloud.edge import fake as stand_in

    server = Fake(
        name=zone,
        plan=plan_,  # type: ignore[arg-type]  # click has checked it
        latency_seconds=latency_ms / 1000,
        faults=map(stand_in.fault, faults),
        on_change=_keeper(state),
    )
    if state is not None and state.exists():
        server.restore(_kept(state))
    else:
        server.add_rule("http_request_firewall_custom", stand_in.DASHBOARD_RULE)
    asyncio.run(_fake(server, port, write))


# -- what the commands do --------------------------------------------------------------------


@dataclass(frozen=True)
class _Sources:
    app: str | None
    openapi: str | None
    static: str | None


def _settings() -> Settings:
    from insight_cloud import settings

    return settings.load()


def _today() -> date:
    return datetime.now(UTC).date()


@asynccontextmanager
async def _zone(settings: Settings, *, quiet: bool = True) -> AsyncIterator[Zone]:
    from insight_cloud.edge import Cloudflare, Zone
    from insight_cloud.edge.items import STEPS

    edge = settings.edge
    if edge.api_token is None or edge.zone_id is None:
        raise SettingsError(
            "CLOUDFLARE_API_TOKEN and CLOUDFLARE_ZONE_ID name the zone and open it; "
            "`insight edge token` lists what the token needs, `insight edge fake` needs none"
        )

    if not re.fullmatch("[0-9a-f]{32}", edge.zone_id):
        raise SettingsError(
            f"edge.zone_id is {edge.zone_id!r}: it is 32 hexadecimal digits, which the zone's "
            "overview in the dashboard shows"
        )

    def progress(step: int, said: str) -> None:
        if not quiet:
            say(f"{step}/{len(STEPS)} {STEPS[step - 1]}: {said}")

    async with Cloudflare(
        edge.api_token.get_secret_value(),
        url=edge.api_url,
        timeout_seconds=edge.timeout_seconds,
        concurrency=edge.concurrency,
    ) as api:
        yield Zone(api, edge.zone_id, snapshots=edge.snapshots, progress=progress)


async def _read(settings: Settings) -> State:
    async with _zone(settings) as zone:
        return await zone.read()


def _wanted(settings: Settings, file: EdgeFile, state: State | None = None) -> Wanted:
    from insight_cloud import wiring
    from insight_cloud.edge import compile_file

    plan = None if state is None else state.zone.plan
    return compile_file(file, today=_today(), tiers=wiring.edge_tiers(settings), plan=plan)


async def _planned(
    settings: Settings, zone: Zone, path: Path | None
) -> tuple[EdgeFile, State, EdgePlan]:
    from insight_cloud.edge import load_file
    from insight_cloud.edge import plan as make_plan

    file = load_file(path or settings.edge.file)
    state = await zone.read(list(file.edge.settings))
    return file, state, make_plan(state, _wanted(settings, file, state))


def _compare(
    path: Path | None, *, out: Path | None, markdown: bool, as_json: bool, notes: bool = True
) -> int:
    """Print the difference and return the exit status."""
    from insight_cloud.cli import _edge
    from insight_cloud.edge import render
    from insight_cloud.edge.guards import objections
    from insight_cloud.edge.records import save_plan

    settings = _settings()

    async def compare() -> tuple[EdgePlan, list[str]]:
        async with _zone(settings) as zone:
            file, state, found = await _planned(settings, zone, path)
            if found:
                await zone.rehearse(found)
            return found, objections(file, state, found, today=_today())

    found, against = asyncio.run(compare())
    if out is not None:
        save_plan(out, found, now=datetime.now(UTC))
        say(f"saved to {out}")
    if markdown:
        click.echo(render.markdown(found), nl=False)
    else:
        data = render.as_dict(found) | {"objections": against}
        emit(data, as_json=as_json, human=lambda: _edge.print_plan(found, notes=notes))
    for said in against:
        say(click.style(f"against it: {said}", fg="yellow"))
    return _CHANGES if found else 0


async def _check(settings: Settings, path: Path | None) -> Sequence[Any]:
    from insight_cloud.edge import check as check_zone

    async with _zone(settings) as zone:
        file, state, found = await _planned(settings, zone, path)
    return await check_zone(file, state, found, today=_today(), ca_file=settings.edge.ca_file)


async def _apply(
    settings: Settings,
    saved: Path | None,
    path: Path | None,
    samples: Path | None,
    *,
    yes: bool,
    removals: bool,
) -> dict[str, Any] | None:
    from insight_cloud.cli import _edge
    from insight_cloud.edge import probes
    from insight_cloud.edge.guards import objections

    async with _zone(settings, quiet=False) as zone:
        file, state, found = await _planned(settings, zone, path)
        if saved is not None:
            _same_plan(saved, found)
        against = objections(file, state, found, today=_today(), removals=removals)
        if against or found.unavailable:
            raise Refused("\n".join([*against, *found.unavailable, "nothing was changed"]))
        _pass_samples(settings, file, samples)
        if not found:
            return None
        if not yes:
            _edge.print_plan(found)
            _confirm(f"Apply this to {state.zone.name}?")
        site, ca_file = file.edge.zone, settings.edge.ca_file
        ready: list[Any] = []
        if site.origin is not None and any(w.target == "ssl" for w in found.writes):
            ready.append(
                partial(probes.origin_certificate, site.origin, site.name, ca_file=ca_file)
            )
        healthy = (
            None if site.health is None else partial(probes.health, site.health, ca_file=ca_file)
        )
        applied = await zone.apply(found, ready=ready, healthy=healthy)
    return {"written": list(applied.targets), "snapshot": str(applied.snapshot)}


def _same_plan(saved: Path, found: EdgePlan) -> None:
    """What was reviewed is what is applied, on the zone for which it was reviewed."""
    from insight_cloud.edge.records import load_plan

    reviewed = load_plan(saved)
    if reviewed.digest == found.digest:
        return
    moved = sorted(name for name, value in reviewed.found.items() if found.found.get(name) != value)
    if moved:
        raise Conflict(f"the zone moved since {saved} was made: {', '.join(moved)}; plan again")
    raise Conflict(f"the file says something else than when {saved} was made; plan again")


def _pass_samples(settings: Settings, file: EdgeFile, path: Path | None) -> None:
    """Refuse rules that do not do what the samples say."""
    from insight_cloud.edge import samples as tables

    path = path or settings.edge.samples
    if not path.exists():
        say(f"there are no samples ({path}), so the rules were not tested")
        return
    table = tables.load(path)
    outcomes = tables.run(table, _simulator(settings, file), file.edge.zone.name)
    wrong = [outcome for outcome in outcomes if outcome.problems]
    if wrong:
        said = [f"{o.sample.name}: {'; '.join(o.problems)}" for o in wrong]
        raise Refused("\n".join(["the rules do not do what the samples say:", *said]))
    say(f"{len(outcomes)} samples as expected")


def _simulator(settings: Settings, file: EdgeFile) -> Simulator:
    from insight_cloud.edge import Simulator, of_items

    wanted = _wanted(settings, file)
    return Simulator(wanted.rulesets, **of_items(wanted.items))


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody is here to be asked; say --yes")
    click.confirm(question, abort=True, err=True)


async def _rollback(
    settings: Settings, path: Path | None, *, although_moved: bool, yes: bool
) -> dict[str, Any]:
    from insight_cloud.edge.records import latest_snapshot, load_snapshot

    async with _zone(settings, quiet=False) as zone:
        path = path or latest_snapshot(settings.edge.snapshots, zone.id)
        snapshot = load_snapshot(path)
        if not yes:
            what = ", ".join([*snapshot.items, *snapshot.rulesets])
            _confirm(f"Bring back {what} of {snapshot.name} as of {snapshot.made}?")
        done = await zone.rollback(path, although_moved=although_moved)
    return {"written": list(done.targets), "snapshot": str(path)}


async def _test(
    settings: Settings,
    path: Path | None,
    samples: Path | None,
    sources: _Sources,
    *,
    live: bool,
    mutants: bool,
) -> dict[str, Any]:
    from insight_cloud.cli import _edge
    from insight_cloud.edge import Simulator, load_file, of_items
    from insight_cloud.edge import mutants as changes
    from insight_cloud.edge import samples as tables

    if live:
        state = await _read(settings)
        rulesets = {phase: found.rules for phase, found in state.rulesets.items()}
        items = {name: found.value for name, found in state.items.items()}
        simulator, name = Simulator(rulesets, **of_items(items)), state.zone.name
    else:
        file = load_file(path or settings.edge.file)
        simulator, name = _simulator(settings, file), file.edge.zone.name
    table = _table(samples or settings.edge.samples, optional=samples is None)
    outcomes: list[Outcome] = tables.run(table, simulator, name)
    covered = changes.coverage(table, simulator, name)
    changed = changes.mutants(table, simulator, name) if mutants and table.requests else []
    return _edge.tested(outcomes, covered, changed, await _routes(sources, simulator, table, name))


def _table(path: Path, *, optional: bool) -> Samples:
    from insight_cloud.edge import samples as tables

    if optional and not path.exists():
        say(f"there are no samples ({path})")
        return tables.Samples()
    return tables.load(path)


async def _routes(sources: _Sources, simulator: Simulator, table: Samples, name: str) -> Any:
    from insight_cloud.edge import routes

    found = []
    if sources.app is not None:
        found += await routes.from_app(sources.app)
    if sources.openapi is not None:
        found += routes.from_openapi(await routes.read_document(sources.openapi))
    if sources.static is not None:
        folder, _, prefix = sources.static.partition("=")
        found += routes.from_files(Path(folder), prefix or "/static")
    if not found:
        return None
    return routes.check(found, simulator, table, name)


def _is_wrong(found: dict[str, Any], *, strict: bool) -> bool:
    wrong = any(sample["problems"] for sample in found["samples"])
    routes = found["routes"]
    wrong = wrong or (routes is not None and routes["status"] == "fail")
    unnoticed = bool(found["mutants"]["unnoticed"])
    unmet = any(covered["status"] != "met" for covered in found["coverage"])
    return wrong or (strict and (unnoticed or unmet))


async def _fake(server: Fake, port: int, write: Path | None) -> None:
    from insight_cloud.edge import fake as stand_in
    from insight_cloud.edge.records import write_whole

    async with stand_in.serve(server, port=port) as url:
        if write is not None:
            write_whole(write, stand_in.settings_text(url))
            say(f"wrote {write}; commands in this folder speak to the stand-in")
        say(f"the stand-in for {server.name} is on {url}")
        say(f"  CLOUDFLARE_API_TOKEN={stand_in.TOKEN}")
        say(f"  CLOUDFLARE_ZONE_ID={stand_in.ZONE}")
        say(f"  INSIGHT_EDGE__API_URL={url}")
        say("Ctrl-C ends it")
        await asyncio.Event().wait()


def _keeper(state: Path | None) -> Callable[[dict[str, Any]], None]:
    """Keeps the zone in the file `state`, if there is to be one."""
    import json

    from insight_cloud.edge.records import write_whole

    def keep(found: dict[str, Any]) -> None:
        if state is not None:
            write_whole(state, json.dumps(found))

    return keep


def _kept(path: Path) -> dict[str, Any]:
    import json

    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    return found
