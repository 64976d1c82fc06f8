"""The words, the counts, the reports; and that nothing broken is ever passed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud import verify
from insight_cloud.core.errors import Invalid, Missing, Unavailable
from insight_cloud.verify import Check, Subject, Suite, Verification, asking, report
from insight_cloud.verify.asking import Answer, Asker, NotRunError
from insight_cloud.verify.verification import Status, worst

statuses = st.sampled_from(["pass", "fail", "error", "not run"])
STARTED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def verification(*found: Status) -> Verification:
    checks = tuple(Check(f"<b>{n}", s, "d\x00", 0.1, ("<i>e",)) for n, s in enumerate(found))
    suite = Suite("api", worst(found), checks, 1.0)
    return Verification.of([suite], target="http://a", started=STARTED, seconds=2.0, short=True)


@given(st.lists(statuses))
def test_the_word_for_all_is_that_of_the_worst(found: list[Status]) -> None:
    made = verification(*found)
    if "fail" in found:
        assert made.status == "fail"
    elif "error" in found:
        assert made.status == "error"
    else:
        assert made.status == ("pass" if "pass" in found else "not run")


@given(st.lists(statuses))
def test_what_was_not_run_is_no_success(found: list[Status]) -> None:
    made = verification(*found)
    asked = [status for status in found if status != "not run"]
    if not asked:
        assert made.success_rate is None
    else:
        assert made.success_rate == pytest.approx(asked.count("pass") / len(asked), abs=1e-4)
    assert sum(made.counts.values()) == len(found)


def test_the_json_is_as_its_schema_says() -> None:
    data = json.loads(json.dumps(verification("pass", "fail", "not run").as_dict()))
    jsonschema.validate(data, report.json_schema())
    assert data["schema"] == "insight-verify/1"
    data["suites"][0]["checks"][0]["status"] = "skipped"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, report.json_schema())


def test_junit_counts_and_can_be_read() -> None:
    root = ET.fromstring(report.junit(verification("pass", "fail", "error", "not run")))
    assert {n: root.get(n) for n in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
    }
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.get("skipped") == "1"
    assert [len(suite.findall(f"testcase/{k}")) for k in ("failure", "error", "skipped")] == [1] * 3


def test_the_page_trusts_no_text_and_holds_the_pictures() -> None:
    check = Check("<b>", "fail", "<script>", 0.1, ("<i>",), "e2e-1.png")
    suite = Suite("e2e", "fail", (check,), 1.0)
    found = Verification.of([suite], target="http://a", started=STARTED, seconds=1, short=False)
    page = report.html(found, {"e2e-1.png": b"\x89PNG"})
    assert "data:image/png;base64,iVBORw==" in page
    assert not {"<b>", "<i>", "<script"} & {page[i : i + 3] for i in range(len(page))}
    assert "<script" not in page
    assert "http" not in page.replace("http://a", "")
    assert "picture" not in report.html(found)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (NotRunError("no browser"), "not run"),
        (Unavailable("away"), "error"),
        (Invalid("wrong"), "error"),
        (ZeroDivisionError("a broken check"), "error"),
        (TimeoutError(), "error"),
    ],
)
async def test_whatever_is_raised_is_never_a_pass(raised: Exception, status: str) -> None:
    async def question() -> Answer:
        raise raised

    told: list[tuple[str, Check]] = []
    asker = Asker("api", lambda suite, check: told.append((suite, check)), {})
    await asker.ask("a question", question)
    assert [(suite, check.status) for suite, check in told] == [("api", status)]
    assert told[0][1].detail


async def test_a_question_without_an_answer_ends_in_time() -> None:
    async def question() -> Answer:
        await asyncio.Event().wait()
        return asking.passed()

    asker = Asker("api", lambda *_: None, {})
    answer = await asker.ask("for ever", question, seconds=0.01)
    assert answer.status == "error"


async def test_answers_are_kept_short() -> None:
    async def question() -> Answer:
        return asking.judged([f"{number} " + "x" * 2000 for number in range(100)])

    asker = Asker("api", lambda *_: None, {})
    await asker.ask("much", question)
    check = asker.checks[0]
    assert (len(check.detail), len(check.evidence)) == (500, 20)
    assert max(map(len, check.evidence)) == 500


async def test_there_are_seven_suites_and_no_other() -> None:
    assert set(verify.SUITES) == {
        *("e2e", "load", "security", "performance", "api", "database", "backup"),
    }
    with pytest.raises(Missing, match="there is no suite 'speed'"):
        await verify.run(Subject("http://127.0.0.1:1"), ["speed"])


async def test_a_suite_that_breaks_is_an_error_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from insight_cloud.verify.suites import database

    async def broken(subject: Subject, asker: Asker) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(database, "run", broken)
    found = await verify.run(Subject("http://127.0.0.1:1"), ["database", "backup"])
    assert [suite.status for suite in found.suites] == ["error", "not run"]
    assert found.status == "error"
    assert found.suites[0].checks[0].detail == "RuntimeError: no such thing"


@pytest.mark.parametrize(
    ("url", "pages"),
    [
        ("example.org", ("/",)),
        ("ftp://a", ("/",)),
        ("http://u:p@a", ("/",)),
        ("http://a/b", ("/",)),
        ("http://a?b", ("/",)),
        ("http://a", ("b",)),
    ],
)
def test_what_is_no_site_is_refused(url: str, pages: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        Subject(url, pages=pages)


def test_secrets_of_a_subject_are_not_shown() -> None:
    subject = Subject("http://a/", token="secret-1", database_url="postgresql://a:secret-2@b/c")
    assert "secret" not in repr(subject)
    assert subject.url == "http://a"
