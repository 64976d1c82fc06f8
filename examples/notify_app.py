"""A service whose operator is told when it fails, on Slack or wherever a Slack webhook leads.

SLACK_WEBHOOK_URL=https://hooks.slack.com/services/... uvicorn notify_app:app
"""

import asyncio
import os

from insight_cloud.notify import Message, Notifier, Slack

notifier = Notifier([Slack(os.environ["SLACK_WEBHOOK_URL"])], repeat_seconds=300)
telling: set[asyncio.Task[object]] = set()  # so that no message is forgotten on its way


def page(path: str) -> bytes:
    if path == "/broken":
        raise RuntimeError("this page is broken")
    return b"hello\n"


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001 - a plain ASGI application
    try:
        status, body = 200, page(scope["path"])
    except RuntimeError as error:
        message = Message("A page failed", str(error), severity="error", source="web.failed")
        task = asyncio.create_task(notifier.send(message))  # the visitor does not wait for Slack
        telling.add(task)
        task.add_done_callback(telling.discard)
        status, body = 500, b"sorry\n"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
