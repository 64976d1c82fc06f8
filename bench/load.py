"""Our load tests beside plain Locust, wrk and hey: is what they report true?

    uv run python bench/load.py             # about four minutes
    uv run python bench/load.py --short     # ours and plain Locust only, shorter runs
    uv run python bench/load.py --json figures.json

A server answers after 10 ms; on another path it also stands still for 1 s in every 5, as a server
does that collects garbage or waits for a lock. It notes by its own clock how long each answer took
it, so the truth is known without any of the generators: without the pauses its notes are the truth;
with them, every moment of the five seconds has its own, and users come at any of them.

All ask for 500 requests a second. wrk and hey send as fast as eight connections allow, or at the
rate of each connection: they wait for the server, so they do not see whom it keeps waiting.

The server has one processor of the machine to itself, the generator another. A run of ours that
says of itself that it was held up by the machine is made anew, up to four times.

It ends with each goal and its figure; exit status: 0 all met, 1 one missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import heapq
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RATE, DELAY, EVERY, FREEZE = 500, 0.010, 5.0, 1.0
PERCENTS = (50, 90, 99)
Claim: TypeAlias = tuple[str, float, str, float]
Row: TypeAlias = dict[int, float]


# -- the server, in a process of its own -------------------------------------------------------


_OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


def thaw(at: float) -> float:
    """When the server goes on, if it stands still at `at`; else 0."""
    passed = at % EVERY
    return at - passed + FREEZE if passed < FREEZE else 0.0


class Server:
    """One process, no library between it and the kernel, so that its notes are exact."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._timer = self._libc.timerfd_create(1, 0o4000)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._due: list[tuple[float, int, int, str, float]] = []
        self._number = 0
        self._notes: dict[str, list[float]] = {"/delay": [], "/freeze": []}

    def serve(self) -> None:
        for file in (self._listener.fileno(), self._timer, 0):
            self._poll.register(file, select.EPOLLIN)
        print(self._listener.getsockname()[1], flush=True)
        while True:
            for file, _ in self._poll.poll(5):
                if file == 0:
                    if not os.read(0, 64):
                        return
                    print(json.dumps(self._notes), flush=True)
                    self._notes = {path: [] for path in self._notes}
                elif file == self._timer:
                    with contextlib.suppress(BlockingIOError):
                        os.read(file, 8)
                elif file == self._listener.fileno():
                    self._accept()
                else:
                    self._read(file)
            self._answer()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open[client.fileno()] = client
                self._poll.register(client, select.EPOLLIN)

    def _read(self, file: int) -> None:
        client = self._open.get(file)
        if client is None:
            return
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(file)
            del self._open[file]
            client.close()
            return
        now = time.perf_counter()
        path = data.split(b" ", 2)[1].decode()
        due = now + DELAY
        if path == "/freeze":
            due = thaw(now) + DELAY if thaw(now) else thaw(due) or due
        self._number += 1
        heapq.heappush(self._due, (due, self._number, file, path, now))

    def _answer(self) -> None:
        while self._due and self._due[0][0] <= time.perf_counter():
            _, _, file, path, came = heapq.heappop(self._due)
            client = self._open.get(file)
            if client is not None:
                with contextlib.suppress(OSError):
                    client.send(_OK)
                self._notes[path].append((time.perf_counter() - came) * 1000)
        if self._due:
            due = self._due[0][0]
            value = _Time(int(due), max(1, int(due % 1 * 1e9)))
            self._libc.timerfd_settime(
                self._timer, 1, ctypes.byref(_Setting(_Time(0, 0), value)), None
            )


class Served:
    """The server from outside, and the truth by its notes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{process.stdout.readline().strip()}"

    def notes(self) -> dict[str, list[float]]:
        """How long each answer took the server, since the last time somebody asked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        found: dict[str, list[float]] = json.loads(self._process.stdout.readline())
        return found

    def truth(self, path: str) -> Row:
        """The percentiles of who comes at any moment, since the last time somebody asked."""
        notes = sorted(self.notes()[path])
        if path == "/freeze":
            usual = notes[len(notes) // 2] - DELAY * 1000
            notes = sorted(moment(number * EVERY / 10_000) + usual for number in range(10_000))
        return {percent: notes[len(notes) * percent // 100] for percent in PERCENTS}


def moment(at: float) -> float:
    """How many milliseconds who comes `at` waits on the path that stands still."""
    due = thaw(at) + DELAY if thaw(at) else thaw(at + DELAY) or at + DELAY
    return (due - at) * 1000


@contextlib.contextmanager
def served(processor: int | None) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if processor is not None:
            os.sched_setaffinity(process.pid, {processor})
        yield Served(process)
    finally:
        process.kill()
        process.wait()


# -- the generators ----------------------------------------------------------------------------


def ours(
    url: str,
    path: str,
    seconds: float,
    *,
    workers: int = 0,
    rate: float = RATE,
    users: int | None = None,
) -> Any:
    from insight_cloud import load
    from insight_cloud.load.scenario import Crowd, Scenario, Stage, Step

    crowd = Crowd(
        kind="arrivals",
        start=rate,
        stages=(Stage(seconds, rate),),
        steps=(Step(name="one", path=path),),
        drain_seconds=3,
        most_users=users,
    )
    scenario = Scenario(name="bench", scenarios={"all": crowd})
    return asyncio.run(load.run(scenario, url, workers=workers))


def crowd_of(url: str, users: int, seconds: float) -> Any:
    """So many users, each with one request a second."""
    from insight_cloud import load
    from insight_cloud.load.scenario import Crowd, Scenario, Stage, Step

    crowd = Crowd(
        kind="users",
        start=users,
        stages=(Stage(seconds, users),),
        steps=(Step(name="one", path="/delay"),),
        pace_seconds=1,
    )
    return asyncio.run(load.run(Scenario(name="users", scenarios={"all": crowd}), url))


_LOCUSTFILE = """
from locust import FastHttpUser, constant_throughput, task

class One(FastHttpUser):
    wait_time = constant_throughput({each})

    @task
    def one(self):
        self.client.get("{path}")
"""


def locust(url: str, path: str, seconds: float, *, users: int = 8) -> tuple[Row, float]:
    """Plain Locust's percentiles, and the most memory it used in MiB."""
    each = RATE / users if users == 8 else 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "locustfile.py")
        file.write_text(_LOCUSTFILE.format(each=each, path=path), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "locust", "-f", str(file), "--headless", "--only-summary"),
            *("-u", str(users), "-r", str(users), "-t", f"{seconds:.0f}s", "--host", url, "--json"),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        most = _watched(process)
        out, _ = process.communicate(timeout=seconds + 60)
    times = json.loads(out)[0]["response_times"]
    values = sorted((float(time_), int(count)) for time_, count in times.items())
    total, row = sum(count for _, count in values), {}
    for percent in PERCENTS:
        seen = 0
        for value, count in values:
            seen += count
            if seen >= total * percent / 100:
                row[percent] = value
                break
    return row, most()


def _watched(process: subprocess.Popen[str]) -> Any:
    """Follow the memory of `process`; the function returned says the most, in MiB."""
    import psutil

    seen = [0]

    def follow() -> None:
        with contextlib.suppress(psutil.Error):
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                seen.append(watched.memory_info().rss)
                time.sleep(0.1)

    threading.Thread(target=follow, daemon=True).start()
    return lambda: max(seen) / 2**20


def wrk(url: str, path: str, seconds: float) -> Row:
    said = _said("wrk", "-t1", "-c8", f"-d{seconds:.0f}s", "--latency", url + path)
    found = re.findall(r"^ +(50|90|99)% +([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    return {int(percent): float(value) * unit[name] for percent, value, name in found}


def hey(url: str, path: str, seconds: float) -> Row:
    said = _said("hey", "-z", f"{seconds:.0f}s", "-c", "8", "-q", str(RATE // 8), url + path)
    found = re.findall(r"^ +(50|90|99)%+ in ([\d.]+) secs", said, re.MULTILINE)
    return {int(percent): float(value) * 1000 for percent, value in found}


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# -- the run -----------------------------------------------------------------------------------


class MachineBusyError(Exception):
    """The machine held our generator up: there is nothing to be said."""


def patiently(run: Any, tries: int = 4) -> Any:
    """A run of ours that was not held up by what else the machine does."""
    for _ in range(tries):
        found = run()
        if found.valid:
            return found
    raise MachineBusyError("; ".join(found.invalid))


def row_of(found: Any) -> Row:
    ms = found.total.ms
    return {50: ms.p50, 90: ms.p90, 99: ms.p99}


def truth_table(server: Served, seconds: float, peers: Sequence[str]) -> dict[str, Any]:
    """Every generator on both paths: what it reported, and what was true meanwhile."""
    table: dict[str, Any] = {}
    for path in ("/delay", "/freeze"):
        runs: dict[str, Any] = {
            "ours": lambda path=path: row_of(ours(server.url, path, seconds)),
            "plain Locust": lambda path=path: locust(server.url, path, seconds)[0],
            "wrk": lambda path=path: wrk(server.url, path, seconds),
            "hey": lambda path=path: hey(server.url, path, seconds),
        }
        for name in ("ours", *peers):
            if name == "ours":
                reported, true = _ours_and_truth(server, path, seconds)
            else:
                server.notes()
                reported = runs[name]()
                true = server.truth(path)
            table[f"{name} {path}"] = {"reported": reported, "true": true}
    return table


def _ours_and_truth(server: Served, path: str, seconds: float) -> tuple[Row, Row]:
    truths: list[Row] = []

    def once() -> Any:
        server.notes()
        found = ours(server.url, path, seconds)
        truths.append(server.truth(path))
        return found

    return row_of(patiently(once)), truths[-1]


def shares(cell: dict[str, Row]) -> Row:
    return {p: cell["reported"][p] / cell["true"][p] for p in PERCENTS if p in cell["reported"]}


def measure(*, short: bool) -> tuple[dict[str, Any], list[Claim]]:
    processors = sorted(os.sched_getaffinity(0))
    here, there = (processors[0], processors[-1]) if len(processors) > 1 else (None, None)
    if here is not None:
        os.sched_setaffinity(0, {here})
    peers = ["plain Locust"] if short else ["plain Locust", *_installed("wrk", "hey")]
    with served(there) as server:
        table = truth_table(server, 5 if short else 10, peers)
        crowd = patiently(lambda: crowd_of(server.url, 1000, 5 if short else 10))
        _, locust_mib = locust(server.url, "/delay", 5 if short else 10, users=1000)
        too_much = ours(server.url, "/delay", 2, rate=20_000, users=200)
        one = row_of(patiently(lambda: ours(server.url, "/freeze", 10)))
        two = row_of(patiently(lambda: ours(server.url, "/freeze", 10, workers=2)))
    all_shares = {name: shares(cell) for name, cell in table.items()}
    mine = [s for name, row in all_shares.items() if name.startswith("ours") for s in row.values()]
    apart = max(abs(two[p] / one[p] - 1) for p in PERCENTS)
    claims: list[Claim] = [
        ("reported/true of ours, the least of p50, p90, p99 on both paths", min(mine), ">=", 0.95),
        ("the same, the most", max(mine), "<=", 1.05),
        ("MiB of the generator with 1,000 users", crowd.generator.memory_bytes / 2**20, "<=", 120),
        ("an overloaded generator's run is valid (0: no)", float(too_much.valid), "<=", 0),
        ("two workers beside one, the largest difference of a percentile", apart, "<=", 0.05),
    ]
    figures = {
        "truth": table,
        "shares": all_shares,
        "users": crowd.as_dict(),
        "locust_1000_users_mib": locust_mib,
        "overloaded": list(too_much.invalid),
        "one_worker": one,
        "two_workers": two,
    }
    return figures, claims


def _installed(*names: str) -> list[str]:
    """Install what is missing, if we may; say what is left out."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        subprocess.run([ROOT / "scripts/packages", "bench"], check=False)
    for name in names:
        if shutil.which(name) is None:
            print(f"left out: {name} is not installed", file=sys.stderr)
    return [name for name in names if shutil.which(name) is not None]


def show(figures: dict[str, Any]) -> None:
    print(f"{'reported / true, ms':24} {'p50':>18} {'p90':>20} {'p99':>20}")
    for name, cell in figures["truth"].items():
        parts = [f"{cell['reported'].get(p, 0):8.1f} / {cell['true'][p]:7.1f}" for p in PERCENTS]
        print(f"{name:22} " + "  ".join(f"{part:>19}" for part in parts))
    users = figures["users"]
    mib = users["generator"]["memory_bytes"] / 2**20
    print(
        f"\n1,000 users, one request a second each: ours {mib:.0f} MiB "
        f"(p99 {users['total']['ms']['p99']:.1f} ms), plain Locust "
        f"{figures['locust_1000_users_mib']:.0f} MiB"
    )
    print("20,000 a second asked of one process: " + "; ".join(figures["overloaded"]) + "\n")


def report(claims: list[Claim]) -> int:
    missed = 0
    for name, figure, sign, goal in claims:
        met = figure >= goal if sign == ">=" else figure <= goal
        missed += not met
        print(f"{name}: {figure:.3g} (goal {sign} {goal:g}{'' if met else ', MISSED'})")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--short", action="store_true", help="less than two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        Server().serve()
        return 0
    if sys.platform != "linux":
        print("this benchmark needs Linux", file=sys.stderr)
        return 2
    try:
        figures, claims = measure(short=options.short)
    except MachineBusyError as error:
        print(f"could not run, the machine is too busy: {error}", file=sys.stderr)
        return 2
    show(figures)
    if options.json is not None:
        figures["claims"] = {claim[0]: claim[1] for claim in claims}
        options.json.write_text(json.dumps(figures, indent=2, default=str) + "\n", encoding="utf-8")
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
