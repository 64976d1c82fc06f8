"""Signatures for images that are not on the list of allowed sources. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from insight_cloud.core.errors import Refused, SettingsError

__all__ = ["Signer"]

_LEAST_BYTES = 16


class Signer:
    """Signs with the first key and believes all of them, so that a key can be replaced.

    What is signed is the source and when it ends (Unix time, 0 for never). Width, quality and
    format need none: they come from short lists.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Take keys of at least 16 bytes.

        Raises:
            SettingsError: there is none, or one is too short.
        """
        if not keys or any(len(key.encode()) < _LEAST_BYTES for key in keys):
            raise SettingsError(f"a key for images needs at least {_LEAST_BYTES} bytes")
        self._keys = tuple(key.encode() for key in keys)

    def sign(self, url: str, expires: int = 0) -> str:
        """Return the signature: 43 characters that need no escaping."""
        return _mac(self._keys[0], url, expires)

    def check(self, url: str, signature: str, expires: int, now: float) -> None:
        """Return if the signature is one of ours and still counts.

        Raises:
            Refused: it does not.
        """
        given = signature.encode("utf-8", "replace")
        # Every key is tried, in the same time, whichever it is.
        known = [hmac.compare_digest(_mac(key, url, expires).encode(), given) for key in self._keys]
        if not any(known):
            raise Refused("the signature of the image is not right")
        if expires and now > expires:
            raise Refused("the address of the image has expired")


def _mac(key: bytes, url: str, expires: int) -> str:
    message = f"insight-image\n{expires}\n{url}".encode()
    digest = hmac.new(key, message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
