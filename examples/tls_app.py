"""An application that answers an ACME authority and serves each new certificate at once.

INSIGHT_NAME=www.example.com python tls_app.py   # listens on 80 and 443
"""

import asyncio
import os
from pathlib import Path

import uvicorn

from insight_cloud.tls import Acme, Challenges, Http01, Keeper, Live, Store, Wanted
from insight_cloud.tls.serving import renewing

store = Store(Path(os.environ.get("INSIGHT_DIRECTORY", "certificates")))


async def hello(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001 - a plain ASGI application
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello\n"})


app = Challenges(hello, store)


def server(port: int, live: Live | None = None) -> uvicorn.Server:
    context = (lambda *_: live.context) if live else None
    return uvicorn.Server(
        uvicorn.Config(app, port=port, ssl_context_factory=context, lifespan="off")
    )


async def main() -> None:
    name = os.environ["INSIGHT_NAME"]
    url = os.environ.get("INSIGHT_ACME", "https://acme-v02.api.letsencrypt.org/directory")
    ca_file = os.environ.get("INSIGHT_ACME_CA")
    authority = Acme(
        url, store, Http01(store), agree_terms=True, ca_file=Path(ca_file) if ca_file else None
    )
    live = Live(store, names=[name])
    plain = server(int(os.environ.get("INSIGHT_HTTP", "80")))
    secure = server(int(os.environ.get("INSIGHT_HTTPS", "443")), live)
    with live.following():
        renewal = renewing(Keeper(store, authority, Wanted((name,))), minutes=240)
        await asyncio.gather(plain.serve(), secure.serve(), renewal)


if __name__ == "__main__":
    asyncio.run(main())
