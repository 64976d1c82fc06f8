"""A security audit: from outside by what is answered, from inside by the source, if it is there."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from insight_cloud.core import process
from insight_cloud.core.errors import InsightError, Missing
from insight_cloud.headers import score
from insight_cloud.verify.asking import Answer, Asker, NotRunError, failed, judged, not_run, passed
from insight_cloud.verify.subject import Subject
from insight_cloud.verify.suites import api

__all__ = ["EXPOSED", "SECRETS", "run"]

EXPOSED: Final[Mapping[str, str]] = {
    "/.env": r"(?m)^\w+\s*=",
    "/.git/HEAD": r"^(ref: refs/|[0-9a-f]{40})",
    "/.git/config": r"\[core\]",
    "/.aws/credentials": r"aws_access_key_id",
    "/insight.toml": r"(?m)^\[\w+\]",
    "/docker-compose.yml": r"(?m)^services:",
    "/dump.sql": r"(?i)(create table|insert into|pg_dump)",
    "/backup.sql": r"(?i)(create table|insert into|pg_dump)",
    "/server-status": r"Apache Server Status",
    "/actuator/env": r"propertySources",
    "/debug/pprof/": r"goroutine",
    "/phpinfo.php": r"PHP Version",
    "/.DS_Store": r"Bud1",
    "/id_rsa": r"PRIVATE KEY",
}
"""Files that nobody should get, and what shows that it is one and not a page that says so."""

SECRETS: Final[Mapping[str, str]] = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{60}",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}",
    "a Slack webhook": r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{20,}",
    "a Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "a Google key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "a password in an address": r"\b(?:postgres(?:ql)?|mysql|redis|amqp)://\w+:(?!(?i:pass|secret|change|your|user|x+@|\W))[^@\s'\"{}$<]{8,}@(?!localhost|127\.|db[:/]|example)",
}
"""Texts that are secrets beyond doubt."""

_TRACES = (
    r"Traceback \(most recent call last\)",
    r"(?m)^\s+at [\w.$]+\([\w.]+:\d+\)",
    r"<title>[^<]*(?:Debugger|Exception at|Whoops)",
    r"(?i)\b(?:psycopg|sqlite3|sqlalchemy)\.\w*Error",
)
_RULES = (
    *("S102", "S103", "S105", "S106", "S202", "S301", "S302", "S306", "S307", "S313", "S314"),
    *("S323", "S324", "S501", "S502", "S503", "S506", "S507", "S602", "S604", "S605", "S608"),
    *("S609", "S612", "S701"),
)
_LEFT_OUT = (
    ".git",
    ".venv",
    "venv",
    "node_modules",
    "tests",
    "test",
    "bench",
    "__pycache__",
    ".tools",
)
_FILE_BYTES = 1024 * 1024
_MOST_FILES = 20_000
_GOOD_GRADES = ("A+", "A")
_AUDIT_SECONDS = 300
_ABOUT_HTTPS = ("hsts-", "redirect-", "cookies-insecure", "cookies-session-insecure")


async def run(subject: Subject, asker: Asker) -> None:
    """Ask from outside, then from inside."""
    await _headers(subject, asker)
    await asker.ask("TLS is graded A or better", partial(_grade, subject), seconds=120)
    for name, question in (
        ("no version is told", _versions),
        ("no private file is served", _exposed),
        ("errors tell nothing about the program", _errors),
        ("TRACE is refused", _trace),
        ("no other origin may read with credentials", _cors),
        ("sign-in leads to no other site", _open_redirect),
        ("what needs a sign-in refuses without one", _protected),
    ):
        await asker.ask(name, partial(question, subject))
    await _inside(subject, asker)


# -- from outside --------------------------------------------------------------------------------


async def _headers(subject: Subject, asker: Asker) -> None:
    """MDN's tests of the first page."""
    from insight_cloud.headers import site

    try:
        ca_file = None if subject.ca_file is None else str(subject.ca_file)
        seen = await site.read(subject.url + subject.pages[0], ca_file=ca_file)
    except InsightError as error:
        message = str(error)

        async def unanswered() -> Answer:
            return failed(message)

        await asker.ask("the site answers", unanswered)
        return
    for result in score(seen).results:
        await asker.ask(f"headers: {result.test}", _header(subject, result))


def _header(subject: Subject, result: Any) -> Callable[[], Awaitable[Answer]]:
    async def question() -> Answer:
        if result.outcome.startswith(_ABOUT_HTTPS) and not subject.secure:
            return not_run("the site was asked by HTTP")
        return (passed if result.modifier >= 0 else failed)(result.reason)

    return question


async def _grade(subject: Subject) -> Answer:
    from urllib.parse import urlsplit

    from insight_cloud.tls import checks, prober, rating

    if not subject.secure:
        raise NotRunError("the site was asked by HTTP")
    findings = await prober.probe(subject.host, urlsplit(subject.url).port or 443)
    roots = checks.read_roots(subject.ca_file)
    grade = rating.rate(findings, now=datetime.now(UTC), roots=roots)
    reasons = [f"{letter} at most: {text}" for letter, text in grade.caps]
    reasons += grade.warnings
    return (passed if grade.letter in _GOOD_GRADES else failed)(
        grade.letter, *(() if grade.letter in _GOOD_GRADES else reasons)
    )


async def _versions(subject: Subject) -> Answer:
    async with subject.client() as client:
        answer = await client.get(subject.pages[0], follow_redirects=True)
    told = {name: answer.headers.get(name, "") for name in ("server", "x-powered-by", "via")}
    told |= {n: v for n, v in answer.headers.items() if n.startswith("x-aspnet")}
    return judged([f"{n}: {v}" for n, v in told.items() if re.search(r"\d", v)])


async def _exposed(subject: Subject) -> Answer:
    async with subject.client() as client:
        answers = await asyncio.gather(*(client.get(path) for path in EXPOSED))
    found = [
        f"{path} is served"
        for (path, sign), answer in zip(EXPOSED.items(), answers, strict=True)
        if answer.status_code == 200 and re.search(sign, answer.text[:100_000])
    ]
    return judged(found, f"{len(EXPOSED)} were asked for")


async def _errors(subject: Subject) -> Answer:
    """Ask for what is not there and what is not right; look for the insides of the program."""
    asked = (
        "/no-such-page-insight",
        "/%ff%fe",
        "/?%00=%27%22",
        "/'%22%3E%3Cscript%3E",
        "/..%2f..%2f",
    )
    api_paths = [f"{path}?limit=%27&page=-1&id=%00" for path in await _plain_paths(subject)]
    faults = []
    async with subject.client() as client:
        for path in (*asked, *api_paths[:20]):
            answer = await client.get(path)
            if any(re.search(trace, answer.text[:200_000]) for trace in _TRACES):
                faults.append(f"{path} ({answer.status_code}) shows the insides of the program")
            elif answer.status_code >= 500:
                faults.append(f"{path} ends in {answer.status_code}")
            if "<script>" in answer.text and path == asked[3] and path[1:3] in answer.text:
                faults.append(f"{path} is repeated as markup")
    return judged(faults, f"{len(asked) + len(api_paths[:20])} were asked for")


async def _plain_paths(subject: Subject) -> list[str]:
    """Operations of the API that can be got without knowing anything."""
    try:
        _, document = await api.description(subject)
    except NotRunError:
        return []
    return [path for path, item in document["paths"].items() if "get" in item and "{" not in path]


async def _trace(subject: Subject) -> Answer:
    async with subject.client() as client:
        answer = await client.request("TRACE", subject.pages[0], headers={"x-probe": "echo-me"})
    if answer.is_success and "echo-me" in answer.text:
        return failed("TRACE repeats the request, with its cookies")
    return passed(f"HTTP {answer.status_code}")


async def _cors(subject: Subject) -> Answer:
    paths = [*subject.pages, *await _plain_paths(subject)][:10]
    faults = []
    async with subject.client(api=True) as client:
        for path in paths:
            for origin in ("https://evil.example", "null"):
                answer = await client.get(path, headers={"origin": origin})
                allowed = answer.headers.get("access-control-allow-origin", "")
                credentials = answer.headers.get("access-control-allow-credentials", "")
                if allowed in {origin, "*"} and credentials == "true":
                    faults.append(f"{path} may be read by {origin}, with credentials")
    return judged(faults, f"{len(paths)} addresses")


async def _open_redirect(subject: Subject) -> Answer:
    """A link to our own sign-in must not lead somewhere else."""
    faults, asked = [], 0
    names = ("next", "return_to", "redirect", "url")
    async with subject.client() as client:
        for path in ("/sign-in", "/login", "/signin", "/logout", "/redirect"):
            for evil in ("https://evil.example/", "//evil.example/", "/\\evil.example/"):
                answer = await client.get(path, params=dict.fromkeys(names, evil))
                asked += answer.status_code != 404
                where = answer.headers.get("location", "")
                if re.match(r"(https?:)?[/\\]{2}evil\.example", where):
                    faults.append(f"{path} leads to {where}")
    if not asked:
        raise NotRunError("there is no page to sign in at")
    return judged(faults)


async def _protected(subject: Subject) -> Answer:
    """Every GET that the description protects is asked without credentials, and with wrong ones."""
    _, document = await api.description(subject)
    everywhere = bool(document.get("security"))
    wanted = [
        re.sub(r"\{[^}]*\}", "1", path)
        for path, item in document["paths"].items()
        if "get" in item and item["get"].get("security", everywhere)
    ]
    if not wanted:
        raise NotRunError("the description protects nothing")
    faults = []
    async with subject.client() as client:
        for path in wanted[:40]:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "session=wrong"}):
                answer = await client.get(path, headers=headers)
                if answer.is_success:
                    faults.append(f"{path} is given to anybody ({answer.status_code})")
                    break
    return judged(faults, f"{len(wanted[:40])} addresses")


# -- from inside ---------------------------------------------------------------------------------


async def _inside(subject: Subject, asker: Asker) -> None:
    questions: tuple[tuple[str, Callable[[Path], Awaitable[Answer]]], ...] = (
        ("no known vulnerability in the dependencies", partial(_audit, subject)),
        ("no dangerous call in the source", _calls),
        ("no secret in the source", _secrets),
        ("settings with secrets are private", _private),
    )
    for name, question in questions:
        if subject.project is None:
            await asker.skip(name, "the source is not known: give --project FOLDER")
        else:
            await asker.ask(name, partial(question, subject.project), seconds=_AUDIT_SECONDS + 10)


async def _audit(subject: Subject, project: Path) -> Answer:
    """pip-audit; whatever it could not look up is never passed."""
    if find_spec("pip_audit") is None:
        raise NotRunError("pip-audit is not installed: pip install 'insight-cloud[verify]'")
    where = _dependencies(project)
    service = (
        ("-s", "pypi") if subject.osv_url is None else ("-s", "osv", "--osv-url", subject.osv_url)
    )
    command = [sys.executable, "-m", "pip_audit", "-f", "json", "--progress-spinner", "off"]
    done = await process.run(
        [*command, *service, *where], timeout_seconds=_AUDIT_SECONDS, cwd=project
    )
    try:
        found = msgspec.json.decode(done.stdout)["dependencies"]
    except (msgspec.DecodeError, LookupError, TypeError):
        raise NotRunError(f"pip-audit could not look them up: {done.stderr_tail[-300:]}") from None
    vulnerable = [
        f"{each['name']} {each['version']}: {', '.join(v['id'] for v in each['vulns'])}"
        for each in found
        if each.get("vulns")
    ]
    if vulnerable:
        return judged(vulnerable)
    skipped = [each for each in found if "skip_reason" in each and not _own(each)]
    if skipped or not found:
        reason = skipped[0]["skip_reason"] if skipped else "nothing was found to look up"
        raise NotRunError(f"{len(skipped)} of {len(found)} could not be looked up: {reason}")
    return passed(f"{len(found)} were looked up")


def _own(dependency: Mapping[str, Any]) -> bool:
    """The project itself, which no index knows."""
    return "editable" in dependency["skip_reason"]


def _dependencies(project: Path) -> list[str]:
    for packages in sorted(project.glob(".venv/lib/python*/site-packages")):
        return ["--path", str(packages)]
    if (project / "requirements.txt").exists():
        return ["-r", "requirements.txt", "--no-deps", "--disable-pip"]
    raise NotRunError(f"{project} has neither .venv nor requirements.txt")


async def _calls(project: Path) -> Answer:
    """Ruff's security rules, those that are wrong in nearly every program."""
    program = Path(sys.executable).with_name("ruff")
    left_out = ",".join(_LEFT_OUT)
    command: list[str | Path] = [
        *(program, "check", "--isolated", "--no-cache", "--output-format", "json"),
        *("--select", ",".join(_RULES), "--exclude", left_out, "."),
    ]
    done = await process.run(command, timeout_seconds=_AUDIT_SECONDS, cwd=project)
    if done.status not in {0, 1}:
        raise Missing(f"ruff failed: {done.stderr_tail}")
    found = msgspec.json.decode(done.stdout)
    return judged([_place(each, project) for each in found])


def _place(found: Mapping[str, Any], project: Path) -> str:
    file = os.path.relpath(found["filename"], project)
    return f"{file}:{found['location']['row']}: {found['code']} {found['message']}"


async def _secrets(project: Path) -> Answer:
    patterns = {name: re.compile(pattern) for name, pattern in SECRETS.items()}

    def search() -> list[str]:
        found = []
        for file in _files(project):
            text = file.read_text(encoding="utf-8", errors="replace")
            for name, pattern in patterns.items():
                if match := pattern.search(text):
                    row = text.count("\n", 0, match.start()) + 1
                    found.append(f"{file.relative_to(project)}:{row}: {name}")
        return found

    return judged(await asyncio.to_thread(search))


def _files(project: Path) -> Iterator[Path]:
    """Files that may be source: not too large, not left out, not elsewhere."""
    count = 0
    for folder, folders, names in os.walk(project):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        for name in names:
            file = Path(folder, name)
            if file.is_symlink() or not file.is_file() or file.stat().st_size > _FILE_BYTES:
                continue
            count += 1
            if count > _MOST_FILES:
                raise NotRunError(f"there are more than {_MOST_FILES} files")
            yield file


async def _private(project: Path) -> Answer:
    """Files that hold secrets are for their owner, and not in Git."""
    files = _settings(project)
    if not files:
        raise NotRunError("there are no such files")
    faults = []
    for file in files:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
            faults.append(f"{file.name} can be read by every user: chmod 600")
        if await _tracked(project, file.name):
            faults.append(f"{file.name} is in Git")
    return judged(faults, f"{len(files)} files")


def _settings(project: Path) -> list[Path]:
    named = [f for name in (".env*", "insight.toml", "*.pem", "*.key") for f in project.glob(name)]
    return [f for f in named if not f.name.endswith((".example", ".sample", ".template"))]


async def _tracked(project: Path, name: str) -> bool:
    command: list[str | Path] = ["git", "-C", project, "ls-files", "--error-unmatch", name]
    try:
        return (await process.run(command, timeout_seconds=20)).status == 0
    except Missing:
        return False
