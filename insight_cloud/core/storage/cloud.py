"""S3, Azure Blob and Google Cloud Storage through obstore, which is imported nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore import exceptions as foreign
from obstore.store import AzureStore, GCSStore, S3Store

from insight_cloud.core import sigv4
from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    Missing,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.core.storage import azure, settle
from insight_cloud.core.storage.address import Address
from insight_cloud.core.storage.feed import Feed, first_bytes
from insight_cloud.core.storage.s3_uploads import Uploads
from insight_cloud.core.storage.store import (
    PLAIN,
    Attributes,
    Leftover,
    Object,
    Store,
    clean_path,
)

if TYPE_CHECKING:
    from obstore import Attributes as ForeignAttributes
    from obstore import GetOptions, ObjectMeta, PutMode, PutResult
    from obstore.store import (
        AzureConfig,
        ClientConfig,
        GCSConfig,
        ObjectStore,
        RetryConfig,
        S3Config,
    )

    from insight_cloud.core.storage.open import Credentials, Limits

__all__ = ["Cloud", "Parts", "open_cloud", "parts"]

_MIB = 1024 * 1024
_SMALLEST_PART = 8 * _MIB
_MOST_PARTS = 10_000  # S3's and Google's limit; Azure allows 50,000
_BUFFER_BYTES = 24 * _MIB  # parts in flight at once
_RANGE_BYTES = 4 * _MIB
_READ_AHEAD = 3
_DELETE_BATCH = 1_000  # of one S3 request
_DELETES_AT_ONCE = 16
_ABORT_SECONDS = 15.0

_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[InsightError], str], ...] = (
    ((FileNotFoundError, foreign.NotFoundError), Missing, "there is no such object"),
    ((foreign.AlreadyExistsError,), Conflict, "exists already"),
    (
        (foreign.PreconditionError, foreign.NotModifiedError),
        Conflict,
        "was changed by somebody else; read it again",
    ),
    (
        (foreign.PermissionDeniedError, foreign.UnauthenticatedError),
        Refused,
        "the credentials are not accepted; correct them, or allow them to do this",
    ),
    ((NotImplementedError, foreign.NotSupportedError), Refused, "this store cannot do that"),
    ((ValueError, foreign.InvalidPathError), Invalid, "not a path that this store can hold"),
    ((TimeoutError,), Unavailable, "no answer in time; try again"),
)
"""What the library's errors mean; all others are judged by the HTTP status in their text."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """How a stream is cut: `size` bytes a part, `at_once` of them on the way."""

    size: int
    at_once: int


def parts(expected_bytes: int | None) -> Parts:
    """Choose the part size so that the expected length, and a tenth more, fits into the limit."""
    needed = -(-(expected_bytes or 0) * 11 // (10 * _MOST_PARTS))
    size = max(_SMALLEST_PART, -(-needed // _MIB) * _MIB)
    return Parts(size, min(4, max(1, _BUFFER_BYTES // size)))


class Cloud(Store):
    """A bucket or container behind obstore; `uploads` where unfinished ones can be listed."""

    def __init__(
        self,
        address: Address,
        store: ObjectStore,
        limits: Limits,
        *,
        uploads: Uploads | None = None,
    ) -> None:
        self.url = str(address)
        self._kind = address.kind
        self._store = store
        self._limits = limits
        self._uploads = uploads

    async def put(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        attributes: Attributes = PLAIN,
        expected_bytes: int | None = None,
    ) -> str:
        """Write an object; see `Store.put`. A short stream is sent by one request."""
        clean_path(path)
        wanted = parts(len(data) if isinstance(data, bytes) else expected_bytes)
        if isinstance(data, bytes):
            if len(data) <= wanted.size:
                return await self._put(path, data, "overwrite", attributes)
            data = _slices(data, _MIB)
        head, rest = await first_bytes(data, wanted.size)
        if rest is None:
            return await self._put(path, head, "overwrite", attributes)
        return await self._put_parts(path, Feed(head, rest, self._most(wanted)), wanted, attributes)

    async def create(self, path: str, data: bytes, *, attributes: Attributes = PLAIN) -> str:
        """Write an object that is not there yet; see `Store.create`."""
        return await self._put(clean_path(path), data, "create", attributes)

    async def replace(
        self, path: str, data: bytes, etag: str, *, attributes: Attributes = PLAIN
    ) -> str:
        """Write over one version of an object; see `Store.replace`."""
        mode: PutMode = {"version": etag} if self._kind == "gs" else {"e_tag": etag}
        return await self._put(clean_path(path), data, mode, attributes)

    async def head(self, path: str) -> Object:
        """Describe an object; see `Store.head`."""
        clean_path(path)
        meta = await self._within(path, lambda: obstore.head_async(self._store, path))
        return self._object(meta)

    async def read(self, path: str, *, limit_bytes: int = 16 * _MIB) -> bytes:
        """Return a small object whole; see `Store.read`."""
        clean_path(path)

        async def read() -> bytes:
            answer = await obstore.get_async(self._store, path)
            size = answer.meta["size"]
            if size > limit_bytes:
                raise Corrupt(f"{self.url}: {path!r} has {size} bytes, more than {limit_bytes}")
            return self._whole(path, bytes(await answer.bytes_async()), size)

        return await self._within(path, read)

    async def stream(
        self, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield an object by ranges, three ahead; each has its own time limit and retries."""
        found = await self.head(path)
        if start > found.size:
            raise Invalid(f"{self.url}: {path!r} has {found.size} bytes, none at {start}")
        end = found.size if length is None else min(found.size, start + length)
        ahead: deque[asyncio.Task[bytes]] = deque()
        try:
            for offset in range(start, end, _RANGE_BYTES):
                until = min(offset + _RANGE_BYTES, end)
                ahead.append(asyncio.create_task(self._range(found, offset, until)))
                if len(ahead) > _READ_AHEAD:
                    yield await ahead.popleft()
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def list(self, prefix: str = "") -> AsyncIterator[Object]:
        """Yield the objects below a folder; see `Store.list`."""
        folder = clean_path(prefix.rstrip("/")) if prefix else None
        pages = aiter(obstore.list(self._store, folder, chunk_size=1_000))
        while page := await self._within(prefix, lambda: _next(pages)):
            for meta in page:
                yield self._object(meta)

    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, on S3 a thousand by one request; see `Store.delete`."""
        wanted = [clean_path(path) for path in paths]
        size = _DELETE_BATCH if self._kind == "s3" else _DELETES_AT_ONCE
        delete = self._delete_batch if self._kind == "s3" else self._delete_each
        for start in range(0, len(wanted), size):
            await delete(wanted[start : start + size])

    async def leftovers(self) -> tuple[Leftover, ...]:
        """Find unfinished uploads; see `Store.leftovers`. Azure forgets its own after a week."""
        if self._kind == "az":
            return ()
        if self._uploads is None:
            raise Refused(
                f"{self.url}: unfinished uploads cannot be listed with these credentials; give "
                "the bucket a lifecycle rule that aborts incomplete uploads after seven days"
            )
        return await self._uploads.find()

    async def abort(self, leftover: Leftover) -> None:
        """Abort an unfinished upload; see `Store.abort`."""
        if self._uploads is None:
            raise Refused(f"{self.url}: unfinished uploads cannot be aborted here")
        await self._uploads.abort(leftover)

    async def close(self) -> None:
        """Its connections close when they have been idle, or with the process."""

    async def _put(self, path: str, data: bytes, mode: PutMode, attributes: Attributes) -> str:
        async def put() -> PutResult:
            return await obstore.put_async(
                self._store,
                path,
                data,
                attributes=_foreign(attributes),
                mode=mode,
                use_multipart=False,
            )

        return self._etag(await self._within(path, put))

    async def _put_parts(self, path: str, feed: Feed, wanted: Parts, attributes: Attributes) -> str:
        """Send a stream in parts. Each part has its time limit; the stream may take its time."""
        sending = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                path,
                feed,
                attributes=_foreign(attributes),
                use_multipart=True,
                chunk_size=wanted.size,
                max_concurrency=wanted.at_once,
            )
        )
        try:
            return self._etag(await asyncio.shield(sending))
        except asyncio.CancelledError:
            # Dropped, the upload would stay behind, paid for. A stream that fails ends it well.
            settle.given_up()
            feed.abandon()
            await asyncio.wait([sending], timeout=_ABORT_SECONDS)
            sending.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - theirs have no common parent
            if feed.failure is not None:
                raise feed.failure from None
            raise self._explain(path, error) from None  # theirs may repeat a signed URL

    async def _range(self, found: Object, start: int, end: int) -> bytes:
        options: GetOptions = {"range": (start, end)}
        if self._kind == "gs":
            options["version"] = found.etag
        else:
            options["if_match"] = found.etag

        async def read() -> bytes:
            answer = await obstore.get_async(self._store, found.path, options=options)
            return bytes(await answer.bytes_async())

        try:
            return self._whole(found.path, await self._within(found.path, read), end - start)
        except (Conflict, Missing):
            raise Conflict(
                f"{self.url}: {found.path!r} was replaced while it was read; read it again"
            ) from None

    def _whole(self, path: str, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise Corrupt(f"{self.url}: {path!r}: {len(data)} bytes came instead of {size}")
        return data

    async def _delete_batch(self, paths: Sequence[str]) -> None:
        await self._within(paths[0], lambda: obstore.delete_async(self._store, paths))

    async def _delete_each(self, paths: Sequence[str]) -> None:
        async def delete(path: str) -> None:
            with contextlib.suppress(Missing):
                await self._within(path, lambda: obstore.delete_async(self._store, path))

        # All are tried before the first failure is told.
        for outcome in await asyncio.gather(*map(delete, paths), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _within(self, path: str, call: Callable[[], Awaitable[T]]) -> T:
        """Wait for one request and its retries, within the limits, and speak our own errors."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.retry_seconds + limits.request_seconds):
                return await call()
        except InsightError:
            raise
        except (asyncio.CancelledError, TimeoutError) as error:
            settle.given_up()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._explain(path, error) from None
        except Exception as error:  # noqa: BLE001 - theirs have no common parent
            raise self._explain(path, error) from None  # theirs may repeat a signed URL

    def _most(self, wanted: Parts) -> int:
        return wanted.size * _MOST_PARTS

    def _object(self, meta: ObjectMeta) -> Object:
        return Object(meta["path"], meta["size"], meta["last_modified"], self._etag(meta))

    def _etag(self, result: PutResult | ObjectMeta) -> str:
        """Google's conditions go by the generation, the others' by the etag."""
        return (result["version"] if self._kind == "gs" else result["e_tag"]) or ""

    def _explain(self, path: str, error: Exception) -> InsightError:
        text = str(error)
        status, code = _status(text), _code(text)
        if code in {"NoSuchBucket", "ContainerNotFound"} or "bucket does not exist" in text:
            return SettingsError(
                f"{self.url}: there is no such bucket; create it, or correct the URL"
            )
        for kinds, meaning, words in _MEANINGS:
            if isinstance(error, kinds):
                return meaning(f"{self.url}: {path!r}: {words}")
        answered = f"answered {status} {code}".rstrip() if status else "cannot be reached"
        if status is not None and status < 500 and status not in {408, 429}:
            return Refused(f"{self.url}: {path!r}: {answered}; this will not succeed later")
        return Unavailable(f"{self.url}: {path!r}: {answered}; try again later")


def open_cloud(address: Address, credentials: Credentials, limits: Limits) -> Cloud:
    """Open the store at `address`; see `open_store`."""
    opened = {"s3": _open_s3, "az": _open_azure, "gs": _open_google}[address.kind]
    try:
        return opened(address, credentials, limits)
    except (foreign.BaseError, ValueError, OSError, TypeError):
        # Theirs may repeat what was given: it is not shown, not even as the cause.
        raise SettingsError(f"{address}: the URL or the credentials cannot be used") from None


def _open_s3(address: Address, credentials: Credentials, limits: Limits) -> Cloud:
    endpoint = address.options.get("endpoint", credentials.aws_endpoint_url)
    region = address.options.get("region", credentials.aws_region)
    key = _s3_key(address, credentials)
    if not region and not endpoint and key is not None:
        raise SettingsError(f"{address}: set AWS_REGION, or write s3://bucket?region=…")
    region = region or ("us-east-1" if endpoint else "")
    endpoint = endpoint or (_amazon(region) if region else "")
    # Everything is given, because the library fills gaps from the environment, unasked.
    config: S3Config = {}
    if region:
        config["region"] = region
    if endpoint:
        config["endpoint"] = endpoint
    store = S3Store(
        address.container,
        prefix=address.prefix or None,
        config=config,
        credential_provider=None if key is None else _provider(key),
        client_options=_client(limits, plain=endpoint.startswith("http://")),
        retry_config=_retries(limits),
    )
    if key is None or not endpoint:
        return Cloud(address, store, limits)
    uploads = Uploads(
        endpoint,
        address.container,
        f"{address.prefix}/" if address.prefix else "",
        key=key,
        region=region,
        connect_seconds=limits.connect_seconds,
        request_seconds=limits.request_seconds,
    )
    return Cloud(address, store, limits, uploads=uploads)


def _s3_key(address: Address, credentials: Credentials) -> sigv4.Key | None:
    identifier, secret = credentials.aws_access_key_id, credentials.aws_secret_access_key
    if identifier and secret:
        return sigv4.Key(identifier, secret, credentials.aws_session_token)
    if credentials.machine_identity:
        return None
    raise SettingsError(
        f"{address}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let the "
        "machine's own identity be used"
    )


def _provider(key: sigv4.Key) -> Any:
    """A provider instead of plain arguments: a token in the environment would be added to those."""

    def provide() -> dict[str, Any]:
        return {
            "access_key_id": key.identifier,
            "secret_access_key": key.secret,
            "token": key.token or None,
            "expires_at": None,
        }

    return provide


def _amazon(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"


def _open_azure(address: Address, credentials: Credentials, limits: Limits) -> Cloud:
    if not credentials.azure_connection_string:
        raise SettingsError(f"{address}: no credentials; set AZURE_STORAGE_CONNECTION_STRING")
    account = azure.parse(credentials.azure_connection_string)
    if not (account.key or account.signature or credentials.machine_identity):
        raise SettingsError(
            f"{address}: the Azure connection string has neither AccountKey nor "
            "SharedAccessSignature"
        )
    config: AzureConfig = {"account_name": account.name, "endpoint": account.endpoint}
    if account.key:
        config["account_key"] = account.key
    if account.signature:
        config["sas_key"] = account.signature
    store = AzureStore(
        address.container,
        prefix=address.prefix or None,
        config=config,
        client_options=_client(limits, plain=account.endpoint.startswith("http://")),
        retry_config=_retries(limits),
    )
    return Cloud(address, store, limits)


def _open_google(address: Address, credentials: Credentials, limits: Limits) -> Cloud:
    file = credentials.google_credentials
    if file is None and not credentials.machine_identity:
        raise SettingsError(
            f"{address}: no credentials; set GOOGLE_APPLICATION_CREDENTIALS to the file of a "
            "service account, or let the machine's own identity be used"
        )
    endpoint = address.options.get("endpoint", "")
    config: GCSConfig = {}
    if endpoint:
        config["base_url"] = endpoint
    if file is not None:
        config["service_account"] = str(file)
    store = GCSStore(
        address.container,
        prefix=address.prefix or None,
        config=config,
        client_options=_client(limits, plain=endpoint.startswith("http://")),
        retry_config=_retries(limits),
    )
    return Cloud(address, store, limits)


def _client(limits: Limits, *, plain: bool) -> ClientConfig:
    return {
        "allow_http": plain,
        "connect_timeout": timedelta(seconds=limits.connect_seconds),
        "timeout": timedelta(seconds=limits.request_seconds),
    }


def _retries(limits: Limits) -> RetryConfig:
    return {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=limits.retry_seconds),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
    }


def _foreign(attributes: Attributes) -> ForeignAttributes:
    named = {
        "Content-Type": attributes.content_type,
        "Cache-Control": attributes.cache_control,
        "Content-Encoding": attributes.content_encoding,
        "Storage-Class": attributes.storage_class,
    }
    return {name: value for name, value in named.items() if value}


async def _next(pages: AsyncIterator[Any]) -> Any:
    return await anext(pages, None)


async def _slices(data: bytes, size: int) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(data), size):
        yield bytes(view[start : start + size])


def _status(text: str) -> int | None:
    found = re.search(r"status code: (\d{3})", text)
    return int(found[1]) if found else None


def _code(text: str) -> str:
    found = re.search(r"<Code>(\w{1,60})</Code>", text)
    return found[1] if found else ""
