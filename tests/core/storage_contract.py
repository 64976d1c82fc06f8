"""What `Store` promises; each store's test class inherits it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from insight_cloud.core.errors import Conflict, Corrupt, Invalid, Missing
from insight_cloud.core.storage import Attributes, Store

__all__ = ["MIB", "StoreContract", "pieces", "whole"]

MIB = 1024 * 1024

ODD_PATHS = (
    "a b/c+d/e&f=g.txt",
    "ümlaut/日本.zst",
    "per%cent/%2F/#hash?query",
    "tilde~/(paren)/[bracket]/{brace}/'quote'/\"double\"",
    "dots.../..x/x..",
    "comma,semicolon;colon:at@dollar$bang!star*",
)

BAD_PATHS = (
    "",
    "/absolute",
    "trailing/",
    "a//b",
    "../escape",
    "a/../../escape",
    "./here",
    "back\\slash",
    "new\nline",
    "nul\0",
    "lone-\ud800",
    "long/" + "x" * 900,
    ".insight-partial/x",
)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def random_pieces(seed: int, count: int, size: int) -> AsyncIterator[bytes]:
    source = random.Random(seed)
    for _ in range(count):
        yield source.randbytes(size)


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


class StoreContract:
    """A subclass gives `store`, an open and empty one."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        raise NotImplementedError
        yield  # pragma: no cover  # noqa: PT022 - a subclass closes what it opened

    async def paths(self, store: Store, prefix: str = "") -> list[str]:
        return sorted([item.path async for item in store.list(prefix)])

    async def test_what_was_put_is_read(self, store: Store) -> None:
        await store.put("folder/name", b"content")
        assert await store.read("folder/name") == b"content"
        assert await whole(store.stream("folder/name")) == b"content"

    async def test_an_empty_object_is_an_object(self, store: Store) -> None:
        await store.put("empty", b"")
        assert await store.read("empty") == b""
        assert await whole(store.stream("empty")) == b""
        assert (await store.head("empty")).size == 0

    async def test_a_second_put_replaces_the_first(self, store: Store) -> None:
        first = await store.put("name", b"first")
        second = await store.put("name", b"second")
        assert first != second
        assert await store.read("name") == b"second"

    async def test_the_head_tells_size_time_and_version(self, store: Store) -> None:
        etag = await store.put("name", b"12345")
        found = await store.head("name")
        assert (found.path, found.size, found.etag) == ("name", 5, etag)
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_what_is_not_there_is_missing(self, store: Store) -> None:
        for attempt in (store.head("none"), store.read("none"), whole(store.stream("none"))):
            with pytest.raises(Missing, match="none"):
                await attempt

    async def test_a_folder_is_no_object(self, store: Store) -> None:
        await store.put("folder/name", b"")
        with pytest.raises(Missing):
            await store.head("folder")
        with pytest.raises(Missing):
            await store.read("folder")

    async def test_a_stream_of_small_pieces_arrives_whole(self, store: Store) -> None:
        await store.put("name", pieces(b"a", b"", b"bc", b"d" * 70_000))
        assert await store.read("name") == b"abc" + b"d" * 70_000

    async def test_an_empty_stream_makes_an_empty_object(self, store: Store) -> None:
        await store.put("name", pieces())
        assert await store.read("name") == b""

    async def test_a_stream_of_many_parts_arrives_whole(self, store: Store) -> None:
        content = await whole(random_pieces(1, 21, MIB))
        await store.put("large", random_pieces(1, 21, MIB), expected_bytes=21 * MIB)
        digest = hashlib.sha256()
        async for chunk in store.stream("large"):
            assert type(chunk) is bytes
            digest.update(chunk)
        assert digest.digest() == hashlib.sha256(content).digest()
        assert (await store.head("large")).size == 21 * MIB

    async def test_large_bytes_arrive_whole(self, store: Store) -> None:
        content = random.Random(2).randbytes(9 * MIB + 1)
        await store.put("large", content)
        assert await whole(store.stream("large")) == content

    @pytest.mark.parametrize("pieces_before", [0, 3, 12])
    async def test_a_stream_that_fails_leaves_the_old_object(
        self, store: Store, pieces_before: int
    ) -> None:
        await store.put("name", b"old")

        async def failing() -> AsyncIterator[bytes]:
            for _ in range(pieces_before):
                yield b"x" * MIB
            raise LookupError("the source is gone")

        with pytest.raises(LookupError, match="the source is gone"):
            await store.put("name", failing())
        assert await store.read("name") == b"old"
        assert await self.unfinished(store) == []

    async def test_an_upload_that_is_cancelled_leaves_the_old_object(self, store: Store) -> None:
        await store.put("name", b"old")
        waiting = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            for _ in range(12):
                yield b"x" * MIB
            waiting.set()
            await asyncio.Event().wait()

        upload = asyncio.create_task(store.put("name", stuck()))
        await waiting.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await store.read("name") == b"old"
        assert await self.unfinished(store) == []

    async def unfinished(self, store: Store) -> list[str]:
        return [leftover.path for leftover in await store.leftovers()]

    async def test_memory_is_bounded_whatever_the_length(self, store: Store) -> None:
        await store.put("warm", b"up")
        tracemalloc.start()
        try:
            await store.put("large", random_pieces(3, 96, MIB))
            size = 0
            async for chunk in store.stream("large"):
                size += len(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size == 96 * MIB
        assert peak < 64 * MIB

    async def test_ranges_are_exact(self, store: Store) -> None:
        content = random.Random(4).randbytes(100_000)
        await store.put("name", content)
        for start, length in ((0, 1), (99_999, 1), (5, 70_000), (99_990, 100), (0, 0)):
            found = await whole(store.stream("name", start=start, length=length))
            assert found == content[start : start + length]
        assert await whole(store.stream("name", start=100_000)) == b""

    async def test_a_range_past_the_end_is_refused(self, store: Store) -> None:
        await store.put("name", b"12345")
        with pytest.raises(Invalid, match="5 bytes"):
            await whole(store.stream("name", start=6))

    async def test_a_stream_may_be_left_early(self, store: Store) -> None:
        await store.put("large", random_pieces(5, 20, MIB))
        async for chunk in store.stream("large"):
            assert chunk
            break
        assert await store.read("large", limit_bytes=20 * MIB)

    async def test_an_object_that_is_larger_than_expected_is_not_read(self, store: Store) -> None:
        await store.put("name", b"12345")
        with pytest.raises(Corrupt, match="more than 4"):
            await store.read("name", limit_bytes=4)

    async def test_create_happens_once(self, store: Store) -> None:
        await store.create("name", b"first")
        with pytest.raises(Conflict, match="name"):
            await store.create("name", b"second")
        assert await store.read("name") == b"first"

    async def test_one_of_many_creators_wins(self, store: Store) -> None:
        async def create(number: int) -> bool:
            try:
                await store.create("lock", str(number).encode())
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*map(create, range(8)))
        assert sum(won) == 1
        assert await store.read("lock") == str(won.index(True)).encode()

    async def test_replace_needs_the_version_that_was_read(self, store: Store) -> None:
        await store.put("name", b"first")
        read = (await store.head("name")).etag
        newer = await store.replace("name", b"second", read)
        with pytest.raises(Conflict):
            await store.replace("name", b"third", read)
        assert await store.read("name") == b"second"
        await store.replace("name", b"fourth", newer)
        assert await store.read("name") == b"fourth"

    async def test_what_is_gone_is_not_replaced(self, store: Store) -> None:
        etag = await store.put("name", b"first")
        await store.delete(["name"])
        with pytest.raises(Conflict):
            await store.replace("name", b"second", etag)
        assert await self.paths(store) == []

    async def test_one_of_many_replacers_wins(self, store: Store) -> None:
        etag = await store.put("name", b"first")

        async def replace(number: int) -> bool:
            try:
                await store.replace("name", str(number).encode(), etag)
            except Conflict:
                return False
            return True

        assert sum(await asyncio.gather(*map(replace, range(8)))) == 1

    async def test_the_list_goes_by_folders(self, store: Store) -> None:
        for path in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "5"):
            await store.put(path, path.encode())
        assert await self.paths(store) == ["5", "a/1", "a/b/2", "a/b/c/3", "ab/4"]
        assert await self.paths(store, "a") == ["a/1", "a/b/2", "a/b/c/3"]
        assert await self.paths(store, "a/b/") == ["a/b/2", "a/b/c/3"]
        assert await self.paths(store, "none") == []
        sizes = {item.path: item.size async for item in store.list("ab")}
        assert sizes == {"ab/4": 4}

    async def test_a_long_list_is_complete(self, store: Store) -> None:
        names = [f"folder/{number:04}" for number in range(1_100)]
        for start in range(0, len(names), 50):
            await asyncio.gather(*(store.put(name, b"") for name in names[start : start + 50]))
        assert await self.paths(store) == names
        await store.delete(names)
        assert await self.paths(store) == []

    async def test_deleting_needs_no_object(self, store: Store) -> None:
        await store.put("a/1", b"")
        await store.put("a/2", b"")
        await store.delete(["a/1", "none", "no/folder/either"])
        await store.delete([])
        assert await self.paths(store) == ["a/2"]

    @pytest.mark.parametrize("path", ODD_PATHS)
    async def test_odd_names_stay_as_they_are(self, store: Store, path: str) -> None:
        await store.put(path, path.encode())
        assert await store.read(path) == path.encode()
        assert await self.paths(store) == [path]
        assert await whole(store.stream(path, start=1)) == path.encode()[1:]
        await store.delete([path])
        assert await self.paths(store) == []

    @pytest.mark.parametrize("path", BAD_PATHS)
    async def test_a_bad_path_changes_nothing(self, store: Store, path: str) -> None:
        await store.put("good", b"")
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put(path, b"x"),
            lambda: store.put(path, pieces(b"x")),
            lambda: store.create(path, b"x"),
            lambda: store.replace(path, b"x", "etag"),
            lambda: store.head(path),
            lambda: store.read(path),
            lambda: whole(store.stream(path)),
            lambda: store.delete(["good", path]),
        ]
        for attempt in attempts:
            with pytest.raises(Invalid):
                await attempt()
        assert await self.paths(store) == ["good"]

    async def test_attributes_do_not_get_in_the_way(self, store: Store) -> None:
        attributes = Attributes(
            content_type="text/css", cache_control="max-age=60", content_encoding="br"
        )
        await store.put("a.css", b"not really brotli", attributes=attributes)
        assert await store.read("a.css") == b"not really brotli"
        assert await whole(store.stream("a.css")) == b"not really brotli"

    async def test_all_chunks_are_of_one_version(self, store: Store) -> None:
        old, new = b"o" * 40 * MIB, b"n" * 40 * MIB
        await store.put("name", old)
        stream = store.stream("name")
        read = [await anext(stream)]
        await store.put("name", new)
        try:
            read += [chunk async for chunk in stream]
        except Conflict:
            return  # it says so, which a store may
        assert b"".join(read) == old

    async def test_it_can_be_shown_and_closed(self, store: Store) -> None:
        assert store.url in repr(store)
        async with store:
            await store.put("name", b"")
