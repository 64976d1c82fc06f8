"""Encryption of backups: age closes the data key, AES-256-GCM the bulk in numbered chunks.

An age recipient is a public key, so a server can write backups that it cannot read. The bulk
is a sequence of 1 MiB chunks. The nonce of a chunk is its number and whether it is the last,
so that chunks left out, exchanged, repeated or cut off are noticed; each part has a key of its
own, so that parts cannot be exchanged either.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pyrage  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from insight_cloud.backup.manifest import Encryption
from insight_cloud.core.errors import Corrupt, Refused, SettingsError

__all__ = ["CHUNK_BYTES", "DataKey", "Identity", "Lock", "Opener", "Sealer", "new_identity"]

CHUNK_BYTES = 1024 * 1024
_TAG_BYTES = 16
_LARGEST_COUNT = 2**88
By: TypeAlias = Literal["recipients", "passphrase"]


@dataclass(frozen=True, slots=True)
class DataKey:
    """The random key of one backup, from which its other keys are derived."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> DataKey:
        """Make one."""
        return cls(secrets.token_bytes(32))

    def for_part(self, backup_id: str, part: str) -> bytes:
        """The key of one part of one backup."""
        return self._derive(f"part {backup_id} {part}")

    def for_manifest(self, backup_id: str) -> bytes:
        """The key of the manifest's HMAC."""
        return self._derive(f"manifest {backup_id}")

    def _derive(self, purpose: str) -> bytes:
        info = f"insight-backup/1 {purpose}".encode()
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self.secret)


class Lock:
    """Who will be able to read the backups: holders of the recipients' keys, or of a passphrase.

    Raises:
        SettingsError: a recipient is no age public key, or both or neither were given.
    """

    def __init__(self, recipients: tuple[str, ...] = (), *, passphrase: str | None = None) -> None:
        if bool(recipients) == (passphrase is not None):
            raise SettingsError("give either age recipients or a passphrase to encrypt backups")
        if passphrase is not None and len(passphrase) < 12:
            raise SettingsError("the passphrase of the backups is shorter than 12 characters")
        self._passphrase = passphrase
        self._recipients = [_recipient(text) for text in recipients]

    def close(self, key: DataKey) -> Encryption:
        """Put the data key into an envelope that travels with the backup."""
        if self._passphrase is not None:
            sealed = pyrage.passphrase.encrypt(key.secret, self._passphrase, armored=True)
            return Encryption(envelope=sealed.decode(), by="passphrase")
        sealed = pyrage.encrypt(key.secret, self._recipients, armored=True)
        return Encryption(envelope=sealed.decode(), by="recipients")


class Identity:
    """What opens backups: age identities (`AGE-SECRET-KEY-1…`), or the passphrase.

    Raises:
        SettingsError: a line of `keys` is no identity.
    """

    def __init__(self, keys: str = "", *, passphrase: str | None = None) -> None:
        lines = (line.strip() for line in keys.splitlines())
        self._identities = [_identity(line) for line in lines if line and line[0] != "#"]
        self._passphrase = passphrase

    def open(self, encryption: Encryption) -> DataKey:
        """Take the data key out of its envelope.

        Raises:
            Refused: the key is the wrong one, or the kind that was not given.
            Corrupt: what is in the envelope is no data key.
        """
        envelope = encryption.envelope.encode()
        try:
            secret = self._decrypt(envelope, encryption.by)
        except pyrage.DecryptError as error:
            raise Refused(f"the {_NAMES[encryption.by]} does not open this backup") from error
        if len(secret) != 32:
            raise Corrupt("the envelope of the backup's key holds something else")
        return DataKey(secret)

    def _decrypt(self, envelope: bytes, by: By) -> bytes:
        if by == "passphrase":
            if self._passphrase is None:
                raise Refused("the backup is encrypted by a passphrase: give it")
            return bytes(pyrage.passphrase.decrypt(envelope, self._passphrase))
        if not self._identities:
            raise Refused("the backup is encrypted for age recipients: name an identity file")
        return bytes(pyrage.decrypt(envelope, self._identities))


_NAMES = {"recipients": "age identity", "passphrase": "passphrase"}


def new_identity() -> tuple[str, str]:
    """Make a key pair: the identity, to be kept away from the server, and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


class Sealer:
    """Encrypts one part. Feed `update` any pieces; `finish` marks the last chunk."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._pending = bytearray()
        self._count = 0

    def update(self, data: bytes | memoryview) -> bytes:
        """Take plaintext, return the ciphertext that is complete."""
        self._pending += data
        out = bytearray()
        # One byte more than a chunk must be there: the last chunk is sealed as such.
        while len(self._pending) > CHUNK_BYTES:
            out += self._seal(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]
        return bytes(out)

    def finish(self) -> bytes:
        """Return the last chunk, which may be empty."""
        return self._seal(bytes(self._pending), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._count, last=last), chunk, None)
        self._count += 1
        return sealed


class Opener:
    """Decrypts one part. What it returns is authentic; that it is whole, only `finish` says."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._pending = bytearray()
        self._count = 0

    def update(self, data: bytes | memoryview) -> bytes:
        """Take ciphertext, return the plaintext that is proved.

        Raises:
            Corrupt: it was changed, or the key is another backup's.
        """
        self._pending += data
        out = bytearray()
        sealed_bytes = CHUNK_BYTES + _TAG_BYTES
        while len(self._pending) > sealed_bytes:
            out += self._open(bytes(self._pending[:sealed_bytes]), last=False)
            del self._pending[:sealed_bytes]
        return bytes(out)

    def finish(self) -> bytes:
        """Return the rest.

        Raises:
            Corrupt: the end is missing, or was changed.
        """
        return self._open(bytes(self._pending), last=True)

    def _open(self, chunk: bytes, *, last: bool) -> bytes:
        try:
            plain = self._cipher.decrypt(_nonce(self._count, last=last), chunk, None)
        except (InvalidTag, ValueError) as error:
            place = self._count * CHUNK_BYTES
            raise Corrupt(f"its encryption does not hold after byte {place}") from error
        self._count += 1
        return plain


def _nonce(count: int, *, last: bool) -> bytes:
    assert count < _LARGEST_COUNT  # noqa: S101 - 2^88 MiB
    return count.to_bytes(11, "big") + (b"\1" if last else b"\0")


def _recipient(text: str) -> Any:
    for kind in (pyrage.x25519.Recipient, pyrage.ssh.Recipient):
        with contextlib.suppress(pyrage.RecipientError):
            return kind.from_str(text.strip())
    raise SettingsError(f"{text[:80]!r} is no age recipient (age1…) and no SSH public key")


def _identity(text: str) -> Any:
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        # The text is a secret, or was meant to be one: it is not repeated.
        raise SettingsError("a line of the identity file is no age identity") from None
