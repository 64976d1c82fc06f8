"""A stand-in for the comments of GitHub and GitLab: state, pages, tokens, whose comment it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["TOKEN", "Provider", "provider"]

TOKEN = "provider-token-of-the-job"


class Provider:
    """The comments by pull request, the oldest first; `calls` are the methods that were used."""

    def __init__(self) -> None:
        self.comments: dict[int, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.lock = threading.Lock()
        self._next = 100

    def add(self, pull: int, body: str, author: str = "bot") -> int:
        self._next += 1
        self.comments[self._next] = {
            "id": self._next, "body": body, "author": author, "pull": pull,
        }  # fmt: skip
        return self._next

    def of(self, pull: int) -> list[dict[str, Any]]:
        return [one for one in self.comments.values() if one["pull"] == pull]

    def answer(self, method: str, target: str, token: str, body: Any) -> tuple[int, Any]:
        if token != TOKEN:
            return 401, {"message": "Bad credentials"}
        parts = urlsplit(target)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.calls.append(method)
        if words[0] == "repos":  # repos/owner/name/issues/N/comments, .../issues/comments/ID
            assert words[1:4] == ["team", "shop", "issues"]
            identity = int(words[5]) if words[4] == "comments" else None
            pull = None if identity else int(words[4])
        else:  # projects/group%2Fshop/merge_requests/N/notes[/ID]
            assert words[:3] == ["projects", "team/shop", "merge_requests"]
            pull, identity = int(words[3]), int(words[5]) if len(words) > 5 else None
        if identity is None:
            assert pull is not None
            return self._list(method, pull, query, body)
        return self._change(method, identity, body)

    def _list(self, method: str, pull: int, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            return 201, self.comments[self.add(pull, body["body"])]
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        assert size <= 100
        return 200, self.of(pull)[(page - 1) * size : page * size]

    def _change(self, method: str, identity: int, body: Any) -> tuple[int, Any]:
        found = self.comments.get(identity)
        if found is None:
            return 404, {"message": "Not Found"}
        if found["author"] != "bot":
            return 403, {"message": "Resource not accessible"}
        if method == "DELETE":
            del self.comments[identity]
            return 204, None
        assert method in {"PATCH", "PUT"}
        found["body"] = body["body"]
        return 200, found


@contextmanager
def provider() -> Iterator[tuple[str, Provider]]:
    """Serve one; yields its address and its state."""
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Be quiet."""

        def _do(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            token = bearer or self.headers.get("Private-Token") or ""
            with state.lock:
                status, answer = state.answer(
                    self.command, self.path, token, json.loads(data) if data else None
                )
            encoded = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do  # noqa: N815 - the library's names

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", state
        server.shutdown()
        thread.join()
