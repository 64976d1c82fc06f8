"""What is wrong with a database: from facts to findings. Pure.

Each rule states what makes it quiet as carefully as what makes it speak: advice that is wrong
once is not followed again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

from insight_cloud.core.plan import Change
from insight_cloud.tuning import formulas
from insight_cloud.tuning.facts import Facts, ForeignKey, Index, Statement, Table, quoted
from insight_cloud.tuning.finding import Finding
from insight_cloud.tuning.thresholds import Thresholds

__all__ = ["KINDS", "concurrently", "findings", "index_name", "unseen_kinds"]

_ROWS_THAT_MATTER = 1000
_BYTES_THAT_MATTER = 64 * 8192
_PAGES_WORTH_VACUUM = 1000
_ENOUGH_BLOCKS = 1_000_000
_MOST_STATEMENTS = 20
_NOT_NULL = re.compile(r'^\(?"?([^"]+?)"? IS NOT NULL\)?$')


def findings(facts: Facts, thresholds: Thresholds) -> list[Finding]:
    """Judge `facts`; what was not seen gives no finding."""
    return [found for rule in _RULES for found in rule(facts, thresholds)]


def unseen_kinds(facts: Facts, thresholds: Thresholds) -> dict[str, str]:
    """The kinds of findings that could not be looked for, and why."""
    unseen = dict(facts.unseen)
    days = facts.server.counted_days
    if days < thresholds.unused_days:
        unseen["use"] = (
            f"use has been counted for {days:.1f} days, and {thresholds.unused_days:g} are needed"
        )
    if thresholds.memory_bytes is None:
        unseen["memory"] = "the machine's memory is not known: set performance.memory_bytes"
    return {
        kind: unseen[area] for area, kinds in _NEEDS.items() if area in unseen for kind in kinds
    }


# -- indexes -------------------------------------------------------------------------------


def _foreign_keys(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for key in facts.foreign_keys:
        table = facts.table(key.table)
        if table.size < thresholds.foreign_key_rows or _supported(facts, key):
            continue
        name = index_name(facts, table, key.column_names)
        columns = ", ".join(quoted(column) for column in key.column_names)
        made = f"create index concurrently {quoted(name)} on {table.title} ({columns})"
        change = Change(
            "create",
            quoted(table.schema, name),
            before=f"drop index concurrently {quoted(table.schema, name)}",
            after=made,
            reason=f"foreign key {key.name} has no index",
        )
        yield Finding(
            "foreign_key.unindexed",
            f"{table.title}.{key.name}",
            f"a change in {key.references} reads all {table.size:,.0f} rows of {table.title}",
            evidence={
                "columns": tuple(quoted(column) for column in key.column_names),
                "rows": table.size,
                "changes_of_referenced": key.referenced_changes,
            },
            changes=(change,),
        )


def _supported(facts: Facts, key: ForeignKey) -> bool:
    return any(
        index.valid and index.table == key.table and _supports(index, key)
        for index in facts.indexes
    )


def _supports(index: Index, key: ForeignKey) -> bool:
    """Whether a look-up by the key's columns can use `index`, whatever their order."""
    if index.method not in {"btree", "hash"}:
        return False
    if set(index.columns[: len(key.columns)]) != set(key.columns):
        return False
    if not index.predicate:
        return True
    # The look-up is for values, so an index without the nulls is enough.
    parts = (_NOT_NULL.match(part.strip(" ()")) for part in index.predicate.split(" AND "))
    return all(part is not None and part[1] in key.column_names for part in parts)


def _duplicates(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    dropped: set[int] = set()
    for index in facts.indexes:
        if index.bytes < thresholds.index_bytes:
            continue
        if index.primary or index.constraint or index.identity or not index.valid:
            continue
        better = next(
            (o for o in facts.indexes if _covers(o, index) and o.oid not in dropped), None
        )
        if better is None or index.partitioned:
            continue
        dropped.add(index.oid)
        same = "the same as" if better.keys == index.keys else "the beginning of"
        yield Finding(
            "index.duplicate",
            index.title,
            f"is {same} {better.title}: {_size(index.bytes)} and every write for nothing",
            evidence={"covered_by": better.title, "bytes": index.bytes, "scans": index.scans},
            changes=(_drop(index, f"{better.title} does the same"),),
        )


def _covers(other: Index, index: Index) -> bool:
    """Whether every use of `index` is one of `other`'s too."""
    return (
        other.oid != index.oid
        and other.valid
        and (other.table, other.method, other.predicate)
        == (index.table, index.method, index.predicate)
        and other.keys[: len(index.keys)] == index.keys
        and set(index.included) <= {*other.included, *other.columns}
        and (_forbids_as_much(other, index) if index.unique else _answers_as_much(other, index))
        and other.bytes <= 4 * max(index.bytes, 1)  # else the narrow one pays for itself
        and not _comes_first(index, other)
    )


def _forbids_as_much(other: Index, index: Index) -> bool:
    alike = other.definition.partition(" USING ")[2] == index.definition.partition(" USING ")[2]
    return other.unique and other.keys == index.keys and (other.primary or alike)


def _answers_as_much(other: Index, index: Index) -> bool:
    """Only a b-tree answers for its first columns alone."""
    return other.keys == index.keys or index.method == "btree"


def _comes_first(index: Index, other: Index) -> bool:
    """Of two that are equal in everything, the first made stays."""
    equal = other.keys == index.keys and set(other.included) == set(index.included)
    weaker = (other.unique, bool(other.constraint)) <= (index.unique, bool(index.constraint))
    return equal and weaker and other.oid > index.oid


def _unused(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    server = facts.server
    if server.counted_days < thresholds.unused_days:
        return
    duplicate = {found.target for found in _duplicates(facts, thresholds)}
    for index in facts.indexes:
        if index.scans or index.bytes < thresholds.index_bytes or not index.valid:
            continue
        if index.unique or index.constraint or index.identity or index.partitioned:
            continue
        if not facts.table(index.table).scans or index.title in duplicate:
            continue  # a table that nobody reads says nothing about its indexes
        if any(_supports(index, k) for k in facts.foreign_keys if k.table == index.table):
            continue
        doubt = _doubt(facts, index)
        yield Finding(
            "index.unused",
            index.title,
            f"not used once in {server.counted_days:.0f} days: {_size(index.bytes)}" + doubt,
            evidence={"bytes": index.bytes, "days": round(server.counted_days, 1)},
            changes=() if doubt else (_drop(index, "nobody uses it"),),
            remedy=f"drop it when you are sure: {_drop_statement(index)}" if doubt else "",
        )


def _doubt(facts: Facts, index: Index) -> str:
    if facts.server.replicas or facts.server.in_recovery:
        return "; other servers of this cluster count by themselves: ask them too"
    if 0 in index.columns:
        return "; the planner may use what it knows of the expression"
    return ""


def _invalid(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:  # noqa: ARG001 - a rule's signature
    for index in facts.indexes:
        if index.valid or index.building or index.partitioned:
            continue
        drop = Change("delete", index.title, after=_drop_statement(index), reason="it is invalid")
        # REINDEX CONCURRENTLY leaves these behind; the index they are of is still there.
        leftover = re.search(r"_cc(new|old)\d*$", index.name) is not None
        again = Change(
            "create",
            index.title,
            before=_drop_statement(index),
            after=concurrently(index.definition),
            reason="its building was interrupted",
        )
        yield Finding(
            "index.invalid",
            index.title,
            "its building was interrupted: it is written to and never used",
            "fail",
            evidence={"bytes": index.bytes, "definition": index.definition},
            changes=(drop,) if leftover else (drop, again),
        )


def _bloated_indexes(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    doomed = {found.target for found in _duplicates(facts, thresholds)}
    for index in facts.indexes:
        if index.wanted_bytes is None or not index.valid or index.partitioned:
            continue
        empty = index.bytes - index.wanted_bytes
        if not _bloated(index.bytes, empty, thresholds) or index.title in doomed:
            continue
        statement = f"reindex index concurrently {index.title}"
        yield Finding(
            "index.bloated",
            index.title,
            f"about {_size(empty)} of {_size(index.bytes)} are empty",
            evidence={"bytes": index.bytes, "wanted_bytes": round(index.wanted_bytes)},
            changes=(
                Change("run", index.title, after=statement, reason=f"{_size(empty)} are empty"),
            ),
        )


# -- tables --------------------------------------------------------------------------------


def _bloated_tables(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for table in facts.tables:
        if table.wanted_bytes is None or table.rows < 0:
            continue
        heap = table.pages * 8192
        empty = heap - table.wanted_bytes
        # Dead rows come first: until they are vacuumed nobody knows what is empty.
        if _bloated(heap, empty, thresholds) and not _many_dead(table, thresholds):
            yield Finding(
                "table.bloated",
                table.title,
                f"about {_size(empty)} of {_size(heap)} are empty",
                evidence={"bytes": heap, "wanted_bytes": round(table.wanted_bytes)},
                remedy="pg_repack, or VACUUM FULL, which locks the table for as long as it takes",
            )


def _bloated(size: float, empty: float, thresholds: Thresholds) -> bool:
    return empty >= thresholds.bloat_bytes and empty * 100 >= thresholds.bloat_percent * size


def _dead_rows(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for table in facts.tables:
        if not _many_dead(table, thresholds):
            continue
        share = table.dead / (table.live + table.dead)
        yield Finding(
            "table.dead_rows",
            table.title,
            f"{table.dead:,} dead rows, {share:.0%} of all",
            evidence={"dead": table.dead, "live": table.live, "vacuumed": table.vacuumed},
            changes=(_vacuum(table, f"{share:.0%} of its rows are dead"),),
        )


def _many_dead(table: Table, thresholds: Thresholds) -> bool:
    share = table.dead * 100 / max(1, table.live + table.dead)
    return table.dead >= thresholds.dead_rows and share >= thresholds.dead_percent


def _analyzed(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for table in facts.tables:
        large = table.live >= _ROWS_THAT_MATTER or table.bytes >= _BYTES_THAT_MATTER
        if large and (table.rows < 0 or table.has_statistics is False):
            yield Finding(
                "table.never_analyzed",
                table.title,
                "was never analysed: the planner guesses",
                evidence={"rows": table.live, "bytes": table.bytes},
                changes=(_vacuum(table, "the planner knows nothing of it"),),
            )
        elif table.modified >= thresholds.dead_rows and table.modified > table.size / 2:
            yield Finding(
                "table.stale_statistics",
                table.title,
                f"{table.modified:,} of {table.size:,.0f} rows changed since it was analysed",
                evidence={"modified": table.modified, "rows": table.size},
                changes=(
                    Change(
                        "run",
                        table.title,
                        after=f"analyze {table.title}",
                        reason="most of it has changed",
                    ),
                ),
            )


def _vacuumed(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:  # noqa: ARG001 - a rule's signature
    for table in facts.tables:
        never = not table.vacuumed and not table.visible_pages
        if table.rows >= 0 and table.pages >= _PAGES_WORTH_VACUUM and never:
            yield Finding(
                "table.never_vacuumed",
                table.title,
                "was never vacuumed: no scan can do with an index alone",
                evidence={"pages": table.pages},
                changes=(_vacuum(table, "it was never vacuumed"),),
            )


def _constraints(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:  # noqa: ARG001 - a rule's signature
    for constraint in facts.constraints:
        table = facts.table(constraint.table)
        statement = f"alter table {table.title} validate constraint {quoted(constraint.name)}"
        reason = "old rows were not checked"
        yield Finding(
            "constraint.unvalidated",
            f"{table.title}.{constraint.name}",
            "holds for new rows only: old ones were never checked",
            changes=(
                Change("run", f"{table.title}.{constraint.name}", after=statement, reason=reason),
            ),
        )


def _sequences(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for sequence in facts.sequences:
        if sequence.used * 100 < thresholds.sequence_percent:
            continue
        where = f" of {sequence.column}" if sequence.column else ""
        yield Finding(
            "sequence.exhausted",
            sequence.title,
            f"{sequence.used:.0%} of the numbers{where} are gone: inserts fail at the end",
            "fail" if sequence.used > 0.9 else "warn",
            evidence={"last": sequence.last, "highest": sequence.highest},
            remedy="make the column bigint, with its sequence and the columns that refer to it",
        )


# -- the whole -----------------------------------------------------------------------------


def _wraparound(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    server = facts.server
    ages = (("transactions", server.transaction_age), ("multixacts", server.multixact_age))
    for what, age in ages:
        if age >= thresholds.wraparound_transactions:
            oldest = max(facts.tables, key=lambda table: table.frozen_age, default=None)
            name = oldest.title if oldest else "a system table"
            yield Finding(
                "database.wraparound",
                server.database,
                f"{age:,} {what} old: PostgreSQL stops taking writes at two billion",
                "fail",
                evidence={what: age, "oldest_table": name},
                remedy=f"vacuum (freeze, verbose) {name}; end old transactions and slots first",
            )


def _hit_rate(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    server = facts.server
    asked = server.blocks_hit + server.blocks_read
    wanted = thresholds.database_hit_percent / 100 * asked
    if asked >= _ENOUGH_BLOCKS and server.blocks_hit < wanted:
        yield Finding(
            "database.hit_rate",
            server.database,
            f"{server.blocks_hit / asked:.1%} of the pages were in PostgreSQL's memory",
            evidence={"hit": server.blocks_hit, "read": server.blocks_read},
            remedy="more shared_buffers, or indexes for the statements that read most",
        )


def _sessions(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for one in facts.sessions:
        who = f"{one.application or one.user or 'a session'} (process {one.pid})"
        idle = one.state.startswith("idle in transaction")
        if idle and one.seconds >= thresholds.idle_transaction_seconds:
            yield Finding(
                "session.idle_in_transaction",
                who,
                f"has done nothing for {one.seconds:.0f} s in an open transaction",
                evidence={"pid": one.pid, "user": one.user, "query": one.query[:200]},
                remedy=f"select pg_terminate_backend({one.pid}); then"
                " set idle_in_transaction_session_timeout",
            )
        if one.blocked_by and one.seconds >= thresholds.lock_wait_seconds:
            blockers = ", ".join(map(str, one.blocked_by))
            yield Finding(
                "session.blocked",
                who,
                f"has waited {one.seconds:.0f} s for a lock of process {blockers}",
                "fail",
                evidence={"pid": one.pid, "blocked_by": one.blocked_by, "query": one.query[:200]},
                remedy=f"look at process {blockers} in `insight tune top`",
            )


def _slots(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    for slot in facts.slots:
        if not slot.active and slot.retained_bytes >= thresholds.slot_bytes:
            yield Finding(
                "slot.inactive",
                slot.name,
                f"nobody reads it, and it keeps {_size(slot.retained_bytes)} of the log",
                "fail",
                evidence={"retained_bytes": slot.retained_bytes},
                # A slot's name is of small letters, digits and underscores.
                remedy="if its reader is gone for good:"
                f" select pg_drop_replication_slot('{slot.name}')",
            )


def _statements(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    slow = [s for s in facts.statements or () if _is_slow(s, thresholds)]
    for statement in sorted(slow, key=lambda s: -s.total_ms)[:_MOST_STATEMENTS]:
        yield Finding(
            "statement.slow",
            " ".join(statement.text.split())[:120],
            f"{statement.mean_ms:,.0f} ms on average, {statement.calls:,} calls",
            "fail" if statement.mean_ms >= thresholds.query_slow_ms else "warn",
            evidence={
                "text": statement.text[:4000],
                "calls": statement.calls,
                "mean_ms": round(statement.mean_ms, 2),
                "total_ms": round(statement.total_ms, 1),
            },
            remedy="see the indexes that are advised",
        )


def _is_slow(statement: Statement, thresholds: Thresholds) -> bool:
    return (
        statement.calls >= thresholds.query_calls and statement.mean_ms >= thresholds.query_mean_ms
    )


def _settings(facts: Facts, thresholds: Thresholds) -> Iterator[Finding]:
    yield from formulas.unsafe(facts.server.settings)
    if thresholds.memory_bytes is not None:
        yield from formulas.memory(facts.server.settings, thresholds.memory_bytes)


# -- statements that mend -------------------------------------------------------------------


def concurrently(definition: str) -> str:
    """The same `CREATE INDEX` of the server's own, without locking writers out."""
    return re.sub(r"^CREATE (UNIQUE )?INDEX ", r"CREATE \1INDEX CONCURRENTLY ", definition, count=1)


def index_name(facts: Facts, table: Table, parts: tuple[str, ...]) -> str:
    """A name for a new index that says what is in it and is not taken."""
    words = re.sub(r"\W+", "_", "_".join((table.name, *parts)).lower()).strip("_")
    taken = {index.name for index in facts.indexes if index.schema == table.schema}
    name = f"{words}_idx"
    if name in taken or len(name.encode()) > 63:
        digest = hashlib.blake2b(repr((table.name, parts)).encode(), digest_size=4).hexdigest()
        name = f"{words[:50]}_{digest}"
    return name


def _drop(index: Index, reason: str) -> Change:
    before = concurrently(index.definition)
    return Change("delete", index.title, before, _drop_statement(index), reason)


def _drop_statement(index: Index) -> str:
    return f"drop index concurrently if exists {index.title}"


def _vacuum(table: Table, reason: str) -> Change:
    return Change("run", table.title, after=f"vacuum (analyze) {table.title}", reason=reason)


def _size(count: float) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


_RULES: tuple[Callable[[Facts, Thresholds], Iterator[Finding]], ...] = (
    _invalid,
    _foreign_keys,
    _duplicates,
    _unused,
    _bloated_indexes,
    _bloated_tables,
    _dead_rows,
    _analyzed,
    _vacuumed,
    _constraints,
    _sequences,
    _wraparound,
    _hit_rate,
    _sessions,
    _slots,
    _statements,
    _settings,
)

KINDS = (
    "index.invalid",
    "index.missing",
    "foreign_key.unindexed",
    "index.duplicate",
    "index.unused",
    "index.bloated",
    "table.bloated",
    "table.dead_rows",
    "table.never_analyzed",
    "table.stale_statistics",
    "table.never_vacuumed",
    "constraint.unvalidated",
    "sequence.exhausted",
    "database.wraparound",
    "database.hit_rate",
    "session.idle_in_transaction",
    "session.blocked",
    "slot.inactive",
    "statement.slow",
    "setting.unsafe",
    "setting.memory",
)
"""Every kind of finding, in the order of a report."""

_NEEDS = {
    "columns": ("index.bloated", "table.bloated"),
    "sequences": ("sequence.exhausted",),
    "sessions": ("session.idle_in_transaction", "session.blocked"),
    "statements": ("statement.slow",),
    "memory": ("setting.memory",),
    "use": ("index.unused",),
}
