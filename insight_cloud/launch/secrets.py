"""What secrets look like: for the scan of sources and of logs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["secrets_in"]

_KINDS: Mapping[str, re.Pattern[str]] = {
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "private key": re.compile(r"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY-----"),
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{50,}"),
    "GitLab token": re.compile(r"\bglpat-[\w-]{20,}"),
    "Slack token or webhook": re.compile(
        r"\bxox[abposr]-[\w-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w{16,}"
    ),
    "Stripe key": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
    "Google key": re.compile(r"\bAIza[\w-]{35}\b"),
    "JSON web token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]{2,20}://[^\s:/@'\"<>{}$*]{1,60}:(?!\*+@|\.\.\.@|pass(?:word)?@|secret@)[^\s/@'\"<>{}$]{6,}@[\w.-]+"
    ),
    "password": re.compile(
        r"""(?i)\b(?:password|passwd|secret|api_?key|access_?token)["']?\s*[:=]\s*["'](?=[^"']*\d)(?=[^"']*[a-z])[^"'\s{}$<>]{12,}["']"""
    ),
    "bearer token": re.compile(r"(?i)\bauthorization:\s*bearer\s+[\w.~+/-]{16,}"),
}


def secrets_in(text: str) -> Iterator[str]:
    """The kinds of secrets that seem to be in `text`; never the secrets."""
    for kind, pattern in _KINDS.items():
        if pattern.search(text):
            yield kind
