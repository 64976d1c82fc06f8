"""Real runs. What they measure is judged loosely: how exact it is, bench/load.py says."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme

from insight_cloud import load
from insight_cloud.core.errors import Invalid, Unavailable
from insight_cloud.load import launcher
from insight_cloud.load.scenario import Crowd, Limits, Scenario, Stage, Step, Strict
from tests.load.site import FREEZE_EVERY_SECONDS, FREEZE_SECONDS, Site, site

PATIENT = Limits(lag_ms=60_000, cpu_percent=100)
"""For a machine that runs other tests as well."""


@pytest.fixture
async def shop() -> AsyncIterator[Site]:
    async with site() as found:
        yield found


def arrivals(path: str, rate: float, seconds: float, **others: Any) -> Scenario:
    crowd = Crowd(
        kind="arrivals",
        start=rate,
        stages=(Stage(seconds, rate),),
        steps=(Step(name="one", path=path),),
        **others,
    )
    return Scenario(name="test", scenarios={"all": crowd}, generator=PATIENT)


def users(steps: list[Step], count: int = 1, seconds: float = 1, **others: Any) -> Scenario:
    crowd = Crowd(
        kind="users", start=count, stages=(Stage(seconds, count),), steps=tuple(steps), **others
    )
    return Scenario(name="test", scenarios={"all": crowd}, generator=PATIENT)


async def test_every_arrival_is_made_and_counted_once(shop: Site) -> None:
    told: list[launcher.Progress] = []
    found = await load.run(arrivals("/?n=${iteration}", 60, 2), shop.url, tell=told.append)
    assert found.total.count == len(shop.asked) == found.generator.due == 120
    assert found.valid, found.invalid
    assert found.total.failed == 0
    assert found.total.bytes == 120 * len("fine")
    assert sum(part.requests for part in found.timeline) == 120
    assert told
    assert told[-1].of == 2


async def test_two_workers_do_together_what_one_does(shop: Site) -> None:
    found = await load.run(arrivals("/slow", 20, 2), shop.url, workers=2)
    assert found.total.count == len(shop.asked) == 40
    assert found.generator.processes == 2
    assert found.valid, found.invalid
    assert found.total.ms.p50 >= 300


async def test_users_are_shared_out_and_keep_their_numbers(shop: Site) -> None:
    steps = [Step(name="who", path="/who/${user}/${address}"), Step(name="b", path="/b", once=True)]
    found = await load.run(users(steps, 5, 1, pace_seconds=0.5), shop.url, workers=2)
    addresses = {path for path in shop.counts if path.startswith("/who/")}
    assert addresses == {f"/who/{number}/198.18.0.{number}" for number in range(5)}
    assert found.valid, found.invalid
    assert shop.counts["/b"] == 5
    assert found.users == 5


async def test_a_site_that_stands_still_is_seen(shop: Site) -> None:
    """A closed loop would wait with it, and see a few slow answers among thousands of fast ones."""
    found = await load.run(arrivals("/frozen", 50, FREEZE_EVERY_SECONDS), shop.url)
    true_p95 = (FREEZE_SECONDS - 0.05 * FREEZE_EVERY_SECONDS) * 1000
    assert found.total.ms.p95 >= true_p95 * 0.95
    assert found.total.ms.most >= FREEZE_SECONDS * 950


async def test_a_user_with_a_pace_who_is_held_up_counts_from_when_it_was_due(shop: Site) -> None:
    """Each answer takes 0.3 s, the pace is 0.1: ever later."""
    found = await load.run(
        users([Step(name="one", path="/slow")], 1, 1.5, pace_seconds=0.1), shop.url
    )
    assert found.total.ms.most >= 300 + 4 * 200 - 1
    assert found.total.ms.least < 600


async def test_a_journey_keeps_cookies_and_what_it_captures(shop: Site) -> None:
    steps = [
        Step(
            name="sign in",
            method="POST",
            path="/sign-in",
            form={"name": "Zoë & ${user}"},
            once=True,
            capture={"id": "json:/id", "tag": "json:/tags/1", "kind": 'regex:"(ta)gs'},
        ),
        Step(name="put", method="PUT", path="/items/${id}?t=${tag}", json={"k": ["${kind}", "ü"]}),
        Step(name="raw", method="POST", path="/raw", body="ß ${run}", headers={"X-A": "${user}"}),
        Step(name="page", path="/", contains="fine", capture={"plain": "header:x-kind"}),
    ]
    found = await load.run(users(steps, 1, 1, pace_seconds=0.6), shop.url)
    assert found.errors == ()
    paths = [(request.method, request.path, request.body) for request in shop.asked]
    assert paths[0] == ("POST", "/sign-in", "name=Zo%C3%AB+%26+0")
    assert paths[1] == ("GET", "/me", "")
    assert "content-type" not in shop.asked[1].headers
    assert paths[2] == ("PUT", "/items/7?t=b", '{"k":["ta","ü"]}')
    assert paths[3][2].startswith("ß ")
    assert shop.asked[3].headers["x-a"] == "0"
    assert all("who=" in request.headers["cookie"] for request in shop.asked[1:])
    assert shop.counts["/sign-in"] == 1
    assert shop.counts["/"] == found.iterations == 2
    by_name = {(request.name, request.method): request.count for request in found.requests}
    assert by_name["sign in", "POST"] == by_name["sign in", "GET"] == 1


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step(name="x", path="/broken"), "HTTP 500"),
        (Step(name="x", path="/", status=(204,)), "HTTP 200"),
        (Step(name="x", path="/", contains="coarse"), "does not contain 'coarse'"),
        (Step(name="x", path="/", capture={"a": "json:/a"}), "has no json:/a for a"),
        (Step(name="x", path="/round"), "more than 5 redirects"),
        (Step(name="x", path="/away", redirects=False, status=(200,)), "HTTP 302"),
    ],
)
async def test_a_wrong_answer_is_a_failure_and_ends_the_passage(
    shop: Site, step: Step, told: str
) -> None:
    after = Step(name="after", path="/after")
    found = await load.run(users([step, after], 1, 0.5, pace_seconds=1), shop.url)
    assert [problem.error for problem in found.errors if told in problem.error]
    assert found.broken_iterations == found.iterations == 1
    assert "/after" not in shop.counts


async def test_nobody_else_is_asked(shop: Site) -> None:
    """A redirect, or a link that was captured, may lead to somebody who did not agree."""
    async with site() as other:
        shop.elsewhere = other.url
        steps = [Step(name="x", path="/away")]
        found = await load.run(users(steps, 1, 0.5, pace_seconds=1), shop.url)
        assert "is not on" in found.errors[0].error
        assert other.asked == []


async def test_a_site_that_never_answers_is_a_failure_with_its_wait(shop: Site) -> None:
    found = await load.run(arrivals("/never", 4, 1, drain_seconds=0.5), shop.url)
    assert (found.total.count, found.total.failed) == (4, 4)
    assert found.errors[0].error == "no answer until the run ended"
    assert found.total.ms.most >= 1000


async def test_a_failed_threshold_may_end_the_run(shop: Site) -> None:
    wanted = load.Scenario(
        name="test",
        scenarios=arrivals("/broken", 20, 60).scenarios,
        thresholds={"http_req_failed": [Strict("rate<0.1", abort_after_seconds=1)]},
        generator=PATIENT,
    )
    found = await load.run(wanted, shop.url)
    assert found.stopped_by == "http_req_failed: rate<0.1"
    assert found.seconds < 30
    assert not found.passed


async def test_a_generator_that_is_asked_too_much_says_so(shop: Site) -> None:
    wanted = arrivals("/", 20_000, 1, most_users=50, drain_seconds=1)
    strict = Scenario(name="test", scenarios=wanted.scenarios)
    found = await load.run(strict, shop.url)
    assert not found.valid


async def test_too_few_users_wait_and_are_counted_from_when_they_were_due(shop: Site) -> None:
    found = await load.run(arrivals("/slow", 10, 1, most_users=1), shop.url)
    assert (found.generator.waited, found.generator.dropped) == (9, 0)
    assert found.total.ms.most >= 10 * 300 - 950
    dropped = await load.run(arrivals("/slow", 20, 1, most_users=1, drain_seconds=0), shop.url)
    assert dropped.generator.dropped > 10
    assert "arrivals could begin" in " ".join(dropped.invalid)


async def test_cancelled_it_returns_the_figures_until_then(shop: Site) -> None:
    running = asyncio.ensure_future(load.run(arrivals("/", 20, 600), shop.url))
    await shop.begun.wait()
    running.cancel()
    found = await running
    assert found.interrupted
    assert found.valid, found.invalid
    assert 0 < found.total.count < 20 * 600
    assert found.total.count == len(shop.asked)


async def test_a_worker_that_dies_makes_the_run_invalid(shop: Site) -> None:
    killed: list[int] = []

    def kill(now: launcher.Progress) -> None:
        if now.requests and not killed:
            me = psutil.Process()
            engines = [
                child for child in me.children() if "load.engine" in " ".join(child.cmdline())
            ]
            killed.append(engines[-1].pid)  # the leader is the first
            engines[-1].kill()

    found = await load.run(arrivals("/", 20, 3), shop.url, workers=2, tell=kill)
    assert killed
    assert not found.valid
    assert "1 of the generator's processes" in " ".join(found.invalid)


async def test_workers_join_from_elsewhere(shop: Site, free_port: int) -> None:
    running = asyncio.ensure_future(
        load.run(
            arrivals("/", 20, 1), shop.url, workers=1, expect=1, listen=("127.0.0.1", free_port)
        )
    )
    await load.join("127.0.0.1", free_port)
    found = await running
    assert found.generator.processes == 2
    assert found.total.count == len(shop.asked) == 20


@pytest.fixture
async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_who_does_not_come_is_told(shop: Site, free_port: int) -> None:
    with pytest.raises(Unavailable, match="0 of 1 workers came"):
        await load.run(
            arrivals("/", 1, 1),
            shop.url,
            expect=1,
            listen=("127.0.0.1", free_port),
            patience_seconds=0.5,
        )
    with pytest.raises(Unavailable, match="nobody leads"):
        await load.join("127.0.0.1", free_port, patience_seconds=0.5)


async def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with site(context) as safe:
        wanted = arrivals("/", 4, 1)
        refused = await load.run(wanted, safe.url)
        assert refused.total.failed == 4
        assert "certificate verify failed" in refused.errors[0].error
        assert (await load.run(wanted, safe.url, ca_file=ca_file)).total.failed == 0


@pytest.mark.parametrize(
    "target",
    [
        *("example.org", "ftp://127.0.0.1", "http://", "http://a:99999", "http://u:p@127.0.0.1"),
        *("http://127.0.0.1/path", "http://127.0.0.1/?a=1"),
    ],
)
async def test_what_is_no_site_is_refused_before_anything_begins(target: str) -> None:
    with pytest.raises(Invalid):
        await load.run(arrivals("/", 1, 1), target)


async def test_the_generator_ends_with_who_started_it(shop: Site, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        "from insight_cloud import load\n"
        "wanted = load.built_in('normal').changed(steps=load.paths(['/']))\n"
        "asyncio.run(load.run(wanted, sys.argv[1], tell=lambda now: print('on', flush=True)))\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(script), shop.url, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 30)
    assert (len(gone), alive) == (len(children), [])
