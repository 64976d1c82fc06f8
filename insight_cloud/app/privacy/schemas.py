"""The allow-lists, as JSON Schemas (draft 2020-12): what a body of each level may hold.

They describe what `reduce` writes and nothing else. No object takes a property that is not named
here, no text one that is longer or of another form. `format: "masked"` is ours: a text without
credentials.
"""

from __future__ import annotations

from typing import Any

from insight_cloud.app.privacy.levels import Level
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES
from insight_cloud.app.sarif.results import OUR_PROJECT
from insight_cloud.app.sarif.runs import OUR_DETAIL, OUR_SCOPE, OUR_STATE
from insight_cloud.app.sarif.severity import OUR_CATEGORY, OUR_SEVERITY
from insight_cloud.app.sarif.write import ROOT, ROOT_TEXT, SCHEMA_URI

__all__ = ["COUNTS", "COUNTS_KIND", "HASH", "SAID", "schema"]

Schema = dict[str, Any]

COUNTS_KIND = "insight.counts/1"
"""What a body of counts calls itself."""

SAID = {
    "skipped": "The run was skipped.",
    "failed": "The run failed.",
    "timed_out": "The run took too long.",
}
"""All that is said below `findings` about a run that did not end well."""

HASH = r"^k:[0-9a-f]{32}$"
"""A keyed hash: nobody without the key can try what it may be of."""

_LARGEST = 2**31 - 1
_RELATIVE = (
    r"^(?![/\\])(?![A-Za-z][A-Za-z0-9+.\-]*:)(?!(?:[^/]*/)*\.\.(?:/|$))[^\\\x00-\x1f\x7f]{1,4096}$"
)
"""A path below the root of the sources: not absolute, no drive, no scheme, never upwards."""


def _object(required: str = "", /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": most}


def _text(most: int, pattern: str = "") -> Schema:
    return {"type": "string", "maxLength": most} | ({"pattern": pattern} if pattern else {})


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": _LARGEST}
_LINE: Schema = {"type": "integer", "minimum": 1, "maximum": _LARGEST}
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": 10_000_000}
_YES: Schema = {"type": "boolean"}
_TOOL = _text(100, r"^[A-Za-z0-9][A-Za-z0-9 ._+()\-]*$")
_VERSION = _text(100, r"^[A-Za-z0-9._+\-]*$")
_WORD = _text(255, r"^[^/\\\s][^/\\\x00-\x1f]*$")
_STATE = _one_of("ok", "skipped", "failed", "timed_out")

# -- counts ------------------------------------------------------------------------------------

COUNTS: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Counts",
} | _object(
    "kind complete counts tools",
    kind=_one_of(COUNTS_KIND),
    branch=_text(255, r"^[A-Za-z0-9._\-]+$"),
    commit=_text(64, r"^[0-9a-f]{7,64}$"),
    remote=_text(34, HASH),
    complete=_YES,
    files=_NUMBER,
    lines=_NUMBER,
    seconds=_SECONDS,
    counts=_list(
        _object(
            "tool severity category open",
            tool=_TOOL,
            severity=_one_of(*SEVERITIES),
            category=_one_of(*CATEGORIES),
            open=_NUMBER | {"maximum": 1_000_000},
        ),
        2_000,
    ),
    tools=_list(
        _object("name state", name=_TOOL, version=_VERSION, state=_STATE, seconds=_SECONDS), 100
    ),
    versions=_object(insight=_VERSION, python=_VERSION, system=_text(40, r"^[A-Za-z0-9._\-]*$")),
)

# -- findings, as SARIF ------------------------------------------------------------------------

_MASKED: Schema = {"type": "string", "maxLength": 20_000, "format": "masked"}
_PATH = _text(4096, _RELATIVE)
_ARTIFACT = _object("uri", uri=_PATH, uriBaseId=_one_of(ROOT))
_CODE = _text(300, r"^[^\x00-\x1f\x7f]+$")


def _message(text: Schema) -> Schema:
    return _object("text", text=text)


def _location(level: Level, *, snippet: bool = False) -> Schema:
    region = {"startLine": _LINE, "endLine": _LINE}
    if level != "metadata":
        region |= {"startColumn": _LINE, "endColumn": _LINE}
    physical = {"artifactLocation": _ARTIFACT, "region": _object(**region)}
    if snippet:
        text: Schema = {
            "type": "string",
            "maxLength": 4_000,
            "pattern": r"^[^\n]*(?:\n[^\n]*){0,6}$",
            "format": "masked",
        }
        physical["contextRegion"] = _object(
            "startLine snippet", startLine=_LINE, endLine=_LINE, snippet=_message(text)
        )
    found = {"physicalLocation": _object("artifactLocation", **physical)}
    return _object(**found, **({} if level == "metadata" else {"message": _message(_MASKED)}))


def _properties(**more: Schema) -> Schema:
    return _object(**more)


def _result(level: Level) -> Schema:
    hashes = _text(34, HASH) if level == "metadata" else _text(1_000)
    properties: Schema = {
        "ruleId": _CODE,
        "ruleIndex": _NUMBER,
        "level": _one_of("error", "warning", "note", "none"),
        "message": _message(_text(20_000) if level == "metadata" else _MASKED),
        "locations": _list(_location(level, snippet=level == "snippets"), 1),
        "partialFingerprints": {
            "type": "object",
            "propertyNames": _text(100, r"^[A-Za-z0-9._/:\-]+$"),
            "additionalProperties": hashes,
        },
        "suppressions": _list(_object(kind=_one_of("external"), status=_one_of("accepted")), 1),
        "properties": _properties(
            **{
                OUR_SEVERITY: _one_of(*SEVERITIES),
                OUR_CATEGORY: _one_of(*CATEGORIES),
                OUR_PROJECT: _YES,
            }
        ),
    }
    if level != "metadata":
        step = _object(location=_location(level))
        thread = _object(locations=_list(step, 1_000))
        properties["relatedLocations"] = _list(_location(level), 1_000)
        properties["codeFlows"] = _list(_object(threadFlows=_list(thread, 1)), 1)
    return _object("ruleId message", **properties)


def _rule() -> Schema:
    text = _text(100_000)
    return _object(
        "id",
        id=_CODE,
        name=_text(300),
        shortDescription=_message(text),
        help=_object("text", text=text, markdown=text),
        helpUri=_text(2_000, r"^(?:https?://[^\s@]*)?$"),
        properties=_properties(
            tags=_list(_one_of(*CATEGORIES), len(CATEGORIES)),
            **{"security-severity": _text(5, r"^[0-9.]*$")},
        ),
    )


def _invocation(level: Level) -> Schema:
    below = level == "metadata"
    said = _one_of(*SAID.values()) if below else _MASKED
    notification = _object(level=_one_of("warning", "error"), message=_message(said))
    return _object(
        "executionSuccessful",
        executionSuccessful=_YES,
        toolExecutionNotifications=_list(notification, 1),
        properties=_properties(
            **{
                OUR_SCOPE: _list(_PATH, 100_000),
                OUR_STATE: _STATE,
                OUR_DETAIL: _one_of(*SAID.values()) if below else _MASKED,
            }
        ),
    )


def _run(level: Level) -> Schema:
    driver = _object("name", name=_TOOL, version=_VERSION, rules=_list(_rule(), 25_000))
    return _object(
        "tool results",
        tool=_object("driver", driver=driver),
        invocations=_list(_invocation(level), 1),
        originalUriBaseIds=_object(**{ROOT: _object(description=_message(_one_of(ROOT_TEXT)))}),
        results=_list(_result(level), 1_000_000),
        automationDetails=_object(id=_WORD_OR_SLASH),
    )


_WORD_OR_SLASH = _text(300, r"^[^\\\x00-\x1f]*$")


def _log(level: Level) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": level.capitalize(),
    } | _object(
        "version runs",
        **{
            "$schema": _one_of(SCHEMA_URI),
            "version": _one_of("2.1.0"),
            "runs": _list(_run(level), 1_000),
        },
    )


_SCHEMAS: dict[Level, Schema] = {
    "counts": COUNTS,
    "metadata": _log("metadata"),
    "findings": _log("findings"),
    "snippets": _log("snippets"),
}


def schema(level: Level) -> Schema | None:
    """The allow-list of `level`; None for `source`, which takes any log."""
    return _SCHEMAS.get(level)
