"""Assets beside ServeStatic, WhiteNoise, nginx and Next.js: requests, and a visit after a release.

    uv run python bench/assets.py            # about three minutes; needs npm, nginx and wrk
    uv run python bench/assets.py --short    # fewer rounds, less than a minute once installed
    uv run python bench/assets.py --json figures.json

The peers are installed into `.var/bench/assets/`. All serve the same file, Chart.js 4.5.1 (208 KB),
from one process, to a client that accepts gzip, Brotli and Zstandard, as browsers do. The order
rotates, and the best of the rounds counts. Python's servers are compared on the same web server,
Granian, ours also on uvicorn. `CPU` is what the kernel counted for the server's processes.

The second table is a visit after a release: Chart.js 4.4.9, Bootstrap 5.3.7 and htmx 2.0.7 are
there, the next versions are asked for over HTTP with `Available-Dictionary`, and what comes is
unpacked and compared.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".var/bench/assets"
PEERS = ("servestatic==4.4.0", "whitenoise==6.12.0", "granian==2.8.7")
NODE_PEERS = (
    "chart.js@4.5.1",
    "chart-before@npm:chart.js@4.4.9",
    "bootstrap@5.3.8",
    "bootstrap-before@npm:bootstrap@5.3.7",
    "htmx.org@2.0.8",
    "htmx-before@npm:htmx.org@2.0.7",
    "next@15.5.29",
    "react@19",
    "react-dom@19",
)
BEFORE = {
    "chart.js": "chart-before/dist/chart.umd.js",
    "bootstrap.css": "bootstrap-before/dist/css/bootstrap.css",
    "htmx.js": "htmx-before/dist/htmx.js",
}
AFTER = {
    "chart.js": "chart.js/dist/chart.umd.js",
    "bootstrap.css": "bootstrap/dist/css/bootstrap.css",
    "htmx.js": "htmx.org/dist/htmx.js",
}
ACCEPT = "gzip, deflate, br, zstd"
GOALS = {
    "ours / the faster Python peer": (1.8, "least"),
    "ours / next start": (1.8, "least"),
    "ours / nginx": (0.75, "least"),
    "bytes after a release / Brotli bytes": (0.05, "most"),
}
_NEXT = {
    "next.config.js": "module.exports = { outputFileTracingRoot: __dirname };",
    "pages/index.js": "module.exports = function Page() { return 'assets' }",
}


class Missing(Exception):  # noqa: N818 - what it says
    """Something that is needed cannot be had."""


# -- what is served ----------------------------------------------------------------------------


def npm() -> Path:
    """A folder with Next.js and the two releases of three libraries."""
    folder = FOLDER / "node"
    if not (folder / "node_modules/next/package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = [program("npm"), "install", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run(
            [*command, "--silent", *NODE_PEERS], cwd=folder, capture_output=True, check=False
        )
        if done.returncode:
            raise Missing(f"npm could not install the peers: {done.stderr[-300:].decode()}")
    return folder


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def release(names: dict[str, str]) -> dict[str, bytes]:
    return {name: (npm() / "node_modules" / path).read_bytes() for name, path in names.items()}


def prepare(site: Path) -> None:
    """Both releases as we build them, and the newer one as the peers have it."""
    from insight_cloud.assets import Assets

    for names in (BEFORE, AFTER):
        with tempfile.TemporaryDirectory() as sources:
            for name, body in release(names).items():
                Path(sources, name).write_bytes(body)
            assets = Assets.prepare(Path(sources), kept=site / "built")
    peers = site / "peers/static"
    peers.mkdir(parents=True)
    served = assets.release["chart.js"]
    # What is minified is the same for all, and so is the name with its hash.
    (peers / Path(served.path).name).write_bytes(served.body)
    (site / "path").write_text(f"/static/{served.path}")
    command = [sys.executable, "-m", "whitenoise.compress", "-q", str(peers)]
    if subprocess.run(command, check=False).returncode:
        raise Missing("WhiteNoise could not compress")


def application(name: str) -> Any:
    """What a Python server serves; called in its process."""
    site = Path(os.environ["BENCH_SITE"])
    if name == "ours":
        from insight_cloud.assets import Assets, Static

        return Static(Assets.load(site / "built"))
    immutable = r"^/static/.+\.[0-9a-f]{12}\..+$"
    options = {
        "root": str(site / "peers/static"),
        "prefix": "static/",
        "immutable_file_test": immutable,
    }
    if name == "servestatic":
        from servestatic import ServeStaticASGI  # type: ignore[import-not-found]

        async def nothing(*_: Any) -> None:
            raise RuntimeError("only files are asked for")

        return ServeStaticASGI(nothing, **options)
    from whitenoise import WhiteNoise  # type: ignore[import-not-found]

    def nowhere(_environ: Any, start: Any) -> list[bytes]:
        start("404 Not Found", [])
        return []

    return WhiteNoise(nowhere, **options)


def __getattr__(name: str) -> Any:
    """`assets:ours` and so on, for the servers' command lines."""
    if name in {"ours", "servestatic", "whitenoise"}:
        return application(name)
    raise AttributeError(name)


# -- servers -------------------------------------------------------------------------------------


@dataclass
class Server:
    title: str
    url: str
    pid: int
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    size: int = 0
    coding: str = ""
    kept: str = ""

    @property
    def rate(self) -> float:
        return max(self.rates)

    @property
    def cost(self) -> float:
        """Microseconds of CPU for a request."""
        return min(self.costs)


def commands(site: Path, port: int) -> dict[str, list[str]]:
    granian = [sys.executable, "-m", "granian", "--host", "127.0.0.1", "--port", str(port)]
    granian += ["--workers", "1", "--no-ws", "--log-level", "error", "--interface"]
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log"]
    uvicorn += ["--lifespan", "off", "--log-level", "error"]
    return {
        "ours, Granian": [*granian, "asginl", "assets:ours"],
        "ours, uvicorn": [*uvicorn, "assets:ours"],
        "ServeStatic, Granian": [*granian, "asginl", "assets:servestatic"],
        "ServeStatic, uvicorn": [*uvicorn, "assets:servestatic"],
        "WhiteNoise, Granian": [*granian, "wsgi", "assets:whitenoise"],
        "nginx": [program("nginx"), "-c", str(nginx(site, port)), "-e", "/dev/null"],
        "next start": [
            str(npm() / "node_modules/.bin/next"),
            *("start", "--port", str(port), "--hostname", "127.0.0.1"),
        ],
    }


def nginx(site: Path, port: int) -> Path:
    """As people set it up for files that are compressed beforehand; Debian's knows no Brotli."""
    place = site / f"nginx-{port}.conf"
    place.write_text(f"""
daemon off; worker_processes 1; pid {site}/nginx-{port}.pid; user root;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on;
    keepalive_requests 1000000; client_body_temp_path {site}/nginx-body;
    server {{
        listen 127.0.0.1:{port}; root {site}/peers; gzip_static on; gzip_vary on;
        add_header Cache-Control "public, max-age=31536000, immutable";
    }}
}}
""")
    return place


@contextlib.contextmanager
def running(title: str, site: Path) -> Iterator[Server]:
    port = free_port()
    words = commands(site, port)[title]
    folder = npm() if title == "next start" else ROOT / "bench"
    environment = os.environ | {
        "BENCH_SITE": str(site),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}",
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    log = site / f"{title}.log"
    with log.open("wb") as said:
        child = subprocess.Popen(
            words, stdout=said, stderr=said, start_new_session=True, cwd=folder, env=environment
        )
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if time.monotonic() > until or child.poll() is not None:
                raise Missing(f"{title} does not serve: {log.read_text()[-300:]}")
            time.sleep(0.1)
        yield Server(title, f"http://127.0.0.1:{port}{(site / 'path').read_text()}", child.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def build_next(site: Path) -> None:
    """A site whose `public/` has the file."""
    folder = npm()
    for name, text in _NEXT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.rmtree(folder / "public", ignore_errors=True)
    shutil.copytree(site / "peers/static", folder / "public/static")
    if not (folder / ".next/BUILD_ID").exists():
        built = subprocess.run(
            [str(folder / "node_modules/.bin/next"), "build"],
            cwd=folder,
            env=os.environ | {"NEXT_TELEMETRY_DISABLED": "1"},
            capture_output=True,
            check=False,
        )
        if built.returncode:
            raise Missing(f"next build failed: {built.stdout[-300:].decode()}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# -- measuring -----------------------------------------------------------------------------------


def ask(url: str, **headers: str) -> tuple[http.client.HTTPMessage, bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", f"/{path}", headers={"accept-encoding": ACCEPT} | given)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise Missing(f"{url} answers {answer.status}")
    return answer.headers, body


def look(server: Server) -> None:
    """What one request brings."""
    headers, body = ask(server.url)
    server.size = len(body)
    server.coding = headers["content-encoding"] or "none"
    control = headers["cache-control"] or ""
    server.kept = "for ever" if "immutable" in control else control or "not said"


def load(server: Server, seconds: int) -> None:
    words = [program("wrk"), "-t1", "-c32", f"-d{seconds}", "-H", f"accept-encoding: {ACCEPT}"]
    before = cpu_seconds(server.pid)
    said = subprocess.run([*words, server.url], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(server.pid) - before
    if "Non-2xx" in said:
        raise Missing(f"{server.title} failed under load")
    count = int(next(line.split()[0] for line in said.splitlines() if "requests in" in line))
    rate = next(line.split()[1] for line in said.splitlines() if "Requests/sec" in line)
    server.rates.append(float(rate))
    server.costs.append(1e6 * used / count)


def cpu_seconds(leader: int) -> float:
    """What all processes of a session have used; `leader` began it."""
    ticks = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = place.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def serving(site: Path, *, short: bool) -> dict[str, float]:
    build_next(site)
    titles = list(commands(site, 0))
    with contextlib.ExitStack() as stack:
        servers = {title: stack.enter_context(running(title, site)) for title in titles}
        for server in servers.values():
            look(server)
            load(server, 1)
            server.rates.clear()
            server.costs.clear()
        rounds = 2 if short else 5
        for number in range(rounds):
            for title in titles[number % len(titles) :] + titles[: number % len(titles)]:
                load(servers[title], 2 if short else 4)
    print(f"\n{'one process, 208 KB script':28}{'req/s':>9}{'CPU us':>9}{'bytes':>9}  coding  kept")
    for title, server in servers.items():
        print(
            f"{title:28}{server.rate:9,.0f}{server.cost:9.0f}{server.size:9,}  "
            f"{server.coding:7} {server.kept}"
        )
    ours = servers["ours, Granian"].rate
    peers = [servers[title].rate for title in ("ServeStatic, Granian", "WhiteNoise, Granian")]
    return {
        "ours / the faster Python peer": ours / max(peers),
        "ours / next start": ours / servers["next start"].rate,
        "ours / nginx": ours / servers["nginx"].rate,
    }


def after_a_release(site: Path) -> dict[str, float]:
    """Ask for the new files as a browser does that has the old ones."""
    import zstandard

    from insight_cloud.assets import Assets

    assets = Assets.load(site / "built")
    old = assets.earlier[0]
    total = {"br": 0, "dcz": 0}
    print(f"\n{'after a release':28}{'bytes':>9}{'br':>9}{'dcz':>9}{'share':>8}")
    with running("ours, uvicorn", site) as server:
        base = server.url.partition("/static/")[0]
        for name in AFTER:
            url = base + assets.url(name)
            had = old[name].body
            digest = base64.b64encode(hashlib.sha256(had).digest()).decode()
            _, brotli = ask(url)
            headers, packed = ask(url, available_dictionary=f":{digest}:", accept_encoding="br,dcz")
            if headers["content-encoding"] != "dcz" or packed[8:40] != hashlib.sha256(had).digest():
                raise Missing(f"{name} does not come as a delta")
            dictionary = zstandard.ZstdCompressionDict(
                had, dict_type=zstandard.DICT_TYPE_RAWCONTENT
            )
            unpacked = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(packed[40:])
            if unpacked != assets.release[name].body:
                raise Missing(f"{name} comes out wrong")
            print(
                f"{name:28}{len(unpacked):9,}{len(brotli):9,}{len(packed):9,}"
                f"{100 * len(packed) / len(brotli):7.1f}%"
            )
            total["br"] += len(brotli)
            total["dcz"] += len(packed)
    return {"bytes after a release / Brotli bytes": total["dcz"] / total["br"]}


# -- the run -------------------------------------------------------------------------------------


def inside(*, short: bool, into: Path | None) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        site = Path(folder)
        prepare(site)
        figures = serving(site, short=short) | after_a_release(site)
    print()
    missed = 0
    for name, value in figures.items():
        goal, kind = GOALS[name]
        good = value <= goal if kind == "most" else value >= goal
        missed += not good
        sign = "≤" if kind == "most" else "≥"
        print(f"{name}: {value:.3g} (goal {sign} {goal:g}{'' if good else ', MISSED'})")
    if into is not None:
        into.write_text(json.dumps(figures, indent=1))
    return 1 if missed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.inside:
        try:
            sys.exit(inside(short=arguments.short, into=arguments.json))
        except Missing as reason:
            print(f"could not run: {reason}", file=sys.stderr)
            sys.exit(2)
    words = [str(ROOT / "scripts/uv"), "run", "--quiet", "--isolated", "--no-project"]
    words += ["--with-editable", str(ROOT)]
    words += [word for peer in PEERS for word in ("--with", peer)]
    words += ["python", __file__, "--inside", *(["--short"] if arguments.short else [])]
    words += ["--json", str(arguments.json.absolute())] if arguments.json else []
    sys.exit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    main()
