"""A load test as data: who comes, what they do, and what must hold; read from TOML."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from insight_cloud.core.errors import Invalid, Missing
from insight_cloud.load import schedule
from insight_cloud.load import thresholds as grammar
from insight_cloud.load.text import names_in
from insight_cloud.load.thresholds import Threshold

__all__ = [
    "BUILT_IN",
    "GIVEN",
    "Crowd",
    "Limits",
    "Scenario",
    "Stage",
    "Step",
    "Strict",
    "built_in",
    "paths",
    "read",
    "source",
]

BUILT_IN: Final = ("smoke", "short", "normal", "peak", "stress")
GIVEN: Final = frozenset({"address", "iteration", "random", "run", "target", "user"})
"""Variables that every step has: see `engine`."""

_FILE_BYTES = 1024 * 1024
_MOST_USERS, _MOST_RATE, _MOST_SECONDS = 20_000, 100_000, 24 * 3600
_ARRIVALS_WAIT_SECONDS = 1.5
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CAPTURE = re.compile(r"(json:/.*|header:[\w-]+|regex:.+)", re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data that cannot change, and that refuses a name it does not know."""


class Stage(_Frozen, frozen=True):
    """Lead to the level `target` within so many seconds; with 0 seconds at once."""

    seconds: float
    target: float


class Step(_Frozen, frozen=True):
    """One request of a journey. Texts may hold variables: `${user}`."""

    name: str
    path: str
    method: str = "GET"
    headers: dict[str, str] = {}
    form: dict[str, str] | None = None
    json: Any = None
    body: str | None = None
    status: tuple[int, ...] = ()
    contains: str | None = None
    capture: dict[str, str] = {}
    once: bool = False
    redirects: bool = True
    think_seconds: tuple[float, float] = (0.0, 0.0)

    def texts(self) -> Iterator[str]:
        """Every text in which a variable may stand."""
        yield self.path
        yield from self.headers.values()
        yield from (self.form or {}).values()
        yield from _strings(self.json)
        yield from (text for text in (self.body, self.contains) if text is not None)


class Crowd(_Frozen, frozen=True):
    """Who comes: `users` at once, or `arrivals` a second; and the steps of each."""

    kind: Literal["users", "arrivals"]
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...] = ()
    journey: str | None = None
    start: float = 0
    after_seconds: float = 0
    most_users: int | None = None
    pace_seconds: float | None = None
    think_seconds: tuple[float, float] = (0.0, 0.0)
    drain_seconds: float = 30

    @property
    def users(self) -> int:
        """How many virtual users are made ready."""
        highest = schedule.most(self.stages, self.start)
        if self.kind == "users":
            return math.ceil(highest)
        return self.most_users or min(_MOST_USERS, 10 + math.ceil(highest * _ARRIVALS_WAIT_SECONDS))

    @property
    def end_seconds(self) -> float:
        """When its last stage ends."""
        return self.after_seconds + schedule.total_seconds(self.stages)


class Limits(_Frozen, frozen=True):
    """Beyond which the generator itself was the bottleneck, and the run says nothing."""

    lag_ms: float = 10
    cpu_percent: float = 85


class Strict(_Frozen, frozen=True):
    """A threshold that ends the run when it fails, at the earliest after so many seconds."""

    threshold: str
    abort_after_seconds: float = 0


class Scenario(_Frozen, frozen=True):
    """A whole load test: crowds that come at the same time, thresholds, variables."""

    name: str
    scenarios: dict[str, Crowd]
    description: str = ""
    thresholds: dict[str, list[str | Strict]] = {}
    variables: dict[str, str] = {}
    headers: dict[str, str] = {}
    generator: Limits = Limits()
    timeout_seconds: float = 60

    @property
    def seconds(self) -> float:
        """How long it takes, without what is still under way at its end."""
        return max(crowd.end_seconds for crowd in self.scenarios.values())

    @property
    def users(self) -> int:
        """The virtual users of all crowds."""
        return sum(crowd.users for crowd in self.scenarios.values())

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all crowds."""
        return tuple(step for crowd in self.scenarios.values() for step in crowd.steps)

    def conditions(self) -> list[Threshold]:
        """Read the thresholds. Raises `Invalid`."""
        names = [step.name for step in self.steps]
        made = []
        for text, expressions in self.thresholds.items():
            where = grammar.selector(text, names, list(self.scenarios))
            for given in expressions:
                if isinstance(given, str):
                    made.append(grammar.parse(where, given))
                else:
                    made.append(
                        grammar.parse(where, given.threshold, abort=given.abort_after_seconds)
                    )
        return made

    def changed(
        self,
        *,
        variables: Mapping[str, str] | None = None,
        conditions: Sequence[tuple[str, str]] = (),
        steps: Sequence[Step] | None = None,
    ) -> Scenario:
        """The same with further variables and thresholds, or with other steps. Raises `Invalid`."""
        wanted = {name: list(texts) for name, texts in self.thresholds.items()}
        for where, text in conditions:
            wanted.setdefault(where, []).append(text)
        crowds = self.scenarios
        if steps is not None:
            crowds = {
                name: msgspec.structs.replace(crowd, steps=tuple(steps), journey=None)
                for name, crowd in crowds.items()
            }
        made = msgspec.structs.replace(
            self,
            variables=self.variables | dict(variables or {}),
            thresholds=wanted,
            scenarios=crowds,
        )
        return _checked(made, self.name)


def read(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        Missing: there is no such file.
        Invalid: it cannot be read, or says what cannot be done; the message names the place.
    """
    try:
        if path.stat().st_size > _FILE_BYTES:
            raise Invalid(f"{path} is larger than a scenario may be ({_FILE_BYTES} bytes)")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Missing(f"there is no scenario file {path}") from error
    except (OSError, UnicodeError) as error:
        raise Invalid(f"cannot read the scenario file {path}: {error}") from error
    return _parse(text, str(path))


def built_in(name: str) -> Scenario:
    """One of the scenarios that come with this package. Raises `Missing`."""
    return _parse(source(name), f"the built-in scenario {name}")


def source(name: str) -> str:
    """The file of a built-in scenario, to begin one's own with. Raises `Missing`."""
    if name not in BUILT_IN:
        raise Missing(f"there is no built-in scenario {name!r}, but {', '.join(BUILT_IN)}")
    return _resource(f"{name}.toml")


def paths(wanted: Sequence[str]) -> list[Step]:
    """A journey that only gets these paths, for a service of which no more is known."""
    for path in wanted:
        if not path.startswith("/"):
            raise Invalid(f"{path!r} is no path: it begins with /")
    return [Step(name=path, path=path) for path in dict.fromkeys(wanted)]


def _resource(name: str) -> str:
    return resources.files("insight_cloud.load").joinpath("scenarios", name).read_text("utf-8")


def _parse(text: str, where: str) -> Scenario:
    try:
        data = tomllib.loads(text)
        found = msgspec.convert(data, Scenario)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{where}: {error}") from error
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {_in_words(str(error))}") from error
    crowds = {name: _with_journey(crowd, where) for name, crowd in found.scenarios.items()}
    return _checked(msgspec.structs.replace(found, scenarios=crowds), where)


def _in_words(text: str) -> str:
    """The message of msgspec, with the place in the file as people would write it."""
    return text.replace("`$.", "`").replace("Object ", "it ").replace("`$`", "the file")


def _with_journey(crowd: Crowd, where: str) -> Crowd:
    if crowd.journey is None:
        return crowd
    if crowd.steps:
        raise Invalid(f"{where}: a scenario has a journey or steps of its own, not both")
    if crowd.journey != "insight":
        raise Invalid(f'{where}: there is no journey {crowd.journey!r}, but "insight"')
    data = tomllib.loads(_resource("insight.journey.toml"))
    return msgspec.structs.replace(crowd, steps=msgspec.convert(data["steps"], tuple[Step, ...]))


# -- what cannot be done is refused before anybody is asked anything -----------------------------


def _checked(found: Scenario, where: str) -> Scenario:
    problems = list(_problems(found))
    if problems:
        raise Invalid(f"{where}: {problems[0]}")
    try:
        found.conditions()
    except Invalid as error:
        raise Invalid(f"{where}: {error}") from None
    return found


def _problems(found: Scenario) -> Iterator[str]:
    if not found.scenarios:
        yield "it has no scenario"
        return
    for name, crowd in found.scenarios.items():
        yield from (f"scenarios.{name}: {problem}" for problem in _crowd_problems(crowd))
        yield from (f"scenarios.{name}: {problem}" for problem in _steps_problems(crowd, found))
    if not 0 < found.seconds <= _MOST_SECONDS:
        yield f"it takes {found.seconds:g} s; between 1 s and a day is possible"
    if found.users > _MOST_USERS:
        yield f"it needs {found.users} users; {_MOST_USERS} are the most"
    if not 0 < found.timeout_seconds <= 600:
        yield "timeout_seconds is between 0 and 600"
    if found.generator.lag_ms <= 0 or not 0 < found.generator.cpu_percent <= 100:
        yield "generator: lag_ms is above 0 and cpu_percent between 0 and 100"
    if wrong := next((n for n in found.variables if n in GIVEN or not _NAME.fullmatch(n)), None):
        yield f"variables: {wrong!r} is no name for a variable of your own"


def _crowd_problems(crowd: Crowd) -> Iterator[str]:
    yield from _level_problems(crowd)
    if crowd.kind == "users" and crowd.most_users is not None:
        yield "most_users belongs to arrivals"
    if crowd.kind == "arrivals" and (crowd.pace_seconds is not None or any(crowd.think_seconds)):
        yield "pace_seconds and think_seconds belong to users; arrivals come by their rate"
    if crowd.pace_seconds is not None and (crowd.pace_seconds <= 0 or any(crowd.think_seconds)):
        yield "pace_seconds is above 0 and takes the place of think_seconds"
    if crowd.most_users is not None and crowd.most_users < 1:
        yield "most_users is at least 1"
    if not (_is_range(crowd.think_seconds) and crowd.after_seconds >= 0):
        yield "think_seconds is [from, to], and after_seconds is not negative"
    if not 0 <= crowd.drain_seconds <= 600:
        yield "drain_seconds is between 0 and 600"


def _level_problems(crowd: Crowd) -> Iterator[str]:
    levels = [crowd.start, *(stage.target for stage in crowd.stages)]
    if not crowd.stages or any(stage.seconds < 0 for stage in crowd.stages):
        yield "it needs stages, of 0 seconds or more"
    elif min(levels) < 0 or max(levels) == 0 or not all(map(math.isfinite, levels)):
        yield "the targets are 0 or more, and one of them is more"
    elif crowd.kind == "users" and (max(levels) > _MOST_USERS or any(x % 1 for x in levels)):
        yield f"users are whole numbers, at most {_MOST_USERS}"
    elif max(levels) > _MOST_RATE:
        yield f"{max(levels):g} arrivals a second; {_MOST_RATE} are the most"


def _steps_problems(crowd: Crowd, found: Scenario) -> Iterator[str]:
    if not crowd.steps:
        yield "it needs steps, or a journey"
    known = GIVEN | found.variables.keys()
    for name in {name for text in found.headers.values() for name in names_in(text)} - known:
        yield f"headers: nothing sets the variable {name!r}"
    for number, step in enumerate(crowd.steps, 1):
        for problem in _step_problems(step, known):
            yield f"step {number} ({step.name}): {problem}"
        known |= step.capture.keys()


def _step_problems(step: Step, known: frozenset[str] | set[str]) -> Iterator[str]:
    unknown = sorted({name for text in step.texts() for name in names_in(text)} - known)
    if unknown:
        yield f"nothing sets the variable {unknown[0]!r} before it"
    if not step.name or len(step.name) > 100 or set(step.name) & set(",{}"):
        yield "its name has 1 to 100 characters, without commas and braces"
    if not step.path.startswith("/") and not step.path.startswith("${"):
        yield f"the path {step.path!r} does not begin with /"
    if not _TOKEN.fullmatch(step.method):
        yield f"{step.method!r} is no method"
    if sum(given is not None for given in (step.form, step.json, step.body)) > 1:
        yield "it has one of form, json and body"
    if wrong := next((text for text in step.capture.values() if not _readable(text)), None):
        yield f"cannot capture {wrong!r}; write json:/a/b, header:name or regex:with(a group)"
    if not _is_range(step.think_seconds):
        yield "think_seconds is [from, to]"


def _readable(capture: str) -> bool:
    if not _CAPTURE.fullmatch(capture):
        return False
    kind, _, rest = capture.partition(":")
    try:
        return kind != "regex" or re.compile(rest).groups == 1
    except re.error:
        return False


def _is_range(pair: tuple[float, float]) -> bool:
    return 0 <= pair[0] <= pair[1] <= 3600


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value)
