"""Random zones and random files, for properties that must hold for all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from insight_cloud.edge.file import EdgeFile
from insight_cloud.edge.model import Edge

EXPRESSIONS = (
    'http.request.uri.path eq "/a"',
    'starts_with(http.request.uri.path, "/api/")  and\n ssl',
    'not cf.client.bot or http.user_agent eq ""',
    'http.host wildcard "*.example.com"',
    'any(http.request.uri.args["x"][*] == "1")',
    "ip.src in {192.0.2.0/24 2001:db8::/32}",
    'lower(http.request.uri.path) contains "wp-login"',
    '(ssl) and (http.request.method in {"GET" "HEAD"})',
)
RATE = 'starts_with(http.request.uri.path, "/api/")'

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
switch = st.none() | st.booleans()


def _rules(extra: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[Any]:
    rule = st.fixed_dictionaries(
        {"name": names, "when": st.sampled_from(EXPRESSIONS), **extra},
        optional={"enabled": st.booleans(), "description": st.text(max_size=20)},
    )
    return st.lists(rule, max_size=most, unique_by=lambda found: found["name"])


_seconds = st.none() | st.sampled_from([7200, 86400, 31_536_000])
_cache = _rules({}, 6).flatmap(
    lambda rules: st.tuples(
        *(
            st.one_of(
                st.just({**rule, "bypass": True}),
                st.builds(
                    lambda edge, browser, armor, rule=rule: {
                        **rule,
                        "edge_seconds": edge,
                        "browser_seconds": browser,
                        "armor": armor,
                    },
                    _seconds,
                    _seconds,
                    st.booleans(),
                ),
            )
            for rule in rules
        )
    )
)
_firewall = _rules({"action": st.sampled_from(["block", "managed_challenge", "js_challenge"])}, 3)
_skips = _rules({"action": st.just("skip"), "skip_phases": st.just(["http_ratelimit"])}, 1)
_rate = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "when": st.just(RATE),
            "requests": st.integers(1, 1000),
            "period_seconds": st.just(10),
            "timeout_seconds": st.sampled_from([0, 10]),
        }
    ),
    max_size=1,
)
_redirects = _rules({"to": st.just("https://example.org/"), "keep_query": st.booleans()}, 3)
_compression = _rules(
    {"algorithms": st.lists(st.sampled_from(["zstd", "brotli", "gzip"]), min_size=1, unique=True)},
    2,
)
_headers = _rules({"set": st.just({"X-Edge": "1"}), "remove": st.sampled_from([[], ["Server"]])}, 2)


def _given(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(values)


def _unique(firewall: list[Any], skips: list[Any]) -> list[Any]:
    taken = {rule["name"] for rule in firewall}
    return [*[rule for rule in skips if rule["name"] not in taken], *firewall]


tables = _given(
    zone=st.just({"name": "example.com", "plan": "free"}),
    tls=_given(
        mode=st.sampled_from([None, "full", "strict"]),
        minimum_version=st.sampled_from([None, "1.2", "1.3"]),
        tls_1_3=switch,
        https_rewrites=switch,
        universal=switch,
        origin_pulls=switch,
    ),
    cache=_given(tiered=switch, browser_seconds=st.sampled_from([None, 0, 14400]), rules=_cache),
    performance=_given(http3=switch, early_hints=switch, zero_rtt=switch, compression=_compression),
    security=_given(
        level=st.sampled_from([None, "medium", "high"]),
        browser_check=switch,
        bot_fight=switch,
        ai_bots=st.sampled_from([None, "block", "disabled"]),
        url_normalization=st.sampled_from([None, "rfc3986", "none"]),
    ),
    firewall=st.builds(_unique, _firewall, _skips),
    rate=_given(rules=_rate),
    redirects=_redirects,
    response_headers=_headers,
    settings=st.dictionaries(
        st.sampled_from(["websockets", "opportunistic_encryption", "ipv6"]),
        st.sampled_from(["on", "off"]),
    ),
)
files = tables.map(lambda table: EdgeFile(Edge.model_validate(table)))

foreign = st.lists(st.tuples(st.sampled_from(EXPRESSIONS), st.integers(0, 3)), max_size=1)
"""Rules of somebody else, with the place at which each stands."""
