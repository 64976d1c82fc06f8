"""Images beside sharp, Next.js and Pillow: CPU, bytes at equal quality, memory, serving, refusals.

    uv run python bench/images.py            # about ten minutes; needs npm, apt and wrk
    uv run python bench/images.py --short    # one source, fewer mutated files
    uv run python bench/images.py --only serving,page    # some of the parts

The peers are installed into `.var/bench/`, the photographs come from Debian's mate-backgrounds.
Every candidate of a table runs in a process of its own on the same sources; CPU is what the kernel
counted for it and its children, less what its start alone costs.

- `24 files`: one source in the 8 device widths as AVIF, WebP and JPEG.
- `S2`: SSIMULACRA2 of the 640 and 1080 pixel files against a Lanczos reference, the mean.
- `page`: thirty images as `picture()` writes them, under Lighthouse; the best of three runs, since
  a busy machine only takes away from its score.
- `cached`, `304`: `wrk -c32` on one image; `32 at once`: seconds and encodings for a cold one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".var/bench/images"
PEERS = ("pillow==13.0.0", "ssimulacra2==0.3.0", "pytest")
NODE_PEERS = ("sharp@0.35.5", "next@15.5.29", "react@19", "react-dom@19")
WIDTHS = (640, 750, 828, 1080, 1200, 1920, 2048, 3840)
FORMATS: tuple[Literal["avif", "webp", "jpeg"], ...] = ("avif", "webp", "jpeg")
SOURCES = (
    "abstract/Elephants_5640x3172.jpg",
    "abstract/Elephants_3840x2160.jpg",
    "nature/GreenMeadow.jpg",
)
PHOTOS = ("Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "Wood")
GOALS = {
    "CPU of 24 files / sharp per width": (0.62, "most"),
    "CPU of 24 files / sharp one decode": (1.0, "most"),
    "S2 - S2 of sharp per width": (0.0, "least"),
    "AVIF bytes / WebP bytes at equal S2": (0.71, "most"),
    "peak MiB at 20 megapixels": (300.0, "most"),
    "cached / Next.js": (2.4, "least"),
    "304 / Next.js": (2.5, "least"),
    "encodings for 32 at once": (1.0, "most"),
    "cold / Next.js": (1.0, "least"),
    "CPU seconds of the worst refusal": (0.1, "most"),
    "MiB of the worst refusal": (64.0, "most"),
    "crashes on mutated files": (0.0, "most"),
    "Lighthouse performance, phone": (95.0, "least"),
    "Lighthouse performance, desktop": (95.0, "least"),
}

_SHARP = """
const fs = require('fs');
const sharp = require('sharp');
const [, , mode, source, out] = process.argv;
const widths = [WIDTHS];
const encode = {
  webp: (s) => s.webp({ quality: 75, effort: 4 }),
  avif: (s) => s.avif({ quality: 53, effort: 3, chromaSubsampling: '4:2:0' }),
  jpeg: (s) => s.jpeg({ quality: 71, mozjpeg: true }),
};
(async () => {
  const data = fs.readFileSync(source);
  if (mode === 'next') {
    const { optimizeImage } = require('next/dist/server/image-optimizer');
    for (const width of widths)
      for (const form of Object.keys(encode))
        fs.writeFileSync(`${out}/${width}.${form}`, await optimizeImage({
          buffer: data, contentType: `image/${form}`, quality: 75, width, timeoutInSeconds: 600,
        }));
    return;
  }
  let raw;
  if (mode === 'once')
    raw = await sharp(data).rotate().resize({ width: 3840, withoutEnlargement: true })
      .raw().toBuffer({ resolveWithObject: true });
  for (const width of widths)
    for (const form of Object.keys(encode)) {
      const image = raw ? sharp(raw.data, { raw: raw.info }) : sharp(data).rotate();
      const sized = image.resize({ width, withoutEnlargement: true });
      fs.writeFileSync(`${out}/${width}.${form}`, await encode[form](sized).toBuffer());
    }
})();
""".replace("WIDTHS", ", ".join(map(str, WIDTHS)))

_NEXT = {
    "next.config.js": (
        "module.exports = { images: { formats: ['image/webp'], minimumCacheTTL: 86400 },"
        " outputFileTracingRoot: __dirname };"
    ),
    "pages/index.js": "module.exports = function Page() { return 'images' }",
}


# -- peers and photographs ---------------------------------------------------------------------


def npm() -> Path:
    """A folder with sharp and Next.js."""
    folder = FOLDER / "node"
    if not (folder / "node_modules/next/package.json").exists():
        program = shutil.which("npm")
        if program is None:
            raise Missing("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = [program, "install", "--no-audit", "--no-fund", "--silent", *NODE_PEERS]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            raise Missing("npm could not install sharp and Next.js")
    return folder


def photographs() -> Path:
    """The folder of Debian's photographs."""
    folder = FOLDER / "photos"
    found = folder / "usr/share/backgrounds/mate"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            for command in (
                ["apt-get", "download", "--quiet", "mate-backgrounds"],
                ["sh", "-c", f"dpkg-deb -x mate-backgrounds*.deb {folder}"],
            ):
                done = subprocess.run(command, cwd=temporary, capture_output=True, check=False)
                if done.returncode:
                    raise Missing("apt-get could not fetch mate-backgrounds")
    return found


class Missing(Exception):  # noqa: N818 - what it says
    """Something that is needed cannot be had."""


# -- 24 files of one source ----------------------------------------------------------------------


@dataclass
class Cost:
    cpu: float
    peak: float
    files: Path

    def size(self, form: str) -> int:
        return sum(path.stat().st_size for path in self.files.glob(f"*.{form}"))


def measured(command: list[str], files: Path) -> Cost:
    """What the kernel counts for a process and its children."""
    child = subprocess.Popen(command, cwd=FOLDER / "node", env=_environment())
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise Missing(f"{command[0]} failed")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, files)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(FOLDER), "NEXT_TELEMETRY_DISABLED": "1"}


def make(name: str, source: Path) -> Cost:
    files = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER))
    if name in {"ours", "pillow"}:
        words = [sys.executable, __file__, "--make", name, str(source), str(files)]
    else:
        script = FOLDER / "node/sharp.cjs"
        script.write_text(_SHARP)
        words = [shutil.which("node") or "node", str(script), name, str(source), str(files)]
    return measured(words, files)


async def make_ours(data: bytes, files: Path) -> None:
    from insight_cloud.images import Variant, Workers

    async with Workers(processes=1, seconds=300) as workers:
        wanted = [Variant(width, 75, form) for width in WIDTHS for form in FORMATS]
        picture = await workers.make(data, wanted)
    for made in picture.made:
        (files / f"{made.variant.width}.{made.variant.format}").write_bytes(made.data)


def make_pillow(source: Path, files: Path) -> None:
    from PIL import Image, ImageOps  # type: ignore[import-not-found]

    with Image.open(source) as opened:
        whole = ImageOps.exif_transpose(opened).convert("RGB")
    options: dict[str, dict[str, Any]] = {
        "webp": {"quality": 75, "method": 4},
        "avif": {"quality": 53, "speed": 6},
        "jpeg": {"quality": 71, "optimize": True, "progressive": True},
    }
    for width in WIDTHS:
        size = (min(width, whole.width), round(whole.height * min(1, width / whole.width)))
        small = whole.resize(size, Image.Resampling.LANCZOS)
        for form, given in options.items():
            small.save(files / f"{width}.{form}", format=form.upper(), **given)


def similarity(source: Path, made: Path) -> float:
    """SSIMULACRA2 against a Lanczos reference."""
    from PIL import Image
    from ssimulacra2 import compute_ssimulacra2  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder, Image.open(made) as opened:
        decoded = Path(folder) / "decoded.png"
        opened.convert("RGB").save(decoded, compress_level=1)
        return float(compute_ssimulacra2(str(reference(source, opened.size)), str(decoded)))


@functools.cache
def reference(source: Path, size: tuple[int, int]) -> Path:
    from PIL import Image

    place = FOLDER / f"reference-{source.stem}-{size[0]}x{size[1]}.png"
    with Image.open(source) as whole:
        small = whole.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.save(place, compress_level=1)
    return place


def batch(sources: list[Path]) -> dict[str, float]:
    from PIL import Image

    npm()
    names = ("ours", "each", "once", "next", "pillow")
    titles = {
        "ours": "ours, one decode",
        "each": "sharp, per width",
        "once": "sharp, one decode",
        "next": "Next.js' own function and settings",
        "pillow": "Pillow, one decode",
    }
    print(f"\n24 files of {len(sources)} sources")
    print(f"{'':36}{'CPU s':>8}{'peak MiB':>10}{'AVIF MB':>9}{'WebP MB':>9}{'JPEG MB':>9}{'S2':>7}")
    found = {}
    tiny = FOLDER / "tiny.jpg"
    with Image.open(sources[0]) as opened:
        opened.resize((16, 9)).save(tiny)
    for name in names:
        start = make(name, tiny)
        shutil.rmtree(start.files)
        costs = [make(name, source) for source in sources]
        scores = [
            similarity(source, cost.files / f"{width}.{form}")
            for source, cost in zip(sources, costs, strict=True)
            for width in (640, 1080)
            for form in FORMATS
        ]
        cpu = sum(cost.cpu - start.cpu for cost in costs)
        peak = max(cost.peak for cost in costs)
        score = statistics.mean(scores)
        sizes = [sum(cost.size(form) for cost in costs) / 1e6 for form in FORMATS]
        print(
            f"{titles[name]:36}{cpu:8.1f}{peak:10.0f}"
            f"{sizes[0]:9.2f}{sizes[1]:9.2f}{sizes[2]:9.2f}{score:7.1f}"
        )
        found[name] = (cpu, score)
        for cost in costs:
            shutil.rmtree(cost.files)
    return {
        "CPU of 24 files / sharp per width": found["ours"][0] / found["each"][0],
        "CPU of 24 files / sharp one decode": found["ours"][0] / found["once"][0],
        "S2 - S2 of sharp per width": found["ours"][1] - found["each"][1],
    }


def memory() -> dict[str, float]:
    """The largest process for all 24 files of a photograph of 20 megapixels."""
    from PIL import Image

    source = FOLDER / "20mp.jpg"
    if not source.exists():
        with Image.open(photographs() / SOURCES[0]) as opened:
            opened.resize((5164, 3874), Image.Resampling.LANCZOS).save(source, quality=92)
    cost = make("ours", source)
    shutil.rmtree(cost.files)
    return {"peak MiB at 20 megapixels": cost.peak}


# -- bytes at equal quality ------------------------------------------------------------------------


def equal_quality() -> dict[str, float]:
    """How many bytes AVIF needs for the SSIMULACRA2 that WebP has at 75."""
    import pyvips  # type: ignore[import-untyped]

    ratios: list[float] = []
    matching: list[float] = []
    for name in PHOTOS:
        small = pyvips.Image.thumbnail(
            str(photographs() / f"nature/{name}.jpg"), 828, height=10**6, size="down"
        ).copy_memory()
        webp = _scored(small, small.webpsave_buffer(Q=75, effort=4, keep="none"))
        curve: list[tuple[float, float, float]] = []
        for level in (46, 53, 60):
            data = small.heifsave_buffer(
                Q=level, effort=3, compression="av1", subsample_mode="on", bitdepth=8, keep="none"
            )
            curve.append((*_scored(small, data), level))
        size, match = _at(curve, webp[0])
        ratios.append(size / webp[1])
        matching.append(match)
    ratio = statistics.mean(ratios)
    print(
        f"\nat the S2 of WebP 75, AVIF has {ratio:.3f} of its bytes "
        f"(quality {statistics.mean(matching):.0f}; {len(PHOTOS)} photographs of 828 pixels)"
    )
    return {"AVIF bytes / WebP bytes at equal S2": ratio}


def _scored(reference: Any, data: bytes) -> tuple[float, float]:
    import pyvips
    from ssimulacra2 import compute_ssimulacra2

    with tempfile.TemporaryDirectory() as folder:
        one, other = f"{folder}/reference.png", f"{folder}/decoded.png"
        reference.pngsave(one, compression=1)
        pyvips.Image.new_from_buffer(data, "").pngsave(other, compression=1)
        return float(compute_ssimulacra2(one, other)), len(data)


def _at(curve: list[tuple[float, float, float]], score: float) -> tuple[float, float]:
    """Bytes and quality at a score, between the two nearest points."""
    (low, fewer, below), (high, more, above) = curve[:2] if score <= curve[1][0] else curve[1:]
    part = (score - low) / (high - low)
    return fewer + part * (more - fewer), below + part * (above - below)


# -- serving -------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(command: list[str], port: int, **options: Any) -> Iterator[int]:
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if time.monotonic() > until or child.poll() is not None:
                raise Missing(f"{command[0]} does not serve")
            time.sleep(0.1)
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def get(url: str) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers={"accept": "image/webp,*/*"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read(), answer.headers["etag"] or ""


def wrk(url: str, *headers: str) -> float:
    program = shutil.which("wrk")
    if program is None:
        raise Missing("wrk is not installed (Debian: apt-get install wrk)")
    words = [program, "-t1", "-c32", "-d2", "-H", "accept: image/webp,*/*"]
    for header in headers:
        words += ["-H", header]
    said = subprocess.run([*words, url], capture_output=True, text=True, check=True).stdout
    return float(next(line.split()[1] for line in said.splitlines() if "Requests/sec" in line))


@dataclass
class Served:
    cached: float = 0.0
    unmodified: float = 0.0
    cold: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds for three widths of a photograph, for each of them."""
    stampede: float = 0.0
    encoded: int = 0


def load(servers: list[tuple[Any, Any]]) -> list[Served]:
    """Ask servers for everything, in turns; each is how to address it, and what it has made."""
    rows = [Served() for _ in servers]
    names = [path.name for path in sorted((photographs() / "nature").glob("*.jpg"))]
    for number, name in enumerate(names):
        for turn in range(len(servers)):
            which = (number + turn) % len(servers)
            address, _ = servers[which]
            began = time.monotonic()
            with ThreadPoolExecutor(4) as four:
                list(four.map(get, [address(name, width) for width in (640, 1080, 1920)]))
            rows[which].waits.append(time.monotonic() - began)
    for row, (address, made) in zip(rows, servers, strict=True):
        row.cold = 3 * len(names) / sum(row.waits)
        before = made()
        url = address(names[0], 828)
        began = time.monotonic()
        with ThreadPoolExecutor(32) as many:
            list(many.map(get, [url] * 32))
        row.stampede = time.monotonic() - began
        row.encoded = made() - before
    for _ in range(4):
        for row, (address, _made) in zip(rows, servers, strict=True):
            url = address(names[0], 640)
            _, etag = get(url)
            row.cached = max(row.cached, wrk(url))
            row.unmodified = max(row.unmodified, wrk(url, f"if-none-match: {etag}"))
    return rows


def serving() -> dict[str, float]:
    with ours_served() as ours_one, next_served() as next_one:
        rows = dict(zip(("ours, uvicorn", "next start"), load([ours_one, next_one]), strict=True))
    print(
        f"\n{'server, one process':22}{'cold/s':>8}{'32 at once':>12}{'cached/s':>10}{'304/s':>9}"
    )
    for name, row in rows.items():
        encoded = f"{row.stampede:.2f} s" + (f", {row.encoded} made" if row.encoded else "")
        print(f"{name:22}{row.cold:8.1f}{encoded:>12}{row.cached:10,.0f}{row.unmodified:9,.0f}")
    ours, theirs = rows.values()
    return {
        "cached / Next.js": ours.cached / theirs.cached,
        "304 / Next.js": ours.unmodified / theirs.unmodified,
        "encodings for 32 at once": ours.encoded,
        # The middle one: a moment in which somebody else has the machine hits one photograph.
        "cold / Next.js": statistics.median(
            theirs / ours for ours, theirs in zip(ours.waits, theirs.waits, strict=True)
        ),
    }


@contextlib.contextmanager
def ours_served() -> Iterator[tuple[Any, Any]]:
    port = free_port()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        environment = os.environ | {
            "BENCH_STORE": folder,
            "BENCH_PHOTOS": str(photographs() / "nature"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}",
        }
        words = [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log"]
        with running([*words, "images:app"], port, env=environment):
            base = f"http://127.0.0.1:{port}"

            def address(name: str, width: int) -> str:
                return f"{base}/_image?url={quote(f'/photos/{name}')}&w={width}&q=75"

            yield address, lambda: int(get(f"{base}/made")[0])


@contextlib.contextmanager
def next_served() -> Iterator[tuple[Any, Any]]:
    site = npm()
    port = free_port()
    for name, text in _NEXT.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    shutil.rmtree(site / ".next/cache/images", ignore_errors=True)
    shutil.copytree(photographs() / "nature", site / "public/photos", dirs_exist_ok=True)
    program = str(site / "node_modules/.bin/next")
    if not (site / ".next/BUILD_ID").exists():
        built = subprocess.run(
            [program, "build"], cwd=site, env=_environment(), capture_output=True, check=False
        )
        if built.returncode:
            raise Missing(f"next build failed: {built.stdout[-300:].decode()}")
    words = [program, "start", "--port", str(port), "--hostname", "127.0.0.1"]
    with running(words, port, cwd=site, env=_environment()):

        def address(name: str, width: int) -> str:
            path = quote(f"/photos/{name}", safe="")
            return f"http://127.0.0.1:{port}/_next/image?url={path}&w={width}&q=75"

        yield address, lambda: 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn serves: the endpoint, and how many images it has made."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"] == "/made":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = str(_OPENED[0].stats.made).encode()
        await send({"type": "http.response.body", "body": body})
    else:
        await _OPENED[0](scope, receive, send)


_OPENED: list[Any] = []


async def _lifespan(receive: Any, send: Any) -> None:
    from insight_cloud.images import Images, Mounts, Store, Workers

    mounts = Mounts({"/photos/": Path(os.environ["BENCH_PHOTOS"])})
    store = Store(Path(os.environ["BENCH_STORE"]))
    async with Images(Workers(), mounts, store=store) as images:
        _OPENED.append(images)
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


# -- hostile files -----------------------------------------------------------------------------


def refusals() -> dict[str, float]:
    """The most CPU and memory that any hostile file takes until it is refused."""
    from insight_cloud.core.errors import Invalid
    from insight_cloud.images import Limits
    from insight_cloud.images.header import read
    from tests.images.gallery import HOSTILE

    seconds, peaks = {}, {}
    for name, build in HOSTILE.items():
        data = build()
        times = []
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(Invalid):
                read(data, Limits())
                raise Missing(f"{name} is not refused")
            times.append(time.process_time() - began)
        seconds[name] = min(times)
        tracemalloc.start()
        with contextlib.suppress(Invalid):
            read(data, Limits())
        peaks[name] = tracemalloc.get_traced_memory()[1] / 1024**2
        tracemalloc.stop()
    slowest, largest = max(seconds, key=seconds.__getitem__), max(peaks, key=peaks.__getitem__)
    print(
        f"\n{len(HOSTILE)} hostile files refused by their header; most CPU {seconds[slowest]:.4f} s"
        f" ({slowest}), most memory {peaks[largest]:.1f} MiB ({largest})"
    )
    return {
        "CPU seconds of the worst refusal": seconds[slowest],
        "MiB of the worst refusal": peaks[largest],
    }


async def mutations(count: int) -> dict[str, float]:
    """Files that are damaged at random, through the whole way; a crash ends a child process."""
    from insight_cloud.images import Workers
    from tests.images.mutations import damage

    began = time.monotonic()
    async with Workers() as workers:
        found = await damage(workers, count)
    print(
        f"\n{count} mutated files in {time.monotonic() - began:.0f} s: {found.made} made, "
        f"{found.refused} refused, {found.ended} child processes ended"
    )
    return {"crashes on mutated files": float(found.ended)}


# -- a page of thirty images -------------------------------------------------------------------


async def page() -> dict[str, float]:
    """What Lighthouse gives for speed, on its slow phone and on a computer."""
    from insight_cloud.core.errors import InsightError
    from insight_cloud.core.lighthouse import audit
    from tests.images.site import serving as serving_page
    from tests.lighthouse import CHROMIUM, PROGRAM

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        async with serving_page(Path(folder)) as url:
            for kind in ("phone", "desktop"):
                best = 0
                for _ in range(3):
                    try:
                        found = await audit(
                            url,
                            program=PROGRAM,
                            chromium=CHROMIUM,
                            categories=("performance",),
                            desktop=kind == "desktop",
                            timeout_seconds=600,
                        )
                    except InsightError as error:
                        raise Missing(f"Lighthouse: {error} (scripts/setup --tests)") from error
                    best = max(best, found.scores["performance"])
                    if best == 100:
                        break
                figures[f"Lighthouse performance, {kind}"] = float(best)
    print(f"\na page of 30 images: {figures}")
    return figures


# -- the run -------------------------------------------------------------------------------------


def parts(*, short: bool) -> dict[str, Callable[[], dict[str, float]]]:
    """Everything that is measured, by name."""

    def photos() -> list[Path]:
        return [photographs() / name for name in SOURCES[: 1 if short else len(SOURCES)]]

    return {
        "batch": lambda: batch(photos()),
        "serving": serving,
        "refusals": refusals,
        "mutations": lambda: asyncio.run(mutations(1000 if short else 10_000)),
        "quality": equal_quality,
        "memory": memory,
        "page": lambda: asyncio.run(page()),
    }


def inside(*, short: bool, only: str, into: Path | None) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = parts(short=short)
    names = only.split(",") if only else list(known)[: 4 if short else None]
    figures: dict[str, float] = {}
    for name in names:
        if name not in known:
            raise Missing(f"there is no part {name!r}; there are {', '.join(known)}")
        figures |= known[name]()
    print(flush=True)
    missed = 0
    for name, value in figures.items():
        goal, kind = GOALS[name]
        good = value <= goal if kind == "most" else value >= goal - 0.05 * (goal == 0)
        missed += not good
        sign = "≤" if kind == "most" else "≥"
        print(f"{name}: {value:.3g} (goal {sign} {goal:g}{'' if good else ', MISSED'})")
    if into is not None:
        into.write_text(json.dumps(figures, indent=1))
    return 1 if missed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="one source, fewer mutated files")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.make:
        name, source, files = arguments.make
        if name == "ours":
            asyncio.run(make_ours(Path(source).read_bytes(), Path(files)))
        else:
            make_pillow(Path(source), Path(files))
        return
    if arguments.inside:
        try:
            sys.exit(inside(short=arguments.short, only=arguments.only, into=arguments.json))
        except Missing as reason:
            print(f"could not run: {reason}", file=sys.stderr)
            sys.exit(2)
    words = [str(ROOT / "scripts/uv"), "run", "--quiet", "--isolated", "--no-project"]
    words += ["--with-editable", str(ROOT)]
    words += [word for peer in PEERS for word in ("--with", peer)]
    words += ["python", __file__, "--inside", *(["--short"] if arguments.short else [])]
    words += ["--only", arguments.only] if arguments.only else []
    words += ["--json", str(arguments.json.absolute())] if arguments.json else []
    sys.exit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    main()
