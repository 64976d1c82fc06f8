"""The DNS records of the stand-in's zone: what Cloudflare does with them and no schema shows."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Records", "Refusal"]

_SHORTEST_SECONDS = 60
_AUTOMATIC = 1
_PROXIED = frozenset({"A", "AAAA", "CNAME"})
_PER_PAGE = 100
_MOST = 5000


class Refusal(Exception):  # noqa: N818 - not a failure of ours: what the API answers
    """Cloudflare would not do it: an HTTP status, its code, and its words."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Records:
    """The records of the zone `zone`, which are read, added and removed.

    Args:
        zone: its name; names without it at their end are taken to be below it.
        identify: makes the next identifier.
        time: the moment, as the API writes it.
    """

    def __init__(self, zone: str, identify: Callable[[], str], time: Callable[[], str]) -> None:
        self.zone = zone
        self.kept: dict[str, dict[str, Any]] = {}
        self._identify = identify
        self._time = time

    def values(self, name: str, kind: str = "TXT") -> list[str]:
        """What a name server would answer for `name`; texts without their quotes."""
        return [
            record["content"].strip('"')
            for record in self.kept.values()
            if (record["name"], record["type"]) == (name, kind)
        ]

    def list(self, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """One page of the records that `name`, `type` and `content` leave, and its numbers."""
        wanted = {key: query[key] for key in ("name", "type", "content") if key in query}
        found = [r for r in self.kept.values() if all(r[k] == v for k, v in wanted.items())]
        page = _number(query.get("page"), 1)
        size = min(_number(query.get("per_page"), _PER_PAGE), _MOST)
        shown = found[(page - 1) * size : page * size]
        pages = -(-len(found) // size)
        info = {"page": page, "per_page": size, "count": len(shown)}
        info |= {"total_count": len(found), "total_pages": pages}
        return copy.deepcopy(shown), info

    def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add a record beside those that are there.

        Raises:
            Refusal: the same is there already, or it cannot be.
        """
        name, content = self._absolute(body["name"]), str(body.get("content", ""))
        self._check(name, body["type"], content, body["ttl"])
        made = {
            "id": self._identify(),
            "proxiable": body["type"] in _PROXIED,
            "proxied": False,
            "settings": {},
            "tags": [],
            "comment": None,
            "created_on": self._time(),
            "modified_on": self._time(),
            **body,
            "name": name,
            "content": content,
        }
        self.kept[made["id"]] = made
        return copy.deepcopy(made)

    def remove(self, identifier: str) -> dict[str, Any]:
        """Remove a record.

        Raises:
            Refusal: there is none.
        """
        if self.kept.pop(identifier, None) is None:
            raise Refusal(404, 81044, "Record does not exist.")
        return {"id": identifier}

    def _absolute(self, name: str) -> str:
        """The name as the zone holds it: `@` and `www` are below the zone, like any other."""
        lower = name.rstrip(".").lower()
        if lower in {"@", self.zone} or lower.endswith(f".{self.zone}"):
            return self.zone if lower == "@" else lower
        return f"{lower}.{self.zone}"

    def _check(self, name: str, kind: str, content: str, ttl: int) -> None:
        if not content:
            raise Refusal(400, 9000, f"Content for {kind} record is empty.")
        if kind in {"A", "AAAA"} and not _is_address(content, 4 if kind == "A" else 6):
            raise Refusal(400, 9005, f"Content for {kind} record must be a valid address.")
        if ttl != _AUTOMATIC and ttl < _SHORTEST_SECONDS:
            raise Refusal(
                400, 9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic."
            )
        beside = [record for record in self.kept.values() if record["name"] == name]
        if any((record["type"], record["content"]) == (kind, content) for record in beside):
            raise Refusal(400, 81058, "An identical record already exists.")
        if beside and (kind == "CNAME" or any(r["type"] == "CNAME" for r in beside)):
            raise Refusal(400, 81053, "A CNAME and other records cannot share a name.")


def _number(text: str | None, default: int) -> int:
    return max(1, int(text)) if text is not None and text.isdecimal() else default


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
