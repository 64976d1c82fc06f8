"""`insight launch`: the checklist that asks its own questions, the gate, the way back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED, Missing, Refused

if TYPE_CHECKING:
    from insight_cloud.launch import Answer, Checklist, LaunchFile, Records, Run, Standing, Target
    from insight_cloud.launch.gate import Change, Signature, Waiver

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_INCOMPLETE = 3
_EXIT = {"go": 0, "no-go": CHECK_FAILED, "incomplete": _INCOMPLETE}
_GATE = {"s0": "go", "s1": "no-go: something failed", "s3": "incomplete: something is open"}
_LONGEST_DAYS = 90
_COLOURS = {
    "pass": "green",
    "signed": "green",
    "fail": "red",
    "error": "red",
    "not_run": "yellow",
    "unsigned": "yellow",
    "waived": "cyan",
    "not_applicable": "cyan",
}
_phase = click.option(
    "--phase",
    type=click.Choice(("before", "launch", "after")),
    help="Only one phase: T-48h, T-4h to T+1h, or T+24h to T+48h.",
)


@dataclass(frozen=True)
class _Place:
    """Where the launch is described and recorded, and what is looked at."""

    file: Path
    folder: Path
    records: Path
    config: Path | None
    url: str | None = None

    def open(self) -> tuple[LaunchFile, Checklist, Records]:
        from insight_cloud.launch import Records, checklist
        from insight_cloud.launch.file import read, tailored

        found = read(self.folder / self.file, checklist())
        return found, tailored(checklist(), found), Records(self.folder / self.records)

    async def target(self, file: LaunchFile, checklist: Checklist, records: Records) -> Target:
        from insight_cloud import settings
        from insight_cloud.launch import ours

        target = await ours.target(
            settings.load(self.config),
            file,
            checklist,
            url=self.url,
            folder=self.folder,
            now=datetime.now(UTC),
        )
        target.samples = records.samples()
        return target


def _place(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say where everything is, gathered into `place`."""

    @click.option("--file", default="launch.toml", type=_PATH, help="The launch, described.")
    @click.option(
        "--folder",
        default=".",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="The project.  [default: here]",
    )
    @click.option("--records", default="launch-records", type=_PATH, help="Where runs are kept.")
    @click.option("--config", type=_PATH, help="Settings file.  [default: insight.toml]")
    @wraps(function)
    def inner(
        *args: Any, file: Path, folder: Path, records: Path, config: Path | None, **named: Any
    ) -> None:
        place = _Place(file, folder, records, config, named.pop("url", None))
        function(*args, place=place, **named)

    return inner


_url = click.option("--url", help="The deployment.  [default: launch.url, server.public_url]")


@click.group()
def command() -> None:
    """Ask whether a deployment is ready to be launched, keep the answers, and plan the way back.

    Any deployment can be asked: by its address, by DATABASE_URL and REDIS_URL, by the folder of
    its project, and by what launch.toml says. What a probe needs and nobody has said makes its
    item "not run", which is never passed.
    """


@command.command(epilog=statuses(5))
@click.option("--service", is_flag=True, help="Fill in what is known of Insight Cloud itself.")
@_place
def init(place: _Place, *, service: bool) -> None:
    """Write a first launch.toml, with every value that a probe may ask for."""
    from insight_cloud.launch import checklist
    from insight_cloud.launch.file import template, write_template

    path = place.folder / place.file
    write_template(path, template(checklist(), service=service))
    click.echo(f"wrote {path}")


@command.command(epilog=statuses(6, 7, **_GATE))
@_phase
@click.option("--item", "wanted", multiple=True, metavar="ID", help="Only this; may be repeated.")
@click.option("--html", type=_PATH, help="Write the page for the launch room here.")
@_url
@_place
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    place: _Place,
    *,
    phase: str | None,
    wanted: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> None:
    """Ask every item, keep the run, say what changed, and end as the gate says.

    The limits that launch.toml names are used up: run that against production with a key that
    nobody else shares.
    """
    from insight_cloud.launch import Records, make

    file, checklist, records = place.open()
    chosen = _chosen(checklist, phase, wanted)
    before = records.runs()

    async def asked() -> Run:
        target = await place.target(file, checklist, records)
        return await make(target, chosen, phase=phase, tell=_progress(len(chosen)))  # type: ignore[arg-type]  # click has checked it

    run = asyncio.run(asked())
    Records(records.folder).keep(run)
    _show(ctx, place, file, records, run, before, html=html, as_json=as_json)


@command.command(epilog=statuses(3, 6, 7, **_GATE))
@_phase
@click.option("--html", type=_PATH, help="Write the page for the launch room here.")
@click.option("--refresh", type=click.IntRange(5, 3600), help="The page loads itself anew.")
@_place
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    place: _Place,
    *,
    phase: str | None,
    html: Path | None,
    refresh: int | None,
    as_json: bool,
) -> None:
    """Show every item as it was asked last, with today's waivers and signatures; ask nothing."""
    from insight_cloud.launch.report import latest

    file, checklist, records = place.open()
    runs = records.runs()
    if not runs:
        raise Missing(f"nothing was asked yet: there is no run in {records.folder}")
    run = latest(runs, _chosen(checklist, phase, ()))
    _show(ctx, place, file, records, run, runs[1:], html=html, as_json=as_json, refresh=refresh)


@command.command(epilog=statuses(3, 4, 6))
@click.argument("item", metavar="ID")
@click.option("--by", required=True, metavar="NAME", help="Who answers for it.")
@click.option("--until", required=True, metavar="DATE", help="When it ends: at most in 90 days.")
@click.option("--why", required=True, help="The reason.")
@_place
@json_option
def waive(place: _Place, item: str, *, by: str, until: str, why: str, as_json: bool) -> None:
    """Answer for an item that is not as it should be, by name and until a date."""
    from insight_cloud.launch import Waiver

    now = datetime.now(UTC)
    _, checklist, records = place.open()
    waiver = Waiver(
        id=_known(checklist, item),
        by=_said("--by", by),
        until=_until(until, now),
        why=_said("--why", why),
        at=now,
    )
    records.keep(waiver)
    _said_so(waiver, f"{waiver.id} is waived until {waiver.until:%Y-%m-%d %H:%M} UTC", as_json)


@command.command(epilog=statuses(3, 4, 6))
@click.argument("item", metavar="ID")
@click.option("--by", required=True, metavar="NAME", help="Who says so.")
@click.option("--note", default="", help="What was seen.")
@_place
@json_option
def sign(place: _Place, item: str, *, by: str, note: str, as_json: bool) -> None:
    """Say that an item which no machine can ask about is done, for this release."""
    from insight_cloud.launch import Signature
    from insight_cloud.launch.target import git_values

    file, checklist, records = place.open()
    name = _known(checklist, item)
    found = checklist.find(name)
    if found is not None and found.probes:
        raise Refused(f"{name} is asked by a machine; who cannot wait for it waives it")
    values = asyncio.run(git_values(place.folder, file.about.release))
    signature = Signature(
        id=name,
        by=_said("--by", by),
        at=datetime.now(UTC),
        note=note,
        release=values.get("release"),
    )
    records.keep(signature)
    _said_so(signature, f"{name} is signed by {signature.by}", as_json)


@command.group()
def rollback() -> None:
    """The way back."""


@rollback.command(epilog=statuses(3))
@click.option("--reason", default="", help="Why one goes back, for the message.")
@_place
@json_option
def plan(place: _Place, *, reason: str, as_json: bool) -> None:
    """Print the steps back in their order, whom to reach, and the message to send."""
    from insight_cloud.launch import rollback as way

    file, _, records = place.open()
    known = _filling(place, file, records) | ({"reason": reason} if reason else {})
    steps = way.plan(file, known)
    messages = [
        {"name": one.name, "to": one.to, "subject": subject, "text": text}
        for one in file.messages
        for subject, text in [way.message(one, known)]
        if one.at is None
    ]

    def human() -> None:
        click.secho(f"{file.rollback.owner or 'nobody'} decides", bold=True)
        for number, step in enumerate(steps, 1):
            click.echo(f"{number}. {step.target}: {step.after}  ({step.reason})")
        for one in file.contacts:
            click.echo(f"   {one.role}: {one.name}, {one.reach} {one.account}".rstrip())
        for message in messages:
            click.echo(f"\n-- {message['name']}, to {message['to']}: {message['subject']}")
            click.echo(message["text"].strip())

    data = {"owner": file.rollback.owner, "steps": tuple(steps), "messages": messages}
    emit(data | {"contacts": file.contacts}, as_json=as_json, human=human)


@command.command(epilog=statuses(6, s1="a goal was missed", s3="a goal has no value"))
@click.option("--over", default="48h", metavar="PERIOD", help="15m, 48h, 7d.  [default: 48h]")
@click.option("--output", type=_PATH, help="Write the report here as well, as JSON.")
@_url
@_place
@json_option
@click.pass_context
def metrics(
    ctx: click.Context, place: _Place, *, over: str, output: Path | None, as_json: bool
) -> None:
    """Hold what was measured over a period against the goals of the launch."""
    import msgspec

    from insight_cloud.core import files
    from insight_cloud.launch import measure

    file, checklist, records = place.open()

    async def asked() -> Any:
        return await measure(await place.target(file, checklist, records), over=over)

    found = asyncio.run(asked())
    if output is not None:
        files.write(output, msgspec.json.format(msgspec.json.encode(found), indent=1))
    emit(found, as_json=as_json, human=lambda: _print_success(found))
    ctx.exit(CHECK_FAILED if found.missed else _INCOMPLETE if found.unknown else 0)


@command.command(epilog=statuses(6, s1="the service does not answer"))
@_url
@_place
@json_option
@click.pass_context
def sample(ctx: click.Context, place: _Place, *, as_json: bool) -> None:
    """Look once whether the service answers and what it has counted; made for a timer.

    From the samples of a minute each, `metrics` and the items after the launch know how long the
    service was available, whether it was restarted, and whether its memory grows.
    """
    from insight_cloud.launch import success

    file, checklist, records = place.open()

    async def asked() -> Mapping[str, Any]:
        return await success.sample(await place.target(file, checklist, records))

    found = asyncio.run(asked())
    records.keep_sample(found, now=datetime.now(UTC))
    said = "answers" if found["up"] else f"does not answer: {found['problem']}"
    shown = {name: value for name, value in found.items() if name != "values"}
    emit(shown, as_json=as_json, human=lambda: click.echo(f"{found['url']} {said}"))
    if not found["up"]:
        ctx.exit(CHECK_FAILED)


@command.command(epilog=statuses(6))
@_place
def schema(place: _Place) -> None:
    """Print the schema of the database, for the item that compares it with the release's."""
    import msgspec

    from insight_cloud.core.errors import Unavailable
    from insight_cloud.launch import NotRun
    from insight_cloud.launch.probes.sql import read_sql

    file, checklist, records = place.open()

    async def asked() -> Any:
        try:
            target = await place.target(file, checklist, records)
            return (await read_sql(target, {"query": "schema"}))["rows"]
        except NotRun as reason:
            raise Unavailable(str(reason)) from reason

    rows = asyncio.run(asked())
    click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode())


# -- what the commands do --------------------------------------------------------------------


def _chosen(checklist: Checklist, phase: str | None, wanted: Sequence[str]) -> Sequence[Any]:
    if not wanted:
        return checklist.of(phase)  # type: ignore[arg-type]  # click has checked it
    names = {_known(checklist, name) for name in wanted}
    return [item for item in checklist.items if item.id in names]


def _known(checklist: Checklist, name: str) -> str:
    found = checklist.find(name)
    if found is None:
        raise Missing(f"there is no item {name!r}; `insight launch report` lists them")
    return found.id


def _said(option: str, text: str) -> str:
    if not text.strip():
        raise Refused(f"{option} says nothing")
    return text.strip()


def _until(text: str, now: datetime) -> datetime:
    """The end of the day that `text` names, or the moment."""
    try:
        day = date.fromisoformat(text)
        until = datetime.combine(day + timedelta(days=1), time(), UTC)
    except ValueError:
        try:
            until = datetime.fromisoformat(text)
        except ValueError as error:
            raise click.BadParameter(
                f"{text!r} is no date: write 2026-12-24", param_hint="--until"
            ) from error
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until <= now:
        raise Refused(f"{text} is past, so nothing would be waived")
    if until > now + timedelta(days=_LONGEST_DAYS + 1):
        raise Refused(f"{text} is more than {_LONGEST_DAYS} days ahead: a waiver ends")
    return until


def _said_so(record: Waiver | Signature, words: str, as_json: bool) -> None:  # noqa: FBT001 - passed on
    emit(record, as_json=as_json, human=lambda: click.echo(words))


def _progress(total: int) -> Callable[[Answer], None]:
    """A line for each item that is not passed, and how far it is, on standard error."""
    done = 0

    def tell(answer: Answer) -> None:
        nonlocal done
        done += 1
        if answer.outcome in {"fail", "error"} or done == total:
            say(f"[{done}/{total}] {answer.id} {answer.outcome}")

    return tell


def _filling(place: _Place, file: LaunchFile, records: Records) -> dict[str, Any]:
    """What the messages and steps may speak of."""
    from insight_cloud.launch.target import git_values

    runs = records.runs()
    values = asyncio.run(git_values(place.folder, file.about.release))
    release = values.get("release")
    known = {
        "name": file.about.name,
        "url": place.url or file.about.url or (runs[0].url if runs else None),
        "release": release,
        "time": f"{datetime.now(UTC):%H:%M} UTC",
        "previous_release": next(
            (r.release for r in runs if r.release not in {None, release}), None
        ),
    }
    return {name: value for name, value in known.items() if value is not None}


def _show(  # noqa: PLR0917 - what every report needs
    ctx: click.Context,
    place: _Place,
    file: LaunchFile,
    records: Records,
    run: Run,
    before: Sequence[Run],
    *,
    html: Path | None,
    as_json: bool,
    refresh: int | None = None,
) -> None:
    from insight_cloud.core import files
    from insight_cloud.launch import changes, page, standings, verdict

    now = datetime.now(UTC)
    found = standings(
        run,
        waivers=records.waivers(),
        signatures=records.signatures(),
        not_applicable=file.not_applicable,
        now=now,
    )
    changed = changes(run, before)
    if html is not None:
        drawn = page.draw(
            run,
            found,
            file=file,
            changed=changed,
            known=_filling(place, file, records),
            now=now,
            refresh_seconds=refresh,
        )
        files.write(html, drawn.encode())
        say(f"wrote {html}")
    word = verdict(found)
    data = {
        "verdict": word,
        "counts": dict(Counter(one.state for one in found)),
        "changes": changed,
        "items": found,
        "run": {"at": run.at, "url": run.url, "release": run.release, "seconds": run.seconds},
    }
    emit(data, as_json=as_json, human=lambda: _print(run, found, changed, word))
    ctx.exit(_EXIT[word])


def _print(run: Run, found: Sequence[Standing], changed: Sequence[Change], word: str) -> None:
    from insight_cloud.launch.page import WORDS

    for one in found:
        if one.blocks or one.state == "waived":
            state = click.style(f"{WORDS[one.state]:12}", fg=_COLOURS[one.state])
            click.echo(f"{one.answer.id:6} {state} {one.answer.text}")
            why = "; ".join(filter(None, (one.answer.reason, one.word)))
            if why and one.state != "unsigned":
                click.echo(f"{'':19} {why}")
    for change in changed:
        click.echo(f"{change.id:6} {WORDS[change.before]} -> {WORDS[change.after]}")  # type: ignore[index]  # an outcome is a state
    counts = Counter(one.state for one in found)
    click.echo(", ".join(f"{counts[state]} {WORDS[state]}" for state in WORDS if counts[state]))
    colour = {"go": "green", "no-go": "red"}.get(word, "yellow")
    click.secho(f"{word}: {run.name}", fg=colour, bold=True)


def _print_success(found: Any) -> None:
    hours = "all of it" if found.period_hours is None else f"{found.period_hours:g} h of it"
    click.echo(f"the last {found.over}, {hours} known, {found.requests or 0:.0f} requests")
    for one in found.targets:
        colour = {"met": "green", "missed": "red"}.get(one.result, "yellow")
        value = "-" if one.value is None else f"{one.value:g}"
        word = click.style(f"{one.result:8}", fg=colour)
        click.echo(f"{word} {one.about:32} {value:>10}  ({one.goal})")
