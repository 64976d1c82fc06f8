"""The limits that all processes share: exact logs in Redis or a Redis Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from redis.asyncio.connection import SSLConnection, parse_url
from redis.crc import key_slot

from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.ratelimit import resp
from insight_cloud.ratelimit.policy import Pair, Row
from insight_cloud.ratelimit.scripts import REFUND, WINDOW, Script, keys, numbers, rows

__all__ = ["Answer", "Redis"]

log = logging.getLogger("insight.ratelimit")

_SLOTS = 16384
_AWAY = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")
"""Answers of a server that is not, or not yet, the one to ask."""


_PREPARE = tuple(resp.pack(("SCRIPT", "LOAD", script.text)) for script in (WINDOW, REFUND))


class Answer(NamedTuple):
    """What Redis decided."""

    admitted: bool
    pairs: Sequence[Pair]
    """All that were asked about; of a denial, those that are known."""
    rows: Sequence[Row]
    stamps: Sequence[float]
    """When each was noted, in microseconds of its server's clock; a refund names it."""


@dataclass(slots=True, eq=False)
class _Node:
    """A server, and the connection to it while there is one."""

    server: resp.Server
    connection: resp.Connection | None = None


class Redis:
    """One Redis server or a Redis Cluster, which it discovers by itself.

    A call takes one round trip for any number of policies of one key; on a cluster, keys
    that live on different nodes are asked one after the other, and what was noted is given
    back when a later one denies. Every call either answers within `timeout_seconds`, or raises
    `Unavailable`; while a server is known to be away, at once. It is tried again every
    `retry_seconds` in the background.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "insight:ratelimit:",
        timeout_seconds: float = 0.2,
        retry_seconds: float = 0.25,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Take a URL as redis-py reads it: `redis://`, `rediss://` (TLS) or `unix://`."""
        self._seed = _Node(_server(url, ssl_context))
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._retry = retry_seconds
        self._nodes: dict[str, _Node] = {str(self._seed.server): self._seed}
        self._slots: list[_Node] | None = None
        self._healer: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Connect. A server that is away is no error: it is tried again in the background."""
        with contextlib.suppress(Unavailable, ValueError):
            await self._connect(self._seed)
            await self._learn()
        if not self._whole():
            self._begin_healing("is away")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        if self._healer is not None:
            self._healer.cancel()
            await asyncio.gather(self._healer, return_exceptions=True)
        for node in self._nodes.values():
            if node.connection is not None:
                node.connection.abort("closed")

    @property
    def up(self) -> bool:
        """Whether every server that is needed is connected."""
        return self._healer is None and self._whole()

    async def hit(self, pairs: Sequence[Pair], cost: int) -> Answer:
        """Admit and note when every policy admits, else deny; with cost 0, only look.

        Raises:
            Unavailable: nobody knows. It may have been noted.
        """
        if self._slots is None:
            return await self._hit(self._seed, pairs, cost)
        groups = self._by_node(pairs)
        if len(groups) == 1:
            return await self._hit(groups[0][0], pairs, cost)
        return await self._hit_in_turn(groups, cost)

    async def refund(self, pairs: Sequence[Pair], stamps: Sequence[float], cost: int) -> None:
        """Give back what the hit with these `stamps` took.

        Raises:
            Unavailable: it may not have been given back.
        """
        stamp_of = dict(zip(pairs, stamps, strict=True))
        for node, group in self._by_node(pairs):
            names = self._keys(group)
            await self._run(node, REFUND, (len(names), *names, stamp_of[group[0]], cost))

    async def reset(self, pairs: Sequence[Pair]) -> None:
        """Forget the pairs.

        Raises:
            Unavailable: they may not be forgotten.
        """
        for node, group in self._by_node(pairs):
            await self._ask(node, resp.pack(("DEL", *self._keys(group))))

    # -- deciding ------------------------------------------------------------------------------

    async def _hit(self, node: _Node, pairs: Sequence[Pair], cost: int) -> Answer:
        names = self._keys(pairs)
        reply = await self._run(node, WINDOW, (len(names), *names, cost, *numbers(pairs)))
        return Answer(reply[1] == 1, pairs, rows(reply), (reply[0],) * len(pairs))

    async def _hit_in_turn(self, groups: list[tuple[_Node, list[Pair]]], cost: int) -> Answer:
        """Ask node after node; it never admits too much, for an instant maybe too little."""
        answers: list[Answer] = []
        try:
            for node, group in groups:
                answers.append(await self._hit(node, group, cost))
                if not answers[-1].admitted:
                    break
        except BaseException:
            await self._give_back(answers, cost)
            raise
        admitted = answers[-1].admitted
        if not admitted:
            await self._give_back(answers[:-1], cost)
            answers = [_without(answer, cost) for answer in answers[:-1]] + answers[-1:]
        return Answer(
            admitted,
            [pair for answer in answers for pair in answer.pairs],
            [row for answer in answers for row in answer.rows],
            [stamp for answer in answers for stamp in answer.stamps],
        )

    async def _give_back(self, answers: Sequence[Answer], cost: int) -> None:
        for answer in answers:
            with contextlib.suppress(Unavailable):  # it stays noted: too few, never too many
                await self.refund(answer.pairs, answer.stamps, cost)

    def _keys(self, pairs: Sequence[Pair]) -> list[bytes]:
        return [name.encode() for name in keys(self._prefix, pairs)]

    def _by_node(self, pairs: Sequence[Pair]) -> list[tuple[_Node, list[Pair]]]:
        """Group by what one script may touch: on a cluster, the keys of one slot."""
        if self._slots is None:
            return [(self._seed, list(pairs))]
        groups: dict[int, list[Pair]] = {}
        for pair, key in zip(pairs, self._keys(pairs), strict=True):
            groups.setdefault(key_slot(key, _SLOTS), []).append(pair)
        return [(self._slots[slot], group) for slot, group in groups.items()]

    async def _run(self, node: _Node, script: Script, rest: Sequence[bytes | float]) -> resp.Reply:
        try:
            return await self._ask(node, resp.pack((b"EVALSHA", script.sha, *rest)))
        except _ScriptUnknown:
            # The server was emptied or replaced since we connected; this teaches it again.
            return await self._ask(node, resp.pack((b"EVAL", script.text, *rest)))

    async def _ask(self, node: _Node, command: bytes) -> resp.Reply:
        connection = node.connection
        if connection is None:
            raise Unavailable(f"Redis at {node.server} is away")
        reply = await connection.send(command)
        if isinstance(reply, resp.ReplyError):
            return await self._after_error(connection, command, str(reply))
        return reply

    async def _after_error(
        self, connection: resp.Connection, command: bytes, error: str
    ) -> resp.Reply:
        word, _, rest = error.partition(" ")
        if word == "NOSCRIPT":
            raise _ScriptUnknown(error)
        if word in {"MOVED", "ASK"} and self._slots is not None:
            return await self._redirected(word, rest.split(" ")[-1], command)
        if word in _AWAY:
            connection.abort(error)
        raise Unavailable(f"Redis refuses: {error}")

    async def _redirected(self, word: str, address: str, command: bytes) -> resp.Reply:
        """Follow once: the slot has moved for good (MOVED) or is about to (ASK)."""
        node = self._node(address)
        if node.connection is None:
            await self._connect(node)
        connection = node.connection
        if connection is None:
            raise Unavailable(f"Redis at {node.server} is away")
        if word == "ASK":
            connection.send(resp.pack(("ASKING",)))
        else:
            self._begin_healing("has moved slots")
        reply = await connection.send(command)
        if isinstance(reply, resp.ReplyError):
            if str(reply).startswith("NOSCRIPT"):
                raise _ScriptUnknown(str(reply))
            raise Unavailable(f"Redis refuses: {reply}")
        return reply

    # -- connections ---------------------------------------------------------------------------

    async def _connect(self, node: _Node) -> None:
        connection = await resp.connect(
            node.server,
            timeout_seconds=self._timeout,
            prepare=_PREPARE,
            on_lost=self._on_lost,
        )
        if node.connection is not None or self._closed:  # somebody else was faster
            connection.abort("not needed")
            return
        node.connection = connection

    def _on_lost(self, connection: resp.Connection) -> None:
        for node in self._nodes.values():
            if node.connection is connection:
                node.connection = None
                if not self._closed:
                    self._begin_healing(f"lost {node.server}")

    def _whole(self) -> bool:
        needed = {self._seed} if self._slots is None else set(self._slots)
        return all(node.connection is not None for node in needed)

    def _begin_healing(self, reason: str) -> None:
        if self._healer is None and not self._closed:
            log.warning("ratelimit.redis: %s %s", self._seed.server, reason)
            self._healer = asyncio.get_running_loop().create_task(self._heal())

    async def _heal(self) -> None:
        """Reconnect and learn where the slots are until every server needed is there."""
        while True:
            missing = [node for node in self._nodes.values() if node.connection is None]
            await asyncio.gather(*map(self._connect, missing), return_exceptions=True)
            with contextlib.suppress(Unavailable, ValueError):  # or a map without sense
                await self._learn()
                if self._whole():
                    break
            await asyncio.sleep(self._retry)
        self._healer = None
        log.warning("ratelimit.redis: %s is back", self._seed.server)

    async def _learn(self) -> None:
        """Ask any node where the slots are; a server that is no cluster has none."""
        for node in list(self._nodes.values()):
            if node.connection is None:
                continue
            reply = await node.connection.send(resp.pack(("CLUSTER", "SLOTS")))
            if isinstance(reply, resp.ReplyError):
                if "cluster support disabled" in str(reply) or str(reply).startswith(
                    ("NOPERM", "ERR unknown")
                ):
                    self._slots = None
                    return
                continue
            if reply:
                await self._take_map(reply, node)
                return
        raise Unavailable("no node of the Redis Cluster answers")

    async def _take_map(self, reply: resp.Reply, teller: _Node) -> None:
        slots: list[_Node | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_replicas in reply:
            node = self._node(f"{(host or b'').decode() or teller.server.host}:{port}")
            slots[first : last + 1] = [node] * (last + 1 - first)
        known = [node for node in slots if node is not None]
        if len(known) < _SLOTS:
            raise Unavailable("the Redis Cluster does not cover every slot")
        self._slots = known
        missing = [node for node in set(known) if node.connection is None]
        await asyncio.gather(*map(self._connect, missing), return_exceptions=True)

    def _node(self, address: str) -> _Node:
        host, _, port = address.rpartition(":")
        server = replace(
            self._seed.server, host=host or self._seed.server.host, port=int(port), path=None
        )
        return self._nodes.setdefault(str(server), _Node(server))


class _ScriptUnknown(Exception):  # noqa: N818 - never leaves this file
    """The server does not have the script."""


def _without(answer: Answer, cost: int) -> Answer:
    """Return `answer` as it is after it was given back."""
    return answer._replace(rows=[(left + cost, 0.0, next_) for left, _, next_ in answer.rows])


def _server(url: str, context: ssl.SSLContext | None) -> resp.Server:
    try:
        parts: dict[str, Any] = dict(parse_url(url))
    except ValueError as error:
        raise SettingsError(f"the Redis URL cannot be used: {error}") from error
    secure = parts.get("connection_class") is SSLConnection
    return resp.Server(
        host=parts.get("host") or "127.0.0.1",
        port=parts.get("port") or 6379,
        path=parts.get("path"),
        username=parts.get("username"),
        password=parts.get("password"),
        database=int(parts.get("db") or 0),
        ssl=(context or ssl.create_default_context()) if secure else None,
    )
