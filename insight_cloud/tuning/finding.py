"""A finding: what is wrong, how it is known, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.report import Check, Status

__all__ = ["Finding", "Severity", "checks", "plan"]

Severity = Literal["advice", "warn", "fail"]
_ORDER = {"delete-invalid": 0, "create": 1, "delete": 2, "update": 3, "run": 4}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one thing. `advice` is a choice that may be right as it is.

    `changes` are statements: `after` is the one that mends, `before` the one that brings the
    present state back, if there is one. Where no statement is safe to run by itself, `remedy`
    says what a person would do.
    """

    kind: str
    target: str
    detail: str
    severity: Severity = "warn"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json` and reports."""
        return {
            "kind": self.kind,
            "target": self.target,
            "severity": self.severity,
            "detail": self.detail,
            "evidence": dict(self.evidence),
            "remedy": self.remedy,
            "changes": [asdict(change) for change in self.changes],
        }


def plan(findings: Iterable[Finding]) -> Plan:
    """Return every change that the findings ask for, once, in an order that is safe.

    Invalid indexes make room for their successors; an index is made before another goes; what
    counts rows comes last.
    """
    statements: dict[Any, Change] = {}
    for finding in findings:
        for change in finding.changes:
            statements.setdefault(change.after, change)
    whole = {c.target for c in statements.values() if _rank(c) == 4 and "vacuum" in str(c.after)}
    kept = [
        change
        for change in statements.values()
        # A vacuum that analyses makes a plain analyse of the same table needless.
        if not (str(change.after).startswith("analyze ") and change.target in whole)
    ]
    return Plan(tuple(sorted(kept, key=_rank)))


def _rank(change: Change) -> int:
    if change.verb == "delete" and change.before is None:
        return _ORDER["delete-invalid"]
    return _ORDER[change.verb]


def checks(
    area: str,
    kinds: Iterable[str],
    findings: Iterable[Finding],
    unseen: Mapping[str, str] | None = None,
) -> list[Check]:
    """Return one check of every kind: its worst finding, or `skip` where it could not be seen.

    `unseen` gives the reason for a kind. Findings there are of such a kind still count: what
    was seen of a part is true of that part.
    """
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in kinds}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    return [_check(area, kind, found, (unseen or {}).get(kind)) for kind, found in by_kind.items()]


def _check(area: str, kind: str, found: list[Finding], unseen: str | None) -> Check:
    bad = [one for one in found if one.severity != "advice"]
    name = f"{area}.{kind}"
    if not bad:
        if unseen:
            return Check(name, "skip", unseen)
        hints = f"{len(found)} of them are a matter of choice" if found else ""
        return Check(name, "pass", hints)
    status: Status = "fail" if any(one.severity == "fail" for one in bad) else "warn"
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    note = f" ({unseen})" if unseen else ""
    return Check(name, status, f"{bad[0].target}: {bad[0].detail}{more}{note}")
