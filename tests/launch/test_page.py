"""The page for the launch room shows everything, and nothing of it as markup."""

from __future__ import annotations

from datetime import timedelta

from insight_cloud.launch import LaunchFile, Run, standings
from insight_cloud.launch.file import About, Contact, Message
from insight_cloud.launch.gate import Change
from insight_cloud.launch.page import draw, timeline
from insight_cloud.launch.run import Answer
from tests.launch.world import NOW

EVIL = "<script>alert(1)</script>"


def made() -> Run:
    answers = (
        Answer("P001", "before", -48, "Build", EVIL, "fail", EVIL, (EVIL,), ("http",)),
        Answer("L001", "launch", -4, "Final gate", "ready", "pass", "", ("status is 200",)),
        Answer("A001", "after", 48, "Stability", "stays", "not_run", "too early"),
    )
    return Run(at=NOW, name=EVIL, answers=answers, url="https://a.example", launch_at=NOW)


def test_nothing_that_was_found_becomes_markup() -> None:
    file = LaunchFile(
        about=About(name=EVIL),
        contacts=(Contact(EVIL, EVIL, EVIL, EVIL),),
        messages=(Message(EVIL, EVIL, EVIL, EVIL),),
    )
    run = made()
    found = standings(run, now=NOW)
    changed = [Change("P001", "pass", "fail", EVIL)]
    page = draw(run, found, file=file, changed=changed, known={}, now=NOW, refresh_seconds=30)
    assert EVIL not in page
    assert page.count("&lt;script&gt;") > 10
    assert '<meta http-equiv="refresh" content="30">' in page
    assert 'class="verdict no-go"' in page


def test_the_timeline_goes_from_two_days_before_to_two_days_after() -> None:
    run = made()
    messages = (Message("open", "all", "s", "t", at=0),)
    places = timeline(run, standings(run, now=NOW), LaunchFile(messages=messages), NOW)
    assert [place["label"] for place in places] == ["T-48h", "T-4h", "T-0", "T+48h"]
    assert [place["when"] - NOW for place in places] == [
        timedelta(hours=hours) for hours in (-48, -4, 0, 48)
    ]
    assert [place["past"] for place in places] == [True, True, True, False]
    assert [place["open"] for place in places] == [1, 0, 0, 1]
    assert places[2]["messages"] == ["open"]
