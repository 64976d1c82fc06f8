"""The child that runs lizard over its part of the files; apart so that it imports little."""

from __future__ import annotations

from pathlib import Path

from lizard import FileAnalyzer, get_extensions  # type: ignore[import-untyped]  # has none

from insight_cloud.app.detectors import work

__all__: list[str] = []

_analyzer = FileAnalyzer(get_extensions([]))


def _analyse(
    name: str, path: str, limits: tuple[int, int, int]
) -> list[tuple[str, int, int, int, int]]:
    ccn, lines, parameters = limits
    text = Path(path).read_text("utf-8", "replace")
    functions = _analyzer.analyze_source_code(name, text).function_list
    return [
        (function.name, function.start_line, function.end_line, function.cyclomatic_complexity, n)
        for function in functions
        for n in [function.parameter_count]
        if function.cyclomatic_complexity > ccn or function.length > lines or n > parameters
    ]


if __name__ == "__main__":
    work.serve(_analyse, parameters=tuple[int, int, int])
