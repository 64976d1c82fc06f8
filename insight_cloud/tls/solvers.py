"""The two proofs of RFC 8555 that we give: a file over HTTP, or a record in the DNS."""

from __future__ import annotations

import asyncio
import logging

from insight_cloud.core.errors import InsightError
from insight_cloud.tls.issuer import DnsRecords
from insight_cloud.tls.store import Store

__all__ = ["Dns01", "Http01"]

_log = logging.getLogger(__name__)


class Http01:
    """Answers on port 80, by whatever process serves the store's challenges."""

    kind = "http-01"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: list[str] = []

    async def present(self, name: str, token: str, answer: str) -> None:  # noqa: ARG002 - any name
        """Write the answer where `Challenges` and the plain HTTP port find it."""
        self._store.put_challenge(token, answer)
        self._tokens.append(token)

    async def settle(self) -> None:
        """Nothing to wait for: a file is there at once."""

    async def withdraw(self) -> None:
        """Remove the answers."""
        while self._tokens:
            self._store.drop_challenge(self._tokens.pop())


class Dns01:
    """A TXT record `_acme-challenge`; the only way to a wildcard.

    Args:
        records: who writes the records.
        wait_seconds: how long name servers take until all of them know a new record.
    """

    kind = "dns-01"

    def __init__(self, records: DnsRecords, *, wait_seconds: float = 10) -> None:
        self._records = records
        self._wait = wait_seconds
        self._made: list[str] = []

    async def present(self, name: str, token: str, answer: str) -> None:  # noqa: ARG002 - no token
        """Add a record; a name and its wildcard have two, under one name."""
        self._made.append(await self._records.add(f"_acme-challenge.{name}", answer))

    async def settle(self) -> None:
        """Give the name servers their time."""
        await asyncio.sleep(self._wait)

    async def withdraw(self) -> None:
        """Remove the records; one that stays behind is harmless, and said."""
        while self._made:
            identifier = self._made.pop()
            try:
                await self._records.remove(identifier)
            except InsightError as error:
                _log.warning("tls.dns the record %s was not removed: %s", identifier, error)
