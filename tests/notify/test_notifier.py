"""The notifier with channels of every temper; the clock and the pauses are the test's own."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from insight_cloud.core.errors import InsightError, RateLimited, Refused, SettingsError, Unavailable
from insight_cloud.notify import Mail, Message, Notifier, Slack, Webhook, check
from tests.notify.conftest import SECRETS
from tests.notify.receivers import Answer, mail_server, receiver, slack_answer

ALARM = Message("Alarm", "the body", severity="error", source="test.alarm")
SECRET = "whsec_" + base64.b64encode(b"pa55word" * 4).decode()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Fake:
    """A channel that does what it is told, then takes everything."""

    def __init__(self, name: str = "fake", *outcomes: BaseException | None) -> None:
        self.name = name
        self.outcomes = list(outcomes)
        self.got: list[Message] = []
        self.attempts = 0
        self.arrivals: asyncio.Queue[Message] = asyncio.Queue()

    async def deliver(self, message: Message) -> None:
        self.attempts += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        self.got.append(message)
        self.arrivals.put_nowait(message)


class Stuck(Fake):
    """A channel that never comes back."""

    async def deliver(self, message: Message) -> None:
        self.attempts += 1
        self.got.append(message)
        self.arrivals.put_nowait(message)
        await asyncio.Event().wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., Notifier]:
    def make(*channels: Any, **options: Any) -> Notifier:
        return Notifier(channels, clock=clock, sleep=clock.sleep, random=lambda: 0.0, **options)

    return make


Make = Callable[..., Notifier]


async def test_a_message_reaches_every_real_channel_at_once() -> None:
    async with (
        receiver(slack_answer) as slack,
        receiver() as hook,
        mail_server() as server,
    ):
        mail = Mail("127.0.0.1", port=server.port, to=["a@b.c"], sender="i@b.c", security="none")
        notifier = Notifier([Slack(slack.url), mail, Webhook(hook.url, SECRET)])
        report = await notifier.send(ALARM)
    assert [(one.name, one.status) for one in report.checks] == [
        ("notify.slack", "pass"),
        ("notify.email", "pass"),
        ("notify.webhook", "pass"),
    ]
    assert len(slack.received) == len(hook.received) == len(server.letters) == 1
    assert server.letters[0]["Message-ID"] == f"<{ALARM.id}@b.c>"
    assert hook.received[0].headers["webhook-id"] == ALARM.id


async def test_a_failing_channel_is_reported_and_disturbs_nobody(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Fake("bad", Refused("bad: answered 403")), Fake("good")
    notifier = make(bad, good)
    report = await notifier.send(ALARM)
    assert [(one.name, one.status, one.detail) for one in report.failed] == [
        ("notify.bad", "fail", "bad: answered 403")
    ]
    assert good.got == [ALARM]
    assert bad.attempts == 1, "a refusal is final"
    found = {one.name: (one.sent, one.failed, one.last_failure) for one in notifier.stats()}
    assert found == {"bad": (0, 1, "bad: answered 403"), "good": (1, 0, "")}
    assert "notify.failed bad: answered 403; the message was: [error] Alarm" in caplog.text
    assert [one.status for one in check(notifier)] == ["warn", "pass"]


async def test_a_failure_that_passes_is_tried_again(make: Make, clock: Clock) -> None:
    channel = Fake("a", Unavailable("a: 503", retry_after=0), Unavailable("a: 503", retry_after=0))
    report = await make(channel).send(ALARM)
    assert report.status == "pass"
    assert channel.attempts == 3
    assert clock.slept == [0.5, 1.0]


async def test_a_receiver_that_asks_for_time_gets_it(make: Make, clock: Clock) -> None:
    async with receiver(Answer(429, "rate_limited", ("Retry-After: 7",)), slack_answer) as slack:
        notifier = make(Slack(slack.url))
        report = await notifier.send(ALARM)
    assert report.status == "pass"
    assert clock.slept == [7.0]
    assert notifier.stats()[0].retries == 1


async def test_who_asks_for_more_time_than_there_is_is_left_alone(make: Make, clock: Clock) -> None:
    channel = Fake("a", RateLimited("a: too many messages (429)", retry_after=100))
    notifier = make(channel)
    assert (await notifier.send(ALARM)).failed[0].detail == "a: too many messages (429)"
    other = await notifier.send(Message("Other"))
    assert other.failed[0].detail == "a: asked for no message in the next 100 s"
    assert channel.attempts == 1
    clock.now += 90
    assert (await notifier.send(Message("Other"))).status == "pass"
    assert clock.slept == [10.0], "it waits for the rest"


async def test_attempts_are_bounded(make: Make, clock: Clock) -> None:
    channel = Fake("a", *(Unavailable(f"a: {n}", retry_after=0) for n in range(20)))
    began = clock.now
    report = await make(channel).send(ALARM)
    assert report.status == "fail"
    assert channel.attempts == 4
    assert clock.now - began <= 30


async def test_a_channel_that_hangs_is_given_up(make: Make) -> None:
    stuck, good = Stuck("stuck"), Fake("good")
    notifier = make(stuck, good, attempt_seconds=0.05)
    report = await notifier.send(ALARM)
    assert [one.name for one in report.failed] == ["notify.stuck"]
    assert report.failed[0].detail.startswith("stuck: no answer in 0.")
    assert stuck.attempts == 4
    assert good.got == [ALARM]


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(drip=True)])
async def test_a_server_that_hangs_is_given_up(make: Make, answer: Answer) -> None:
    async with receiver(answer) as slack:
        notifier = make(Slack(slack.url), attempt_seconds=0.1)
        (failed,) = (await notifier.send(ALARM)).failed
    assert failed.detail == "slack: no answer in 0.1 s"


async def test_a_fault_in_a_channel_hurts_nobody_and_says_no_secret(make: Make) -> None:
    channel = Fake("a", TypeError("https://example.com/s3cr3t"))
    (failed,) = (await make(channel).send(ALARM)).failed
    assert failed.detail == "a: failed with TypeError"


async def test_a_mild_message_is_not_for_everybody(make: Make) -> None:
    mail, slack = Fake("email"), Fake("slack")
    report = await make(mail, slack, minimum={"email": "error"}).send(Message("Done"))
    assert [(one.name, one.status) for one in report.checks] == [
        ("notify.email", "skip"),
        ("notify.slack", "pass"),
    ]
    assert mail.got == []


async def test_a_repetition_is_held_back_and_counted_in_the_next_one(
    make: Make, clock: Clock
) -> None:
    channel = Fake()
    notifier = make(channel, repeat_seconds=60)
    statuses = [(await notifier.send(ALARM)).checks[0].status for _ in range(4)]
    assert statuses == ["pass", "skip", "skip", "skip"]
    clock.now += 60
    assert (await notifier.send(ALARM)).status == "pass"
    assert channel.got[0] == ALARM
    assert channel.got[1].facts["held back before"] == "3 of the same"
    assert channel.got[1].id == ALARM.id
    assert notifier.stats()[0].held == 3


async def test_what_is_not_repeated_again_is_summed_up(make: Make, clock: Clock) -> None:
    channel = Fake()
    notifier = make(channel, repeat_seconds=60, burst=2)
    for message in (ALARM, ALARM, Message("One"), Message("Two"), Message("Three"), ALARM):
        await notifier.send(message)
    assert (await notifier.flush()).checks == ()
    clock.now += 60
    assert (await notifier.flush()).status == "pass"
    summary = channel.got[-1]
    assert summary.title == "4 messages were held back"
    assert summary.severity == "error"
    assert "2 times: Alarm\n2 times: other messages" in summary.body
    assert (await notifier.flush(everything=True)).checks == ()


async def test_a_summary_is_sent_in_the_background_and_at_the_end(make: Make, clock: Clock) -> None:
    channel = Fake()
    async with make(channel, repeat_seconds=60) as notifier:
        await notifier.send(ALARM)
        await notifier.send(ALARM)
        clock.now += 60
        for _ in range(2):
            await channel.arrivals.get()
        await notifier.send(Message("Last"))
        await notifier.send(Message("Last"))
    assert [message.title for message in channel.got] == [
        "Alarm",
        "1 message was held back",
        "Last",
        "1 message was held back",
    ]
    assert "1 times: Last" in channel.got[-1].body


async def test_a_message_that_nobody_got_may_be_repeated_at_once(make: Make) -> None:
    channel = Fake("a", Refused("a: no"))
    notifier = make(channel)
    assert (await notifier.send(ALARM)).status == "fail"
    assert (await notifier.send(ALARM)).status == "pass"
    assert channel.got[0].facts["held back before"] == "1 of the same"


async def test_a_summary_that_failed_is_sent_later(make: Make, clock: Clock) -> None:
    channel = Fake("a", None, Refused("a: no"))
    notifier = make(channel, repeat_seconds=60)
    await notifier.send(ALARM)
    await notifier.send(ALARM)
    clock.now += 60
    assert (await notifier.flush()).status == "fail"
    assert (await notifier.flush()).status == "pass"
    assert channel.got[-1].title == "1 message was held back"


async def test_a_caller_that_is_cancelled_leaves_the_message_to_be_repeated(make: Make) -> None:
    channel = Stuck("a")
    notifier = make(channel)
    sending = asyncio.create_task(notifier.send(ALARM))
    await channel.arrivals.get()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    again = asyncio.create_task(notifier.send(ALARM))
    await channel.arrivals.get()
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again


def test_channels_have_different_names_and_minimums_name_them() -> None:
    with pytest.raises(SettingsError, match="same name: a, a"):
        Notifier([Fake("a"), Fake("a")])
    with pytest.raises(SettingsError, match="no channel b"):
        Notifier([Fake("a")], minimum={"b": "error"})


async def test_without_channels_nothing_is_sent_and_that_is_said() -> None:
    async with Notifier() as notifier:
        assert (await notifier.send(ALARM)).checks == ()
    assert [one.status for one in check(notifier)] == ["skip"]


async def test_a_channel_that_was_never_used_is_not_called_good(make: Make) -> None:
    assert [one.status for one in check(make(Fake()))] == ["skip"]


async def test_no_secret_is_said_whatever_happens(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, redirected, unreachable: the report, the log and the errors hold no address."""
    caplog.set_level(logging.DEBUG)
    said = ""
    for status in (302, 400, 403, 404, 429, 500):
        async with receiver(Answer(status, "s3cr3t t0k3n", ("Location: /s3cr3t",))) as one:
            notifier = make(Slack(one.url), Webhook(one.url, SECRET))
            said += repr((await notifier.send(ALARM)).as_dict())
            said += repr(notifier) + repr(notifier.stats()) + repr(vars(notifier))
    notifier = make(Slack(one.url), Webhook(one.url, SECRET))
    said += repr((await notifier.send(ALARM)).as_dict())
    assert "answered 403" in said
    assert "cannot be reached" in said
    assert not any(secret in said + caplog.text for secret in SECRETS)


async def test_errors_keep_no_foreign_cause_that_quotes_an_address() -> None:
    gc.collect()
    async with receiver() as one:
        url = one.url
    channel = Slack(url)
    with pytest.raises(InsightError) as raised:
        await channel.deliver(ALARM)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
