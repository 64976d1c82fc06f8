"""Patterns of paths."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.issues import globs


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/a.py", "x/src/a.py", False),
        ("a.py", "src/a.py", False),
        ("*.py", "a.py", True),
        ("*.py", "src/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "src/deep/a.py", True),
        ("src/**", "src/deep/a.py", True),
        ("src/**", "srcs/a.py", False),
        ("src/", "src/deep/a.py", True),
        ("src/", "src", True),
        ("src/**/test_?.py", "src/a/b/test_1.py", True),
        ("src/**/test_?.py", "src/test_12.py", False),
        ("**/a*b/c", "x/ab/d/axb/c", True),
        ("a*bc*d", "abxbcd", True),
        ("a+b/[x].py", "a+b/[x].py", True),
        ("**", "anything/at/all", True),
        ("a/**/**/b", "a/b", True),
    ],
)
def test_a_path_fits_a_pattern(pattern: str, path: str, fits: bool) -> None:  # noqa: FBT001 - a column
    assert globs.matcher(pattern)(path) is fits


@given(st.text("ab*?", max_size=8), st.text("ab", min_size=1, max_size=8))
def test_within_a_folder_it_is_the_shells_own_rule(pattern: str, name: str) -> None:
    if pattern == "**" or not pattern:
        return
    assert globs.matcher(pattern)(name) is fnmatch.fnmatchcase(name, pattern)


def test_a_pattern_made_to_take_long_does_not() -> None:
    started = time.process_time()
    pattern = "**/" * 60 + "*a" * 100 + "b"
    assert not globs.matcher(pattern)("/".join(["a" * 250] * 15))
    # The exponential way would take longer than the sun will shine.
    assert time.process_time() - started < 10
