"""Argon2id: the only file that knows how a password is hashed, and how many at a time.

A hash takes about 30 ms of one core and 19 MiB on purpose. Two threads compute them, so a
flood of sign-ins can slow down only other sign-ins; more than `_WAITING` are turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from insight_cloud.app.accounts import rules
from insight_cloud.core.errors import Unavailable

__all__ = ["hashed", "is_outdated", "matches"]

_T = TypeVar("_T")

# OWASP's Password Storage Cheat Sheet (Argon2id, 19 MiB, 2 passes, 1 lane), salt and tag as
# in RFC 9106. Raising a number here is enough: hashes are renewed when people sign in.
_HASHER = argon2.PasswordHasher(
    time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16
)
# Compared with when nobody has the address, so that a wrong address costs what a wrong
# password does. Of a random text that nobody knows, by the same parameters.
_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$SyJDzAS0DqSOApF7l9w70w"
    "$6RAzKQ8LZOeEBXXEr6TZEs9jSsjLlnG25LzsfHD6XY0"
)

_THREADS, _WAITING = 2, 64
_workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
_in_work = 0


async def hashed(password: str) -> str:
    """Hash `password` with a new salt.

    Raises:
        Unavailable: too many passwords are being hashed already.
    """
    return await _work(lambda: _HASHER.hash(_bytes(password)))


async def matches(password: str, stored: str | None) -> bool:
    """Whether `password` is the one that `stored` was made of; None takes as long and is False.

    Raises:
        Unavailable: too many passwords are being hashed already.
    """
    return await _work(lambda: _verified(_bytes(password), stored))


def is_outdated(stored: str) -> bool:
    """Whether `stored` was made by other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def _verified(password: bytes, stored: str | None) -> bool:
    try:
        _HASHER.verify(stored or _NOBODY, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return stored is not None


def _bytes(password: str) -> bytes:
    # No input may raise here: what is no Unicode simply matches nobody's password.
    return rules.normalised(password).encode("utf-8", "surrogatepass")


async def _work(function: Callable[[], _T]) -> _T:
    global _in_work  # noqa: PLW0603 - one count for one pool of threads
    if _in_work >= _THREADS + _WAITING:
        raise Unavailable("too many people are signing in at this moment", retry_after=5.0)
    _in_work += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_workers, function)
    finally:
        _in_work -= 1
