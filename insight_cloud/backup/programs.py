"""Finding PostgreSQL's own programs in a version that fits the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.backup.child import parameters
from insight_cloud.core import process
from insight_cloud.core.errors import Missing, Unavailable

__all__ = ["Program", "Programs", "system_directories"]

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_TLS_MODES = {"require", "verify-ca", "verify-full"}


@dataclass(frozen=True, slots=True)
class Program:
    """One program: where, and which version."""

    path: Path
    version: str
    major: int

    def __str__(self) -> str:
        return f"{self.path.name} {self.version}"


def system_directories() -> tuple[Path, ...]:
    """Where distributions put the programs of each version, the newest first, then the path's."""
    found = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/usr").glob("pgsql-*/bin"),
        *Path("/opt/homebrew/opt").glob("postgresql@*/bin"),
    ]
    usual = [Path("/usr/local/bin"), Path("/usr/bin")]
    return (*sorted(found, key=_number, reverse=True), *usual)


def _number(path: Path) -> float:
    digits = re.findall(r"\d+(?:\.\d+)?", str(path))
    return float(digits[-1]) if digits else 0.0


class Programs:
    """The programs in `directories`, and `plain` ones that were built without TLS."""

    def __init__(
        self, directories: Iterable[Path] | None = None, *, plain: Sequence[Path] = ()
    ) -> None:
        self._directories = tuple(system_directories() if directories is None else directories)
        self._plain = tuple(plain)
        self._known: dict[Path, Program | None] = {}

    async def find(self, name: str, *, at_least: int, url: str, exactly: bool = False) -> Program:
        """The program of the server's own major version, else of the next newer one.

        An older one does not know how to dump a newer server; a newer one writes what an older
        server does not understand. For `url` that asks for TLS only those count that have it.

        Raises:
            Missing: there is none; the message says what to install.
        """
        found = [program for program in await self._all(name, url) if program.major >= at_least]
        if exactly:
            found = [program for program in found if program.major == at_least]
        if found:
            return min(found, key=lambda program: program.major)
        wanted = f"of version {at_least}" if exactly else f"of version {at_least} or newer"
        raise Missing(
            f"there is no {name} {wanted} here: install PostgreSQL's client programs "
            f"(Debian: postgresql-client-{at_least}), or set backup.programs"
        )

    async def _all(self, name: str, url: str) -> list[Program]:
        tls = _asks_for_tls(parameters(url))
        places = self._directories if tls else (*self._directories, *self._plain)
        found = [await self._look(place / name) for place in places]
        return [program for program in found if program is not None]

    async def _look(self, path: Path) -> Program | None:
        if path not in self._known:
            exists = await asyncio.to_thread(_is_itself, path)
            self._known[path] = await self._ask(path) if exists else None
        return self._known[path]

    @staticmethod
    async def _ask(path: Path) -> Program | None:
        outcome = await process.run([path, "--version"], timeout_seconds=30)
        found = _VERSION.search(outcome.stdout.decode("utf-8", "replace"))
        if outcome.status != 0 or found is None:
            return None
        major = int(found[1])
        return Program(path, f"{major}{found[2]}", major)


def _is_itself(path: Path) -> bool:
    """Not Debian's wrapper in /usr/bin, which chooses a version by the clusters of the machine."""
    return path.is_file() and path.resolve().name == path.name


def _asks_for_tls(found: Mapping[str, str]) -> bool:
    return found.get("sslmode", "prefer") in _TLS_MODES


async def version_of(path: Path) -> Program:
    """The version of one program that must be there."""
    found = await Programs._ask(path)  # noqa: SLF001 - ours
    if found is None:
        raise Unavailable(f"{path} does not say its version")
    return found
