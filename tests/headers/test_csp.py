"""Policies as text: what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import csp


@pytest.mark.parametrize("policy", [csp.PAGE, csp.API, "script-src 'wasm-unsafe-eval'"])
def test_strict_policies_are_taken_as_they_are(policy: str) -> None:
    assert csp.check(policy) == policy


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("", "empty"),
        (" ; ;", "empty"),
        ("default-src 'none', img-src *", "comma"),
        ("default-source 'none'", "no browser knows"),
        ("img-src 'self'; IMG-SRC *", "twice"),
        ("script-src 'unsafe-inline'", "script-src has 'unsafe-inline'"),
        ("script-src 'Unsafe-Eval'", "script-src has 'unsafe-eval'"),
        ("style-src 'unsafe-hashes'", "style-src has 'unsafe-hashes'"),
        ("script-src 'nonce-{n}'", "braces"),
    ],
)
def test_what_is_not_strict_or_not_a_policy_is_refused(policy: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        csp.check(policy)


def test_reports_are_asked_for_in_both_ways() -> None:
    text = csp.with_reports("img-src 'self';", "/reports", "default")
    assert csp.parse(text) == {
        "img-src": ("'self'",),
        "report-to": ("default",),
        "report-uri": ("/reports",),
    }


_SOURCES = st.lists(st.sampled_from(["'self'", "https://a.example", "data:", "'none'"]), max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(csp._DIRECTIVES)), _SOURCES, min_size=1))
def test_what_is_written_is_read_again(directives: dict[str, list[str]]) -> None:
    text = "; ".join(" ".join([name, *sources]) for name, sources in directives.items())
    assert csp.parse(csp.check(text)) == {n: tuple(s) for n, s in directives.items()}
