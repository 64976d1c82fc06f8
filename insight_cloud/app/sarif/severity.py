"""How bad a finding is and what it concerns, from whatever a log says about it.

Apart because tools mean different things by "error". In this order: what we wrote ourselves,
our catalogue, `security-severity`, the tool's own properties, the level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from insight_cloud.app.sarif import catalogue
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES, Category, Severity

__all__ = ["OUR_CATEGORY", "OUR_SEVERITY", "judge", "of_score"]

OUR_SEVERITY = "insightSeverity"
"""Result property in which our writer keeps the severity."""

OUR_CATEGORY = "insightCategory"
"""Result property in which our writer keeps the category."""

_OF_LEVEL: dict[str, Severity] = {
    "error": "high",
    "warning": "medium",
    "note": "low",
    "none": "info",
}
_OF_WORD: dict[str, Severity] = {
    "blocker": "critical",
    "critical": "critical",
    "high": "high",
    "error": "high",
    "major": "medium",
    "medium": "medium",
    "moderate": "medium",
    "warning": "medium",
    "low": "low",
    "minor": "low",
    "note": "low",
    "info": "info",
    "informational": "info",
    "unknown": "info",
}
_WORDED = ("issue_severity", "zizmor/severity", "severity")
"""Properties in which tools name a severity: bandit, zizmor, many others."""

_OF_TAG: dict[str, Category] = {
    "security": "security",
    "vulnerability": "security",
    "secret": "security",
    "secrets": "security",
    "performance": "performance",
    "efficiency": "performance",
    "complexity": "complexity",
    "duplicate": "duplication",
    "duplication": "duplication",
    "style": "style",
    "readability": "style",
    "formatting": "style",
    "documentation": "style",
    "dependencies": "packages",
    "dependency": "packages",
    "imports": "imports",
    "types": "types",
    "typing": "types",
    "network": "network",
    "build": "build",
    "reliability": "runtime",
    "correctness": "runtime",
    "suspicious": "runtime",
    "perf": "performance",
}

Properties = Mapping[str, Any]


def judge(
    tool: str, code: str, level: str, rule: Properties | None, result: Properties | None
) -> tuple[Severity, Category]:
    """Severity and category of a finding; `rule` and `result` are the properties of each."""
    rule, result = rule or {}, result or {}
    known = catalogue.find(tool, code)
    score = _score(result.get("security-severity", rule.get("security-severity")))
    severity = (
        _ours(result)
        or (known.severity if known else None)
        or of_score(score)
        or _worded(result)
        or _worded(rule)
        or _OF_LEVEL.get(level, "medium")
    )
    category = (
        _our_category(result)
        or (known.category if known else None)
        or ("security" if score is not None else None)
        or _tagged(rule, result)
        or "runtime"
    )
    return severity, category


def of_score(score: float | None) -> Severity | None:
    """The severity of a CVSS-like score as GitHub draws the lines; 0 says nothing."""
    if score is None or score <= 0:
        return None
    if score >= 9:
        return "critical"
    if score >= 7:
        return "high"
    return "medium" if score >= 4 else "low"


def _score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if 0 <= score <= 10 else None


def _ours(result: Properties) -> Severity | None:
    value = result.get(OUR_SEVERITY)
    return next((known for known in SEVERITIES if known == value), None)


def _our_category(result: Properties) -> Category | None:
    value = result.get(OUR_CATEGORY)
    return next((known for known in CATEGORIES if known == value), None)


def _worded(properties: Properties) -> Severity | None:
    for name in _WORDED:
        word = properties.get(name)
        if isinstance(word, str) and (severity := _OF_WORD.get(word.lower())):
            return severity
    return None


def _tagged(rule: Properties, result: Properties) -> Category | None:
    """The category that the tags name; "security" wins, whatever stands before it."""
    tags = [*_words(rule.get("tags")), *_words(result.get("tags")), *_words(rule.get("category"))]
    found = [category for tag in tags if (category := _of_tag(tag))]
    return "security" if "security" in found else next(iter(found), None)


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value.lower(),)
    return (tag.lower() for tag in value if isinstance(tag, str)) if isinstance(value, list) else ()


def _of_tag(tag: str) -> Category | None:
    if tag.startswith(("cwe", "owasp", "external/cwe")):
        return "security"
    return _OF_TAG.get(tag)
