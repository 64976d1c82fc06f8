from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.backup.crypto import (
    CHUNK_BYTES,
    DataKey,
    Identity,
    Lock,
    Opener,
    Sealer,
    new_identity,
)
from insight_cloud.core.errors import Corrupt, Refused, SettingsError

KEY = bytes(range(32))


def sealed(data: bytes, key: bytes = KEY, step: int = 700_000) -> bytes:
    sealer = Sealer(key)
    pieces = [sealer.update(data[at : at + step]) for at in range(0, len(data), step)]
    return b"".join(pieces) + sealer.finish()


def opened(data: bytes, key: bytes = KEY, step: int = 900_000) -> bytes:
    opener = Opener(key)
    pieces = [opener.update(data[at : at + step]) for at in range(0, len(data), step)]
    return b"".join(pieces) + opener.finish()


@given(
    st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]),
    st.integers(1, 3_000_000),
    st.integers(1, 3_000_000),
)
def test_what_is_sealed_is_opened_whatever_the_pieces(size: int, one: int, two: int) -> None:
    data = random.Random(size).randbytes(size)
    one, two = max(one, 50_000), max(two, 50_000)
    assert opened(sealed(data, step=one), step=two) == data


DATA = random.Random(1).randbytes(2 * CHUNK_BYTES + 99)
SEALED = sealed(DATA)
FULL = CHUNK_BYTES + 16


@pytest.mark.parametrize(
    "changed",
    [
        SEALED[:-1],
        SEALED[:FULL],
        SEALED[: 2 * FULL],
        SEALED[:0],
        SEALED + b"x",
        SEALED[FULL:],
        SEALED[FULL : 2 * FULL] + SEALED[:FULL] + SEALED[2 * FULL :],
        SEALED[:FULL] + SEALED[:FULL] + SEALED[2 * FULL :],
        SEALED[:FULL] + SEALED[2 * FULL :],
        SEALED[:1000] + bytes([SEALED[1000] ^ 1]) + SEALED[1001:],
    ],
    ids=["cut", "one", "two", "empty", "longer", "headless", "swapped", "twice", "gap", "flip"],
)
def test_whatever_is_changed_is_noticed(changed: bytes) -> None:
    with pytest.raises(Corrupt, match="encryption does not hold"):
        opened(changed)


def test_each_part_of_each_backup_has_its_own_key() -> None:
    key = DataKey.new()
    keys = {key.for_part(b, p) for b in ("a", "b") for p in ("x", "y")}
    keys |= {key.for_manifest(b) for b in ("a", "b")}
    assert len(keys) == 6
    with pytest.raises(Corrupt):
        opened(sealed(b"text", key.for_part("a", "x")), key.for_part("a", "y"))
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(key)


def test_every_recipient_can_open_and_nobody_else() -> None:
    (one, one_public), (two, two_public), (other, _) = (new_identity() for _ in range(3))
    key = DataKey.new()
    envelope = Lock((one_public, two_public)).close(key)
    assert Identity(one).open(envelope) == key
    assert Identity(f"# a comment\n\n{two}\n").open(envelope) == key
    with pytest.raises(Refused, match="does not open"):
        Identity(other).open(envelope)
    with pytest.raises(Refused, match="name an identity"):
        Identity().open(envelope)


@pytest.mark.timeout(300)
def test_a_passphrase_opens_and_no_other() -> None:
    key = DataKey.new()
    envelope = Lock(passphrase="correct horse battery").close(key)
    assert Identity(passphrase="correct horse battery").open(envelope) == key
    with pytest.raises(Refused, match="passphrase does not open"):
        Identity(passphrase="correct horse batterx").open(envelope)
    with pytest.raises(Refused, match="give it"):
        Identity().open(envelope)


def test_the_age_program_opens_the_envelope(tmp_path: Path) -> None:
    program = shutil.which("age")
    if program is None:
        pytest.skip("the program age is not installed")
    secret, public = new_identity()
    key = DataKey.new()
    (tmp_path / "id").write_text(secret)
    envelope = Lock((public,)).close(key).envelope
    command = [program, "-d", "-i", str(tmp_path / "id")]
    done = subprocess.run(command, input=envelope.encode(), capture_output=True, check=True)
    assert done.stdout == key.secret


@pytest.mark.parametrize(
    ("recipients", "passphrase", "words"),
    [
        (("age1nonsense",), None, "no age recipient"),
        (("AGE-SECRET-KEY-1QQQ",), None, "no age recipient"),
        ((), None, "either"),
        ((new_identity()[1],), "both are too much", "either"),
        ((), "short", "shorter than 12"),
    ],
)
def test_a_lock_that_cannot_be_made(
    recipients: tuple[str, ...], passphrase: str | None, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        Lock(recipients, passphrase=passphrase)


def test_a_wrong_identity_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        Identity("AGE-SECRET-KEY-1WRONGWRONG")
    assert "WRONG" not in str(caught.value)
