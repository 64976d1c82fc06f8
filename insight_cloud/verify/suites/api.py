"""The API against its own description: schemathesis sends what it allows, and what it forbids."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from insight_cloud.core import files, process
from insight_cloud.core.errors import InsightError, Unavailable
from insight_cloud.verify.asking import Answer, Asker, NotRunError, failed, judged, not_run, passed
from insight_cloud.verify.subject import Subject

__all__ = ["KINDS", "description", "run"]

_USUAL = (
    "/openapi.json",
    "/api/openapi.json",
    "/api/v1/openapi.json",
    "/api/schema",
    "/v1/openapi.json",
)
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_LONG_SECONDS = 900
_SHORT_SECONDS = 120

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "ServerError": ("not_a_server_error", "nothing makes it fail (5xx)"),
    "UndefinedStatusCode": ("status_code_conformance", "every status is documented"),
    "UndefinedContentType": ("content_type_conformance", "every content type is documented"),
    "JsonSchemaError": ("response_schema_conformance", "every answer has its documented form"),
    "AcceptedNegativeData": ("negative_data_rejection", "what is not allowed is refused"),
    "IgnoredAuth": ("ignored_auth", "nobody gets in without signing in"),
    "UnsupportedMethodResponse": ("unsupported_method", "other methods are refused"),
}
"""What schemathesis calls a failure, the check that finds it, and the question it answers."""


async def run(subject: Subject, asker: Asker) -> None:
    """Find the description, then hold every operation against it."""
    found: list[tuple[str, dict[str, Any]]] = []

    async def described() -> Answer:
        url, document = await description(subject)
        found.append((url, document))
        return passed(f"{url}: {_operations(document)} operations")

    await asker.ask("the API is described", described)
    if not found:
        await asker.skip("the operations", "no description of the API was found")
        return
    url, document = found[0]
    await asker.ask("the description is whole", partial(_whole, document))
    reports: list[dict[str, Any]] = []

    async def tried() -> Answer:
        reports.append(await _schemathesis(subject, url))
        return _tried(reports[0], writes=subject.writes)

    await asker.ask("the operations are tried", tried, seconds=_LONG_SECONDS + 30)
    for kind, (_, question) in KINDS.items():
        await asker.ask(question, _answer_of(reports[0] if reports else None, kind))


async def description(subject: Subject) -> tuple[str, dict[str, Any]]:
    """The address and the content of the API's description.

    Raises:
        NotRunError: there is none.
        Unavailable: the site does not answer.
    """
    import httpx

    given = None if subject.openapi is None else [subject.openapi]
    async with subject.client() as client:
        for path in given or _USUAL:
            try:
                answer = await client.get(path)
                document = msgspec.json.decode(answer.content) if answer.is_success else None
            except msgspec.DecodeError:
                continue
            except httpx.HTTPError as error:
                raise Unavailable(f"{subject.url}{path} does not answer: {error}") from error
            if isinstance(document, dict) and isinstance(document.get("paths"), dict):
                return str(answer.url), document
    where = subject.openapi or ", ".join(_USUAL)
    raise NotRunError(f"no OpenAPI description at {where}: give --openapi")


def _operations(document: Mapping[str, Any]) -> int:
    items = [item for item in document["paths"].values() if isinstance(item, dict)]
    return sum(method in _METHODS for item in items for method in item)


async def _whole(document: Mapping[str, Any]) -> Answer:
    """Nothing refers to what is not there, and every operation says how it may end."""
    faults = [f"{where} does not exist" for where in _broken_references(document, document)]
    for path, item in document["paths"].items():
        for method, operation in item.items() if isinstance(item, dict) else ():
            if method in _METHODS and not operation.get("responses"):
                faults.append(f"{method.upper()} {path} has no responses")
    if not _operations(document):
        faults.append("it describes not one operation")
    return judged(faults, str(document.get("openapi", document.get("swagger", ""))))


def _broken_references(part: Any, document: Mapping[str, Any]) -> list[str]:
    if isinstance(part, dict):
        found = [each for value in part.values() for each in _broken_references(value, document)]
        where = part.get("$ref")
        if isinstance(where, str) and where.startswith("#/") and not _leads(where, document):
            found.append(where)
        return found
    if isinstance(part, list):
        return [each for value in part for each in _broken_references(value, document)]
    return []


def _leads(where: str, document: Any) -> bool:
    for name in where.split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


async def _schemathesis(subject: Subject, url: str) -> dict[str, Any]:
    """Run it in a folder of its own; the token goes by a file, not by the command line."""
    if find_spec("schemathesis") is None:
        raise NotRunError("schemathesis is not installed: pip install 'insight-cloud[verify]'")
    with tempfile.TemporaryDirectory(prefix="insight-verify-") as name:
        folder = Path(name)
        if subject.token is not None:
            header = msgspec.json.encode(f"Bearer {subject.token}").decode()
            content = f"[headers]\nAuthorization = {header}\n".encode()
            files.write(folder / "schemathesis.toml", content, mode=0o600)
        seconds = _SHORT_SECONDS if subject.short else _LONG_SECONDS
        done = await process.run(
            _command(subject, url),
            timeout_seconds=seconds,
            cwd=folder,
            environment=dict(os.environ) | {"PYTHONWARNINGS": "ignore"},  # its own are not ours
        )
        if done.timed_out:
            raise TimeoutError
        try:
            report: dict[str, Any] = msgspec.json.decode((folder / "report.json").read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise _SchemathesisError(done.stderr_tail or done.stdout.decode()[-500:]) from error
    return report


class _SchemathesisError(InsightError):
    """It ended without a report."""


def _command(subject: Subject, url: str) -> list[str]:
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", url, "--no-color"),
        *("--checks", ",".join(check for check, _ in KINDS.values())),
        *("--phases", "examples,coverage,fuzzing", "-n", "5" if subject.short else "50"),
        *("--report", "json", "--report-json-path", "report.json"),
        *("--continue-on-failure", "--generation-deterministic", "--request-timeout", "20"),
        *("--exclude-path-regex", "(logout|sign-?out)$"),  # it would end the token's session
        *(() if subject.ca_file is None else ("--tls-verify", str(subject.ca_file.resolve()))),
        *(() if subject.writes else ("--include-method", "GET")),
    ]


def _tried(report: Mapping[str, Any], *, writes: bool) -> Answer:
    """Whether anything was tried at all, and was let through."""
    operations, cases = report["operations"], report["test_cases"]
    if errors := report["errors"]:
        return Answer("error", f"{len(errors)} could not be tried", tuple(map(str, errors)))
    if not operations["tested"]:
        return not_run(
            "no operation may be tried; --allow-writes tries those that change something"
        )
    if limited := report["warnings"].get("rate_limited"):
        reason = "the rate limit let too few requests through: raise it on a staging system"
        return Answer("error", reason, tuple(map(str, limited)))
    note = "" if writes else "; only GET, --allow-writes tries the rest"
    return passed(f"{operations['tested']} operations, {cases['generated']} requests{note}")


def _answer_of(report: Mapping[str, Any] | None, kind: str) -> Callable[[], Any]:
    async def question() -> Answer:
        if report is None or not report["operations"]["tested"]:
            return not_run("the operations were not tried")
        found = next((each for each in report["failures"] if each["type"] == kind), None)
        return passed() if found is None else failed(found["title"], *found["operations"])

    return question
