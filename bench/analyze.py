"""`insight analyze` on django's source: cold, cached, memory, beside the tools run by hand.

The claim: at most 12 s cold and 3 s cached on two cores, at most 400 MiB for all processes
together. Beside it stands the sum of the same tools run one after the other by hand. django's
wheel is fetched from PyPI into a temporary directory, or taken from `--source`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

DJANGO = "django==5.2.19"
COLD_SECONDS, CACHED_SECONDS, MEMORY_MIB = 12.0, 3.0, 400.0
BIN = Path(sys.executable).parent
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    name: str
    seconds: float
    cpu_seconds: float
    mebibytes: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one round instead of three")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--source", type=Path, help="analyse this directory instead of django")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = given.source or fetched(Path(folder))
            rows = measured(source, Path(folder), rounds=1 if given.short else 3)
        except (subprocess.CalledProcessError, OSError, StopIteration) as error:
            print(f"could not run: {error}")
            return 2
        files = sum(1 for _ in source.rglob("*.py"))
    return report(rows, files, given.json)


def fetched(folder: Path) -> Path:
    """Django as its wheel has it: source files, translations, templates."""
    command = ["uv", "run", "--quiet", "--no-project", "--with", "pip", "python", "-m", "pip"]
    arguments = ["download", "--quiet", "--no-deps", "--dest", str(folder), DJANGO]
    subprocess.run([*command, *arguments], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "source")
    return folder / "source"


def measured(source: Path, folder: Path, *, rounds: int) -> dict[str, Measured]:
    best: dict[str, Measured] = {}
    for number in range(rounds):
        cache = folder / f"cache{number}"
        insight = [BIN / "insight", "analyze", source, "--format", "sarif"]
        insight += ["--output", folder / "out.sarif", "--cache-dir", cache]
        commands = {"cold": insight, "cached": insight} | by_hand(source, folder)
        for name, command in commands.items():
            found = run(name, [str(part) for part in command], folder)
            if name not in best or found.seconds < best[name].seconds:
                best[name] = found
    return best


def by_hand(source: Path, folder: Path) -> dict[str, list[Path | str]]:
    """The same tools as people run them: one after the other, one core each where they choose."""
    cycles = "import sys; sys.path.insert(0, sys.argv[1]); import grimp; "
    cycles += "grimp.build_graph('django', cache_dir=None)"
    return {
        "ruff": [BIN / "ruff", "check", "--isolated", "--no-cache", "--exit-zero", "-q", source],
        "lizard": [BIN / "lizard", "--csv", "-i", "-1", source],
        "grimp": [sys.executable, "-c", cycles, source],
        "jscpd": [BIN / "jscpd", source, "-r", "json", "-o", folder / "jscpd", "--silent"],
    }


def run(name: str, command: list[str], home: Path) -> Measured:
    """Run to the end; memory is the most that the process and its descendants had together."""
    start, used = time.perf_counter(), cpu_seconds()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ended = threading.Event()
    peaks = [0.0]
    watcher = threading.Thread(target=watch, args=(child.pid, ended, peaks))
    watcher.start()
    status = child.wait()
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    if status != 0:
        raise subprocess.CalledProcessError(status, command)
    return Measured(name, seconds, cpu_seconds() - used, peaks[0])


def cpu_seconds() -> float:
    """Of all children that ended, and of theirs: steadier than the clock on a busy machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch(pid: int, ended: threading.Event, peaks: list[float]) -> None:
    while not ended.wait(0.02):
        peaks[0] = max(peaks[0], resident(pid) / 2**20)


def resident(pid: int) -> int:
    """Resident bytes of a process and its descendants; shared pages count for each."""
    below: dict[int, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        number = int(path.parent.name)
        below[int(fields[1])].append(number)
        sizes[number] = int(fields[21]) * PAGE_BYTES
    total, ahead = 0, [pid]
    while ahead:
        number = ahead.pop()
        total += sizes.get(number, 0)
        ahead += below[number]
    return total


def report(rows: dict[str, Measured], files: int, target: Path | None) -> int:
    tools = [row for name, row in rows.items() if name not in {"cold", "cached"}]
    together = Measured(
        "tools, summed",
        sum(row.seconds for row in tools),
        sum(row.cpu_seconds for row in tools),
        max(row.mebibytes for row in tools),
    )
    print(f"{files} Python files")
    print(f"{'':<16}{'seconds':>9}{'CPU s':>8}{'MiB':>8}")
    for row in (*tools, together, rows["cold"], rows["cached"]):
        print(f"{row.name:<16}{row.seconds:>9.2f}{row.cpu_seconds:>8.2f}{row.mebibytes:>8.0f}")
    cold, cached = rows["cold"], rows["cached"]
    memory = max(cold.mebibytes, cached.mebibytes)
    met = cold.seconds <= COLD_SECONDS and cached.seconds <= CACHED_SECONDS and memory <= MEMORY_MIB
    if target is not None:
        figures = {
            "files": files,
            "cold_seconds": cold.seconds,
            "cold_cpu_seconds": cold.cpu_seconds,
            "tools_cpu_seconds": together.cpu_seconds,
            "cached_seconds": cached.seconds,
            "memory_mib": memory,
            "tools_seconds": together.seconds,
            "ratio": cold.seconds / together.seconds,
            "met": met,
        }
        target.write_text(json.dumps(figures, indent=2) + "\n")
    print(
        f"analyze: {cold.seconds:.1f} s cold, {cached.seconds:.1f} s cached, {memory:.0f} MiB, "
        f"{cold.seconds / together.seconds:.2f} x the tools by hand "
        f"(goal {COLD_SECONDS:g} s, {CACHED_SECONDS:g} s, {MEMORY_MIB:g} MiB)"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
