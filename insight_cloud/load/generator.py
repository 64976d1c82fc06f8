"""One process' share of a load test: its users, who begin when the schedule says so.

Locust runs the users and makes their requests; from here come the times at which they begin,
what they ask, and what is counted. Only for the process of `engine`.
"""

from __future__ import annotations

import gc
import random
import resource
import ssl
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlencode, urljoin, urlsplit

import gevent
import msgspec
from gevent.event import Event
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

from insight_cloud.load import schedule
from insight_cloud.load.alarm import Alarm
from insight_cloud.load.scenario import Crowd, Scenario, Step
from insight_cloud.load.tally import Tally
from insight_cloud.load.text import captured, filled, filled_all

__all__ = ["Generator", "Share", "Test"]

_MOST_WAITING = 100_000
_REDIRECTS = 5
_YIELD_EVERY = 20
_DRAIN_LOOK_SECONDS = 0.02


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of a load test must know."""

    scenario: Scenario
    target: str
    run: str
    ca_file: str | None = None


class Share(NamedTuple):
    """What one process does of a crowd: which arrivals, or which users by their numbers."""

    first: int
    step: int
    users: tuple[int, ...]


Shares: TypeAlias = Mapping[str, Share]


class _Request(NamedTuple):
    """What is sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None

    def redirected(self, url: str) -> _Request:
        """The next one; after a form it gets, as browsers do."""
        if self.method in {"GET", "HEAD"}:
            return self._replace(url=url)
        kept = {n: text for n, text in self.headers.items() if not n.startswith("content-")}
        return _Request("GET", url, kept, None)


class Visitor(FastHttpUser):
    """A virtual user, who lives as its crowd does."""

    abstract = True
    insecure = False
    max_retries = 0
    crowd: _Crowd

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # Redirects are followed by us: each is a request that takes time, and none leads away.
        agent: Any = self.client.client
        agent.redirect_response_codes = frozenset()
        self.number = 0
        self.values: dict[str, str] = {}
        self.done: set[str] = set()
        self.pending: tuple[str, str, float] | None = None
        self.call: Event | None = None
        self.due: float | None = None

    @task
    def live(self) -> None:
        """Live once, and leave."""
        self.crowd.live(self)
        raise StopUser


class Generator:
    """The users of one process. `prepare`, spawn them with Locust, `begin`, wait for `finished`."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.finished = Event()
        self.alarm = Alarm()
        self.crowds: dict[str, _Crowd] = {}
        self.stopping = False
        self._began = Event()
        self._zero = 0.0
        self._cpu = (0.0, 0.0)

    def prepare(self, environment: Environment, test: Test) -> None:
        """Make a class of users for each crowd, and count what Locust measures."""
        self._environment = environment
        scenario = test.scenario
        classes = []
        for number, (name, crowd) in enumerate(scenario.scenarios.items()):
            made = _Crowd(self, name, crowd, test)
            self.crowds[name] = made
            attributes = {
                "abstract": False,
                "crowd": made,
                "host": test.target,
                "fixed_count": crowd.users,
                "network_timeout": scenario.timeout_seconds,
                "connection_timeout": scenario.timeout_seconds,
                "ssl_context_factory": staticmethod(_context(test.ca_file)),
            }
            classes.append(type(f"Crowd{number}", (Visitor,), attributes))
        environment.user_classes = classes
        environment.host = test.target

    def classes(self) -> dict[str, str]:
        """Locust's name of each crowd's class."""
        return {name: f"Crowd{number}" for number, name in enumerate(self.crowds)}

    def begin(self, shares: Shares, start_at: float) -> None:
        """Begin at `start_at` of the wall clock, which all processes share."""
        self._zero = time.perf_counter() + start_at - time.time()
        self._cpu = (time.perf_counter(), time.process_time())
        gc.collect()
        gc.freeze()  # what is there now stays, and need not be looked at again
        gc.set_threshold(50_000, 20, 50)
        for name, share in shares.items():
            self.crowds[name].begin(share, self._zero)
        self._began.set()
        gevent.spawn(self._finish)

    def wait_for_begin(self) -> None:
        """Let a user wait until all are there."""
        self._began.wait()

    def stop(self) -> None:
        """Begin nothing further; what is under way may end."""
        self.stopping = True
        self.alarm.silence()

    @property
    def second(self) -> int:
        """The present second of the run."""
        return max(0, int(time.perf_counter() - self._zero))

    def measure(self) -> None:
        """Note what this process used since the last time; meant for once a second."""
        wall, used = time.perf_counter(), time.process_time()
        passed = wall - self._cpu[0]
        if passed < 0.2 or wall < self._zero + 0.5:
            return
        share = (used - self._cpu[1]) / passed * 100
        self.tally.second(max(0, self.second - 1)).cpu = share
        self._cpu = (wall, used)

    def take(self, process: str) -> dict[str, Any]:
        """The counts since the last time, as data; they begin anew."""
        self.tally.memory[process] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        data = self.tally.as_data()
        self.tally = Tally()
        return data

    def _finish(self) -> None:
        """Wait until everybody has left, or has had time enough."""
        patience = {name: crowd.ends + crowd.wanted.drain_seconds for name, crowd in self._all()}
        while crowds := [crowd for _, crowd in self._all() if not crowd.empty]:
            now, stopped = time.perf_counter(), self.stopping
            late = [c for c in crowds if now > patience[c.name]]
            for crowd in late:
                crowd.abandon()
            if stopped:
                patience = {n: min(at, now + 2) for n, at in patience.items()}
            gevent.sleep(_DRAIN_LOOK_SECONDS)
        self.measure()
        self.finished.set()

    def _all(self) -> Iterable[tuple[str, _Crowd]]:
        return self.crowds.items()


class _Crowd:
    """One crowd's users in this process, and when they begin."""

    def __init__(self, generator: Generator, name: str, wanted: Crowd, test: Test) -> None:
        self.name, self.wanted, self.test = name, wanted, test
        self.ends = 0.0
        self._generator = generator
        self._lines = schedule.pieces(wanted.stages, wanted.start)
        self._zero = 0.0
        self._numbers: deque[int] = deque()
        self._idle: list[Visitor] = []
        self._waiting: deque[float] = deque()
        self._busy: set[Visitor] = set()
        self._living = 0
        self._arriving = False

    def begin(self, share: Share, zero: float) -> None:
        """Begin with `share` at `zero` of the process' own clock."""
        self._zero = zero + self.wanted.after_seconds
        self.ends = zero + self.wanted.end_seconds
        self._numbers = deque(share.users)
        self._living = len(share.users) if self.wanted.kind == "users" else 0
        if self.wanted.kind == "arrivals" and share.step:
            self._arriving = True
            gevent.spawn(self._arrive, share)

    @property
    def empty(self) -> bool:
        """Whether nobody is there, and nobody will come."""
        return not (self._living or self._arriving or self._busy or self._waiting)

    def abandon(self) -> None:
        """Count what has had no answer for too long as failed, and wait for it no longer."""
        tally, now = self._generator.tally, time.perf_counter()
        tally.dropped += len(self._waiting)
        self._waiting.clear()
        for user in self._busy:
            if user.pending is not None:
                name, method, since = user.pending
                key = (self.name, name, method)
                error = "no answer until the run ended"
                tally.request(key, self._generator.second, (now - since) * 1000, 0, error)
        self._busy.clear()
        self._living = 0
        self._arriving = False

    def live(self, user: Visitor) -> None:
        """Be one of this crowd."""
        generator = self._generator
        generator.wait_for_begin()
        if not self._numbers:
            return  # more users were made than are needed
        user.number = self._numbers.popleft()
        user.values = self._values_of(user.number)
        if self.wanted.kind == "arrivals":
            self._serve(user)
            return
        try:
            for begin, end in schedule.lives(self._lines, user.number):
                self._stay(user, self._zero + begin, self._zero + end)
        finally:
            self._living = max(0, self._living - 1)

    # -- users -----------------------------------------------------------------------------------

    def _stay(self, user: Visitor, begin: float, end: float) -> None:
        """Go through the steps again and again, from `begin` to `end`."""
        generator, wanted = self._generator, self.wanted
        due = begin
        if begin == self._zero:  # all at once: they come evenly over one turn instead
            turn = wanted.pace_seconds or max(wanted.think_seconds[1], wanted.think_seconds[0])
            due += schedule.spread(user.number) * turn
        while due < end:
            slept = generator.alarm.until(due)
            if generator.stopping:
                return
            if slept:
                generator.tally.lag.add((time.perf_counter() - due) * 1000)
            self._pass(user, due, end)
            if wanted.pace_seconds is not None:
                due += wanted.pace_seconds
            else:
                due = time.perf_counter() + random.uniform(*wanted.think_seconds)  # noqa: S311

    # -- arrivals --------------------------------------------------------------------------------

    def _arrive(self, share: Share) -> None:
        """Hand each arrival to the user who has rested the shortest: its connection is open."""
        generator, behind = self._generator, 0
        for when in schedule.arrivals(self._lines, share.first, share.step):
            due = self._zero + when
            if not generator.alarm.until(due):
                behind += 1
                if behind % _YIELD_EVERY == 0:
                    gevent.sleep(0)  # else nobody could begin while we are late
            if generator.stopping:
                break
            tally = generator.tally
            tally.due += 1
            if self._idle:
                user = self._idle.pop()
                user.due = due
                self._busy.add(user)
                assert user.call is not None  # noqa: S101 - the idle wait for one
                user.call.set()
            elif len(self._waiting) < _MOST_WAITING:
                tally.waited += 1
                self._waiting.append(due)
            else:
                tally.dropped += 1
        self._arriving = False

    def _serve(self, user: Visitor) -> None:
        """Take one arrival after the other."""
        generator = self._generator
        while True:
            if self._waiting and not generator.stopping:
                due = self._waiting.popleft()
                self._busy.add(user)
            else:
                if generator.stopping:
                    generator.tally.dropped += len(self._waiting)
                    self._waiting.clear()
                due = self._rest(user)
                generator.tally.lag.add((time.perf_counter() - due) * 1000)
            self._pass(user, due, float("inf"))
            self._busy.discard(user)

    def _rest(self, user: Visitor) -> float:
        user.call = Event()
        self._idle.append(user)
        user.call.wait()
        assert user.due is not None  # noqa: S101 - set by who calls
        return user.due

    # -- one passage through the steps -----------------------------------------------------------

    def _pass(self, user: Visitor, due: float, end: float) -> None:
        """Do every step, the first one counted from `due`; a failure ends it."""
        user.values["iteration"] = str(int(user.values["iteration"]) + 1)
        user.values["random"] = f"{random.getrandbits(64):016x}"
        self._busy.add(user)
        since: float | None = due
        try:
            for step in self.wanted.steps:
                if step.once and step.name in user.done:
                    continue
                if since is None and time.perf_counter() > end:
                    return
                if not self._ask(user, step, since):
                    self._note(due, whole=False)
                    return
                if step.once:
                    user.done.add(step.name)
                since = None
                if any(step.think_seconds):
                    pause = random.uniform(*step.think_seconds)  # noqa: S311
                    self._generator.alarm.until(min(end, time.perf_counter() + pause))
            self._note(due, whole=True)
        finally:
            if self.wanted.kind == "users":
                self._busy.discard(user)

    def _note(self, due: float, *, whole: bool) -> None:
        passed = (time.perf_counter() - due) * 1000
        self._generator.tally.iteration(self.name, passed, whole=whole)

    def _ask(self, user: Visitor, step: Step, since: float | None) -> bool:
        """Make the request of `step`, and those that it is redirected to."""
        try:
            request = self._request(step, user.values)
        except KeyError as missing:
            self._refuse(step, f"the variable {missing.args[0]!r} has no value")
            return False
        for _ in range(_REDIRECTS + 1):
            if not _leads_to(self.test.target, request.url):
                self._refuse(step, f"{request.url[:100]} is not on {self.test.target}")
                return False
            onward, error = self._send(user, step, request, since)
            if onward is None:
                return error is None
            request, since = request.redirected(onward), None
        self._refuse(step, f"more than {_REDIRECTS} redirects")
        return False

    def _send(
        self, user: Visitor, step: Step, request: _Request, since: float | None
    ) -> tuple[str | None, str | None]:
        """Make one request; say where it leads on to, or what is wrong with the answer."""
        began = time.perf_counter()
        since = began if since is None else since
        user.pending = (step.name, request.method, since)
        with user.client.request(
            request.method,
            request.url,
            name=step.name,
            headers=request.headers,
            data=request.body,
            catch_response=True,
        ) as response:
            took = response.request_meta["response_time"] + (began - since) * 1000
            onward = _onward(step, request, response)
            error = None if onward else self._wrong(user, step, response)
            if error is None:
                response.success()
            else:
                response.failure(error)
        if user in self._busy:  # else the run has ended, and this request is counted already
            size = len(response.content or b"")
            key = (self.name, step.name, request.method)
            self._generator.tally.request(key, self._generator.second, took, size, error)
        user.pending = None
        return onward, error

    @staticmethod
    def _wrong(user: Visitor, step: Step, response: Any) -> str | None:
        """What is not as the step wants it; keep what it captures."""
        status = response.status_code
        if not status:
            return _in_words(response.error)
        if status not in step.status if step.status else status >= 400:
            return f"HTTP {status}"
        text = _text(response) if step.contains is not None or step.capture else ""
        if step.contains is not None and filled(step.contains, user.values) not in text:
            return f"the answer does not contain {step.contains!r}"
        for name, how in step.capture.items():
            found = captured(how, text, response.headers)
            if found is None:
                return f"the answer has no {how} for {name}"
            user.values[name] = found
        return None

    def _refuse(self, step: Step, error: str) -> None:
        key = (self.name, step.name, step.method)
        self._generator.tally.request(key, self._generator.second, 0, 0, error)

    def _request(self, step: Step, values: Mapping[str, str]) -> _Request:
        path = filled(step.path, values)
        headers = {
            name.lower(): filled(text, values)
            for name, text in (self.test.scenario.headers | step.headers).items()
        }
        body: str | None = None
        if step.form is not None:
            body = urlencode(filled_all(step.form, values))
            headers.setdefault("content-type", "application/x-www-form-urlencoded")
        elif step.json is not None:
            body = msgspec.json.encode(filled_all(step.json, values)).decode()
            headers.setdefault("content-type", "application/json")
        elif step.body is not None:
            body = filled(step.body, values)
        url = path if "://" in path else self.test.target + path
        return _Request(step.method, url, headers, body)

    def _values_of(self, number: int) -> dict[str, str]:
        """The variables of a user. Its address is its own, of those reserved for tests."""
        address = f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}"
        given = {"user": str(number), "run": self.test.run, "iteration": "0", "random": ""}
        return {
            **self.test.scenario.variables,
            **given,
            "address": address,
            "target": self.test.target,
        }


def _leads_to(target: str, url: str) -> bool:
    ours, theirs = urlsplit(target), urlsplit(url)
    return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def _onward(step: Step, request: _Request, response: Any) -> str | None:
    """Where a redirect leads to that the step follows."""
    status = response.status_code
    if not (step.redirects and 300 <= status < 400 and status not in step.status):
        return None
    where = response.headers.get("location")
    return urljoin(request.url, where) if where else None


def _text(response: Any) -> str:
    content: bytes = response.content or b""
    return content.decode("utf-8", "replace")


def _in_words(error: Any) -> str:
    """A failed connection, without what differs from one to the next."""
    text = str(error) or type(error).__name__
    return f"{type(error).__name__}: {text}"[:200]


def _context(ca_file: str | None) -> Any:
    """One TLS context for all users, which verifies."""
    made: list[ssl.SSLContext] = []

    def context() -> ssl.SSLContext:
        if not made:
            made.append(ssl.create_default_context(cafile=ca_file))
        return made[0]

    return context


def shares(
    crowds: Mapping[str, Crowd], counts: Sequence[Mapping[str, int]]
) -> list[dict[str, Share]]:
    """Divide the crowds among processes that have so many users of each.

    Arrivals go in turn to those who have users; numbers are dealt out like cards.
    """
    made: list[dict[str, Share]] = [{} for _ in counts]
    for name, crowd in crowds.items():
        able = [index for index, count in enumerate(counts) if count.get(name)]
        hands: dict[int, list[int]] = {index: [] for index in able}
        wanted, number = crowd.users, 0
        while number < wanted and able:
            dealt = number
            for index in able:
                if len(hands[index]) < counts[index][name] and number < wanted:
                    hands[index].append(number)
                    number += 1
            if number == dealt:
                break  # there are fewer users than wanted
        for turn, index in enumerate(able):
            made[index][name] = Share(turn, len(able), tuple(hands[index]))
    return made
