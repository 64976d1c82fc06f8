"""Any ASGI application with strict security headers: `uvicorn examples.headers_app:app`."""

from __future__ import annotations

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.headers import Cors, Headers, Reports, nonce

reports = Reports()


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a page whose inline script carries the nonce; take reports."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/reports":
        await reports(scope, receive, send)
        return
    page = f"<!doctype html><p id=a></p><script nonce={nonce(scope)}>a.textContent='Hi'</script>"
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": page.encode()})


app = Headers(Cors(site, origins=["https://app.example.com"]), report_url="/reports")
