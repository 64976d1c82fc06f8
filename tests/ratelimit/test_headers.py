from __future__ import annotations

import json
import re
from datetime import timedelta

from insight_cloud.ratelimit import Decision, Policy, headers
from tests.ratelimit.clocks import Clock

API = Policy("api", limit=100, window=timedelta(minutes=15))
AUTH = Policy("auth", limit=5, window=timedelta(minutes=15), on_failure="closed")
ITEM = re.compile(r'"[a-z]+"(;[a-z]+=\d+)+')


def fields(decision: Decision) -> dict[str, str]:
    pairs = headers.fields(decision, tuple(policy for policy, _ in decision.pairs))
    return {name.decode(): value.decode() for name, value in pairs}


def test_an_admitted_request_is_told_all_policies_and_standings() -> None:
    rows = [(99, 0.0, 899.2), (5, 0.0, 0.0)]
    pairs = [(API, "a"), (AUTH, "a")]
    told = fields(Decision(True, pairs, rows, 1, "memory", (1,), 1000.0, Clock(1000.0)))
    assert told == {
        "ratelimit-policy": '"api";q=100;w=900, "auth";q=5;w=900',
        "ratelimit": '"api";r=99;t=900, "auth";r=5',
    }
    for value in told.values():
        assert all(ITEM.fullmatch(item) for item in value.split(", "))


def test_a_denied_request_is_told_the_whole_seconds_that_are_left() -> None:
    clock = Clock(1000.0)
    denied = Decision(False, [(AUTH, "a")], [(0, 30.2, 30.2)], 1, "redis", (), 1000.0, clock)
    assert fields(denied)["retry-after"] == "31"
    clock.now += 10
    assert fields(denied)["retry-after"] == "21"
    assert fields(denied)["ratelimit"] == '"auth";r=0;t=21'
    clock.now += 100
    assert fields(denied)["retry-after"] == "1"


def test_the_problem_names_the_policies_that_refuse() -> None:
    rows = [(9, 0.0, 5.0), (0, 30.2, 30.2)]
    denied = Decision(False, [(API, "a"), (AUTH, "a")], rows, 1, "redis", (), 0.0, Clock(0.0))
    status, body = headers.problem(denied)
    assert status == 429
    assert json.loads(body) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "Too many requests; try again in 31 s.",
        "violated-policies": ["auth"],
    }


def test_a_closed_policy_without_redis_is_reduced_capacity() -> None:
    denied = Decision(False, [(AUTH, "a")], (), 1, "closed", (), 0.0, Clock(0.0))
    status, body = headers.problem(denied)
    assert (status, json.loads(body)["violated-policies"]) == (503, ["auth"])
    assert json.loads(body)["type"].endswith("#temporary-reduced-capacity")
    assert fields(denied) == {"ratelimit-policy": '"auth";q=5;w=900', "retry-after": "1"}
