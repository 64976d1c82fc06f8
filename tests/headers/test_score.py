"""The ten tests: every row of the table is reached, and the sum is as published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.headers import Answer, Result, Score, Site, score
from insight_cloud.headers.score import _TESTS, BEST, GRADES, MODIFIERS, PROBE_ORIGIN

HTML = ("content-type", "text/html")
LONG = ("strict-transport-security", "max-age=15552000")


def seen(*headers: tuple[str, str], body: str = "", host: str = "a.example", **more: Any) -> Site:
    """A site that redirects HTTP to HTTPS and answers there with `headers`."""
    url = f"https://{host}/"
    main = Answer(url, 200, (HTML, *headers), body)
    http = (Answer(f"http://{host}/", 301, (("location", url),)), main)
    return replace(Site(host=host, http=http, https=(main,)), **more)


def plain(*headers: tuple[str, str], body: str = "") -> Site:
    """The same without HTTPS."""
    return Site(host="a.example", http=(Answer("http://a.example/", 200, (HTML, *headers), body),))


def csp(policy: str, *, meta: str = "") -> Site:
    body = f'<meta http-equiv="Content-Security-Policy" content="{meta}">' if meta else ""
    return seen(("content-security-policy", policy), body=body)


def cookie(*lines: str, hsts: bool = False) -> Site:
    return seen(*(("set-cookie", line) for line in lines), *([LONG] if hsts else []))


def cors(origin: str, credentials: str = "") -> Site:
    headers = [("access-control-allow-origin", origin)] if origin else []
    headers += [("access-control-allow-credentials", credentials)] if credentials else []
    return seen(cors=Answer("https://a.example/", 204, tuple(headers)))


def route(*urls: str, **more: Any) -> Site:
    answers = tuple(Answer(url, 301) for url in urls)
    return replace(seen(), http=answers, **more)


def scripts(*tags: str) -> Site:
    return seen(body="<!doctype html>" + "".join(f"<script {tag}></script>" for tag in tags))


def header(name: str, *values: str) -> Site:
    return seen(*((name, value) for value in values))


SRI = "integrity=sha384-x crossorigin"
ROWS: list[tuple[str, Site]] = [
    ("csp-default-none", csp("default-src 'none'; img-src 'self'; frame-ancestors 'none'")),
    ("csp-default-none", csp("default-src")),
    ("csp-default-none", csp("default-src 'none'; script-src 'strict-dynamic' 'nonce-a' https:")),
    ("csp-default-none", csp("default-src http:", meta="default-src https:")),
    ("csp-no-unsafe", csp("default-src 'self'; script-src 'nonce-a' 'unsafe-inline'")),
    ("csp-no-unsafe", csp("default-src 'self' 'nonce-a' 'unsafe-inline'")),
    ("csp-no-unsafe", csp("object-src 'none'; script-src 'self'; style-src 'self'")),
    ("csp-unsafe-style", csp("default-src 'none'; style-src 'unsafe-inline'")),
    ("csp-unsafe-style", csp("default-src 'none'; style-src https:")),
    ("csp-duplicate-reports", csp("default-src 'none'; report-uri /a; report-uri /b")),
    ("csp-insecure-passive", csp("default-src 'none'; img-src http://b.example")),
    ("csp-insecure-passive", csp("default-src 'self'; media-src ftp:")),
    ("csp-unsafe-eval", csp("default-src 'none'; script-src 'unsafe-eval'")),
    ("csp-unsafe-inline", csp("script-src 'unsafe-inline'; object-src 'none'")),
    ("csp-unsafe-inline", csp("script-src 'self'")),
    ("csp-unsafe-inline", csp("upgrade-insecure-requests")),
    ("csp-unsafe-inline", csp("default-src 'none'; object-src *")),
    ("csp-insecure-active", csp("default-src 'none'; script-src http://b.example")),
    ("csp-insecure-active", csp("default-src 'none'; frame-src http://b.example")),
    ("csp-invalid", csp("default-src 'none'; default-src 'self'")),
    ("csp-invalid", csp("default-src 'none'; script-src 'strict-dynamic'")),
    ("csp-invalid", csp("defa")),
    ("csp-missing", seen()),
    ("csp-missing", seen(body='<meta http-equiv=content-security-policy content="sandbox">')),
    ("csp-report-only", header("content-security-policy-report-only", "default-src 'none'")),
    ("cookies-samesite", cookie("a=1; Secure; SameSite=Lax", "s=2; secure; samesite=NONE")),
    ("cookies-samesite", cookie("sess=2; secure; httponly; samesite=strict")),
    ("cookies-secure", cookie("a=1; Secure")),
    ("cookies-none", seen()),
    ("cookies-none", cookie("heroku-session-affinity=1", "=x", "a=1; domain=b.example")),
    ("cookies-insecure-hsts", cookie("a=1", hsts=True)),
    ("cookies-session-insecure-hsts", cookie("a=1", "login=1; HttpOnly", hsts=True)),
    ("cookies-insecure", cookie("a=1; SameSite=Lax")),
    ("cookies-samesite-invalid", cookie("a=1; Secure; SameSite=maybe")),
    ("cookies-samesite-invalid", cookie("a=1; SameSite=None")),
    ("cookies-csrf-samesite", cookie("csrftoken=1; Secure")),
    ("cookies-session-script", cookie("PHPSESSID=1; Secure")),
    ("cookies-session-insecure", cookie("session=1; HttpOnly")),
    ("cors-none", seen()),
    ("cors-none", cors("")),
    ("cors-public", cors("*")),
    ("cors-restricted", cors("https://b.example", "true")),
    ("cors-restricted", cors(PROBE_ORIGIN)),
    ("cors-universal", cors(PROBE_ORIGIN, "true")),
    ("redirect-preloaded", seen(preloaded=frozenset({"example"}))),
    ("redirect-https", seen()),
    ("redirect-no-http", seen(http=())),
    ("redirect-off-host", route("http://a.example/", "https://b.example/")),
    ("redirect-late", route("http://a.example/", "http://b.example/", "https://b.example/")),
    ("redirect-not-https", route("http://a.example/", "http://b.example/")),
    ("redirect-missing", route("http://a.example/")),
    ("redirect-certificate", seen(verified=False)),
    ("referrer-private", header("referrer-policy", "unsafe-url, no-referrer, new-word")),
    ("referrer-private", seen(body="<meta name=referrer content=same-origin>")),
    ("referrer-none", seen()),
    ("referrer-unsafe", header("referrer-policy", "no-referrer", "unsafe-url")),
    ("referrer-invalid", header("referrer-policy", "never")),
    ("hsts-preloaded", seen(preloaded=frozenset({"a.example"}))),
    ("hsts-long", header(*LONG)),
    ("hsts-long", header("strict-transport-security", 'includeSubDomains; max-age="63072000"')),
    ("hsts-short", header("strict-transport-security", "max-age=15551999; preload")),
    ("hsts-missing", seen()),
    ("hsts-invalid", header("strict-transport-security", "includeSubDomains")),
    ("hsts-invalid", header("strict-transport-security", "max-age=soon")),
    ("hsts-invalid", header("strict-transport-security", "max-age=63072000", "max-age=63072000")),
    ("hsts-no-https", plain(LONG)),
    ("hsts-certificate", replace(header(*LONG), verified=False)),
    ("sri-all", scripts(f"src=/a.js {SRI}")),
    ("sri-all", scripts(f"src=https://cdn.a.example/a.js {SRI}")),
    ("sri-external", scripts(f"src=https://b.test/a.js {SRI}")),
    ("sri-not-html", seen(("content-type", "application/json"), body="<script src=//b.test>")),
    ("sri-no-scripts", seen(body="<p>")),
    ("sri-same-origin", scripts("src=/a.js", "")),
    ("sri-missing", scripts("src=https://b.test/a.js", f"src=/a.js {SRI}")),
    ("sri-insecure", scripts(f"src=http://b.test/a.js {SRI}")),
    ("sri-missing-insecure", scripts("src=http://b.test/a.js")),
    ("sri-missing-insecure", scripts("src=//b.test/a.js")),
    ("nosniff", header("x-content-type-options", " NoSniff ")),
    ("nosniff-missing", seen()),
    ("nosniff-invalid", header("x-content-type-options", "nosniff", "nosniff")),
    ("framing-csp", csp("frame-ancestors 'self'")),
    ("framing-header", header("x-frame-options", "Deny")),
    ("framing-header", header("x-frame-options", "SAMEORIGIN")),
    ("framing-allow-from", header("x-frame-options", "ALLOW-FROM https://b.example")),
    ("framing-missing", seen()),
    ("framing-invalid", header("x-frame-options", "whatever")),
    ("corp-same-origin", header("cross-origin-resource-policy", "Same-Origin")),
    ("corp-same-site", header("cross-origin-resource-policy", "same-site")),
    ("corp-cross-origin", header("cross-origin-resource-policy", "cross-origin")),
    ("corp-none", seen()),
    ("corp-invalid", header("cross-origin-resource-policy", "none")),
]  # fmt: skip


def outcomes(site: Site) -> set[str]:
    return {result.outcome for result in score(site).results}


@pytest.mark.parametrize(
    ("outcome", "site"), ROWS, ids=[f"{i}-{n}" for i, (n, _) in enumerate(ROWS)]
)
def test_each_fault_and_each_virtue_is_seen(outcome: str, site: Site) -> None:
    assert outcome in outcomes(site)


def test_every_row_of_the_table_is_reached() -> None:
    assert {outcome for outcome, _ in ROWS} == set(MODIFIERS)


def test_ten_tests_are_made() -> None:
    assert len(_TESTS) == 10
    assert [result.test for result in score(seen()).results] == list(_TESTS)


def test_a_bare_site_gets_what_it_deserves() -> None:
    found = score(plain())
    # no CSP -25, no redirect -20, no HTTPS -20, no nosniff -5, no framing -20
    assert (found.score, found.grade) == (10, "F")
    assert all(result.reason for result in found.results)


def test_the_best_site_gets_the_most_points() -> None:
    site = seen(
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("set-cookie", "__Host-session=1; Secure; HttpOnly; SameSite=Lax; Path=/"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        LONG,
        body=f"<script src=/a.js {SRI}></script>",
    )  # fmt: skip
    assert score(site).score == BEST - 5
    assert score(replace(site, preloaded=frozenset({"a.example"}))).score == BEST


def test_a_site_that_did_not_answer_has_no_score() -> None:
    with pytest.raises(ValueError, match="did not answer"):
        score(Site(host="a.example"))


def _answer(data: dict[str, Any]) -> Answer:
    pairs = tuple((name, value) for name, value in data["headers"])
    return Answer(data["url"], data["status"], pairs, data["body"])


# Sites made up at random, with what MDN's own program (version 1.4.8) says about them.
OBSERVED = json.loads(
    (Path(__file__).parents[1] / "data/headers/observatory.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", OBSERVED, ids=range(len(OBSERVED)))
def test_the_score_is_the_one_of_the_original(case: dict[str, Any]) -> None:
    site = Site(
        host=case["host"],
        http=tuple(map(_answer, case["http"])),
        https=tuple(map(_answer, case["https"])),
        verified=case["verified"],
        cors=_answer(case["cors"]) if case["cors"] else None,
    )
    found = score(site)
    assert [result.modifier for result in found.results] == case["modifiers"]
    assert (found.score, found.grade) == (case["score"], case["grade"])


_RESULTS = st.lists(st.sampled_from(sorted(MODIFIERS)), max_size=10).map(
    lambda names: Score(tuple(Result("any", name) for name in names))
)


@given(_RESULTS)
def test_bonuses_count_only_above_ninety_points(found: Score) -> None:
    penalties = sum(r.modifier for r in found.results if r.modifier < 0)
    everything = sum(r.modifier for r in found.results)
    expected = 100 + (everything if penalties >= -10 else penalties)
    assert found.score == max(0, expected)


@given(_RESULTS)
def test_a_grade_is_the_best_one_reached(found: Score) -> None:
    reached = [grade for lowest, grade in GRADES if lowest <= found.score]
    assert found.grade == reached[0]


@pytest.mark.parametrize(
    ("host", "other", "same"),
    [
        ("a.example", "www.a.example", True),
        ("a.example", "b.example", False),
        ("a.co.uk", "b.co.uk", False),
        ("www.a.co.uk", "cdn.a.co.uk", True),
        ("127.0.0.1", "localhost", True),
    ],
)
def test_scripts_of_the_same_registered_name_are_the_own_ones(
    host: str,
    other: str,
    same: bool,  # noqa: FBT001 - a column of the table
) -> None:
    body = f"<script src=https://{other}/a.js></script>"
    assert ("sri-same-origin" in outcomes(seen(host=host, body=body))) == same
    assert "sri-missing" in outcomes(seen(body="<script src='https://[x/a.js'></script>"))


_NAMES = st.sampled_from(
    [
        "content-security-policy", "set-cookie", "referrer-policy", "strict-transport-security",
        "x-frame-options", "x-content-type-options", "cross-origin-resource-policy",
    ]
)  # fmt: skip
_VALUES = st.text(max_size=40) | st.sampled_from(["default-src %zz", "a=b; SameSite", "max-age=1"])


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8), st.text(max_size=80))
def test_no_site_can_break_its_score(headers: list[tuple[str, str]], body: str) -> None:
    assert 0 <= score(seen(*headers, body=body)).score <= BEST
