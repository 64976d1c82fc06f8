"""A table of sample requests with what must become of each.

A field that only the edge knows is unknown unless the sample or the table's defaults say it. A
verdict that depends on an unknown field is never taken for the expected one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from insight_cloud.core.errors import Invalid, Missing, SettingsError
from insight_cloud.edge import source
from insight_cloud.edge.language import Request
from insight_cloud.edge.simulate import Response, Simulator, Verdict

__all__ = ["Expected", "Outcome", "Sample", "Samples", "load", "read", "run"]

_MOST_BYTES = 4 * 1024 * 1024
_MOST_SAMPLES = 10_000

Action: TypeAlias = Literal[
    "pass", "block", "managed_challenge", "js_challenge", "challenge", "redirect"
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Expected(_Table):
    """What must become of a request; what is not named is not looked at."""

    action: Action = "pass"
    """How it ends."""
    rule: str | None = None
    """The rule that ends it."""
    status: int | None = None
    """HTTP status of the end."""
    location: str | None = None
    """Where a redirect leads."""
    cache: Literal["default", "by extension", "bypass", "cache", "not cacheable"] | None = None
    """What the edge's cache does."""
    edge_seconds: int | None = None
    """How long the edge keeps it."""
    browser_seconds: int | None = None
    """How long browsers keep it."""
    target: str | None = None
    """Path and query that the origin sees."""
    counted: tuple[str, ...] | None = None
    """The rate rules that count it."""
    compression: tuple[str, ...] | None = None
    """The algorithms, in order."""
    request_headers: dict[str, str] | None = None
    """Headers that the edge sets towards the origin."""
    response_headers: dict[str, str] | None = None
    """Headers that the edge sets towards the client."""
    config: dict[str, Any] | None = None
    """Settings that a rule changes for it."""


class Answered(_Table):
    """What the origin would answer."""

    status: int = 200
    """HTTP status."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Its headers."""


class Sample(_Table):
    """One request."""

    name: str = Field(min_length=1, max_length=200)
    """What it shows."""
    url: str = Field(max_length=8192)
    """A whole URL, or a path on the zone's own domain."""
    method: str = Field(default="GET", pattern=r"^[A-Z]{1,20}$")
    """HTTP method."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers besides the defaults; an empty one is not sent."""
    body: str | None = Field(default=None, max_length=1_000_000)
    """The body."""
    known: dict[str, Any] = Field(default_factory=dict)
    """Fields that only the edge would know, by their names."""
    response: Answered | None = None
    """What the origin would answer, for rules that look at it."""
    expect: Expected = Expected()
    """What must become of it."""


class Defaults(_Table):
    """What every sample has unless it says otherwise."""

    headers: dict[str, str] = Field(default_factory=dict)
    """Headers."""
    known: dict[str, Any] = Field(default_factory=dict)
    """Fields that only the edge would know."""
    lists: dict[str, tuple[str | int, ...]] = Field(default_factory=dict)
    """The account's lists, for `in $name`."""


class Routes(_Table):
    """What is known of the application's routes, when they are tried."""

    public: tuple[str, ...] = ()
    """Paths that may be cached although they are no static files; `*` stands for anything."""
    blocked: tuple[str, ...] = ()
    """Paths that shall be blocked or challenged; `*` stands for anything."""


class Samples(_Table):
    """The whole table."""

    defaults: Defaults = Defaults()
    """What every sample has."""
    routes: Routes = Routes()
    """For `--app` and `--openapi`."""
    requests: tuple[Sample, ...] = Field(default=(), max_length=_MOST_SAMPLES)
    """The samples."""

    @field_validator("requests")
    @classmethod
    def _names_are_unique(cls, found: tuple[Sample, ...]) -> tuple[Sample, ...]:
        names = [sample.name for sample in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two samples are called {twice!r}")
        return found

    def request(self, sample: Sample, zone: str) -> Request:
        """`sample` as a request to `zone`.

        Raises:
            Invalid: its URL or one of its fields cannot be.
        """
        headers = {**self.defaults.headers, **sample.headers}
        url = f"https://{zone}{sample.url}" if sample.url.startswith("/") else sample.url
        return Request(
            url,
            sample.method,
            tuple((name, value) for name, value in headers.items() if value),
            None if sample.body is None else sample.body.encode(),
            {**self.defaults.known, **sample.known},
            _lists(self.defaults.lists),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample; without `problems` it is as expected."""

    sample: Sample
    verdict: Verdict
    problems: tuple[str, ...]
    place: str = ""


def load(path: Path) -> Samples:
    """Read the table at `path`.

    Raises:
        Missing: there is no such file.
        SettingsError: it is not what it must be; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Missing(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise SettingsError(f"{path} has more than {_MOST_BYTES} bytes")
    return read(data.decode(errors="replace"), name=str(path))


def read(text: str, *, name: str = "edge.samples.toml") -> Samples:
    """Read the text of a table; `name` is what messages call it.

    Raises:
        SettingsError: see `load`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{name} is not TOML: {error}") from None
    try:
        samples = Samples.model_validate(values)
    except ValidationError as error:
        lines = source.lines_of(text)
        said = [
            f"{name}:{source.locate(lines, fault['loc'])}: "
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join(said)) from None
    _check(samples, text, name)
    return samples


def _check(samples: Samples, text: str, name: str) -> None:
    """Every request can be made, so that no wrong field name waits for the run."""
    lines = source.lines_of(text)
    said = []
    for number, sample in enumerate(samples.requests):
        try:
            samples.request(sample, "example.com")
        except Invalid as error:
            said.append(f"{name}:{source.locate(lines, ('requests', number))}: {error}")
    if said:
        raise SettingsError("\n".join(said))


def run(samples: Samples, simulator: Simulator, zone: str) -> list[Outcome]:
    """Judge every sample."""
    outcomes = []
    for sample in samples.requests:
        answered = sample.response
        response = (
            None if answered is None else Response(answered.status, tuple(answered.headers.items()))
        )
        verdict = simulator.judge(samples.request(sample, zone), response)
        outcomes.append(Outcome(sample, verdict, tuple(_problems(sample, verdict))))
    return outcomes


def _problems(sample: Sample, verdict: Verdict) -> Iterator[str]:
    expected = sample.expect
    if expected.action != verdict.action:
        by = f" by {verdict.rule}" if verdict.rule else ""
        yield f"expected {expected.action}, got {verdict.action}{by}"
    if not verdict.certain:
        for doubt in verdict.doubts:
            yield (
                f"depends on the rule {doubt.rule} ({doubt.action}), which needs "
                f"{', '.join(doubt.fields) or 'what is not known here'}: say it in `known`"
            )
    yield from _differences(expected, verdict)


_PLAIN = ("rule", "status", "location", "cache", "edge_seconds", "browser_seconds", "target")


def _differences(expected: Expected, verdict: Verdict) -> Iterator[str]:
    for name in _PLAIN:
        wanted, found = getattr(expected, name), getattr(verdict, name)
        if wanted is not None and wanted != found:
            yield f"expected {name} {wanted!r}, got {found!r}"
    for name in ("counted", "compression"):
        wanted, found = getattr(expected, name), getattr(verdict, name)
        if wanted is not None and list(wanted) != found:
            yield f"expected {name} {list(wanted)}, got {found}"
    for name in ("request_headers", "response_headers", "config"):
        yield from _missing(name, getattr(expected, name) or {}, getattr(verdict, name))


def _missing(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    lowered = {key.lower(): value for key, value in found.items()}
    for key, value in wanted.items():
        if lowered.get(key.lower()) != value:
            yield f"expected {name} {key} = {value!r}, got {lowered.get(key.lower())!r}"


def _lists(given: Mapping[str, Sequence[str | int]]) -> dict[str, tuple[Any, ...]]:
    """Lists of addresses as such; other texts as bytes, as the fields are."""
    return {name: tuple(map(_list_item, items)) for name, items in given.items()}


def _list_item(item: str | int) -> Any:
    from ipaddress import ip_address, ip_network

    if isinstance(item, int):
        return item
    try:
        return ip_network(item) if "/" in item else ip_address(item)
    except ValueError:
        return item.encode()
