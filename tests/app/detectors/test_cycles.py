"""Cycles in graphs, against the definition."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.detectors import cycles

NODES = "abcdefg"
graphs = st.dictionaries(st.sampled_from(NODES), st.sets(st.sampled_from(NODES)))


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for other in graph.get(ahead.pop(), set()) - seen:
            seen.add(other)
            ahead.append(other)
    return seen


@given(graphs)
def test_components_are_the_nodes_that_reach_each_other(graph: dict[str, set[str]]) -> None:
    reach = {node: reachable(graph, node) for node in NODES}
    expected = {
        tuple(sorted({other for other in reach[node] if node in reach[other]} | {node}))
        for node in graph
    }
    assert cycles.components(graph) == sorted(group for group in expected if len(group) > 1)


@given(graphs)
def test_the_shortest_cycle_is_a_cycle_and_no_node_has_a_shorter(
    graph: dict[str, set[str]],
) -> None:
    for component in cycles.components(graph):
        cycle = cycles.shortest(graph, component)
        assert cycle[0] == min(cycle)
        assert set(cycle) <= set(component)
        for here, there in pairwise((*cycle, cycle[0])):
            assert there in graph[here]
        assert len(cycle) == min(_around(graph, node, component) for node in component)


def _around(graph: dict[str, set[str]], start: str, component: tuple[str, ...]) -> int:
    """The length of the shortest way back to `start` that is not a step on the spot."""
    level, length = graph[start] - {start}, 1
    while start not in level:
        level = {other for node in level for other in graph.get(node, set())} & set(component)
        length += 1
    return length


def test_a_long_chain_needs_no_recursion() -> None:
    graph = {f"{n:06}": {f"{(n + 1) % 20_000:06}"} for n in range(20_000)}
    (component,) = cycles.components(graph)
    assert len(component) == 20_000
