"""Packages that are cheap to import until something of theirs is used."""

import subprocess
import sys

import pytest

from insight_cloud import backup, cache, cdn, database, headers, images, notify, ratelimit, tls
from insight_cloud.core import later

_HEAVY = ("redis", "httpx", "psycopg", "fastapi")


def test_reading_the_settings_imports_no_library_of_a_component() -> None:
    code = (
        "import sys; from insight_cloud import settings; settings.load(environment={});"
        f"print(*[name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "package", [backup, cache, cdn, database, headers, images, notify, ratelimit, tls]
)
def test_every_name_that_is_offered_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None


def test_a_name_that_would_be_hidden_by_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="plan is a module"):
        later.names("shop", {"plan": "plan apply"})


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Memcached'"):
        cache.Memcached  # noqa: B018 - the look-up is the test
