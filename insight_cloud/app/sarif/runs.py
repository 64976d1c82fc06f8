"""One run of a log: who ran, how it ended, and its results in turn.

Apart from `read`, which judges the log as a whole, and from `results`, which knows what a
single result means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from insight_cloud.app.sarif import messages, wire
from insight_cloud.app.sarif.limits import Limits
from insight_cloud.app.sarif.model import Finding, Rule, Run, RunState
from insight_cloud.app.sarif.paths import Resolver
from insight_cloud.app.sarif.results import NoIssue, ResultReader
from insight_cloud.app.sarif.rules import Book, Entry, Part
from insight_cloud.app.sarif.warned import Warnings
from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["OUR_DETAIL", "OUR_SCOPE", "OUR_STATE", "RunReader"]

OUR_STATE = "insightState"
"""Invocation property in which our writer keeps `skipped` and `timed_out`."""

OUR_DETAIL = "insightDetail"
"""Invocation property in which our writer keeps the detail."""

OUR_SCOPE = "insightScope"
"""Invocation property in which our writer keeps the paths that a run looked at, if not all."""

_OUR_STATES: dict[str, RunState] = {
    "skipped": "skipped",
    "failed": "failed",
    "timed_out": "timed_out",
}
_NOTIFICATIONS_SHOWN = 3
_NAME_CHARACTERS = 200

Struct = TypeVar("Struct", bound=msgspec.Struct)


class RunReader:
    """Reads the run at `pointer`. What it passes over goes to `warnings`."""

    def __init__(
        self,
        pointer: str,
        raw: msgspec.Raw,
        *,
        root: str | None,
        limits: Limits,
        warnings: Warnings,
    ) -> None:
        self._pointer = pointer
        self._root = root
        self._limits = limits
        self._warnings = warnings
        self._run = self._decode(raw, wire.Run, pointer) or wire.Run()

    def read(self) -> Run | str:
        """The run, or why it cannot be read (already among the warnings)."""
        raw_results = self._raw_results
        name = self._driver.component.name
        if name is None:
            why = "the run's driver has no name"
            self._warn("/tool/driver/name", f"{why}; the run is left out")
            return why
        results = ResultReader(
            tool=self._tool(name),
            book=self._book,
            texts=self._driver.component.global_message_strings,
            paths=self._paths,
            flow_cache=self._flow_cache,
            limits=self._limits,
            warnings=self._warnings,
        )
        findings = tuple(self._findings(raw_results or [], results))
        state, detail = self._ending()
        return Run(
            tool=self._tool(name),
            version=self._version(),
            category=self._category(),
            state=state,
            detail=detail,
            rules=tuple(self._rule(entry) for entry in results.used.values()),
            findings=findings,
            scope=self._scope(),
        )

    # -- results

    @cached_property
    def _raw_results(self) -> list[msgspec.Raw] | None:
        """The results, unopened; None when the log holds none, not even an empty array."""
        raw = self._run.results
        where = f"{self._pointer}/results"
        if not wire.present(raw):
            return None
        try:
            results = msgspec.json.decode(raw, type=list[msgspec.Raw])
        except msgspec.ValidationError as error:
            raise Invalid("`results` is not an array.", problems=((where, "not an array"),)) from (
                error
            )
        self._check_count(len(results), "results", self._limits.results_per_run, "/results")
        return results

    def _findings(self, raws: list[msgspec.Raw], results: ResultReader) -> Iterator[Finding]:
        passed: Counter[str] = Counter()
        for index, raw in enumerate(raws):
            pointer = f"{self._pointer}/results/{index}"
            result = self._result(raw, pointer)
            if result is None:
                continue
            found = results.read(result, pointer)
            if isinstance(found, NoIssue):
                passed[found.why] += 1
            elif found is not None:
                yield found
        for why, count in passed.items():
            self._warn("/results", f"{count} results are no issues: {why}")

    def _result(self, raw: msgspec.Raw, pointer: str) -> wire.Result | None:
        """Decode one result; a fault in what a finding cannot be without costs the result."""
        try:
            return wire.decode(raw, wire.Result)
        except (msgspec.MsgspecError, RecursionError):
            result, faults = wire.salvage(raw, wire.Result)
        fatal = {"", "message", "locations", "ruleId", "rule"} & faults.keys()
        for field, why in faults.items():
            end = "the result is left out" if fatal else "the property is left out"
            self._warnings.add(f"{pointer}/{field}".rstrip("/"), f"{why}; {end}")
        return None if fatal else result

    # -- the tool and its rules

    @cached_property
    def _wire_tool(self) -> wire.Tool:
        return self._part(self._run.tool, wire.Tool, "/tool") or wire.Tool()

    @cached_property
    def _driver(self) -> Part:
        return self._component(self._wire_tool.driver, "/tool/driver")

    @cached_property
    def _book(self) -> Book:
        extensions = [
            self._component(raw, f"/tool/extensions/{index}")
            for index, raw in enumerate(self._wire_tool.extensions or [])
        ]
        count = sum(len(part.rules) for part in (self._driver, *extensions))
        self._check_count(count, "rules", self._limits.rules_per_run, "/tool")
        book = Book(self._driver, extensions)
        for invocation in self._invocations:
            for override in invocation.rule_configuration_overrides or []:
                level = override.configuration.level if override.configuration else None
                if override.descriptor is not None and level is not None:
                    book.override(override.descriptor, level)
        return book

    def _component(self, raw: msgspec.Raw, where: str) -> Part:
        component = self._part(raw, wire.Component, where) or wire.Component()
        rules = [
            self._part(rule, wire.Descriptor, f"{where}/rules/{index}")
            for index, rule in enumerate(component.rules or [])
        ]
        return Part(component, rules)

    def _rule(self, entry: Entry) -> Rule:
        """A rule as we show it. Only rules that some result names get here."""
        known = entry.descriptor or wire.Descriptor()
        summary = _plain(known.short_description) or _plain(known.full_description)
        help_text = known.help or known.full_description
        return Rule(
            code=entry.code,
            name=(known.name or "")[:_NAME_CHARACTERS],
            summary=summary[: self._limits.message_characters],
            help=_markdown(help_text)[: self._limits.help_characters],
            help_uri=_web_address(known.help_uri),
        )

    def _tool(self, name: str) -> str:
        return name.strip()[:_NAME_CHARACTERS] or "unnamed"

    def _version(self) -> str:
        driver = self._driver.component
        return (driver.version or driver.semantic_version or "")[:_NAME_CHARACTERS]

    def _category(self) -> str:
        """The automation id without its last part, which names this very run (§3.17.3)."""
        details = self._part(self._run.automation_details, wire.Automation, "/automationDetails")
        category = ((details and details.id) or "").rpartition("/")[0]
        return category[:_NAME_CHARACTERS]

    # -- places

    @cached_property
    def _paths(self) -> Resolver:
        directories = (found.working_directory for found in self._invocations)
        return Resolver(
            bases=self._bases(),
            files=[
                artifact.location if artifact is not None else None
                for artifact in self._parts(self._run.artifacts, wire.Artifact, "/artifacts")
            ],
            primary=self._primary_places,
            root=self._root,
            working_directory=next((place for place in directories if place is not None), None),
        )

    def _bases(self) -> Mapping[str, wire.ArtifactLocation]:
        raw = self._run.original_uri_base_ids
        where = "/originalUriBaseIds"
        parts: dict[str, msgspec.Raw] = self._any(raw, dict[str, msgspec.Raw], where) or {}
        bases: dict[str, wire.ArtifactLocation] = {}
        for name, part in parts.items():
            base = self._part(part, wire.ArtifactLocation, f"{where}/{_escaped(name)}")
            if base is not None:
                bases[name] = base
        return bases

    def _primary_places(self) -> Iterator[wire.ArtifactLocation]:
        """The places of all results: read ahead only for logs with absolute paths."""
        for raw in self._raw_results or []:
            try:
                where = wire.decode(raw, wire.Where)
            except (msgspec.MsgspecError, RecursionError):
                continue
            place = where.locations[0].physical_location if where.locations else None
            if place is not None and place.artifact_location is not None:
                yield place.artifact_location

    @cached_property
    def _flow_cache(self) -> list[wire.Step | None]:
        where = "/threadFlowLocations"
        return list(self._parts(self._run.thread_flow_locations, wire.Step, where))

    # -- how it ended

    @cached_property
    def _invocations(self) -> list[wire.Invocation]:
        found = self._parts(self._run.invocations, wire.Invocation, "/invocations")
        return [invocation for invocation in found if invocation is not None]

    def _ending(self) -> tuple[RunState, str]:
        """How the run ended, and why where that is not well.

        A log without a results array says that nothing was looked at (§3.14.23): such a run
        is clean only if the tool says that it succeeded.
        """
        for invocation in self._invocations:
            ours = _OUR_STATES.get(str((invocation.properties or {}).get(OUR_STATE)))
            if ours:
                detail = str((invocation.properties or {}).get(OUR_DETAIL, ""))
                return ours, detail[: self._limits.message_characters]
        failed = [invocation for invocation in self._invocations if self._failed(invocation)]
        if failed:
            return "failed", self._why(failed[0])[: self._limits.message_characters]
        succeeded = any(invocation.execution_successful for invocation in self._invocations)
        if self._raw_results is None and not succeeded:
            return "skipped", "The log holds no results array: nothing was analysed."
        return "ok", ""

    def _scope(self) -> frozenset[str] | None:
        """The paths that the run looked at; None stands for all, as every other tool means it."""
        for invocation in self._invocations:
            scope = (invocation.properties or {}).get(OUR_SCOPE)
            if isinstance(scope, list):
                return frozenset(path for path in scope if isinstance(path, str))
        return None

    def _failed(self, invocation: wire.Invocation) -> bool:
        errors = [n for n in invocation.tool_execution_notifications or [] if n.level == "error"]
        if invocation.execution_successful is None:
            return bool(invocation.exit_code or invocation.process_start_failure_message or errors)
        if invocation.execution_successful:
            for notification in errors:
                said = self._notification(notification)
                self._warn("/invocations", f"the tool succeeded but reports an error: {said}")
        return not invocation.execution_successful

    def _why(self, invocation: wire.Invocation) -> str:
        said = [
            self._notification(notification)
            for notification in (
                *(invocation.tool_execution_notifications or []),
                *(invocation.tool_configuration_notifications or []),
            )
        ]
        exit_code = invocation.exit_code
        parts = [
            invocation.process_start_failure_message or "",
            f"Exit status {exit_code}." if exit_code is not None else "",
            invocation.exit_code_description or invocation.exit_signal_name or "",
            *said[:_NOTIFICATIONS_SHOWN],
            f"({len(said) - _NOTIFICATIONS_SHOWN} more)"
            if len(said) > _NOTIFICATIONS_SHOWN
            else "",
        ]
        return " ".join(part for part in parts if part) or "The tool says that it failed."

    def _notification(self, notification: wire.Notification) -> str:
        """The text of a notification; its own texts stand in the driver's `notifications`."""
        driver = self._driver.component
        reference = notification.descriptor
        known = self._notification_rules
        index = reference.index if reference is not None else None
        described = known[index] if index is not None and 0 <= index < len(known) else None
        if described is None and reference is not None:
            named = (rule for rule in known if rule is not None and rule.id == reference.id)
            described = next(named, None)
        strings = described.message_strings if described is not None else None
        said = messages.render(notification.message, strings, driver.global_message_strings)
        return said or (reference.id if reference is not None else None) or "no text"

    @cached_property
    def _notification_rules(self) -> list[wire.Descriptor | None]:
        return [
            self._part(raw, wire.Descriptor, f"/tool/driver/notifications/{index}")
            for index, raw in enumerate(self._driver.component.notifications or [])
        ]

    # -- decoding with warnings

    def _warn(self, where: str, detail: str) -> None:
        self._warnings.add(f"{self._pointer}{where}", detail)

    def _check_count(self, count: int, what: str, limit: int, where: str) -> None:
        if count > limit:
            raise TooLarge(
                f"A run has {count:,} {what}; the limit is {limit:,}.",
                problems=((f"{self._pointer}{where}", f"more than {limit:,} {what}"),),
            )

    def _part(self, raw: msgspec.Raw, kind: type[Struct], where: str) -> Struct | None:
        return self._decode(raw, kind, f"{self._pointer}{where}") if wire.present(raw) else None

    def _parts(self, raw: msgspec.Raw, kind: type[Struct], where: str) -> Iterator[Struct | None]:
        """The elements of an array; None keeps the place of one that cannot be read."""
        elements: list[msgspec.Raw] = self._any(raw, list[msgspec.Raw], where) or []
        for index, element in enumerate(elements):
            yield self._part(element, kind, f"{where}/{index}")

    def _any(self, raw: msgspec.Raw, kind: Any, where: str) -> Any:
        if not wire.present(raw):
            return None
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._warn(where, f"{wire.reason(error)}; left out")
            return None

    def _decode(self, raw: msgspec.Raw, kind: type[Struct], pointer: str) -> Struct | None:
        try:
            return wire.decode(raw, kind)
        except (msgspec.MsgspecError, RecursionError):
            found, faults = wire.salvage(raw, kind)
        for field, why in faults.items():
            self._warnings.add(f"{pointer}/{field}".rstrip("/"), f"{why}; left out")
        return found


def _markdown(message: wire.Message | None) -> str:
    if message is None:
        return ""
    return message.markdown or message.text or ""


def _plain(message: wire.Message | None) -> str:
    if message is None:
        return ""
    return message.text or message.markdown or ""


def _web_address(uri: str | None) -> str:
    """A link only if it is one: `javascript:` and "not a valid URI" are never linked."""
    address = (uri or "").strip()
    if not address.lower().startswith(("https://", "http://")) or any(
        character.isspace() or character in "\"'<>\\" for character in address
    ):
        return ""
    return address[:2000]


def _escaped(name: str) -> str:
    """A name as part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
