"""The ASGI vocabulary."""

from insight_cloud.core.asgi import Message, header, send_problem


def test_the_first_header_of_a_name_is_found() -> None:
    scope = {"headers": [(b"host", b"a"), (b"host", b"b")]}
    assert header(scope, b"host") == "a"
    assert header(scope, b"accept") is None


async def test_a_problem_is_sent_whole() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_problem(send, 429, b"{}", [(b"retry-after", b"3")])
    start, body = sent
    assert start["status"] == 429
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert (b"retry-after", b"3") in start["headers"]
    assert body["body"] == b"{}"
