from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import pyvips  # type: ignore[import-untyped]  # no types

from insight_cloud.core.asgi import Message
from insight_cloud.images import Images, Mounts, Remote, Signer, Store, Variant, Workers, digest
from tests.images.gallery import HOSTILE, jpeg, photo, png

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
CAT = {"url": "/photos/cat.jpg", "w": "640"}


class Shared:
    """The run's child processes, which outlive each test's endpoint."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.limits = workers.limits
        self.calls = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def make(self, data: bytes, variants: list[Variant]) -> Any:
        self.calls += 1
        return await self._workers.make(data, variants)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def asking(images: Images) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=images)
    async with images, httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        yield http


@pytest.fixture
def shared(workers: Workers) -> Shared:
    return Shared(workers)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def build(shared: Shared, photos: Path, clock: Clock, **options: Any) -> Images:
    mounts = Mounts({"/photos/": photos})
    return Images(shared, mounts, clock=clock, **options)  # type: ignore[arg-type]  # stands for workers


@pytest.fixture
async def http(shared: Shared, photos: Path, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(build(shared, photos, clock)) as client:
        yield client


async def ask(http: httpx.AsyncClient, accept: str = CHROME, **query: str) -> httpx.Response:
    return await http.get("/_image", params=query, headers={"accept": accept})


async def test_a_browser_gets_the_width_and_format_that_suit_it(http: httpx.AsyncClient) -> None:
    for accept, form in ((CHROME, "webp"), ("image/avif,*/*", "avif"), ("image/*", "jpeg")):
        answer = await ask(http, accept, **CAT)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == f"image/{form}"
        assert answer.headers["vary"] == "accept"
        found = pyvips.Image.new_from_buffer(answer.content, "")
        assert (found.width, found.height) == (640, 443)


async def test_the_headers_keep_it_and_keep_it_harmless(http: httpx.AsyncClient) -> None:
    headers = (await ask(http, **CAT)).headers
    assert headers["cache-control"] == "public, max-age=86400, stale-while-revalidate=86400"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == 'inline; filename="image.webp"'
    assert headers["etag"].startswith('"')


async def test_a_format_that_is_named_needs_no_vary(http: httpx.AsyncClient) -> None:
    answer = await ask(http, "*/*", **CAT, f="avif")
    assert answer.headers["content-type"] == "image/avif"
    assert "vary" not in answer.headers


async def test_the_right_version_is_kept_for_ever_and_a_wrong_one_is_not(
    http: httpx.AsyncClient, photos: Path
) -> None:
    version = digest((photos / "cat.jpg").read_bytes())[:12]
    for given, immutable in ((version, True), ("0" * 12, False), (version[:4], False), ("", False)):
        answer = await ask(http, **CAT, v=given)
        assert ("immutable" in answer.headers["cache-control"]) is immutable, given


async def test_what_a_browser_has_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await ask(http, **CAT)
    tag = first.headers["etag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        again = await http.get(
            "/_image", params=CAT, headers={"accept": CHROME, "if-none-match": known}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["vary"] == "accept"
    other = await http.get(
        "/_image", params=CAT, headers={"accept": CHROME, "if-none-match": '"other"'}
    )
    assert other.status_code == 200


async def test_head_says_the_same_without_the_picture(http: httpx.AsyncClient) -> None:
    whole = await ask(http, **CAT)
    head = await http.head("/_image", params=CAT, headers={"accept": CHROME})
    assert head.headers == whole.headers
    assert head.content == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_else_can_be_done(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/_image", params=CAT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 422),
        ({"url": "/photos/cat.jpg"}, 422),
        ({"w": "640"}, 422),
        (CAT | {"w": "641"}, 422),
        (CAT | {"w": "99999999999999999999"}, 422),
        (CAT | {"q": "100"}, 422),
        (CAT | {"f": "svg"}, 422),
        (CAT | {"colour": "red"}, 422),
        (CAT | {"exp": "soon"}, 422),
        (CAT | {"url": "/photos/none.jpg"}, 404),
        (CAT | {"url": "/photos/../etc/passwd"}, 404),
        (CAT | {"url": "/etc/passwd"}, 403),
        (CAT | {"url": "//evil.example/a.jpg"}, 403),
        (CAT | {"url": "/\\evil.example/a.jpg"}, 403),
        (CAT | {"url": "https://evil.example/a.jpg"}, 403),
        (CAT | {"url": "/_image?url=/photos/cat.jpg&w=640"}, 403),
        (CAT | {"url": "/photos/notes.txt"}, 422),
        (CAT | {"url": "/photos/" + "a" * 5000}, 422),
    ],
)
async def test_a_wrong_question_has_a_clear_answer(
    http: httpx.AsyncClient, query: dict[str, str], status: int
) -> None:
    answer = await ask(http, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["detail"]


async def test_a_parameter_is_given_once(http: httpx.AsyncClient) -> None:
    answer = await http.get("/_image?url=/photos/cat.jpg&w=640&w=750")
    assert answer.status_code == 422


async def test_many_at_once_make_it_once(
    shared: Shared, photos: Path, clock: Clock, tmp_path: Path
) -> None:
    store = [Store(tmp_path / "store"), Store(tmp_path / "store")]
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(
                asking(build(shared, photos, clock, store=store[n], memory_bytes=0))
            )
            for n in range(2)
        ]
        answers = await asyncio.gather(*(ask(processes[n % 2], **CAT) for n in range(32)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert shared.calls == 1


async def test_who_goes_away_does_not_take_the_picture_from_the_others(
    shared: Shared, photos: Path, clock: Clock
) -> None:
    async with asking(build(shared, photos, clock)) as http:
        first = asyncio.create_task(ask(http, **CAT))
        await asyncio.sleep(0.005)
        second = asyncio.create_task(ask(http, **CAT))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status_code == 200
    assert shared.calls == 1


async def test_what_was_made_is_found_after_a_restart(
    shared: Shared, photos: Path, clock: Clock, tmp_path: Path
) -> None:
    answers = []
    for _ in range(2):
        images = build(shared, photos, clock, store=Store(tmp_path / "store"))
        async with asking(images) as http:
            answers += [await ask(http, **CAT), await ask(http, **CAT)]
    assert shared.calls == 1
    assert images.stats.stored == 1
    assert images.stats.remembered == 1
    assert len({(a.content, a.headers["etag"]) for a in answers}) == 1


async def test_a_changed_file_is_noticed_within_a_second(
    shared: Shared, photos: Path, clock: Clock
) -> None:
    async with asking(build(shared, photos, clock)) as http:
        before = await ask(http, **CAT)
        (photos / "cat.jpg").write_bytes(jpeg(photo(700, 700)))
        os.utime(photos / "cat.jpg", (time.time() + 5, time.time() + 5))
        clock.now += 1.1
        after = await ask(http, **CAT)
    assert before.headers["etag"] != after.headers["etag"]
    assert pyvips.Image.new_from_buffer(after.content, "").height == 640


async def test_a_removed_file_is_gone(shared: Shared, photos: Path, clock: Clock) -> None:
    async with asking(build(shared, photos, clock)) as http:
        assert (await ask(http, **CAT)).status_code == 200
        (photos / "cat.jpg").unlink()
        clock.now += 1.1
        assert (await ask(http, **CAT)).status_code == 404


async def test_wide_avif_would_take_too_long_so_webp_is_sent(http: httpx.AsyncClient) -> None:
    answer = await ask(http, "image/avif", **(CAT | {"w": "2048"}), f="avif")
    assert answer.headers["content-type"] == "image/webp"


async def test_hostile_files_are_refused_and_the_service_lives(
    shared: Shared, photos: Path, clock: Clock
) -> None:
    for name, make in HOSTILE.items():
        (photos / f"{name}.png").write_bytes(make())
    async with asking(build(shared, photos, clock)) as http:
        for name in HOSTILE:
            answer = await ask(http, url=f"/photos/{name}.png", w="640")
            assert answer.status_code in {413, 422}, name
            assert answer.headers["cache-control"] == "no-store"
        assert (await ask(http, **CAT)).status_code == 200


async def test_what_cannot_be_decoded_is_not_tried_again_at_once(
    shared: Shared, photos: Path, clock: Clock
) -> None:
    data = jpeg()
    (photos / "broken.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    async with asking(build(shared, photos, clock)) as http:
        for width in ("640", "640", "750"):
            answer = await ask(http, url="/photos/broken.jpg", w=width)
            assert answer.status_code == 422
            assert "cannot be decoded" in answer.json()["detail"]
        assert shared.calls == 1
        clock.now += 61
        await ask(http, url="/photos/broken.jpg", w="640")
        assert shared.calls == 2


async def test_a_full_queue_asks_to_come_back(photos: Path, clock: Clock) -> None:
    async with asking(Images(Workers(processes=1, queue=0), Mounts({"/photos/": photos}))) as http:
        answers = await asyncio.gather(
            *(ask(http, url="/photos/cat.jpg", w=str(w)) for w in (640, 750, 828, 1080))
        )
    busy = [answer for answer in answers if answer.status_code == 503]
    assert len(busy) == 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in busy)
    assert clock.now


async def test_memory_is_bounded(shared: Shared, photos: Path, clock: Clock) -> None:
    images = build(shared, photos, clock, memory_bytes=4_000)
    async with asking(images) as http:
        for width in ("16", "32", "48", "64", "96", "128", "256", "384", "640"):
            assert (await ask(http, url="/photos/cat.jpg", w=width)).status_code == 200
    hot = images._hot
    assert hot._held == sum(one.size for one in hot._answers.values()) <= 4_000
    assert len(hot._answers) < 9


async def test_images_must_be_opened(photos: Path) -> None:
    async with Images(Workers(processes=1), Mounts({})) as images:
        with pytest.raises(RuntimeError, match="HTTP only"):
            await images({"type": "websocket"}, _nothing, _nobody)


async def _nothing() -> Message:
    raise AssertionError


async def _nobody(message: Message) -> None:
    raise AssertionError


# -- other hosts -------------------------------------------------------------------------------


class Elsewhere:
    """A host on this machine with one picture."""

    def __init__(self) -> None:
        self.asked = 0
        self.picture = png(photo(800, 500))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(self.picture)}\r\n\r\n"
        writer.write(head.encode() + self.picture)
        await writer.drain()
        writer.close()


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    host = Elsewhere()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    yield host, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_all_widths_of_another_hosts_image_fetch_it_once(
    shared: Shared, photos: Path, clock: Clock, tmp_path: Path, elsewhere: tuple[Elsewhere, str]
) -> None:
    host, url = elsewhere
    options: dict[str, Any] = {
        "remote": Remote([f"{url}/allowed/"], private=["127.0.0.0/8"]),
        "store": Store(tmp_path / "store"),
    }
    async with asking(build(shared, photos, clock, **options)) as http:
        for width in ("640", "384", "64"):
            answer = await ask(http, url=f"{url}/allowed/a.png", w=width)
            assert answer.status_code == 200, answer.text
        assert (await ask(http, url=f"{url}/other/a.png", w="640")).status_code == 403
        assert host.asked == 1
        clock.now += 86_401
        host.picture = png(photo(500, 800))
        for path in (tmp_path / "store").glob("??/*"):
            os.utime(path, (0, time.time() - 90_000))
        answer = await ask(http, url=f"{url}/allowed/a.png", w="640")
    assert host.asked == 2
    assert pyvips.Image.new_from_buffer(answer.content, "").height == 800


async def test_a_signature_opens_one_address_until_it_ends(
    shared: Shared, photos: Path, clock: Clock, elsewhere: tuple[Elsewhere, str]
) -> None:
    _, url = elsewhere
    signer = Signer(["k" * 32])
    remote = Remote(private=["127.0.0.0/8"])
    expires = int(clock.now) + 60
    source = f"{url}/a.png"
    good = {"url": source, "w": "64", "s": signer.sign(source, expires), "exp": str(expires)}
    async with asking(build(shared, photos, clock, remote=remote, signer=signer)) as http:
        assert (await ask(http, **good)).status_code == 200
        assert (await ask(http, **(good | {"url": source + "?"}))).status_code == 403
        assert (await ask(http, **(good | {"exp": "0"}))).status_code == 403
        clock.now += 61
        assert (await ask(http, **good)).status_code == 403


async def test_a_private_address_is_refused_even_when_it_is_signed(
    shared: Shared, photos: Path, clock: Clock, elsewhere: tuple[Elsewhere, str]
) -> None:
    host, url = elsewhere
    signer = Signer(["k" * 32])
    query = {"url": f"{url}/a.png", "w": "64", "s": signer.sign(f"{url}/a.png")}
    async with asking(build(shared, photos, clock, remote=Remote(), signer=signer)) as http:
        answer = await ask(http, **query)
    assert answer.status_code == 403
    assert host.asked == 0


async def test_the_path_does_not_matter_so_it_can_be_mounted_anywhere(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/deep/below", params=CAT, headers={"accept": CHROME})
    assert answer.status_code == 200
