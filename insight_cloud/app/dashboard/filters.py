"""The filters of the issue list: read from the address, written back to it, shown in the form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast
from uuid import UUID

from starlette.datastructures import QueryParams

from insight_cloud.app.dashboard.present import counts, href
from insight_cloud.app.dashboard.views import Counts, Crumb, Filters, Option
from insight_cloud.app.issues.models import Filter, Muted
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES, Category, Severity

__all__ = ["MUTES", "Wanted", "form", "parse", "total"]

_LIMIT_CHARACTERS = 500

MUTES: dict[Muted, str] = {
    "false_positive": "False positive",
    "wont_fix": "Won't fix",
    "accepted": "Accepted until a date",
    "source": "Suppressed in the source",
    "rule": "Suppressed by a rule",
}
"""Why an issue does not count, in the words of the pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the address asks for. `branch` is empty for the default branch."""

    branch: str = ""
    state: Literal["open", "fixed", "all"] = "open"
    severity: tuple[Severity, ...] = ()
    category: Category | Literal[""] = ""
    tool: str = ""
    rule: str = ""
    path: str = ""
    q: str = ""
    suppressed: bool = False
    muted: Muted | Literal[""] = ""
    gone: bool = False
    new_in: UUID | None = None
    fixed_in: UUID | None = None
    cursor: str = ""

    @property
    def filter(self) -> Filter:
        """The same question, as the service understands it."""
        return Filter(
            branch=self.branch or None,
            state=None if self.state == "all" else self.state,
            severity=self.severity,
            category=self.category or None,
            tool=self.tool or None,
            rule=self.rule or None,
            path=self.path or None,
            text=self.q or None,
            suppressed=self.suppressed,
            muted=self.muted or None,
            gone=self.gone,
            new_in=self.new_in,
            fixed_in=self.fixed_in,
        )

    def address(self, path: str, /, **changes: Any) -> str:
        """The address of this list at `path`, with some filters changed."""
        new = replace(self, **changes)
        return href(
            path,
            branch=new.branch,
            state="" if new.state == "open" else new.state,
            severity=new.severity,
            category=new.category,
            tool=new.tool,
            rule=new.rule,
            path=new.path,
            q=new.q,
            suppressed="1" if new.suppressed else "",
            muted=new.muted,
            gone="1" if new.gone else "",
            new_in=new.new_in,
            fixed_in=new.fixed_in,
            cursor=new.cursor,
        )


def parse(parameters: QueryParams) -> Wanted:
    """Read the filters of an address. What has no meaning is left out: old links stay good."""
    return Wanted(
        branch=_text(parameters, "branch"),
        state=_state(_text(parameters, "state")),
        severity=_severities(parameters.getlist("severity")),
        category=_category(_text(parameters, "category")),
        tool=_text(parameters, "tool"),
        rule=_text(parameters, "rule"),
        path=_text(parameters, "path"),
        q=_text(parameters, "q"),
        suppressed=_text(parameters, "suppressed") == "1",
        muted=next((name for name in MUTES if name == _text(parameters, "muted")), ""),
        gone=_text(parameters, "gone") == "1",
        new_in=_uuid(_text(parameters, "new_in")),
        fixed_in=_uuid(_text(parameters, "fixed_in")),
        cursor=_text(parameters, "cursor"),
    )


def form(
    wanted: Wanted, path: str, *, rows: Sequence[tuple[str, int, int]], tools: Iterable[str]
) -> Filters:
    """The form that shows `wanted`; `rows` are category, rank and number of what is open."""
    is_open = wanted.state == "open"
    open_counts = counts((rank, number) for _, rank, number in rows)
    by_category = _by_category(rows)
    return Filters(
        states=(
            Option("open", "Open", chosen=is_open, count=open_counts.total),
            Option("fixed", "Fixed", chosen=wanted.state == "fixed"),
            Option("all", "All", chosen=wanted.state == "all"),
        ),
        severities=tuple(
            Option(
                name, name.capitalize(), chosen=name in wanted.severity, count=_if(is_open, count)
            )
            for name, count in open_counts
        ),
        categories=tuple(
            Option(
                name,
                name.capitalize(),
                chosen=name == wanted.category,
                count=_if(is_open, by_category.get(name, 0)),
            )
            for name in CATEGORIES
            if name in by_category or name == wanted.category or not is_open
        ),
        tools=tuple(Option(name, name, chosen=name == wanted.tool) for name in tools),
        mutes=tuple(
            Option(name, label, chosen=name == wanted.muted) for name, label in MUTES.items()
        ),
        rule=wanted.rule,
        path=wanted.path,
        q=wanted.q,
        branch=wanted.branch,
        suppressed=wanted.suppressed,
        gone=wanted.gone,
        new_in=str(wanted.new_in or ""),
        fixed_in=str(wanted.fixed_in or ""),
        active=_active(wanted, path),
    )


def total(wanted: Wanted, rows: Sequence[tuple[str, int, int]]) -> int | None:
    """How many issues fit, where the kept counts say so; None where rows had to be counted."""
    plain = Wanted(branch=wanted.branch, severity=wanted.severity, category=wanted.category)
    if replace(wanted, cursor="") != plain:
        return None
    fitting: Counts = counts(
        (rank, number)
        for category, rank, number in rows
        if not wanted.category or category == wanted.category
    )
    return sum(count for name, count in fitting if not wanted.severity or name in wanted.severity)


def _active(wanted: Wanted, path: str) -> tuple[Crumb, ...]:
    """A link for each filter that takes it away."""
    texts = {
        "category": wanted.category,
        "muted": MUTES[wanted.muted].lower() if wanted.muted else "",
        "tool": f"tool {wanted.tool}" if wanted.tool else "",
        "rule": f"rule {wanted.rule}" if wanted.rule else "",
        "path": f"in {wanted.path}" if wanted.path else "",
        "q": f"“{wanted.q}”" if wanted.q else "",
    }
    names = {"new_in": "new in one analysis", "fixed_in": "fixed in one analysis"}
    links = [
        Crumb(name, wanted.address(path, severity=_without(wanted.severity, name), cursor=""))
        for name in wanted.severity
    ]
    links += [
        Crumb(text, wanted.address(path, **{name: "", "cursor": ""}))
        for name, text in texts.items()
        if text
    ]
    links += [
        Crumb(text, wanted.address(path, **{name: None, "cursor": ""}))
        for name, text in names.items()
        if getattr(wanted, name)
    ]
    if wanted.gone:
        links.append(Crumb("fixed by this branch", wanted.address(path, gone=False, cursor="")))
    return tuple(links)


def _without(severities: tuple[Severity, ...], gone: Severity) -> tuple[Severity, ...]:
    return tuple(name for name in severities if name != gone)


def _by_category(rows: Iterable[tuple[str, int, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for category, _, number in rows:
        found[category] = found.get(category, 0) + number
    return found


def _if(known: bool, count: int) -> int | None:  # noqa: FBT001 - reads as a conditional
    return count if known else None


def _text(parameters: QueryParams, name: str) -> str:
    """The value without what no database takes (NUL) and without endless length."""
    return parameters.get(name, "").replace("\0", "").strip()[:_LIMIT_CHARACTERS]


def _state(text: str) -> Literal["open", "fixed", "all"]:
    return cast("Literal['fixed', 'all']", text) if text in {"fixed", "all"} else "open"


def _severities(values: Iterable[str]) -> tuple[Severity, ...]:
    chosen = set(values)
    return tuple(name for name in SEVERITIES if name in chosen)


def _category(text: str) -> Category | Literal[""]:
    return next((name for name in CATEGORIES if name == text), "")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
