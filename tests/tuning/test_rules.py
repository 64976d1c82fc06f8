from __future__ import annotations

from insight_cloud import tuning
from tests.tuning.planted import FAULTS, THRESHOLDS

OURS = {kind for kind, _ in FAULTS}


async def test_every_planted_fault_is_found_and_no_decoy(planted_url: str) -> None:
    facts = await tuning.read(planted_url)
    found = {
        (one.kind, one.target)
        for one in tuning.findings(facts, THRESHOLDS)
        if not one.kind.startswith("setting.")  # the server's, which the tests share
    }
    assert found == FAULTS
