"""Which finding of today is which of yesterday: pure, no clock, no I/O.

Lines move, files move, code is edited; the issue should stay the same. Findings are paired
one to one in tiers, each on what the earlier ones left, the surest first (`TIERS`). Within a
tier, equal keys are told apart by position: pairs that are certain show how far the lines
around them have moved, and the doubtful ones are paired where they should stand now.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from insight_cloud.app.sarif.fingerprint import GITHUB
from insight_cloud.app.sarif.model import Finding

__all__ = ["TIERS", "Key", "Match", "file_name", "keys", "match"]

TIERS = (
    "same",
    "fingerprint",
    "context",
    "line text",
    "moved file",
    "renamed file",
    "fingerprint in file",
    "message",
    "same line",
    "moved message",
)
"""By what a pair was made, in the order in which it is tried.

- `same`: nothing changed in the whole file.
- `fingerprint`: the rule and the tool's own fingerprint, unique before and now.
- `context`: rule, path, and the line with its neighbours; `line text`: with the line alone.
- `moved file`: rule, file name and context; `renamed file`: rule and context.
- `fingerprint in file`, `message`: rule, path and message: the line was edited.
- `same line`, `moved message`: rule, path and line; rule, file name and message. Only where
  a side has no hashes of the code, because hashes that differ say more.
"""

_LARGEST_ALIGNMENT = 40_000
"""Cells of the table that pairs doubtful findings; beyond, their order has to do."""

_MEASURE = re.compile(r"(?<![\w`'\"])\d+(?![\w`'\"])")
"""A number that counts or points, such as `complexity of 22` or `adapters.py:613`. It changes
while the issue stays. A quoted one is part of the code and is kept."""


class Key(msgspec.Struct, frozen=True, gc=False):
    """What a finding is known by. Both sides of a `match` must be made alike.

    `rule` is whatever names it in the project (a code or an id). `path` is None for the project
    itself. `tool`, `context`, `own_line` and `message` are 64-bit keys as `keys` makes them;
    None where the log has no such thing.
    """

    rule: int | str
    path: str | None
    line: int | None
    tool: int | None
    context: int | None
    own_line: int | None
    message: int


class Match(msgspec.Struct, frozen=True):
    """Pairs of positions (known, found), the tier of each, and what remained on both sides."""

    pairs: list[tuple[int, int]]
    tiers: list[str]
    unmatched_known: list[int]
    unmatched_found: list[int]


def keys(findings: Iterable[Finding], *, hash_key: bytes) -> list[Key]:
    """The keys of `findings`, in order; `rule` is the rule's code.

    Hashes are keyed by the project (`hash_key`, 1 to 64 bytes), so that a leaked table does
    not reveal short lines. They fit PostgreSQL's bigint.
    """
    hashed = _Hasher(hash_key)
    return [_key(finding, hashed) for finding in findings]


def match(known: Sequence[Key], found: Sequence[Key]) -> Match:
    """Pair the findings of one tool on one branch, `known` before and `found` now, one to one.

    The same input gives the same answer, and the order of the input does not matter but among
    findings that are equal in every key.
    """
    pairing = _Pairing(known, found)
    pairing.pair_untouched_files()
    if pairing.unfinished:
        pairing.pair_in_tiers()
    return pairing.result()


def file_name(path: str | None) -> str | None:
    """The last part of a path: what stays when a file moves."""
    return path.rpartition("/")[2] if path is not None else None


# -- keys


class _Hasher:
    """64 bits of keyed BLAKE2b; texts repeat, so each is hashed once."""

    def __init__(self, hash_key: bytes) -> None:
        self._start = blake2b(digest_size=8, key=hash_key)
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        value = self._known.get(text)
        if value is None:
            state = self._start.copy()
            state.update(text.encode(errors="surrogatepass"))
            value = self._known[text] = int.from_bytes(state.digest(), "big", signed=True)
        return value


def _key(finding: Finding, hashed: _Hasher) -> Key:
    location = finding.location
    fingerprint = _own_fingerprint(finding) if finding.fingerprints else ""
    return Key(
        finding.rule,
        location.path if location is not None else None,
        location.line if location is not None else None,
        hashed(fingerprint) if fingerprint else None,
        hashed(finding.context_hash) if finding.context_hash else None,
        hashed(finding.line_hash) if finding.line_hash else None,
        hashed(_MEASURE.sub("0", finding.message)),
    )


def _own_fingerprint(finding: Finding) -> str:
    """The tool's fingerprint to go by, with its name.

    GitHub's hash numbers equal lines from the top, so that a copy inserted above takes the
    number of its original: it counts only where nothing better is there.
    """
    names = [name for name in finding.fingerprints if not name.startswith("primaryLocation")]
    if names:
        name = min(names)
    elif GITHUB in finding.fingerprints and not finding.context_hash:
        name = GITHUB
    else:
        return ""
    return f"{name}\0{finding.fingerprints[name]}"


# -- matching

_rule_and_tool = attrgetter("rule", "tool")
_rule_path_context = attrgetter("rule", "path", "context")
_rule_path_own_line = attrgetter("rule", "path", "own_line")
_rule_context = attrgetter("rule", "context")
_rule_path_message_tool = attrgetter("rule", "path", "message", "tool")
_rule_path_message = attrgetter("rule", "path", "message")
_rule_path_line = attrgetter("rule", "path", "line")


def _rule_name_context(key: Key) -> tuple[Any, ...]:
    return key.rule, file_name(key.path), key.context


def _rule_name_message(key: Key) -> tuple[Any, ...]:
    return key.rule, file_name(key.path), key.message


_NOTHING = 1 << 63
"""Stands for None in an order: larger than every 64-bit key."""


def _position(key: Key) -> tuple[Any, ...]:
    """Where equal findings stand in relation to each other, and then anything that differs."""
    return (
        key.path or "",
        0 if key.line is None else key.line,
        str(key.rule),
        key.message,
        _NOTHING if key.own_line is None else key.own_line,
        _NOTHING if key.context is None else key.context,
        _NOTHING if key.tool is None else key.tool,
    )


class _Pairing:
    """The work of one `match`: what is paired so far, and what is left on both sides."""

    def __init__(self, known: Sequence[Key], found: Sequence[Key]) -> None:
        self._known = known
        self._found = found
        self._pairs: list[tuple[int, int]] = []
        self._tiers: list[str] = []
        self._left_known: list[int] = list(range(len(known)))
        self._left_found: list[int] = list(range(len(found)))
        self._moves = _Moves()

    @property
    def unfinished(self) -> bool:
        return bool(self._left_known and self._left_found)

    def pair_untouched_files(self) -> None:
        """Settle at once every file whose findings are all as they were.

        A file with any difference goes through the tiers as a whole: in a row of equal lines
        the same line number may mean another line.
        """
        before = _by_path(self._known)
        after = _by_path(self._found)
        for path, was in before.items():
            now = after.get(path, [])
            if self._same(was, now) or (len(was) == len(now) and self._same_sorted(was, now)):
                self._pairs.extend(zip(was, now, strict=True))
        self._tiers = ["same"] * len(self._pairs)
        self._forget_paired()

    def _same(self, was: list[int], now: list[int]) -> bool:
        return [self._known[i] for i in was] == [self._found[i] for i in now]

    def _same_sorted(self, was: list[int], now: list[int]) -> bool:
        was.sort(key=lambda i: _position(self._known[i]))
        now.sort(key=lambda i: _position(self._found[i]))
        return self._same(was, now)

    def pair_in_tiers(self) -> None:
        """Pair what is left, the surest first."""
        self._pair_unique_fingerprints()
        self._tier("context", _rule_path_context)
        self._tier("line text", _rule_path_own_line)
        self._tier("moved file", _rule_name_context)
        self._tier("renamed file", _rule_context)
        self._tier("fingerprint in file", _rule_path_message_tool)
        self._tier("message", _rule_path_message)
        self._tier("same line", _rule_path_line, without_hashes=True)
        self._tier("moved message", _rule_name_message, without_hashes=True)

    def result(self) -> Match:
        return Match(self._pairs, self._tiers, self._left_known, self._left_found)

    def _pair_unique_fingerprints(self) -> None:
        """Unique among all findings: a tool that gives every finding the same must not harm."""
        if all(self._known[i].tool is None for i in self._left_known):
            return
        before = Counter(map(_rule_and_tool, self._known))
        after = Counter(map(_rule_and_tool, self._found))
        self._tier(
            "fingerprint",
            _rule_and_tool,
            only=lambda shared: before[shared] == 1 and after[shared] == 1,
        )

    def _tier(
        self,
        name: str,
        of: Callable[[Key], Any],
        *,
        only: Callable[[Any], bool] = lambda _: True,
        without_hashes: bool = False,
    ) -> None:
        """Pair what is left and equal by `of`. Keys with None in the last place do not count."""
        if not self.unfinished:
            return
        known_keys = [of(self._known[i]) for i in self._left_known]
        found_keys = [of(self._found[i]) for i in self._left_found]
        shared = set(known_keys).intersection(found_keys)
        shared = {key for key in shared if key[-1] is not None and only(key)}
        if not shared:
            return
        before = _grouped(self._left_known, known_keys, shared)
        after = _grouped(self._left_found, found_keys, shared)
        doubtful: list[Any] = []
        start = len(self._pairs)
        for key, was in before.items():
            now = after[key]
            if without_hashes and not self._lacks_hashes(was, now):
                continue
            if len(was) == len(now) == 1:
                self._pairs.append((was[0], now[0]))
            else:
                doubtful.append(key)
        self._moves.note(self._known, self._found, self._pairs[start:])
        certain = len(self._pairs)
        for was, now in self._in_position(before, after, doubtful):
            self._align(was, now)
        self._moves.note(self._known, self._found, self._pairs[certain:])
        self._tiers.extend([name] * (len(self._pairs) - start))
        self._forget_paired()

    def _lacks_hashes(self, was: list[int], now: list[int]) -> bool:
        return all(self._known[i].own_line is None for i in was) or all(
            self._found[i].own_line is None for i in now
        )

    def _in_position(
        self, before: dict[Any, list[int]], after: dict[Any, list[int]], doubtful: list[Any]
    ) -> list[tuple[list[int], list[int]]]:
        """The doubtful groups in the order of the code, each sorted by position."""
        groups = [
            (
                sorted(before[key], key=lambda i: _position(self._known[i])),
                sorted(after[key], key=lambda i: _position(self._found[i])),
            )
            for key in doubtful
        ]
        groups.sort(key=lambda group: _position(self._known[group[0][0]]))
        return groups

    def _forget_paired(self) -> None:
        paired_known = {was for was, _ in self._pairs}
        paired_found = {now for _, now in self._pairs}
        self._left_known = [i for i in self._left_known if i not in paired_known]
        self._left_found = [i for i in self._left_found if i not in paired_found]

    # -- equal keys

    def _align(self, was: list[int], now: list[int]) -> None:
        """Pair equal findings: file by file as the files have moved, then whatever is left."""
        before = _by_path(self._known, was)
        after = _by_path(self._found, now)
        for path in before:
            for target in self._moves.targets(path):
                if before[path] and after.get(target):
                    before[path], after[target] = self._align_file(before[path], after[target])
        self._align_in_order(
            [i for here in before.values() for i in here],
            [i for here in after.values() for i in here],
        )

    def _align_file(self, was: list[int], now: list[int]) -> tuple[list[int], list[int]]:
        """Pair what stands where it should stand now, the others in order; returns the rest."""
        lines = {self._found[i].line: i for i in reversed(now)}
        paired: dict[int, int] = {}
        for i in was:
            for line in self._moves.expected(self._known[i], self._found[now[0]].path):
                if line in lines:
                    paired[i] = lines.pop(line)
                    break
        self._pairs.extend(paired.items())
        taken = set(paired.values())
        return self._align_in_order(
            [i for i in was if i not in paired], [i for i in now if i not in taken]
        )

    def _align_in_order(self, was: list[int], now: list[int]) -> tuple[list[int], list[int]]:
        """Pair as many as possible without crossing, with the least movement; returns the rest."""
        if not was or not now:
            return was, now
        if len(was) == len(now) or len(was) * len(now) > _LARGEST_ALIGNMENT:
            chosen = list(zip(was, now, strict=False))
        elif len(was) < len(now):
            chosen = _least_movement(was, now, self._movement)
        else:
            turned = _least_movement(now, was, lambda f, k: self._movement(k, f))
            chosen = [(k, f) for f, k in turned]
        self._pairs.extend(chosen)
        paired_was = {i for i, _ in chosen}
        paired_now = {i for _, i in chosen}
        return (
            [i for i in was if i not in paired_was],
            [i for i in now if i not in paired_now],
        )

    def _movement(self, was: int, now: int) -> int:
        """How many lines `now` stands from where `was` should stand."""
        known, found = self._known[was], self._found[now]
        if known.line is None or found.line is None:
            return 0
        expected = self._moves.expected(known, found.path) or (known.line,)
        return min(abs(line - found.line) for line in expected)


class _Moves:
    """How lines have moved, by file before and now, from the pairs that are made."""

    def __init__(self) -> None:
        self._lines: dict[str | None, dict[str | None, list[tuple[int, int]]]] = defaultdict(dict)

    def note(
        self, known: Sequence[Key], found: Sequence[Key], pairs: Iterable[tuple[int, int]]
    ) -> None:
        """Learn from `pairs`."""
        touched: list[list[tuple[int, int]]] = []
        for i, j in pairs:
            was, now = known[i], found[j]
            if was.line is not None and now.line is not None:
                lines = self._lines[was.path].setdefault(now.path, [])
                lines.append((was.line, now.line))
                touched.append(lines)
        for lines in {id(lines): lines for lines in touched}.values():
            lines.sort()

    def targets(self, path: str | None) -> list[str | None]:
        """Where a file's findings went, most of them first; the file itself at the latest last."""
        noted = self._lines.get(path, {})
        ranked = sorted(noted, key=lambda target: (-len(noted[target]), target or ""))
        return ranked if path in noted else [*ranked, path]

    def expected(self, key: Key, path: str | None) -> tuple[int, ...]:
        """The lines of the file `path` at which `key` should stand: by the pairs around it."""
        lines = self._lines.get(key.path, {}).get(path)
        if not lines or key.line is None:
            return ()
        place = bisect_right(lines, (key.line, 0))
        around = lines[max(place - 1, 0) : place + 1]
        return tuple(key.line + now - was for was, now in around)


def _least_movement(
    few: Sequence[int], many: Sequence[int], movement: Callable[[int, int], int]
) -> list[tuple[int, int]]:
    """Pair each of `few` with one of `many`, in order, so that the movements' sum is least."""
    slack = len(many) - len(few)
    # costs[i][s]: the least for the first i of few when s of many have been passed over
    costs = [[0] * (slack + 1)]
    for i, one in enumerate(few):
        row: list[int] = []
        for passed in range(slack + 1):
            here = costs[i][passed] + movement(one, many[i + passed])
            row.append(min(here, row[-1]) if row else here)
        costs.append(row)
    pairs: list[tuple[int, int]] = []
    passed = slack
    for i in range(len(few), 0, -1):
        while passed and costs[i][passed] == costs[i][passed - 1]:
            passed -= 1
        pairs.append((few[i - 1], many[i - 1 + passed]))
    return pairs[::-1]


def _by_path(
    keys: Sequence[Key], indexes: Iterable[int] | None = None
) -> dict[str | None, list[int]]:
    """The positions of each file's keys."""
    groups: dict[str | None, list[int]] = defaultdict(list)
    for i in range(len(keys)) if indexes is None else indexes:
        groups[keys[i].path].append(i)
    return dict(groups)


def _grouped(indexes: list[int], keys: list[Any], wanted: set[Any]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, key in zip(indexes, keys, strict=True):
        if key in wanted:
            groups[key].append(i)
    return groups
