"""When to renew: the authority's advice, else the certificate's own life; pure.

An authority may advise a window (ARI, RFC 9773). Without advice a certificate is renewed when two
thirds of its life have passed, a short-lived one (under ten days) at the half. Tries that failed
are repeated with growing pauses, which stay below every known limit of an authority.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

__all__ = [
    "Decision",
    "State",
    "Window",
    "advised",
    "began",
    "decide",
    "decode",
    "due",
    "encode",
    "failed",
    "may_remind",
    "overdue",
    "pause",
    "reminded",
    "succeeded",
    "without_hooks",
]

SHORT_LIVED = timedelta(days=10)
"""Lives shorter than this are renewed at the half, as Let's Encrypt asks."""
SPREAD = 1 / 30
"""The part of a life over which renewals without advice are spread: not all come at once."""
LATEST = 5 / 6
"""No advice delays a renewal beyond this part of the life."""
FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(hours=6)
BETWEEN = timedelta(hours=36)
"""Least time between two issues: less than five in seven days, the limit on equal certificates."""
_REMIND = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """When the authority would like the renewal to happen."""

    start: datetime
    end: datetime
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered between two looks.

    `failures` counts the tries since the last success; a try counts as failed from its
    beginning on, so that a process that dies in the middle waits too.
    """

    failures: int = 0
    tried: datetime | None = None
    issued: datetime | None = None
    not_before: datetime | None = None
    problem: str = ""
    notified: datetime | None = None
    window: Window | None = None
    window_for: str = ""
    ask_again: datetime | None = None
    hooks_due: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to act now, when to look next at the latest, and why."""

    act: bool
    at: datetime
    reason: str


def due(begins: datetime, ends: datetime, fingerprint: str, window: Window | None) -> datetime:
    """When the certificate should be renewed.

    The random part is drawn from the fingerprint: every look at one certificate gives the
    same moment, and two machines give different ones.
    """
    lifetime = ends - begins
    fraction = int(sha256(fingerprint.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    if window is not None and window.start <= window.end:
        wanted = window.start + (window.end - window.start) * fraction
        return min(wanted, begins + lifetime * LATEST)
    part = 1 / 2 if lifetime < SHORT_LIVED else 2 / 3
    return begins + lifetime * (part - SPREAD * fraction)


def decide(
    now: datetime,
    *,
    begins: datetime | None = None,
    ends: datetime | None = None,
    fingerprint: str = "",
    changed: str = "",
    state: State,
) -> Decision:
    """Decide whether to ask for a certificate at `now`.

    Args:
        now: the present time.
        begins: when the certificate in use begins; None without one.
        ends: when it ends.
        fingerprint: which one it is.
        changed: why the certificate in use is not the wanted one; empty when it is.
        state: what is remembered.
    """
    if begins is None or ends is None:
        wanted, reason = now, "there is no certificate yet"
    elif changed:
        wanted, reason = now, changed
    else:
        window = state.window if state.window_for == fingerprint else None
        wanted = due(begins, ends, fingerprint, window)
        left = ends - now
        reason = (
            "it has expired"
            if left <= timedelta(0)
            else f"{_span(left)} of {_span(ends - begins)} are left"
            + (", and the authority advises it" if window else "")
        )
    state = _by_clock(state, now)
    earliest = max(filter(None, (wanted, _retry_at(state, _life(begins, ends)))))
    if state.issued is not None and not changed and begins is not None and ends is not None:
        # An authority that goes on advising "now" must not exhaust its own limits.
        earliest = max(earliest, state.issued + min(BETWEEN, (ends - begins) / 4))
    return Decision(now >= earliest, earliest, reason)


def pause(failures: int, lifetime: timedelta | None) -> timedelta:
    """How long to wait after so many failed tries in a row.

    A quarter of an hour, doubled each time, up to six hours; for short lives less, since six
    hours are a twenty-fourth of six days.
    """
    if failures <= 0:
        return timedelta(0)
    longest = LONGEST_PAUSE if lifetime is None else min(LONGEST_PAUSE, lifetime / 24)
    doubled = FIRST_PAUSE * (1 << min(failures - 1, 20))
    return max(FIRST_PAUSE, min(doubled, longest))


def overdue(
    now: datetime, begins: datetime, ends: datetime, fingerprint: str, state: State
) -> bool:
    """Whether somebody must be told: less than a third is left, and renewing has not worked.

    Renewal itself falls due at that point, so a certificate that was not tried yet is late only
    a thirtieth of its life after its time.
    """
    lifetime = ends - begins
    if ends - now >= lifetime / 3:
        return False
    window = state.window if state.window_for == fingerprint else None
    latest = max(due(begins, ends, fingerprint, window), begins + lifetime * 2 / 3)
    return state.failures > 0 or now > latest + lifetime * SPREAD


def began(state: State, now: datetime) -> State:
    """Note that a try begins."""
    return replace(state, failures=state.failures + 1, tried=now, problem="it was interrupted")


def failed(state: State, now: datetime, problem: str, *, retry_after: float = 0) -> State:
    """Note why the try that began has failed, and how many seconds the authority wants to rest."""
    wait = timedelta(seconds=max(0.0, min(retry_after, 14 * 86400)))
    return replace(state, problem=problem, not_before=now + wait if wait else None)


def succeeded(state: State, now: datetime) -> State:
    """Note a new certificate; the hooks are still to be run."""
    return replace(
        state, failures=0, tried=now, issued=now, not_before=None, problem="", notified=None,
        window=None, window_for="", ask_again=None, hooks_due=True,
    )  # fmt: skip


def advised(state: State, fingerprint: str, window: Window | None, ask_again: datetime) -> State:
    """Note the authority's advice on one certificate, and when to ask it again."""
    return replace(state, window=window, window_for=fingerprint, ask_again=ask_again)


def without_hooks(state: State) -> State:
    """Note that the servers were told."""
    return replace(state, hooks_due=False)


def may_remind(now: datetime, state: State) -> bool:
    """Whether a day has passed since the operator was told last."""
    return state.notified is None or not timedelta(0) <= now - state.notified < _REMIND


def reminded(state: State, now: datetime) -> State:
    """Note that the operator was told."""
    return replace(state, notified=now)


def encode(state: State) -> dict[str, Any]:
    """Turn the state into JSON values."""
    return {name: _plain(value) for name, value in asdict(state).items()}


def decode(raw: Mapping[str, Any]) -> State:
    """Turn JSON values into the state; what is unknown or unusable counts as not remembered."""
    known = {field.name: field for field in fields(State)}
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name in known and value is not None:
            try:
                values[name] = _typed(name, value)
            except (ValueError, TypeError, KeyError):
                continue
    return State(**values)


def _typed(name: str, value: Any) -> Any:
    if name == "failures":
        return max(0, int(value))
    if name == "hooks_due":
        return bool(value)
    if name in {"problem", "window_for"}:
        return str(value)
    if name == "window":
        return Window(_moment(value["start"]), _moment(value["end"]), str(value["explanation"]))
    return _moment(value)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _by_clock(state: State, now: datetime) -> State:
    """Forget times that lie in the future: the clock was wrong when they were noted.

    They would otherwise put renewal off until the wrong time comes.
    """
    tried = state.tried if state.tried is not None and state.tried <= now else None
    issued = state.issued if state.issued is not None and state.issued <= now else None
    return replace(state, tried=tried, issued=issued)


def _retry_at(state: State, lifetime: timedelta | None) -> datetime | None:
    if state.failures == 0 or state.tried is None:
        return None
    return max(filter(None, (state.tried + pause(state.failures, lifetime), state.not_before)))


def _life(begins: datetime | None, ends: datetime | None) -> timedelta | None:
    return None if begins is None or ends is None else ends - begins


def _span(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} hours"
