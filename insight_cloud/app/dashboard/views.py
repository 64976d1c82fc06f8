"""What each page shows, as plain data: the templates know nothing else, so they test alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from markupsafe import Markup

from insight_cloud.app.accounts.audit import Entry
from insight_cloud.app.accounts.models import Purpose
from insight_cloud.app.quotas.models import Meter, ProjectUsage, UserUsage
from insight_cloud.app.sarif.model import SEVERITIES, RunState, Severity
from insight_cloud.app.sources.models import State, Step

__all__ = [
    "Account",
    "AnalysisLine",
    "AnalysisPage",
    "AuditPage",
    "Branch",
    "CategoryLine",
    "Change",
    "Chart",
    "Counts",
    "Crumb",
    "Day",
    "Decision",
    "DeliveryLine",
    "EventLine",
    "FailurePage",
    "Field",
    "Filters",
    "Forgot",
    "Frame",
    "GateLine",
    "GateView",
    "GradeView",
    "IssueLine",
    "IssuePage",
    "IssuesPage",
    "MemberLine",
    "MeterLine",
    "NewProject",
    "Notice",
    "Option",
    "Overview",
    "Place",
    "ProjectHead",
    "ProjectLine",
    "ProjectPage",
    "ProjectSettings",
    "PullLine",
    "PullPage",
    "PullsPage",
    "Ranked",
    "Register",
    "RunLine",
    "SessionLine",
    "SignIn",
    "SuppressionLine",
    "SuppressionsPage",
    "TokenLine",
    "TokensPage",
    "UsagePage",
    "UserLine",
    "UsersPage",
    "Verify",
    "Viewer",
    "WarningLine",
    "WebhookLine",
    "WebhookPage",
    "WebhooksPage",
    "Week",
    "Welcome",
]

Theme = Literal["auto", "light", "dark"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many issues of each severity, worst first."""

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    info: int = 0

    def __iter__(self) -> Iterator[tuple[Severity, int]]:
        return ((severity, getattr(self, severity)) for severity in SEVERITIES)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + its for (_, mine), (_, its) in zip(self, other, strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(mine - its for (_, mine), (_, its) in zip(self, other, strict=True)))

    @property
    def total(self) -> int:
        """All severities together."""
        return sum(count for _, count in self)


@dataclass(frozen=True, slots=True)
class Change:
    """What became new and what became fixed within some time."""

    new: Counts = Counts()
    fixed: Counts = Counts()

    @property
    def worse(self) -> tuple[int, ...]:
        """Sorts by what got worse: net change of each severity, the worst severity first."""
        return tuple(count for _, count in self.new - self.fixed)


@dataclass(frozen=True, slots=True)
class Day:
    """The end of one day (UTC): what was open then."""

    day: date
    open: Counts


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days from `start`: what became new and what was fixed."""

    start: date
    new: int
    fixed: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, the labels of its axes, and the same data as a table for those who read."""

    svg: Markup
    y_labels: tuple[str, ...] = ()
    x_labels: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


# -- the frame around every page -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking."""

    name: str
    email: str
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """One line above the page: what was just done, or what is wrong."""

    kind: Literal["done", "wrong"]
    text: str


@dataclass(frozen=True, slots=True)
class Crumb:
    """A page above this one."""

    label: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every page needs. `path` is this page's own address, to come back to it."""

    title: str
    now: datetime
    path: str = "/"
    viewer: Viewer | None = None
    theme: Theme = "auto"
    notice: Notice | None = None
    crumbs: tuple[Crumb, ...] = ()
    may_register: bool = False
    vitals: Markup = field(default_factory=Markup)
    """The element that measures the page, where it is measured."""
    logo: Markup = field(default_factory=Markup)
    """The operator's, in place of ours."""
    description: str = ""
    """What search engines show of the page; without one they are kept out of it."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch to choose; `href` is the same page for it."""

    name: str
    href: str
    current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectHead:
    """The head of a project's pages: its name, its tabs, its branch."""

    slug: str
    name: str
    branch: str
    tab: Literal["summary", "issues", "pulls", "sources", "settings", ""] = ""
    branches: tuple[Branch, ...] = ()
    may_manage: bool = False
    branch_query: str = ""
    counts_only: bool = False

    @property
    def href(self) -> str:
        """The address of the project's summary."""
        return f"/projects/{self.slug}"


@dataclass(frozen=True, slots=True)
class Field:
    """A form's field: its value to show again, and what is wrong with it."""

    value: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a filter, and how many there are (None: not counted)."""

    value: str
    label: str
    chosen: bool = False
    count: int | None = None


def _no_fields() -> dict[str, Field]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Values and errors by field name; a name that is not there is an empty field."""

    form: dict[str, Field] = field(default_factory=_no_fields)

    def of(self, name: str) -> Field:
        """The field called `name`."""
        return self.form.get(name, Field())

    @property
    def wrong(self) -> str:
        """What is wrong with the form as a whole; empty when a field is to blame, or nothing."""
        return self.of("").error


# -- overview --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GateLine:
    """One condition of a gate, and how it ended; `skipped` says why it was not judged."""

    words: str
    passed: bool = True
    found: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class GradeView:
    """A letter, and how it was made."""

    letter: str
    score: float
    lines: int
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """How an analysis did."""

    verdict: Literal["passed", "failed", "incomplete"]
    lines: tuple[GateLine, ...]
    grade: GradeView | None = None
    compared_with: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisLine:
    """One analysis in a list. `not_green` says why it is incomplete; empty when it is not."""

    href: str
    commit: str
    branch: str
    created_at: datetime
    uploader: str
    tools: tuple[str, ...]
    new: int
    fixed: int
    open: int
    not_green: str = ""
    verdict: str = ""
    grade: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLine:
    """One project in the overview."""

    slug: str
    name: str
    branch: str
    open: Counts
    week: Change
    spark: Markup
    bar: Markup
    last: AnalysisLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All projects that the viewer may see, what got worse first."""

    projects: tuple[ProjectLine, ...]
    server_url: str
    may_create: bool
    open: Counts = Counts()
    week: Change = Change()
    incomplete: int = 0


# -- a project -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CategoryLine:
    """One category's open issues."""

    name: str
    open: Counts
    bar: Markup
    href: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """One row of a top list: `detail` is the second line, `share` the drawn proportion."""

    label: str
    detail: str
    count: int
    href: str
    share: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """The state and the trend of one branch."""

    project: ProjectHead
    open: Counts
    new_this_week: int
    fixed_this_week: int
    categories: tuple[CategoryLine, ...]
    trend: Chart | None
    weeks: Chart | None
    top_rules: tuple[Ranked, ...]
    top_paths: tuple[Ranked, ...]
    analyses: tuple[AnalysisLine, ...]
    server_url: str
    gate: GateView | None = None


# -- pull requests ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PullLine:
    """One pull request in a list: what it adds, what it fixes, how it did."""

    number: int
    href: str
    head: str
    base: str
    new: Counts
    fixed: int
    commit: str
    at: datetime | None
    verdict: str = ""
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullsPage:
    """The pull requests of a project, the newest first."""

    project: ProjectHead
    pulls: tuple[PullLine, ...]
    server_url: str
    next_href: str = ""
    with_closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPage:
    """One pull request."""

    project: ProjectHead
    pull: PullLine
    gate: GateView | None
    new_issues: tuple[IssueLine, ...]
    fixed_issues: tuple[IssueLine, ...]
    new_href: str
    fixed_href: str
    analyses: tuple[AnalysisLine, ...]


# -- issues ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueLine:
    """One issue in a list. `since` is when it was first reported."""

    href: str
    message: str
    severity: Severity
    category: str
    rule: str
    tool: str
    place: str
    since: datetime
    id: str = ""
    state: Literal["open", "fixed"] = "open"
    suppressed: bool = False
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of the list as the form shows them; `active` are links that take one away."""

    states: tuple[Option, ...]
    severities: tuple[Option, ...]
    categories: tuple[Option, ...]
    tools: tuple[Option, ...]
    mutes: tuple[Option, ...] = ()
    rule: str = ""
    path: str = ""
    q: str = ""
    branch: str = ""
    suppressed: bool = False
    gone: bool = False
    new_in: str = ""
    fixed_in: str = ""
    active: tuple[Crumb, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuesPage(_Form):
    """A page of the list. `total` is None where only a count of rows could tell it.

    `query` is what the address asks for, for a judgement of all that fit.
    """

    project: ProjectHead
    filters: Filters
    issues: tuple[IssueLine, ...]
    total: int | None
    next_href: str = ""
    first_href: str = ""
    analysed: bool = True
    state: Literal["open", "fixed", "all"] = "open"
    query: str = ""
    downloads: tuple[Crumb, ...] = ()
    may_triage: bool = False
    verdicts: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the code, and what the tool says about it."""

    text: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class EventLine:
    """One step of an issue's history."""

    icon: str
    title: str
    at: datetime
    commit: str = ""
    href: str = ""
    actor: str = ""
    reason: str = ""
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Why an issue does not count, by whom, and until when."""

    title: str
    reason: str
    author: str
    at: datetime
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuePage(_Form):
    """One issue: what, where, since when, why it is the same one as before, what to do."""

    project: ProjectHead
    href: str
    heading: str
    message: str
    severity: Severity
    category: str
    state: Literal["open", "fixed"]
    suppressed: bool
    tool: str
    rule: str
    rule_name: str
    rule_summary: str
    rule_help: Markup
    rule_uri: str
    rule_href: str
    place: str
    path_href: str
    columns: str
    since: datetime
    last: EventLine | None
    events: tuple[EventLine, ...]
    related: tuple[Place, ...]
    flow: tuple[Place, ...]
    tracked_by: str
    code: tuple[tuple[int, str], ...] = ()
    in_source: bool = False
    judgement: Decision | None = None
    suppression: Decision | None = None
    may_triage: bool = False
    verdicts: tuple[Option, ...] = ()
    suppress_href: str = ""


@dataclass(frozen=True, slots=True)
class SuppressionLine:
    """One suppression by rule and path; `href` lists what it holds back."""

    id: str
    what: str
    reason: str
    author: str
    at: datetime
    issues: int
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionsPage(_Form):
    """What the project suppresses, and the form for more."""

    project: ProjectHead
    suppressions: tuple[SuppressionLine, ...]
    held_href: str
    may_manage: bool = False


# -- an analysis -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunLine:
    """One tool's run within an analysis, and how it ended."""

    tool: str
    version: str
    category: str
    state: RunState
    detail: str
    results: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WarningLine:
    """Something in the upload that was not taken as it stood; `pointer` is its JSON pointer."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPage:
    """One analysis: who, when, which tools, what changed."""

    project: ProjectHead
    id: str
    commit: str
    branch: str
    category: str
    uploader: str
    created_at: datetime
    seconds: float
    complete: bool
    not_green: str
    new: int
    fixed: int
    reopened: int
    unchanged: int
    open: int
    suppressed: int
    runs: tuple[RunLine, ...]
    warnings: tuple[WarningLine, ...]
    warnings_total: int
    new_href: str
    fixed_href: str
    new_issues: tuple[IssueLine, ...]
    fixed_issues: tuple[IssueLine, ...]
    gate: GateView | None = None


# -- settings, accounts ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberLine:
    """Someone who belongs to a project."""

    name: str
    email: str
    role: str
    is_viewer: bool = False


@dataclass(frozen=True, slots=True)
class TokenLine:
    """An API token, without its secret. `owner` is empty where it is always the viewer."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    project: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A browser that is signed in."""

    id: str
    agent: str
    created_at: datetime
    expires_at: datetime
    is_this: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings(_Form):
    """A project's name, branch, people and tokens. `new_token` is shown this one time."""

    project: ProjectHead
    members: tuple[MemberLine, ...]
    roles: tuple[str, ...]
    tokens: tuple[TokenLine, ...]
    scopes: tuple[Option, ...]
    server_url: str
    new_token: str = ""
    gate: tuple[str, ...] = ()
    gate_is_default: bool = True
    severities: tuple[Option, ...] = ()
    categories: tuple[Option, ...] = ()
    grades: tuple[str, ...] = ()
    public_badge: bool = False
    privacy: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgot(_Form):
    """The form of who forgot a password; `asked` once it was sent."""

    sends_mail: bool
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The button that confirms an address."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(_Form):
    """The viewer's own tokens and sessions. `new_token` is shown this one time."""

    tokens: tuple[TokenLine, ...]
    scopes: tuple[Option, ...]
    sessions: tuple[SessionLine, ...]
    server_url: str
    new_token: str = ""
    is_verified: bool = True
    sends_mail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject(_Form):
    """The form for a new project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn(_Form):
    """The form that signs in, where to go then, and by which other service (if any)."""

    next: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(_Form):
    """The form for a new account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(_Form):
    """What a one-time link opens: the first administrator, or a new password."""

    token: str
    purpose: Purpose
    email: str = ""


@dataclass(frozen=True, slots=True)
class WebhookLine:
    """A webhook in a list."""

    id: str
    url: str
    events: tuple[str, ...]
    author: str
    at: datetime
    disabled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhooksPage(_Form):
    """A project's webhooks, and the form for more; `secret` is shown this one time."""

    project: ProjectHead
    webhooks: tuple[WebhookLine, ...]
    events: tuple[Option, ...]
    secret: str = ""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """Code that was handed in, in a list."""

    id: str
    title: str
    state: State
    author: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesPage(_Form):
    """What the server was given to analyse, and the forms for more."""

    project: ProjectHead
    sources: tuple[SourceLine, ...]
    megabytes: int
    hosts: tuple[str, ...]
    next_href: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage:
    """One analysis on its way; `events` is where the browser hears of its progress."""

    project: ProjectHead
    href: str
    title: str
    state: State
    author: str
    at: datetime
    tries: int
    detail: str
    steps: tuple[Step, ...]
    alive: bool
    may_cancel: bool
    events: str
    analysis_href: str


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """What a webhook was told, and what it answered last."""

    id: str
    event: str
    state: Literal["pending", "delivered", "failed"]
    tries: int
    status: int | None
    answer: str
    payload: str
    at: datetime
    next_try_at: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPage:
    """One webhook and its deliveries."""

    project: ProjectHead
    webhook: WebhookLine
    deliveries: tuple[DeliveryLine, ...]
    next_href: str = ""


@dataclass(frozen=True, slots=True)
class UserLine:
    """Somebody with an account."""

    name: str
    email: str
    since: datetime
    is_admin: bool = False
    is_disabled: bool = False
    is_viewer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersPage(_Form):
    """Everybody, and the form for one more; `link` is shown this one time."""

    users: tuple[UserLine, ...]
    link: str = ""
    link_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensPage:
    """Everybody's tokens."""

    tokens: tuple[TokenLine, ...]


@dataclass(frozen=True, slots=True)
class MeterLine:
    """One limit in words, and what is used of it."""

    title: str
    about: str
    meter: Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """What is used of the limits: one's own, or everybody's."""

    own: tuple[MeterLine, ...]
    users: tuple[UserUsage, ...]
    uploads: tuple[ProjectUsage, ...]
    preset: str
    members_limit: int | None
    of_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """A part of the audit log, and its filters."""

    entries: tuple[Entry, ...]
    events: tuple[Option, ...]
    actor: str = ""
    project: str = ""
    next_href: str = ""
    first_href: str = ""


@dataclass(frozen=True, slots=True)
class FailurePage:
    """A page that could not be shown: what happened and what to do next."""

    status: int
    heading: str
    detail: str
