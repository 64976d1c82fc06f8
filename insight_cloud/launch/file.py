"""`launch.toml`: what a deployment says about its launch. Values, contacts, messages, rollback."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.core.errors import Conflict, Corrupt, SettingsError
from insight_cloud.launch import items
from insight_cloud.launch.items import Checklist, Item, Probe, Value

__all__ = [
    "Contact",
    "LaunchFile",
    "Message",
    "Rollback",
    "Step",
    "Trigger",
    "read",
    "tailored",
    "template",
]

_LARGEST_BYTES = 1024 * 1024


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: an unknown name is refused."""


class About(_Table, frozen=True):
    """What is launched, where and when."""

    name: str = "the service"
    at: datetime | None = None
    """T-0; with it the timeline has dates."""
    url: str | None = None
    release: str | None = None
    """Tag of the release; by default the one of the commit that is checked out."""
    ca_file: Path | None = None


class Contact(_Table, frozen=True):
    """Whom to reach, for what, and how."""

    role: str
    name: str
    reach: str
    account: str = ""


class Message(_Table, frozen=True):
    """A message that is ready before it is needed; `{name}`, `{url}` and `{release}` are filled.

    `at` is when it is sent, in hours from the launch; None for one that waits for its occasion.
    """

    name: str
    to: str
    subject: str
    text: str
    at: float | None = None


class Trigger(_Table, frozen=True):
    """A measured value beyond which one rolls back."""

    metric: str
    above: float | None = None
    below: float | None = None
    over: str = "15m"


class Step(_Table, frozen=True):
    """One step back. `part` is what it undoes: application, database, edge, dns, certificate."""

    part: str
    do: str
    who: str = ""
    minutes: float = 0
    reason: str = ""


class Rollback(_Table, frozen=True):
    """When to go back, who decides, and how."""

    owner: str = ""
    triggers: tuple[Trigger, ...] = ()
    steps: tuple[Step, ...] = ()


class _Commands(_Table, frozen=True):
    allow: tuple[str, ...] = ()


class _Raw(_Table, frozen=True):
    launch: About = About()
    values: dict[str, Any] = {}
    not_applicable: dict[str, str] = {}
    probe: dict[str, dict[str, Any] | list[dict[str, Any]]] = {}
    item: tuple[dict[str, Any], ...] = ()
    contact: tuple[Contact, ...] = ()
    message: tuple[Message, ...] = ()
    rollback: Rollback = Rollback()
    commands: _Commands = _Commands()


class LaunchFile(msgspec.Struct, frozen=True):
    """The file, read. `probes` replace those of an item; `own` are items of the deployment."""

    about: About = About()
    values: Mapping[str, Any] = {}
    not_applicable: Mapping[str, str] = {}
    probes: Mapping[str, tuple[Probe, ...]] = {}
    own: tuple[Item, ...] = ()
    contacts: tuple[Contact, ...] = ()
    messages: tuple[Message, ...] = ()
    rollback: Rollback = Rollback()
    programs: tuple[str, ...] = ()
    """Programs that probes may run beside those that are allowed anyway."""

    def as_document(self) -> dict[str, Any]:
        """The file as data, for the items that ask about itself."""
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return data


def read(path: Path, checklist: Checklist) -> LaunchFile:
    """Read and check the file; one that does not exist says nothing.

    Raises:
        SettingsError: it cannot be used; the message names the place.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return LaunchFile()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LARGEST_BYTES:
        raise SettingsError(f"{path} is larger than {_LARGEST_BYTES} bytes")
    try:
        raw = msgspec.convert(tomllib.loads(data.decode()), _Raw)
        return _checked(raw, checklist)
    except (UnicodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, Corrupt) as error:
        raise SettingsError(f"{path}: {error}") from error


def _checked(raw: _Raw, checklist: Checklist) -> LaunchFile:
    from insight_cloud.launch.probes import KINDS

    own = tuple(items.item_of(table, KINDS) for table in raw.item)
    known = {item.id for item in (*checklist.items, *own)}
    for name in (*raw.probe, *raw.not_applicable):
        if name not in known:
            raise Corrupt(f"there is no item {name!r}")
    if twice := [item.id for item in own if checklist.find(item.id)]:
        raise Corrupt(f"{twice[0]} is an item of the checklist already: use [probe.{twice[0]}]")
    if bare := [name for name, reason in raw.not_applicable.items() if not reason.strip()]:
        raise Corrupt(f"not_applicable.{bare[0]} has no reason")
    asked = {name for item in (*checklist.items, *own) for p in item.probes for name in p.values()}
    probes = {
        name: tuple(
            items.probe_of(table, KINDS, where=f"probe.{name}")
            for table in (given if isinstance(given, list) else [given])
        )
        for name, given in raw.probe.items()
    }
    asked |= {name for given in probes.values() for p in given for name in p.values()}
    if strange := sorted(set(raw.values) - asked - set(checklist.values)):
        raise Corrupt(f"no probe asks for values.{strange[0]}")
    about = raw.launch
    if about.at is not None and about.at.tzinfo is None:
        about = msgspec.structs.replace(about, at=about.at.replace(tzinfo=UTC))
    return LaunchFile(
        about,
        raw.values,
        raw.not_applicable,
        probes,
        own,
        raw.contact,
        raw.message,
        raw.rollback,
        raw.commands.allow,
    )


def tailored(checklist: Checklist, file: LaunchFile) -> Checklist:
    """The checklist as this deployment wants it: its own items, and its probes."""
    all_items = (
        msgspec.structs.replace(item, probes=file.probes.get(item.id, item.probes))
        for item in (*checklist.items, *file.own)
    )
    return Checklist(tuple(all_items), checklist.values)


def template(checklist: Checklist, *, service: bool) -> str:
    """A first `launch.toml`; for `service`, that is Insight Cloud itself, with its values."""
    from importlib import resources

    folder = resources.files("insight_cloud.launch")
    head = (folder / "first.toml").read_text(encoding="utf-8")
    known = tomllib.loads((folder / "service.toml").read_text(encoding="utf-8")) if service else {}
    lines = [
        head.rstrip(),
        "",
        "# What probes have to know. Without a value, those items are not run.",
        "[values]",
    ]
    for name, value in checklist.values.items():
        lines += [f"# {value.about}", _line(name, value, known.get("values", {}).get(name))]
    for name, reason in known.get("not_applicable", {}).items():
        lines += ["", "[not_applicable]", f"{name} = {_toml(reason)}"]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Value, known: Any) -> str:
    if known is not None:
        return f"{name} = {_toml(known)}"
    shown = value.example if value.default is None else value.default
    return f"# {name} = {_toml(shown)}"


def _toml(data: Any) -> str:
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_toml(one)}" for name, one in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(_toml, data)) + "]"
    return msgspec.json.encode(data).decode()


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else _toml(name)


def write_template(path: Path, text: str) -> None:
    """Write a first file, never over another.

    Raises:
        Conflict: there is one.
    """
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError as error:
        raise Conflict(f"{path} exists already; edit it") from error
