"""Ingest: 25,000 findings uploaded to a running service, first time and unchanged.

The limit beside it: decoding the same log with msgspec and writing as many rows by COPY into
an equal table, with nothing read, matched or counted. Peak memory is the web process's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

FIRST_GOAL, AGAIN_GOAL, MEMORY_GOAL_MIB = 8_000, 20_000, 300
FINDINGS, FILES, RULES = 25_000, 900, 60


def log(findings: int) -> bytes:
    """A log as ruff would write it, with our fingerprints; the same bytes every time."""
    dice = random.Random(1)
    rules = [f"R{number:03d}" for number in range(RULES)]
    results = []
    for number in range(findings):
        rule = dice.choice(rules)
        line = dice.randrange(1, 2000)
        results.append(
            {
                "ruleId": rule,
                "ruleIndex": int(rule[1:]),
                "level": dice.choice(["error", "warning", "note"]),
                "message": {"text": f"`name_{number % 5000}` is assigned to but never used here"},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": f"src/package/module_{number % FILES}.py"},
                            "region": {"startLine": line, "startColumn": 5, "endColumn": 40},
                        }
                    }
                ],
                "partialFingerprints": {
                    "insightContext/v1": f"{dice.getrandbits(64):016x}",
                    "insightLine/v1": f"{dice.getrandbits(64):016x}",
                },
            }
        )
    driver = {
        "name": "benchmark",
        "version": "1",
        "rules": [{"id": rule, "shortDescription": {"text": f"Rule {rule}"}} for rule in rules],
    }
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def insight(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "insight_cloud.cli", *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Service:
    """`insight serve` on an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = os.environ | {
            "INSIGHT_DATABASE__DIRECTORY": str(folder / "postgres"),
            "INSIGHT_SERVER__PORT": self.url.rsplit(":", 1)[1],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "insight_cloud.cli", "serve"],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not self._ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the service did not start")
            time.sleep(0.1)
        token = insight(self.environment, "users", "token", "--name", "b", "--scope", "ingest")
        self.client = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=120
        )

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/health").is_success
        except httpx.TransportError:
            return False

    def upload(self, project: str, commit: str, body: bytes) -> tuple[float, dict[str, Any]]:
        started = time.perf_counter()
        answer = self.client.post(
            f"/api/v1/projects/{project}/analyses", params={"commit": commit}, content=body
        )
        seconds = time.perf_counter() - started
        answer.raise_for_status()
        analysis: dict[str, Any] = answer.json()["analysis"]
        return seconds, analysis

    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


async def limit(folder: Path, body: bytes) -> float:
    """Findings per second of decode + COPY alone, on the same kind of server."""
    from insight_cloud.database import embedded

    async with (
        embedded.server(folder / "postgres") as url,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        await connection.execute(
            "create temp table t (a bigint, b bigint, c bigint, line int, severity int2,"
            " context bigint, own bigint, message_key bigint, message text)"
        )
        await connection.execute("create index on t (a, context)")
        started = time.perf_counter()
        results = msgspec.json.decode(body)["runs"][0]["results"]
        copy = "copy t from stdin (format binary)"
        types = ["int8", "int8", "int8", "int4", "int2", "int8", "int8", "int8", "text"]
        async with connection.cursor() as cursor, cursor.copy(copy) as out:
            out.set_types(types)
            for number, result in enumerate(results):
                await out.write_row(
                    (number, 1, 1, 1, 1, number, number, number, result["message"]["text"])
                )
        return len(results) / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer rounds, at most 60 s")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rounds = 2 if arguments.short else 5
    body = log(FINDINGS)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            figures = measure(folder, body, rounds)
    except (OSError, RuntimeError, subprocess.CalledProcessError, httpx.HTTPError) as error:
        print(f"ingest: could not run: {error}")
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return report(figures, body)


def measure(folder: Path, body: bytes, rounds: int) -> dict[str, float]:
    service = Service(folder)
    first, again = [], []
    try:
        for number in range(rounds):
            project = f"bench-{number}"
            seconds, analysis = service.upload(project, "1", body)
            if analysis["new"] != FINDINGS:
                raise RuntimeError(f"expected {FINDINGS} new, got {analysis['new']}")
            first.append(FINDINGS / seconds)
            seconds, analysis = service.upload(project, "2", body)
            if (analysis["new"], analysis["unchanged"]) != (0, FINDINGS):
                raise RuntimeError(f"expected all unchanged, got {analysis}")
            again.append(FINDINGS / seconds)
        peak = service.peak_mib()
    finally:
        service.stop()
    return {
        "first_per_second": max(first),
        "again_per_second": max(again),
        "peak_mib": peak,
        "limit_per_second": asyncio.run(limit(folder, body)),
    }


def report(figures: dict[str, float], body: bytes) -> int:
    print(f"{FINDINGS:,} findings, {len(body) / 1e6:.1f} MB, over HTTP; best round")
    print(f"{'':24}{'findings/s':>12}{'of the limit':>14}")
    top = figures["limit_per_second"]
    for name in ("first", "again", "limit"):
        rate = figures[f"{name}_per_second"]
        print(f"{name:24}{rate:12,.0f}{rate / top:14.0%}")
    print(f"peak memory of the web process: {figures['peak_mib']:.0f} MiB")
    met = (
        figures["first_per_second"] >= FIRST_GOAL
        and figures["again_per_second"] >= AGAIN_GOAL
        and figures["peak_mib"] <= MEMORY_GOAL_MIB
    )
    print(
        f"ingest: {figures['first_per_second']:,.0f}/s first, "
        f"{figures['again_per_second']:,.0f}/s again, {figures['peak_mib']:.0f} MiB "
        f"(goal {FIRST_GOAL:,}/s, {AGAIN_GOAL:,}/s, {MEMORY_GOAL_MIB} MiB)"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
