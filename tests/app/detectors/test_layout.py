"""Under which names files could be imported."""

from __future__ import annotations

from insight_cloud.app.detectors.layout import Package, packages


def read(*names: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(each.source, each.name): dict(each.modules) for each in packages(names)}


def test_a_package_at_the_root() -> None:
    assert packages(["p/__init__.py", "p/a.py"]) == [
        Package(".", "p", (("p", "p/__init__.py"), ("p.a", "p/a.py")))
    ]


def test_a_package_below_src() -> None:
    assert read("src/p/__init__.py", "src/p/a.py") == {
        ("src", "p"): {"p": "src/p/__init__.py", "p.a": "src/p/a.py"}
    }


def test_packages_of_several_projects() -> None:
    found = read("one/setup.py", "one/p/__init__.py", "two/pyproject.toml", "two/src/p/__init__.py")
    assert found["one", "p"] == {"p": "one/p/__init__.py"}
    assert found["two/src", "p"] == {"p": "two/src/p/__init__.py"}


def test_a_namespace_package_has_both_names() -> None:
    found = read("src/company/product/__init__.py", "src/company/product/a.py")
    assert found["src", "company"]["company.product.a"] == "src/company/product/a.py"
    assert found["src/company", "product"]["product.a"] == "src/company/product/a.py"


def test_a_directory_without_init_is_a_package_of_its_project() -> None:
    assert read("app/a.py")[".", "app"] == {"app.a": "app/a.py"}


def test_neighbours_of_a_script_are_modules() -> None:
    assert read("bin/run.py", "bin/shared.py")["bin", "shared"] == {"shared": "bin/shared.py"}


def test_names_that_cannot_be_imported_are_none() -> None:
    assert read("p/__init__.py", "p/not-this.py", "p/x.y.py", "notes.txt") == {
        (".", "p"): {"p": "p/__init__.py"}
    }
