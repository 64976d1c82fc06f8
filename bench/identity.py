"""Identity: how often the same finding is recognised across releases of real projects.

Consecutive releases of two projects in Python are analysed with ruff, of one in JavaScript with
ESLint. Ground truth are the findings on lines that `git diff -M` shows to be the same line. Three
matchers answer for each of them: ours, rule +
path + line, and rule + path + GitHub's primaryLocationLineHash. A pair is wrong when one of its
ends provably belongs to another finding. Releases and ESLint come from the package registries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from insight_cloud.app.issues import identity
from insight_cloud.app.sarif import fingerprint, read
from insight_cloud.app.sarif.model import Finding

KEPT_GOAL, WRONG_GOAL = 99.8, 0.06
REQUESTS = [
    "2.20.0",
    "2.20.1",
    "2.21.0",
    "2.22.0",
    "2.23.0",
    "2.24.0",
    "2.25.0",
    "2.25.1",
    "2.26.0",
    "2.27.0",
    "2.27.1",
    "2.28.0",
    "2.28.1",
    "2.28.2",
    "2.29.0",
    "2.30.0",
    "2.31.0",
    "2.32.2",
    "2.32.3",
    "2.32.4",
    "2.32.5",
]
FLASK = [
    "2.0.0",
    "2.0.1",
    "2.0.2",
    "2.0.3",
    "2.1.0",
    "2.1.1",
    "2.1.2",
    "2.1.3",
    "2.2.0",
    "2.2.1",
    "2.2.2",
    "2.2.3",
    "2.2.5",
    "2.3.0",
]
FASTIFY = [
    "4.0.1",
    "4.1.0",
    "4.2.0",
    "4.3.0",
    "4.5.0",
    "4.8.0",
    "4.10.0",
    "4.12.0",
    "4.14.0",
    "4.16.0",
    "4.18.0",
    "4.20.0",
    "4.22.0",
    "4.24.0",
    "4.26.0",
    "4.28.0",
    "4.29.0",
]
SHORT = slice(-6, None)
RULES = "A,ARG,B,BLE,C4,C90,D,DTZ,E,EM,F,FBT,I,N,PERF,PIE,PL,PT,PTH,Q,RET,RUF,S,SIM,T20,TRY,UP,W"
ESLINT = {
    "eslint": "9.39.1",
    "@eslint/js": "9.39.1",
    "@microsoft/eslint-formatter-sarif": "3.1.0",
}
ESLINT_CONFIGURATION = """
const js = require("@eslint/js");
const { linterOptions, languageOptions } = {
  linterOptions: { noInlineConfig: true },
  languageOptions: { sourceType: "commonjs", ecmaVersion: "latest" },
};
module.exports = [{ ...js.configs.all, files: ["**/*.js"], linterOptions, languageOptions }];
"""
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
Place = tuple[str, int]
Pairs = list[tuple[int, int]]


class CannotRunError(Exception):
    """A tool or the package index is not there."""


@dataclass
class Release:
    """One release: its findings as our reader and fingerprints give them, its commit."""

    version: str
    commit: str
    findings: Sequence[Finding]


@dataclass
class Score:
    """What one matcher did over all pairs of releases."""

    matcher: str
    persistent: int = 0
    kept: int = 0
    wrong: int = 0
    new: int = 0
    fixed: int = 0
    seconds: float = 0.0
    tiers: dict[str, int] = field(default_factory=dict)

    @property
    def kept_percent(self) -> float:
        """Of the findings on unchanged lines, those that kept their identity."""
        return 100 * self.kept / max(self.persistent, 1)

    @property
    def wrong_percent(self) -> float:
        """Pairs with an end that provably belongs elsewhere, against the same number."""
        return 100 * self.wrong / max(self.persistent, 1)


# -- releases


def run(*command: str | Path, cwd: Path | None = None, accepted: Sequence[int] = (0,)) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotRunError(f"{command[0]} is not installed") from error
    if done.returncode not in accepted:
        raise CannotRunError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


@dataclass(frozen=True)
class Project:
    """A project on a package registry."""

    name: str
    versions: Sequence[str]
    language: Literal["Python", "JavaScript"] = "Python"

    def archive(self, version: str, folder: Path) -> Path:
        """The published source of a release."""
        target = folder / f"{self.name}-{version}"
        if not list(target.glob("*gz")):
            target.mkdir(parents=True, exist_ok=True)
            wanted = f"{self.name}=={version}" if self._python else f"{self.name}@{version}"
            run(*(_PIP if self._python else _NPM), target, wanted)
        return next(iter(target.glob("*gz")))

    @property
    def suffix(self) -> str:
        """Of the files that are analysed."""
        return ".py" if self._python else ".js"

    @property
    def _python(self) -> bool:
        return self.language == "Python"


_PIP = (
    *("uv", "run", "--quiet", "--no-project", "--with", "pip", "--with", "setuptools"),
    *("--with", "wheel", "python", "-m", "pip", "download", "--quiet", "--no-deps"),
    *("--no-binary", ":all:", "--no-build-isolation", "--dest"),
)
_NPM = ("npm", "pack", "--silent", "--pack-destination")


def eslint(tools: Path) -> Path:
    """ESLint with every rule of its own, in an environment of the benchmark's own."""
    if not (tools / "node_modules" / ".bin" / "eslint").exists():
        tools.mkdir(parents=True, exist_ok=True)
        (tools / "package.json").write_text('{"private": true}')
        wanted = (f"{name}@{version}" for name, version in ESLINT.items())
        run("npm", "install", "--silent", "--no-audit", "--no-fund", *wanted, cwd=tools)
    (tools / "eslint.config.cjs").write_text(ESLINT_CONFIGURATION)
    return tools


def ruff_log(repository: Path, _: Path) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    command = (ruff, "check", "--isolated", "--no-cache", "--exit-zero", f"--select={RULES}")
    return run(*command, "--output-format=sarif", ".", cwd=repository)


def eslint_log(repository: Path, tools: Path) -> str:
    log = tools / "log.sarif"
    modules = tools / "node_modules"
    run(
        *(modules / ".bin" / "eslint", "--quiet", "--config", tools / "eslint.config.cjs"),
        *("--format", modules / "@microsoft" / "eslint-formatter-sarif" / "sarif.js"),
        *("--output-file", log, "."),
        cwd=repository,
        accepted=(0, 1),  # 1: there are findings
    )
    return log.read_text()


def analysed(project: Project, version: str, archive: Path, repository: Path) -> Release:
    """Put the release into the repository as the next commit, and run the analyser on it."""
    for old in repository.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    with tempfile.TemporaryDirectory() as unpacked, tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
        (top,) = Path(unpacked).iterdir()
        for source in top.rglob(f"*{project.suffix}"):
            place = repository / source.relative_to(top)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    run("git", "add", "--all", cwd=repository)
    run("git", "commit", "--quiet", "--allow-empty", "--message", version, cwd=repository)
    commit = run("git", "rev-parse", "HEAD", cwd=repository).strip()
    log = ruff_log if project.language == "Python" else eslint_log
    sarif = log(repository, archive.parents[1] / "eslint")
    (result,) = read.log(sarif.encode(), root=str(repository)).runs
    return Release(version, commit, fingerprint.add(result, root=repository).findings)


# -- ground truth


def unchanged_lines(old: str, new: str, repository: Path) -> Callable[[Place], Place | None]:
    """Where a line of `old` is in `new`, None when it was changed or deleted."""
    options = ("--find-renames=40%", "--unified=0", "--no-color", "--no-ext-diff")
    diff = run("git", "diff", *options, old, new, cwd=repository)
    listed = run("git", "ls-tree", "-r", "--name-only", old, cwd=repository).splitlines()
    target: dict[str, str | None] = {path: path for path in listed}
    hunks: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    path = ""
    for line in diff.splitlines():
        if line.startswith("diff --git a/"):
            path = line.removeprefix("diff --git a/").split(" b/")[0]
        elif line.startswith("rename to "):
            target[path] = line.removeprefix("rename to ")
        elif line.startswith("deleted file"):
            target[path] = None
        elif match := HUNK.match(line):
            start, count, _, added = (int(number or 1) for number in match.groups("1"))
            first = start + 1 if count == 0 else start
            hunks[path].append((first, count, added))

    def where(place: Place) -> Place | None:
        name, line = place
        moved = target.get(name)
        shift = 0
        for first, count, added in hunks[name]:
            if line < first:
                break
            if line < first + count:
                return None
            shift += added - count
        return None if moved is None else (moved, line + shift)

    return where


Spot = tuple[str, Place]


def spots(findings: Sequence[Finding]) -> list[Spot | None]:
    """Rule and place of each finding."""
    return [
        (found.rule, (found.location.path, found.location.line))
        if found.location is not None and found.location.line is not None
        else None
        for found in findings
    ]


def judge(
    score: Score, old: Release, new: Release, pairs: Pairs, where: Callable[[Place], Place | None]
) -> None:
    """Count what `pairs` got right, by the findings whose line is provably the same."""
    before, after = spots(old.findings), spots(new.findings)
    expected = [(spot[0], place) if spot and (place := where(spot[1])) else None for spot in before]
    there = Counter(spot for spot in after if spot is not None)
    persistent = Counter(spot for spot in expected if spot is not None) & there
    came_from = {spot for spot in expected if spot is not None}
    kept: Counter[Spot] = Counter()
    for i, j in pairs:
        wanted, got = expected[i], after[j]
        if wanted is not None and wanted == got:
            kept[wanted] += 1
        elif (wanted is not None and wanted in there) or got in came_from:
            score.wrong += 1
    score.persistent += persistent.total()
    score.kept += (kept & persistent).total()
    score.new += len(after) - len(pairs)
    score.fixed += len(before) - len(pairs)


# -- matchers


def ours(old: Sequence[Finding], new: Sequence[Finding], score: Score) -> Pairs:
    known = identity.keys(old, hash_key=b"bench")
    found = identity.keys(new, hash_key=b"bench")
    result = identity.match(known, found)
    score.tiers = dict(Counter(score.tiers) + Counter(result.tiers))
    return result.pairs


def by_key(key: Callable[[Finding], Any]) -> Callable[..., Pairs]:
    """A matcher that pairs what is equal by `key`, in the order of the logs."""

    def match(old: Sequence[Finding], new: Sequence[Finding], _: Score) -> Pairs:
        waiting: dict[Any, list[int]] = defaultdict(list)
        for i, found in enumerate(old):
            waiting[key(found)].append(i)
        return [
            (waiting[key(found)].pop(0), j)
            for j, found in enumerate(new)
            if waiting.get(key(found))
        ]

    return match


def rule_path_line(found: Finding) -> Any:
    return found.rule, found.location and (found.location.path, found.location.line)


def rule_path_hash(found: Finding) -> Any:
    path = found.location and found.location.path
    return found.rule, path, found.fingerprints.get(fingerprint.GITHUB)


MATCHERS: dict[str, Callable[..., Pairs]] = {
    "ours": ours,
    "rule+path+line": by_key(rule_path_line),
    "rule+path+primaryLocationLineHash": by_key(rule_path_hash),
}


def compared(project: Project, cache: Path) -> list[Score]:
    with ThreadPoolExecutor(4) as pool:
        archives = list(pool.map(lambda each: project.archive(each, cache), project.versions))
    if project.language == "JavaScript":
        eslint(cache / "eslint")
    scores = [Score(name) for name in MATCHERS]
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        repository = Path(folder).resolve()
        run("git", "init", "--quiet", cwd=repository)
        for name, value in (("user.name", "bench"), ("user.email", "bench@localhost")):
            run("git", "config", name, value, cwd=repository)
        releases = [
            analysed(project, version, archive, repository)
            for archive, version in zip(archives, project.versions, strict=True)
        ]
        for old, new in itertools.pairwise(releases):
            where = unchanged_lines(old.commit, new.commit, repository)
            for score, match in zip(scores, MATCHERS.values(), strict=True):
                start = time.process_time()
                pairs = match(old.findings, new.findings, score)
                score.seconds += time.process_time() - start
                judge(score, old, new, pairs, where)
    return scores


def table(project: Project, scores: Sequence[Score]) -> None:
    versions = project.versions
    count = f"{len(versions)} releases, {scores[0].persistent:,} findings on unchanged lines"
    print(f"{project.name} {versions[0]} to {versions[-1]} ({project.language}): {count}")
    print(f"  {'matcher':<36}{'kept %':>9}{'wrong %':>9}{'new':>8}{'fixed':>8}{'CPU s':>8}")
    for score in scores:
        figures = f"{score.kept_percent:>9.3f}{score.wrong_percent:>9.3f}"
        counts = f"{score.new:>8,}{score.fixed:>8,}{score.seconds:>8.2f}"
        print(f"  {score.matcher:<36}{figures}{counts}")
    print(f"  ours by tier: {scores[0].tiers}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="six releases of one project")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--cache", type=Path, help="keep downloaded releases here")
    options = parser.parse_args()
    projects = [
        Project("requests", REQUESTS),
        Project("flask", FLASK),
        Project("fastify", FASTIFY, "JavaScript"),
    ]
    if options.short:
        projects = [Project("requests", REQUESTS[SHORT])]
    results: dict[str, list[Score]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for project in projects:
                cache = (options.cache or Path(scratch)).resolve()
                results[project.name] = compared(project, cache)
                table(project, results[project.name])
        except CannotRunError as error:
            print(f"identity: could not run: {error}")
            return 2
    kept = min(scores[0].kept_percent for scores in results.values())
    wrong = max(scores[0].wrong_percent for scores in results.values())
    met = kept >= KEPT_GOAL and wrong <= WRONG_GOAL
    if options.json:
        figures = {name: [asdict(score) for score in scores] for name, scores in results.items()}
        told = {"kept_percent": kept, "wrong_percent": wrong, "met": met, "projects": figures}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    figure = f"{kept:.3f} % kept, {wrong:.3f} % wrong"
    print(f"identity: {figure} (goal >= {KEPT_GOAL} % kept, <= {WRONG_GOAL} % wrong)")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
