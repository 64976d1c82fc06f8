"""Content security policies as text: the two we ship, and what is refused in anybody's."""

from __future__ import annotations

from insight_cloud.core.errors import SettingsError

__all__ = ["API", "NONCE", "PAGE", "check", "parse", "with_reports"]

NONCE = "{nonce}"
"""Where the nonce of the request goes in the text of a policy."""

PAGE = (
    "default-src 'none'; "
    f"script-src 'self' 'nonce-{NONCE}'; "
    f"style-src 'self' 'nonce-{NONCE}'; "
    "img-src 'self'; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""For pages: everything from the own origin; inline scripts and styles with the nonce only."""

API = "default-src 'none'; frame-ancestors 'none'"
"""For answers that are data: nothing is loaded, nothing frames them."""

_DIRECTIVES = frozenset(
    {
        "base-uri",
        "child-src",
        "connect-src",
        "default-src",
        "fenced-frame-src",
        "font-src",
        "form-action",
        "frame-ancestors",
        "frame-src",
        "img-src",
        "manifest-src",
        "media-src",
        "object-src",
        "report-to",
        "report-uri",
        "require-trusted-types-for",
        "sandbox",
        "script-src",
        "script-src-attr",
        "script-src-elem",
        "style-src",
        "style-src-attr",
        "style-src-elem",
        "trusted-types",
        "upgrade-insecure-requests",
        "worker-src",
    }
)
_UNSAFE = frozenset({"'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'"})


def parse(policy: str) -> dict[str, tuple[str, ...]]:
    """Read one policy: its directives in lower case, each with its sources as written.

    Raises:
        SettingsError: a directive stands twice; browsers would drop the second silently.
    """
    directives: dict[str, tuple[str, ...]] = {}
    for part in policy.split(";"):
        name, *sources = part.split() or [""]
        if not name:
            continue
        if name.lower() in directives:
            raise SettingsError(f"the policy has {name.lower()} twice; browsers heed the first")
        directives[name.lower()] = tuple(sources)
    return directives


def check(policy: str) -> str:
    """Return `policy` when a strict one can be made of it.

    Raises:
        SettingsError: it is empty, has a comma (which would begin a second policy), an unknown
            or repeated directive, an `unsafe-` keyword, or braces other than `{nonce}`.
    """
    directives = parse(policy)
    if not directives:
        raise SettingsError("the policy is empty")
    if "," in policy:
        raise SettingsError("a comma in a policy begins another one; use one policy")
    if unknown := sorted(directives.keys() - _DIRECTIVES):
        raise SettingsError(f"no browser knows the directive {unknown[0]!r}")
    for name, sources in directives.items():
        if found := sorted(_UNSAFE.intersection(source.lower() for source in sources)):
            raise SettingsError(f"{name} has {found[0]}; give scripts and styles the nonce instead")
    if set("{}") & set(policy.replace(NONCE, "")):
        raise SettingsError("braces stand for the nonce only: 'nonce-{nonce}'")
    return policy


def with_reports(policy: str, url: str, endpoint: str) -> str:
    """Return `policy` with its violations sent to `url`, which `endpoint` names."""
    # report-uri is for browsers without Reporting-Endpoints; the others pass over it.
    return f"{policy.rstrip('; ')}; report-to {endpoint}; report-uri {url}"
