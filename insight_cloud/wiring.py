"""Settings in, open components out: the only place where components meet."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from insight_cloud import backup, cache, cdn, images, ratelimit, tls
from insight_cloud.core import places, sigv4
from insight_cloud.core.errors import Missing, Refused, SettingsError, Unavailable
from insight_cloud.core.html import Html
from insight_cloud.core.storage import Attributes, Credentials, Store, open_store, parse
from insight_cloud.database import Pool, SlowQueries, conninfo, embedded
from insight_cloud.images.settings import LOGO
from insight_cloud.notify import Apprise, Channel, Mail, Message, Notifier, Severity, Slack, Webhook
from insight_cloud.sandbox import Limits as SandboxLimits
from insight_cloud.sandbox import Sandbox
from insight_cloud.settings import Settings

if TYPE_CHECKING:
    from insight_cloud.edge import Tier
    from insight_cloud.tuning.advisor.shadow import Scratch

__all__ = [
    "Components",
    "Limits",
    "announcer",
    "archive_directory",
    "backup_writes",
    "backups",
    "certificate_keeper",
    "certificate_store",
    "channels",
    "cloudflare_caches",
    "cloudfront",
    "database_directory",
    "database_url",
    "edge_tiers",
    "fresh_server",
    "image_endpoint",
    "limit_store",
    "limits",
    "logo",
    "mail",
    "notifier",
    "opened",
    "sandbox",
    "server_uid",
    "shadow_server",
    "site",
    "store_credentials",
]

_LOGO_HEIGHT = 27  # pixels, as the stylesheet shows it
_POOL_SIZES = {"production": (5, 20), "development": (2, 10)}


@dataclass(frozen=True, slots=True)
class Limits:
    """The rate limits: who decides, by which policies, and who is asking by which address."""

    limiter: ratelimit.Limiter = field(default_factory=ratelimit.Limiter)
    policies: Mapping[str, ratelimit.Policy] = field(
        default_factory=lambda: ratelimit.RateLimitSettings().policies()
    )
    addresses: ratelimit.Addresses = field(default_factory=ratelimit.Addresses)
    store: ratelimit.Redis | ratelimit.Upstash | None = None
    denied: Counter[str] = field(default_factory=Counter)
    """Denials of this process, by policy."""

    def count(self, decision: ratelimit.Decision) -> None:
        """Note a denial."""
        self.denied.update(policy.name for policy in decision.violated)


@dataclass(frozen=True, slots=True)
class Components:
    """The open components of one process."""

    pool: Pool
    cache: cache.Cache = field(default_factory=cache.Cache)
    limits: Limits = field(default_factory=Limits)
    notifier: Notifier = field(default_factory=Notifier)


@asynccontextmanager
async def opened(settings: Settings, *, within: Limits | None = None) -> AsyncIterator[Components]:
    """Open every component that `settings` ask for; close them in reverse order.

    `within` are limits that were made before, by a web application that had to know them.
    """
    ours = limits(settings) if within is None else within
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_url(settings))
        pool = await stack.enter_async_context(_pool(settings, url))
        values = await stack.enter_async_context(_cache(settings))
        if ours.store is not None:
            await stack.enter_async_context(ours.store)
        operator = await stack.enter_async_context(notifier(settings))
        yield Components(pool, values, ours, operator)


def limits(settings: Settings) -> Limits:
    """Make the rate limits without connecting to anything yet."""
    wanted, store = settings.ratelimit, limit_store(settings)
    return Limits(
        ratelimit.Limiter(store, memory=ratelimit.Memory(max_keys=wanted.memory_keys)),
        wanted.policies(),
        ratelimit.Addresses(
            trusted_proxies=wanted.trusted_proxies,
            cloudflare=wanted.cloudflare_ranges,
            ipv6_prefix=wanted.ipv6_prefix,
        ),
        store,
    )


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database: the one given, or that of the embedded server, running."""
    if settings.database.url is not None:
        yield settings.database.url.get_secret_value()
        return
    async with embedded.server(database_directory(settings)) as url:
        yield url


def database_directory(settings: Settings) -> Path:
    """Return where the embedded server keeps its data."""
    if settings.database.directory is not None:
        return settings.database.directory.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/insight/postgres")
    return Path.home() / ".local/share/insight/postgres"


def edge_tiers(settings: Settings) -> tuple[Tier, ...]:
    """The application's rate limits, as the edge asks for them."""
    from insight_cloud.edge import Tier  # a web process has no use for the rules language

    return tuple(
        Tier(policy.name, policy.limit, policy.seconds)
        for policy in settings.ratelimit.policies().values()
    )


def certificate_store(settings: Settings) -> tls.Store:
    """Return where the certificate lies."""
    if settings.tls.directory is not None:
        return tls.Store(settings.tls.directory)
    if os.geteuid() == 0:
        return tls.Store(Path("/var/lib/insight/certificates"))
    return tls.Store(Path.home() / ".local/share/insight/certificates")


def certificate_keeper(settings: Settings) -> tls.Keeper:
    """Return who keeps the certificate from lapsing, with the authority that the settings name."""

    async def tell(subject: str, text: str) -> None:
        async with notifier(settings) as operator:
            await operator.send(Message(subject, text, severity="error", source="tls.overdue"))

    wanted, store = settings.tls, certificate_store(settings)
    return tls.Keeper(
        store,
        _authority(settings, store),
        tls.Wanted(wanted.names, wanted.key_type, wanted.profile),
        hooks=wanted.hooks,
        hook_seconds=wanted.hook_seconds,
        keep=wanted.keep,
        notify=tell,
    )


def _authority(settings: Settings, store: tls.Store) -> tls.Issuer | None:
    wanted = settings.tls
    if wanted.method == "custom":
        return None
    if wanted.method == "cloudflare":
        zone = settings.edge.zone_id
        return tls.OriginCa(_cloudflare(settings), days=wanted.origin_days, zone_id=zone)
    if wanted.method == "letsencrypt":
        return _acme(settings, store)
    if wanted.challenge != "http-01":
        raise SettingsError('tls.method "certbot" proves names by http-01 only: set tls.challenge')
    return tls.Certbot(
        wanted.acme_url,
        store,
        email=wanted.email,
        agree_terms=wanted.agree_terms,
        ca_file=wanted.acme_ca_file,
        adviser=_acme(settings, store),
    )


def _acme(settings: Settings, store: tls.Store) -> tls.Issuer:
    wanted = settings.tls
    solver: tls.Solver = tls.Http01(store)
    if wanted.challenge == "dns-01":
        records = tls.Records(_cloudflare(settings), zone_id=settings.edge.zone_id)
        solver = tls.Dns01(records, wait_seconds=wanted.dns_seconds)
    return tls.Acme(
        wanted.acme_url,
        store,
        solver,
        email=wanted.email,
        agree_terms=wanted.agree_terms,
        ca_file=wanted.acme_ca_file,
    )


def _cloudflare(settings: Settings) -> tls.Api:
    token = settings.tls.cloudflare_token or settings.edge.api_token
    if token is None:
        raise SettingsError("Cloudflare needs a token: set CLOUDFLARE_API_TOKEN")
    return tls.Api(
        token.get_secret_value(), url=settings.tls.cloudflare_url or settings.edge.api_url
    )


def image_endpoint(settings: Settings) -> images.Images | None:
    """Return what resizes images, to be opened; None where they have no source.

    Raises:
        SettingsError: a folder of images is not there, or a remote address is not usable.
    """
    wanted = settings.images
    if not wanted.serves:
        return None
    for text in wanted.folders:
        folder = Path(text.partition("=")[2])
        if not folder.is_dir():
            raise SettingsError(f"images.folders: there is no folder {folder}")
    remote = None
    if wanted.remote or wanted.keys:
        remote = images.Remote(
            wanted.remote, private=wanted.remote_private, most_bytes=wanted.source_bytes
        )
    return images.Images(
        _image_workers(settings),
        images.Mounts(wanted.mounts),
        store=_image_store(settings),
        remote=remote,
        signer=images.Signer([_secret(key) for key in wanted.keys]) if wanted.keys else None,
        formats=wanted.formats,
        avif_width=wanted.avif_width,
        max_age_seconds=wanted.max_age_seconds,
        remote_seconds=wanted.remote_seconds,
        memory_bytes=wanted.memory_bytes,
    )


def logo(settings: Settings, endpoint: str) -> Html:
    """Return the markup of the operator's logo, made by `endpoint`; empty where there is none.

    Raises:
        SettingsError: it is no image that we take.
    """
    wanted = settings.images
    if wanted.logo is None:
        return Html()
    limits = images.Limits(wanted.source_bytes, wanted.source_pixels, wanted.source_side)
    mounts = images.Mounts(wanted.mounts)
    try:
        data = mounts.read(mounts.find(LOGO), limits.size)
        header = images.read_header(data, limits)
    except (Missing, Refused) as error:
        raise SettingsError(f"images.logo: {wanted.logo}: {error}") from error
    version = images.digest(data)
    return images.image(
        images.Described(LOGO, header.width, header.height),
        images.ours(endpoint, version=lambda _: version),
        alt="",  # the name stands beside it
        width=max(1, round(_LOGO_HEIGHT * header.width / header.height)),
        formats=(),
    )


def _image_workers(settings: Settings) -> images.Workers:
    wanted = settings.images
    share = max(1, (os.cpu_count() or 1) // settings.server.workers)
    return images.Workers(
        processes=wanted.processes or share,
        memory_bytes=wanted.process_memory_bytes,
        seconds=wanted.seconds,
        queue=wanted.queue,
        limits=images.Limits(wanted.source_bytes, wanted.source_pixels, wanted.source_side),
    )


def _image_store(settings: Settings) -> images.Store | None:
    wanted = settings.images
    if wanted.directory is None:
        return None
    return images.Store(wanted.directory, most_bytes=wanted.disk_bytes)


def sandbox(settings: Settings) -> Sandbox:
    """Return the sandbox for code of strangers; it sees our program and its interpreter."""
    wanted = settings.sandbox
    ours = Path(__file__).parent
    parts = (Path(sys.base_prefix), Path(sys.prefix), ours)
    shown = {}
    for path in (places.COMMON_TOOLS, places.tools()):
        if path.is_dir():
            shown[str(places.COMMON_TOOLS)] = path
    if places.advisories().is_file():
        shown[str(places.COMMON_ADVISORIES)] = places.advisories()
    return Sandbox(
        SandboxLimits(
            seconds=wanted.seconds,
            cpu_seconds=wanted.cpu_seconds,
            memory_bytes=wanted.memory_bytes,
            disk_bytes=wanted.disk_bytes,
            processes=wanted.processes,
            output_bytes=settings.analyses.log_bytes,
        ),
        uid=wanted.uid,
        show=tuple(dict.fromkeys(path.resolve() for path in parts if path != Path("/usr"))),
        elsewhere=shown,
    )


def limit_store(settings: Settings) -> ratelimit.Redis | ratelimit.Upstash | None:
    """Make what all processes keep their limits in; None where each keeps its own."""
    wanted, shared = settings.ratelimit, settings.cache
    prefix = f"{shared.namespace}:ratelimit:"
    url = wanted.url or shared.url
    if url is not None:
        return ratelimit.Redis(
            url.get_secret_value(), prefix=prefix, timeout_seconds=wanted.timeout_seconds
        )
    if shared.upstash_url is None or shared.upstash_token is None:
        return None
    return ratelimit.Upstash(
        shared.upstash_url,
        shared.upstash_token.get_secret_value(),
        prefix=prefix,
        timeout_seconds=wanted.timeout_seconds,
    )


def _cache(settings: Settings) -> cache.Cache:
    wanted = settings.cache
    return cache.Cache(
        _backend(wanted),
        namespace=wanted.namespace,
        ttl=wanted.ttl,
        stale=wanted.stale,
        local_bytes=wanted.local_bytes,
        timeout=timedelta(seconds=wanted.timeout_seconds),
    )


def _backend(wanted: cache.CacheSettings) -> cache.Backend:
    if wanted.url is not None:
        kind = cache.RedisCluster if wanted.cluster else cache.Redis
        return kind(
            wanted.url.get_secret_value(),
            timeout_seconds=wanted.timeout_seconds,
            max_connections=wanted.max_connections,
        )
    if wanted.upstash_url is None:
        return cache.Memory(limit_bytes=wanted.memory_bytes)
    if wanted.upstash_token is None:
        raise SettingsError("cache.upstash_url needs cache.upstash_token beside it")
    return cache.Upstash(
        wanted.upstash_url,
        wanted.upstash_token.get_secret_value(),
        timeout_seconds=wanted.timeout_seconds,
    )


def store_credentials(settings: Settings) -> Credentials:
    """Return who we are at the object stores."""
    given = settings.storage
    return Credentials(
        aws_access_key_id=given.aws_access_key_id or "",
        aws_secret_access_key=_secret(given.aws_secret_access_key),
        aws_session_token=_secret(given.aws_session_token),
        aws_region=given.aws_region or "",
        aws_endpoint_url=given.aws_endpoint_url or "",
        azure_connection_string=_secret(given.azure_connection_string),
        google_credentials=given.google_credentials,
        machine_identity=given.machine_identity,
    )


def site(settings: Settings) -> cdn.Site | cdn.Workers:
    """Open the place that a built site is deployed to.

    Raises:
        SettingsError: it is not set, or something that it needs is missing.
    """
    wanted = settings.cdn
    if wanted.target is None:
        raise SettingsError("where should it go? set cdn.target, for example s3://bucket/prefix")
    if wanted.worker is not None:
        token, account = settings.edge.api_token, settings.edge.account_id
        if token is None or account is None:
            raise SettingsError("set CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID for a Worker")
        return cdn.Workers(
            token.get_secret_value(),
            account,
            wanted.worker,
            base_url=wanted.base_url,
            keep=wanted.keep,
            api=settings.edge.api_url,
        )
    purgers = [one for one in (cloudflare_caches(settings), cloudfront(settings)) if one]
    if purgers and not wanted.base_url:
        raise SettingsError(
            'set cdn.base_url, so that copies in caches can be purged, or cdn.purge = "off"'
        )
    return cdn.Site(
        open_store(wanted.target, _site_credentials(settings)),
        base_url=wanted.base_url,
        purgers=purgers,
        keep=wanted.keep,
        at_once=wanted.at_once,
    )


def cloudflare_caches(settings: Settings) -> cdn.Cloudflare | None:
    """Return Cloudflare's caches of the site, if there is a zone and they are to be purged."""
    token, zone, mode = settings.edge.api_token, settings.edge.zone_id, settings.cdn.purge
    if token is None or zone is None or mode == "off":
        return None
    return cdn.Cloudflare(token.get_secret_value(), zone, mode=mode, api=settings.edge.api_url)


def cloudfront(settings: Settings) -> cdn.CloudFront | None:
    """Return CloudFront's caches of the site, if there is a distribution."""
    if settings.cdn.cloudfront_distribution is None:
        return None
    given = settings.storage
    if given.aws_access_key_id is None or given.aws_secret_access_key is None:
        raise SettingsError("CloudFront needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    key = sigv4.Key(
        given.aws_access_key_id,
        given.aws_secret_access_key.get_secret_value(),
        _secret(given.aws_session_token),
    )
    return cdn.CloudFront(settings.cdn.cloudfront_distribution, key)


def _site_credentials(settings: Settings) -> Credentials:
    """Return the keys of the site's own store, which may be another account's."""
    usual, own = store_credentials(settings), settings.cdn
    if own.access_key_id is None:
        return usual
    return replace(
        usual,
        aws_access_key_id=own.access_key_id,
        aws_secret_access_key=_secret(own.secret_access_key),
        aws_session_token="",
    )


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


def _pool(settings: Settings, url: str) -> Pool:
    database = settings.database
    smallest, largest = _POOL_SIZES[settings.server.environment]
    return Pool(
        url,
        min_size=smallest if database.min_size is None else database.min_size,
        max_size=database.max_size or largest,
        acquire_timeout_seconds=database.acquire_timeout_seconds,
        max_idle_seconds=database.max_idle_seconds,
        max_lifetime_seconds=database.max_lifetime_seconds,
        statement_timeout_seconds=database.statement_timeout_seconds,
        pgbouncer=database.pgbouncer,
        slow=SlowQueries(
            warn_seconds=database.slow_warn_seconds, error_seconds=database.slow_error_seconds
        ),
    )


def notifier(settings: Settings) -> Notifier:
    """Return what tells the operator; open it (`async with`) to have summaries sent."""
    found = channels(settings)
    return Notifier(
        [channel for channel, _ in found],
        minimum={channel.name: minimum for channel, minimum in found},
        repeat_seconds=settings.notify.repeat_seconds,
        burst=settings.notify.burst,
        deadline_seconds=settings.notify.deadline_seconds,
    )


def channels(settings: Settings) -> list[tuple[Channel, Severity]]:
    """Return each channel that `settings` ask for, with the mildest severity it gets."""
    notify = settings.notify
    found: list[tuple[Channel, Severity]] = []
    if notify.slack_webhook_url is not None:
        found.append((Slack(notify.slack_webhook_url.get_secret_value()), notify.slack_minimum))
    if notify.smtp_host is not None:
        found.append((_mail(settings, notify.smtp_host), notify.email_minimum))
    if notify.webhook_url is not None and notify.webhook_secret is not None:
        url, secret = notify.webhook_url, notify.webhook_secret
        hook = Webhook(url.get_secret_value(), secret.get_secret_value())
        found.append((hook, notify.webhook_minimum))
    names = {channel.name for channel, _ in found}
    for url in notify.apprise_urls:
        service = Apprise(url.get_secret_value())
        number = 2
        while service.name in names:  # two of one kind, or Slack by another way
            service.name = f"{service.name.partition('-')[0]}-{number}"
            number += 1
        names.add(service.name)
        found.append((service, notify.apprise_minimum))
    return found


def mail(settings: Settings) -> Mail | None:
    """Return what writes to people, if a mail server is set."""
    host = settings.notify.smtp_host
    return None if host is None else _mail(settings, host)


def _mail(settings: Settings, host: str) -> Mail:
    notify = settings.notify
    password = notify.smtp_password
    return Mail(
        host,
        to=notify.email_to,
        sender=notify.email_from or "",
        port=notify.smtp_port,
        security=notify.smtp_security,
        username=notify.smtp_username,
        password=None if password is None else password.get_secret_value(),
    )


@asynccontextmanager
async def backups(
    settings: Settings,
    *,
    url: str | None = None,
    name: str | None = None,
    stores: Sequence[str] = (),
    database: bool = True,
) -> AsyncIterator[backup.Job]:
    """Yield what is to be backed up, and where to; what is given goes before the settings.

    Without `database` nothing is connected to and no server started: enough to look at what
    the stores hold.
    """
    wanted = settings.backup
    async with AsyncExitStack() as stack:
        if url is None:
            url = await stack.enter_async_context(_backup_source(settings, running=database))
        source = conninfo.build(
            url,
            application_name="insight backup",
            connect_timeout_seconds=10,
            statement_timeout_seconds=0,
            pgbouncer=False,
        )
        credentials = store_credentials(settings)
        attributes = {}
        for address in stores or wanted.stores or (backup_directory().as_uri(),):
            store = open_store(address, credentials, private=True)
            attributes[await stack.enter_async_context(store)] = _kept_as(settings, store)
        yield backup.Job(
            name or wanted.name or backup.name_of(source),
            source,
            tuple(attributes),
            programs=backup.Programs(wanted.programs or None, plain=_wheel_programs()),
            lock=_backup_lock(settings),
            identity=_backup_identity(settings),
            attributes=attributes,
            policy=_backup_policy(settings),
            level=wanted.level,
            lock_seconds=wanted.lock_seconds,
            parallel=wanted.parallel or backup.usual_parallel(),
        )


@asynccontextmanager
async def _backup_source(settings: Settings, *, running: bool) -> AsyncIterator[str]:
    if not running and settings.database.url is None:
        yield "postgresql:///insight"
        return
    async with database_url(settings) as url:
        yield url


def backup_directory() -> Path:
    """Return where backups lie when no store is set."""
    return database_directory(Settings()).parent / "backups"


def archive_directory(settings: Settings) -> Path:
    """Return where the archive keeps what is not in every store yet."""
    return settings.backup.archive_directory or database_directory(settings).parent / "archive"


def server_uid() -> int | None:
    """Return who a recovered server runs as; None for ourselves."""
    return embedded.SERVER_UID if os.geteuid() == 0 else None


def backup_writes(settings: Settings) -> tuple[Path, ...]:
    """Return the directories that a backup writes into: the stores of this machine."""
    addresses = settings.backup.stores or (backup_directory().as_uri(),)
    local = [Path(parse(address).container) for address in addresses if address.startswith("file:")]
    if settings.database.url is None:
        local.append(database_directory(settings))
    return tuple(local)


def _kept_as(settings: Settings, store: Store) -> Attributes:
    wanted = settings.backup
    classes = {
        "s3": wanted.s3_storage_class,
        "az": wanted.azure_tier,
        "gs": wanted.gcs_storage_class,
    }
    return Attributes(storage_class=classes.get(store.url.partition(":")[0], ""))


def _backup_lock(settings: Settings) -> backup.Lock | None:
    wanted = settings.backup
    if not wanted.recipients and wanted.passphrase is None:
        return None
    return backup.Lock(
        wanted.recipients,
        passphrase=None if wanted.passphrase is None else _secret(wanted.passphrase),
    )


def _backup_identity(settings: Settings) -> backup.Identity | None:
    wanted = settings.backup
    if wanted.identity_file is None and wanted.passphrase is None:
        return None
    try:
        keys = wanted.identity_file.read_text("utf-8") if wanted.identity_file else ""
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"cannot read the identity file {wanted.identity_file}: {error}"
        ) from error
    return backup.Identity(keys, passphrase=_secret(wanted.passphrase) or None)


def _backup_policy(settings: Settings) -> backup.Policy:
    wanted = settings.backup
    return backup.Policy(
        {
            "daily": wanted.keep_daily_days,
            "weekly": wanted.keep_weekly_days,
            "monthly": wanted.keep_monthly_days,
            "manual": wanted.keep_manual_days,
        },
        wanted.keep_at_least,
    )


def _wheel_programs() -> tuple[Path, ...]:
    """The embedded server's programs, which can do everything but TLS."""
    try:
        return (embedded.binaries(),)
    except Missing:
        return ()


@asynccontextmanager
async def fresh_server() -> AsyncIterator[str]:
    """Yield the URL of a new, empty server that is gone afterwards: for drills."""
    with tempfile.TemporaryDirectory(prefix="insight-drill-") as directory:
        async with embedded.server(Path(directory) / "postgres") as url:
            yield url


@asynccontextmanager
async def shadow_server() -> AsyncIterator[Scratch]:
    """Start a PostgreSQL 18 that is gone afterwards, for plans with indexes that do not exist."""
    from insight_cloud.tuning.advisor.shadow import Scratch  # for one command only

    # It holds nothing that would be missed; and statistics must stay as they were given.
    unsafe = {"fsync": "off", "synchronous_commit": "off", "autovacuum": "off"}
    with tempfile.TemporaryDirectory(prefix="insight-tune-") as name:
        directory = Path(name) / "postgres"
        async with embedded.server(directory, settings=unsafe) as url:
            yield Scratch(url, directory / "data", embedded.binaries())


def announcer(settings: Settings) -> backup.Announcer:
    """Return who hears how backups went."""
    ping = settings.backup.ping_url
    return backup.Announcer(
        _notify(settings),
        None if ping is None else ping.get_secret_value(),
        successes=settings.backup.notify_success,
    )


def _notify(settings: Settings) -> backup.Notify | None:
    if not channels(settings):
        return None

    async def notify(event: str, subject: str, detail: str) -> None:
        severity: Severity = "error" if event == "failed" else "info"
        message = Message(subject, detail, severity=severity, source=f"backup.{event}")
        async with notifier(settings) as sender:
            report = await sender.send(message)
        if report.failed:
            raise Unavailable("; ".join(check.detail for check in report.failed))

    return notify
