"""What a Python project says that it needs."""

from __future__ import annotations

import pytest

from insight_cloud.app.detectors import declared

PROJECT = """\
[project]
name = "leftover"
dependencies = [
    "PyYAML>=6",  # requests
    "requests[socks]>2; python_version > '3'",
]
[project.optional-dependencies]
fast = ["uvloop"]
tests = ["pytest"]
[dependency-groups]
dev = ["ruff", {include-group = "docs"}]
"""


def test_a_project_names_what_it_runs_with_and_what_its_developers_need() -> None:
    needs = declared.of_project(PROJECT)
    assert needs is not None
    assert needs.runs == ("PyYAML", "requests", "uvloop")
    assert set(needs.develops) == {"pytest", "ruff"}
    assert dict(needs.lines)["PyYAML"] == 4
    assert needs.whole


def test_poetry_is_understood() -> None:
    text = (
        '[tool.poetry.dependencies]\npython = "^3.11"\nflask = "*"\n'
        '[tool.poetry.group.x.dependencies]\nmypy = "1"\n'
    )
    needs = declared.of_project(text)
    assert needs is not None
    assert (needs.runs, needs.develops) == (("flask",), ("mypy",))


@pytest.mark.parametrize("text", ["[tool.ruff]\n", "= broken", "project = 3\n", "[" * 5000])
def test_a_file_that_speaks_of_no_packages_is_no_project(text: str) -> None:
    assert declared.of_project(text) is None


def test_values_of_another_kind_than_agreed_are_passed_over() -> None:
    text = '[project]\ndependencies = [1, {a = 2}, "x"]\noptional-dependencies = 3\n'
    needs = declared.of_project(text)
    assert needs is not None
    assert needs.runs == ("x",)


def test_a_requirements_file_is_read_line_by_line_and_includes_are_not_followed() -> None:
    text = "# a\n-r other.txt\n--hash=sha256:1\nclick==8 # b\n-e git+https://h/x#egg=thing\n.\n"
    needs = declared.of_requirements(text)
    assert needs.runs == ("click", "thing")
    assert dict(needs.lines) == {"click": 4, "thing": 5}
    assert not needs.compiled
    assert declared.of_requirements("click==8\n    # via flask\n").compiled


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("PyYAML", "yaml"),
        ("python-dateutil", "dateutil"),
        ("google-cloud-storage", "google"),
        ("Flask-SQLAlchemy", "flask_sqlalchemy"),
        ("Pillow", "PIL"),
    ],
)
def test_a_package_is_known_by_the_names_it_is_imported_under(package: str, module: str) -> None:
    assert module in declared.modules(package)
