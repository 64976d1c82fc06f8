"""`insight tune database`: facts, findings, advice, plan; carried out when asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_cloud.cli._output import say
from insight_cloud.cli._tune import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from insight_cloud.core.plan import Change, Plan, Verb
    from insight_cloud.settings import Settings
    from insight_cloud.tuning import Facts, Finding, Statement, Thresholds
    from insight_cloud.tuning.advisor.advice import Advised

__all__ = ["run", "undo"]

_OPPOSITE: dict[Verb, Verb] = {"create": "delete", "delete": "create"}
_MOST_FILE_BYTES = 512 * 1024 * 1024


async def run(
    *,
    url: str | None,
    log: Path | None,
    statements: Path | None,
    no_advice: bool,
    clone: str | None,
    only: Sequence[str],
    apply: bool,
    config: Path | None,
) -> Outcome:
    """Look at the database, plan, and with `apply` carry the plan out."""
    from insight_cloud import settings, tuning
    from insight_cloud.core.report import Report, stopwatch
    from insight_cloud.tuning import finding, postgres, reports, rules
    from insight_cloud.tuning.advisor import session

    _known(only)
    wanted = settings.load(config)
    given = _given(log, statements)
    with stopwatch() as watch:
        async with _target(wanted, url) as target:
            facts = await tuning.read(target)
            if given is not None:
                unseen = {k: v for k, v in facts.unseen.items() if k != "statements"}
                facts = replace(facts, statements=given, unseen=unseen)
            thresholds = _thresholds(wanted, target)
            found = tuning.findings(facts, thresholds)
            unseen = rules.unseen_kinds(facts, thresholds)
            details: dict[str, Any] = {}
            if not no_advice:
                advised = await _advised(
                    wanted, target, facts, clone=clone, details=details, unseen=unseen
                )
                found = session.reconciled(found, advised)
            else:
                unseen["index.missing"] = "not asked for (--no-advice)"
            plan = tuning.plan(_chosen(found, only))
            checks = finding.checks("database", rules.KINDS, found, unseen)
            at = datetime.now(UTC)
            changes = await _applied(wanted, target, plan, at) if apply else list(plan)
            subject = postgres.label(target)
    document = reports.document(
        "database",
        subject,
        at,
        Report.of(checks),
        found,
        seconds=watch.seconds,
        metrics=facts.as_metrics(),
        changes=[asdict(change) for change in changes],
        applied=apply,
        details=details,
    )
    return Outcome(document, wanted.performance.reports, wanted.performance.keep_reports)


def _known(only: Sequence[str]) -> None:
    from insight_cloud.core.errors import SettingsError
    from insight_cloud.tuning import rules

    unknown = [kind for kind in only if kind not in rules.KINDS]
    if unknown:
        raise SettingsError(f"{unknown[0]!r} is no kind of finding: {', '.join(rules.KINDS)}")


def _chosen(found: Sequence[Finding], only: Sequence[str]) -> list[Finding]:
    return [one for one in found if not only or one.kind in only]


@asynccontextmanager
async def _target(settings: Settings, url: str | None) -> AsyncIterator[str]:
    from insight_cloud import wiring

    if url is not None:
        yield url
        return
    async with wiring.database_url(settings) as ours:
        yield ours


def _thresholds(settings: Settings, url: str) -> Thresholds:
    """Those of the settings; a local server's memory is this machine's."""
    from insight_cloud.telemetry.process import memory_limit_bytes
    from insight_cloud.tuning import postgres

    found = settings.performance.thresholds()
    if found.memory_bytes is None and postgres.is_local(url):
        return replace(found, memory_bytes=memory_limit_bytes())
    return found


def _given(log: Path | None, statements: Path | None) -> tuple[Statement, ...] | None:
    """What runs, as the files say; None without any."""
    from insight_cloud.tuning import workload

    sources = []
    if log is not None:
        sources.append(workload.from_log(_text(log).splitlines(keepends=True)))
    if statements is not None:
        text = _text(statements)
        if statements.suffix == ".json":
            sources.append(workload.from_json(text.encode()))
        else:
            sources.append(workload.from_sql(text))
    return workload.merged(*sources) if sources else None


def _text(path: Path) -> str:
    from insight_cloud.core.errors import Missing, TooLarge

    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise TooLarge(f"{path} is larger than {_MOST_FILE_BYTES // 2**20} MiB: cut it")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Missing(f"cannot read {path}: {error.strerror}") from error


async def _advised(
    settings: Settings,
    url: str,
    facts: Facts,
    *,
    clone: str | None,
    details: dict[str, Any],
    unseen: dict[str, str],
) -> Sequence[Advised]:
    """What the advisor proposes, proved on the clone if there is one."""
    from insight_cloud import wiring
    from insight_cloud.core.errors import InsightError
    from insight_cloud.tuning.advisor import advice as advising
    from insight_cloud.tuning.advisor import session, trial

    if not facts.statements:
        unseen["index.missing"] = facts.unseen.get("statements", "no statement has run yet")
        return []
    say(f"asking the planner about {len(facts.statements)} statements")
    try:
        advice = await session.consult(
            url, facts, facts.statements, _budget(settings, facts), server=wiring.shadow_server
        )
    except InsightError as error:
        unseen["index.missing"] = str(error)
        return []
    if clone is not None:
        say(f"trying {len(advice.indexes)} indexes out on the clone")
        proved = await trial.confirm(url, clone, facts.statements, advice)
        gone = [one.index for one in advice.indexes if one.index not in proved.kept]
        advice = advising.without(advice, gone)
        details["trial"] = proved.as_dict()
    details["advice"] = advice.as_dict()
    for text in advice.unplanned:
        say(f"cannot be planned: {text}")
    return advice.indexes


def _budget(settings: Settings, facts: Facts) -> Any:
    from insight_cloud.tuning.advisor.choice import Budget

    wanted = settings.performance
    room = wanted.advice_bytes
    if room is None:
        room = max(64 * 1024 * 1024, sum(table.bytes for table in facts.tables) // 2)
    return Budget(wanted.max_indexes, room, wanted.write_percent / 100)


# -- carrying out --------------------------------------------------------------------------


async def _applied(settings: Settings, url: str, plan: Plan, at: datetime) -> list[Change]:
    from insight_cloud import tuning

    folder = settings.performance.reports
    journal = folder / f"applied-{at:%Y%m%dT%H%M%S}Z.jsonl"
    done = await tuning.apply(
        url,
        plan,
        lock_seconds=settings.performance.lock_timeout_seconds,
        progress=lambda change, text: say(f"{change.target}: {text}"),
        before=lambda change: _note(journal, change),
    )
    if done:
        say(f"To take it back: insight tune undo {journal}")
    return [one.change for one in done]


def _note(journal: Path, change: Change) -> None:
    """Write down what takes a step back, on disk before the step is made."""
    import os

    import msgspec

    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        file.write(msgspec.json.encode(change) + b"\n")
        file.flush()
        os.fsync(file.fileno())


async def undo(url: str | None, config: Path | None, journal: Path | None, *, yes: bool) -> Plan:
    """What takes the journal's steps back; carried out with `yes`."""
    from insight_cloud import settings, tuning
    from insight_cloud.core.plan import Plan

    wanted = settings.load(config)
    plan = Plan(_backwards(_newest(wanted.performance.reports) if journal is None else journal))
    if yes and plan:
        async with _target(wanted, url) as target:
            await tuning.apply(
                target,
                plan,
                lock_seconds=wanted.performance.lock_timeout_seconds,
                progress=lambda change, text: say(f"{change.target}: {text}"),
            )
    return plan


def _newest(folder: Path) -> Path:
    from insight_cloud.core.errors import Missing

    found = max(folder.glob("applied-*.jsonl"), default=None)
    if found is None:
        raise Missing(f"nothing was applied yet: {folder} holds no applied-*.jsonl")
    return found


def _backwards(journal: Path) -> tuple[Change, ...]:
    import msgspec

    from insight_cloud.core.errors import Corrupt
    from insight_cloud.core.plan import Change

    changes = []
    for line in _text(journal).splitlines():
        try:
            change = msgspec.json.decode(line, type=Change)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{journal} is no journal of ours: {line[:60]!r}") from error
        if change.before is not None:
            back = replace(change, verb=_OPPOSITE.get(change.verb, "run"), reason="taken back")
            changes.append(replace(back, before=change.after, after=change.before))
    return tuple(reversed(changes))
