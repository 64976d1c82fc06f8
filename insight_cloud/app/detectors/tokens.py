"""What secrets look like: the pure part of the detector `secrets`, without files or findings.

A pattern is looked for only where one of its `marks` occurs: `str.find` passes over a
megabyte in less time than a regular expression over a page.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from insight_cloud.app.sarif.model import Severity

__all__ = ["PATTERNS", "VERSION", "Pattern", "Secret", "entropy", "find", "is_placeholder"]

VERSION = "1"
"""Raised with every change of what is found, so that kept findings become void."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret. The group `value`, where there is one, is the secret itself."""

    code: str
    what: str
    marks: tuple[str, ...]
    regex: re.Pattern[str]
    severity: Severity = "critical"
    bits: float = 0.0  # the least entropy of a character; 0 where the form alone is proof


@dataclass(frozen=True, slots=True, order=True)
class Secret:
    """A secret in a text, by its offsets; the value itself is not kept."""

    start: int
    end: int
    code: str


def _token(code: str, what: str, mark: str, rest: str, severity: Severity = "critical") -> Pattern:
    """A token that begins with `mark`, and neither begins nor ends inside a longer word."""
    regex = re.compile(rf"{re.escape(mark)}{rest}(?![A-Za-z0-9_])")
    return Pattern(code, what, (mark,), regex, severity)


def _assigned(code: str, what: str, marks: str, name: str, value: str) -> Pattern:
    """A value of a known form next to a name that says what it is."""
    regex = re.compile(
        rf"(?i:{name})[\w.-]{{0,20}}[\"']?\s{{0,3}}(?::=|=>|[:=])\s{{0,3}}[\"']?"
        rf"(?P<value>{value})(?![A-Za-z0-9_/+=-])"
    )
    return Pattern(code, what, tuple(marks.split()), regex, bits=3.0)


_PEM = r"-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----(?:\s|\\[nr]|[\"'+,])*"

PATTERNS: tuple[Pattern, ...] = (
    *(
        Pattern(
            "aws-access-key",
            "AWS access key id",
            (mark,),
            re.compile(rf"{mark}[A-Z2-7]{{16}}(?![A-Za-z0-9])"),
            "high",
        )
        for mark in ("AKIA", "ASIA")
    ),
    _assigned(
        "aws-secret-key",
        "AWS secret access key",
        "aws_secret AWS_SECRET aws-secret awsSecret secretAccessKey SecretAccessKey",
        "aws[_-]?secret|secretaccesskey",
        r"[A-Za-z0-9/+]{40}",
    ),
    _token("github-token", "GitHub personal access token", "ghp_", r"[A-Za-z0-9]{36}"),
    _token("github-fine-grained", "GitHub fine-grained token", "github_pat_", r"\w{82}"),
    _token("github-oauth", "GitHub OAuth token", "gho_", r"[A-Za-z0-9]{36}"),
    _token("github-app", "GitHub app token", "ghs_", r"[A-Za-z0-9]{36}"),
    _token("github-app", "GitHub user-to-server token", "ghu_", r"[A-Za-z0-9]{36}"),
    _token("github-refresh", "GitHub refresh token", "ghr_", r"[A-Za-z0-9]{36,}"),
    _token("gitlab-token", "GitLab personal access token", "glpat-", r"[\w-]{20,}"),
    _token("gitlab-trigger", "GitLab pipeline trigger token", "glptt-", r"[0-9a-f]{40}"),
    _token("gitlab-deploy", "GitLab deploy token", "gldt-", r"[\w-]{20,}"),
    _token("gitlab-runner", "GitLab runner token", "glrt-", r"[\w-]{20,}"),
    _token("slack-token", "Slack bot token", "xoxb-", r"\d{9,}-\d{9,}-[A-Za-z0-9]{20,}"),
    _token("slack-token", "Slack user token", "xoxp-", r"\d{9,}-[\d-]{9,}-[A-Za-z0-9]{20,}"),
    _token("slack-app-token", "Slack app token", "xapp-", r"\d-[A-Z0-9]+-\d+-[a-f0-9]{20,}"),
    _token(
        "slack-webhook",
        "Slack webhook address",
        "hooks.slack.com/services/",
        r"T[A-Z0-9]{7,}/B[A-Z0-9]{7,}/[A-Za-z0-9]{20,}",
        "high",
    ),
    _token("stripe-key", "Stripe live secret key", "sk_live_", r"[A-Za-z0-9]{24,}"),
    _token("stripe-key", "Stripe live restricted key", "rk_live_", r"[A-Za-z0-9]{24,}"),
    _token("stripe-test-key", "Stripe test key", "sk_test_", r"[A-Za-z0-9]{24,}", "low"),
    _token("stripe-webhook", "Stripe webhook secret", "whsec_", r"[A-Za-z0-9+/]{32,}", "high"),
    _token("google-api-key", "Google API key", "AIza", r"[\w-]{35}", "high"),
    _token("google-oauth", "Google OAuth client secret", "GOCSPX-", r"[\w-]{28}"),
    _token("google-token", "Google access token", "ya29.", r"[\w-]{50,}", "high"),
    Pattern(
        "azure-storage-key",
        "Azure storage account key",
        ("AccountKey=",),
        re.compile(r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)"),
    ),
    Pattern(
        "azure-shared-access",
        "Azure shared access key",
        ("SharedAccessKey=",),
        re.compile(r"SharedAccessKey=(?P<value>[A-Za-z0-9+/]{43}=)"),
    ),
    Pattern(
        "azure-client-secret",
        "Azure client secret",
        ("8Q~", "7Q~"),
        re.compile(r"(?<![\w~.-])[\w~.-]{3}[78]Q~[\w~.-]{31,34}(?![\w~.-])"),
        bits=3.0,
    ),
    _token("npm-token", "npm access token", "npm_", r"[A-Za-z0-9]{36}"),
    Pattern(
        "npm-auth-token",
        "npm registry token",
        (":_authToken=",),
        re.compile(r":_authToken=[\"']?(?P<value>[\w-]{20,})"),
    ),
    _token("pypi-token", "PyPI upload token", "pypi-AgE", r"[\w-]{50,}"),
    _token("docker-token", "Docker Hub access token", "dckr_pat_", r"[\w-]{27,}"),
    _token("openai-key", "OpenAI project key", "sk-proj-", r"[\w-]{40,}"),
    _token("openai-key", "OpenAI key", "sk-", r"[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
    _token("anthropic-key", "Anthropic key", "sk-ant-", r"[\w-]{80,}"),
    _token("huggingface-token", "Hugging Face token", "hf_", r"[A-Za-z]{34}", "high"),
    _token("sendgrid-key", "SendGrid key", "SG.", r"[\w-]{22}\.[\w-]{43}"),
    _token("mailgun-key", "Mailgun key", "key-", r"[0-9a-f]{32}", "high"),
    _token("twilio-key", "Twilio API key", "SK", r"[0-9a-f]{32}", "high"),
    _token("digitalocean-token", "DigitalOcean token", "dop_v1_", r"[0-9a-f]{64}"),
    _token("shopify-token", "Shopify admin token", "shpat_", r"[0-9a-fA-F]{32}"),
    _token("square-token", "Square access token", "sq0atp-", r"[\w-]{22,}"),
    _token("databricks-token", "Databricks token", "dapi", r"[0-9a-f]{32}(?:-\d)?", "high"),
    _token("doppler-token", "Doppler token", "dp.pt.", r"[A-Za-z0-9]{40,}"),
    _token("vault-token", "Vault service token", "hvs.", r"[\w-]{24,}"),
    _token("terraform-token", "Terraform Cloud token", ".atlasv1.", r"[\w-]{60,}"),
    _token("linear-key", "Linear key", "lin_api_", r"[A-Za-z0-9]{40}", "high"),
    _token("postman-key", "Postman key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}", "high"),
    _token("sentry-token", "Sentry organisation token", "sntrys_", r"[\w+/=-]{60,}", "high"),
    _token("grafana-token", "Grafana service account token", "glsa_", r"\w{32}_[0-9a-f]{8}"),
    _token("age-key", "age secret key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    Pattern(
        "telegram-token",
        "Telegram bot token",
        (":AA",),
        re.compile(r"(?<![\w:])\d{8,10}:AA[\w-]{33}(?![\w-])"),
        "high",
    ),
    Pattern(
        "private-key",
        "private key",
        ("PRIVATE KEY-----",),
        re.compile(_PEM + r"(?P<value>[A-Za-z0-9+/]{40,})"),
    ),
    Pattern(
        "pgp-private-key",
        "PGP private key",
        ("-----BEGIN PGP PRIVATE",),
        re.compile(
            r"-----BEGIN PGP PRIVATE KEY BLOCK-----\s(?:[\w-]+: .*\s)*\s*(?P<value>[\w+/]{40,})"
        ),
    ),
    Pattern(
        "jwt",
        "JSON web token",
        ("eyJ",),
        re.compile(r"(?<![\w.-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
        "medium",
    ),
    Pattern(
        "url-password",
        "password in an address",
        ("://",),
        re.compile(
            r"[a-z][a-z0-9+.-]{1,20}://[\w.%~-]{1,60}:(?P<value>[^\s\"'`@/:<>(){}\[\]$\\,;|*]{6,100})"
            r"@[\w.-]+"
        ),
        "high",
        bits=2.5,
    ),
    Pattern(
        "generic-secret",
        "secret in an assignment",
        (
            "ecret",
            "ECRET",
            "oken",
            "OKEN",
            "assw",
            "ASSW",
            "pi_key",
            "piKey",
            "PI_KEY",
            "pi-key",
            "rivate_key",
            "RIVATE_KEY",
            "ccess_key",
            "CCESS_KEY",
            "redential",
            "REDENTIAL",
        ),
        re.compile(
            r"(?i:secret|token|passw(?:or)?d|api[_-]?key|private_key|access_key|credentials?)"
            r"(?i:[_-]?(?:key|token|value|id|base|hash|salt))?[\"']?\]?"
            r"(?:\s{0,3}:\s?(?:str|String|string)\s?)?"
            r"\s{0,3}(?::=|=>|=|:)\s{0,3}[a-z]{0,2}(?P<quote>[\"'`])"
            r"(?P<value>[^\s\"'`\\<>(){}]{12,200})(?P=quote)"
        ),
        "high",
        bits=3.5,
    ),
)

_PLACEHOLDER = re.compile(
    r"example|sample|dummy|fake|change[_-]?me|change[_-]?it|replace|placeholder|insert|redacted"
    r"|your[_-]?|my[_-]?(?:secret|pass|token|key)|xxx|\*\*\*|\.\.\.|todo|test[_-]?only|not[_-]?a"
    r"|insecure|foobar|lorem|abcdef(?!\d)|12345|qwerty|password|hunter2|deadbeef|process\.env"
    r"|environ|getenv|secrets\.|vars\.|\$\{|\{\{|%\(|#\{",
    re.IGNORECASE,
)
_ALNUM_BEFORE = re.compile(r"[A-Za-z0-9_]")


def find(text: str, *, generic: bool = True) -> list[Secret]:
    """The secrets in `text`, in their order; of two that overlap the more certain one.

    `generic` asks for assignments of random looking values, too.
    """
    taken: list[Secret] = []
    for pattern in PATTERNS:
        if pattern.code == "generic-secret" and not generic:
            continue
        if not any(mark in text for mark in pattern.marks):
            continue
        taken += [
            secret
            for secret in _found(pattern, text)
            if not any(secret.start < other.end and other.start < secret.end for other in taken)
        ]
    return sorted(taken)


def _found(pattern: Pattern, text: str) -> Iterator[Secret]:
    group = "value" if "value" in pattern.regex.groupindex else 0
    for match in pattern.regex.finditer(text):
        start, end = match.span(group)
        if group == 0 and start and _ALNUM_BEFORE.match(text[start - 1]):
            continue  # the middle of a longer word
        if not is_placeholder(match[group]) and _is_random(pattern, match[group]):
            yield Secret(start, end, pattern.code)


def is_placeholder(value: str) -> bool:
    """Whether `value` is what documentation writes in a secret's place."""
    return bool(_PLACEHOLDER.search(value)) or len(set(value)) < 5


def _is_random(pattern: Pattern, value: str) -> bool:
    if pattern.bits == 0:
        return True
    if entropy(value) < pattern.bits:
        return False
    return pattern.code != "generic-secret" or _is_no_name(value)


def _is_no_name(value: str) -> bool:
    """Whether `value` cannot be an identifier, a path or a sentence in disguise.

    Names are words joined by one kind of sign, at most numbered at the end; a random value
    changes between letters and digits again and again.
    """
    if "://" in value or value.startswith(("/", "./", "$", "%", "@", "--", "{")):
        return False
    changes = len(re.findall(r"[A-Za-z][0-9]|[0-9][A-Za-z]", value))
    words = re.findall(r"[A-Za-z]{4,}", value)
    return changes >= 3 and sum(map(len, words)) < 0.7 * len(value)


def entropy(value: str) -> float:
    """Shannon's entropy of a character of `value`, in bits."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
