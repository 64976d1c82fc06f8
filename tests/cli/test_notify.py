from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.notify import command
from insight_cloud.core.errors import Missing, SettingsError
from tests.notify.receivers import Answer, Receiver, receiver, slack_answer

_NAMES = ("SLACK_WEBHOOK_URL", "INSIGHT_NOTIFY__APPRISE_URLS")


@pytest.fixture(autouse=True)
def _no_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


@contextmanager
def serving(*answers: Answer) -> Iterator[Receiver]:
    """A receiver in a thread of its own: the command has an event loop for itself."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[Receiver]()
    end = asyncio.Event()

    async def serve() -> None:
        async with receiver(*(answers or (slack_answer,))) as one:
            found.append(one)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)
        loop.close()


def test_every_channel_is_tried_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as good, serving(Answer(403, "action_prohibited")) as bad:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", good.url)
        monkeypatch.setenv("INSIGHT_NOTIFY__SLACK_MINIMUM", "critical")
        monkeypatch.setenv("INSIGHT_NOTIFY__WEBHOOK_URL", bad.url)
        monkeypatch.setenv("INSIGHT_NOTIFY__WEBHOOK_SECRET", "whsec_" + "c2VjcmV0" * 5)
        result = run("test")
        assert result.exit_code == 1
        lines = result.stdout.splitlines()
        assert lines[0].startswith("slack        pass  taken in ")
        assert lines[1:] == ["webhook      fail  answered 403"]
        assert result.stderr == "sending a message to slack, webhook ...\n"
        assert good.received[0].json()["text"] == "[info] Test message"
        only = run("test", "--channel", "slack", "--json")
        assert only.exit_code == 0
        assert [one["name"] for one in json.loads(only.stdout)["checks"]] == ["notify.slack"]
        assert isinstance(run("test", "--channel", "fax").exception, Missing)
        assert "s3cr3t" not in result.output + only.output


def test_the_channels_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.example/s3cr3t")
    urls = "json://127.0.0.1/s3cr3t,json://127.0.0.2/s3cr3t,slack://a/b/c"
    monkeypatch.setenv("INSIGHT_NOTIFY__APPRISE_URLS", urls)
    monkeypatch.setenv("INSIGHT_NOTIFY__EMAIL_TO", "ops@example.com")
    monkeypatch.setenv("INSIGHT_NOTIFY__EMAIL_FROM", "insight@example.com")
    monkeypatch.setenv("INSIGHT_NOTIFY__SMTP_HOST", "mail.example.com")
    assert json.loads(run("list", "--json").stdout) == [
        {"name": "slack", "minimum": "info"},
        {"name": "email", "minimum": "warning"},
        {"name": "json", "minimum": "info"},
        {"name": "json-2", "minimum": "info"},
        {"name": "slack-2", "minimum": "info"},
    ]
    assert run("list").stdout.startswith("slack        info and worse\nemail        warning")


def test_without_a_channel_it_says_how_to_set_one() -> None:
    assert run("list").output == (
        "no channel is set: nobody is told anything; see the section [notify]\n"
    )
    error = run("test").exception
    assert isinstance(error, SettingsError)
    assert "set SLACK_WEBHOOK_URL" in str(error)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"EMAIL_TO": "a@b.c"}, "email_to, email_from and smtp_host together"),
        ({"WEBHOOK_URL": "https://a/s3cr3t"}, "webhook_url and webhook_secret belong together"),
        ({"SLACK_MINIMUM": "bad"}, "'info', 'warning', 'error' or 'critical'"),
        ({"SLACK_WEBHOOK_URL": "s3cr3t"}, "slack: the URL must begin with https://"),
    ],
)
def test_half_a_channel_is_refused(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"INSIGHT_NOTIFY__{name}", value)
    error = run("list").exception
    assert isinstance(error, SettingsError)
    assert words in str(error)
    assert "s3cr3t" not in str(error)
