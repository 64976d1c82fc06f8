"""Views of every page with realistic values, so that the templates are tested without services."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from insight_cloud.app.accounts.audit import Entry
from insight_cloud.app.dashboard import charts, markdown, views
from insight_cloud.app.dashboard.views import Change, Counts, Field, Frame, Option

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
URL = "https://insight.example.org"
OPEN = Counts(3, 41, 187, 322, 96)
LONG_PATH = (
    "services/payment-gateway/src/main/resources/integration/generated/"
    "AbstractTransactionAwareMessageDispatcherFactoryBean.generated.py:10482"
)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


VIEWER = views.Viewer("Ada Lovelace", "ada@example.org", is_admin=True)
HEAD = views.ProjectHead(
    slug="payments",
    name="Payments",
    branch="main",
    tab="summary",
    may_manage=True,
    branches=(
        views.Branch("main", "/projects/payments", current=True),
        views.Branch("release/2.4", "/projects/payments?branch=release%2F2.4"),
    ),
)


def frame(title: str, **more: Any) -> Frame:
    values: dict[str, Any] = {"title": title, "now": NOW, "viewer": VIEWER}
    return Frame(**values | more)


def analysis(commit: str, **more: Any) -> views.AnalysisLine:
    values: dict[str, Any] = {
        "href": f"/projects/payments/analyses/{commit}",
        "commit": commit,
        "branch": "main",
        "created_at": ago(minutes=12),
        "uploader": "token ci",
        "tools": ("ruff", "lizard", "jscpd", "imports", "secrets"),
        "new": 4,
        "fixed": 11,
        "open": OPEN.total,
    }
    return views.AnalysisLine(**values | more)


COMPLETE = analysis("3f2a91bc04d7e6a1")
INCOMPLETE = analysis(
    "9be04d17aa3e5512",
    created_at=ago(days=1, hours=3),
    new=0,
    fixed=2,
    not_green="ruff failed: panicked while parsing src/legacy/export.py",
)


def days(count: int = 90) -> list[views.Day]:
    return [
        views.Day(
            (NOW - timedelta(days=count - 1 - index)).date(),
            Counts(
                critical=max(0, 9 - index // 14),
                high=52 - index // 8 + (index % 19) // 3,
                medium=140 + index // 2 + (index % 13),
                low=290 + index // 3,
                info=80 + index // 6,
            ),
        )
        for index in range(count)
    ]


def project_line(slug: str, name: str, counts: Counts, week: Change, **more: Any) -> Any:
    values = [
        30 + (index * index) % 17 + index // 2 * (1 if week.new.total else -1)
        for index in range(30)
    ]
    line = views.ProjectLine(
        slug=slug,
        name=name,
        branch="main",
        open=counts,
        week=week,
        bar=charts.bar(counts),
        spark=charts.sparkline(values, key=f"spark-{slug}", label="Open issues, 30 days"),
        last=COMPLETE,
    )
    return replace(line, **more)


OVERVIEW = views.Overview(
    projects=(
        project_line("payments", "Payments", OPEN, Change(Counts(1, 3, 9, 2, 0), Counts(0, 1, 4))),
        project_line(
            "web",
            "Web shop",
            Counts(0, 7, 45, 210, 31),
            Change(Counts(0, 2, 0), Counts(0, 0, 12, 30)),
            last=INCOMPLETE,
        ),
        project_line(
            "sdk", "Python SDK", Counts(0, 0, 3, 18, 2), Change(Counts(), Counts(0, 0, 2))
        ),
        project_line("docs", "Documentation", Counts(), Change()),
        project_line("infra", "Infrastructure", Counts(), Change(), last=None, spark=Markup("")),
    ),
    server_url=URL,
    may_create=True,
    open=Counts(3, 48, 235, 550, 129),
    week=Change(Counts(1, 5, 9, 2, 0), Counts(0, 1, 18, 30)),
    incomplete=1,
)


def ranked(label: str, detail: str, count: int) -> views.Ranked:
    href = "/projects/payments/issues?rule=S113"
    return views.Ranked(label, detail, count, href, charts.share(count, 214))


PROJECT = views.ProjectPage(
    project=HEAD,
    open=OPEN,
    new_this_week=15,
    fixed_this_week=11,
    categories=tuple(
        views.CategoryLine(
            name, counts, charts.bar(counts), f"/projects/payments/issues?category={name}"
        )
        for name, counts in (
            ("security", Counts(3, 22, 31)),
            ("runtime", Counts(0, 12, 48, 20)),
            ("complexity", Counts(0, 0, 62, 41)),
            ("imports", Counts(0, 0, 12, 96, 20)),
            ("duplication", Counts(0, 0, 0, 74)),
            ("style", Counts(0, 0, 0, 80, 76)),
        )
    ),
    trend=charts.trend(days(), key="trend-chart"),
    weeks=charts.weekly(
        [
            views.Week(
                (NOW - timedelta(days=7 * (12 - index))).date(), (index * 7) % 31, (index * 11) % 27
            )
            for index in range(13)
        ],
        key="weeks-chart",
    ),
    top_rules=(
        ranked("F401", "ruff · imported but unused", 214),
        ranked("complexity", "lizard · Function is too complex", 103),
        ranked("duplicate", "jscpd · Duplicated code", 74),
        ranked("S113", "ruff · request without timeout", 22),
    ),
    top_paths=(
        ranked("src/legacy/export.py", "", 88),
        ranked(LONG_PATH.rpartition(":")[0], "", 41),
        ranked("src/api/views.py", "", 17),
    ),
    analyses=(
        COMPLETE,
        INCOMPLETE,
        analysis("77d1c2e0ffab1234", created_at=ago(days=2), new=0, fixed=0),
        analysis("0c1d2e3f4a5b6c7d", created_at=ago(days=6), uploader="Grace Hopper", new=31),
    ),
    server_url=URL,
)


def issue(message: str, severity: Any, rule: str, place: str, **more: Any) -> views.IssueLine:
    values: dict[str, Any] = {
        "href": "/projects/payments/issues/01937c5e-0000-7000-8000-000000000001",
        "message": message,
        "severity": severity,
        "category": "security",
        "rule": rule,
        "tool": "ruff",
        "place": place,
        "since": ago(days=3),
    }
    return views.IssueLine(**values | more)


ISSUES = (
    issue(
        "Possible SQL injection vector through string-based query construction",
        "critical",
        "S608",
        "src/ledger/queries.py:118",
        since=ago(hours=5),
    ),
    issue(
        "Probable use of `requests` call without timeout", "high", "S113", "src/api/client.py:42"
    ),
    issue(
        "Workflow `release.yml` passes `${{ github.event.pull_request.title }}` to a shell; "
        "an attacker controls it, and everything the runner may do is theirs",
        "high",
        "zizmor/template-injection",
        ".github/workflows/release.yml:31",
        tool="zizmor",
    ),
    issue(
        "`dispatch` has a cyclomatic complexity of 41, more than 15",
        "medium",
        "complexity",
        LONG_PATH,
        tool="lizard",
        since=ago(days=64),
    ),
    issue("`os` imported but unused", "low", "F401", "src/api/views.py:3", since=ago(days=800)),
    issue(
        '<script>alert(1)</script> & "quotes" are only text',
        "info",
        "X<y>",
        "src/<b>bold</b>.py:1",
        tool="semgrep",
        suppressed=True,
    ),
)
FIXED = (replace(ISSUES[4], state="fixed"),)


def options(*pairs: tuple[str, int | None], chosen: str = "") -> tuple[Option, ...]:
    return tuple(Option(v, v.capitalize(), v == chosen, count) for v, count in pairs)


FILTERS = views.Filters(
    states=options(("open", 649), ("fixed", None), chosen="open"),
    severities=options(*OPEN),
    categories=options(("security", 56), ("runtime", 80), ("complexity", 103)),
    tools=options(("ruff", None), ("lizard", None)),
)
VERDICTS = options(("false_positive", None), ("accepted", None), ("open", None))
ISSUES_PAGE = views.IssuesPage(
    project=replace(HEAD, tab="issues"),
    filters=FILTERS,
    issues=ISSUES,
    total=649,
    next_href="/projects/payments/issues?cursor=abc",
)
FILTERED = replace(
    ISSUES_PAGE,
    may_triage=True,
    verdicts=VERDICTS,
    query="q=timeout&path=src/",
    downloads=(views.Crumb("CSV", "/api/v1/projects/payments/issues.csv"),),
    filters=replace(
        FILTERS,
        q="timeout",
        path="src/",
        active=(
            views.Crumb("path src/", "/projects/payments/issues?q=timeout"),
            views.Crumb("“timeout”", "/projects/payments/issues?path=src/"),
        ),
    ),
    total=None,
    first_href="/projects/payments/issues",
)
HELP = """
## What it does
Checks for calls of `requests` without a `timeout`.

## Why is this bad?
A server that never answers holds the caller for ever. See [the manual](https://example.org/manual).

```python
requests.get("https://www.example.com/a/long/address/that/has/to/wrap/on/a/phone?x=1", timeout=5)
```

- [not a link](javascript:alert(1)) <img src=x onerror=alert(1)>

| setting | default |
| --- | --- |
| `allowed` | none |
"""


def event(icon: str, title: str, at: datetime) -> views.EventLine:
    return views.EventLine(icon, title, at, "3f2a91bc04d7e6a1", "/projects/payments/analyses/1")


ISSUE = views.IssuePage(
    project=replace(HEAD, tab=""),
    href="/projects/payments/issues/1",
    heading="Probable use of `requests` call without timeout",
    message="Probable use of `requests` call without timeout",
    severity="high",
    category="security",
    state="open",
    suppressed=False,
    tool="ruff",
    rule="S113",
    rule_name="request-without-timeout",
    rule_summary="Probable use of `requests` call without timeout",
    rule_help=markdown.render(HELP),
    rule_uri="https://docs.astral.sh/ruff/rules/request-without-timeout",
    rule_href="/projects/payments/issues?rule=S113",
    place="src/api/client.py:42",
    path_href="/projects/payments/issues?path=src/api/client.py",
    columns="line 42, columns 5 to 29",
    since=ago(days=31),
    last=event("new", "Last seen", ago(minutes=12)),
    events=(
        event("new", "First reported", ago(days=31)),
        event("fixed", "Fixed", ago(days=12)),
        event("reopened", "Came back", ago(days=3)),
        views.EventLine(
            "judged", "Accepted", ago(days=2), actor="Ada", reason="Known", until=NOW.date()
        ),
    ),
    related=(views.Place("src/api/session.py:12", "the session is made here"),),
    flow=(
        views.Place("src/api/views.py:88", "`url` comes from the request"),
        views.Place(LONG_PATH, "passed on"),
        views.Place("src/api/client.py:42", "used in `requests.get`"),
    ),
    tracked_by=(
        "Recognised by the code on its line and around it, so it stays the same issue when the "
        "line or the file moves."
    ),
)
ANALYSIS = views.AnalysisPage(
    project=HEAD,
    id="01937c5e",
    commit="9be04d17aa3e5512",
    branch="main",
    category="",
    uploader="token ci",
    created_at=ago(hours=3),
    seconds=0.412,
    complete=False,
    not_green="ruff failed: panicked while parsing src/legacy/export.py",
    new=4,
    fixed=1,
    reopened=1,
    unchanged=643,
    open=649,
    suppressed=12,
    runs=(
        views.RunLine(
            "ruff",
            "0.17.6",
            "",
            "failed",
            "exit 2: error: panicked while parsing src/legacy/export.py",
            0,
            0.31,
        ),
        views.RunLine("lizard", "1.24.3", "", "ok", "", 103, 2.94),
        views.RunLine("jscpd", "5.4.2", "", "timed_out", "no answer within 60 s", 0, 60),
        views.RunLine("zizmor", "1.32.0", "workflows", "skipped", "no .github/workflows", 0, 0),
    ),
    warnings=(
        views.WarningLine("/runs/0/results/17/locations/0", "the path lies outside the root"),
        views.WarningLine("/runs/1/results/3", "a result without `message` was passed over"),
    ),
    warnings_total=14,
    new_href="/projects/payments/issues?state=all&new_in=1",
    fixed_href="/projects/payments/issues?state=fixed&fixed_in=1",
    new_issues=ISSUES[:4],
    fixed_issues=FIXED,
)
TOKENS = (
    views.TokenLine(
        "t1", "ci", "ins_9fK2", ("ingest",), ago(days=40), NOW + timedelta(days=50), ago(minutes=12)
    ),
    views.TokenLine("t2", "laptop of Grace Hopper", "ins_x81a", ("read", "ingest"), ago(days=2)),
)
SCOPES = (
    Option("ingest", "Upload analyses", chosen=True),
    Option("read", "Read projects and issues"),
    Option("triage", "Judge issues"),
)
SETTINGS = views.ProjectSettings(
    project=replace(HEAD, tab="settings"),
    members=(
        views.MemberLine("Ada Lovelace", "ada@example.org", "maintainer", is_viewer=True),
        views.MemberLine("Grace Hopper", "grace@example.org", "triager"),
    ),
    roles=("viewer", "triager", "maintainer"),
    tokens=TOKENS,
    scopes=SCOPES,
    server_url=URL,
    form={"name": Field("Payments"), "default_branch": Field("main")},
)
ACCOUNT = views.Account(
    tokens=TOKENS[1:],
    scopes=SCOPES,
    sessions=(
        views.SessionLine("s1", "Firefox on Linux", ago(hours=2), NOW + timedelta(days=7), True),
        views.SessionLine("s2", "Safari on iPhone", ago(days=5), NOW + timedelta(days=2), False),
    ),
    server_url=URL,
    new_token="ins_9fK2hJ3mPq8sT7vXw4zB5cD6fG1hJ2kL3mN4pQ5r",
)
GATE = views.GateView(
    verdict="failed",
    lines=(
        views.GateLine("Every tool finished", found="yes"),
        views.GateLine("No new critical or high issues", passed=False, found="3"),
        views.GateLine("Grade B or better", skipped="the upload did not say"),
    ),
    grade=views.GradeView("C", 6.2, 12_400, "10 × critical ÷ lines"),  # noqa: RUF001 - times
    compared_with="main at 3f2a91bc04d7",
)
HOOK = views.WebhookLine("1", "https://hooks.example/x", ("gate.changed",), "Ada", ago(days=2))
PULL = views.PullLine(
    number=17,
    href="/projects/payments/pulls/17",
    head="feature/timeouts",
    base="main",
    new=Counts(0, 3, 1, 0, 2),
    fixed=4,
    commit="3f2a91bc04d7e6a1",
    at=ago(hours=2),
    verdict="failed",
)
CRUMBS = (views.Crumb("Overview", "/"), views.Crumb("Payments", "/projects/payments"))
TO_ISSUES = (*CRUMBS, views.Crumb("Issues", "/projects/payments/issues"))

PAGES: dict[str, tuple[str, Frame, Any]] = {
    "overview": ("overview.html", frame("Overview"), OVERVIEW),
    "overview-empty": (
        "overview.html",
        frame("Overview"),
        replace(OVERVIEW, projects=(), open=Counts(), week=Change()),
    ),
    "project": (
        "project.html",
        frame("Payments", path="/projects/payments", crumbs=CRUMBS[:1]),
        PROJECT,
    ),
    "project-incomplete": (
        "project.html",
        frame("Payments", path="/projects/payments", crumbs=CRUMBS[:1]),
        replace(PROJECT, analyses=(INCOMPLETE, COMPLETE), trend=None, weeks=None),
    ),
    "project-empty": (
        "project.html",
        frame("Payments", path="/projects/payments", crumbs=CRUMBS[:1]),
        replace(PROJECT, analyses=()),
    ),
    "issues": ("issues.html", frame("Issues of Payments", crumbs=CRUMBS[:1]), ISSUES_PAGE),
    "issues-filtered": ("issues.html", frame("Issues of Payments", crumbs=CRUMBS[:1]), FILTERED),
    "issues-empty": (
        "issues.html",
        frame("Issues of Payments", crumbs=CRUMBS[:1]),
        replace(FILTERED, issues=(), next_href="", first_href=""),
    ),
    "issue": ("issue.html", frame("S113", crumbs=TO_ISSUES), ISSUE),
    "issue-judged": (
        "issue.html",
        frame("S113", crumbs=TO_ISSUES),
        replace(
            ISSUE,
            suppressed=True,
            may_triage=True,
            verdicts=VERDICTS,
            judgement=views.Decision("Accepted", "Known", "Ada", ago(days=2), NOW.date()),
            suppression=views.Decision("Suppressed by a rule", "Generated", "Ada", ago(days=1)),
            suppress_href="/projects/payments/suppressions",
            form={"reason": views.Field("x", "Is needed."), "verdict": views.Field("", "Choose.")},
        ),
    ),
    "suppressions": (
        "suppressions.html",
        frame("Suppressions", crumbs=TO_ISSUES),
        views.SuppressionsPage(
            project=HEAD,
            suppressions=(
                views.SuppressionLine("1", "ruff S101 in tests/**", "Tests", "Ada", NOW, 214),
                views.SuppressionLine("2", "gen/", "Made", "Eve", NOW, 0, NOW.date()),
            ),
            held_href="/projects/payments/issues?muted=rule",
            may_manage=True,
        ),
    ),
    "suppressions-none": (
        "suppressions.html",
        frame("Suppressions", crumbs=TO_ISSUES),
        views.SuppressionsPage(project=HEAD, suppressions=(), held_href="/"),
    ),
    "webhooks": (
        "webhooks.html",
        frame("Webhooks", crumbs=CRUMBS),
        views.WebhooksPage(
            project=replace(HEAD, tab="settings"),
            webhooks=(HOOK, replace(HOOK, id="2", disabled="paused by Ada")),
            events=options(("gate.changed", None), chosen="gate.changed"),
            secret="whsec_x",
            form={"url": views.Field("http://x", "Is no https URL.")},
        ),
    ),
    "webhooks-none": (
        "webhooks.html",
        frame("Webhooks", crumbs=CRUMBS),
        views.WebhooksPage(project=HEAD, webhooks=(), events=()),
    ),
    "webhook": (
        "webhook.html",
        frame("Webhook", crumbs=CRUMBS),
        views.WebhookPage(
            project=replace(HEAD, tab="settings"),
            webhook=HOOK,
            deliveries=(
                views.DeliveryLine(
                    "1", "ping", "pending", 2, 500, "no", "{}", NOW, NOW + timedelta(hours=1), 0.1
                ),
                views.DeliveryLine("2", "ping", "delivered", 1, 204, "", "{}", NOW, None, 0.1),
                views.DeliveryLine("3", "ping", "failed", 8, None, "away", "{}", NOW, None, None),
            ),
            next_href="/projects/payments/webhooks/1?cursor=x",
        ),
    ),
    "webhook-none": (
        "webhook.html",
        frame("Webhook", crumbs=CRUMBS),
        views.WebhookPage(
            project=HEAD, webhook=replace(HOOK, disabled="paused by Ada"), deliveries=()
        ),
    ),
    "users": (
        "users.html",
        frame("Users", crumbs=CRUMBS[:1]),
        views.UsersPage(
            users=(
                views.UserLine("Ada", "ada@example.org", NOW, is_admin=True, is_viewer=True),
                views.UserLine("Eve", "eve@example.org", NOW, is_disabled=True),
                views.UserLine("Bob", "bob@example.org", NOW),
            ),
            link="https://insight.example/welcome/inl_x",
        ),
    ),
    "tokens": ("tokens.html", frame("Tokens"), views.TokensPage(tokens=())),
    "audit": (
        "audit.html",
        frame("Audit log"),
        views.AuditPage(
            entries=(
                Entry(NOW, "ada@example.org", "session", "::1", "token made", "p", "ci", "read"),
                Entry(NOW, "operator", "server", "", "user added", None, "bob@example.org", ""),
            ),
            events=options(("token made", None), chosen="token made"),
            next_href="/operator/audit?cursor=x",
        ),
    ),
    "pulls": (
        "pulls.html",
        frame("Pull requests", crumbs=CRUMBS[:1]),
        views.PullsPage(
            project=replace(HEAD, tab="pulls"),
            pulls=(PULL, replace(PULL, number=16, verdict="incomplete", closed=True)),
            server_url="https://insight.example",
            next_href="/projects/payments/pulls?cursor=x",
        ),
    ),
    "pulls-none": (
        "pulls.html",
        frame("Pull requests", crumbs=CRUMBS[:1]),
        views.PullsPage(project=HEAD, pulls=(), server_url="https://insight.example"),
    ),
    "pull": (
        "pull.html",
        frame("Pull request 17", crumbs=CRUMBS),
        views.PullPage(
            project=HEAD,
            pull=PULL,
            gate=GATE,
            new_issues=ISSUES[:2],
            fixed_issues=(),
            new_href="/projects/payments/issues?branch=pull/17",
            fixed_href="/projects/payments/issues?branch=pull/17&gone=1",
            analyses=(COMPLETE,),
        ),
    ),
    "analysis-gate": (
        "analysis.html",
        frame("Analysis", crumbs=CRUMBS),
        replace(ANALYSIS, gate=replace(GATE, verdict="passed", lines=())),
    ),
    "project-gate": (
        "project.html",
        frame("Payments", path="/projects/payments", crumbs=CRUMBS[:1]),
        replace(PROJECT, gate=GATE),
    ),
    "analysis": ("analysis.html", frame("Analysis", crumbs=CRUMBS), ANALYSIS),
    "project-settings": (
        "project_settings.html",
        frame("Settings of Payments", notice=views.Notice("done", "Saved."), crumbs=CRUMBS[:1]),
        SETTINGS,
    ),
    "account": ("account.html", frame("Your account"), ACCOUNT),
    "new-project": (
        "new_project.html",
        frame("New project", notice=views.Notice("wrong", "That did not work.")),
        views.NewProject(
            form={
                "name": Field("Payments"),
                "slug": Field("Pay ments", "small letters, digits and hyphens only"),
            }
        ),
    ),
    "sign-in": (
        "sign_in.html",
        frame("Sign in", viewer=None, may_register=True),
        views.SignIn(next="/projects/payments"),
    ),
    "register": ("register.html", frame("Register", viewer=None), views.Register()),
    "welcome": (
        "welcome.html",
        frame("Welcome", viewer=None),
        views.Welcome(token="abc", purpose="first-admin"),
    ),
    "failure": (
        "failure.html",
        frame("Not found"),
        views.FailurePage(404, "There is nothing here", "Or it belongs to another team."),
    ),
}
