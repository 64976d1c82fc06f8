"""What a deployment does: what to send, in which order, what to keep, remove and purge. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from insight_cloud.cdn.files import File
from insight_cloud.cdn.record import Known, Record, known
from insight_cloud.core.plan import Change, Plan, Verb

__all__ = ["Deployment", "plan", "urls"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The steps, each of which leaves a site that works.

    `hashed` first, since nobody asks for them yet; then `others`, then `pages`, which ask for
    them; then `removed`. `after` is the record once all is done, `changed` the addresses whose
    content is another one now.
    """

    changes: Plan
    wanted: tuple[File, ...]
    hashed: tuple[File, ...]
    others: tuple[File, ...]
    pages: tuple[File, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    after: Record

    @property
    def uploads(self) -> tuple[File, ...]:
        """Everything that is sent."""
        return (*self.hashed, *self.others, *self.pages)


def plan(
    wanted: Iterable[File],
    record: Record,
    sizes: Mapping[str, int],
    now: datetime,
    *,
    keep: timedelta,
    base_url: str = "",
) -> Deployment:
    """Compare the build with what is deployed.

    `sizes` are the objects that are really there. Hashed files that are not used any more stay
    for `keep`, for people who still look at an earlier page. Without `base_url` nothing can be
    purged.
    """
    files = {file.path: file for file in wanted}
    before = _before(record, sizes)
    uploads, changes = [], []
    for path, file in sorted(files.items()):
        change = _upload(file, before.get(path), sizes.get(path))
        if change is not None:
            changes.append(change)
            uploads.append(file)
        elif before[path].unused_since is not None:
            changes.append(Change("update", path, reason="used again"))
    left, removed, farewell = _leave(before.keys() - files.keys(), before, now, keep)
    changes += farewell
    replaced = [file.path for file in uploads if not file.hashed and file.path in sizes]
    gone = [path for path in removed if not before[path].hashed]
    changed = urls(base_url, [*replaced, *gone]) if base_url else ()
    purge = tuple(dict.fromkeys((*record.unpurged, *changed))) if base_url else ()
    if purge:
        changes.append(Change("run", f"purge {len(purge)} addresses", after=list(purge)))
    if record.begun is not None:
        changes.append(Change("run", "record", reason="the last deployment was cut off"))
    return Deployment(
        Plan(tuple(changes)),
        tuple(files.values()),
        tuple(file for file in uploads if file.hashed),
        tuple(file for file in uploads if not (file.hashed or file.page)),
        tuple(file for file in uploads if file.page),
        removed,
        purge,
        Record(
            deployed=now,
            files={path: known(file) for path, file in files.items()} | left,
            unpurged=purge,
        ),
    )


def urls(base_url: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses under which people reach objects; an index has its folder's too."""
    found: list[str] = []
    base = base_url.rstrip("/")
    for path in paths:
        address = f"{base}/{quote(path)}"
        found.append(address)
        if path == "index.html" or path.endswith("/index.html"):
            found.append(address.removesuffix("index.html"))
    return tuple(dict.fromkeys(found))


def _before(record: Record, sizes: Mapping[str, int]) -> dict[str, Known]:
    """What is out there. What a deployment that was cut off may have sent has no hash here.

    Then a path that is wanted is sent again, also by a build that goes back to what was before.
    """
    uncertain = {
        path: replace(one, sha256="", unused_since=record.begun if one.hashed else None)
        for path, one in record.pending.items()
        if path in sizes
    }
    return {**record.files, **uncertain}


def _upload(file: File, was: Known | None, size: int | None) -> Change | None:
    """Why a file must be sent, or None."""
    if was is None:
        return Change("create", file.path, None, file.sha256, "new")
    reason = next(
        (
            reason
            for reason, holds in (
                ("it is not there any more", size is None),
                ("a deployment was cut off here", not was.sha256),
                ("the content changed", was.sha256 != file.sha256),
                ("somebody else replaced it", size != file.size),
                ("the headers changed", was.attributes != file.attributes),
            )
            if holds
        ),
        None,
    )
    if reason is None:
        return None
    verb: Verb = "create" if size is None else "update"
    return Change(verb, file.path, was.sha256 or None, file.sha256, reason)


def _leave(
    paths: Iterable[str], before: Mapping[str, Known], now: datetime, keep: timedelta
) -> tuple[dict[str, Known], tuple[str, ...], list[Change]]:
    """Part with what the build does not have: what stays for a while, what goes, and why."""
    left, removed, changes = {}, [], []
    for path in sorted(paths):
        was = before[path]
        since = was.unused_since or now
        if not was.hashed or now - since >= keep:
            removed.append(path)
            reason = f"unused for {keep.days} days" if was.hashed else "not in the build any more"
            changes.append(Change("delete", path, was.sha256, None, reason))
            continue
        left[path] = replace(was, unused_since=since)
        if was.unused_since is None:
            until = f"{since + keep:%Y-%m-%d}"
            changes.append(Change("update", path, reason=f"not used any more; kept until {until}"))
    return left, tuple(removed), changes
