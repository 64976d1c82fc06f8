from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from tests.verify.sites import Page, Site, serving

INSIGHT = [sys.executable, "-m", "insight_cloud.cli", "verify"]


async def insight(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *INSIGHT,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | environment,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_suite_tells_as_it_goes_and_writes_its_reports(
    tmp_path: Path, database_url: str
) -> None:
    html, junit = tmp_path / "v.html", tmp_path / "v.xml"
    status, out, err = await insight(
        *("database", "--url", "http://127.0.0.1:1", "--json"),
        *("--html", str(html), "--junit", str(junit)),
        DATABASE_URL=database_url,
    )
    assert status == 1, err  # the tests' server does not sync
    data = json.loads(out)
    assert data["counts"]["fail"] == 1
    _, schema, _ = await insight("schema")
    jsonschema.validate(data, json.loads(schema))
    assert '<h2 id="database">' in html.read_text()
    assert ET.parse(junit).getroot().get("failures") == "1"
    assert "fail     database    what is committed survives a crash: fsync is off" in err
    assert "pass     database    it can be reached" in err


async def test_nothing_that_could_be_asked_is_no_success() -> None:
    status, out, err = await insight("database", "--url", "http://127.0.0.1:1")
    assert (status, "set DATABASE_URL" in err) == (9, True)
    assert "not run: nothing was asked" in out


async def test_a_pass_with_what_is_not_run_is_one_unless_strict(tmp_path: Path) -> None:
    async with serving(Site()) as url:
        arguments = ("api", "--url", url, "--openapi", "/own.json")
        status, _, _ = await insight(*arguments)
        assert status == 9
        site = Site()
        operation = {"responses": {"200": {"description": "the page"}}}
        document = {
            "openapi": "3.1.0",
            "info": {"title": "a", "version": "1"},
            "paths": {"/": {"post": operation}},
        }
        site.pages["/own.json"] = Page(json.dumps(document), type="application/json")
    async with serving(site) as url:
        arguments = ("api", "--url", url, "--openapi", "/own.json")
        assert (await insight(*arguments))[0] == 0
        assert (await insight(*arguments, "--strict"))[0] == 9
        (tmp_path / "token").write_text("not a\ntoken")
        status, _, err = await insight(*arguments, "--token-file", str(tmp_path / "token"))
        assert (status, "does not hold a token" in err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["api", "--url", "here"], 4, "no address of a site"),
        (["api", "--url", "http://a", "--page", "x"], 4, "does not begin with /"),
        (["speed"], 2, "No such command"),
        (["api", "--project", "/none"], 2, "does not exist"),
    ],
)
async def test_wrong_input_is_told(arguments: list[str], status: int, told: str) -> None:
    ended, _, err = await insight(*arguments)
    assert (ended, told in err) == (status, True), err
    assert "Traceback" not in err
