"""Cycles in a directed graph: the pure part of the detector `imports`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TypeVar

__all__ = ["components", "shortest"]

_N = TypeVar("_N", bound=str)


def components(graph: Mapping[_N, AbstractSet[_N]]) -> list[tuple[_N, ...]]:
    """The strongly connected components of two nodes or more, each sorted, in order.

    Tarjan's algorithm with a stack of its own, as chains of imports are longer than Python's.
    """
    index: dict[_N, int] = {}
    low: dict[_N, int] = {}
    path: list[_N] = []
    on_path: set[_N] = set()
    found: list[tuple[_N, ...]] = []
    for start in sorted(graph):
        if start in index:
            continue
        index[start] = low[start] = len(index)
        path.append(start)
        on_path.add(start)
        visits = [(start, iter(sorted(graph[start])))]
        while visits:
            node, following = visits[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    path.append(other)
                    on_path.add(other)
                    visits.append((other, iter(sorted(graph.get(other, ())))))
                    break
                if other in on_path:
                    low[node] = min(low[node], index[other])
            else:
                visits.pop()
                if visits:
                    low[visits[-1][0]] = min(low[visits[-1][0]], low[node])
                if low[node] == index[node]:
                    at = path.index(node)
                    component, path[at:] = path[at:], []
                    on_path.difference_update(component)
                    if len(component) > 1:
                        found.append(tuple(sorted(component)))
    return sorted(found)


def shortest(graph: Mapping[_N, AbstractSet[_N]], component: tuple[_N, ...]) -> tuple[_N, ...]:
    """The shortest cycle in a component, beginning at its first node by name.

    Of several equally short ones the first by name, so that the same code gives the same one.
    """
    inside = set(component)
    best: tuple[_N, ...] = ()
    for start in component:
        cycle = _through(graph, start, inside, len(best) or len(component) + 1)
        if cycle and (not best or len(cycle) < len(best)):
            best = cycle
        if len(best) == 2:
            break
    return best


def _through(
    graph: Mapping[_N, AbstractSet[_N]], start: _N, inside: set[_N], limit: int
) -> tuple[_N, ...] | None:
    came_from: dict[_N, _N] = {}
    ahead: deque[tuple[_N, int]] = deque([(start, 1)])
    while ahead:
        node, length = ahead.popleft()
        if length >= limit:
            return None
        for other in sorted(graph.get(node, ())):
            if other == start != node:
                return _back(came_from, start, node)
            if other in inside and other != start and other not in came_from:
                came_from[other] = node
                ahead.append((other, length + 1))
    return None


def _back(came_from: Mapping[_N, _N], start: _N, end: _N) -> tuple[_N, ...]:
    cycle = [end]
    while cycle[-1] != start:
        cycle.append(came_from[cycle[-1]])
    cycle.reverse()
    first = cycle.index(min(cycle))
    return (*cycle[first:], *cycle[:first])
