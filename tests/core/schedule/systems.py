"""Schedulers that remember what they were told: the commands of four systems, in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from insight_cloud.core.process import Outcome

__all__ = ["System", "require_systemd"]


def require_systemd() -> None:
    """Skip the test where systemd's own reader is missing; under CI=true it fails."""
    if shutil.which("systemd-analyze") is not None:
        return
    reason = "systemd-analyze is not installed (Debian: apt-get install systemd)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class System:
    """Answers `systemctl`, `crontab`, `launchctl`, `schtasks` and `loginctl` with state."""

    table: bytes | None = None
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    loaded: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    broken: str = ""

    async def __call__(self, command: Sequence[str], stdin: bytes) -> Outcome:
        words = [word for word in command if word != "--user"]
        self.calls.append(tuple(command))
        if self.broken and self.broken in command:
            return Outcome(1, b"", b"it is broken", 0.0)
        status, said = getattr(self, f"_{words[0]}")(words[1:], stdin)
        return Outcome(status, said, b"", 0.0)

    def _systemctl(self, words: list[str], _: bytes) -> tuple[int, bytes]:
        verb, unit = words[0], words[-1]
        match verb:
            case "enable":
                self.enabled.add(unit)
            case "restart":
                self.active.add(unit)
            case "disable":
                self.enabled.discard(unit)
                self.active.discard(unit)
            case "is-enabled":
                return int(unit not in self.enabled), b""
            case "is-active":
                return int(unit not in self.active), b""
            case "show":
                return 0, b"Result=success\nExecMainExitTimestamp=\n"
        return 0, b""

    def _loginctl(self, _: list[str], __: bytes) -> tuple[int, bytes]:
        return 0, b"Linger=no\n"

    def _crontab(self, words: list[str], stdin: bytes) -> tuple[int, bytes]:
        if words == ["-l"]:
            return (1, b"") if self.table is None else (0, self.table)
        assert words == ["-"]
        assert stdin.endswith(b"\n") or not stdin
        self.table = stdin
        return 0, b""

    def _launchctl(self, words: list[str], _: bytes) -> tuple[int, bytes]:
        verb, target = words[0], words[1]
        match verb:
            case "bootstrap":
                self.loaded[f"{target}/{Path(words[2]).stem}"] = Path(words[2]).read_text()
            case "bootout":
                return (0 if self.loaded.pop(target, None) else 3), b""
            case "print":
                return int(target not in self.loaded), b""
        return 0, b""

    def _schtasks(self, words: list[str], _: bytes) -> tuple[int, bytes]:
        name = words[words.index("/TN") + 1] if "/TN" in words else ""
        match words[0]:
            case "/Create":
                text = Path(words[words.index("/XML") + 1]).read_text(encoding="utf-16")
                # Windows keeps the meaning and not the text.
                self.tasks[name] = text.replace("\n", "\r\n").replace("<Priority>7</Priority>", "")
            case "/Delete":
                del self.tasks[name]
            case "/Query" if name:
                return 0, self.tasks[name].encode("utf-16")
            case "/Query":
                rows = [f'"{task}","N/A","Ready"' for task in self.tasks]
                return 0, "\r\n".join(['"\\Other\\task","N/A","Ready"', *rows]).encode()
        return 0, b""
