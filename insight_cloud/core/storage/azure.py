"""Azure's connection string, taken apart."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from insight_cloud.core.errors import SettingsError

__all__ = ["Account", "parse"]

_DEVELOPMENT = (  # published by Microsoft for its emulator: no secret
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account: its blob endpoint, and either a key or a shared access signature."""

    name: str
    endpoint: str
    key: str = field(default="", repr=False)
    signature: str = field(default="", repr=False)


def parse(text: str) -> Account:
    """Read a connection string as the portal shows it.

    Raises:
        SettingsError: something is missing or unreadable; no value is repeated.
    """
    fields = _fields(text)
    if fields.get("usedevelopmentstorage", "").lower() == "true":
        name, key = _DEVELOPMENT
        return Account(name, f"http://127.0.0.1:10000/{name}", key)
    endpoint = fields.get("blobendpoint", "").rstrip("/")
    name = fields.get("accountname", "") or _name_in(endpoint)
    key, signature = fields.get("accountkey", ""), fields.get("sharedaccesssignature", "")
    if not name:
        raise SettingsError("the Azure connection string has no AccountName")
    if not _is_base64(key):
        raise SettingsError("the AccountKey of the Azure connection string is not base64")
    if not endpoint:
        protocol = fields.get("defaultendpointsprotocol", "https")
        suffix = fields.get("endpointsuffix", "core.windows.net")
        endpoint = f"{protocol}://{name}.blob.{suffix}"
    return Account(name, endpoint, key, signature.removeprefix("?"))


def _fields(text: str) -> dict[str, str]:
    fields = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        name, separator, value = item.partition("=")
        if not separator:
            raise SettingsError("the Azure connection string is not Name=value;Name=value")
        fields[name.strip().lower()] = value.strip()
    return fields


def _name_in(endpoint: str) -> str:
    """The account in `https://ACCOUNT.blob.…`."""
    host = endpoint.partition("://")[2]
    name, separator, _ = host.partition(".blob.")
    return name if separator else ""


def _is_base64(key: str) -> bool:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    return True
