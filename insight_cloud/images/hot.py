"""Answers in memory, ready to be sent: what a request for a known image costs is two look-ups."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from insight_cloud.core.asgi import Message
from insight_cloud.images.header import MEDIA_TYPES

__all__ = ["Answer", "Hot", "answer"]

_QUESTIONS = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One image as ASGI messages. `etag` identifies its bytes."""

    etag: str
    size: int
    start: Message
    not_modified: Message
    body: Message


def answer(form: str, data: bytes, *, max_age: str, vary: bool) -> Answer:
    """Prepare every header of an image."""
    etag = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    common = [
        (b"cache-control", max_age.encode()),
        (b"etag", etag.encode()),
        *([(b"vary", b"accept")] if vary else []),
        # An image is never a document: whatever hides in it is not run.
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"x-content-type-options", b"nosniff"),
    ]
    whole = [
        (b"content-type", MEDIA_TYPES[form].encode()),
        (b"content-length", str(len(data)).encode()),
        (b"content-disposition", f'inline; filename="image.{form}"'.encode()),
        *common,
    ]
    return Answer(
        etag,
        len(data),
        {"type": "http.response.start", "status": 200, "headers": whole},
        {"type": "http.response.start", "status": 304, "headers": common},
        {"type": "http.response.body", "body": data},
    )


class Hot:
    """Answers by their key, and keys by the question; both bounded, the oldest go first.

    A question is what the request says, as it stands there; it counts until `until`.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._questions: OrderedDict[object, tuple[str, float]] = OrderedDict()

    def known(self, question: object, now: float) -> Answer | None:
        """Return the answer to a question that was asked a moment ago."""
        found = self._questions.get(question)
        if found is None or found[1] < now:
            return None
        return self.get(found[0])

    def remember(self, question: object, key: str, until: float) -> None:
        """Keep what the answer to `question` is."""
        self._questions[question] = (key, until)
        self._questions.move_to_end(question)
        if len(self._questions) > _QUESTIONS:
            self._questions.popitem(last=False)

    def get(self, key: str) -> Answer | None:
        """Return the answer and count it as used."""
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: str, value: Answer) -> None:
        """Keep an answer, unless it alone would push out half of the others."""
        if value.size > self._most // 2:
            return
        previous = self._answers.pop(key, None)
        self._held += value.size - (previous.size if previous else 0)
        self._answers[key] = value
        while self._held > self._most:
            _, oldest = self._answers.popitem(last=False)
            self._held -= oldest.size
