"""The product's own schema, held against the rules without any allowance for small tables."""

from __future__ import annotations

from insight_cloud import tuning

STRICT = tuning.Thresholds(foreign_key_rows=0, index_bytes=0)
STRUCTURAL = {"foreign_key.unindexed", "index.duplicate", "index.invalid", "constraint.unvalidated"}


async def test_every_foreign_key_has_its_index_and_no_index_is_there_twice(
    migrated_url: str,
) -> None:
    facts = await tuning.read(migrated_url)
    found = [one for one in tuning.findings(facts, STRICT) if one.kind in STRUCTURAL]
    assert len(facts.foreign_keys) > 30
    assert [(one.kind, one.target) for one in found] == []
