"""A zone at Cloudflare: read it, apply a plan, prove it, and take it back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    Refused,
    Unavailable,
)
from insight_cloud.edge import records
from insight_cloud.edge.cloudflare import Cloudflare
from insight_cloud.edge.items import STEPS, item, same
from insight_cloud.edge.phases import Phase
from insight_cloud.edge.planning import EdgePlan, Write, canonical, sent
from insight_cloud.edge.records import Snapshot
from insight_cloud.edge.state import State, read, ruleset_of

__all__ = ["Applied", "Progress", "Zone"]

Progress = Callable[[int, str], None]
"""Called with the number of a step and what is done in it."""

Probe = Callable[[], Awaitable[str]]
"""Asks the site something; what is wrong, or nothing."""


class Applied:
    """What `apply` or `rollback` did."""

    def __init__(self, writes: Sequence[Write], snapshot: Path | None) -> None:
        self.targets = tuple(write.target for write in writes)
        self.snapshot = snapshot


def _quiet(step: int, said: str) -> None:
    """Say nothing."""


def _now() -> datetime:
    return datetime.now(UTC)


class Zone:
    """One zone; `snapshots` is the folder where its state is kept before it is changed."""

    def __init__(
        self,
        api: Cloudflare,
        zone: str,
        *,
        snapshots: Path,
        clock: Callable[[], datetime] = _now,
        progress: Progress = _quiet,
    ) -> None:
        self._api = api
        self.id = zone
        self._snapshots = snapshots
        self._clock = clock
        self._progress = progress

    async def read(self, settings: Sequence[str] = ()) -> State:
        """Read everything that can be managed, and `settings` besides.

        Raises:
            InsightError: as of `state.read`.
        """
        self._progress(1, "read the zone")
        return await read(self._api, self.id, settings=settings)

    async def rehearse(self, plan: EdgePlan) -> None:
        """Let the API check every rule that would be written, without writing it.

        Raises:
            Invalid: it refuses one; the message names the place in the file.
            InsightError: as of `Cloudflare.call`.
        """
        writes = [write for write in plan.writes if write.kind == "ruleset"]
        problems = await asyncio.gather(*(self._rehearse(write, plan) for write in writes))
        said = [problem for problem in problems if problem]
        if said:
            raise Invalid("the zone would refuse this; nothing was changed\n" + "\n".join(said))

    async def apply(
        self,
        plan: EdgePlan,
        *,
        ready: Sequence[Probe] = (),
        healthy: Probe | None = None,
    ) -> Applied:
        """Make the zone what `plan` says, or leave it as it is.

        First the zone must be as it was when it was planned, every probe of `ready` must find
        nothing wrong, and the API must accept every rule in a dry run. A snapshot is written
        before anything else is. What fails from then on, also an interruption, is taken back:
        a call, the comparison with what reads back, or `healthy`.

        Raises:
            Conflict: the zone moved since the plan was made.
            Refused: a probe of `ready` found something, or the plan holds what cannot be had.
            Invalid: the API refuses a rule.
            Unavailable: something failed half-way; the message says whether it was taken back.
        """
        if plan.zone != self.id:
            raise Conflict(f"the plan is for the zone {plan.zone}, and this is {self.id}")
        if plan.unavailable:
            raise Refused("\n".join(plan.unavailable))
        before = await self.read(_settings(plan))
        _same_zone(before, plan.found, "plan again")
        await _all_ready(ready)
        if not plan.writes:
            return Applied((), None)
        self._progress(1, "rehearse every rule on the server")
        await self.rehearse(plan)
        path = self._snapshot(before, plan)
        done: list[Write] = []
        try:
            await self._write(plan, before, done)
            after = await self._read_back(plan)
            if healthy is not None:
                self._progress(len(STEPS), "ask the site")
                _works(await healthy())
        except BaseException as error:
            await self._take_back(path, done, error)
            raise
        snapshot = records.load_snapshot(path)
        records.save_snapshot(path, replace(snapshot, after=after.fingerprint()))
        return Applied(done, path)

    async def rollback(self, path: Path, *, although_moved: bool = False) -> Applied:
        """Bring back what the snapshot at `path` holds.

        Raises:
            Conflict: it is another zone's, or the zone moved since the apply and
                `although_moved` is not set.
            Missing, Corrupt: as of `records.load_snapshot`.
            InsightError: as of `Cloudflare.call`.
        """
        snapshot = records.load_snapshot(path)
        if snapshot.zone != self.id:
            raise Conflict(f"{path} is of the zone {snapshot.zone}, and this is {self.id}")
        state = await self.read(list(snapshot.items))
        if snapshot.after and not although_moved:
            touched = [*snapshot.items, *snapshot.rulesets]
            known = {key: value for key, value in snapshot.after.items() if key in touched}
            _same_zone(state, known, "go back all the same with --although-moved")
        writes = _back(snapshot, state)
        for write in writes:
            self._progress(write.step, f"bring back {write.target}")
            await self._call(write)
        await self._check_back(snapshot)
        return Applied(writes, path)

    # -- writing -------------------------------------------------------------------------

    async def _rehearse(self, write: Write, plan: EdgePlan) -> str:
        try:
            await self._call(write, dry_run=True)
        except Invalid as error:
            places = [
                place for name, place in plan.places.items() if name.startswith(f"{write.target}/")
            ]
            return f"{_blamed(str(error), write, plan) or ', '.join(places)}: {error}"
        return ""

    async def _write(self, plan: EdgePlan, before: State, done: list[Write]) -> None:
        for write in plan.writes:
            self._progress(write.step, f"write {write.target}")
            if write.kind == "ruleset":
                await self._still(cast("Phase", write.target), before)
            done.append(write)  # before the call: a cut answer may have changed it all the same
            await self._call(write)

    async def _still(self, phase: Phase, before: State) -> None:
        """A ruleset is replaced whole, so a rule that somebody added just now would be lost."""
        found = ruleset_of(await self._api.ruleset(self.id, phase), phase)
        if found.version != before.rulesets[phase].version:
            raise Conflict(f"somebody changed {phase} a moment ago; plan again")

    async def _call(self, write: Write, *, dry_run: bool = False) -> Any:
        if write.kind == "ruleset":
            path = f"/zones/{self.id}/rulesets/phases/{write.target}/entrypoint"
            body = {"rules": write.value}
            return await self._api.call("PUT", path, body, dry_run=dry_run)
        described = item(write.target)
        path = f"/zones/{self.id}{described.path}"
        return await self._api.call(described.method, path, described.body(write.value))

    async def _read_back(self, plan: EdgePlan) -> State:
        self._progress(len(STEPS), "read back")
        state = await read(self._api, self.id, only=[write.target for write in plan.writes])
        wrong = [write.target for write in plan.writes if not _is_there(write, state)]
        if wrong:
            raise Corrupt(f"what was written does not read back: {', '.join(wrong)}")
        return state

    # -- going back ----------------------------------------------------------------------

    def _snapshot(self, before: State, plan: EdgePlan) -> Path:
        items = [write for write in plan.writes if write.kind == "item"]
        phases = [cast("Phase", w.target) for w in plan.writes if w.kind == "ruleset"]
        now = self._clock()
        snapshot = Snapshot(
            self.id,
            before.zone.name,
            now.isoformat(timespec="seconds"),
            {w.target: _writable(w.target, before.items[w.target].value, w.value) for w in items},
            {phase: [sent(rule) for rule in before.rulesets[phase].rules] for phase in phases},
            {},
        )
        path = self._snapshots / f"{self.id}-{now:%Y%m%dT%H%M%S%f}.json"
        records.save_snapshot(path, snapshot)
        return path

    async def _take_back(self, path: Path, done: Sequence[Write], error: BaseException) -> None:
        """Undo `done`; an interruption waits for it.

        Raises:
            Unavailable: it could not be undone, or it was, and `error` is one of ours.
        """
        if not done:
            return
        self._progress(len(STEPS), "take everything back")
        undoing = asyncio.ensure_future(self._undo(path, done))
        while not undoing.done():
            with contextlib.suppress(asyncio.CancelledError):  # a second Ctrl-C waits as well
                await asyncio.wait([undoing])
        failure = undoing.exception()
        if failure is not None:
            raise Unavailable(
                f"{str(error) or type(error).__name__}\nand taking it back failed: {failure}\n"
                f"written so far: {', '.join(write.target for write in done)}; when Cloudflare "
                f"answers again: insight edge rollback {path}"
            ) from failure
        if isinstance(error, InsightError):
            raise Unavailable(f"{error}\neverything was taken back to {path}") from error

    async def _undo(self, path: Path, done: Sequence[Write]) -> None:
        snapshot = records.load_snapshot(path)
        for write in reversed(done):
            if write.kind == "ruleset":
                phase = cast("Phase", write.target)
                await self._call(replace(write, value=snapshot.rulesets[phase]))
            else:
                await self._call(replace(write, value=snapshot.items[write.target]))
        await self._check_back(snapshot, {write.target for write in done})

    async def _check_back(self, snapshot: Snapshot, targets: set[str] | None = None) -> None:
        state = await read(self._api, self.id, only=[*snapshot.items, *snapshot.rulesets])
        wrong = [
            write.target
            for write in _back(snapshot, state)
            if targets is None or write.target in targets
        ]
        if wrong:
            raise Corrupt(f"the snapshot does not read back: {', '.join(wrong)}")


def _settings(plan: EdgePlan) -> list[str]:
    """The names of single values that the plan knows beside the usual ones."""
    return [name for name in plan.found if not name.startswith("http_")]


def _same_zone(state: State, known: Mapping[str, str], advice: str) -> None:
    found = state.fingerprint()
    moved = sorted(name for name, value in known.items() if found.get(name) != value)
    if moved:
        raise Conflict(
            f"the zone moved since: {', '.join(moved)}. Look at it with `insight edge drift`, "
            f"then {advice}"
        )


def _works(said: str) -> None:
    if said:
        raise Unavailable(f"the site does not work with this: {said}")


async def _all_ready(probes: Sequence[Probe]) -> None:
    said = [problem for probe in probes if (problem := await probe())]
    if said:
        raise Refused("\n".join([*said, "nothing was changed"]))


def _is_there(write: Write, state: State) -> bool:
    if write.kind == "item":
        found = state.items.get(write.target)
        return found is not None and same(write.target, found.value, write.value)
    ruleset = state.rulesets.get(cast("Phase", write.target))
    return ruleset is not None and _alike(ruleset.rules, write.value)


def _alike(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    if len(found) != len(wanted):
        return False
    for one, other in zip(map(canonical, found), map(canonical, wanted), strict=True):
        if "logging" not in other:
            one.pop("logging", None)
        if one != other:
            return False
    return True


def _blamed(said: str, write: Write, plan: EdgePlan) -> str:
    """The place of the rule that the API points at, as in `/rules/2/expression`."""
    for number, rule in enumerate(write.value):
        if f"rules/{number}" in said:
            name = str(rule.get("ref", "")).partition(":")[2]
            return plan.places.get(f"{write.target}/{name}", "")
    return ""


def _back(snapshot: Snapshot, state: State) -> list[Write]:
    """The writes that bring `snapshot` back, the last step first."""
    writes = [
        Write(name, "item", item(name).step, value)
        for name, value in snapshot.items.items()
        if name not in state.items or not same(name, state.items[name].value, value)
    ]
    for phase, rules in snapshot.rulesets.items():
        live = state.rulesets.get(phase)
        if live is None or not _alike(live.rules, rules):
            writes.append(Write(phase, "ruleset", 6, rules))
    return sorted(writes, key=lambda write: -write.step)


def _writable(name: str, value: Any, written: Any) -> Any:
    """Of an object that was read, the keys that were written: others cannot be set."""
    if item(name).wrapped or not isinstance(value, dict) or not isinstance(written, dict):
        return value
    return {key: value[key] for key in written if value.get(key) is not None}
