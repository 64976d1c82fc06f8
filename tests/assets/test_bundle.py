from __future__ import annotations

import random

from insight_cloud.assets import Budgets, build, check, unused, weigh
from insight_cloud.assets.release import Release
from insight_cloud.core.report import Status


def heavy(kilobytes: int, seed: int = 1) -> bytes:
    """A script that compresses to about so many kilobytes."""
    return b"'" + random.Random(seed).randbytes(kilobytes * 1024).hex().encode() + b"'"


FILES = {
    "app.css": b".a { background: url(used.svg) }",
    "app.js": b"import './lazy.js'",
    "lazy.js": b"fetch('/x')",
    "used.svg": b"<svg></svg>",
    "dead.svg": b"<svg><!-- --></svg>",
    "dead.js": b"import './only-by-the-dead.js'",
    "only-by-the-dead.js": b"1",
}
PAGE = '<link href="{{ asset("app.css") }}"><script src="{{ asset("app.js") }}">'


def statuses(release: Release, budgets: Budgets) -> dict[str, Status]:
    return {one.name: one.status for one in check(release, budgets)}


def test_files_are_weighed_by_what_is_sent() -> None:
    weights = weigh(build({"app.js": heavy(20), "logo.png": bytes(100)}), Budgets())
    assert [(one.name, one.group) for one in weights] == [("app.js", "initial"), ("logo.png", "")]
    assert weights[0].best <= weights[0].gzip < weights[0].bytes


def test_each_budget_counts_its_files_together() -> None:
    release = build(
        {
            "app.js": heavy(30, 1),
            "more.js": heavy(30, 2),
            "vendor/lib.js": heavy(30, 3),
            "routes/issues.js": heavy(30, 4),
            "routes/issues.css": b".a { b: c }",
            "routes/small.js": b"1",
        }
    )
    assert statuses(release, Budgets()) == {
        "assets.initial": "pass",
        "assets.vendor": "pass",
        "assets.route.issues": "pass",
        "assets.route.small": "pass",
        "assets.duplicates": "pass",
        "assets.unused": "skip",
    }
    tight = statuses(release, Budgets(initial=40_000, route=20_000, vendor=20_000))
    assert {name for name, status in tight.items() if status == "fail"} == {
        *("assets.initial", "assets.vendor", "assets.route.issues"),
    }


def test_what_nobody_mentions_is_found() -> None:
    assert unused(build(FILES), [PAGE]) == ["dead.js", "dead.svg", "only-by-the-dead.js"]


def test_what_is_mentioned_by_its_path_is_used() -> None:
    release = build({"img/a.svg": b"<svg/>", "b.svg": b"<svg />"})
    assert unused(release, ["see static/img/a.svg"]) == ["b.svg"]


def test_unused_files_are_told_with_their_weight() -> None:
    release = build(FILES)
    (told,) = [c for c in check(release, Budgets(), ["dead.svg"]) if c.name == "assets.unused"]
    assert told.status == "warn"
    assert "dead.svg (19 bytes)" in told.detail


def test_the_same_content_under_two_names_is_told() -> None:
    release = build({"a.svg": b"<svg/>", "b.svg": b"<svg/>"})
    (told,) = [one for one in check(release, Budgets()) if one.name == "assets.duplicates"]
    assert (told.status, told.detail) == ("warn", "a.svg = b.svg")
