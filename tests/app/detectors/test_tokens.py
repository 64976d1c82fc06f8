"""What secrets look like, and what only looks like them."""

from __future__ import annotations

import random
import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.detectors import tokens

_random = random.Random(7)


def made(size: int, letters: str = string.ascii_letters + string.digits) -> str:
    while True:
        value = "".join(_random.choices(letters, k=size))
        if size < 20 or not tokens.is_placeholder(value):
            return value


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "aws-access-key": "AKIA" + made(16, UPPER),
    "aws-secret-key": "aws_secret_access_key = " + made(40),
    "github-token": "ghp_" + made(36),
    "github-fine-grained": "github_pat_" + made(82),
    "github-oauth": "gho_" + made(36),
    "github-app": "ghs_" + made(36),
    "github-refresh": "ghr_" + made(36),
    "gitlab-token": "glpat-" + made(20),
    "gitlab-trigger": "glptt-" + made(40, HEX),
    "gitlab-deploy": "gldt-" + made(20),
    "gitlab-runner": "glrt-" + made(20),
    "slack-token": f"xoxb-{made(11, '0123456789')}-{made(12, '0123456789')}-{made(24)}",
    "slack-app-token": f"xapp-1-A{made(8, UPPER)}-{made(12, '0123456789')}-{made(64, HEX)}",
    "slack-webhook": "https://hooks.slack.com/services/"
    f"T{made(8, UPPER)}/B{made(8, UPPER)}/{made(24)}",
    "stripe-key": "sk_live_" + made(24),
    "stripe-test-key": "sk_test_" + made(24),
    "stripe-webhook": "whsec_" + made(32),
    "google-api-key": "AIza" + made(35),
    "google-oauth": "GOCSPX-" + made(28),
    "google-token": "ya29." + made(60),
    "azure-storage-key": "AccountName=x;AccountKey=" + made(86) + "==;",
    "azure-shared-access": "SharedAccessKey=" + made(43) + "=",
    "azure-client-secret": made(3) + "8Q~" + made(34),
    "npm-token": "npm_" + made(36),
    "npm-auth-token": "//registry.npmjs.org/:_authToken=" + made(36),
    "pypi-token": "pypi-AgE" + made(60),
    "docker-token": "dckr_pat_" + made(27),
    "openai-key": "sk-proj-" + made(48),
    "anthropic-key": "sk-ant-" + made(95),
    "huggingface-token": "hf_" + made(34, string.ascii_letters),
    "sendgrid-key": f"SG.{made(22)}.{made(43)}",
    "mailgun-key": "key-" + made(32, HEX),
    "twilio-key": "SK" + made(32, HEX),
    "digitalocean-token": "dop_v1_" + made(64, HEX),
    "shopify-token": "shpat_" + made(32, HEX),
    "square-token": "sq0atp-" + made(22),
    "databricks-token": "dapi" + made(32, HEX),
    "doppler-token": "dp.pt." + made(43),
    "vault-token": "hvs." + made(24),
    "terraform-token": "." + "atlasv1." + made(64),
    "linear-key": "lin_api_" + made(40),
    "postman-key": f"PMAK-{made(24, HEX)}-{made(34, HEX)}",
    "sentry-token": "sntrys_" + made(80),
    "grafana-token": f"glsa_{made(32)}_{made(8, HEX)}",
    "age-key": "AGE-SECRET-KEY-1" + made(58, string.ascii_uppercase + string.digits),
    "telegram-token": f"{made(9, '0123456789')}:AA{made(33)}",
    "private-key": "-----BEGIN RSA PRIVATE " + "KEY-----\n" + made(64) + "\n" + made(64),
    "pgp-private-key": "-----BEGIN PGP PRIVATE KEY " + "BLOCK-----\n\n" + made(64),
    "jwt": f"eyJ{made(20)}.eyJ{made(40)}.{made(43)}",
    "url-password": "postgres://app:" + made(14) + "@db.internal/app",
    "generic-secret": 'api_key = "' + "r4nD0m5Tr1nG8v6K2x9Q" + '"',
}


@pytest.mark.parametrize("code", sorted(SECRETS))
def test_each_kind_is_found_where_it_stands(code: str) -> None:
    text = f"# before\nvalue: {SECRETS[code]}\nafter\n"
    found = tokens.find(text)
    assert [secret.code for secret in found] == [code]
    assert text[found[0].start : found[0].end] in SECRETS[code]


def test_every_pattern_has_a_test() -> None:
    assert {pattern.code for pattern in tokens.PATTERNS} == SECRETS.keys()


@pytest.mark.parametrize(
    "line",
    [
        'password = "changeme"',
        'password = "correct-horse-battery"',
        'SECRET_KEY = "django-insecure-r4nD0m5Tr1nG8v6K2x9Q"',
        'token = "your_token_goes_here_123"',
        'token = "${{ secrets.DEPLOY_TOKEN_1A2B3C4D }}"',
        'api_key = os.environ["API_KEY_V1A2B3C"]',
        'password_field = "accounts/password_reset_form.html"',
        'secret = "/run/secrets/db1/password2/file3"',
        'token_url = "https://auth.service.net/oauth2/v1/token2a3b"',
        'csrf_token = "csrfmiddlewaretoken"',
        'SECRET = "xxxxxxxxxxxxxxxxxxxx"',
        'accessKey = "AKIAIOSFODNN7EXAMPLE"',
        "postgres://user:password@localhost/db",
        "https://user:${PASSWORD}@host/",
        "https://example.org/a:b@c",
        "-----BEGIN PRIVATE KEY-----",
        'sha = "ghp_" + value',
        "skip_ghp_" + "a1B2c3D4e5F6" * 3,
        "checksum: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        '"integrity": "sha512-r4nD0m5Tr1nG8v6K2x9Qr4nD0m5Tr1nG8v6K2x9Q=="',
        'token = "getUserAccessTokenFromStore2"',
        "uuid = '6f1c1d0e-8a55-4c3e-9a0f-3b8f2f1f7a10'",
    ],
)
def test_placeholders_names_and_hashes_are_no_secrets(line: str) -> None:
    assert tokens.find(line) == []


def test_two_secrets_on_one_line_are_two() -> None:
    line = f"first={SECRETS['github-token']} second={SECRETS['npm-token']}"
    assert [secret.code for secret in tokens.find(line)] == ["github-token", "npm-token"]
    twice = f"{SECRETS['github-token']} ghp_{made(36)}"
    assert [secret.code for secret in tokens.find(twice)] == ["github-token"] * 2


def test_the_more_certain_of_two_readings_wins() -> None:
    (secret,) = tokens.find(f'token = "{SECRETS["github-token"]}"')
    assert secret.code == "github-token"


def test_generic_ones_are_found_only_when_asked_for() -> None:
    assert tokens.find(SECRETS["generic-secret"], generic=False) == []


@given(st.text(max_size=300))
def test_any_text_can_be_searched_and_spans_never_overlap(text: str) -> None:
    found = tokens.find(f"{text} {SECRETS['github-token']} {text}")
    spans = [(secret.start, secret.end) for secret in found]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@given(st.text(min_size=1))
def test_entropy_is_between_nothing_and_the_alphabet(text: str) -> None:
    assert -0.001 <= tokens.entropy(text) <= len(text).bit_length()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "eyJ" * 100_000,
        "://" * 100_000,
        "a://b:" * 50_000,
        "secret" * 50_000,
        "-----BEGIN PRIVATE KEY-----" + " " * 300_000,
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n" + "a: b\n" * 60_000,
        'password = "' * 30_000,
        "aws_secret" + "a" * 300_000,
        "1" * 300_000 + ":AA",
    ],
    ids=range(10),
)
def test_no_text_takes_long(text: str) -> None:
    tokens.find(text)
