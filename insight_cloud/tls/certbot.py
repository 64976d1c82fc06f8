"""The same authorities by `certbot`, for operators who want that engine; it must be installed.

It runs as a child, with its folders inside ours. We decide when, and keep what it made: its own
timer and renewal are not used.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from insight_cloud.core import process
from insight_cloud.core.errors import (
    InsightError,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.tls import certificate, store
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.issuer import Advice, Issued, Issuer, Wanted
from insight_cloud.tls.store import Store

__all__ = ["Certbot"]

_NAME = "insight"
_KEYS = {
    "ec256": ("--key-type", "ecdsa", "--elliptic-curve", "secp256r1"),
    "ec384": ("--key-type", "ecdsa", "--elliptic-curve", "secp384r1"),
    "rsa2048": ("--key-type", "rsa", "--rsa-key-size", "2048"),
    "rsa4096": ("--key-type", "rsa", "--rsa-key-size", "4096"),
}
_REASONS = {0: "unspecified", 1: "keycompromise", 3: "affiliationchanged", 4: "superseded"}


class Certbot:
    """An ACME authority at `url`, asked by the program `certbot`.

    Args:
        url: the authority's directory.
        store: certbot's folders and the challenges lie in it.
        email: contact for the account.
        agree_terms: whether the operator has agreed to the authority's terms.
        ca_file: what the server is verified by, when not by the public roots.
        adviser: who asks for the renewal window, since certbot does so only in its own renewals.
        program: the command.
        patience_seconds: for a whole run.
    """

    method = "certbot"

    def __init__(
        self,
        url: str,
        store: Store,
        *,
        email: str | None = None,
        agree_terms: bool = False,
        ca_file: Path | None = None,
        adviser: Issuer | None = None,
        program: str = "certbot",
        patience_seconds: float = 180,
    ) -> None:
        self._url = url
        self._store = store
        self._email = email
        self._agree = agree_terms
        self._ca_file = ca_file
        self._adviser = adviser
        self._program = program
        self._patience = patience_seconds

    async def issue(self, wanted: Wanted, *, replaces: Certificate | None) -> Issued:  # noqa: ARG002 - certbot cannot say it
        """Run `certbot certonly` with a webroot that the challenges are answered from.

        Raises:
            Missing: certbot is not installed.
            SettingsError: the terms were not agreed to, or a wildcard is wanted.
            Refused: certbot failed; its last words are in the message.
        """
        if not self._agree:
            raise SettingsError("read your authority's terms, then set tls.agree_terms = true")
        if any(name.startswith("*.") for name in wanted.names):
            raise SettingsError(
                "certbot is used with http-01 only, which gives no wildcards: "
                'set tls.method = "letsencrypt" and tls.challenge = "dns-01"'
            )
        webroot = self._webroot()
        await self._run(
            "certonly", "--webroot", "--webroot-path", str(webroot), "--cert-name", _NAME,
            "--server", self._url, "--agree-tos", "--force-renewal", "--renew-with-new-domains",
            *_KEYS[wanted.key_type], *self._contact(), *_profile(wanted), *_names(wanted),
        )  # fmt: skip
        live = self._folder / "config" / "live" / _NAME
        chain = store.read(live / "fullchain.pem", certificate.CHAIN_BYTES)
        return Issued(chain, store.read(live / "privkey.pem", certificate.KEY_BYTES))

    async def advice(self, current: Certificate, now: datetime) -> Advice | None:
        """Ask the adviser, if there is one."""
        return None if self._adviser is None else await self._adviser.advice(current, now)

    async def revoke(self, found: Certificate, *, reason: int) -> None:
        """Run `certbot revoke` with the account that issued it."""
        path = self._folder / "revoke.pem"
        store.replace(path, found.pem())
        await self._run(
            "revoke", "--cert-path", str(path), "--server", self._url,
            "--reason", _REASONS.get(reason, "unspecified"), "--no-delete-after-revoke",
        )  # fmt: skip

    @property
    def _folder(self) -> Path:
        return self._store.directory / "certbot"

    def _webroot(self) -> Path:
        """A folder in which certbot's place for challenges is ours."""
        try:
            self._store.challenges.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = self._folder / "webroot" / ".well-known" / "acme-challenge"
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not place.is_symlink():
                place.symlink_to(self._store.challenges, target_is_directory=True)
        except OSError as error:
            raise Unavailable(f"cannot write in {self._folder}: {error.strerror}") from error
        return self._folder / "webroot"

    def _contact(self) -> tuple[str, ...]:
        if self._email:
            return ("--email", self._email, "--no-eff-email")
        return ("--register-unsafely-without-email",)

    async def _run(self, *arguments: str) -> None:
        folders = [
            part
            for kind in ("config", "work", "logs")
            for part in (f"--{kind}-dir", str(self._folder / kind))
        ]
        environment = {
            "PATH": os.pathsep.join(os.get_exec_path()),
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
        }
        if self._ca_file is not None:
            environment["REQUESTS_CA_BUNDLE"] = str(self._ca_file)
        try:
            outcome = await process.run(
                [self._program, *arguments, "--non-interactive", *folders],
                timeout_seconds=self._patience,
                environment=environment,
                output_bytes=1024 * 1024,
            )
        except Missing as error:
            raise Missing(
                f"{self._program} is not installed: install it, or set "
                'tls.method = "letsencrypt", which needs no other program'
            ) from error
        if outcome.timed_out:
            raise Unavailable(f"certbot did not end within {self._patience:g} s", retry_after=60)
        if outcome.status != 0:
            raise _explained(f"{outcome.stdout.decode('utf-8', 'replace')} {outcome.stderr_tail}")


def _profile(wanted: Wanted) -> tuple[str, ...]:
    return () if wanted.profile is None else ("--required-profile", wanted.profile)


def _names(wanted: Wanted) -> list[str]:
    found: list[str] = []
    for name in wanted.names:
        is_address = ":" in name or name.replace(".", "").isdigit()
        found += ["--ip-address" if is_address else "--domain", name]
    return found


def _explained(said: str) -> InsightError:
    last = " ".join(said.split())[-800:]
    if "unrecognized arguments" in said:
        return Refused(
            "this certbot is too old for profiles (4.0) or addresses (5.3): install a newer one, "
            f'or set tls.method = "letsencrypt"; it said: {last}'
        )
    if any(word in said for word in ("rateLimited", "too many", "Too Many Requests")):
        # certbot does not pass on how long; an hour is what most limits refill in.
        return RateLimited(f"the authority wants us to wait: {last}", retry_after=3600)
    if any(word in said for word in ("ConnectionError", "Connection refused", "timed out")):
        return Unavailable(f"the authority does not answer: {last}", retry_after=60)
    return Refused(f"certbot failed: {last}")
