"""What in a correct expression may surprise is said; what does not is not."""

from __future__ import annotations

import pytest

from insight_cloud.edge.language import parse
from insight_cloud.edge.language.hints import hints


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('ip.geoip.country eq "DE"', "ip.src.country"),
        ("cf.threat_score gt 14", "deprecated"),
        ('http.request.headers["x"][0] ne "a"', "open engine says true"),
        ('http.host wildcard "example.com"', "without *"),
        ('all(http.request.headers["x"][*] eq "a")', "nobody documents"),
        ('http.host matches "(?x)a b"', "cannot be evaluated here"),
        ("hash_in_range(ip.src, 1, 2)", "unknown"),
    ],
)
def test_a_surprise_is_told(text: str, said: str) -> None:
    (found,) = hints(parse(text))
    assert said in found


@pytest.mark.parametrize(
    "text",
    ['http.host ne "a"', 'http.host wildcard "*.a"', 'any(http.request.headers["x"][*] eq "a")'],
)
def test_what_is_clear_is_not_commented(text: str) -> None:
    assert list(hints(parse(text))) == []
