"""What must be atomic in Redis, and what its refusals mean; the same for every way to it."""

from __future__ import annotations

from insight_cloud.core.errors import Conflict, Refused, Unavailable

__all__ = ["INCREMENT", "REMOVE", "RENEW", "SETTLE", "TOUCH", "refusal"]

RENEW = """
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
"""
"""KEYS name; ARGV the value it must hold, milliseconds to live."""

REMOVE = """
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
"""
"""KEYS name; ARGV the value it must hold."""

SETTLE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('DEL', KEYS[2])
"""
"""KEYS name, lock; ARGV token that the lock must hold, value, milliseconds to live."""

INCREMENT = """
redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
"""
"""KEYS name; ARGV what to add, milliseconds to live if it is new."""

TOUCH = """
if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 0 then return 0 end
if redis.call('GETRANGE', KEYS[1], 0, 0) == string.sub(ARGV[1], 1, 1) then
  redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
end
return 1
"""
"""KEYS name; ARGV new head, milliseconds to live."""

_NO_COUNTER = ("not an integer", "would overflow", "WRONGTYPE")
_NOT_READY = ("LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOAUTH")


def refusal(where: str, message: str) -> Refused | Conflict | Unavailable:
    """The error that Redis's own error message means; `where` names the server."""
    if any(part in message for part in _NO_COUNTER):
        return Conflict(f"the entry holds no counter that could be added to: {message}")
    if message.startswith(_NOT_READY):
        return Unavailable(f"{where} is not ready: {message}")
    return Refused(f"{where} refused: {message}")
