"""Object stores in the network: a real S3 server, Azurite, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import (
    InsightError,
    Invalid,
    Missing,
    Refused,
    SettingsError,
    TooLarge,
    Unavailable,
)
from insight_cloud.core.storage import Attributes, Credentials, Limits, Store, open_store
from insight_cloud.core.storage.cloud import Cloud, parts
from insight_cloud.core.storage.feed import Feed, first_bytes
from tests.core.faulty import Faults, faulty_proxy
from tests.core.storage.google_front import GoogleFront, google_front
from tests.core.storage_contract import MIB, StoreContract, pieces, random_pieces, whole
from tests.stores import Azurite, S3Server

# ruff: noqa: ASYNC220 - nothing else runs on the loop while a test looks at files

IMPATIENT = Limits(connect_seconds=1, request_seconds=2, retries=2, retry_seconds=1)
INFREQUENT = {"s3": "STANDARD_IA", "az": "Cool"}


class TestS3(StoreContract):
    @pytest.fixture
    async def store(self, s3_server: S3Server) -> AsyncIterator[Store]:
        async with open_store(s3_server.bucket(), s3_server.credentials) as store:
            yield store


class TestS3Prefix(StoreContract):
    """The same below a folder, which none of its paths may leave."""

    @pytest.fixture
    async def store(self, s3_server: S3Server) -> AsyncIterator[Store]:
        url = s3_server.bucket("some/folder")
        bucket = url.removesuffix("/some/folder")
        async with open_store(bucket, s3_server.credentials) as beside:
            await beside.put("other/name", b"not ours")
            await beside.put("some/folder2", b"not ours")
        async with open_store(url, s3_server.credentials) as store:
            yield store


class TestAzure(StoreContract):
    @pytest.fixture
    async def store(self, azurite: Azurite) -> AsyncIterator[Store]:
        async with open_store(azurite.container(), azurite.credentials) as store:
            yield store


class TestAzurePrefix(StoreContract):
    @pytest.fixture
    async def store(self, azurite: Azurite) -> AsyncIterator[Store]:
        async with open_store(azurite.container("some/folder"), azurite.credentials) as store:
            yield store


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleFront]:
    with google_front(tmp_path_factory.mktemp("google")) as front:
        yield front


class TestGoogle(StoreContract):
    # The stand-in keeps what it is sent in the memory that this test would measure.
    test_memory_is_bounded_whatever_the_length = None  # type: ignore[assignment]

    @pytest.fixture
    async def store(self, google: GoogleFront) -> AsyncIterator[Store]:
        self.google = google
        google.uploads.clear()
        url = google.url(f"bucket-{uuid4().hex}", "some/folder")
        async with open_store(url, google.credentials) as store:
            yield store

    async def unfinished(self, store: Store) -> list[str]:
        with pytest.raises(Refused, match="lifecycle rule"):
            await store.leftovers()
        return list(self.google.uploads)


async def test_google_keeps_the_attributes(google: GoogleFront) -> None:
    for path, size in (("small.css", 10), ("large.css", 9 * MIB)):
        store = open_store(google.url("attributes"), google.credentials)
        attributes = Attributes("text/css", "max-age=31536000, immutable", "br", "NEARLINE")
        await store.put(path, pieces(b"x" * size), attributes=attributes)
        assert google.objects["attributes", path].headers == {
            "content-type": "text/css",
            "cache-control": "max-age=31536000, immutable",
            "content-encoding": "br",
            "x-goog-storage-class": "NEARLINE",
        }


async def test_a_bucket_of_google_that_is_not_there_is_a_wrong_setting(
    google: GoogleFront,
) -> None:
    store = open_store(google.url("no-such-bucket"), google.credentials)
    with pytest.raises(SettingsError, match="no such bucket"):
        await store.put("name", b"")


@pytest.mark.parametrize("size", [10, 9 * MIB], ids=["one request", "parts"])
async def test_s3_keeps_the_attributes(s3_server: S3Server, size: int) -> None:
    url = s3_server.bucket("folder")
    store = open_store(url, s3_server.credentials)
    attributes = Attributes("text/css", "max-age=31536000, immutable", "br", "STANDARD_IA")
    await store.put("a.css", pieces(b"x" * size), attributes=attributes)
    headers = s3_server.headers(url, "a.css")
    assert headers["content-type"] == "text/css"
    assert headers["cache-control"] == "max-age=31536000, immutable"
    assert headers["content-encoding"] == "br"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"


@pytest.mark.parametrize("size", [10, 9 * MIB], ids=["one request", "parts"])
async def test_azure_keeps_the_attributes(azurite: Azurite, size: int) -> None:
    url = azurite.container("folder")
    store = open_store(url, azurite.credentials)
    attributes = Attributes("text/css", "max-age=31536000, immutable", "br", "Cool")
    await store.put("a.css", pieces(b"x" * size), attributes=attributes)
    headers = azurite.headers(url, "a.css")
    assert headers["content-type"] == "text/css"
    assert headers["cache-control"] == "max-age=31536000, immutable"
    assert headers["content-encoding"] == "br"
    assert headers["x-ms-access-tier"] == "Cool"


async def test_an_upload_of_a_killed_process_is_found_and_aborted(s3_server: S3Server) -> None:
    url = s3_server.bucket("some/folder")
    given = s3_server.credentials
    code = (
        "import asyncio\n"
        "from insight_cloud.core.storage import Credentials, open_store\n"
        "async def stream():\n"
        "    for number in range(30):\n"
        "        yield b'x' * 1024 * 1024\n"
        "    print('sent', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        f"given = Credentials(aws_access_key_id={given.aws_access_key_id!r},\n"
        f"    aws_secret_access_key={given.aws_secret_access_key!r},\n"
        f"    aws_endpoint_url={given.aws_endpoint_url!r}, aws_region='us-east-1')\n"
        f"asyncio.run(open_store({url!r}, given).put('a b/ü', stream()))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    store = open_store(url, given)
    beside = open_store(url.replace("some/folder", "other"), given)
    assert await beside.leftovers() == ()
    (leftover,) = await store.leftovers()
    assert leftover.path == "a b/ü"
    assert leftover.started < datetime.now(UTC)  # this server says 2010 of every upload
    assert [item.path async for item in store.list()] == []
    await store.abort(leftover)
    await store.abort(leftover)
    assert await store.leftovers() == ()


@pytest.mark.parametrize("url", ["s3://no-such-bucket", "s3://no-such-bucket/folder"])
async def test_a_bucket_that_is_not_there_is_a_wrong_setting(s3_server: S3Server, url: str) -> None:
    store = open_store(url, s3_server.credentials)
    for attempt in (store.put("name", b""), store.read("name"), store.leftovers()):
        with pytest.raises(SettingsError, match="no such bucket"):
            await attempt
    with pytest.raises(SettingsError, match="no such bucket"):
        async for _ in store.list():
            pass


async def test_a_container_that_is_not_there_is_a_wrong_setting(azurite: Azurite) -> None:
    store = open_store("az://no-such-container", azurite.credentials)
    with pytest.raises(SettingsError, match="no such bucket"):
        await store.put("name", b"")


async def test_a_wrong_key_is_refused_and_not_repeated(azurite: Azurite) -> None:
    wrong = azurite.credentials.azure_connection_string.replace("AccountKey=", "AccountKey=AAAA")
    store = open_store(azurite.container(), Credentials(azure_connection_string=wrong))
    with pytest.raises(Refused, match="not accepted") as caught:
        await store.put("name", b"")
    assert "AAAA" not in str(caught.value)


async def test_nobody_there_is_unavailable(s3_server: S3Server) -> None:
    given = Credentials("key", "the-secret", "", "us-east-1", "http://127.0.0.1:9")
    store = open_store("s3://bucket", given, limits=IMPATIENT)
    for attempt in (
        store.put("name", b""),
        store.put("name", random_pieces(1, 20, MIB)),
        store.read("name"),
        store.head("name"),
        store.delete(["name"]),
        store.leftovers(),
    ):
        with pytest.raises(Unavailable, match="try again") as caught:
            await attempt
        assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("fault", ["503", "reset"])
async def test_passing_faults_are_not_noticed(s3_server: S3Server, fault: Faults) -> None:
    async with faulty_proxy(s3_server.endpoint, every={4: fault}) as proxy:
        given = s3_server.credentials
        url = s3_server.bucket()
        store = open_store(f"{url}?endpoint={proxy.url}", given)
        content = await whole(random_pieces(6, 30, MIB))
        await store.put("name", random_pieces(6, 30, MIB))
        assert await whole(store.stream("name")) == content
        assert proxy.faults > 0


@pytest.mark.parametrize("fault", ["503", "reset", "hang", "cut"])
async def test_lasting_faults_are_unavailable_within_the_limits(
    s3_server: S3Server, fault: Faults
) -> None:
    url = s3_server.bucket()
    await open_store(url, s3_server.credentials).put("name", b"x" * 100_000)
    async with faulty_proxy(s3_server.endpoint, every={1: fault}) as proxy:
        limits = Limits(connect_seconds=1, request_seconds=0.5, retries=1, retry_seconds=0.5)
        store = open_store(f"{url}?endpoint={proxy.url}", s3_server.credentials, limits=limits)
        async with asyncio.timeout(60):
            for attempt in (store.put("other", b"x"), store.read("name"), store.leftovers()):
                with pytest.raises(Unavailable):
                    await attempt
            with pytest.raises(Unavailable):
                await whole(store.stream("name"))


async def test_a_stream_that_is_too_long_is_refused_in_time() -> None:
    feed = Feed(b"12345", pieces(b"678"), limit_bytes=7)
    with pytest.raises(TooLarge, match="how many to expect"):
        await whole(feed)


async def test_the_first_bytes_are_not_lost() -> None:
    head, rest = await first_bytes(pieces(b"12", b"34", b"56"), 3)
    assert head == b"1234"
    assert rest is not None
    assert await whole(rest) == b"56"
    assert await first_bytes(pieces(b"12", b"34"), 4) == (b"1234", None)


@given(expected=st.integers(0, 5 * 1024**4))
def test_parts_fit_the_limit_and_memory(expected: int) -> None:
    chosen = parts(expected)
    assert chosen.size * 10_000 >= expected * 1.1 - 1
    assert chosen.size >= 8 * MIB
    assert chosen.at_once >= 1
    assert chosen.size * chosen.at_once <= max(32 * MIB, chosen.size)


def test_nothing_shows_a_secret(s3_server: S3Server) -> None:
    given = Credentials("id", "hidden1", "hidden2", azure_connection_string="hidden3")
    store = open_store("s3://bucket?region=us-east-1", given)
    assert "hidden" not in repr(given) + repr(store)


async def test_the_environment_adds_nothing(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.setenv(name, "from-the-environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    url = s3_server.bucket()
    async with faulty_proxy(s3_server.endpoint) as proxy:
        store = open_store(f"{url}?endpoint={proxy.url}", s3_server.credentials)
        await store.put("name", b"content")
        assert b"AKIATESTS" in proxy.seen
        assert b"from-the-environment" not in proxy.seen


@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        ("s3://bucket", Credentials(), "AWS_ACCESS_KEY_ID"),
        ("s3://bucket", Credentials("id", "hidden"), "AWS_REGION"),
        ("az://box", Credentials(), "AZURE_STORAGE_CONNECTION_STRING"),
        ("az://box", Credentials(azure_connection_string="AccountName=x"), "AccountKey"),
        ("az://box", Credentials(azure_connection_string="hidden"), "Name=value"),
        ("az://box", Credentials(azure_connection_string="AccountKey=hidden"), "AccountName"),
        (
            "az://box",
            Credentials(azure_connection_string="AccountName=x;AccountKey=hidden!"),
            "base64",
        ),
        ("gs://bucket", Credentials(), "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://bucket", Credentials(google_credentials=os.devnull), "cannot be used"),  # type: ignore[arg-type]
    ],
)
def test_missing_credentials_are_named(url: str, given: Credentials, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        open_store(url, given)
    assert "hidden" not in str(caught.value)


async def test_no_foreign_error_escapes(s3_server: S3Server, azurite: Azurite) -> None:
    stores = [
        open_store(s3_server.bucket(), s3_server.credentials),
        open_store(azurite.container(), azurite.credentials),
    ]
    for store in stores:
        for attempt in (
            store.put("name", b"", attributes=Attributes(storage_class="NO_SUCH_CLASS")),
            store.put("name", b"", attributes=Attributes(content_type="no\nheader")),
            store.replace("name", b"", "no such etag"),
        ):
            with pytest.raises(InsightError):
                await attempt
        assert isinstance(store, Cloud)
        with pytest.raises((Missing, Invalid)):
            await store.read("x" * 800)
