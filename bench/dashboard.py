"""Dashboard: ten million issues in 500 branches, asked through the API and as pages.

The testbed is written by COPY into the service's own schema, then the service is asked over
HTTP: each kind of API request with other projects, branches, filters and cursors every time;
then pages by 25 readers, who look at each page for a second, while 10 uploads run at once.
Beside it stands the naive count over all issues, which is what the kept counts spare us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from insight_cloud.database import embedded

API_GOAL_MS, PAGE_GOAL_MS = 50, 200
PROJECTS, RULES, PATHS, ANALYSES, DAYS = 20, 200, 2_000, 40, 90
READERS, UPLOADERS, THINK_SECONDS, UPLOAD_FINDINGS = 25, 10, 1.0, 2_000
PASSWORD = "correct horse battery 9"
TOOLS = ("ruff", "eslint", "semgrep", "bandit")
CATEGORIES = ("runtime", "security", "complexity", "style")
SEVERITIES = (1, 2, 3, 4, 5)
SEVERITY_WEIGHTS = (28, 30, 27, 12, 3)
OPEN_SHARE = 0.65


@dataclass(frozen=True)
class Size:
    """How much is generated, and how often each thing is asked."""

    issues: int
    branches: int
    requests: int
    seconds: float


FULL = Size(10_000_000, 500, 300, 60)
SHORT = Size(200_000, 40, 60, 10)


# -- the testbed


async def columns(connection: psycopg.AsyncConnection[Any], size: Size) -> dict[str, list[int]]:
    """Projects, branches, rules, paths and analyses; their numbers by kind."""
    per_project = size.branches // PROJECTS
    statements = {
        "projects": "insert into projects (slug, name, hash_key) select 'p-' || n, 'Project ' || n,"
        " '\\x00' from generate_series(1, %(projects)s) n returning id",
        "branches": "insert into branches (project_id, name) select p.id,"
        " case when n = 1 then 'main' else 'feature-' || n end"
        " from projects p, generate_series(1, %(branches)s) n order by p.id, n returning id",
        "rules": "insert into rules (project_id, tool, code, name, summary, help, help_uri)"
        " select p.id, (%(tools)s::text[])[1 + n %% 4], 'R' || n, 'rule-' || n, 'What rule ' || n"
        " || ' looks for', '', '' from projects p, generate_series(1, %(rules)s) n"
        " order by p.id, n returning id",
        "paths": "insert into paths (project_id, path) select p.id, 'src/package' || n %% 40 ||"
        " '/part' || n %% 7 || '/module_' || n || '.py'"
        " from projects p, generate_series(1, %(paths)s) n order by p.id, n returning id",
        "analyses": "insert into analyses (branch_id, commit, category, body_hash, complete, new,"
        " fixed, reopened, unchanged, open, suppressed, seconds, uploader, created_at)"
        " select b.id, md5(b.id::text || n), '', '\\x00', true, 20, 15, 0, 12000, 13000, 0, 1,"
        " 'bench', now() - (%(analyses)s - n) * interval '1 day'"
        " from branches b, generate_series(1, %(analyses)s) n order by b.id, n returning id",
    }
    values = {
        "projects": PROJECTS,
        "branches": per_project,
        "rules": RULES,
        "paths": PATHS,
        "analyses": ANALYSES,
        "tools": list(TOOLS),
    }
    found = {}
    for kind, statement in statements.items():
        cursor = await connection.execute(statement.encode(), values)
        found[kind] = [row[0] for row in await cursor.fetchall()]
    return found


def rows(number: int, count: int, known: dict[str, list[int]], per_project: int) -> Iterator[str]:
    """The issues of one branch as lines of COPY's text format."""
    dice = random.Random(number)
    project = number // per_project
    branch = known["branches"][number]
    rules = known["rules"][project * RULES : (project + 1) * RULES]
    paths = known["paths"][project * PATHS : (project + 1) * PATHS]
    analyses = known["analyses"][number * ANALYSES : (number + 1) * ANALYSES]
    severities = dice.choices(SEVERITIES, SEVERITY_WEIGHTS, k=count)
    for position, severity in enumerate(severities):
        bits = dice.getrandbits(60)
        rule = bits % RULES
        state, fixed = ("open", "\\N") if dice.random() < OPEN_SHARE else ("fixed", analyses[-1])
        yield (
            f"{branch}\t{rules[rule]}\t{paths[bits % PATHS]}\t{1 + bits % 997}\t{severity}\t"
            f"{CATEGORIES[rule % 4]}\t\t{state}\tf\t{bits}\t{bits ^ 1}\t{bits >> 7}\t"
            f"`name_{bits % 5000}` is assigned to here but never used in rule {rule}\t"
            f"{analyses[position % ANALYSES]}\t{fixed}\n"
        )


INTO = (
    "copy issues (branch_id, rule_id, path_id, line, severity, category, run_category, state,"
    " suppressed, context_key, line_key, message_key, message, first_analysis_id,"
    " fixed_analysis_id) from stdin"
)
COUNTS = (
    (
        "insert into branch_stats (branch_id, severity, category, open) select branch_id, severity,"
        " category, count(*) from issues where state = 'open' group by 1, 2, 3"
    ),
    (
        "insert into issue_events (issue_id, analysis_id, event)"
        " select id, first_analysis_id, 'new' from issues"
    ),
    (
        "insert into issue_events (issue_id, analysis_id, event)"
        " select id, fixed_analysis_id, 'fixed' from issues where state = 'fixed'"
    ),
)
DAILY = (
    "insert into daily_stats (branch_id, day, severity, open, new, fixed)"
    " select b.id, current_date - d, s, 2000 + (b.id * d * s) %% 500, (b.id * d) %% 20,"
    " (d * s) %% 20 from branches b, generate_series(0, %(days)s) d, generate_series(1, 5) s"
)


async def generate(url: str, size: Size) -> None:
    """Fill the service's tables; indexes are made again at the end, foreign keys not re-checked."""
    per_project = size.branches // PROJECTS
    each = size.issues // size.branches
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("set session_replication_role = replica")
        await connection.execute("set maintenance_work_mem = '512MB'")
        known = await columns(connection, size)
        made = await _without_indexes(connection)
        async with connection.cursor() as cursor:
            for number in range(size.branches):
                async with cursor.copy(INTO) as copy:
                    await copy.write("".join(rows(number, each, known, per_project)))
                _progress(f"{(number + 1) * each:,} of {size.issues:,} issues")
        for statement in COUNTS:
            _progress(statement[:60])
            await connection.execute(statement.encode())
        await connection.execute(DAILY, {"days": DAYS})
        for definition in made:
            _progress(definition[:60])
            await connection.execute(definition.encode())
        await connection.execute("vacuum (analyze)")
        _progress("")


async def _without_indexes(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Drop the plain indexes of the two large tables; how to make them again."""
    cursor = await connection.execute(
        "select indexname, indexdef from pg_indexes i where tablename in ('issues', 'issue_events')"
        " and not exists (select from pg_constraint where conname = i.indexname)"
    )
    found = await cursor.fetchall()
    for name, _ in found:
        await connection.execute(f'drop index "{name}"'.encode())
    return [definition for _, definition in found]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# -- the service


def insight(environment: dict[str, str], *arguments: str, given: str | None = None) -> str:
    command = [sys.executable, "-m", "insight_cloud.cli", *arguments]
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, input=given
    )
    return done.stdout.strip()


@asynccontextmanager
async def served(folder: Path, workers: int) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """`insight serve` on the testbed, without rate limits."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "INSIGHT_DATABASE__DIRECTORY": str(folder / "postgres"),
        "INSIGHT_SERVER__PORT": str(port),
        "INSIGHT_SERVER__WORKERS": str(workers),
    }
    for tier in ("API", "AUTH", "STRICT"):
        environment[f"INSIGHT_RATELIMIT__{tier}"] = "1000000/1h open"
    url = f"http://127.0.0.1:{port}"
    with (folder / "serve.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "insight_cloud.cli", "serve"),
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 120
        async with httpx.AsyncClient() as client:
            while not await _ready(client, url):
                if time.monotonic() > deadline or process.returncode is not None:
                    raise RuntimeError(f"the service did not start, see {folder}/serve.log")
                await asyncio.sleep(0.2)
        yield url, environment
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).is_success
    except httpx.TransportError:
        return False


# -- what is measured


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] * 1000 if len(seconds) > 1 else 0.0


class Asked:
    """Random requests over the whole testbed."""

    def __init__(self, size: Size) -> None:
        self.dice = random.Random(7)
        self.branches = size.branches // PROJECTS

    def project(self) -> str:
        return f"p-{self.dice.randint(1, PROJECTS)}"

    def branch(self) -> str:
        number = self.dice.randint(1, self.branches)
        return "main" if number == 1 else f"feature-{number}"

    def issues(self) -> str:
        return f"/api/v1/projects/{self.project()}/issues?branch={self.branch()}"

    def filters(self) -> str:
        more = self.dice.choice(
            [
                f"&severity={self.dice.choice(['critical', 'high', 'medium', 'low'])}",
                f"&path=src/package{self.dice.randrange(40)}/",
                f"&rule=R{self.dice.randint(1, RULES)}",
                f"&tool={self.dice.choice(TOOLS)}&category={self.dice.choice(CATEGORIES)}",
                f"&severity=high&path=src/package{self.dice.randrange(40)}/",
                f"&q=name_{self.dice.randrange(5000)}",
                "&state=fixed",
            ]
        )
        return self.issues() + more


async def api(url: str, token: str, size: Size) -> dict[str, list[float]]:
    """Seconds of each kind of API request, one after the other."""
    asked = Asked(size)
    times: dict[str, list[float]] = defaultdict(list)
    head = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=head, timeout=60) as client:

        async def get(kind: str, path: str) -> Any:
            started = time.perf_counter()
            answer = await client.get(path)
            times[kind].append(time.perf_counter() - started)
            return answer.raise_for_status().json()

        await client.get("/api/v1/overview")
        for _ in range(size.requests):
            base = f"/api/v1/projects/{asked.project()}"
            await get("overview", "/api/v1/overview")
            await get("trend", f"{base}/trends?branch={asked.branch()}&days=90")
            path = asked.issues()
            page = await get("issue list", path)
            await get("filter", asked.filters())
            following = await get("next page", f"{path}&cursor={page['next']}")
            one = asked.dice.choice(following["items"])
            await get("issue", f"{path.partition('?')[0]}/{one['id']}")
            await get("top rules", f"{base}/top?branch={asked.branch()}")
            await get("top paths", f"{base}/top?branch={asked.branch()}&by=path")
    return times


async def session(url: str, client: httpx.AsyncClient) -> None:
    form = {"email": "reader@example.org", "password": PASSWORD}
    answer = await client.post("/sign-in", data=form, headers={"sec-fetch-site": "same-origin"})
    if answer.status_code != 303:
        raise RuntimeError(f"signing in to {url} was answered with {answer.status_code}")


async def pages(
    url: str, token: str, size: Size
) -> tuple[dict[str, list[float]], list[float], list[str]]:
    """Seconds of pages and of uploads, while both go on; what failed."""
    times: dict[str, list[float]] = defaultdict(list)
    uploads: list[float] = []
    failed: list[str] = []
    deadline = time.monotonic() + size.seconds

    async def reader(number: int) -> None:
        asked = Asked(size)
        asked.dice = random.Random(number)
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await session(url, client)
            await asyncio.sleep(number / READERS * THINK_SECONDS)
            while time.monotonic() < deadline:
                project, branch = asked.project(), asked.branch()
                kind, path = asked.dice.choice(
                    [
                        ("overview", "/"),
                        ("project", f"/projects/{project}?branch={branch}"),
                        ("issue list", f"/projects/{project}/issues?branch={branch}"),
                        ("filter", asked.filters().removeprefix("/api/v1")),
                    ]
                )
                started = time.perf_counter()
                answer = await client.get(path)
                times[kind].append(time.perf_counter() - started)
                if not answer.is_success:
                    failed.append(f"{path}: {answer.status_code}")
                await asyncio.sleep(THINK_SECONDS)

    async def uploader(number: int) -> None:
        head = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=head, timeout=120) as client:
            commit = 0
            while time.monotonic() < deadline:
                commit += 1
                started = time.perf_counter()
                answer = await client.post(
                    f"/api/v1/projects/p-{number + 1}/analyses",
                    params={"commit": str(commit), "branch": f"upload-{number}"},
                    content=log(number, commit),
                )
                uploads.append(time.perf_counter() - started)
                if not answer.is_success:
                    failed.append(f"upload: {answer.status_code} {answer.text[:200]}")

    await asyncio.gather(*map(reader, range(READERS)), *map(uploader, range(UPLOADERS)))
    return times, uploads, failed


def log(number: int, commit: int) -> bytes:
    """A log that differs a little from the one before it."""
    dice = random.Random(number)
    results = [
        {
            "ruleId": f"R{dice.randint(1, RULES)}",
            "message": {
                "text": f"`name_{position + (commit if position % 50 == 0 else 0)}` unused"
            },
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": f"src/uploaded/module_{position % 300}.py"},
                        "region": {"startLine": dice.randint(1, 2000)},
                    }
                }
            ],
        }
        for position in range(UPLOAD_FINDINGS)
    ]
    run = {"tool": {"driver": {"name": TOOLS[0]}}, "results": results}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


async def naive(url: str) -> tuple[float, str, str]:
    """Milliseconds of counting everything; sizes of the table and of its indexes."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        started = time.perf_counter()
        await connection.execute(
            "select branch_id, severity, count(*) from issues where state = 'open' group by 1, 2"
        )
        seconds = time.perf_counter() - started
        cursor = await connection.execute(
            "select pg_size_pretty(pg_table_size('issues')),"
            " pg_size_pretty(pg_indexes_size('issues')),"
            " pg_size_pretty(pg_database_size(current_database()))"
        )
        table, indexes, whole = await cursor.fetchone() or ("", "", "")
        return seconds * 1000, f"{table} + {indexes} indexes", whole


async def measure(folder: Path, size: Size, workers: int) -> dict[str, Any]:
    async with embedded.server(folder / "postgres") as database:
        if not (folder / "filled").exists():
            async with served(folder, 1):
                pass  # makes the schema
            await generate(database, size)
            (folder / "filled").touch()
        async with served(folder, workers) as (url, environment):
            token = insight(
                environment, "users", "token", "--name", "b", "--scope", "read", "--scope", "ingest"
            )
            add = ("users", "add", "reader@example.org", "--admin", "--password-stdin")
            insight(environment, *add, given=PASSWORD)
            asked = await api(url, token, size)
            read, uploads, failed = await pages(url, token, size)
        count, sizes, whole = await naive(database)
    return {
        "api": {kind: _figures(seconds) for kind, seconds in asked.items()},
        "pages": {kind: _figures(seconds) for kind, seconds in read.items()},
        "uploads": _figures(uploads),
        "failed": failed,
        "naive_count_ms": count,
        "issues": sizes,
        "database": whole,
    }


def _figures(seconds: list[float]) -> dict[str, float]:
    return {
        "requests": len(seconds),
        "p50_ms": statistics.median(seconds) * 1000,
        "p95_ms": p95(seconds),
        "most_ms": max(seconds) * 1000,
    }


def report(figures: dict[str, Any], size: Size) -> int:
    print(f"{size.issues:,} issues in {size.branches} branches of {PROJECTS} projects")
    print(f"issues: {figures['issues']}; the whole database: {figures['database']}")
    print(f"{'':24}{'requests':>10}{'p50 ms':>10}{'p95 ms':>10}{'most ms':>10}")
    for group in ("api", "pages"):
        for kind, line in figures[group].items():
            _line(f"{group} {kind}", line)
    _line(f"upload of {UPLOAD_FINDINGS:,}", figures["uploads"])
    print(f"{'naive count, for scale':24}{1:>10}{figures['naive_count_ms']:>10.1f}")
    for failure in figures["failed"][:5]:
        print(f"failed: {failure}")
    of_api = max(line["p95_ms"] for line in figures["api"].values())
    of_pages = max(line["p95_ms"] for line in figures["pages"].values())
    met = of_api <= API_GOAL_MS and of_pages <= PAGE_GOAL_MS and not figures["failed"]
    print(
        f"dashboard: API p95 {of_api:.1f} ms, pages p95 {of_pages:.1f} ms, "
        f"{len(figures['failed'])} failed (goal {API_GOAL_MS} ms, {PAGE_GOAL_MS} ms, 0)"
    )
    return 0 if met else 1


def _line(name: str, line: dict[str, float]) -> None:
    print(
        f"{name:24}{line['requests']:>10.0f}{line['p50_ms']:>10.1f}{line['p95_ms']:>10.1f}"
        f"{line['most_ms']:>10.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a small testbed, at most 60 s")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--data", type=Path, help="keep the testbed here, or use the one there")
    parser.add_argument("--workers", type=int, default=1, help="web processes")
    options = parser.parse_args()
    size = SHORT if options.short else FULL
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            folder = (options.data or Path(scratch)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
            figures = asyncio.run(measure(folder, size, options.workers))
    except (OSError, RuntimeError, subprocess.CalledProcessError, httpx.HTTPError) as error:
        print(f"dashboard: could not run: {error}")
        return 2
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return report(figures, size)


if __name__ == "__main__":
    sys.exit(main())
