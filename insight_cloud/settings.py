"""Every setting, one section a component; the only reader of environment and file.

Defaults < `insight.toml` < well-known names < `INSIGHT_<SECTION>__<FIELD>` < command line.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

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
from insight_cloud.telemetry.settings import TelemetrySettings
from insight_cloud.tls.settings import TlsSettings

__all__ = [
    "WELL_KNOWN",
    "AccountsSettings",
    "AnalysesSettings",
    "CacheSettings",
    "ClientSettings",
    "EdgeSettings",
    "NotifySettings",
    "ProjectSettings",
    "ServerSettings",
    "Settings",
    "StorageSettings",
    "TelemetrySettings",
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
    analyses: AnalysesSettings = AnalysesSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
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
