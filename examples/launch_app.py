"""A shop that knows nothing of Insight Cloud, to be launched by its checklist.

DATABASE_URL=postgresql://... uvicorn --no-server-header examples.launch_app:app
insight launch check --file examples/launch.toml --url http://127.0.0.1:8000
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

_HEADERS = {
    "content-security-policy": "default-src 'self'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_SESSIONS: dict[str, int] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.execute(
            "create table if not exists users (email text, password_hash text)"
        )
        await connection.execute(
            "create table if not exists orders (id int primary key, owner int, what text)"
        )
        await connection.execute(
            "insert into orders values (1, 1, 'a chair'), (2, 2, 'a table') on conflict do nothing"
        )
    yield


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


@app.middleware("http")
async def harden(request: Request, call_next):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as FastAPI shows it
    if request.url.hostname not in {"127.0.0.1", "localhost"}:
        return JSONResponse({"detail": "no such host"}, 421)
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


@app.get("/", response_class=HTMLResponse)
async def home() -> str:
    return "<!doctype html><title>Shop</title><p>Chairs and tables."


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/ready")
async def ready() -> dict[str, str]:
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.execute("select 1")
    return {"status": "ok"}


@app.get("/version")
async def version() -> dict[str, str]:
    return {"release": "3.1.0"}


@app.post("/login")
async def login(response: Response) -> dict[str, str]:
    token = secrets.token_urlsafe(16)
    _SESSIONS[token] = 1
    response.set_cookie("session", token, httponly=True, samesite="lax")
    return {"status": "signed in"}


@app.get("/orders/{order}")
async def order(order: int, request: Request) -> dict[str, str]:
    user = _SESSIONS.get(request.cookies.get("session", ""))
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        found = await connection.execute(
            "select what from orders where id = %s and owner = %s", [order, user]
        )
        row = await found.fetchone()
    if row is None:
        raise HTTPException(404)
    return {"what": row[0]}
