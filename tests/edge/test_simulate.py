"""One request through the phases: their order, what ends it, what later rules overwrite."""

from __future__ import annotations

from typing import Any, Final

import pytest

from insight_cloud.edge import Request
from insight_cloud.edge.simulate import Response, Simulator, normalized

FIREWALL: Final = "http_request_firewall_custom"
CACHE: Final = "http_request_cache_settings"


def _rule(name: str, action: str, expression: str = "ssl", **more: Any) -> dict[str, Any]:
    return {"ref": f"ic:{name}", "action": action, "expression": expression, **more}


def _cache(name: str, expression: str, **parameters: Any) -> dict[str, Any]:
    return _rule(name, "set_cache_settings", expression, action_parameters=parameters)


def test_the_first_rule_that_ends_it_decides() -> None:
    rules = [_rule("a", "managed_challenge"), _rule("b", "block")]
    verdict = Simulator({FIREWALL: rules}).judge(Request())
    assert (verdict.action, verdict.rule, verdict.matched) == (
        "managed_challenge",
        "a",
        [(FIREWALL, "a")],
    )


def test_a_rule_that_is_off_does_nothing() -> None:
    rules = [_rule("a", "block", enabled=False), _rule("b", "log")]
    assert not Simulator({FIREWALL: rules}).judge(Request()).ended


@pytest.mark.parametrize(
    ("parameters", "action", "counted"),
    [
        ({"ruleset": "current"}, "pass", ["r"]),
        ({"phases": ["http_ratelimit"]}, "block", []),
        ({"products": ["rateLimit"]}, "block", []),
    ],
)
def test_what_is_skipped_is_skipped(
    parameters: dict[str, Any], action: str, counted: list[str]
) -> None:
    rules = {
        FIREWALL: [
            _rule("s", "skip", action_parameters=parameters),
            _rule("b", "block", 'http.request.uri.path eq "/"'),
        ],
        "http_ratelimit": [_rule("r", "block", ratelimit={})],
    }
    simulator = Simulator(rules)  # type: ignore[arg-type]
    assert simulator.judge(Request()).action == action
    assert simulator.judge(Request("https://example.com/x")).counted == counted


def test_the_last_cache_rule_has_the_say_for_each_setting_by_itself() -> None:
    year = {"mode": "override_origin", "default": 31_536_000}
    rules = [
        _cache("all", "ssl", cache=True, edge_ttl=year, browser_ttl=year),
        _cache("short", "ssl", browser_ttl={"mode": "override_origin", "default": 60}),
        _cache("api", 'starts_with(http.request.uri.path, "/api/")', cache=False),
    ]
    simulator = Simulator({CACHE: rules})
    verdict = simulator.judge(Request())
    assert (verdict.cache, verdict.edge_seconds, verdict.browser_seconds) == (
        "cache",
        31_536_000,
        60,
    )
    assert simulator.judge(Request("https://example.com/api/x")).cache == "bypass"
    assert simulator.judge(Request(method="POST")).cache == "not cacheable"


def test_without_a_rule_the_extension_decides() -> None:
    simulator = Simulator({})
    assert simulator.judge(Request("https://example.com/a.PDF")).cache == "by extension"
    assert simulator.judge(Request("https://example.com/a.html")).cache == "default"


def test_a_redirect_ends_it_before_the_firewall_sees_it() -> None:
    value = {
        "target_url": {"expression": 'concat("https://example.org", http.request.uri.path)'},
        "status_code": 308,
        "preserve_query_string": True,
    }
    rules = {
        FIREWALL: [_rule("b", "block")],
        "http_request_dynamic_redirect": [
            _rule("r", "redirect", action_parameters={"from_value": value})
        ],
    }
    verdict = Simulator(rules).judge(Request("https://example.com/a?b=1"))  # type: ignore[arg-type]
    assert (verdict.action, verdict.rule, verdict.status) == ("redirect", "r", 308)
    assert verdict.location == "https://example.org/a?b=1"


def test_a_rewrite_is_seen_by_all_later_phases_but_not_by_raw_fields() -> None:
    uri = {"path": {"value": "/new"}, "query": {"value": ""}}
    rules = {
        "http_request_transform": [_rule("w", "rewrite", action_parameters={"uri": uri})],
        FIREWALL: [
            _rule("raw", "managed_challenge", 'raw.http.request.uri.path eq "/new"'),
            _rule("new", "block", 'http.request.uri eq "/new"'),
        ],
    }
    verdict = Simulator(rules).judge(Request("https://example.com/old?a=1"))  # type: ignore[arg-type]
    assert (verdict.rule, verdict.target) == ("new", "/new")


def test_headers_config_compression_and_errors_are_told() -> None:
    set_ = {"X-Edge": {"operation": "set", "value": "1"}, "Server": {"operation": "remove"}}
    rules = {
        "http_request_late_transform": [_rule("q", "rewrite", action_parameters={"headers": set_})],
        CACHE: [_cache("h", 'http.request.headers["x-edge"][0] eq "1"', cache=True)],
        "http_config_settings": [
            _rule("c", "set_config", action_parameters={"security_level": "high"})
        ],
        "http_response_headers_transform": [
            _rule("p", "rewrite", "http.response.code eq 404", action_parameters={"headers": set_})
        ],
        "http_response_compression": [
            _rule("z", "compress_response", action_parameters={"algorithms": [{"name": "zstd"}]})
        ],
        "http_custom_errors": [_rule("e", "serve_error", "http.response.code eq 404")],
    }
    simulator = Simulator(rules)  # type: ignore[arg-type]
    verdict = simulator.judge(Request(), Response(404, (("Content-Type", "text/html"),)))
    assert verdict.request_headers == {"x-edge": "1", "server": None}
    assert verdict.response_headers == {"x-edge": "1", "server": None}
    assert (verdict.cache, verdict.config) == ("cache", {"security_level": "high"})
    assert (verdict.compression, verdict.custom_error) == (["zstd"], "e")
    unknown = simulator.judge(Request())
    assert unknown.response_headers == {}
    assert {doubt.rule for doubt in unknown.doubts} == {"p", "e"}


def test_what_depends_on_something_unknown_is_never_certain() -> None:
    simulator = Simulator({FIREWALL: [_rule("a", "block", 'ip.src.country eq "DE"')]})
    verdict = simulator.judge(Request())
    assert not verdict.ended
    assert not verdict.certain
    assert verdict.doubts[0].fields == ("ip.src.country",)
    assert simulator.judge(Request(known={"ip.src.country": "FR"})).certain


def test_plain_http_is_redirected_first_when_it_is_said() -> None:
    simulator = Simulator({FIREWALL: [_rule("b", "block", "not ssl")]}, always_https=True)
    verdict = simulator.judge(Request("http://example.com/a"))
    assert (verdict.action, verdict.location) == ("redirect", "https://example.com/a")


@pytest.mark.parametrize(
    ("target", "merged", "kept"),
    [
        ("/a", "/a", "/a"),
        ("/a//b", "/a/b", "/a//b"),
        ("/a/../b?c=/../d", "/b?c=/../d", "/b?c=/../d"),
        ("/../../a", "/a", "/a"),
        ("/a/.", "/a/", "/a/"),
        ("/%77p%2Dadmin", "/wp-admin", "/wp-admin"),
        ("/a%2fb", "/a%2Fb", "/a%2Fb"),
        ("/a\\b", "/a/b", "/a\\b"),
    ],
)
def test_a_path_is_brought_into_one_form(target: str, merged: str, kept: str) -> None:
    assert normalized(target, merge=True) == merged
    assert normalized(target, merge=False) == kept
    assert normalized(merged, merge=True) == merged
