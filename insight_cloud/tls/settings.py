"""What an operator may say about certificates."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

__all__ = ["TlsSettings"]

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NAMES = 100  # what Let's Encrypt puts into one certificate


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(name) for name in names))


def _name(text: str) -> str:
    """Bring a name into the form in which a certificate holds it."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        name = text.strip().rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError(f"{text!r} is no host name") from error
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is no host name and no address")
    return name


def _commands(value: Any) -> Any:
    """Accept `nginx -s reload` for `["nginx", "-s", "reload"]`: split, but never run by a shell."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(tuple(shlex.split(v)) if isinstance(v, str) else v for v in value)


Names = Annotated[tuple[str, ...], Field(max_length=_NAMES), AfterValidator(_names)]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class TlsSettings(BaseModel):
    """The certificate of this service: who issues it, for which names, and where it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: Literal["letsencrypt", "certbot", "cloudflare", "custom"] = "letsencrypt"
    """Who issues: an ACME authority, the same by `certbot`, Cloudflare's Origin CA, or yourself."""
    names: Names = ()
    """Host names (`*.` is allowed with dns-01) and addresses that the certificate is for."""
    directory: Path | None = None
    """Folder of certificate, history and account key, mode 0700; by default that of the service."""
    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    """Contact that the authority stores with the account."""
    agree_terms: bool = False
    """Whether you have agreed to the authority's terms; `insight tls issue` says where they are."""
    acme_url: str = "https://acme-v02.api.letsencrypt.org/directory"
    """ACME directory of the authority."""
    acme_ca_file: Path | None = None
    """Certificates that the ACME server itself is verified by, when no public one signed it."""
    roots_file: Path | None = None
    """Roots that the issued certificate must lead to; by default those of `certifi`."""
    profile: str | None = Field(default=None, pattern=r"^[\w.-]{1,64}$")
    """Kind of certificate the authority offers, such as `tlsserver` or `shortlived` (6 days)."""
    challenge: Literal["http-01", "dns-01"] = "http-01"
    """How to prove that the names are ours: over port 80, or by a record in Cloudflare's DNS."""
    dns_seconds: float = Field(default=10, ge=0, le=600)
    """Seconds between writing a record and asking the authority to look for it."""
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = "ec256"
    """Kind of the private key; each certificate gets a new one."""
    http_host: str = "0.0.0.0"  # noqa: S104 - the authority connects from outside
    """Address of the plain HTTP port."""
    http_port: int = Field(default=80, ge=0, le=65535)
    """Port that answers http-01 and redirects everything else to HTTPS; 0 leaves it closed."""
    cloudflare_token: SecretStr | None = None
    """API token for DNS records or the Origin CA; by default that of the edge."""
    cloudflare_url: str | None = None
    """Cloudflare's API; by default that of the edge, so that a rehearsal is one for both."""
    origin_days: Literal[7, 30, 90, 365, 730, 1095, 5475] = 365
    """Days for which the Origin CA issues."""
    hooks: Annotated[tuple[Command, ...], Field(max_length=20), BeforeValidator(_commands)] = ()
    """Commands after a new certificate was installed, such as `nginx -s reload`; no shell."""
    hook_seconds: float = Field(default=60, gt=0, le=3600)
    """Seconds after which such a command is ended."""
    renew_minutes: int = Field(default=240, ge=5, le=1440)
    """Minutes, on average, between two looks of `insight serve` at whether renewal is due."""
    keep: int = Field(default=5, ge=2, le=100)
    """Certificates that are kept in the history, with that in use."""
