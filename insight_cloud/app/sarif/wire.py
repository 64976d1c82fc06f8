"""SARIF as it stands in a file: only the properties that we read, and how a faulty one is passed.

Apart from the reader because these types follow the standard's words, while the rest of the
package follows ours. Real tools break the schema in small places. So every object is decoded
by itself: a fault in an ornament costs the ornament, a fault in the message costs the result,
and nothing of the kind costs the log.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec

__all__ = [
    "ArtifactLocation",
    "Automation",
    "CodeFlow",
    "Component",
    "Configuration",
    "Descriptor",
    "Envelope",
    "Invocation",
    "Location",
    "Message",
    "Notification",
    "Override",
    "PhysicalLocation",
    "Reference",
    "Region",
    "Result",
    "Run",
    "Suppression",
    "ThreadFlow",
    "Tool",
    "Where",
    "decode",
    "present",
    "reason",
    "salvage",
]

Number = int | float | None
"""Some writers know only floating-point numbers: 12.0 is a line, 12.5 is not."""

Struct = TypeVar("Struct", bound=msgspec.Struct)

ABSENT = msgspec.Raw(b"null")
"""What an unopened property holds when it is not there; `present` tells."""


class Wire(msgspec.Struct, rename="camel", gc=False):
    """An object of the standard; unknown properties are ignored, `null` means absent."""


class Envelope(Wire):
    """sarifLog, unopened: its two parts are judged before anything else is read."""

    version: msgspec.Raw = ABSENT
    runs: msgspec.Raw = ABSENT


class Run(Wire):
    """A run, opened part by part. The results stay raw until their turn comes."""

    tool: msgspec.Raw = ABSENT
    results: msgspec.Raw = ABSENT
    artifacts: msgspec.Raw = ABSENT
    invocations: msgspec.Raw = ABSENT
    original_uri_base_ids: msgspec.Raw = ABSENT
    automation_details: msgspec.Raw = ABSENT
    thread_flow_locations: msgspec.Raw = ABSENT


class Message(Wire):
    """Either a text or the id of one that the rule or the driver holds."""

    text: str | None = None
    markdown: str | None = None
    id: str | None = None
    arguments: list[Any] | None = None


class ArtifactLocation(Wire):
    """A file by URI, by index into `run.artifacts`, or both."""

    uri: str | None = None
    uri_base_id: str | None = None
    index: int | None = None


class Artifact(Wire):
    """An entry of `run.artifacts`."""

    location: ArtifactLocation | None = None


class Region(Wire):
    """A part of a file; offsets are not read, because a line cannot be told from them."""

    start_line: Number = None
    start_column: Number = None
    end_line: Number = None
    end_column: Number = None


class Content(Wire):
    """A part of a file as text."""

    text: str | None = None


class ContextRegion(Wire):
    """A region and what stands around it."""

    start_line: Number = None
    snippet: Content | None = None


class PhysicalLocation(Wire):
    """A file and a part of it."""

    artifact_location: ArtifactLocation | None = None
    region: Region | None = None
    context_region: ContextRegion | None = None


class Location(Wire):
    """A place; `id` is what links in messages refer to."""

    id: Number = None
    physical_location: PhysicalLocation | None = None
    message: Message | None = None


class Step(Wire):
    """One step of a thread flow: a place, or an index into `run.threadFlowLocations`."""

    location: Location | None = None
    index: int | None = None


class ThreadFlow(Wire):
    """Steps in the order of execution."""

    locations: list[Step] | None = None


class CodeFlow(Wire):
    """One way through the code; usually a single thread."""

    thread_flows: list[ThreadFlow] | None = None


class Suppression(Wire):
    """Somebody decided about a result; without status it counts as accepted."""

    status: str | None = None


class ComponentReference(Wire):
    """The driver or an extension; an absent index means: by name or guid, else the driver."""

    name: str | None = None
    index: int | None = None
    guid: str | None = None


class Reference(Wire):
    """A rule or notification named by id, index or guid."""

    id: str | None = None
    index: int | None = None
    guid: str | None = None
    tool_component: ComponentReference | None = None


class Result(Wire):
    """One result. Fingerprints are `Any`: there are tools that nest objects in there."""

    message: Message | None = None
    rule_id: str | None = None
    rule_index: int | None = None
    rule: Reference | None = None
    level: str | None = None
    kind: str | None = None
    baseline_state: str | None = None
    locations: list[Location] | None = None
    related_locations: list[Location] | None = None
    code_flows: list[CodeFlow] | None = None
    fingerprints: dict[str, Any] | None = None
    partial_fingerprints: dict[str, Any] | None = None
    suppressions: list[Suppression] | None = None
    properties: dict[str, Any] | None = None


class PlaceUri(Wire):
    """The least of a physical location."""

    artifact_location: ArtifactLocation | None = None


class Place(Wire):
    """The least of a location."""

    physical_location: PlaceUri | None = None


class Where(Wire):
    """The least of a result: where it is. Read ahead to find the root of absolute paths."""

    locations: list[Place] | None = None


class Configuration(Wire):
    """How a rule is set."""

    level: str | None = None


class Descriptor(Wire):
    """A rule or a notification as its tool describes it."""

    id: str | None = None
    guid: str | None = None
    name: str | None = None
    short_description: Message | None = None
    full_description: Message | None = None
    help: Message | None = None
    help_uri: str | None = None
    message_strings: dict[str, Message] | None = None
    default_configuration: Configuration | None = None
    properties: dict[str, Any] | None = None


class Component(Wire):
    """The driver or an extension of a tool."""

    name: str | None = None
    guid: str | None = None
    version: str | None = None
    semantic_version: str | None = None
    rules: list[msgspec.Raw] | None = None
    notifications: list[msgspec.Raw] | None = None
    global_message_strings: dict[str, Message] | None = None


class Tool(Wire):
    """A tool's parts, unopened."""

    driver: msgspec.Raw = ABSENT
    extensions: list[msgspec.Raw] | None = None


class Override(Wire):
    """A rule's configuration for this invocation."""

    descriptor: Reference | None = None
    configuration: Configuration | None = None


class Notification(Wire):
    """Something that a tool says about its own run."""

    descriptor: Reference | None = None
    message: Message | None = None
    level: str | None = None


class Invocation(Wire):
    """How the tool was started and how it ended."""

    execution_successful: bool | None = None
    exit_code: Number = None
    exit_code_description: str | None = None
    exit_signal_name: str | None = None
    process_start_failure_message: str | None = None
    working_directory: ArtifactLocation | None = None
    tool_execution_notifications: list[Notification] | None = None
    tool_configuration_notifications: list[Notification] | None = None
    rule_configuration_overrides: list[Override] | None = None
    properties: dict[str, Any] | None = None


class Automation(Wire):
    """What this run belongs to."""

    id: str | None = None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def present(raw: msgspec.Raw) -> bool:
    """Whether there is something other than `null`."""
    view = memoryview(raw)
    return view.nbytes != 4 or bytes(view) != b"null"


def decode(raw: msgspec.Raw | bytes, kind: type[Struct]) -> Struct:
    """Read one object; msgspec's errors pass."""
    decoded: Struct = _decoder(kind).decode(raw)
    return decoded


def salvage(raw: msgspec.Raw, kind: type[Struct]) -> tuple[Struct | None, dict[str, str]]:
    """Read one faulty object field by field: what is sound, and what is wrong with the rest.

    None when it is not an object at all. The faults are named by the JSON name of the field.
    """
    try:
        parts: dict[str, msgspec.Raw] = _decoder(dict[str, msgspec.Raw]).decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return None, {"": reason(error)}
    sound: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        part = parts.get(field.encode_name)
        if part is None:
            continue
        try:
            sound[field.name] = _decoder(field.type).decode(part)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            faults[field.encode_name] = reason(error)
    return kind(**sound), faults


def reason(error: Exception) -> str:
    """What was wrong, in words for the log's author."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).replace("`", "'")
