from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud import load
from insight_cloud.core.errors import Invalid, Missing
from insight_cloud.load import scenario
from tests.docs import pages

GOOD = """
name = "shop"

[thresholds]
http_req_duration = ["p(95)<500", { threshold = "p(99)<900", abort_after_seconds = 5 }]
"http_req_duration{name:cart}" = ["p(95)<100"]

[variables]
greeting = "hello"

[scenarios.buyers]
kind = "arrivals"
start = 10
stages = [{ seconds = 5, target = 50 }]

[[scenarios.buyers.steps]]
name = "home"
path = "/?say=${greeting}"
capture = { item = "json:/items/0" }

[[scenarios.buyers.steps]]
name = "cart"
method = "POST"
path = "/cart"
json = { items = ["${item}", { by = "${user}" }] }
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "shop.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "seconds", "users"),
    [
        ("smoke", 10, 2),
        ("short", 60, 20),
        ("normal", 720, 100),
        ("peak", 480, 500),
        ("stress", 360, 1000),
    ],
)
def test_the_built_in_scenarios(name: str, seconds: float, users: int) -> None:
    found = load.built_in(name)
    assert (found.seconds, found.users) == (seconds, users)
    assert [step.name for step in found.steps] == [
        *("home", "register", "sign in", "upload", "dashboard", "analysis", "issues"),
    ]
    wanted = {str(threshold.selector): threshold.limit for threshold in found.conditions()}
    assert wanted == {"http_req_duration": 5000, "http_req_failed": 0.01}


def test_a_file_says_who_comes_and_what_must_hold(tmp_path: Path) -> None:
    found = load.read(written(tmp_path, GOOD))
    crowd = found.scenarios["buyers"]
    assert (found.seconds, crowd.users, crowd.start) == (5, 10 + 75, 10)
    aborting = {threshold.expression: threshold.abort for threshold in found.conditions()}
    assert aborting == {"p(95)<500": None, "p(99)<900": 5, "p(95)<100": None}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "shop"\n', 'name = "shop"\ntitle = 1\n', "title"),
        ('kind = "arrivals"', 'kind = "visits"', "visits"),
        ("start = 10", "start = -1", "targets are 0 or more"),
        ("target = 50", "target = 200000", "100000 are the most"),
        ("seconds = 5, target", "seconds = -5, target", "stages, of 0 seconds or more"),
        ("seconds = 5, target", "seconds = 0, target", "between 1 s and a day"),
        ("p(95)<500", "p95<500", "cannot read"),
        ("{name:cart}", "{name:card}", "no name 'card', but home, cart"),
        ("${greeting}", "${greetings}", "nothing sets the variable 'greetings'"),
        ('"${item}"', '"${items}"', "nothing sets the variable 'items'"),
        ("json:/items/0", "json.items", "cannot capture"),
        ("json:/items/0", "regex:no group", "cannot capture"),
        ("json:/items/0", "regex:(", "cannot capture"),
        ('path = "/cart"', 'path = "cart"', "does not begin with /"),
        ('method = "POST"', 'method = "PO ST"', "is no method"),
        ('method = "POST"', 'body = "x"', "one of form, json and body"),
        ('name = "cart"', 'name = "a,b"', "without commas"),
        ("start = 10", "start = 10\npace_seconds = 1", "belong to users"),
        ("start = 10", "start = 10\nmost_users = 0", "at least 1"),
        ("start = 10", "start = 10\ndrain_seconds = 1000", "between 0 and 600"),
        ("start = 10", 'start = 10\njourney = "insight"', "not both"),
        ('greeting = "hello"', 'greeting = "hello"\nuser = "me"', "variable of your own"),
        ('name = "shop"\n', 'name = "shop"\ntimeout_seconds = 0\n', "between 0 and 600"),
        ('name = "shop"\n', "name = ", "line"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in GOOD
    with pytest.raises(Invalid, match=r"shop\.toml") as caught:
        load.read(written(tmp_path, GOOD.replace(old, new)))
    assert told in str(caught.value)


def test_users_are_whole_and_not_without_number(tmp_path: Path) -> None:
    users = GOOD.replace('kind = "arrivals"', 'kind = "users"')
    assert load.read(written(tmp_path, users)).users == 50
    for target in ("2.5", "20001"):
        with pytest.raises(Invalid, match="whole numbers"):
            load.read(written(tmp_path, users.replace("target = 50", f"target = {target}")))


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no scenario file"):
        load.read(tmp_path / "none.toml")
    with pytest.raises(Invalid, match="larger"):
        load.read(written(tmp_path, "#" * (1024 * 1024 + 1)))
    with pytest.raises(Missing, match="smoke, short"):
        load.built_in("busy")
    with pytest.raises(Invalid, match="cannot read"):
        load.read(tmp_path)


def test_a_scenario_may_be_changed_for_one_run() -> None:
    found = load.built_in("smoke").changed(
        steps=load.paths(["/a", "/b", "/a"]), conditions=[("http_req_duration{name:/a}", "max<5")]
    )
    assert [step.path for step in found.steps] == ["/a", "/b"]
    assert found.conditions()[-1].expression == "max<5"
    with pytest.raises(Invalid, match="no name"):
        found.changed(conditions=[("http_req_duration{name:home}", "max<5")])
    with pytest.raises(Invalid, match="begins with /"):
        load.paths(["http://example.org/"])


def test_the_source_of_a_scenario_is_one(tmp_path: Path) -> None:
    for name in load.BUILT_IN:
        assert load.read(written(tmp_path, scenario.source(name))) == load.built_in(name)


def test_the_example_of_the_documentation_is_a_scenario(tmp_path: Path) -> None:
    found = [
        e.text for e in pages.examples(pages.ROOT / "docs/howto/load.md") if e.language == "toml"
    ]
    assert len(found) == 1
    example = load.read(written(tmp_path, found[0]))
    assert list(example.scenarios) == ["buyers", "reports"]
    assert example.changed(variables={"password": "x"}).variables["password"] == "x"
