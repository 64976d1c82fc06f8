"""A served application that has been used for a while: people, projects, ten weeks of uploads.

Everything is put in through the real services, and every name that a user can choose holds
HTML, so that whatever a page forgets to escape shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uvicorn
from fastapi import FastAPI

from insight_cloud import wiring
from insight_cloud.app import api, privacy, web
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.analyses import snapshots
from insight_cloud.app.analyses.models import Submission, Upload
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Filter, Issue
from insight_cloud.app.issues.queries import named
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif import write
from insight_cloud.app.sarif.model import Category, Finding, Location, Rule, Run, Severity, Snippet
from insight_cloud.app.sources import service as sources
from insight_cloud.app.sources.models import Place
from insight_cloud.app.triage import service as triage
from insight_cloud.app.triage.models import Selection, Verdict
from insight_cloud.app.webhooks import service as webhooks
from insight_cloud.database import Pool
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import ServerSettings, Settings
from insight_cloud.wiring import Components

PASSWORD = "a long enough secret"
EVIL = "<img src=x onerror=alert(1)>'\"&{{7*7}}"
LONG_PATH = (
    "services/payment-gateway/src/main/resources/integration/generated/"
    "abstract_transaction_aware_message_dispatcher_factory.py"
)
HELP = """
## What it does
Checks for calls of `requests` without a `timeout`.

## Why is this bad?
A server that never answers holds the caller **for ever**. See
[the manual](https://example.org/manual), and not [this](javascript:alert(1)).

```python
requests.get("https://www.example.org/a/rather/long/address/that/has/to/wrap?page=1", timeout=5)
```

| setting | default |
| --- | --- |
| `allowed` | none |

<img src=x onerror=alert(1)>
"""

_INJECTION = (
    "Workflow passes `${{ github.event.pull_request.title }}` to a shell; an attacker controls "
    "it, and everything the runner may do is theirs"
)
_RULES: tuple[tuple[str, str, Severity, Category, str, str], ...] = (
    ("ruff", "S608", "critical", "security", "hardcoded-sql-expression",
     "Possible SQL injection vector through string-based query construction"),
    ("ruff", "S113", "high", "security", "request-without-timeout",
     "Probable use of `requests` call without timeout"),
    ("ruff", "B006", "high", "runtime", "mutable-argument-default",
     "Do not use mutable data structures for argument defaults"),
    ("ruff", "F401", "low", "imports", "unused-import", "`os` imported but unused"),
    ("ruff", "PERF401", "low", "performance", "manual-list-comprehension",
     "Use a list comprehension to create a transformed list"),
    ("ruff", "D103", "info", "style", "undocumented-public-function",
     "Missing docstring in public function"),
    ("lizard", "complexity", "medium", "complexity", "Function is too complex",
     "`dispatch` has a cyclomatic complexity of 41, more than 15"),
    ("jscpd", "duplicate", "low", "duplication", "Duplicated code",
     "31 lines are the same as in src/web/forms.py:120"),
    ("zizmor", "template-injection", "high", "security", "Template injection",
     _INJECTION),
)  # fmt: skip
_PATHS = (
    "src/ledger/queries.py",
    "src/api/client.py",
    "src/api/views.py",
    "src/legacy/export.py",
    "src/web/forms.py",
    LONG_PATH,
    "tools/release.py",
)


@dataclass
class Town:
    """What the tests know about it."""

    context: api.Context
    app: FastAPI
    url: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    async def session(self, name: str = "ada") -> str:
        """The secret of a new browser session."""
        session = await accounts.sign_in(
            self.context, email=f"{name}@example.org", password=PASSWORD, user_agent=_AGENT
        )
        return session.secret

    async def caller(self, name: str = "ada") -> Caller:
        """Somebody, as the services know them."""
        caller = await accounts.identify(self.context, await self.session(name), "session")
        assert caller is not None
        return caller

    def calls(self) -> dict[str, int]:
        """How often each statement was sent until now."""
        return {one.name: one.calls for one in self.context.pool.recorder.statements()}

    @property
    def counting(self) -> set[str]:
        """The statements about issues that count rows."""
        found = (one for one in vars(named)["_queries"].values() if "count(*)" in one.text)
        return {one.name for one in found}


_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@contextlib.asynccontextmanager
async def open_town(pool: Pool) -> AsyncIterator[Town]:
    """Build it in the empty database of `pool`, and serve it on a free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        # People come and go here more often than an address may sign in.
        limits = RateLimitSettings(api="100000/15m", auth="100000/15m", strict="100000/1h")
        settings = Settings(server=ServerSettings(port=port), ratelimit=limits)
        components = Components(pool, limits=wiring.limits(settings))
        app = web.create(settings, components)
        town = Town(api.Context.of(components, settings), app, f"http://127.0.0.1:{port}")
        await _settle(town)
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not serving.done(), serving
            await asyncio.sleep(0.01)
        yield town
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


# -- who and what ----------------------------------------------------------------------------


async def _settle(town: Town) -> None:
    await accounts.add_user(
        town.context, email="ada@example.org", name="Ada Lovelace", password=PASSWORD, is_admin=True
    )
    for name, shown in (("grace", "Grace Hopper"), ("new", "Nobody Yet"), ("evil", EVIL)):
        await accounts.add_user(
            town.context, email=f"{name}@example.org", name=shown, password=PASSWORD
        )
    ada, grace = await town.caller("ada"), await town.caller("grace")
    await _payments(town, ada)
    await _others(town, ada)
    await projects.put_member(
        town.context, ada, "payments", email="evil@example.org", role="triager"
    )
    await projects.create(town.context, grace, slug="private", name="Private")
    await _judgements(town, ada)
    await _sources(town, ada)
    await accounts.add_token(
        town.context, ada, name=EVIL, scopes=["ingest"], project="payments", days=90
    )
    await accounts.add_token(town.context, ada, name="laptop", scopes=["read"], days=30)


async def _sources(town: Town, ada: Caller) -> None:
    """Two that were handed in when nobody worked: one was cancelled, one given up."""
    project = await projects.open(town.context, ada, "payments")
    pool = town.context.pool
    worker = await pool.fetch_value("select worker_id from procrastinate_register_worker_v1()")
    for name in ("cancelled", "failed"):
        made = await sources.add_archive(
            town.context, ada, project, Place(branch=EVIL, commit=EVIL), _archive()
        )
        town.ids[name] = str(made.id)
    await pool.execute("select procrastinate_unregister_worker_v1(%(id)s)", id=worker)
    await sources.cancel(town.context, ada, project, UUID(town.ids["cancelled"]))
    async with pool.transaction() as db:
        number = await db.fetch_value(
            "select id from sources where public_id = %(id)s", id=UUID(town.ids["failed"])
        )
        await sources.end(db, town.context, number, "failed", EVIL)


async def _archive() -> AsyncIterator[bytes]:
    yield b"PK\x05\x06" + bytes(18)


async def _payments(town: Town, ada: Caller) -> None:
    project = await projects.create(town.context, ada, slug="payments", name="Payments")
    for days_ago in range(70, -1, -5):
        last = await _analyse(town, ada, project, days_ago, _findings(70 - days_ago))
    evil = await _analyse(
        town, ada, project, 0, _findings(70), extra=[_evil()], commit=EVIL[:20], minutes=20
    )
    newest = await _analyse(
        town,
        ada,
        project,
        0,
        [*_findings(71), _flow()],
        extra=[_evil(), _broken()],
        minutes=5,
    )
    await _analyse(town, ada, project, 1, _findings(30), branch="release/<b>2.4</b>")
    await _analyse(
        town, ada, project, 0, _findings(71)[3:], branch="topic/<b>x</b>", pr=17, minutes=3
    )
    town.ids |= {
        "complete": str(last.analysis.id),
        "evil-analysis": str(evil.analysis.id),
        "incomplete": str(newest.analysis.id),
    }
    for name, wanted in {
        "flow": Filter(rule="S608", path="src/ledger/flow.py"),
        "timeout": Filter(rule="S113"),
        "long": Filter(path=LONG_PATH),
        "evil": Filter(tool="<i>semgrep</i>"),
        "fixed": Filter(state="fixed"),
    }.items():
        town.ids[name] = str((await _first(town, project, wanted)).id)


async def _judgements(town: Town, ada: Caller) -> None:
    """One issue judged, one rule suppressed, both with names and reasons that hold HTML."""
    project = await projects.open(town.context, ada, "payments", "triage")
    chosen = Selection(ids=(UUID(town.ids["long"]),))
    day = town.context.now().date() + timedelta(days=30)
    await triage.judge(
        town.context, ada, project, chosen, Verdict("accepted", f"known {EVIL}", day)
    )
    await triage.add_suppression(
        town.context, ada, project, rule="D103", path="src/legacy/**", reason=f"old code {EVIL}"
    )
    made = await webhooks.add(
        town.context, ada, project, url="https://hooks.invalid/x", events=["gate.changed"]
    )
    await webhooks.ping(town.context, project, made.webhook.id)
    town.ids["webhook"] = str(made.webhook.id)
    held = Filter(muted="rule")
    town.ids["suppressed"] = str((await _first(town, project, held)).id)


async def _others(town: Town, ada: Caller) -> None:
    shop = await projects.create(town.context, ada, slug="shop", name=f"Shop {EVIL}")
    for days_ago in (20, 9, 2):
        await _analyse(town, ada, shop, days_ago, _findings(20 - days_ago)[::3])
    clean = await projects.create(town.context, ada, slug="sdk", name="Python SDK")
    await _analyse(town, ada, clean, 12, _findings(5)[:4])
    await _analyse(town, ada, clean, 3, [])
    await projects.create(town.context, ada, slug="infra", name="Infrastructure")
    await projects.create(town.context, ada, slug="vault", name="Vault")
    await projects.change(town.context, ada, "vault", privacy="counts")
    runs = [Run(tool="ruff", findings=tuple(one for _, one in _findings(9)))]
    body = privacy.counts(runs, branch="main", commit="", keyed=privacy.Keyed(), lines=9_000)
    await snapshots.ingest(town.context, ada, "vault", body)


async def _first(town: Town, project: Project, wanted: Filter) -> Issue:
    return (await issues.page(town.context, project, wanted, limit=1)).items[0]


async def _analyse(
    town: Town,
    caller: Caller,
    project: Project,
    days_ago: int,
    findings: Sequence[tuple[str, Finding]],
    *,
    extra: Sequence[Run] = (),
    branch: str | None = None,
    commit: str = "",
    minutes: int = 42,
    pr: int | None = None,
) -> Submission:
    """Upload what was found `days_ago`."""
    then = datetime.now(UTC) - timedelta(days=days_ago, minutes=minutes)
    context = api.Context(town.context.pool, town.context.settings, now=lambda: then)
    commit = commit or hashlib.sha1(f"{project.slug}{then}".encode()).hexdigest()
    upload = Upload(branch=branch, commit=commit, pr=pr, lines=12_345)
    body = write.log([*_runs(findings), *extra])
    return await analyses.ingest(context, caller, project.slug, upload, body)


def _runs(findings: Sequence[tuple[str, Finding]]) -> list[Run]:
    versions = {"ruff": "0.17.6", "lizard": "1.24.3", "jscpd": "5.4.2", "zizmor": "1.32.0"}
    return [
        Run(
            tool=tool,
            version=version,
            seconds=0.31,
            rules=tuple(
                Rule(
                    code=code,
                    name=name,
                    summary=message,
                    help=HELP if code == "S113" else "",
                    help_uri=f"https://docs.example.org/{tool}/{code}",
                )
                for of, code, _, _, name, message in _RULES
                if of == tool
            ),
            findings=tuple(finding for of, finding in findings if of == tool),
        )
        for tool, version in versions.items()
    ]


def _findings(day: int) -> list[tuple[str, Finding]]:
    """What is wrong on that day: some of it is fixed as time goes by, more is added."""
    found = []
    for number in range(40 + day // 2):
        tool, code, severity, category, _, message = _RULES[number * 7 % 9]
        path = _PATHS[number % len(_PATHS)]
        if severity == "critical" and number * 3 > 90 - day:
            continue
        if number % 11 == 3 and number * 2 < day:  # fixed meanwhile
            continue
        place = Location(path=path, line=10 + number * 7, column=5, end_column=29)
        text = f"{code} {path} {number}"
        found.append(
            (
                tool,
                Finding(
                    rule=code,
                    message=message,
                    severity=severity,
                    category=category,
                    location=place,
                    context_hash=hashlib.sha1(text.encode()).hexdigest(),
                    line_hash=hashlib.sha1(f"line {text}".encode()).hexdigest(),
                ),
            )
        )
    return found


def _flow() -> tuple[str, Finding]:
    place = Location(path="src/ledger/flow.py", line=118, column=9, end_column=61)
    return (
        "ruff",
        Finding(
            rule="S608",
            message="Possible SQL injection vector through string-based query construction",
            severity="critical",
            category="security",
            location=place,
            related=(Location(path="src/ledger/session.py", line=12, message="connected here"),),
            flow=(
                Location(path="src/api/views.py", line=88, message="`name` comes from a request"),
                Location(path=LONG_PATH, line=1042, message="passed on"),
                Location(path=place.path, line=118, message="becomes part of a statement"),
            ),
            snippet=Snippet(
                line=117,
                text=f"def find(name):\n    rows = execute('select ' + name)  # {EVIL}\n"
                f"    return rows[{'0' * 150}]",
            ),
        ),
    )


def _evil() -> Run:
    """A tool that puts HTML and SQL wherever it may."""
    return Run(
        tool="<i>semgrep</i>",
        version="<b>1</b>",
        rules=(
            Rule(
                code="x<y>.'--",
                name=EVIL,
                summary=EVIL,
                help=f"{EVIL}\n\n<script>alert(1)</script> [x](javascript:alert(1))",
                help_uri="javascript:alert(1)",
            ),
        ),
        findings=(
            Finding(
                rule="x<y>.'--",
                message=f"{EVIL}; drop table issues; -- `{EVIL}`\n\n<script>alert(1)</script>",
                severity="high",
                category="security",
                location=Location(path="src/<b>bold</b>'.py", line=1),
            ),
        ),
    )


def _broken() -> Run:
    return Run(
        tool="oxlint",
        version="1.94.0",
        state="failed",
        detail=f"exit 2: error: panicked while parsing src/legacy/export.js {EVIL}",
        seconds=1.2,
    )
