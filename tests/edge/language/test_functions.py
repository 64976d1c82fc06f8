"""Functions that make values, and tokens with a signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.edge.language import Request, compiled, compiled_value, fields_of
from insight_cloud.edge.language.functions import MISSING, wildcard_groups, wildcard_pieces

SIGN = 'is_timed_hmac_valid_v0("secret", http.request.uri, 100, http.request.timestamp.sec, 8)'


@pytest.mark.parametrize(
    ("url", "text", "expected"),
    [
        (
            "https://apps.example.com/calendar/admin?expand=true",
            (
                'wildcard_replace(http.request.full_uri, "https://*.example.com/*/*", '
                '"https://example.com/${1}/${2}/${3}")'
            ),
            "https://example.com/apps/calendar/admin?expand=true",
        ),
        (
            "https://example.com/applications/app1",
            'wildcard_replace(http.request.full_uri, "/applications/*", "/apps/${1}")',
            "https://example.com/applications/app1",
        ),
        (
            "/calendar",
            'wildcard_replace(http.request.uri.path, "/*", "/apps/${1}")',
            "/apps/calendar",
        ),
        (
            "/Apps/calendar",
            'wildcard_replace(http.request.uri.path, "/apps/*", "/${1}")',
            "/calendar",
        ),
        (
            "/Apps/calendar",
            'wildcard_replace(http.request.uri.path, "/apps/*", "/${1}", "s")',
            "/Apps/calendar",
        ),
        (
            "/apps/calendar/login",
            'wildcard_replace(http.request.uri.path, "/apps/*/login", "/${1}/login")',
            "/calendar/login",
        ),
        ("/a", 'wildcard_replace(http.request.uri.path, "/*", "$${1}-${1}")', "${1}-a"),
        ("/a/b", 'regex_replace(http.request.uri.path, "^/(.*)/(.*)$", "/${2}/${1}")', "/b/a"),
        (
            "/?order=asc&country=GB",
            'remove_query_args(http.request.uri.query, "country")',
            "order=asc",
        ),
        (
            "/?order=asc&country=GB",
            'remove_query_args(http.request.uri.query, "order")',
            "country=GB",
        ),
        (
            "/?category=Foo&order=desc&category=Bar",
            'remove_query_args(http.request.uri.query, "order")',
            "category=Foo&category=Bar",
        ),
        (
            "/?category=Foo&order=desc&category=Bar",
            'remove_query_args(http.request.uri.query, "category")',
            "order=desc",
        ),
        ("/", "to_string(cf.edge.server_port)", "443"),
        ("/", "to_string(ssl)", "true"),
        ("/", 'encode_base64("hello world")', "aGVsbG8gd29ybGQ"),
        ("/", 'encode_base64("hello world", "p")', "aGVsbG8gd29ybGQ="),
        ("/", 'encode_base64("hello world", "u")', "aGVsbG8gd29ybGQ"),
        ("/", 'concat("https://", http.host, http.request.uri.path)', "https://example.com/"),
        (
            "/",
            'encode_base64(sha256("my-token"))',
            base64.b64encode(hashlib.sha256(b"my-token").digest()).decode().rstrip("="),
        ),
    ],
)
def test_a_documented_value_is_as_documented(url: str, text: str, expected: str) -> None:
    url = url if "://" in url else f"https://example.com{url}"
    assert compiled_value(text)(fields_of(Request(url))) == expected.encode()


def test_a_random_value_is_unknown() -> None:
    assert compiled_value("uuidv4(cf.random_seed)")(fields_of(Request())) is None


@pytest.mark.parametrize("url_safe", [False, True])
def test_a_signed_token_is_valid_until_its_time_is_over(*, url_safe: bool) -> None:
    made = 1_484_063_787
    digest = hmac.new(b"secret", f"/cat.jpg{made}".encode(), hashlib.sha256).digest()
    encoded = base64.b64encode(digest).decode()
    mac = (
        encoded.translate(str.maketrans("+/", "-_")).rstrip("=")
        if url_safe
        else quote(encoded, safe="")
    )
    text = SIGN.replace(", 8)", ', 8, "s")') if url_safe else SIGN
    valid = compiled(text)

    def asked(url: str, now: int) -> bool | None:
        known = {"http.request.timestamp.sec": now}
        return valid(fields_of(Request(f"https://example.com{url}", known=known)))

    token = f"?verify={made}-{mac}"
    assert asked(f"/cat.jpg{token}", made + 99) is True
    assert asked(f"/cat.jpg{token}", made + 100) is False
    assert asked(f"/dog.jpg{token}", made) is False
    assert asked(f"/cat.jpg?verify={made + 1}-{mac}", made) is False
    assert asked("/cat.jpg", made) is False


@given(
    st.text("ab*", max_size=12).filter(lambda text: "**" not in text), st.text("ab", max_size=12)
)
def test_wildcards_are_what_they_would_be_as_regular_expressions(pattern: str, value: str) -> None:
    import re

    wanted = re.fullmatch(re.escape(pattern).replace(r"\*", "(.*?)"), value, re.DOTALL)
    found = wildcard_groups(value.encode(), pattern.encode(), strict=True)
    assert (found is not None) == (wanted is not None)
    if wanted is not None and found is not None:
        assert [group.decode() for group in found] == list(wanted.groups())


def test_a_wildcard_of_many_stars_takes_no_time() -> None:
    assert wildcard_groups(b"a" * 5000, b"*a" * 500 + b"*b", strict=True) is None


@pytest.mark.parametrize("text", [b"**", b"a**b", b"\\", b"\\a"])
def test_a_wrong_wildcard_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\*|backslash"):
        wildcard_pieces(text)


def test_missing_is_not_true_and_says_its_name() -> None:
    assert not MISSING
    assert repr(MISSING) == "MISSING"
