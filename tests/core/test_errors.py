"""The error tree: every error has its place, its exit status and its HTTP status."""

import inspect

import pytest

from insight_cloud.core import errors


def every_error() -> list[type[errors.InsightError]]:
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.InsightError) and value is not errors.InsightError
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_the_tree_in_the_docstring_tells_the_statuses(error: type[errors.InsightError]) -> None:
    assert errors.__doc__ is not None
    line = next(row for row in errors.__doc__.splitlines() if f"─ {error.__name__} " in row)
    assert f"exit {error.exit_status} " in line
    assert line.endswith(f"HTTP {error.http_status}")
    assert error.__name__ in errors.__all__


def test_the_seven_exit_statuses_are_the_documented_ones() -> None:
    assert {error.exit_status for error in every_error()} == {2, 3, 4, 5, 6, 7}


def test_an_invalid_input_names_its_places() -> None:
    error = errors.Invalid("wrong", problems=(("/a", "no"),))
    assert (str(error), error.problems) == ("wrong", (("/a", "no"),))


def test_a_limit_says_when_to_come_back() -> None:
    assert errors.RateLimited("later", retry_after=3).retry_after == 3
    assert errors.Unavailable("later").retry_after == 1
