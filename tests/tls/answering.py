"""What a test needs to be issued to: an answering HTTP port, an `Acme`, a `Keeper`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from insight_cloud.tls import serving
from insight_cloud.tls.acme import Acme
from insight_cloud.tls.issuer import Solver
from insight_cloud.tls.solvers import Http01
from insight_cloud.tls.store import Store
from tests.tls.pebble import Pebble


@contextlib.asynccontextmanager
async def answering(store: Store, acme: Pebble) -> AsyncIterator[None]:
    """Answer http-01 where the authority asks, as the running service does."""
    listener = serving.listen("127.0.0.1", acme.http_port)
    task = asyncio.create_task(serving.PlainHttp(store).serve(listener))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def authority(acme: Pebble, store: Store, solver: Solver | None = None, **more: Any) -> Acme:
    """The authority as our manager sees it."""
    options = {"agree_terms": True, "ca_file": acme.ca_file, "timeout_seconds": 20, **more}
    url = options.pop("url", acme.url)
    return Acme(url, store, solver or Http01(store), **options)
