"""What the keeper needs of an authority, and what solves its challenges."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.renewal import Window

__all__ = ["Advice", "DnsRecords", "Issued", "Issuer", "Solver", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The certificate to ask for."""

    names: tuple[str, ...]
    key_type: str = "ec256"
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new pair, as PEM. The key is never shown, not even in a traceback's `repr`."""

    chain: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Advice:
    """What the authority says about the time of renewal, and when to ask again."""

    window: Window | None
    ask_again: datetime


class Issuer(Protocol):
    """An authority that issues certificates."""

    @property
    def method(self) -> str:
        """The name by which the settings know it."""

    async def issue(self, wanted: Wanted, *, replaces: Certificate | None) -> Issued:
        """Ask for a certificate, wait for it and return it.

        Raises:
            Refused, RateLimited, Unavailable, Corrupt, SettingsError: what stood in the way.
        """

    async def advice(self, current: Certificate, now: datetime) -> Advice | None:
        """Ask when to renew; None when the authority does not say such things.

        Raises:
            Unavailable, Corrupt: it could not be asked.
        """

    async def revoke(self, found: Certificate, *, reason: int) -> None:
        """Declare `found` invalid, for one of the reasons of RFC 5280."""


class Solver(Protocol):
    """One way to prove that a name is ours."""

    kind: str

    async def present(self, name: str, token: str, answer: str) -> None:
        """Publish the proof for `name`."""

    async def settle(self) -> None:
        """Wait until what was presented can be seen from outside."""

    async def withdraw(self) -> None:
        """Take back everything that was presented; called whatever happened."""


class DnsRecords(Protocol):
    """Somebody who can write TXT records into our zone."""

    async def add(self, name: str, value: str) -> str:
        """Add a TXT record beside those that are there, and return its identifier."""

    async def remove(self, identifier: str) -> None:
        """Remove that record again."""
