"""What is kept between runs, in a folder: runs, waivers, signatures, samples of the metrics.

Each record is a file of its own, written whole, so that two people at work lose nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from insight_cloud.core import files
from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.launch.gate import Signature, Waiver
from insight_cloud.launch.run import Run

__all__ = ["Records"]

_T = TypeVar("_T")
_MOST_RUNS = 500
_SAMPLES = "samples.jsonl"
_SAMPLE_DAYS = 8
_TRIM_BYTES = 256 * 1024 * 1024


class Records:
    """The folder. It is made with the first record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        return self._all("runs", Run)

    def waivers(self) -> list[Waiver]:
        """All waivers, those that have ended too."""
        return self._all("waivers", Waiver)

    def signatures(self) -> list[Signature]:
        """All signatures."""
        return self._all("signatures", Signature)

    def keep(self, record: Run | Waiver | Signature) -> Path:
        """Write one record, and remove the oldest runs beyond the 500th.

        Raises:
            Unavailable: it cannot be written.
        """
        kind = {Run: "runs", Waiver: "waivers", Signature: "signatures"}[type(record)]
        name = f"{record.at:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(3)}.json"
        path = self.folder / kind / name
        try:
            files.write(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
            for old in sorted((self.folder / "runs").glob("*.json"))[:-_MOST_RUNS]:
                old.unlink()
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}") from error
        return path

    def _all(self, kind: str, type_: type[_T]) -> list[_T]:
        found = []
        for path in sorted((self.folder / kind).glob("*.json"), reverse=True):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=type_))
            except (OSError, msgspec.MsgspecError) as error:
                raise Corrupt(f"{path} is no record of this program: {error}") from error
        return found

    # -- samples ----------------------------------------------------------------------------

    def samples(self) -> tuple[Mapping[str, Any], ...]:
        """The samples of the last days, the oldest first; a torn last line is passed over."""
        try:
            lines = (self.folder / _SAMPLES).read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        found = []
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.MsgspecError:
                continue
        return tuple(found)

    def keep_sample(self, sample: Mapping[str, Any], *, now: datetime) -> None:
        """Append a sample; when the file is large, what is older than eight days goes."""
        path = self.folder / _SAMPLES
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One write of one line: what others append meanwhile stands before or after it.
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, msgspec.json.encode(sample) + b"\n")
            finally:
                os.close(handle)
            if path.stat().st_size > _TRIM_BYTES:
                self._trim(path, now - timedelta(days=_SAMPLE_DAYS))
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}") from error

    def _trim(self, path: Path, since: datetime) -> None:
        young = [one for one in self.samples() if datetime.fromisoformat(one["at"]) >= since]
        files.write(path, b"".join(msgspec.json.encode(one) + b"\n" for one in young))
