"""Findings as they may leave this machine: what a level does not name is taken out here."""

from __future__ import annotations

import hashlib
import platform
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud import __version__
from insight_cloud.app.privacy.levels import Level
from insight_cloud.app.privacy.mask import Find, masked
from insight_cloud.app.privacy.schemas import COUNTS_KIND, SAID
from insight_cloud.app.sarif import write
from insight_cloud.app.sarif.model import Finding, Location, Rule, Run, Snippet

__all__ = ["Keyed", "counts", "log", "with_snippets", "without_credentials"]

_MESSAGE_CHARACTERS = 10_000
_SNIPPET_CHARACTERS = 4_000
_AROUND = 3
"""Lines before and after a finding."""

_NO_NAME = re.compile(r"[^A-Za-z0-9 ._+()\-]+")
_NO_VERSION = re.compile(r"[^A-Za-z0-9._+\-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FINGERPRINT = re.compile(r"[A-Za-z0-9._/:\-]{1,100}", re.ASCII)
_HELP = re.compile(r"https?://[^\s@]{1,1900}")
_HEX = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Keyed:
    """How hashes are made here: with a key that stays here. Without one there are none."""

    key: bytes | None = field(default=None, repr=False)
    hash_paths: bool = False

    def hash(self, text: str) -> str | None:
        """A hash that only the key's holder can compare with a guess; None without a key."""
        if self.key is None:
            return None
        key = hashlib.blake2b(self.key, digest_size=32, person=b"insight-privacy").digest()
        return "k:" + hashlib.blake2b(text.encode(), digest_size=16, key=key).hexdigest()

    def path(self, path: str) -> str:
        """`path`, or the hash of each of its parts where that is wanted."""
        if not self.hash_paths:
            return path
        return "/".join((self.hash(part) or "k:")[2:18] for part in path.split("/"))


# -- a log -------------------------------------------------------------------------------------


def log(runs: Iterable[Run], level: Level, *, find: Find, keyed: Keyed) -> bytes:
    """Write `runs` as a SARIF log that holds no more than `level`, which is not `counts`."""
    return write.log([_run(run, level, find, keyed) for run in runs])


def _run(run: Run, level: Level, find: Find, keyed: Keyed) -> Run:
    if level == "source":
        return run
    bare = level == "metadata"
    # What names no file of the project names one of this machine: it stays here.
    scope = run.scope and frozenset(keyed.path(path) if bare else path for path in run.scope)
    detail = SAID.get(run.state, "") if bare else _clean(run.detail, find)
    rules = {rule.code: _rule(rule) for rule in run.rules}
    one = _metadata if bare else _finding
    return msgspec.structs.replace(
        run,
        tool=_tool(run.tool),
        version=_version(run.version),
        category=re.sub(r"[\\\x00-\x1f]+", "-", run.category)[:250],
        detail=detail,
        rules=tuple(rules.values()),
        findings=tuple(
            one(finding, rules.get(finding.rule), level, find, keyed) for finding in run.findings
        ),
        scope=scope,
    )


def _metadata(
    finding: Finding, rule: Rule | None, level: Level, find: Find, keyed: Keyed
) -> Finding:
    del level, find
    place = _inside(finding.location)
    if place is not None:
        place = Location(path=keyed.path(place.path), line=place.line, end_line=place.end_line)
    return Finding(
        rule=_code(finding.rule),
        message=(rule.summary if rule else "") or _code(finding.rule),
        severity=finding.severity,
        category=finding.category,
        location=place,
        fingerprints={
            name: hashed
            for name, value in finding.fingerprints.items()
            if _FINGERPRINT.fullmatch(name) and (hashed := keyed.hash(value)) is not None
        },
        context_hash=_hashed(finding.context_hash, keyed),
        line_hash=_hashed(finding.line_hash, keyed),
        suppressed=finding.suppressed,
    )


def _finding(
    finding: Finding, rule: Rule | None, level: Level, find: Find, keyed: Keyed
) -> Finding:
    del rule, keyed
    finding = _clean_snippet(finding, find)
    return msgspec.structs.replace(
        finding,
        rule=_code(finding.rule),
        message=_clean(finding.message, find),
        location=_said(_inside(finding.location), find),
        related=_places(finding.related, find),
        flow=_places(finding.flow, find),
        fingerprints={
            name: value
            for name, value in finding.fingerprints.items()
            if _FINGERPRINT.fullmatch(name) and len(value) <= 1_000
        },
        snippet=finding.snippet if level == "snippets" and _inside(finding.location) else None,
        pointer="",
    )


def without_credentials(runs: Iterable[Run], find: Find) -> tuple[Run, ...]:
    """The same runs with masked snippets: what a log brings of the code may hold a secret."""
    return tuple(
        msgspec.structs.replace(
            run, findings=tuple(_clean_snippet(finding, find) for finding in run.findings)
        )
        if any(finding.snippet for finding in run.findings)
        else run
        for run in runs
    )


def _clean_snippet(finding: Finding, find: Find) -> Finding:
    if finding.snippet is None:
        return finding
    text = _clean(finding.snippet.text, find, _SNIPPET_CHARACTERS)
    return msgspec.structs.replace(finding, snippet=Snippet(line=finding.snippet.line, text=text))


def _inside(place: Location | None) -> Location | None:
    """The place where it is below the sources' root: other paths tell of the machine."""
    return None if place is None or place.external else place


def _said(place: Location | None, find: Find) -> Location | None:
    if place is None or not place.message:
        return place
    return msgspec.structs.replace(place, message=_clean(place.message, find))


def _places(places: Sequence[Location], find: Find) -> tuple[Location, ...]:
    said = (_said(_inside(place), find) for place in places)
    return tuple(place for place in said if place is not None)


def _clean(text: str, find: Find, most: int = _MESSAGE_CHARACTERS) -> str:
    text = masked(text, find)
    # Where a text is cut, something may begin to look like a secret.
    return text if len(text) <= most else masked(text[:most], find)


def _hashed(value: str, keyed: Keyed) -> str:
    return (keyed.hash(value) or "") if value else ""


def _rule(rule: Rule) -> Rule:
    return msgspec.structs.replace(
        rule,
        code=_code(rule.code),
        name=rule.name[:300],
        summary=rule.summary[:10_000],
        help=rule.help[:50_000],
        help_uri=rule.help_uri if _HELP.fullmatch(rule.help_uri) else "",
    )


def _code(code: str) -> str:
    return _CONTROL.sub("", code)[:300] or "unknown"


def _tool(name: str) -> str:
    return _NO_NAME.sub("-", name).lstrip(" ._+()-")[:100] or "tool"


def _version(version: str) -> str:
    return _NO_VERSION.sub("-", version)[:100]


# -- the code around a finding -----------------------------------------------------------------


def with_snippets(run: Run, root: Path, find: Find) -> Run:
    """The same run with the lines around each finding that can be read below `root`.

    Credentials are masked in the whole file first: a part of a private key has no form by which
    it could be recognised. What finds secrets gets no snippets at all.
    """
    if run.tool == "secrets":
        return run
    top, files = root.resolve(), dict[str, list[str]]()
    findings = []
    for finding in run.findings:
        place = finding.location
        if place is not None and place.line is not None and not place.external:
            if place.path not in files:
                files[place.path] = _lines(top, place.path, find)
            finding = _around(finding, place.line, files[place.path])  # noqa: PLW2901 - the same one
        findings.append(finding)
    return msgspec.structs.replace(run, findings=tuple(findings))


def _lines(top: Path, path: str, find: Find) -> list[str]:
    file = (top / path).resolve()
    try:
        if not file.is_relative_to(top) or file.stat().st_size > _LARGEST_FILE_BYTES:
            return []
        text = file.read_text("utf-8")
    except (OSError, UnicodeError):
        return []
    return masked(text.replace("\r\n", "\n"), find).split("\n")


_LARGEST_FILE_BYTES = 2_000_000


def _around(finding: Finding, line: int, lines: Sequence[str]) -> Finding:
    if not 1 <= line <= len(lines):
        return finding
    first = max(1, line - _AROUND)
    text = "\n".join(lines[first - 1 : line + _AROUND])
    return msgspec.structs.replace(finding, snippet=Snippet(line=first, text=text))


# -- counts ------------------------------------------------------------------------------------


def counts(
    runs: Sequence[Run],
    *,
    branch: str | None,
    commit: str,
    keyed: Keyed,
    remote: str = "",
    files: int | None = None,
    lines: int | None = None,
) -> bytes:
    """Write how many findings there are, and nothing about where or what they are."""
    counted = Counter(
        (_tool(run.tool), finding.severity, finding.category)
        for run in runs
        for finding in run.findings
        if not finding.suppressed
    )
    body: dict[str, Any] = {
        "kind": COUNTS_KIND,
        # A branch may be called like a file; the slashes at least are gone.
        "branch": re.sub(r"[^A-Za-z0-9._-]+", "-", branch)[:255] if branch else None,
        "commit": commit if _HEX.fullmatch(commit) else None,
        "remote": keyed.hash(remote) if remote else None,
        "complete": all(run.state in {"ok", "skipped"} for run in runs),
        "files": files,
        "lines": lines,
        "seconds": round(sum(run.seconds for run in runs), 3),
        "counts": [
            {"tool": tool, "severity": severity, "category": category, "open": number}
            for (tool, severity, category), number in sorted(counted.items())
        ],
        "tools": [
            {
                "name": _tool(run.tool),
                "version": _version(run.version),
                "state": run.state,
                "seconds": round(run.seconds, 3),
            }
            for run in runs
        ],
        "versions": {
            "insight": __version__,
            "python": platform.python_version(),
            "system": _version(platform.system()),
        },
    }
    given = {name: value for name, value in body.items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(given), indent=1) + b"\n"
