"""Where things stand in a TOML file."""

from __future__ import annotations

from insight_cloud.edge.source import lines_of, locate

TEXT = """\
[zone]
name = "a.b"

[[rules]]
name = "one"
when = '''
[not.a.table]
key = "neither"
'''

[[rules]]
"quoted key" = 1
[rules.inner]
deep.er = 2
[tls.hsts] # a comment
since = 2026-11-25
"""


def test_keys_tables_and_repeated_tables_have_their_lines() -> None:
    lines = lines_of(TEXT)
    assert lines[("zone", "name")] == 2
    assert lines[("rules", 0)] == 4
    assert lines[("rules", 0, "when")] == 6
    assert lines[("rules", 1, "quoted key")] == 12
    assert lines[("rules", 1, "inner", "deep", "er")] == 14
    assert lines[("tls", "hsts", "since")] == 16
    assert ("not", "a", "table") not in lines
    assert ("rules", 0, "key") not in lines


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    lines = lines_of(TEXT)
    assert locate(lines, ("zone", "plan")) == 1
    assert locate(lines, ("rules", 0, "action")) == 4
    assert locate(lines, ("nothing", "at", "all")) == 1
