"""The edge: evaluations, parsing and a plan over a slow API, beside the peers; and a fuzzer.

    uv run python bench/edge.py            # a minute; the peers are installed beside it
    uv run python bench/edge.py --short    # less of each
    uv run python bench/edge.py --fuzz     # a million random expressions, or ten minutes

The peers are octorules-wirefilter, whose parser is the engine's own in Rust, and the official SDK
of Cloudflare, which we do not use. They live in an environment of their own. No peer in Python
evaluates a rule, so evaluation has a goal instead: 50,000 a second on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("octorules-wirefilter==0.7.0", "cloudflare==5.9.0")
DATA = ROOT / "tests/data/edge"


def best(run: Callable[[], int], seconds: float, rounds: int = 3) -> float:
    """How many of what `run` counts happen in a second, in the best of the rounds."""
    rates = []
    for _ in range(rounds):
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            done += run()
        rates.append(done / (time.perf_counter() - start))
    return max(rates)


def documented() -> list[tuple[str, Any]]:
    from insight_cloud.edge.language import Request

    short = {"country": "ip.src.country", "ip": "ip.src"}
    pairs = []
    for entry in json.loads((DATA / "expressions.json").read_text()):
        for case in entry["cases"]:
            given = dict(case["request"])
            headers = tuple(map(tuple, given.pop("headers", ())))
            plain = {key: given.pop(key) for key in ("url", "method") if key in given}
            known = {str(short.get(key, key)): value for key, value in given.items()}
            pairs.append((entry["expression"], Request(**plain, headers=headers, known=known)))
    return pairs


def evaluation(seconds: float) -> float:
    from insight_cloud.edge.language import compiled, fields_of

    ready = [(compiled(text), fields_of(request)) for text, request in documented()]

    def run() -> int:
        for matches, fields in ready:
            matches(fields)
        return len(ready)

    return best(run, seconds)


def judging(seconds: float) -> float:
    """Whole requests through every rule of the shipped file."""
    from insight_cloud.edge import Simulator, of_items

    want = _default()
    simulator = Simulator(want.rulesets, **of_items(want.items))
    requests = [request for _, request in documented()]

    def run() -> int:
        for request in requests:
            simulator.judge(request)
        return len(requests)

    return best(run, seconds)


def parsing(parse: Callable[[str], object], seconds: float) -> float:
    texts = [text for text, _ in documented()]

    def run() -> int:
        for text in texts:
            parse(text)
        return len(texts)

    return best(run, seconds)


def _default() -> Any:
    from datetime import date

    from insight_cloud.edge import Tier, compile_file, default, read_file

    return compile_file(
        read_file(default()), today=date(2026, 11, 25), tiers=[Tier("api", 100, 900)]
    )


async def slow_plan(latency_seconds: float) -> tuple[float, int]:
    """Seconds for a plan of the whole shipped zone over real sockets, and its calls."""
    from insight_cloud.edge import Cloudflare, Fake, Zone, plan
    from insight_cloud.edge.fake import TOKEN, ZONE, serve

    fake = Fake()
    want = _default()
    with tempfile.TemporaryDirectory() as folder:
        async with serve(fake) as url, Cloudflare(TOKEN, url=url) as api:
            zone = Zone(api, ZONE, snapshots=Path(folder))
            fake.latency_seconds = latency_seconds
            start = time.perf_counter()
            found = plan(await zone.read(["websockets", "opportunistic_encryption"]), want)
            spent = time.perf_counter() - start
    assert len(found.changes) == 20
    return spent, len(fake.calls)


def importing(*statements: str) -> list[float]:
    """Seconds of each statement in a process of its own, less those of the bare process.

    In turns, and the best of five, so that what else the machine does disturbs all alike.
    """

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    rounds = [[once(code) for code in ("pass", *statements)] for _ in range(5)]
    bare, *others = (min(column) for column in zip(*rounds, strict=True))
    return [seconds - bare for seconds in others]


def size_bytes(package: str) -> int:
    import importlib.util

    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sum(
        file.stat().st_size for file in Path(spec.origin).parent.rglob("*") if file.is_file()
    )


def agreement(peer: Callable[[str], bool]) -> tuple[int, list[str]]:
    """How many expressions both judge alike, and those that they do not."""
    sys.path.insert(0, str(ROOT))
    from insight_cloud.edge.language import ExpressionError, parse
    from tests.edge.language.vectors import INVALID, VECTORS

    texts = [text for text, _ in VECTORS] + [text for text, _ in INVALID]
    texts += [text for text, _ in documented()]
    texts += json.loads((DATA / "expressions.invalid.json").read_text())
    different = []
    for text in dict.fromkeys(texts):
        try:
            parse(text)
            ours = True
        except ExpressionError:
            ours = False
        if ours != peer(text):
            different.append(f"{'taken' if ours else 'refused'} by us only: {text!r}")
    return len(dict.fromkeys(texts)) - len(different), different


def inside(*, short: bool, json_file: Path | None) -> int:
    from octorules_wirefilter import parse_expression  # type: ignore[import-not-found]

    from insight_cloud.edge.language import parse

    seconds = 0.3 if short else 1.5

    def peer(text: str) -> bool:
        try:
            found = parse_expression(text)
        except Exception:  # noqa: BLE001 - whatever it raises is a refusal
            return False
        return "error" not in found

    print("evaluating", file=sys.stderr)
    rates = {
        "evaluations a second, one core": evaluation(seconds),
        "requests through all rules a second": judging(seconds),
        "parsed a second, ours": parsing(parse, seconds),
        "parsed a second, octorules-wirefilter (Rust)": parsing(peer, seconds),
    }
    print("planning over a slow API", file=sys.stderr)
    spent, calls = min(asyncio.run(slow_plan(0.1)) for _ in range(3))
    print("importing", file=sys.stderr)
    ours, sdk = importing(
        "from insight_cloud.edge.cloudflare import Cloudflare",
        "import cloudflare; cloudflare.Cloudflare(api_token='x').zones.settings",
    )
    sizes = {"ours": size_bytes("insight_cloud.edge"), "sdk": size_bytes("cloudflare")}
    alike, different = agreement(peer)

    for name, rate in rates.items():
        print(f"{name:46} {rate:12,.0f}")
    print(f"{'plan of the whole zone, 100 ms a call':46} {spent:10.2f} s in {calls} calls")
    print(f"{'import of the client: ours, SDK':46} {ours:10.2f} s, {sdk:.2f} s")
    print(f"{'size: ours, SDK':46} {sizes['ours'] / 1e6:10.1f} MB, {sizes['sdk'] / 1e6:.1f} MB")
    print(f"{'expressions that the engine judges alike':46} {alike:10} of {alike + len(different)}")
    for text in different:
        print(f"    {text}")
    goals = {
        "evaluations": rates["evaluations a second, one core"] >= 50_000,
        "plan": spent <= 3,
        "import": ours < sdk,
        "size": sizes["ours"] < sizes["sdk"],
    }
    print(f"evaluations: {rates['evaluations a second, one core']:,.0f}/s (goal 50,000)")
    print(f"plan: {spent:.2f} s (goal 3 s)")
    print(f"import: {ours:.2f} s (goal: less than the SDK's {sdk:.2f} s)")
    if json_file is not None:
        found = {
            "rates": rates,
            "plan_seconds": spent,
            "plan_calls": calls,
            "import_seconds": {"ours": ours, "sdk": sdk},
            "bytes": sizes,
            "different": different,
        }
        json_file.write_text(json.dumps(found, indent=1))
    return 0 if all(goals.values()) else 1


# -- fuzzing -------------------------------------------------------------------------------

_WORDS = (
    *["and", "or", "xor", "not", "&&", "||", "^^", "!", "(", ")", "[", "]", "{", "}", "[*]", ","],
    *["..", "$", "$list", "eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "matches", "&"],
    *["wildcard", "strict", "==", "!=", "<=", ">=", "<", ">", "~", '"a"', '"\\""', '"a*b"', '"**"'],
    *['r"a"', 'r#"a"#', 'r#"', '"', "\\", "1", "-1", "0x1f", "08", "1..2", "10.0.0.0/8"],
    *["10.0.0.1/8", "::1", "1:2:3", "61:62", "http.host", "ssl", "ip.src", "cf.waf.score"],
    *["http.request.uri", "http.request.headers", "http.request.headers.names", "ip.src.country"],
    *["cf.client.bot", "any(", "all(", "lower(", "len(", "concat(", "starts_with(", "url_decode("],
    *["split(", "cidr(", "coalesce(", '"(a+)+$"', '"["', '"(?=a)"', '["a"]', "[0]", "[-1]"],
    *[
        "any(http.request.headers.names[*]",
        "contains(",
        "true",
        "nope",
        "\t",
        "\n",
        "é",
        "\x00",
        "☃",
    ],
)


def fuzz(most: int, minutes: float, seed: int) -> int:
    """Random, mutated and nested texts: none may do anything but parse or be refused, quickly."""
    from insight_cloud.edge.language import ExpressionError, Request, fields_of, parse, tree

    dice = random.Random(seed)
    known = [text for text, _ in documented()]
    fields = fields_of(Request(known={"ip.src": "192.0.2.1", "cf.client.bot": False}))
    taken = done = 0
    slowest, slow_text = 0.0, ""
    start = time.perf_counter()
    while done < most and time.perf_counter() - start < minutes * 60:
        text = _text(dice, known)
        began = time.perf_counter()
        refused: ExpressionError | None = None
        try:
            node = parse(text)
        except ExpressionError as error:
            refused = error
        else:
            taken += 1
            assert parse(str(node)) == node, text
            assert tree(node)(fields) in {True, False, None}, text
        if refused is not None:
            assert 0 <= refused.position <= len(text), text
        spent = time.perf_counter() - began
        if spent > slowest:
            slowest, slow_text = spent, text
        done += 1
        if done % 100_000 == 0:
            print(f"{done:,} done, {taken:,} of them valid", file=sys.stderr)
    spent = time.perf_counter() - start
    print(f"slowest: {slowest * 1000:.1f} ms for {slow_text[:200]!r}")
    print(f"fuzz: {done:,} inputs in {spent:.0f} s, {taken:,} valid, 0 crashes (goal 1,000,000)")
    return 0 if done >= most or spent >= minutes * 60 else 1


def _text(dice: random.Random, known: list[str]) -> str:
    kind = dice.random()
    if kind < 0.35:
        return " ".join(dice.choices(_WORDS, k=dice.randint(1, 30)))
    if kind < 0.8:
        return _mutated(dice, dice.choice(known))
    if kind < 0.9:
        joined = f" {dice.choice(['and', 'or', 'xor'])} ".join(dice.choices(known, k=3))
        return f"not ({joined})" if dice.random() < 0.5 else joined
    if kind < 0.97:
        return "".join(chr(dice.randrange(1, 0x250)) for _ in range(dice.randint(1, 60)))
    return dice.choice(["(", "not ", "lower(", "!", "any(", "[", '"']) * dice.randint(1, 4200)


def _mutated(dice: random.Random, text: str) -> str:
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        end = min(len(text), at + dice.randint(0, 6))
        text = (
            text[:at] + dice.choice(["", " ", dice.choice(_WORDS), text[at:end] * 2]) + text[end:]
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="less of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--fuzz", action="store_true", help="only fuzz the parser")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many inputs")
    parser.add_argument("--minutes", type=float, default=10.0, help="at most so long")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.fuzz:
        sys.exit(fuzz(arguments.inputs, arguments.minutes, arguments.seed))
    if arguments.inside:
        sys.exit(inside(short=arguments.short, json_file=arguments.json))
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    if not Path(uv).exists():
        print("uv is not installed", file=sys.stderr)
        sys.exit(2)
    words = [uv, "run", "--quiet", "--isolated", "--no-project", "--with-editable", str(ROOT)]
    words += [word for peer in PEERS for word in ("--with", peer)]
    words += ["python", __file__, "--inside", *(["--short"] if arguments.short else [])]
    words += ["--json", str(arguments.json)] if arguments.json else []
    sys.exit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    main()
