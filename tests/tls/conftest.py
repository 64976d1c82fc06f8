"""One real authority for the tests of this package; each test finds its front well-behaved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tls.pebble import Front, Pebble, pebble


@pytest.fixture(scope="session")
def _pebble() -> Iterator[Pebble]:
    with pebble() as running:
        yield running


@pytest.fixture
def acme(_pebble: Pebble) -> Pebble:
    fresh = Front()
    for name in ("fault", "renewal", "ask_again", "orders", "asked"):
        setattr(_pebble.front, name, getattr(fresh, name))
    return _pebble
