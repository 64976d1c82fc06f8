"""The score of a site: the ten tests of MDN's HTTP Observatory (algorithm 4), as pure functions.

The rules are theirs, quirks included, so that the figure is the one that people get from MDN.
Where they pass over a fault that browsers do not (`max-age=soon`), the fault counts here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from urllib.parse import urlsplit

from insight_cloud.headers import combined, page

__all__ = [
    "BEST",
    "GRADES",
    "MODIFIERS",
    "PROBE_ORIGIN",
    "Answer",
    "Result",
    "Score",
    "Site",
    "score",
]

BEST = 145
"""The highest score; 140 without a place on the browsers' preload list."""

PROBE_ORIGIN = "https://probe.example"
"""The foreign origin with which the CORS test asks."""

GRADES = (
    (100, "A+"), (90, "A"), (85, "A-"), (80, "B+"), (70, "B"), (65, "B-"), (60, "C+"),
    (50, "C"), (45, "C-"), (40, "D+"), (30, "D"), (25, "D-"), (0, "F"),
)  # fmt: skip
"""The lowest score of each grade."""

_BONUS_FROM = 90
_SIX_MONTHS_SECONDS = 15_552_000  # 180 days, less than the 15,768,000 that MDN's text says

MODIFIERS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "csp-default-none": (10, "strict, and default-src is 'none'"),
        "csp-no-unsafe": (5, "nothing unsafe; default-src 'none' would be better"),
        "csp-unsafe-style": (0, "unsafe sources for styles only"),
        "csp-duplicate-reports": (0, "report-uri or report-to stands twice"),
        "csp-insecure-passive": (-10, "images or media may come over plain HTTP"),
        "csp-unsafe-eval": (-10, "'unsafe-eval' is allowed"),
        "csp-unsafe-inline": (-20, "scripts or objects from anywhere, inline or data:"),
        "csp-insecure-active": (-20, "scripts or other active content over plain HTTP"),
        "csp-invalid": (-25, "the policy cannot be read"),
        "csp-missing": (-25, "no policy"),
        "csp-report-only": (-25, "violations are only reported"),
        "cookies-samesite": (5, "all Secure and SameSite, session cookies HttpOnly"),
        "cookies-secure": (0, "all Secure, session cookies HttpOnly; not all have SameSite"),
        "cookies-none": (0, "no cookies"),
        "cookies-insecure-hsts": (-5, "a cookie without Secure, protected by HSTS"),
        "cookies-session-insecure-hsts": (-10, "a session without Secure, protected by HSTS"),
        "cookies-insecure": (-20, "a cookie without Secure"),
        "cookies-samesite-invalid": (-20, "a SameSite that browsers do not accept"),
        "cookies-csrf-samesite": (-20, "an anti-CSRF cookie without SameSite"),
        "cookies-session-script": (-30, "a session cookie without HttpOnly"),
        "cookies-session-insecure": (-40, "a session cookie without Secure"),
        "cors-none": (0, "not readable from other origins"),
        "cors-public": (0, "public, without credentials"),
        "cors-restricted": (0, "for named origins"),
        "cors-universal": (-50, "every origin may read, with credentials"),
        "redirect-preloaded": (0, "every host is preloaded"),
        "redirect-https": (0, "HTTP leads to HTTPS on the same host"),
        "redirect-no-http": (0, "HTTP does not answer, so nothing to redirect"),
        "redirect-off-host": (-5, "HTTP leads to HTTPS of another host at once"),
        "redirect-late": (-10, "HTTP leads to HTTP before HTTPS"),
        "redirect-not-https": (-20, "HTTP leads elsewhere, but not to HTTPS"),
        "redirect-missing": (-20, "HTTP is answered without a redirect"),
        "redirect-certificate": (-20, "a certificate on the way does not verify"),
        "referrer-private": (5, "other sites learn the origin at most"),
        "referrer-none": (0, "no policy"),
        "referrer-unsafe": (-5, "other sites learn where a visitor came from"),
        "referrer-invalid": (-5, "no known policy"),
        "hsts-preloaded": (5, "built into browsers"),
        "hsts-long": (0, "six months or more"),
        "hsts-short": (-10, "less than six months"),
        "hsts-missing": (-20, "no header"),
        "hsts-invalid": (-20, "the header cannot be read"),
        "hsts-no-https": (-20, "HTTPS does not answer"),
        "hsts-certificate": (-20, "the certificate does not verify"),
        "sri-all": (5, "integrity on scripts of the own site"),
        "sri-external": (5, "integrity on all foreign scripts"),
        "sri-not-html": (0, "not a page"),
        "sri-no-scripts": (0, "no scripts"),
        "sri-same-origin": (0, "scripts of the own site only"),
        "sri-missing": (-5, "a foreign script without integrity"),
        "sri-insecure": (-20, "a foreign script over plain HTTP"),
        "sri-missing-insecure": (-50, "a foreign script over plain HTTP, without integrity"),
        "nosniff": (0, "nosniff"),
        "nosniff-missing": (-5, "no header"),
        "nosniff-invalid": (-5, "something else than nosniff"),
        "framing-csp": (5, "frame-ancestors in the policy"),
        "framing-header": (0, "DENY or SAMEORIGIN"),
        "framing-allow-from": (0, "ALLOW-FROM, which no browser heeds now"),
        "framing-missing": (-20, "everybody may frame the page"),
        "framing-invalid": (-20, "the header cannot be read"),
        "corp-same-origin": (10, "same-origin"),
        "corp-same-site": (10, "same-site"),
        "corp-cross-origin": (0, "cross-origin"),
        "corp-none": (0, "no header"),
        "corp-invalid": (-5, "the header cannot be read"),
    }
)
"""Every outcome: what it adds to the 100 points to begin with, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: where from, and what it said. Header names are in lower case."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def values(self, name: str) -> list[str]:
        """The values of a header; the lines of one name are one value, except for cookies."""
        found = [value.strip() for key, value in self.headers if key == name]
        return found if name == "set-cookie" or not found else [", ".join(found)]

    def value(self, name: str) -> str:
        """The value of a header, or nothing."""
        return next(iter(self.values(name)), "")


@dataclass(frozen=True)
class Site:
    """What was seen of a site.

    Args:
        host: its name, without port.
        http: the answers from the plain URL on, redirects included; empty when none came.
        https: the same from the HTTPS URL on.
        verified: whether every certificate on the way verified.
        cors: the answer to a preflight from `PROBE_ORIGIN`.
        others: more answers whose cookies count, of `/robots.txt` for one.
        preloaded: names that browsers know as HTTPS only, with their subdomains.
    """

    host: str
    http: tuple[Answer, ...] = ()
    https: tuple[Answer, ...] = ()
    verified: bool = True
    cors: Answer | None = None
    others: tuple[Answer, ...] = ()
    preloaded: frozenset[str] = frozenset()

    @property
    def secure(self) -> bool:
        """Whether the site answers over HTTPS."""
        return bool(self.https)

    @property
    def main(self) -> Answer:
        """The answer that is tested: the last one over HTTPS, else over HTTP."""
        return (self.https or self.http)[-1]

    @cached_property
    def page(self) -> page.Page:
        """What the answer's HTML says; nothing when it is none."""
        return page.read(self.main.body) if self.is_html else page.Page()

    @property
    def is_html(self) -> bool:
        """Whether the answer is a page."""
        kind = self.main.value("content-type").split(";")[0]
        return kind in {"text/html", "application/xhtml+xml"}

    def is_preloaded(self, host: str) -> bool:
        """Whether browsers come to `host` over HTTPS the first time already."""
        labels = host.split(".")
        return any(".".join(labels[start:]) in self.preloaded for start in range(len(labels)))


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one test."""

    test: str
    outcome: str

    @property
    def modifier(self) -> int:
        """Points added or taken."""
        return MODIFIERS[self.outcome][0]

    @property
    def reason(self) -> str:
        """Why."""
        return MODIFIERS[self.outcome][1]


@dataclass(frozen=True, slots=True)
class Score:
    """The results of the ten tests."""

    results: tuple[Result, ...]

    @property
    def score(self) -> int:
        """0 to `BEST`; bonuses count only when penalties leave at least 90 points."""
        penalties = sum(min(result.modifier, 0) for result in self.results)
        bonuses = sum(max(result.modifier, 0) for result in self.results)
        points = 100 + penalties
        return max(0, points + bonuses if points >= _BONUS_FROM else points)

    @property
    def grade(self) -> str:
        """A+ to F."""
        return next(grade for lowest, grade in GRADES if self.score >= lowest)


def score(site: Site) -> Score:
    """Make the ten tests.

    Raises:
        ValueError: the site did not answer at all.
    """
    if not (site.http or site.https):
        raise ValueError(f"{site.host} did not answer")
    return Score(tuple(Result(name, test(site)) for name, test in _TESTS.items()))


# -- content security policy -----------------------------------------------------------------

_BROAD = frozenset(
    {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
)
_INLINE = frozenset({"'unsafe-inline'", "data:"})
_TRUSTED = ("'sha256-", "'sha384-", "'sha512-", "'nonce-")
_PASSIVE = ("img-src", "media-src")
_HEADER_ONLY = frozenset({"frame-ancestors", "report-uri", "sandbox"})


def _csp(site: Site) -> str:
    try:
        policy = _policy(site)
    except ValueError:
        return "csp-invalid"
    if policy is None:
        only = site.main.value("content-security-policy-report-only")
        return "csp-report-only" if only else "csp-missing"
    outcome = _judge(policy, secure=site.secure)
    passed = MODIFIERS[outcome][0] >= 0 or outcome == "csp-insecure-passive"
    return "csp-duplicate-reports" if policy.repeated and passed else outcome


def _policy(site: Site) -> combined.Policy | None:
    """The policy that headers and `meta` make together; None when they say nothing.

    Raises:
        ValueError: one cannot be read.
    """
    headers = site.main.values("content-security-policy")
    policy = combined.combine([*headers, *site.page.policies])
    in_meta = combined.combine(site.page.policies).directives.keys() - _HEADER_ONLY
    return policy if combined.combine(headers).directives or in_meta else None


def _judge(policy: combined.Policy, *, secure: bool) -> str:
    scripts = policy.sources("script-src", "default-src")
    styles = policy.sources("style-src", "default-src")
    objects = policy.sources("object-src", "default-src")
    for sources in (scripts, styles):  # in place: a default-src that both use changes for both
        if _has_trusted(sources):
            sources.discard("'unsafe-inline'")
    if "'strict-dynamic'" in scripts:
        if not _has_trusted(scripts):
            return "csp-invalid"
        weak = {s for s in scripts if s.startswith(tuple(_BROAD)) or s == "'self'"}
        scripts -= weak
    default = policy.directives.get("default-src", set())
    passive = [policy.directives.get(name, default) for name in _PASSIVE]
    faults = {
        "csp-unsafe-inline": bool(scripts & (_BROAD | _INLINE) or objects & _BROAD),
        "csp-insecure-active": secure and _is_insecure(_active(policy, scripts)),
        "csp-unsafe-eval": "'unsafe-eval'" in scripts | styles,
        "csp-insecure-passive": secure and _is_insecure(*passive),
        "csp-unsafe-style": bool(styles & (_BROAD | _INLINE)),
    }
    best = "csp-default-none" if default == {"'none'"} else "csp-no-unsafe"
    return next((outcome for outcome, found in faults.items() if found), best)


def _has_trusted(sources: set[str]) -> bool:
    return any(source.startswith(_TRUSTED) for source in sources)


def _active(policy: combined.Policy, scripts: set[str]) -> set[str]:
    others = (
        sources
        for name, sources in policy.directives.items()
        if name not in {*_PASSIVE, "script-src"}
    )
    return scripts.union(*others)


def _is_insecure(*groups: set[str]) -> bool:
    return any(source.startswith(("http:", "ftp:")) for group in groups for source in group)


# -- cookies ---------------------------------------------------------------------------------

_NOT_OURS = "heroku-session-affinity"  # set by the platform, beyond the site's reach
_WORST_LAST = (
    "cookies-insecure-hsts",
    "cookies-insecure",
    "cookies-session-insecure-hsts",
    "cookies-samesite-invalid",
    "cookies-csrf-samesite",
    "cookies-session-script",
    "cookies-session-insecure",
)


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    path: str
    domain: str
    secure: bool
    http_only: bool
    same_site: str


def _cookies(site: Site) -> str:
    answers = (*(site.https or site.http), *site.others)
    lines = [(line, answer.url) for answer in answers for line in answer.values("set-cookie")]
    read = (_read_cookie(line, url) for line, url in lines)
    # A later cookie of the same name, path and domain replaces the earlier one.
    cookies = {(c.name, c.path, c.domain): c for c in read if c is not None}.values()
    if not cookies:
        return "cookies-none"
    hsts = _hsts(site) in {"hsts-long", "hsts-preloaded"}
    faults = {fault for cookie in cookies for fault in _faults(cookie, hsts=hsts)}
    if any(_has_wrong_same_site(line) for line in site.main.values("set-cookie")):
        faults.add("cookies-samesite-invalid")
    if faults:
        return max(faults, key=_WORST_LAST.index)
    return "cookies-samesite" if all(c.same_site for c in cookies) else "cookies-secure"


def _read_cookie(line: str, url: str) -> _Cookie | None:
    first, *rest = line.split(";")
    name, equals, _ = first.partition("=")
    name = name.strip()
    if not name or not equals or name == _NOT_OURS:
        return None
    attributes = {}
    for part in rest:
        key, _, value = part.partition("=")
        attributes[key.strip().lower()] = value.strip()
    host = urlsplit(url).hostname or ""
    domain = attributes.get("domain", "").lstrip(".").lower()
    if domain and host != domain and not host.endswith(f".{domain}"):
        return None  # browsers refuse it
    path = attributes.get("path", "")
    same_site = attributes.get("samesite", "").lower()
    return _Cookie(
        name=name,
        path=path if path.startswith("/") else _default_path(url),
        domain=domain or host,
        secure="secure" in attributes,
        http_only="httponly" in attributes,
        same_site=same_site if same_site in {"strict", "lax", "none"} else "",
    )


def _default_path(url: str) -> str:
    """Where a cookie without a path holds (RFC 6265, 5.1.4): in the folder of its URL."""
    return urlsplit(url).path.rpartition("/")[0] or "/"


def _faults(cookie: _Cookie, *, hsts: bool) -> set[str]:
    lower = cookie.name.lower()
    session = "login" in lower or "sess" in lower
    faults = set()
    if not cookie.secure:
        faults.add("cookies-insecure-hsts" if hsts else "cookies-insecure")
        if cookie.same_site == "none":
            faults.add("cookies-samesite-invalid")
        if session:
            faults.add("cookies-session-insecure-hsts" if hsts else "cookies-session-insecure")
    if "csrf" in lower and not cookie.same_site:
        faults.add("cookies-csrf-samesite")
    if session and not cookie.http_only:
        faults.add("cookies-session-script")
    return faults


def _has_wrong_same_site(line: str) -> bool:
    for part in line.split(";"):
        key, _, value = part.partition("=")
        if key.strip().lower() == "samesite":
            return value.strip().lower() not in {"strict", "lax", "none"}
    return False


# -- the others ------------------------------------------------------------------------------


def _cors(site: Site) -> str:
    allowed = site.cors.value("access-control-allow-origin") if site.cors else ""
    if site.cors is None or not allowed:
        return "cors-none"
    if allowed == "*":
        return "cors-public"
    credentials = site.cors.value("access-control-allow-credentials").lower() == "true"
    return "cors-universal" if credentials and allowed == PROBE_ORIGIN else "cors-restricted"


def _redirect(site: Site) -> str:
    if not site.http:
        return "redirect-no-http"
    if not site.verified:
        return "redirect-certificate"
    route = [urlsplit(answer.url) for answer in site.http]
    if all(site.is_preloaded(hop.hostname or "") for hop in route):
        return "redirect-preloaded"
    if len(route) == 1:
        return "redirect-missing"
    faults = {
        "redirect-not-https": route[-1].scheme != "https",
        "redirect-late": route[1].scheme == "http",
        "redirect-off-host": route[0].hostname != route[1].hostname,
    }
    return next((outcome for outcome, found in faults.items() if found), "redirect-https")


def _referrer(site: Site) -> str:
    values = site.main.values("referrer-policy")
    values += [site.page.referrer] if site.page.referrer else []
    if not values:
        return "referrer-none"
    private = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
    unsafe = {"origin", "origin-when-cross-origin", "unsafe-url", "no-referrer-when-downgrade"}
    words = [word.strip().lower() for word in ",".join(values).split(",")]
    known = [word for word in words if word in private | unsafe]
    if not known:
        return "referrer-invalid"
    return "referrer-private" if known[-1] in private else "referrer-unsafe"


def _hsts(site: Site) -> str:
    if not site.https:
        return "hsts-no-https"
    if site.is_preloaded(site.host):
        return "hsts-preloaded"
    if not site.verified:
        return "hsts-certificate"
    values = site.main.values("strict-transport-security")
    if not values:
        return "hsts-missing"
    # MDN reads `max-age=soon` as long enough; browsers do not, nor do we.
    ages = re.findall(r"(?:^|;)\s*max-age=(\"?)(\d{1,18})\1\s*(?=;|$)", values[0].lower())
    if "," in values[0] or not ages:
        return "hsts-invalid"
    return "hsts-long" if int(ages[-1][1]) >= _SIX_MONTHS_SECONDS else "hsts-short"


_SRI_WORST_LAST = ("sri-all", "sri-insecure", "sri-missing", "sri-missing-insecure")


def _sri(site: Site) -> str:
    if not site.is_html:
        return "sri-not-html"
    if not site.page.scripts:
        return "sri-no-scripts"
    outcomes: set[str] = set()
    foreign = False
    for script in site.page.scripts:
        if not script.source:
            continue
        absolute = re.match(r"https?://", script.source) is not None
        floating = script.source.startswith("//")
        own = not floating and (not absolute or _same_site(script.source, site.host))
        secure = script.source.startswith("https://") or (
            not absolute and not floating and site.secure
        )
        foreign |= not own
        if own and script.integrity and secure:
            outcomes.add("sri-all")
        elif not own and not (script.integrity and secure):
            outcomes.add(
                "sri-insecure" if script.integrity
                else "sri-missing" if secure
                else "sri-missing-insecure"
            )  # fmt: skip
    if outcomes:
        return max(outcomes, key=_SRI_WORST_LAST.index)
    return "sri-external" if foreign else "sri-same-origin"


def _same_site(url: str, host: str) -> bool:
    try:
        return _registrable(urlsplit(url).hostname or "") == _registrable(host)
    except ValueError:
        return False


def _registrable(host: str) -> str:
    """The part of a name that somebody registered, by the usual shapes of public suffixes.

    Without the list of all suffixes; a wrong guess moves this one test only.
    """
    labels = host.lower().rstrip(".").split(".")
    if ":" in host or len(labels) == 1 or labels[-1].isdecimal():
        return ""  # an address or a local name belongs to nobody, as MDN sees it
    general = {"ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"}
    shaped_like_co_uk = len(labels[-1]) == 2 and labels[-2] in general
    return ".".join(labels[-3:] if shaped_like_co_uk else labels[-2:])


def _nosniff(site: Site) -> str:
    value = site.main.value("x-content-type-options").lower()
    if not value:
        return "nosniff-missing"
    return "nosniff" if value == "nosniff" else "nosniff-invalid"


def _framing(site: Site) -> str:
    if _has_frame_ancestors(site):
        return "framing-csp"
    value = site.main.value("x-frame-options").lower()
    if not value:
        return "framing-missing"
    if value in {"deny", "sameorigin"}:
        return "framing-header"
    return "framing-allow-from" if value.startswith("allow-from") else "framing-invalid"


def _has_frame_ancestors(site: Site) -> bool:
    try:
        policy = _policy(site)
    except ValueError:
        return False
    return policy is not None and "frame-ancestors" in policy.directives


def _corp(site: Site) -> str:
    value = site.main.value("cross-origin-resource-policy").lower()
    if not value:
        return "corp-none"
    known = value in {"same-origin", "same-site", "cross-origin"}
    return f"corp-{value}" if known else "corp-invalid"


_TESTS: Mapping[str, Callable[[Site], str]] = MappingProxyType(
    {
        "content-security-policy": _csp,
        "cookies": _cookies,
        "cross-origin-resource-sharing": _cors,
        "redirection": _redirect,
        "referrer-policy": _referrer,
        "strict-transport-security": _hsts,
        "subresource-integrity": _sri,
        "x-content-type-options": _nosniff,
        "x-frame-options": _framing,
        "cross-origin-resource-policy": _corp,
    }
)
