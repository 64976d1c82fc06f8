"""What browsers send with a form, and the words of our forms as the services understand them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, get_args

from fastapi import Depends, Request
from starlette.datastructures import FormData

from insight_cloud.app.accounts import Role, Scope
from insight_cloud.app.accounts.policy import ROLES
from insight_cloud.app.dashboard.frames import faults
from insight_cloud.app.dashboard.present import VERDICTS
from insight_cloud.app.dashboard.views import Field, Option
from insight_cloud.app.gates.models import Condition, Metric
from insight_cloud.app.issues.grade import LETTERS
from insight_cloud.app.privacy import LEVELS, Level
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES
from insight_cloud.app.triage.models import Verdict
from insight_cloud.core.errors import InsightError, Invalid

__all__ = [
    "Form",
    "condition_of",
    "date_of",
    "days_of",
    "level_of",
    "role_of",
    "scope_options",
    "scopes_of",
    "verdict_of",
    "verdict_options",
]

_SCOPES: dict[Scope, str] = {
    "ingest": "Upload analyses",
    "read": "Read projects, issues and analyses",
    "triage": "Judge issues",
    "admin": "Change settings and members, delete projects",
}
_VERDICTS = {
    "false_positive": "False positive: there is nothing wrong",
    "wont_fix": "Won't fix: it stays as it is",
    "accepted": "Accepted until a date",
    "open": "Open: take the judgement back",
}
_DAYS = {"30": 30, "90": 90, "365": 365, "": None}


class Sent:
    """A form as it was sent: text fields only, files are ignored."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    def text(self, name: str) -> str:
        """The field's value without surrounding space; empty when it was not sent."""
        return self.secret(name).strip()

    def secret(self, name: str) -> str:
        """The field's value as it was typed: space may belong to a password."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """The values of a field that may be sent several times."""
        return [value for value in self._data.getlist(name) if isinstance(value, str)]

    def only(self, *names: str) -> dict[str, str]:
        """These fields by name."""
        return {name: self.text(name) for name in names}

    def token_faults(self, error: InsightError) -> dict[str, Field]:
        """The fields of a token's form that was refused."""
        found = faults(error, {"name": self.text("token_name"), "scopes": ""})
        return {f"token_{name}" if name else name: field for name, field in found.items()}


async def _sent(request: Request) -> Sent:
    return Sent(await request.form())


Form = Annotated[Sent, Depends(_sent)]


def role_of(text: str) -> Role:
    """The role called `text`.

    Raises:
        Invalid: there is none.
    """
    for role in ROLES:
        if role == text:
            return role
    raise Invalid("choose one of the roles", problems=(("/body/role", "not a role"),))


def level_of(text: str) -> Level | None:
    """The privacy level called `text`; None leaves it as it is."""
    return next((level for level in LEVELS if level == text), None)


def scopes_of(texts: Iterable[str]) -> list[Scope]:
    """The scopes called `texts`; what is none is left out, and none at all refused later."""
    wanted = set(texts)
    return [scope for scope in _SCOPES if scope in wanted]


def scope_options(chosen: Sequence[Scope]) -> tuple[Option, ...]:
    """Every scope to choose from."""
    return tuple(Option(scope, label, scope in chosen) for scope, label in _SCOPES.items())


def condition_of(form: Sent) -> Condition:
    """The condition of a gate that a form holds.

    Raises:
        Invalid: it names nothing to look at, or its number is none.
    """
    metric = next((one for one in get_args(Metric) if one == form.text("metric")), None)
    if metric is None:
        raise Invalid("choose what to look at", problems=(("/body/metric", "choose one"),))
    if metric == "grade":
        grade = next((one for one in LETTERS if one == form.text("grade")), None)
        return Condition("grade", grade=grade)
    if metric == "complete":
        return Condition("complete")
    wanted = set(form.texts("severity"))
    return Condition(
        metric,
        tuple(one for one in SEVERITIES if one in wanted),
        next((one for one in CATEGORIES if one == form.text("category")), None),
        _number(form.text("most") or "0"),
    )


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Invalid("this is no number", problems=(("/body/most", "a number from 0 on"),))
    return int(text)


def verdict_options(chosen: str = "") -> tuple[Option, ...]:
    """Every judgement to choose from, and taking one back."""
    return tuple(Option(value, label, value == chosen) for value, label in _VERDICTS.items())


def verdict_of(form: Sent) -> Verdict:
    """The judgement that a form holds.

    Raises:
        Invalid: none is chosen, or its date is none.
    """
    state = next((one for one in VERDICTS if one == form.text("verdict")), None)
    if state is None and form.text("verdict") != "open":
        raise Invalid("choose what to decide", problems=(("/body/verdict", "choose one"),))
    until = date_of(form.text("until"))
    return Verdict(state, form.text("reason"), until if state == "accepted" else None)


def date_of(text: str) -> date | None:
    """The day that is meant; None where nothing was filled in.

    Raises:
        Invalid: it is no date.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise Invalid(
            "the date cannot be read", problems=(("/body/until", "not a date, as in 2030-12-31"),)
        ) from error


def days_of(text: str) -> int | None:
    """How many days a token is good for; None does not expire.

    Raises:
        Invalid: none of the choices.
    """
    if text not in _DAYS:
        raise Invalid("choose when the token expires")
    return _DAYS[text]
