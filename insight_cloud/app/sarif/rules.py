"""Which rule a result broke: by id, index, guid, in the driver or in an extension.

Apart because the standard offers a dozen ways to name a rule and tools use all of them, with
ids refined after a slash (`CA1000/1`) and indexes that point beyond their array.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from insight_cloud.app.sarif.wire import Component, Descriptor, Reference, Result

__all__ = ["UNNAMED", "Book", "Entry", "Part"]

UNNAMED = "unnamed"
"""The code of a result that names no rule."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """The driver or an extension with the rules that could be read (None: one that could not)."""

    component: Component
    rules: Sequence[Descriptor | None]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A rule as a result names it: `code` is the result's word, `descriptor` what is known."""

    code: str
    descriptor: Descriptor | None
    level: str | None = None
    lost_index: int | None = None


class Book:
    """The rules of one run. `parts` are the driver and its extensions in the log's order."""

    def __init__(self, driver: Part, extensions: Sequence[Part] = ()) -> None:
        self._driver = driver
        self._extensions = extensions
        self._by_name: dict[str, Descriptor] = {}
        for part in (*reversed(extensions), driver):
            for rule in reversed(part.rules):
                if rule is not None:
                    self._by_name |= {name: rule for name in (rule.guid, rule.id) if name}
        self._overrides: dict[str, str] = {}
        self._entries: dict[tuple[str | None, int | None], Entry] = {}

    def override(self, reference: Reference, level: str) -> None:
        """Set the level of a rule for this run (`ruleConfigurationOverrides`)."""
        entry = self._find(reference.id, reference.index, reference)
        self._overrides[_name_of(entry)] = level
        self._entries.clear()

    def entry(self, result: Result) -> Entry:
        """The rule that `result` names."""
        if result.rule is not None:
            reference = result.rule
            index = reference.index if reference.index is not None else result.rule_index
            return self._find(result.rule_id or reference.id, index, reference)
        asked = (result.rule_id, result.rule_index)
        try:
            return self._entries[asked]
        except KeyError:
            found = self._entries[asked] = self._find(*asked, None)
            return found

    def _find(self, code: str | None, index: int | None, reference: Reference | None) -> Entry:
        part = self._part(reference)
        lost = index is not None and index >= 0 and (part is None or index >= len(part.rules))
        rule = self._by_index(part, index)
        if code and not (rule and rule.id and _refines(code, rule.id)):
            rule = self._by_code(part, code) or rule
        if rule is None and reference is not None and reference.guid:
            rule = self._by_name.get(reference.guid)
        found = code or (rule and (rule.id or rule.name)) or UNNAMED
        entry = Entry(found, rule)
        level = self._overrides.get(_name_of(entry)) or self._overrides.get(found)
        return Entry(found, rule, level, index if lost else None)

    def _part(self, reference: Reference | None) -> Part | None:
        """The component that an index counts in; None when the reference leads nowhere."""
        component = reference.tool_component if reference is not None else None
        if component is None:
            return self._driver
        if component.index is not None and component.index >= 0:
            within = component.index < len(self._extensions)
            return self._extensions[component.index] if within else None
        for part in (self._driver, *self._extensions):
            known = part.component
            if component.guid and component.guid == known.guid:
                return part
            if component.name and component.name == known.name:
                return part
        return None if component.guid or component.name else self._driver

    @staticmethod
    def _by_index(part: Part | None, index: int | None) -> Descriptor | None:
        if part is None or index is None or not 0 <= index < len(part.rules):
            return None
        return part.rules[index]

    def _by_code(self, part: Part | None, code: str) -> Descriptor | None:
        """`a/b/c` is described as itself, else as `a/b`, else as `a`."""
        if part is not None and part is not self._driver:
            for rule in part.rules:
                if rule is not None and rule.id and _refines(code, rule.id):
                    return rule
        name = code
        while name:
            found = self._by_name.get(name)
            if found is not None:
                return found
            name = name.rpartition("/")[0]
        return None


def _refines(code: str, rule: str) -> bool:
    return code == rule or code.startswith(f"{rule}/")


def _name_of(entry: Entry) -> str:
    rule = entry.descriptor
    return (rule.id or rule.guid or entry.code) if rule is not None else entry.code
