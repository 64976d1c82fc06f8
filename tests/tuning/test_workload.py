from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Invalid
from insight_cloud.tuning import workload

LOG = """\
2026-11-25 15:00:00.000 UTC [7] app@shop LOG:  duration: 12.500 ms  statement: select * from t
\twhere a = 1 and b = 'x; y'
2026-11-25 15:00:01.000 UTC [7] app@shop LOG:  duration: 2.5 ms  execute <unnamed>: select $1, $2
2026-11-25 15:00:01.000 UTC [7] app@shop DETAIL:  parameters: $1 = 'it''s', $2 = NULL
2026-11-25 15:00:02.000 UTC [7] app@shop LOG:  duration: 7.5 ms  statement: select * from t where a = 2 and b = 'z'
2026-11-25 15:00:03.000 UTC [7] app@shop LOG:  duration: 99 ms  statement: vacuum t
2026-11-25 15:00:04.000 UTC [7] app@shop ERROR:  relation "u" does not exist
"""  # noqa: E501 - lines of a log are as long as they are


def test_a_log_gives_kinds_of_statements_with_their_time_and_values() -> None:
    first, second = workload.from_log(LOG.splitlines(keepends=True))
    assert (first.calls, first.total_ms) == (2, 20.0)
    assert first.text == "select * from t where a = ? and b = ?"
    assert first.samples[0] == "select * from t\n\twhere a = 1 and b = 'x; y'"
    assert second.samples == ("select 'it''s', NULL",)


def test_a_file_of_sql_may_say_how_often_and_how_long() -> None:
    found = workload.from_sql(
        "-- calls: 40\n-- ms: 2.5\nselect 1 from t where s = 'a;b'; -- more\nselect 2;\n"
    )
    assert [(one.calls, one.total_ms) for one in found] == [(40, 100.0), (1, 0)]
    assert found[0].samples == ("select 1 from t where s = 'a;b'",)


def test_a_body_in_dollars_is_not_cut_at_its_semicolons() -> None:
    (found,) = workload.from_sql("select $x$ a; b $x$")
    assert "a; b" in found.samples[0]


def test_a_file_without_a_statement_is_told() -> None:
    with pytest.raises(Invalid, match="no statement"):
        workload.from_sql("vacuum; -- nothing")


def test_our_recorders_figures_are_read_in_seconds() -> None:
    (found,) = workload.from_json(
        b'[{"text": "select 1 from t where a = $1", "calls": 3, "total_seconds": 0.6}]'
    )
    assert found.calls == 3
    assert found.mean_ms == pytest.approx(200)


@pytest.mark.parametrize("data", [b"{}", b"[{}]", b"x", b'[{"text": 1, "calls": 2}]'])
def test_other_json_is_told(data: bytes) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        workload.from_json(data)


def test_the_same_kind_from_two_sources_counts_once_and_keeps_the_samples() -> None:
    known = workload.from_json(b'[{"text": "select 1 from t where a = $1", "calls": 9}]')
    logged = workload.from_sql("select 1 from t where a = 77;")
    (found,) = workload.merged(known, logged)
    assert found.samples == ("select 1 from t where a = 77",)


@given(st.integers(), st.text(alphabet="ab c'", max_size=10))
def test_a_fingerprint_does_not_depend_on_values(number: int, text: str) -> None:
    quoted = text.replace("'", "''")
    statement = f"select * from t where a = {abs(number)} and b = '{quoted}'"
    assert workload.fingerprint(statement) == "select * from t where a = ? and b = ?"
