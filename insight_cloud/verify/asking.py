"""How a suite asks its questions: each with a time limit, and with an answer in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import stopwatch
from insight_cloud.verify.verification import Check, Status

__all__ = ["Answer", "Asker", "NotRunError", "Tell", "failed", "judged", "not_run", "passed"]

_MOST_EVIDENCE = 20
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question was answered with."""

    status: Status
    detail: str = ""
    evidence: tuple[str, ...] = ()
    picture: bytes | None = None


class NotRunError(Exception):
    """The question cannot be asked here; the message says why."""


Question: TypeAlias = Callable[[], Awaitable[Answer]]
Tell: TypeAlias = Callable[[str, Check], None]
"""Called with the suite and each check as soon as it is done."""


def passed(detail: str = "") -> Answer:
    """All is well."""
    return Answer("pass", detail)


def failed(detail: str, *evidence: str) -> Answer:
    """Something is wrong."""
    return Answer("fail", detail, evidence)


def not_run(reason: str) -> Answer:
    """Not asked."""
    return Answer("not run", reason)


def judged(faults: list[str], well: str = "") -> Answer:
    """Failed with the faults if there are any."""
    if not faults:
        return passed(well)
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return failed(f"{faults[0]}{more}", *faults)


@dataclass
class Asker:
    """Asks the questions of one suite, keeps the answers and the pictures."""

    suite: str
    tell: Tell
    pictures: dict[str, bytes]
    checks: list[Check] = field(default_factory=list)

    async def ask(self, name: str, question: Question, *, seconds: float = 60) -> Answer:
        """Ask once. Whatever is raised is an answer too: a broken check is never a passed one."""
        with stopwatch() as watch:
            answer = await self._answer(question, seconds)
        picture = None
        if answer.picture is not None:
            picture = f"{self.suite}-{len(self.pictures) + 1}.png"
            self.pictures[picture] = answer.picture
        check = Check(
            name,
            answer.status,
            _short(answer.detail),
            round(watch.seconds, 3),
            tuple(_short(text) for text in answer.evidence[:_MOST_EVIDENCE]),
            picture,
        )
        self.checks.append(check)
        self.tell(self.suite, check)
        return answer

    async def _answer(self, question: Question, seconds: float) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await question()
        except NotRunError as error:
            return not_run(str(error))
        except TimeoutError:
            return Answer("error", f"no answer within {seconds:g} s")
        except InsightError as error:
            return Answer("error", str(error))
        except Exception as error:  # noqa: BLE001 - the next questions are asked all the same
            return Answer("error", f"{type(error).__name__}: {error}")

    async def skip(self, name: str, reason: str) -> None:
        """Note that `name` is not asked."""

        async def question() -> Answer:
            return not_run(reason)

        await self.ask(name, question)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
