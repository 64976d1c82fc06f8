"""A page with request ids, logs, metrics, health and Web Vitals; no web framework, no settings.

METRICS_TOKEN=a-long-random-word uvicorn --lifespan off --no-access-log telemetry_app:app
"""

import logging.config
import os

from insight_cloud.core.asgi import App
from insight_cloud.core.report import Check
from insight_cloud.telemetry import (
    Health,
    Metrics,
    Probe,
    Recorder,
    Requests,
    Slow,
    Vitals,
    anybody,
    bearer,
    logs,
    process,
)

logging.config.dictConfig(logs.config("json"))
log = logging.getLogger("shop.page")
recorder = Recorder(collectors=[process.samples], merge=process.MERGE)
vitals = Vitals(recorder, routes={"/"})
metrics = Metrics(recorder, allowed=bearer(os.environ["METRICS_TOKEN"]))
OTHERS: dict[str, App] = {"/metrics": metrics, "/vitals": vitals}


async def disk() -> list[Check]:
    free = os.statvfs("/").f_bavail / os.statvfs("/").f_blocks
    return [Check("disk.free", "pass" if free > 0.05 else "fail", f"{free:.0%}")]


async def page(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - a plain ASGI application
    if other := OTHERS.get(scope["path"]):
        await other(scope, receive, send)
        return
    log.info("page.shown: %s", scope["path"])
    body = f"<!doctype html><h1>Shop</h1>{vitals.tag('/')}".encode()
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


health = Health([Probe("disk", disk)], app=page, allowed=anybody)
app = Requests(health, recorder, route=lambda scope: scope["path"], routes=20, slow=Slow())
