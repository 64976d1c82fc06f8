"""Somebody else's application with its own database; it knows nothing of us."""

from __future__ import annotations

import os

import psycopg
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

app = FastAPI(title="Library")
URL = os.environ["LIBRARY_DATABASE"]
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Library</title>'
    '<meta name="viewport" content="width=device-width"></head>'
    "<body><main><h1>Library</h1><p>{} books</p></main></body></html>"
)


class Book(BaseModel):
    id: int
    title: str


async def rows(query: str) -> list[tuple[int, str]]:
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        return await (await connection.execute(query.encode())).fetchall()


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
async def home() -> str:
    return PAGE.format(len(await rows("select id, title from books")))


@app.get("/books")
async def books() -> list[Book]:
    return [Book(id=i, title=t) for i, t in await rows("select id, title from books order by id")]
