"""The database of known vulnerabilities: made from OSV's archives, asked by package. One file.

It is written beside and put in place as a whole, so that whoever reads it meets the old one or
the new one, and a sync that fails changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from insight_cloud.app.detectors.versions import Affected, fixed_in, is_affected
from insight_cloud.app.sarif.model import Severity
from insight_cloud.core.errors import Corrupt, Invalid, Missing, Unavailable

__all__ = ["Advisory", "Database", "Hit", "State", "build"]

_SCHEMA = """
create table advisories (id text primary key, data blob not null);
create table packages (ecosystem text not null, name text not null, id text not null);
create table about (made_at text not null, advisories integer not null, source text not null);
"""
_INDEX = "create index by_package on packages (ecosystem, name)"
_ENTRY_BYTES = 8 * 1024 * 1024
_ENTRIES = 2_000_000
_WORDS: dict[str, Severity] = {
    "CRITICAL": "critical",
    "HIGH": "high",
    "MODERATE": "medium",
    "MEDIUM": "medium",
    "LOW": "low",
}
_CVSS3 = re.compile(r"CVSS:3\.[01]/")
# First's formula of the base score, version 3.1.
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}
_VECTOR = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_EFFORT = {"L": 0.77, "H": 0.44}
_RIGHTS = {"N": 0.85, "L": 0.62, "H": 0.27}
_RIGHTS_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}
_HELP_OF = {"N": 0.85, "R": 0.62}


class _Score(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str = ""
    score: str = ""


class _Specific(msgspec.Struct, frozen=True, omit_defaults=True):
    severity: str | None = None


class Advisory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What we use of an OSV record (ossf.github.io/osv-schema)."""

    id: str
    modified: str = ""
    summary: str = ""
    details: str = ""
    aliases: list[str] = []
    withdrawn: str | None = None
    affected: list[Affected] = []
    severity: list[_Score] = []
    database_specific: _Specific = _Specific()

    @property
    def level(self) -> Severity:
        """How bad it is: its database's word, else the score, else in the middle."""
        word = (self.database_specific.severity or "").upper()
        if word in _WORDS:
            return _WORDS[word]
        scores = [found for one in self.severity if (found := _base_score(one.score)) is not None]
        return _level(max(scores)) if scores else "medium"


@dataclass(frozen=True, slots=True)
class Hit:
    """An advisory about a package in a version; `fixed` may be empty: no such version is known."""

    advisory: Advisory
    fixed: str


@dataclass(frozen=True, slots=True)
class State:
    """What a database holds."""

    made_at: datetime
    advisories: int
    source: str


class Database:
    """The database in `file`, for reading.

    Raises:
        Missing: there is none.
        Corrupt: it is not one of ours.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise Missing("no advisory database: run `insight osv sync`")
        try:
            # Immutable: the file is replaced, never changed, and its folder may be read-only.
            self._db = sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)
            made, count, source = self._db.execute("select * from about").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise Corrupt(f"{file} is no advisory database: {error}; sync again") from error
        self.state = State(datetime.fromisoformat(made), count, source)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def about(self, ecosystem: str, name: str, version: str) -> list[Hit]:
        """The advisories about a package in a version, one for each vulnerability."""
        rows = self._db.execute(
            "select a.data from advisories a join packages p on p.id = a.id "
            "where p.ecosystem = ? and p.name = ? order by a.id",
            (ecosystem, _name(ecosystem, name)),
        )
        hits = []
        for (data,) in rows:
            advisory = msgspec.json.decode(data, type=Advisory)
            for affected in _of(advisory, ecosystem, name):
                if is_affected(affected, version):
                    hits.append(Hit(advisory, fixed_in(affected, version)))
                    break
        return _one_each(hits)


def build(archives: Iterable[Path], file: Path, *, source: str) -> State:
    """Make a database of OSV's archives (zip files of JSON records) and put it in place.

    Raises:
        Invalid: an archive is none, or holds no record; what was there stays.
        Unavailable: the file cannot be written.
    """
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with contextlib.closing(sqlite3.connect(new)) as db:
            count = _fill(db, archives)
            made = datetime.now(UTC).replace(microsecond=0)
            db.execute("insert into about values (?, ?, ?)", (made.isoformat(), count, source))
            db.commit()
        with new.open("rb") as stream:
            os.fsync(stream.fileno())
        new.chmod(0o644)
        new.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"cannot write {file}: {error}") from error
    finally:
        new.unlink(missing_ok=True)
    return State(made, count, source)


def _fill(db: sqlite3.Connection, archives: Iterable[Path]) -> int:
    db.executescript("pragma journal_mode = off; pragma synchronous = off;" + _SCHEMA)
    count = 0
    for archive in archives:
        before = count
        for advisory in _records(archive):
            packages = {
                (one.package.ecosystem.partition(":")[0], one.package.name)
                for one in advisory.affected
                if one.package.name
            }
            if advisory.withdrawn or not packages:
                continue
            data = msgspec.json.encode(msgspec.structs.replace(advisory, details=""))
            db.execute("insert or replace into advisories values (?, ?)", (advisory.id, data))
            db.executemany(
                "insert into packages values (?, ?, ?)",
                [(kind, _name(kind, name), advisory.id) for kind, name in sorted(packages)],
            )
            count += 1
        if count == before:
            raise Invalid(f"{archive.name} holds no advisory: it is no archive of OSV")
    db.execute(_INDEX)
    return count


def _records(archive: Path) -> Iterator[Advisory]:
    decoder = msgspec.json.Decoder(Advisory)
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist()[:_ENTRIES]:
                if entry.filename.endswith(".json") and entry.file_size <= _ENTRY_BYTES:
                    # A record in a form that we do not know is passed over, as OSV asks of readers.
                    with contextlib.suppress(msgspec.DecodeError):
                        yield decoder.decode(opened.read(entry))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise Invalid(f"{archive.name} cannot be read as a zip file: {error}") from error


def _of(advisory: Advisory, ecosystem: str, name: str) -> list[Affected]:
    wanted = _name(ecosystem, name)
    return [
        one
        for one in advisory.affected
        if one.package.ecosystem.partition(":")[0] == ecosystem
        and _name(ecosystem, one.package.name) == wanted
    ]


def _name(ecosystem: str, name: str) -> str:
    return canonicalize_name(name) if ecosystem == "PyPI" else name


def _one_each(hits: list[Hit]) -> list[Hit]:
    """Several databases tell of one vulnerability: GitHub's record says most, so it stands."""
    kept: list[Hit] = []
    seen: set[str] = set()
    for hit in sorted(
        hits, key=lambda hit: (not hit.advisory.id.startswith("GHSA"), hit.advisory.id)
    ):
        names = {hit.advisory.id, *hit.advisory.aliases}
        if seen.isdisjoint(names):
            kept.append(hit)
        seen |= names
    return kept


def _level(score: float) -> Severity:
    if score >= 9:
        return "critical"
    return "high" if score >= 7 else "medium" if score >= 4 else "low"


def _base_score(vector: str) -> float | None:
    """The base score of a CVSS 3 vector; None for other versions, and for what is none."""
    if not _CVSS3.match(vector):
        return None
    given = dict(part.split(":", 1) for part in vector.split("/")[1:] if ":" in part)
    try:
        changed = given["S"] == "C"
        left = 1.0
        for name in ("C", "I", "A"):
            left *= 1 - _IMPACT[given[name]]
        base = 1 - left
        impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
        rights = (_RIGHTS_CHANGED if changed else _RIGHTS)[given["PR"]]
        reach = 8.22 * _VECTOR[given["AV"]] * _EFFORT[given["AC"]] * rights * _HELP_OF[given["UI"]]
    except KeyError:
        return None
    if impact <= 0:
        return 0.0
    total = min((1.08 if changed else 1.0) * (impact + reach), 10)
    return -(-round(total * 100_000) // 10_000) / 10  # rounded up to one decimal, as it defines
