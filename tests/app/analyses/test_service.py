"""Uploads: what is new, fixed, reopened and unchanged, and that the kept counts agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_cloud.app.analyses import service
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import RANKS, Counts
from insight_cloud.app.sarif.model import SEVERITIES
from insight_cloud.core.errors import Invalid, Missing, TooLarge
from tests.app.analyses.conftest import Site, finding, run

DATA = Path(__file__).parents[2] / "data" / "sarif"


def counts(submission: service.Submission) -> tuple[int, int, int, int]:
    found = submission.analysis
    return found.new, found.fixed, found.reopened, found.unchanged


async def test_a_first_upload_is_all_new(site: Site) -> None:
    done = await site.analyse(run(finding("F401"), finding("S101", severity="high")))
    assert counts(done) == (2, 0, 0, 0)
    assert (done.analysis.open, done.analysis.complete, done.repeated) == (2, True, False)
    assert [issue.rule for issue in await site.issues()] == ["S101", "F401"]
    assert done.url.endswith(f"/projects/demo/analyses/{done.analysis.id}")


async def test_the_same_log_again_changes_nothing(site: Site) -> None:
    first = await site.analyse(run(finding(), finding(line=9)), commit="a")
    again = await site.analyse(run(finding(), finding(line=9)), commit="a")
    assert again.repeated
    assert again.analysis.id == first.analysis.id
    assert counts(again) == (0, 0, 0, 2)
    other = await site.analyse(run(finding(), finding(line=9)), commit="b")
    assert not other.repeated
    assert counts(other) == (0, 0, 0, 2)


async def test_an_earlier_log_again_is_not_taken_for_a_repetition(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="a")
    await site.analyse(run(finding("B")), commit="a")
    third = await site.analyse(run(finding("A")), commit="a")
    assert counts(third) == (0, 1, 1, 0)


async def test_what_is_gone_is_fixed_and_what_comes_back_is_reopened(site: Site) -> None:
    await site.analyse(run(finding("A"), finding("B")), commit="1")
    second = await site.analyse(run(finding("B")), commit="2")
    assert counts(second) == (0, 1, 0, 1)
    (fixed,) = await site.issues(state="fixed")
    assert fixed.rule == "A"
    assert await site.issues(fixed_in=second.analysis.id, state="fixed") == (fixed,)
    third = await site.analyse(run(finding("A"), finding("B")), commit="3")
    assert counts(third) == (0, 0, 1, 1)
    detail = await issues.one(site.context, site.project, fixed.id)
    assert [event.event for event in detail.events] == ["new", "fixed", "reopened"]


async def test_a_moved_finding_stays_the_same_issue(site: Site) -> None:
    hashes = {"context_hash": "c", "line_hash": "l"}
    await site.analyse(run(finding(line=10, **hashes)), commit="1")
    (before,) = await site.issues()
    done = await site.analyse(run(finding(path="src/a.py", line=99, **hashes)), commit="2")
    (after,) = await site.issues()
    assert counts(done) == (0, 0, 0, 1)
    assert (after.id, after.path, after.line) == (before.id, "src/a.py", 99)


@pytest.mark.parametrize("state", ["failed", "timed_out"])
async def test_a_tool_that_failed_closes_nothing(site: Site, state: str) -> None:
    await site.analyse(run(finding("A"), finding("B")), commit="1")
    broken = run(finding("C"), state=state, detail="it crashed")
    done = await site.analyse(broken, commit="2")
    assert counts(done) == (1, 0, 0, 0)
    assert not done.analysis.complete
    assert done.analysis.open == 3
    assert [(tool.state, tool.detail) for tool in done.runs] == [(state, "it crashed")]


async def test_a_tool_that_was_skipped_or_absent_leaves_its_issues(site: Site) -> None:
    await site.analyse(run(finding("A")), run(finding("B"), tool="zizmor"), commit="1")
    done = await site.analyse(
        run(finding("A")), run(tool="zizmor", state="skipped", detail="no workflows"), commit="2"
    )
    assert (counts(done), done.analysis.complete) == ((0, 0, 0, 1), True)
    done = await site.analyse(run(finding("A")), commit="3")
    assert (counts(done), done.analysis.open) == ((0, 0, 0, 1), 2)


async def test_categories_keep_runs_of_one_tool_apart(site: Site) -> None:
    await site.analyse(run(finding("A"), category="web"), run(finding("A"), category="api"))
    done = await site.analyse(run(category="web"), commit="2")
    assert (counts(done), done.analysis.open) == ((0, 1, 0, 0), 1)


async def test_two_parts_of_one_tool_are_one_answer(site: Site) -> None:
    await site.analyse(run(finding("A")), run(finding("B")), commit="1")
    done = await site.analyse(run(finding("B")), run(finding("A")), commit="2")
    assert counts(done) == (0, 0, 0, 2)


async def test_branches_are_tracked_apart(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="1")
    done = await site.analyse(run(finding("B")), commit="2", branch="feature")
    assert counts(done) == (1, 0, 0, 0)
    assert [issue.rule for issue in await site.issues()] == ["A"]
    assert [issue.rule for issue in await site.issues(branch="feature")] == ["B"]
    assert await site.issues(branch="no-such-branch") == ()


async def test_suppressed_findings_are_kept_and_not_counted(site: Site) -> None:
    done = await site.analyse(run(finding("A", suppressed=True), finding("B")), commit="1")
    assert (done.analysis.new, done.analysis.open, done.analysis.suppressed) == (1, 1, 1)
    assert [issue.rule for issue in await site.issues()] == ["B"]
    assert {issue.rule for issue in await site.issues(suppressed=True)} == {"A", "B"}
    done = await site.analyse(run(finding("A"), finding("B")), commit="2")
    assert (counts(done), done.analysis.open) == ((0, 0, 0, 2), 2)


async def test_a_finding_without_a_place_is_about_the_project(site: Site) -> None:
    await site.analyse(run(finding(path=None)))
    (issue,) = await site.issues()
    assert (issue.path, issue.line) == (None, None)


async def test_uploads_at_once_wait_for_each_other(site: Site) -> None:
    logs = [run(*(finding(f"R{n}", path=f"{n}.py") for n in range(5 + i))) for i in range(6)]
    done = await asyncio.gather(*(site.analyse(log, commit=str(i)) for i, log in enumerate(logs)))
    last = (await service.newest_first(site.context, site.project, limit=1)).items[0]
    assert len(await site.issues()) == last.open
    assert sum(each.analysis.new for each in done) == len(
        [*await site.issues(), *await site.issues(state="fixed")]
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Invalid),
        (b"{", Invalid),
        (b'{"version": "2.0.0", "runs": []}', Invalid),
        (b'{"version": "2.1.0", "runs": [' + b"{}," * 30 + b"{}]}", TooLarge),
    ],
)
async def test_a_refused_log_leaves_nothing_behind(
    site: Site, body: bytes, error: type[Invalid]
) -> None:
    with pytest.raises(error):
        await site.upload(body)
    assert not (await service.newest_first(site.context, site.project)).items
    assert await site.context.pool.fetch_value("select count(*) from branches") == 0


@pytest.mark.parametrize("field", ["branch", "commit", "category"])
async def test_a_control_character_is_refused(site: Site, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await site.upload(b'{"version": "2.1.0", "runs": []}', **{field: "a\x00b"})
    assert refusal.value.problems[0][0] == f"/query/{field}"


async def test_hostile_texts_are_only_texts(site: Site) -> None:
    nasty = "'; drop table issues; -- <script>alert(1)</script> %s %(x)s \\ \" 🦆"
    await site.analyse(run(finding(nasty, path=nasty, message=nasty), tool=nasty), branch=nasty)
    (issue,) = await site.issues(branch=nasty, rule=nasty, tool=nasty, text=nasty)
    assert (issue.rule, issue.message) == (nasty, nasty)
    assert not await site.issues(branch=nasty, text="100%")


async def test_another_projects_analysis_is_missing(site: Site) -> None:
    done = await site.analyse(run(finding()))
    other = site.project.__class__(**{**_fields(site.project), "number": site.project.number + 1})
    with pytest.raises(Missing):
        await service.one(site.context, other, done.analysis.id)


def _fields(project: object) -> dict[str, object]:
    return {name: getattr(project, name) for name in project.__class__.__dataclass_fields__}  # type: ignore[attr-defined]


async def test_the_list_continues_where_it_ended(site: Site) -> None:
    for commit in "abcde":
        await site.analyse(run(finding(commit)), commit=commit)
    first = await service.newest_first(site.context, site.project, limit=3)
    rest = await service.newest_first(site.context, site.project, limit=3, cursor=first.next)
    assert [each.commit for each in (*first.items, *rest.items)] == list("edcba")
    assert rest.next is None


LOGS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from(["a.py", "b.py"]), st.integers(1, 4),
                  st.sampled_from(SEVERITIES), st.booleans()),
        max_size=6,
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(logs=LOGS)
async def test_whatever_is_uploaded_the_kept_counts_agree_with_the_issues(
    site: Site, logs: list[list[tuple[str, str, int, str, bool]]]
) -> None:
    branch = f"b{await site.context.pool.fetch_value('select count(*) from branches')}"
    for number, log in enumerate(logs):
        found = [
            finding(rule, path, line, severity=severity, suppressed=suppressed)
            for rule, path, line, severity, suppressed in log
        ]
        done = await site.analyse(run(*found), commit=str(number), branch=branch)
        listed = await site.issues(branch=branch)
        assert len(listed) == sum(not suppressed for *_, suppressed in log) == done.analysis.open
        expected = Counter(issue.severity for issue in listed)
        kept, _ = await issues.counts(site.context, site.project, branch)
        assert kept == Counts(**{name: expected[name] for name in SEVERITIES})


async def test_the_trend_repeats_a_day_without_an_analysis(site: Site) -> None:
    await site.analyse(run(finding("A", severity="high"), finding("B")), commit="1")
    site.pass_days(2)
    await site.analyse(run(finding("B")), commit="2")
    site.pass_days(1)
    trend = await issues.trend(site.context, site.project, days=30)
    assert [(day.open.total, day.new, day.fixed) for day in trend] == [
        (2, 2, 0),
        (2, 0, 0),
        (1, 0, 1),
        (1, 0, 0),
    ]
    assert (await issues.trend(site.context, site.project, days=2))[0].open.total == 1
    (state,) = await issues.overview(site.context, [site.project])
    assert (state.open.total, state.new_7_days, state.fixed_7_days) == (1, 2, 1)
    assert state.trend_30_days == (2, 2, 1, 1)
    assert state.complete


async def test_the_overview_shows_a_project_without_any_analysis(site: Site) -> None:
    (state,) = await issues.overview(site.context, [site.project])
    assert (state.open, state.trend_30_days, state.analysed_at) == (Counts(), (), None)


async def test_top_lists_name_the_worst_places(site: Site) -> None:
    await site.analyse(
        run(
            *(finding("A", "a.py", line) for line in range(3)),
            finding("B", "b.py", severity="critical"),
        )
    )
    rules = await issues.top(site.context, site.project, by="rule")
    paths = await issues.top(site.context, site.project, by="path")
    assert [(top.name, top.open, top.worst) for top in rules] == [
        ("ruff A", 3, "medium"),
        ("ruff B", 1, "critical"),
    ]
    assert [top.name for top in paths] == ["a.py", "b.py"]
    assert await issues.top(site.context, site.project, by="rule", branch="none") == ()


async def test_pages_of_issues_join_without_a_gap(site: Site) -> None:
    found = [
        finding(f"R{n}", line=n, severity=SEVERITIES[n % 5], message=f"number {n}")
        for n in range(23)
    ]
    await site.analyse(run(*found))
    seen, cursor = [], None
    while True:
        page = await issues.page(
            site.context, site.project, issues.Filter(), cursor=cursor, limit=5
        )
        seen += page.items
        if (cursor := page.next) is None:
            break
    assert len({issue.id for issue in seen}) == len(seen) == 23
    ranks = [RANKS[issue.severity] for issue in seen]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "rules"),
    [
        ({"severity": ("high",)}, "B"),
        ({"severity": ("high", "low")}, "BC"),
        ({"category": "security"}, "B"),
        ({"tool": "bandit"}, "C"),
        ({"rule": "A"}, "A"),
        ({"path": "src/"}, "AB"),
        ({"path": "src/b"}, "B"),
        ({"text": "PASSWORD"}, "B"),
        ({"text": "100%"}, "C"),
        ({"text": "_"}, ""),
        ({"path": "src/", "severity": ("high",), "text": "pass"}, "B"),
        ({"state": None}, "ABC"),
    ],
)
async def test_filters_narrow_the_list(site: Site, wanted: dict[str, object], rules: str) -> None:
    await site.analyse(
        run(
            finding("A", "src/a.py", message="unused"),
            finding("B", "src/b.py", message="a password", severity="high", category="security"),
        ),
        run(finding("C", "c.py", message="100% sure", severity="low"), tool="bandit"),
    )
    assert sorted(issue.rule for issue in await site.issues(**wanted)) == list(rules)


async def test_everything_about_an_issue_is_told(site: Site) -> None:
    body = (DATA / "pub-codeql-python.sarif").read_bytes()
    done = await site.upload(body, commit="c0ffee")
    listed = await site.issues()
    assert len(listed) == done.analysis.new == 72
    details = [await issues.one(site.context, site.project, issue.id) for issue in listed]
    assert any(detail.flow for detail in details)
    assert any(detail.rule_help for detail in details)
    assert {detail.events[0].commit for detail in details} == {"c0ffee"}


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("[op]*.sarif")))
async def test_every_real_log_twice_is_0_new_and_0_fixed(site: Site, name: str) -> None:
    body = (DATA / name).read_bytes()
    first = await site.upload(body, commit="1")
    second = await site.upload(body, commit="2")
    assert first.analysis.fixed == 0
    assert counts(second) == (0, 0, 0, first.analysis.new)


async def test_ruff_on_two_releases_of_flask(site: Site) -> None:
    await site.upload((DATA / "own-ruff-flask-3.0.3.sarif").read_bytes(), commit="3.0.3")
    done = await site.upload((DATA / "own-ruff-flask-3.1.0.sarif").read_bytes(), commit="3.1.0")
    new, fixed, _, unchanged = counts(done)
    assert unchanged >= 130
    assert new <= 4
    assert fixed <= 6


async def test_a_moved_tree_keeps_every_issue(site: Site) -> None:
    await site.upload((DATA / "own-bandit-requests-2.31.0.sarif").read_bytes(), commit="1")
    done = await site.upload((DATA / "own-bandit-requests-2.32.4.sarif").read_bytes(), commit="2")
    assert counts(done) == (0, 0, 0, 9)


async def test_a_crashed_tool_is_not_clean(site: Site) -> None:
    body = (DATA / "edge" / "tutorial-notifications.sarif").read_bytes()
    done = await site.upload(body)
    assert not done.analysis.complete
    assert done.runs[0].state == "failed"
    assert done.runs[0].detail


async def test_warnings_are_kept_with_their_pointers(site: Site) -> None:
    body = (DATA / "pub-flawfinder-invalid-result.sarif").read_bytes()
    done = await site.upload(body)
    assert done.analysis.new == 53
    assert done.analysis.warnings_total >= 1
    assert done.warnings[0].pointer.startswith("/runs/0/results/")
    detail = await service.one(site.context, site.project, done.analysis.id)
    assert detail.warnings == done.warnings
