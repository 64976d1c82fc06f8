"""How heavy a release is: budgets of what a page loads, files that nobody uses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from insight_cloud.assets.release import Asset, Release
from insight_cloud.core.report import Check

__all__ = ["Budgets", "Weight", "check", "unused", "weigh"]

_CODE = (".css", ".js", ".mjs")
_WORD = re.compile(r"[\w.@-]+(?:/[\w.@-]+)*")


@dataclass(frozen=True, slots=True)
class Budgets:
    """Most bytes as sent with gzip, which every browser and proxy can do."""

    initial: int = 300 * 1024
    """Scripts and stylesheets of every page: all that are neither of a route nor of vendors."""
    route: int = 200 * 1024
    """Scripts and stylesheets of one route, that is of one folder that `routes` matches."""
    vendor: int = 500 * 1024
    """Scripts and stylesheets of others, that `vendors` match."""
    routes: tuple[str, ...] = ("routes/*",)
    vendors: tuple[str, ...] = ("vendor/*", "*.min.js", "*.min.css")


@dataclass(frozen=True, slots=True)
class Weight:
    """One file's bytes: as it is, with gzip, and in the smallest coding."""

    name: str
    group: str
    bytes: int
    gzip: int
    best: int


def weigh(release: Release, budgets: Budgets) -> list[Weight]:
    """Return the weight of every file, the heaviest first."""
    found = [
        Weight(
            name,
            _group(name, budgets),
            len(asset.body),
            _gzip(asset),
            min([len(asset.body), *map(len, asset.encodings.values())]),
        )
        for name, asset in release.assets.items()
    ]
    return sorted(found, key=lambda weight: (-weight.gzip, weight.name))


def unused(release: Release, texts: Iterable[str]) -> list[str]:
    """Return the names that neither `texts` (pages, templates, code) nor any used file mentions.

    A name counts as mentioned by its whole path or its last part, wherever it stands. So what
    is reported is certainly unused, unless a name is put together while the program runs.
    """
    words: set[str] = set()
    for text in texts:
        words.update(_WORD.findall(text))
    words |= {word.rpartition("/")[2] for word in words}
    used = {name for name in release.assets if _mentioned(name, words)}
    waiting = list(used)
    while waiting:
        asset = release.assets[waiting.pop()]
        found = set(asset.references)
        if asset.name.endswith((".js", ".mjs")):
            inside = set(_WORD.findall(asset.body.decode("utf-8", "replace")))
            inside |= {word.rpartition("/")[2] for word in inside}
            found |= {name for name in release.assets if _mentioned(name, inside)}
        waiting += found - used
        used |= found
    return sorted(release.assets.keys() - used)


def check(release: Release, budgets: Budgets, dead: Iterable[str] | None = None) -> list[Check]:
    """Hold the release against its budgets; `dead` are unused files, None if nobody looked."""
    groups: dict[str, int] = {"initial": 0, "vendor": 0}
    for weight in weigh(release, budgets):
        if weight.group:
            groups[weight.group] = groups.get(weight.group, 0) + weight.gzip
    limits = {"initial": budgets.initial, "vendor": budgets.vendor}
    checks = [_judged(name, held, limits.get(name, budgets.route)) for name, held in groups.items()]
    checks.append(_duplicates(release))
    if dead is None:
        checks.append(Check("assets.unused", "skip", "nobody said which folders use the assets"))
    else:
        names = list(dead)
        held = sum(len(release.assets[name].body) for name in names)
        detail = f"{', '.join(names)} ({held:,} bytes)" if names else "every file is used"
        checks.append(Check("assets.unused", "warn" if names else "pass", detail))
    return checks


def _judged(group: str, held: int, most: int) -> Check:
    share = f"{held / 1024:.1f} of {most // 1024} KiB (gzip)"
    return Check(f"assets.{group}", "fail" if held > most else "pass", share)


def _duplicates(release: Release) -> Check:
    """The same content under two names is loaded twice."""
    by_digest: dict[str, list[str]] = {}
    for name, asset in release.assets.items():
        by_digest.setdefault(asset.digest, []).append(name)
    twice = [" = ".join(names) for names in by_digest.values() if len(names) > 1]
    detail = ", ".join(twice) or "no content has two names"
    return Check("assets.duplicates", "warn" if twice else "pass", detail)


def _group(name: str, budgets: Budgets) -> str:
    if not name.endswith(_CODE):
        return ""
    if any(fnmatchcase(name, pattern) for pattern in budgets.vendors):
        return "vendor"
    for pattern in budgets.routes:
        if fnmatchcase(name, pattern):
            depth = pattern.count("/")
            part = name.split("/")[depth]
            return f"route.{part.partition('.')[0]}"
    return "initial"


def _gzip(asset: Asset) -> int:
    return len(asset.encodings.get("gzip", asset.body))


def _mentioned(name: str, words: set[str]) -> bool:
    return name in words or name.rpartition("/")[2] in words
