"""secrets: credentials that were committed, by about fifty patterns of our own.

Apart from `tokens` (what a secret looks like): here files are read and findings are made.
A finding never holds the secret, nor a hash of it, which could be guessed offline.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

import msgspec

from insight_cloud.app.detectors import tokens, work
from insight_cloud.app.detectors.detector import Children, Detector, Result, Sample
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.sarif import fingerprint
from insight_cloud.app.sarif.model import SEVERITIES, Finding, Location, Rule, Run, Severity

__all__ = ["detector"]

_ALLOWED = re.compile(r"gitleaks:allow|pragma: allowlist secret|insight: allow-secret|nosecret")
_REHEARSAL = re.compile(
    r"(?:^|/)(?:tests?|testing|testdata|fixtures?|examples?|samples?|docs?|mocks?|__tests__)/"
    r"|(?:^|/)(?:test_|conftest)[^/]*$|[._-](?:test|spec|example|sample|template|dist)(?:\.[^/]*)?$"
    r"|\.(?:md|rst|adoc|po)$",
    re.IGNORECASE,
)
_BY_CODE = {pattern.code: pattern for pattern in tokens.PATTERNS}
_RULES = tuple(
    Rule(
        code=code,
        name=code,
        summary=f"A {pattern.what} in the source code",
        help="Revoke it first: whoever could read the repository may have it, and it stays in "
        "the history. Then take it from the environment or a secret store. A line that says "
        "`insight: allow-secret` in a comment is reported as suppressed.",
    )
    for code, pattern in sorted(_BY_CODE.items())
)


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """Where one secret is, and of which kind, as the child reports it; never on two lines."""

    code: str
    line: int
    column: int
    end_column: int
    allowed: bool


async def _run(root: Path, files: tuple[File, ...], children: Children) -> Result:
    generated = [file.name for file in files if not file.own]
    answer = await work.spread(
        "insight_cloud.app.detectors.secrets_worker",
        files,
        children,
        kind=Hit,
        task=generated,
    )
    if isinstance(answer, Result):
        return answer
    findings = tuple(
        _finding(name, hit) for name, hits in sorted(answer.found.items()) for hit in hits
    )
    run = Run(tool="secrets", findings=findings)
    hashed = await asyncio.to_thread(_hashed, run, root, answer.found, children.scratch)
    return Result("ok", hashed.findings, _RULES, answer.detail, hashed=True)


def _hashed(run: Run, root: Path, found: dict[str, list[Hit]], scratch: Path) -> Run:
    """The findings with hashes of the code around them, in which no secret took part.

    A hash of the line as it stands would let anyone who reads the log try passwords.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for name, hits in found.items():
            masked = Path(folder, name)
            masked.parent.mkdir(parents=True, exist_ok=True)
            masked.write_text(_masked(Path(root, name), hits), "utf-8", newline="")
        return fingerprint.add(run, root=Path(folder))


def _masked(path: Path, hits: list[Hit]) -> str:
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    for hit in sorted(hits, key=lambda hit: (hit.line, hit.column), reverse=True):
        if hit.line <= len(lines):
            line = lines[hit.line - 1]
            lines[hit.line - 1] = f"{line[: hit.column - 1]}*{line[hit.end_column - 1 :]}"
    return "\n".join(lines)


def hits(text: str, *, generic: bool) -> list[Hit]:
    """The secrets in `text`, by line and column."""
    found = tokens.find(text, generic=generic)
    return [_hit(text, secret) for secret in found]


def _hit(text: str, secret: tokens.Secret) -> Hit:
    first = text.rfind("\n", 0, secret.start) + 1
    line = text.count("\n", 0, secret.start) + 1
    end = text.find("\n", secret.end)
    return Hit(
        code=secret.code,
        line=line,
        column=secret.start - first + 1,
        end_column=secret.end - first + 1,
        allowed=bool(_ALLOWED.search(text, first, end if end >= 0 else len(text))),
    )


def _finding(path: str, hit: Hit) -> Finding:
    pattern = _BY_CODE[hit.code]
    return Finding(
        rule=hit.code,
        message=f"{_article(pattern.what)} {pattern.what} is in the source code; revoke it",
        severity=_lowered(pattern.severity) if _REHEARSAL.search(path) else pattern.severity,
        category="security",
        suppressed=hit.allowed,
        location=Location(
            path=path,
            line=hit.line,
            column=hit.column,
            end_line=hit.line,
            end_column=hit.end_column,
        ),
    )


def _article(what: str) -> str:
    return "An" if what[0] in "AEIOaeio" else "A"


def _lowered(severity: Severity) -> Severity:
    """Two steps down: in tests and documentation most are made up, some are not."""
    return SEVERITIES[min(SEVERITIES.index(severity) + 2, len(SEVERITIES) - 1)]


def _select(tree: Tree) -> tuple[File, ...]:
    return tree.files


detector = Detector(
    name="secrets",
    finds="tokens, passwords and private keys in any text file",
    absent="no text files",
    version=lambda: tokens.VERSION,
    configuration=repr((1, _ALLOWED.pattern, _REHEARSAL.pattern)),
    select=_select,
    run=_run,
    sample=Sample((("settings.py", f'TOKEN = "{"ghp_"}{"a1B2c3D4e5F6" * 3}"\n'),), "github-token"),
)
