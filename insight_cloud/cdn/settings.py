"""What an operator may say about the CDN."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from insight_cloud.cdn.files import Encoding, Rules
from insight_cloud.core import storage
from insight_cloud.core.errors import SettingsError

__all__ = ["CdnSettings"]

_WORKER = "workers://"


def _target(text: str) -> str:
    if text.startswith(_WORKER):
        return text
    try:
        storage.parse(text)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return text


def _overrides(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        pattern, separator, value = text.partition("=")
        if not (separator and pattern.strip() and value.strip()) or not value.isprintable():
            raise ValueError(f"{text!r} is not PATTERN=VALUE")
    return texts


def _folder(text: str) -> str:
    address, _, folder = text.partition("=")
    if not (address.startswith("/") and address.endswith("/") and address.strip("/") and folder):
        raise ValueError(f"{text!r} is not ADDRESS=FOLDER; an address is like /static/")
    return text


def _url(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError("it begins with https://")
    return text


class CdnSettings(BaseModel):
    """Where a built site is deployed to, and whose caches hold copies of it.

    The keys of the store stand in `storage`, those of Cloudflare in `edge`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: Path | None = None
    """The built site; a command may name another."""
    images: Annotated[str, AfterValidator(_folder)] | None = None
    """Images that a deployment makes ready first, as `ADDRESS=FOLDER`: with `/img/=photos` those of
    the folder `photos` appear below `/img/`, in every width and format."""
    assets: Annotated[str, AfterValidator(_folder)] | None = None
    """Stylesheets, scripts and other files that it then hashes and compresses, the same way."""
    build: tuple[str, ...] = ()
    """The program that then builds the pages, and its arguments; our secrets are kept from it."""
    build_seconds: float = Field(default=1800, gt=0)
    """Seconds after which that program is ended."""
    compress: bool = False
    """Put compressed forms beside the pages and other texts, for servers that send them."""
    prepared: Path = Path(".insight/site")
    """Where all of this is kept from one deployment to the next."""
    target: Annotated[str, AfterValidator(_target)] | None = None
    """Where it goes: the URL of a store, or `workers://NAME` for Cloudflare Workers."""
    base_url: Annotated[str, AfterValidator(_url)] = ""
    """Where people reach the target, so that copies can be purged by their addresses."""
    access_key_id: str | None = None
    """S3 access key for this target only, when it is another account's (R2)."""
    secret_access_key: SecretStr | None = None
    """Its secret."""
    keep_days: int = Field(default=30, ge=1, le=3650)
    """Days for which hashed files stay after the last deployment that used them."""
    cache_control: str = "public, max-age=0, must-revalidate"
    """`Cache-Control` of everything whose name holds no hash."""
    overrides: Annotated[tuple[str, ...], AfterValidator(_overrides)] = ()
    """Other values of it, each as `PATTERN=VALUE`: `images/*=public, max-age=604800`."""
    immutable: tuple[str, ...] = ()
    """Patterns of names that hold a hash of another tool, such as `_next/static/*`."""
    encoding: Encoding = "negotiated"
    """`negotiated` sends files as they are with compressed forms beside them; `br` or `gzip` sends
    that form under the plain name, for stores whose readers cannot choose."""
    purge: Literal["soft", "hard", "off"] = "soft"
    """What happens to Cloudflare's copies: asked about again, thrown away, or left alone."""
    cloudfront_distribution: str | None = None
    """CloudFront distribution whose copies are invalidated."""
    at_once: int = Field(default=8, ge=1, le=64)
    """Files that are sent at the same time."""

    @property
    def worker(self) -> str | None:
        """The Worker's name, when the target is one."""
        if self.target is None or not self.target.startswith(_WORKER):
            return None
        return self.target.removeprefix(_WORKER)

    @property
    def keep(self) -> timedelta:
        """How long hashed files stay."""
        return timedelta(days=self.keep_days)

    def rules(self) -> Rules:
        """Return how files are sent."""
        pairs = (text.partition("=") for text in self.overrides)
        return Rules(
            self.immutable,
            self.cache_control,
            tuple((pattern.strip(), value.strip()) for pattern, _, value in pairs),
            self.encoding,
        )
