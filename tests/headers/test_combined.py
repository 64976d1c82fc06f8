"""Several policies read as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.headers import combined


@pytest.mark.parametrize(
    ("policies", "directives"),
    [
        ([], {}),
        (["default-src"], {"default-src": {"'none'"}}),
        (["sandbox; IMG-SRC 'SELF'"], {"sandbox": {"'none'"}, "img-src": {"'self'"}}),
        (["img-src https://a/b https://a/bc"], {"img-src": {"https://a/b"}}),
        (["img-src a b", "img-src b c"], {"img-src": {"b"}}),
        (["img-src a", "img-src b"], {"img-src": {"'none'"}}),
        (["img-src https://a/b/", "img-src https://a/b/c"], {"img-src": {"https://a/b/c"}}),
        (["img-src 'self'", "font-src 'self'"], {"img-src": {"'self'"}, "font-src": {"'none'"}}),
    ],
)
def test_only_what_all_allow_remains(policies: list[str], directives: dict[str, set[str]]) -> None:
    assert combined.combine(policies).directives == directives


@pytest.mark.parametrize("policy", ["", "defa", "\r\n", "img-src a; img-src b"])
def test_what_cannot_be_read_is_an_error(policy: str) -> None:
    with pytest.raises(ValueError, match=r"not a policy|twice"):
        combined.combine([policy])


def test_a_malformed_escape_is_an_error() -> None:
    with pytest.raises(ValueError, match="malformed"):
        combined.combine(["img-src a%zz", "img-src a%zz"])


def test_a_repeated_report_directive_is_noted() -> None:
    assert combined.combine(["report-uri /a; report-uri /b"]).repeated
    assert not combined.combine(["report-uri /a", "report-uri /b"]).repeated


_SOURCES = st.lists(
    st.sampled_from(["'self'", "https:", "a.test", "b.test"]), min_size=1, unique=True
)


@given(_SOURCES, _SOURCES)
def test_a_second_policy_never_allows_more(first: list[str], second: list[str]) -> None:
    policies = ["img-src " + " ".join(sources) for sources in (first, second)]
    both = combined.combine(policies).directives["img-src"]
    assert both == (set(first) & set(second) or {"'none'"})


@given(_SOURCES)
def test_the_same_policy_twice_is_that_policy(sources: list[str]) -> None:
    text = "img-src " + " ".join(sources)
    assert combined.combine([text, text]).directives == combined.combine([text]).directives
