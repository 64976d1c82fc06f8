"""The keeper: looks at the certificate, decides, has it issued, installs it, tells the servers.

One failed step leaves the certificate in use where it is. What was tried is noted before it is
tried, so that a process that dies in between does not try again at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509

from insight_cloud.core import process
from insight_cloud.core.errors import InsightError, Missing, Refused, SettingsError
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.report import Check, Report
from insight_cloud.tls import certificate, renewal, store
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.issuer import Advice, Issued, Issuer, Wanted
from insight_cloud.tls.renewal import Decision, State
from insight_cloud.tls.store import Meta, Store, Version

__all__ = ["Keeper", "Notify", "Standing", "accept"]

_log = logging.getLogger(__name__)
_STATE = "state.json"
_ASK_AGAIN_AFTER_FAILURE = timedelta(hours=1)

Notify = Callable[[str, str], Awaitable[None]]
"""Tells the operator something: a subject line, and a text."""


@dataclass(frozen=True)
class Standing:
    """What was found at one moment."""

    now: datetime
    version: Version | None
    certificate: Certificate | None
    state: State
    fault: str = ""


class Keeper:
    """Keeps one certificate from lapsing.

    Args:
        store: where it lies.
        issuer: who issues it; None when somebody else does, and brings it.
        wanted: names, kind of key, profile.
        hooks: commands after an installation, as lists of words; no shell.
        hook_seconds: time limit of each.
        keep: how many versions stay in the history.
        notify: tells the operator that renewal is late; None tells only the log.
        now: the clock.
    """

    def __init__(
        self,
        store: Store,
        issuer: Issuer | None,
        wanted: Wanted,
        *,
        hooks: Sequence[Sequence[str]] = (),
        hook_seconds: float = 60,
        keep: int = 5,
        notify: Notify | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self._issuer = issuer
        self._wanted = wanted
        self._hooks = tuple(tuple(words) for words in hooks)
        self._hook_seconds = hook_seconds
        self._keep = keep
        self._notify = notify
        self._now = now

    async def read(self) -> Standing:
        """Look at the files, and ask the authority for its advice when it is time to.

        Advice that cannot be had is no failure: the certificate's own life decides then.
        """
        standing = self.look()
        current, state, now = standing.certificate, standing.state, standing.now
        if self._issuer is None or current is None:
            return standing
        asked = state.window_for == current.fingerprint
        if asked and state.ask_again is not None and now < state.ask_again:
            return standing
        try:
            advice = await self._issuer.advice(current, now)
        except InsightError as error:
            _log.warning("tls.advice cannot be had: %s", error)
            kept = state.window if asked else None
            advice = Advice(kept, now + _ASK_AGAIN_AFTER_FAILURE)
        if advice is None:
            return standing
        state = renewal.advised(state, current.fingerprint, advice.window, advice.ask_again)
        self._save(state)
        return Standing(now, standing.version, current, state, standing.fault)

    def look(self) -> Standing:
        """Look at the files only."""
        raw = self.store.read_json(_STATE)
        state = renewal.decode(raw or {})
        version = self.store.current()
        if version is None:
            return Standing(self._now(), None, None, state)
        try:
            found = version.read()
            key = certificate.load_key(store.read(version.key, certificate.KEY_BYTES))
        except InsightError as error:
            return Standing(self._now(), version, None, state, f"it cannot be used: {error}")
        return Standing(self._now(), version, found, state, self._fault(found, key))

    def decide(self, standing: Standing) -> Decision:
        """Whether a new certificate is due, and when to look again."""
        found = standing.certificate
        return renewal.decide(
            standing.now,
            begins=found.begins if found else None,
            ends=found.ends if found else None,
            fingerprint=found.fingerprint if found else "",
            changed=standing.fault,
            state=standing.state,
        )

    def plan(self, standing: Standing, *, force: bool = False) -> Plan:
        """Say what would be done now; `force` asks for a new certificate in any case."""
        changes = []
        decision = self.decide(standing)
        if self._issuer is not None and (force or decision.act):
            before = standing.certificate and _summary(standing.certificate)
            changes.append(
                Change(
                    "update" if standing.version else "create",
                    f"certificate for {', '.join(self._wanted.names)}",
                    before=before,
                    after={"names": list(self._wanted.names), "method": self._issuer.method},
                    reason="you asked for it" if force else decision.reason,
                )
            )
        if self._hooks and (changes or standing.state.hooks_due):
            changes += [
                Change("run", " ".join(hook), reason="tell the servers") for hook in self._hooks
            ]
        return Plan(tuple(changes))

    async def apply(self, plan: Plan) -> Report:
        """Do what the plan says, and return what was found on the way.

        Raises:
            Conflict: another process is at it.
            InsightError: why it failed; the certificate in use stays in use, and the failure
                is noted.
        """
        checks: list[Check] = []
        with self.store.locked():
            if any(change.verb != "run" for change in plan):
                checks += await self._renew()
            if any(change.verb == "run" for change in plan):
                checks += await self._run_hooks()
            else:
                self._hooks_done()
        return Report.of(checks)

    async def renew(self, *, force: bool = False) -> tuple[Plan, Report]:
        """Look, decide, act, and tell the operator when it has been failing for too long.

        Raises:
            InsightError: see `apply`; the operator was told before, if it was time to.
        """
        try:
            plan = self.plan(await self.read(), force=force)
            return plan, await self.apply(plan) if plan else Report(())
        finally:
            await self._remind()

    async def install(self, chain: bytes, key: bytes, *, source: str) -> Report:
        """Install a pair that somebody else issued.

        Raises:
            Refused, Corrupt: it would not serve, see `accept`.
        """
        accept(Issued(chain, key), names=self._wanted.names, now=self._now())
        meta = Meta("custom", self._now(), source=source)
        with self.store.locked():
            self.store.install(chain, key, meta, keep=self._keep)
            self._save(renewal.succeeded(self.look().state, self._now()))
            return Report.of(await self._run_hooks())

    async def use(self, version: str) -> Report:
        """Go back to a version of the history."""
        with self.store.locked():
            self.store.use(version)
            return Report.of(await self._run_hooks())

    async def revoke(self, *, reason: int) -> Version:
        """Declare the certificate in use invalid; the caller should renew right after it."""
        standing = self.look()
        if standing.version is None or standing.certificate is None:
            raise Missing(f"there is no certificate in {self.store.directory} that can be revoked")
        if self._issuer is None:
            raise SettingsError("it was not issued through us: revoke it where it was bought")
        with self.store.locked():
            await self._issuer.revoke(standing.certificate, reason=reason)
        return standing.version

    async def _renew(self) -> list[Check]:
        assert self._issuer is not None  # noqa: S101 - without one nothing is planned
        standing = self.look()
        self._save(renewal.began(standing.state, self._now()))
        try:
            issued = await self._issuer.issue(self._wanted, replaces=standing.certificate)
            checks = accept(issued, names=self._wanted.names, now=self._now())
            meta = Meta(self._issuer.method, self._now(), profile=self._wanted.profile)
            self.store.install(issued.chain, issued.key, meta, keep=self._keep)
        except InsightError as error:
            wait = getattr(error, "retry_after", 0.0)
            self._save(renewal.failed(self.look().state, self._now(), str(error), retry_after=wait))
            _log.warning("tls.renewal failed: %s", error)
            raise
        self._save(renewal.succeeded(self.look().state, self._now()))
        _log.info("tls.installed a certificate for %s", ", ".join(self._wanted.names))
        return checks

    async def _run_hooks(self) -> list[Check]:
        checks = [await self._run_hook(words) for words in self._hooks]
        if all(check.status == "pass" for check in checks):
            self._hooks_done()
        return checks

    async def _run_hook(self, words: Sequence[str]) -> Check:
        """Run one command, which sees where the certificate is, and none of our secrets."""
        name = f"tls.hook {' '.join(words)}"
        environment = {
            "PATH": os.pathsep.join(os.get_exec_path()),
            "LANG": "C.UTF-8",
            "INSIGHT_TLS_CHAIN": str(self.store.chain),
            "INSIGHT_TLS_KEY": str(self.store.key),
        }
        try:
            outcome = await process.run(
                words,
                timeout_seconds=self._hook_seconds,
                environment=environment,
                output_bytes=1024 * 1024,
            )
        except Missing as error:
            return Check(name, "fail", f"{error}: correct tls.hooks")
        if outcome.status == 0:
            return Check(name, "pass", "", outcome.seconds)
        how = (
            f"it did not end within {self._hook_seconds:g} s"
            if outcome.timed_out
            else f"status {outcome.status}: {outcome.stderr_tail[-300:]}"
        )
        _log.warning("tls.hook %s: %s", words[0], how)
        detail = f"{how}; it is run again at the next `insight tls renew`"
        return Check(name, "fail", detail, outcome.seconds)

    def _hooks_done(self) -> None:
        state = self.look().state
        if state.hooks_due:
            self._save(renewal.without_hooks(state))

    async def _remind(self) -> None:
        """Tell the operator once a day that time is running out."""
        standing = self.look()
        found, state = standing.certificate, standing.state
        late = (
            state.failures >= 3
            if found is None
            else renewal.overdue(standing.now, found.begins, found.ends, found.fingerprint, state)
        )
        if not late or not renewal.may_remind(standing.now, state):
            return
        names = ", ".join(self._wanted.names or (found.names if found else ()))
        subject = f"The certificate for {names} is not being renewed"
        text = _reminder(standing)
        _log.error("tls.overdue %s: %s", subject, text)
        if self._notify is not None:
            try:
                await self._notify(subject, text)
            except Exception:  # noqa: BLE001 - whoever tells may fail in any way; we must go on
                _log.exception("tls.notify failed")
                return
        self._save(renewal.reminded(state, standing.now))

    def _fault(self, found: Certificate, key: object) -> str:
        """Why the pair in use is not the wanted one, if it is not."""
        missing = [n for n in self._wanted.names if not certificate.covers(found.names, n)]
        if missing:
            return f"it is not for {', '.join(missing)}"
        wrong = [
            check.detail
            for check in certificate.checks(found, now=self._now(), key=key)  # type: ignore[arg-type]
            if check.status == "fail" and check.name != "tls.expiry"
        ]
        return wrong[0] if wrong and self._issuer is not None else ""

    def _save(self, state: State) -> None:
        self.store.write_json(_STATE, renewal.encode(state))


def accept(
    issued: Issued,
    *,
    names: Sequence[str],
    now: datetime,
    roots: Sequence[x509.Certificate] | None = None,
) -> list[Check]:
    """Check a pair before it is installed, and return the answers.

    Raises:
        Refused: the pair would not serve; the message names every fault.
        Corrupt: it cannot even be read.
    """
    found = certificate.load(issued.chain)
    key = certificate.load_key(issued.key)
    checks = certificate.checks(found, now=now, names=names, key=key, roots=roots)
    wrong = [check.detail for check in checks if check.status == "fail"]
    if wrong:
        raise Refused(f"the certificate was not installed: {'; '.join(wrong)}")
    return checks


def _summary(found: Certificate) -> dict[str, object]:
    return {"names": list(found.names), "ends": found.ends.isoformat(), "serial": found.serial}


def _reminder(standing: Standing) -> str:
    found, state = standing.certificate, standing.state
    end = f"It ends at {found.ends:%Y-%m-%d %H:%M} UTC. " if found else "There is none yet. "
    tries = f"{state.failures} tries have failed" if state.failures else "It was not tried"
    return f"{end}{tries}: {state.problem or 'no renewal ran'}. Run `insight tls renew` and see."
