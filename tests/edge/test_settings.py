"""A web process reads the settings of the edge and loads nothing else of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import insight_cloud.edge
from insight_cloud import settings, wiring

_LOADED = """
import sys
import insight_cloud.edge.settings, insight_cloud.wiring
parts = ("insight_cloud.edge", "re2")
print(*sorted(name for name in sys.modules if name.startswith(parts)))
"""


def test_the_settings_and_the_wiring_load_nothing_else_of_the_edge() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["insight_cloud.edge", "insight_cloud.edge.settings"]


def test_every_public_name_is_there() -> None:
    for name in insight_cloud.edge.__all__:
        assert getattr(insight_cloud.edge, name) is not None
    with pytest.raises(AttributeError, match="has no nothing"):
        _ = insight_cloud.edge.nothing


def test_the_well_known_names_are_read_and_the_token_is_never_shown() -> None:
    found = settings.load(
        environment={"CLOUDFLARE_API_TOKEN": "secret-token", "CLOUDFLARE_ZONE_ID": "0" * 32}
    )
    assert found.edge.zone_id == "0" * 32
    assert "secret-token" not in repr(found)


def test_the_tiers_are_those_of_the_application() -> None:
    tiers = {tier.name: tier for tier in wiring.edge_tiers(settings.Settings())}
    assert (tiers["api"].limit, tiers["api"].window_seconds) == (100, 900)
    assert set(tiers) == {"api", "auth", "strict", "analysis"}
