"""Every setting, one section a component; the only reader of environment and file.

Defaults < `insight.toml` < well-known names < `INSIGHT_<SECTION>__<FIELD>` < command line.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from insight_cloud.assets.settings import AssetsSettings
from insight_cloud.backup.settings import BackupSettings
from insight_cloud.cache.settings import CacheSettings
from insight_cloud.cdn.settings import CdnSettings
from insight_cloud.core.errors import SettingsError
from insight_cloud.database.settings import DatabaseSettings
from insight_cloud.edge.settings import EdgeSettings
from insight_cloud.headers.settings import HeadersSettings
from insight_cloud.images.settings import ImagesSettings
from insight_cloud.notify.settings import NotifySettings
from insight_cloud.ratelimit.settings import RateLimitSettings
from insight_cloud.sandbox.settings import SandboxSettings
from insight_cloud.telemetry.settings import TelemetrySettings
from insight_cloud.tls.settings import TlsSettings
from insight_cloud.tuning.settings import PerformanceSettings

__all__ = [
    "WELL_KNOWN",
    "AccountsSettings",
    "AnalysesSettings",
    "CacheSettings",
    "ClientSettings",
    "EdgeSettings",
    "JobsSettings",
    "NotifySettings",
    "OidcSettings",
    "OsvSettings",
    "Preset",
    "PrivacyLevel",
    "ProjectSettings",
    "QuotasSettings",
    "ServerSettings",
    "Settings",
    "SourcesSettings",
    "StorageSettings",
    "TelemetrySettings",
    "foreign_environment",
    "load",
    "sections",
]

PREFIX = "INSIGHT_"
FILE_NAME = "insight.toml"
FILE_VARIABLE = "INSIGHT_CONFIG"
"""The environment variable that names another file than `insight.toml` here."""

WELL_KNOWN: Mapping[str, tuple[str, str]] = {
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("cache", "url"),
    "UPSTASH_REDIS_REST_URL": ("cache", "upstash_url"),
    "UPSTASH_REDIS_REST_TOKEN": ("cache", "upstash_token"),
    "CLOUDFLARE_API_TOKEN": ("edge", "api_token"),
    "CLOUDFLARE_ZONE_ID": ("edge", "zone_id"),
    "CLOUDFLARE_ACCOUNT_ID": ("edge", "account_id"),
    "AWS_ACCESS_KEY_ID": ("storage", "aws_access_key_id"),
    "AWS_SECRET_ACCESS_KEY": ("storage", "aws_secret_access_key"),
    "AWS_SESSION_TOKEN": ("storage", "aws_session_token"),
    "AWS_REGION": ("storage", "aws_region"),
    "AWS_ENDPOINT_URL": ("storage", "aws_endpoint_url"),
    "AZURE_STORAGE_CONNECTION_STRING": ("storage", "azure_connection_string"),
    "GOOGLE_APPLICATION_CREDENTIALS": ("storage", "google_credentials"),
    "GITHUB_TOKEN": ("client", "provider_token"),
    "SLACK_WEBHOOK_URL": ("notify", "slack_webhook_url"),
    "SENTRY_DSN": ("telemetry", "sentry_dsn"),
    "APPLICATIONINSIGHTS_CONNECTION_STRING": ("telemetry", "application_insights"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("telemetry", "otlp_endpoint"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("telemetry", "otlp_headers"),
    "OTEL_SERVICE_NAME": ("telemetry", "service_name"),
}
"""Names that other programs read too, and the field each of them sets."""


PrivacyLevel = Literal["counts", "metadata", "findings", "snippets", "source"]
"""How much about the code leaves a machine; each level includes those before it."""


Preset = Literal["free", "pro", "team", "unlimited"]
"""A named set of quotas."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ServerSettings(_Section):
    """The web server."""

    environment: Literal["production", "development"] = "production"
    """Chooses the defaults that differ between a customer's server and a developer's."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for every IPv4 address of the machine."""
    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port to listen on; 0 takes a free one and prints it."""
    workers: int = Field(default=1, ge=1, le=64)
    """Web processes on this machine."""
    tls: bool = False
    """Serve HTTPS with the certificate of `[tls]`, which is issued and renewed by the service."""
    public_url: str | None = None
    """Where people reach the service, when that is not `http://host:port` (a proxy, TLS)."""
    body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Largest request body, except for uploads of findings."""

    @property
    def url(self) -> str:
        """Where people reach the service, without a slash at the end."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.tls else "http"
        return (self.public_url or f"{scheme}://{host}:{self.port}").rstrip("/")


class AccountsSettings(_Section):
    """Users and how long they stay signed in."""

    registration: Literal["open", "closed"] = "open"
    """Whether people may make their own account; with `closed` an administrator adds them."""
    session_days: int = Field(default=7, ge=1, le=365)
    """Days after which a browser must sign in again."""
    access_minutes: int = Field(default=15, ge=1, le=1440)
    """Minutes for which an access token of the API is valid."""
    refresh_days: int = Field(default=30, ge=1, le=365)
    """Days for which a refresh token is valid; each use replaces it."""


class OidcSettings(_Section):
    """Sign-in by another service that speaks OpenID Connect; passwords work beside it."""

    issuer: str | None = None
    """The provider's address, exactly as it calls itself; https, except on this machine."""
    client_id: str | None = None
    """What the provider calls this service."""
    client_secret: SecretStr | None = None
    """What this service proves itself by at the provider."""
    name: str = Field(default="single sign-on", min_length=1, max_length=60)
    """How the provider is called on the page that signs in."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    """What the provider is asked for; `openid` and `email` are needed."""
    allowed_domains: tuple[str, ...] = ()
    """Domains of the addresses that may come this way; without it, all that are verified."""
    create_accounts: bool = True
    """Whether somebody who has no account gets one; otherwise an administrator adds people."""
    timeout_seconds: float = Field(default=10, gt=0, le=60)
    """Seconds for each answer of the provider."""

    @model_validator(mode="after")
    def _complete(self) -> OidcSettings:
        told = (self.issuer, self.client_id, self.client_secret)
        if any(told) and not all(told):
            raise ValueError("issuer, client_id and client_secret belong together")
        address = urlsplit(self.issuer or "https://unset.invalid")
        here = address.scheme == "http" and address.hostname in {"127.0.0.1", "::1", "localhost"}
        if not address.hostname or not (address.scheme == "https" or here):
            raise ValueError("the issuer must begin with https://")
        if not {"openid", "email"} <= set(self.scopes):
            raise ValueError("the scopes must hold openid and email")
        return self


class AnalysesSettings(_Section):
    """Uploads of findings: how large they may be."""

    upload_bytes: int = Field(default=10 * 1024 * 1024, ge=1024)
    """Largest upload as sent, that is compressed (GitHub's limit)."""
    log_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Largest log after decompression."""
    runs: int = Field(default=20, ge=1)
    """Most tool runs in one log (GitHub's limit)."""
    results: int = Field(default=25_000, ge=1)
    """Most results of one run (GitHub's limit)."""
    at_once: int = Field(default=2, ge=1, le=64)
    """Uploads that one web process works on at a time; others wait for their turn."""
    fixed_days: int = Field(default=365, ge=1, le=3650)
    """Days for which a fixed issue is kept."""
    short_branch_days: int = Field(default=30, ge=1, le=3650)
    """Days for which a short branch or pull request is kept after its last analysis."""
    closed_pull_days: int = Field(default=14, ge=0, le=3650)
    """Days for which a closed pull request is kept."""
    privacy: PrivacyLevel = "source"
    """Highest privacy level that a new project accepts; its maintainers can change it."""


class QuotasSettings(_Section):
    """How much a project and a user may use; analyses on the server are `ratelimit.analysis`.

    The presets, as uploads of a project in 30 days, projects of a user, members of a project:
    `free` 10, 3, 1; `pro` 100, 10, 1; `team` 500, 50, 10; `unlimited` none of them.
    """

    preset: Preset = "unlimited"
    """The set to begin with; what is set below goes before it."""
    uploads_per_day: int = Field(default=1_000, ge=1, le=1_000_000)
    """Uploads of a project in any 24 hours."""
    uploads_per_month: int | None = Field(default=None, ge=1, le=10_000_000)
    """Uploads of a project in any 30 days."""
    projects: int | None = Field(default=None, ge=1, le=100_000)
    """Projects that one user may maintain; administrators have no limit."""
    members: int | None = Field(default=None, ge=1, le=1_000)
    """Members of a project."""


class JobsSettings(_Section):
    """Work that outlives its request: who does it, and what happens when a worker dies."""

    in_process: int = Field(default=1, ge=0, le=16)
    """Jobs at once in each web process; with 0 only `insight worker` does them."""
    tries: int = Field(default=3, ge=1, le=20)
    """How often a job is begun before it is given up."""
    heartbeat_seconds: float = Field(default=10, ge=0.2, le=60)
    """Seconds between two signs of life of a worker."""
    stalled_seconds: float = Field(default=30, ge=0.5, le=600)
    """Seconds without one after which its jobs are given to others."""
    keep_days: int = Field(default=7, ge=1, le=365)
    """Days for which ended jobs are remembered."""

    @model_validator(mode="after")
    def _beat_before_death(self) -> Self:
        if self.stalled_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("jobs.stalled_seconds must be at least twice jobs.heartbeat_seconds")
        return self


class SourcesSettings(_Section):
    """Code that the server analyses itself: archives, and repositories that it fetches."""

    archive_bytes: int = Field(default=50 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    """Largest archive, also of a repository that is fetched."""
    unpacked_bytes: int = Field(default=500 * 1024 * 1024, ge=1024)
    """Most that an archive may unpack to; `sandbox.disk_bytes` must hold it."""
    entries: int = Field(default=20_000, ge=1)
    """Most files and folders in an archive."""
    ratio: int = Field(default=100, ge=2)
    """How many times its own size an archive may unpack to."""
    detector_seconds: float = Field(default=60, gt=0, le=3600)
    """Seconds for each detector."""
    waiting: int = Field(default=5, ge=1, le=1000)
    """Analyses of one project that may wait or run."""
    hosts: tuple[str, ...] = ()
    """Hosts whose repositories may be fetched over https, as `git.example.com` or with a port."""
    allow_private: bool = False
    """Whether these hosts may have addresses of your own network."""
    authorities: Path | None = None
    """File of certificate authorities that vouch for these hosts, instead of the system's."""
    keep_days: int = Field(default=30, ge=1, le=3650)
    """Days for which it is remembered how an analysis went; the code itself is never kept."""


class OsvSettings(_Section):
    """The database of known vulnerabilities, which `insight osv sync` makes."""

    url: str = "https://osv-vulnerabilities.storage.googleapis.com"
    """Where OSV's archives are: `URL/PyPI/all.zip`; a mirror of your own, without the internet."""
    ecosystems: tuple[Literal["PyPI", "npm"], ...] = ("PyPI", "npm")
    """Which packages it knows."""
    archive_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024)
    """Largest archive that is fetched."""


class WebhooksSettings(_Section):
    """Webhooks of projects: what they may reach, how long they may take."""

    allow_private: bool = False
    """Whether webhooks may lead to addresses of your own network, and use http."""
    timeout_seconds: float = Field(default=10, gt=0, le=30)
    """Seconds for one message, from the name's look-up to the answer."""


class StorageSettings(_Section):
    """Credentials of the object stores."""

    aws_access_key_id: str | None = None
    """S3 access key."""
    aws_secret_access_key: SecretStr | None = None
    """S3 secret key."""
    aws_session_token: SecretStr | None = None
    """S3 session token, for temporary credentials."""
    aws_region: str | None = None
    """S3 region."""
    aws_endpoint_url: str | None = None
    """S3 endpoint, for other servers than Amazon's."""
    azure_connection_string: SecretStr | None = None
    """Azure Blob Storage connection string."""
    google_credentials: Path | None = None
    """File with the key of a Google Cloud service account."""
    machine_identity: bool = False
    """Without keys, let the machine vouch for us: an instance role or a workload identity."""


class ClientSettings(_Section):
    """What the command line needs to reach a server; `insight login` stores both as well."""

    server: str | None = None
    """Server URL."""
    token: SecretStr | None = None
    """API token."""
    privacy: PrivacyLevel = "findings"
    """What leaves this machine about the code at most; `--privacy` goes before it."""
    privacy_key: SecretStr | None = None
    """Keys the hashes that leave this machine; without it, the lower levels send none."""
    hash_paths: bool = False
    """At the level `metadata`, send hashes in place of the names of folders and files."""
    provider_token: SecretStr | None = None
    """Token of GitHub or GitLab that may write comments on pull requests."""


class ProjectSettings(_Section):
    """The repository that the command line analyses; such a file belongs into it."""

    slug: str | None = None
    """The project's name on the server; by default that of the Git remote or the folder."""


class Settings(_Section):
    """Everything an operator can decide."""

    server: ServerSettings = ServerSettings()
    accounts: AccountsSettings = AccountsSettings()
    oidc: OidcSettings = OidcSettings()
    analyses: AnalysesSettings = AnalysesSettings()
    quotas: QuotasSettings = QuotasSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    jobs: JobsSettings = JobsSettings()
    sources: SourcesSettings = SourcesSettings()
    osv: OsvSettings = OsvSettings()
    sandbox: SandboxSettings = SandboxSettings()
    database: DatabaseSettings = DatabaseSettings()
    headers: HeadersSettings = HeadersSettings()
    images: ImagesSettings = ImagesSettings()
    assets: AssetsSettings = AssetsSettings()
    cache: CacheSettings = CacheSettings()
    ratelimit: RateLimitSettings = RateLimitSettings()
    tls: TlsSettings = TlsSettings()
    edge: EdgeSettings = EdgeSettings()
    storage: StorageSettings = StorageSettings()
    cdn: CdnSettings = CdnSettings()
    backup: BackupSettings = BackupSettings()
    notify: NotifySettings = NotifySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    performance: PerformanceSettings = PerformanceSettings()
    client: ClientSettings = ClientSettings()
    project: ProjectSettings = ProjectSettings()


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Name each section and its model, in the order of the file."""
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)  # noqa: S101 - sections are plain models
        yield name, field.annotation


def load(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read file and environment, once.

    Args:
        file: the file to read, which must exist; by default the one that `INSIGHT_CONFIG`
            names, else `insight.toml` in the working directory if there is one.
        environment: variables by name.
        overrides: values by section and field from the command line; they win.

    Raises:
        SettingsError: a name is unknown or a value unusable; the message names every one.
    """
    values: dict[str, dict[str, Any]] = {}
    for source in (_from_file(file, environment), _from_environment(environment), overrides or {}):
        for section, fields in source.items():
            values.setdefault(section, {}).update(fields)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None  # the original repeats secret values


def foreign_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for other people's programs: without what is for us, and secret."""
    ours = {name for name in environment if name in WELL_KNOWN or name.startswith(PREFIX)}
    return {name: value for name, value in environment.items() if name not in ours}


def _from_file(file: Path | None, environment: Mapping[str, str]) -> Mapping[str, dict[str, Any]]:
    named = file or (Path(environment[FILE_VARIABLE]) if FILE_VARIABLE in environment else None)
    path = named or Path(FILE_NAME)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named is None:
            return {}
        raise SettingsError(f"there is no settings file {named}") from error
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {error}") from error
    loose = [name for name, value in values.items() if not isinstance(value, dict)]
    if loose:
        raise SettingsError(f"{path}: {loose[0]!r} stands outside of a [section]")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    fields = {name: model.model_fields for name, model in sections()}
    values: dict[str, dict[str, Any]] = {}
    for name, (section, field) in WELL_KNOWN.items():
        if environment.get(name):
            values.setdefault(section, {})[field] = environment[name]
    known = [f"{PREFIX}{s}__{f}".upper() for s, names in fields.items() for f in names]
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name == FILE_VARIABLE or value == "":
            continue
        if name not in known:
            raise SettingsError(f"unknown setting {name} in the environment{_hint(name, known)}")
        section, _, field = name.removeprefix(PREFIX).lower().partition("__")
        values.setdefault(section, {})[field] = _parse(fields[section][field].annotation, value)
    return values


def _parse(annotation: Any, text: str) -> Any:
    """Split a list's items at commas; everything else pydantic reads from text itself."""
    wanted = {get_origin(annotation), *map(get_origin, get_args(annotation))}
    return [item.strip() for item in text.split(",")] if tuple in wanted else text


def _explain(error: ValidationError) -> str:
    known = [f"{section}.{field}" for section, model in sections() for field in model.model_fields]
    known += [section for section, _ in sections()]
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        name = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name}{_hint(name, known)}")
        else:
            lines.append(f"{name}: {fault['msg'].lower()}")
    return "; ".join(lines)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {close[0]}?)" if close else ""
