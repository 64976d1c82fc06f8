"""One result of a log as a finding: rule, message, place, flow, fingerprints, suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from insight_cloud.app.sarif import messages, severity, wire
from insight_cloud.app.sarif.limits import Limits
from insight_cloud.app.sarif.model import Category, Finding, Location, Severity, Snippet
from insight_cloud.app.sarif.paths import Resolver
from insight_cloud.app.sarif.rules import Book, Entry
from insight_cloud.app.sarif.warned import Warnings

__all__ = ["OUR_CONTEXT", "OUR_LINE", "OUR_PROJECT", "NoIssue", "ResultReader"]

OUR_CONTEXT = "insightContext/v1"
"""The partial fingerprint that holds `Finding.context_hash`."""

OUR_PROJECT = "insightProject"
"""Result property that marks a finding about the project: its location is none."""

OUR_LINE = "insightLine/v1"
"""The partial fingerprint that holds `Finding.line_hash`."""

_SNIPPET_LINES, _SNIPPET_CHARACTERS = 7, 4_000

_LARGEST_LINE = 2**31 - 1
"""PostgreSQL's integer."""

_LEVELS = frozenset({"error", "warning", "note", "none"})
_OPEN_STATUS = frozenset({"underReview", "rejected"})


class NoIssue(msgspec.Struct, frozen=True):
    """A result that says that nothing is wrong (any more)."""

    why: str


class ResultReader:
    """Reads the results of one run; `used` are the rules that they named, in that order."""

    def __init__(
        self,
        *,
        tool: str,
        book: Book,
        texts: Mapping[str, wire.Message] | None,
        paths: Resolver,
        flow_cache: Sequence[wire.Step | None],
        limits: Limits,
        warnings: Warnings,
    ) -> None:
        self._tool = tool
        self._book = book
        self._texts = texts
        self._paths = paths
        self._flow_cache = flow_cache
        self._limits = limits
        self._warnings = warnings
        self._judged: dict[tuple[str, str], tuple[Severity, Category]] = {}
        self.used: dict[str, Entry] = {}

    def read(self, result: wire.Result, pointer: str) -> Finding | NoIssue | None:
        """The finding; `NoIssue`, or None when it cannot be one (then a warning says why)."""
        if result.message is None:
            self._warnings.add(pointer, "the result has no message; it is left out")
            return None
        kind = result.kind
        if kind is not None and kind != "fail":
            return NoIssue(f"their kind is {kind[:40]!r}")
        if result.baseline_state == "absent":
            return NoIssue("their baseline state is 'absent'")
        entry = self._entry(result, pointer)
        message = self._message(result.message, entry, pointer)
        given = None if (result.properties or {}).get(OUR_PROJECT) is True else result.locations
        locations = self._places(given, pointer, "locations")
        location = self._primary(given, locations, pointer)
        level = self._level(result, entry, pointer)
        judgement = self._judge(entry, level, result.properties)
        context = line = ""
        fingerprints: dict[str, str] = {}
        if result.fingerprints or result.partial_fingerprints:
            fingerprints = self._fingerprints(result, pointer)
            context = fingerprints.pop(OUR_CONTEXT, "")
            line = fingerprints.pop(OUR_LINE, "")
        return Finding(
            rule=entry.code,
            message=message,
            severity=judgement[0],
            category=judgement[1],
            location=location,
            related=self._related(result, locations, pointer),
            flow=self._flow(result.code_flows, pointer) if result.code_flows else (),
            fingerprints=fingerprints,
            context_hash=context,
            line_hash=line,
            suppressed=bool(result.suppressions) and _suppressed(result.suppressions),
            pointer=pointer,
            snippet=_snippet(given[0]) if given and locations else None,
        )

    def _entry(self, result: wire.Result, pointer: str) -> Entry:
        entry = self._book.entry(result)
        if entry.lost_index is not None:
            self._warnings.add(pointer, f"rule index {entry.lost_index} is out of range; ignored")
        if len(entry.code) > self._limits.code_characters:
            limit = self._limits.code_characters
            self._warnings.add(pointer, f"the rule's code is cut to {limit} characters")
            entry = msgspec.structs.replace(entry, code=entry.code[:limit])
        return self.used.setdefault(entry.code, entry)

    def _message(self, message: wire.Message, entry: Entry, pointer: str) -> str:
        rule = entry.descriptor
        strings = rule.message_strings if rule is not None else None
        text = messages.render(message, strings, self._texts)
        if not text and rule is not None:
            text = _text(rule.short_description) or _text(rule.full_description)
        if not text:
            self._warnings.add(f"{pointer}/message", "there is no text; the rule's code is shown")
            return entry.code
        if len(text) > self._limits.message_characters:
            limit = self._limits.message_characters
            self._warnings.add(f"{pointer}/message", f"cut to {limit:,} characters")
            return text[:limit]
        return text

    def _level(self, result: wire.Result, entry: Entry, pointer: str) -> str:
        level = result.level or entry.level
        rule = entry.descriptor
        if level is None and rule is not None and rule.default_configuration is not None:
            level = rule.default_configuration.level
        if level is None:
            return "warning"
        if level not in _LEVELS:
            self._warnings.add(
                f"{pointer}/level", f"{level[:40]!r} is no level; taken as 'warning'"
            )
            return "warning"
        return level

    def _judge(
        self, entry: Entry, level: str, properties: dict[str, Any] | None
    ) -> tuple[Severity, Category]:
        """Severity and category; remembered by rule and level unless the result says more."""
        rule = entry.descriptor.properties if entry.descriptor is not None else None
        if properties:
            return severity.judge(self._tool, entry.code, level, rule, properties)
        asked = (entry.code, level)
        try:
            return self._judged[asked]
        except KeyError:
            judged = severity.judge(self._tool, entry.code, level, rule, None)
            self._judged[asked] = judged
            return judged

    # -- places

    def _primary(
        self, given: list[wire.Location] | None, read: list[Location], pointer: str
    ) -> Location | None:
        if read:
            return read[0]
        if given and any(place.physical_location is not None for place in given):
            self._warnings.add(
                f"{pointer}/locations", "no file can be told; the finding is the project's"
            )
        return None

    def _related(
        self, result: wire.Result, locations: list[Location], pointer: str
    ) -> tuple[Location, ...]:
        """Every further place once: the other locations, then the related ones."""
        if result.related_locations is None:
            return tuple(dict.fromkeys(locations[1:]))
        related = self._places(result.related_locations, pointer, "relatedLocations")
        return tuple(dict.fromkeys((*locations[1:], *related)))

    def _places(self, given: list[wire.Location] | None, pointer: str, what: str) -> list[Location]:
        if not given:
            return []
        limit = self._limits.locations_per_result
        if len(given) > limit:
            self._warnings.add(f"{pointer}/{what}", f"only the first {limit:,} places are kept")
            given = given[:limit]
        found = [self._place(place, pointer) for place in given]
        return [place for place in found if place is not None]

    def _place(self, place: wire.Location, pointer: str) -> Location | None:
        physical = place.physical_location
        if physical is None or physical.artifact_location is None:
            return None
        name = self._paths.name(physical.artifact_location)
        if name is None:
            self._warnings.add(pointer, "a place names no file; it is left out")
            return None
        if len(name.path) * 4 > self._limits.path_bytes and self._too_long(name.path):
            limit = self._limits.path_bytes
            self._warnings.add(pointer, f"a path is longer than {limit:,} bytes; it is left out")
            return None
        said = messages.render(place.message) if place.message is not None else ""
        region = physical.region
        if region is None:
            return Location(path=name.path, message=said, external=name.external)
        line = self._number(region.start_line, pointer)
        return Location(
            path=name.path,
            line=line,
            end_line=self._number(region.end_line, pointer) if line else None,
            column=self._number(region.start_column, pointer) if line else None,
            end_column=self._number(region.end_column, pointer) if line else None,
            message=said[: self._limits.message_characters],
            external=name.external,
        )

    def _too_long(self, path: str) -> bool:
        return len(path.encode(errors="replace")) > self._limits.path_bytes

    def _number(self, value: wire.Number, pointer: str) -> int | None:
        if value is None:
            return None
        if not 0 < value <= _LARGEST_LINE or value != int(value):
            self._warnings.add(pointer, f"{value:.6g} is no line or column; taken as unknown")
            return None
        return int(value)

    def _flow(self, flows: list[wire.CodeFlow], pointer: str) -> tuple[Location, ...]:
        """The first way through the code, its first steps."""
        threads = flows[0].thread_flows
        steps = (threads[0].locations if threads else None) or []
        if len(steps) > self._limits.thread_flow_steps:
            limit = self._limits.thread_flow_steps
            self._warnings.add(f"{pointer}/codeFlows", f"more than {limit:,} steps")
        found: list[Location] = []
        for step in steps:
            place = self._step_place(step, pointer)
            read = self._place(place, pointer) if place is not None else None
            if read is not None:
                found.append(read)
            if len(found) == self._limits.kept_steps:
                self._warn_of_rest(len(steps), pointer)
                break
        return tuple(found)

    def _warn_of_rest(self, steps: int, pointer: str) -> None:
        kept = self._limits.kept_steps
        if steps > kept:
            self._warnings.add(f"{pointer}/codeFlows", f"{kept} of {steps:,} steps are kept")

    def _step_place(self, step: wire.Step, pointer: str) -> wire.Location | None:
        if step.location is not None or step.index is None:
            return step.location
        if not 0 <= step.index < len(self._flow_cache):
            self._warnings.add(f"{pointer}/codeFlows", f"step index {step.index} is out of range")
            return None
        cached = self._flow_cache[step.index]
        return cached.location if cached is not None else None

    # -- identity

    def _fingerprints(self, result: wire.Result, pointer: str) -> dict[str, str]:
        """Both kinds by name; the complete ones win over partial ones of the same name."""
        both = {**(result.partial_fingerprints or {}), **(result.fingerprints or {})}
        kept = {name: value for name, value in both.items() if isinstance(value, str) and value}
        if len(kept) < len(both):
            self._warnings.add(pointer, "fingerprints that are no text are left out")
        limit = self._limits.fingerprints_per_result
        if len(kept) > limit:
            self._warnings.add(pointer, f"only {limit} fingerprints are kept")
            kept = dict(sorted(kept.items())[:limit])
        return kept


def _snippet(place: wire.Location) -> Snippet | None:
    """The code around a place, where the log brings it and says which line it begins at."""
    context = place.physical_location.context_region if place.physical_location else None
    text = context.snippet.text if context is not None and context.snippet is not None else None
    line = context.start_line if context is not None else None
    if not text or line is None or not 0 < line <= _LARGEST_LINE or line != int(line):
        return None
    lines = "\n".join(text.splitlines()[:_SNIPPET_LINES])
    kept = lines[:_SNIPPET_CHARACTERS].rstrip("\n")
    return Snippet(line=int(line), text=kept) if kept else None


def _suppressed(suppressions: list[wire.Suppression] | None) -> bool:
    """One that is accepted, or that says nothing about its status, is enough."""
    return any(found.status not in _OPEN_STATUS for found in suppressions or [])


def _text(message: wire.Message | None) -> str:
    return (message.text or message.markdown or "") if message is not None else ""
