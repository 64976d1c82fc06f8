"""Would Cloudflare's rules stop or cache any route of this application? Asked without sending one.

python edge_rules.py
"""

import asyncio
import json
from datetime import date

from insight_cloud.edge import Simulator, Tier, compile_file, default, of_items, read_file, routes
from insight_cloud.edge.samples import Samples

PATHS = ("/api/me", "/wp-admin", "/blog/{slug}")


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001 - a plain ASGI application
    paths = json.dumps({"paths": {path: {"get": {}} for path in PATHS}}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": paths})


async def main() -> None:
    wanted = compile_file(read_file(default()), today=date.today(), tiers=[Tier("api", 100, 900)])  # noqa: DTZ011 - the operator's day
    simulator = Simulator(wanted.rulesets, **of_items(wanted.items))
    found = await routes.from_app("edge_rules:app")
    for check in routes.check(found, simulator, Samples(), wanted.zone).checks:
        print(f"{check.status:5} {check.name}: {check.detail}")


if __name__ == "__main__":
    asyncio.run(main())
