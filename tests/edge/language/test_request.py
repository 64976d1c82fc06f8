"""What the edge would know of a request, and what nobody knows unless it is said."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from insight_cloud.core.errors import Invalid
from insight_cloud.edge.language import Request, compiled, fields_of
from insight_cloud.edge.language.fields import FIELDS


def test_every_field_is_there_and_what_only_the_edge_knows_is_unknown() -> None:
    fields = fields_of(Request())
    assert set(FIELDS) <= set(fields)
    unknown = {name for name in FIELDS if fields[name] is None}
    assert {
        "ip.src",
        "ip.src.country",
        "cf.client.bot",
        "cf.waf.score",
        "http.response.code",
    } <= unknown
    assert not {"ssl", "http.host", "http.request.uri.path", "http.request.headers"} & unknown


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"url": "ftp://example.com/"}, "no http or https URL"),
        ({"url": "/path"}, "no http or https URL"),
        ({"url": "https://example.com:99999/"}, "is no URL"),
        ({"url": "https://[::1/"}, "is no URL"),
        ({"url": "https://example.com/" + "a" * 20_000}, "at most"),
        ({"known": {"ip.src.countri": "DE"}}, "there is no field"),
        ({"known": {"ip.src": "300.1.1.1"}}, "is no IP address"),
        ({"known": {"cf.client.bot": 1}}, "is no Boolean"),
        ({"known": {"cf.waf.score": True}}, "is no Integer"),
        ({"known": {"cf.waf.score": "5"}}, "is no Integer"),
        ({"known": {"ip.src.country": 5}}, "is no String"),
        ({"known": {"cf.bot_management.detection_ids": "1"}}, "is no Array"),
        ({"known": {"http.request.headers": ["a"]}}, "is no Map"),
    ],
)
def test_a_request_that_cannot_be_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        Request(**given)  # type: ignore[arg-type]


def test_what_is_known_wins_over_what_follows() -> None:
    request = Request(known={"http.host": "other.example", "cf.edge.server_port": 8443})
    assert compiled('http.host eq "other.example" and cf.edge.server_port eq 8443')(
        fields_of(request)
    )


def test_a_rewrite_changes_the_fields_and_not_the_raw_ones() -> None:
    request = Request("https://example.com/old?a=1").with_target("/new")
    fields = fields_of(request)
    assert fields["http.request.uri.path"] == b"/new"
    assert fields["http.request.uri.query"] == b""
    assert fields["raw.http.request.uri.path"] == b"/old"
    assert fields["raw.http.request.uri.query"] == b"a=1"
    again = request.with_target("/newer")
    assert fields_of(again)["raw.http.request.uri.path"] == b"/old"


def test_the_lists_of_the_account_can_be_given() -> None:
    lists = {"office": (ip_network("192.0.2.0/24"),), "numbers": (64496,)}
    inside = fields_of(Request(known={"ip.src": "192.0.2.9", "ip.src.asnum": 64496}, lists=lists))
    outside = fields_of(Request(known={"ip.src": "192.0.3.9", "ip.src.asnum": 1}, lists=lists))
    for text in ("ip.src in $office", "ip.src.asnum in $numbers"):
        assert compiled(text)(inside) is True
        assert compiled(text)(outside) is False
        assert compiled(text)(fields_of(Request(known={"ip.src": "192.0.2.9"}))) is None


def test_a_strange_weight_of_a_language_does_no_harm() -> None:
    request = Request(headers=(("Accept-Language", "a;q=9.9.9, b;q=0.1, c"),))
    assert fields_of(request)["http.request.accepted_languages"] == [b"c", b"b", b"a"]
