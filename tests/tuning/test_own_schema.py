"""The product's own schema, held against the rules without any allowance for small tables."""

from __future__ import annotations

from insight_cloud import tuning

STRICT = tuning.Thresholds(foreign_key_rows=0, index_bytes=0)
KNOWN = {("foreign_key.unindexed", "public.issues.issues_branch_id_fkey")}
"""A fault that is known: two partial indexes, on open and on fixed issues, serve what names the
state. Removing a branch does not name it, and reads the whole table."""
STRUCTURAL = {"foreign_key.unindexed", "index.duplicate", "index.invalid", "constraint.unvalidated"}


async def test_every_foreign_key_has_its_index_and_no_index_is_there_twice(
    migrated_url: str,
) -> None:
    facts = await tuning.read(migrated_url)
    found = [one for one in tuning.findings(facts, STRICT) if one.kind in STRUCTURAL]
    assert len(facts.foreign_keys) > 30
    assert {(one.kind, one.target) for one in found} == KNOWN
