"""The published schema of the API: what is sent and what is answered, checked against it.

`openapi.json` is a subset of Cloudflare's API, OpenAPI 3.1, made from the types of its SDK 5.9.0
(Apache-2.0). Bodies of rules are closed there, so a misspelt key is an error here, not a surprise
on the zone. `jsonschema` is loaded by the first check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

__all__ = [
    "Operation",
    "operation",
    "request_problem",
    "response_problem",
    "rule_problem",
    "setting_problem",
    "settings",
    "target",
    "value_schema",
]

_URI = "urn:cloudflare"
_RULES = "#/components/schemas/phase_update_params_PhaseUpdateParams"
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API: its path as in the schema, and what the path's variables hold."""

    path: str
    method: str
    variables: Mapping[str, str]
    pointer: str
    """Where it stands in the document."""


@lru_cache(maxsize=1)
def document() -> Any:
    """The whole document."""
    return json.loads(resources.files("insight_cloud.edge").joinpath("openapi.json").read_bytes())


def operation(method: str, path: str) -> Operation | None:
    """The operation for `method` on `path`, which is relative to `/client/v4`."""
    for template, pattern in _paths():
        found = pattern.fullmatch(path)
        if found is not None and method.lower() in document()["paths"][template]:
            pointer = f"#/paths/{_escape(template)}/{method.lower()}"
            return Operation(template, method.lower(), found.groupdict(), pointer)
    return None


def settings() -> list[str]:
    """The names of the zone's settings that are still alive and have a `value`."""
    prefix = "/zones/{zone_id}/settings/"
    return [
        path.removeprefix(prefix)
        for path, methods in document()["paths"].items()
        if path.startswith(prefix)
        and not methods["patch"].get("deprecated")
        and "value" in _body(methods["patch"])["properties"]
    ]


def setting_problem(name: str, value: Any) -> str:
    """What is wrong with `value` for the setting `name`; empty when nothing is."""
    found = operation("patch", f"/zones/{'0' * 32}/settings/{name}")
    if found is None:
        return "there is no such setting"
    if document()["paths"][found.path]["patch"].get("deprecated"):
        return "this setting is dead: Cloudflare has ended it"
    return _first(_body_pointer(found), {"value": value})


def value_schema(found: Operation) -> Mapping[str, Any]:
    """What the schema says of the `value` that a setting is given."""
    described = document()["paths"][found.path][found.method]
    return target(_body(described)["properties"]["value"])


def _body(described: Mapping[str, Any]) -> Mapping[str, Any]:
    return target(described["requestBody"]["content"]["application/json"]["schema"])


def target(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """`described`, or what its `$ref` names."""
    reference = described.get("$ref")
    if reference is None:
        return described
    found: Mapping[str, Any] = document()["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def rule_problem(rule: Mapping[str, Any]) -> str:
    """What is wrong with a rule as it would be sent; empty when nothing is."""
    pointer = _rule_pointers().get(str(rule.get("action")))
    if pointer is None:
        return f"there is no action {rule.get('action')!r}"
    return _first(pointer, rule)


def request_problem(found: Operation, body: Any) -> str:
    """What is wrong with a request's body; empty when nothing is."""
    described = document()["paths"][found.path][found.method]
    if "requestBody" not in described:
        return "" if body is None else "this call has no body"
    if found.path.endswith("/entrypoint") and isinstance(body, dict):
        for number, rule in enumerate(body.get("rules") or ()):
            if isinstance(rule, dict) and (said := rule_problem(rule)):
                return f"rules/{number}: {said}"
    return _first(_body_pointer(found), body)


def response_problem(found: Operation, status: int, body: Any) -> str:
    """What is wrong with an answer; empty when nothing is."""
    answers = document()["paths"][found.path][found.method]["responses"]
    key = str(status) if str(status) in answers else f"{str(status)[0]}XX"
    if key not in answers:
        # 5xx is in no schema; it has the envelope of a failure all the same.
        return _first("#/components/schemas/Failure", body) if status >= 500 else "unknown status"
    if "content" not in answers[key]:
        return ""
    return _first(f"{found.pointer}/responses/{key}/content/application~1json/schema", body)


@lru_cache(maxsize=1)
def _paths() -> list[tuple[str, re.Pattern[str]]]:
    """Each path as a pattern; those without variables first, since they are the closer match."""
    templates = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [
        (template, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)))
        for template in templates
    ]


@lru_cache(maxsize=1)
def _rule_pointers() -> Mapping[str, str]:
    """The schema of a rule's body, by the rule's action."""
    schemas = document()["components"]["schemas"]
    one_of = schemas["phase_update_params_PhaseUpdateParams"]["properties"]["rules"]["items"]
    pointers = {}
    for entry in one_of["anyOf"]:
        described = schemas[entry["$ref"].rpartition("/")[2]]
        for action in described["properties"]["action"]["enum"]:
            pointers[action] = entry["$ref"]
    return pointers


def _body_pointer(found: Operation) -> str:
    return f"{found.pointer}/requestBody/content/application~1json/schema"


def _escape(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


def _first(pointer: str, body: Any) -> str:
    """The most telling problem of `body` with the schema at `pointer`."""
    return _checked(pointer, json.dumps(body, sort_keys=True))


@lru_cache(maxsize=8192)
def _checked(pointer: str, text: str) -> str:
    """The same for the text of a body: a rule is checked when it is read, planned and answered."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(pointer).iter_errors(json.loads(text)))
    if error is None:
        return ""
    place = "/".join(map(str, _absolute(error.absolute_path)))
    said = error.message if len(error.message) <= _LONGEST else error.message[:_LONGEST] + " …"
    return f"{place}: {said}" if place else said


def _absolute(path: Iterable[Any]) -> list[Any]:
    return list(path)


@lru_cache(maxsize=256)
def _validator(pointer: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    registry: Any = Registry().with_resource(_URI, DRAFT202012.create_resource(document()))
    return Draft202012Validator({"$ref": f"{_URI}{pointer}"}, registry=registry)
