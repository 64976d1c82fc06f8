"""The process that makes the requests, `python -m insight_cloud.load.engine`.

Importing Locust replaces sockets, threads and time of the whole process by gevent's. So only this
process does, and nothing else imports this file. It reads one line of JSON from standard
input, says one line for each event, and ends when its standard input does: it never outlives who
started it.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything else is imported: what is imported earlier keeps the old parts

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from typing import Any, Literal  # noqa: E402

import gevent  # noqa: E402
import msgspec  # noqa: E402
from gevent import socket  # noqa: E402
from gevent.event import Event  # noqa: E402
from locust import runners  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.exception import RPCError  # noqa: E402

from insight_cloud.load import figures  # noqa: E402
from insight_cloud.load.generator import Generator, Share, Test, shares  # noqa: E402
from insight_cloud.load.tally import Tally  # noqa: E402

__all__ = ["Order", "main"]

_TICK_SECONDS = 1.0
_HEAD_START_SECONDS = 0.5
_SPAWN_PATIENCE_SECONDS = 120
_REPORT_PATIENCE_SECONDS = 20
_STDIN = 0
_MISSING_SECONDS = 15


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is for: the whole test, leading workers, or being one."""

    role: Literal["alone", "leader", "worker"]
    test: Test | None = None
    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 1
    patience_seconds: float = 60


def main() -> None:
    """Do what standard input orders."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
    reader = _Reader()
    order = msgspec.json.decode(reader.line(), type=Order)
    gevent.spawn(reader.listen)
    if order.role == "worker":
        _Worker(order, reader).run()
    else:
        assert order.test is not None  # noqa: S101 - only workers are told later
        leader = _Alone(order.test) if order.role == "alone" else _Leader(order, order.test)
        leader.run(reader)
    sys.stdout.flush()
    os._exit(0)  # Locust's greenlets would be waited for


def _say(event: str, **data: Any) -> None:
    sys.stdout.write(msgspec.json.encode({"event": event, **data}).decode() + "\n")
    sys.stdout.flush()


def _fail(message: str) -> None:
    _say("error", message=message)
    os._exit(1)


class _Reader:
    """Standard input: one order, then `stop`; its end means that nobody wants us any more."""

    def __init__(self) -> None:
        self.stop = Event()
        self._rest = b""

    def line(self) -> bytes:
        while b"\n" not in self._rest:
            socket.wait_read(_STDIN)
            data = os.read(_STDIN, 1 << 16)
            if not data:
                os._exit(1)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def listen(self) -> None:
        while self.line().strip() == b"stop":
            self.stop.set()


# -- who leads -----------------------------------------------------------------------------------


class _Leading:
    """Begin the test, add up what comes in, judge it every second, say the result."""

    def __init__(self, test: Test) -> None:
        self.test = test
        self.tally = Tally()
        self.lost = 0
        self.processes = 1
        self._stopped_by: str | None = None
        self._interrupted = False

    def run(self, reader: _Reader) -> None:
        self.prepare()
        start_at = time.time() + _HEAD_START_SECONDS
        self.begin(start_at)
        started = datetime.fromtimestamp(start_at, UTC)
        while not self.done():
            gevent.sleep(_TICK_SECONDS / 5)
            if reader.stop.is_set() and not self._interrupted:
                self._interrupted = True
                self.stop()
            self._tick(start_at)
        seconds = time.time() - start_at
        self.collect()
        result = figures.of(
            self.test.scenario,
            self.tally,
            target=self.test.target,
            started=started,
            seconds=max(seconds, 0.001),
            processes=self.processes,
            lost=self.lost,
            interrupted=self._interrupted,
            stopped_by=self._stopped_by,
        )
        _say("result", figures=msgspec.to_builtins(result))

    _last = 0.0

    def _tick(self, start_at: float) -> None:
        now = time.time()
        if now - self._last < _TICK_SECONDS:
            return
        self._last = now
        self.gather()
        seconds = max(0.001, now - start_at)
        total = self.tally.total()
        latest = self.tally.seconds.get(int(seconds) - 1)
        _say(
            "progress",
            seconds=round(seconds, 1),
            of=self.test.scenario.seconds,
            requests=total.durations.count,
            failed=total.failed,
            per_second=latest.durations.count if latest else 0,
            p95_ms=total.durations.percentile(95),
            lag_ms=self.tally.lag.percentile(99),
            cpu_percent=latest.cpu if latest else 0.0,
        )
        self._abort(seconds)

    def _abort(self, seconds: float) -> None:
        for threshold in self.test.scenario.conditions():
            if threshold.abort is None or seconds < threshold.abort or self._stopped_by:
                continue
            value = self.tally.metric(threshold.selector, seconds).ask(
                threshold.what, threshold.percent
            )
            if value is not None and not threshold.holds(value):
                self._stopped_by = f"{threshold.selector}: {threshold.expression}"
                self.stop()

    def prepare(self) -> None:
        raise NotImplementedError

    def begin(self, start_at: float) -> None:
        raise NotImplementedError

    def done(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def gather(self) -> None:
        """Take in what is here already."""

    def collect(self) -> None:
        """Take in the rest."""


class _Alone(_Leading):
    """The whole test in this process."""

    def __init__(self, test: Test) -> None:
        super().__init__(test)
        self._generator = Generator()
        self._environment = Environment(stop_timeout=1)

    def prepare(self) -> None:
        self._generator.prepare(self._environment, self.test)
        self._runner = self._environment.create_local_runner()
        self._runner.start(self.test.scenario.users, spawn_rate=self.test.scenario.users)
        spawning = self._runner.spawning_greenlet
        if spawning is not None:
            spawning.join(_SPAWN_PATIENCE_SECONDS)

    def begin(self, start_at: float) -> None:
        classes = self._generator.classes()
        found = self._runner.user_classes_count
        counts = {name: found[made] for name, made in classes.items()}
        self._generator.begin(shares(self.test.scenario.scenarios, [counts])[0], start_at)

    def done(self) -> bool:
        return bool(self._generator.finished.is_set())

    def stop(self) -> None:
        self._generator.stop()

    def gather(self) -> None:
        self._generator.measure()
        self.tally.merge(Tally.of_data(self._generator.take("alone")))

    def collect(self) -> None:
        self.gather()


class _Leader(_Leading):
    """Other processes make the requests; this one leads them and adds up."""

    def __init__(self, order: Order, test: Test) -> None:
        super().__init__(test)
        self._order = order
        self._reported: set[str] = set()
        self._members: list[str] = []
        self._until = 0.0

    def prepare(self) -> None:
        generator = Generator()
        self._environment = Environment(stop_timeout=1)
        generator.prepare(self._environment, self.test)
        self._classes = generator.classes()
        order = self._order
        # Locust gives a worker up after 3 s of silence, which a busy machine may well need.
        runners.HEARTBEAT_LIVENESS = _MISSING_SECONDS
        try:
            self._runner = self._environment.create_master_runner(order.host, order.port)
        except RPCError as error:
            _fail(f"cannot listen on {order.host}:{order.port}: {error}")
        self._runner.register_message("insight.counts", self._counts)
        self._runner.register_message("insight.rest", self._rest)
        _say("listening", host=order.host, port=self._runner.server.port)
        self._wait_for_workers()
        data = {"test": msgspec.json.encode(self.test).decode()}
        self._runner.send_message("insight.test", data)
        self._runner.start(self.test.scenario.users, spawn_rate=self.test.scenario.users)
        self.processes = len(self._members)

    def _wait_for_workers(self) -> None:
        until = time.time() + self._order.patience_seconds
        while len(self._runner.clients.ready) < self._order.workers:
            if time.time() > until:
                came = len(self._runner.clients.ready)
                _fail(
                    f"{came} of {self._order.workers} workers came within "
                    f"{self._order.patience_seconds:g} s"
                )
            gevent.sleep(0.05)
        self._members = [client.id for client in self._runner.clients.ready]

    def begin(self, start_at: float) -> None:
        found = [self._runner.clients[member].user_classes_count for member in self._members]
        counts = [{n: each.get(made, 0) for n, made in self._classes.items()} for each in found]
        dealt = shares(self.test.scenario.scenarios, counts)
        for member, share in zip(self._members, dealt, strict=True):
            data = {"start_at": start_at, "shares": {n: list(s) for n, s in share.items()}}
            self._runner.send_message("insight.begin", data, member)

    def done(self) -> bool:
        """Whether every worker has said its rest, or is gone."""
        here = {client.id for client in self._runner.clients.all if client.state != "missing"}
        open_ = {member for member in self._members if member not in self._reported}
        return not (open_ & here)

    def stop(self) -> None:
        self._runner.send_message("insight.stop", {})

    def collect(self) -> None:
        self.lost = len(self._members) - len(self._reported)
        self._runner.quit()

    def _counts(self, environment: Environment, msg: Any) -> None:
        del environment
        self.tally.merge(Tally.of_data(msg.data["tally"]))

    def _rest(self, environment: Environment, msg: Any) -> None:
        self._counts(environment, msg)
        self._reported.add(msg.node_id)


# -- who is led ----------------------------------------------------------------------------------


class _Worker:
    """Some of the users, led by another process, perhaps on another machine."""

    def __init__(self, order: Order, reader: _Reader) -> None:
        self._generator = Generator()
        self._environment = Environment(stop_timeout=1)
        self._order, self._reader = order, reader

    def run(self) -> None:
        order = self._order
        if not _answers(order.host, order.port, order.patience_seconds):
            _fail(f"nobody leads a load test on {order.host}:{order.port}")
        self._runner = self._environment.create_worker_runner(order.host, order.port)
        for name, listener in {
            "insight.test": self._test,
            "insight.begin": self._begin,
            "insight.stop": self._stop,
        }.items():
            self._runner.register_message(name, listener)
        _say("joined", host=order.host, port=order.port)
        while not self._generator.finished.is_set():
            gevent.sleep(_TICK_SECONDS / 2)
            if self._runner.greenlet is not None and self._reader.stop.is_set():
                self._generator.stop()
            self._report("insight.counts")
            if self._runner.state == "stopped" or not len(self._runner.greenlet):
                break
        self._report("insight.rest")
        gevent.sleep(_TICK_SECONDS)  # until it is sent
        _say("left")

    def _report(self, message: str) -> None:
        self._generator.measure()
        data = self._generator.take(self._runner.client_id)
        self._runner.send_message(message, {"tally": data})

    def _test(self, environment: Environment, msg: Any) -> None:
        test = msgspec.json.decode(msg.data["test"], type=Test)
        self._generator.prepare(environment, test)

    def _begin(self, environment: Environment, msg: Any) -> None:
        del environment
        data: Mapping[str, Any] = msg.data
        dealt = {n: Share(first, step, tuple(u)) for n, (first, step, u) in data["shares"].items()}
        self._generator.begin(dealt, data["start_at"])

    def _stop(self, environment: Environment, msg: Any) -> None:
        del environment, msg
        self._generator.stop()


def _answers(host: str, port: int, patience_seconds: float) -> bool:
    """Whether somebody listens there, by the end of our patience."""
    until = time.time() + patience_seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            if time.time() > until:
                return False
            gevent.sleep(0.2)
        else:
            return True


if __name__ == "__main__":
    main()
