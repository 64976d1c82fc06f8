"""Certificates beside certbot, nginx and sslyze, in one run.

    uv run python bench/tls.py            # about two minutes; needs pebble and nginx
    uv run python bench/tls.py --short    # a fifth of the handshakes, three servers to grade

- `issue`: from an empty folder to the first handshake that a visitor trusts, against a real ACME
  authority (pebble): http-01 answered by the application that serves, dns-01 through the edge's
  stand-in for Cloudflare, an address, and two names. The peer, certbot, only issues: it serves
  nothing.
- `renew`: handshakes by several processes without a pause, while a new certificate is installed
  every half second. A failed one is any that is not verified to the end. `served after` is the
  longest time from an installation to a visitor who sees it. The peer is nginx with `-s reload`.
- `grade`: seconds for a whole grade of servers of several kinds, beside sslyze, which is installed
  into an environment of its own and scans the same without giving a grade.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import uvicorn  # noqa: E402 - after the path

from insight_cloud.edge.fake import TOKEN, Fake  # noqa: E402
from insight_cloud.tls import (  # noqa: E402  # noqa: E402
    Acme,
    Api,
    Dns01,
    Http01,
    Keeper,
    Live,
    PlainHttp,
    Records,
    Store,
    Wanted,
    prober,
    rating,
    serving,
)
from insight_cloud.tls.store import Meta  # noqa: E402
from tests.edge.support import answering  # noqa: E402
from tests.tls import authority, configurations  # noqa: E402
from tests.tls.pebble import Pebble, free_port, pebble  # noqa: E402

VISITORS = 3
ISSUE_GOAL, SERVED_GOAL, GRADE_GOAL = 5.0, 1.0, 1.0
Row = dict[str, Any]


async def app(scope: Any, _: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


@contextlib.contextmanager
def served(live: Live, port: int) -> Iterator[None]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, ssl_context_factory=lambda *_: live.context,
        lifespan="off", log_level="error", loop="uvloop", http="httptools",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.001)
    yield
    server.should_exit = True
    thread.join()


def visit(port: int, trust: ssl.SSLContext, name: str) -> int:
    """One visitor: a verified handshake, a request, an answer. Returns the serial number."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        trust.wrap_socket(plain, server_hostname=name) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if b" 200 " not in connection.recv(4096):
            raise OSError("no answer")
        found = connection.getpeercert()
    return int(str((found or {})["serialNumber"]), 16)


# -- issue ----------------------------------------------------------------------------------------


def issue(acme: Pebble) -> list[Row]:
    rows = []
    fake = Fake(name="site.example", on_change=lambda _: publish(fake, acme))
    with answering(fake) as url:
        for title, names, by_dns in (
            ("http-01, two names", ("site.example", "www.site.example"), False),
            ("http-01, an address", ("127.0.0.1",), False),
            ("dns-01, with a wildcard", ("site.example", "*.site.example"), True),
        ):
            make = (lambda: Dns01(Records(Api(TOKEN, url=url)), wait_seconds=0)) if by_dns else None
            seconds = min(from_nothing(acme, names, make) for _ in range(2))
            rows.append({"what": title, "who": "ours", "seconds": round(seconds, 2)})
    rows.append(certbot(acme))
    return rows


def publish(fake: Fake, acme: Pebble) -> None:
    """Carry the proofs from the stand-in's zone to the name server that the authority asks."""
    name = "_acme-challenge.site.example"
    acme.tell("clear-txt", host=f"{name}.")
    for value in fake.records.values(name):
        acme.tell("set-txt", host=f"{name}.", value=value)


def from_nothing(acme: Pebble, names: tuple[str, ...], make: Callable[[], Any] | None) -> float:
    """Seconds from an empty folder to the first trusted visit."""
    trust = ssl.create_default_context(cadata=acme.root().decode())
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        store, port = Store(Path(folder)), free_port()
        solver = make() if make else Http01(store)
        client = Acme(acme.url, store, solver, agree_terms=True, ca_file=acme.ca_file)
        keeper = Keeper(store, client, Wanted(names))
        live = Live(store, names=names)
        http = serving.listen("127.0.0.1", acme.http_port)
        plain = PlainHttp(store, names=names, https_port=port)
        with (
            served(live, port),
            live.following(seconds=0.05),
            serving.beside(keeper=keeper, http=http, plain=plain, minutes=240),
        ):
            while time.perf_counter() < began + 60:
                with contextlib.suppress(OSError):
                    visit(port, trust, names[0])
                    return time.perf_counter() - began
                time.sleep(0.01)
    raise SystemExit("no certificate within a minute")


def certbot(acme: Pebble) -> Row:
    row: Row = {"what": "issue only, two names", "who": "certbot"}
    program = shutil.which("certbot")
    if program is None:
        return {**row, "seconds": None, "note": "not installed (Debian: apt-get install certbot)"}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(
            [
                program, "certonly", "--standalone", "--http-01-address", "127.0.0.1",
                "--http-01-port", str(acme.http_port), "--non-interactive", "--agree-tos",
                "--register-unsafely-without-email", "--server", acme.url,
                "--domain", "site.example", "--domain", "www.site.example",
                "--config-dir", folder, "--work-dir", folder, "--logs-dir", folder,
            ],
            env={"PATH": "/usr/bin:/bin", "REQUESTS_CA_BUNDLE": str(acme.ca_file)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    if done.returncode != 0:
        return {**row, "seconds": None, "note": done.stderr.strip()[-200:]}
    return {**row, "seconds": round(seconds, 2)}


# -- renew under load ------------------------------------------------------------------------------


def visitor(port: int, count: int, ready: Any, results: Any, root: str) -> None:
    trust = ssl.create_default_context(cadata=root)
    seen: dict[int, float] = {}
    failures: list[str] = []
    ready.wait(60)
    for _ in range(count):
        try:
            serial = visit(port, trust, "localhost")
        except (OSError, ValueError) as error:
            failures.append(f"{type(error).__name__}: {error}")
        else:
            seen.setdefault(serial, time.monotonic())
    results.put((seen, failures))


def load(port: int, install: Callable[[], int], handshakes: int) -> Row:
    """Visit without a pause while `install` is called every half second."""
    context = multiprocessing.get_context("spawn")
    queue, ready = context.Queue(), context.Barrier(VISITORS + 1)
    root = authority.root().alone.decode()
    each = -(-handshakes // VISITORS)
    visitors = [
        context.Process(target=visitor, args=(port, each, ready, queue, root))
        for _ in range(VISITORS)
    ]
    for one in visitors:
        one.start()
    ready.wait(60)
    began, installed = time.monotonic(), dict[int, float]()
    while any(one.is_alive() for one in visitors) and queue.qsize() < VISITORS:
        moment = time.monotonic()
        installed[install()] = moment
        time.sleep(0.5)
    found = [queue.get(timeout=60) for _ in visitors]
    passed = time.monotonic() - began
    for one in visitors:
        one.join()
    first: dict[int, float] = {}
    for seen, _ in found:
        for serial, moment in seen.items():
            first[serial] = min(first.get(serial, moment), moment)
    lags = [first[s] - moment for s, moment in installed.items() if s in first]
    failures = [text for _, texts in found for text in texts]
    return {
        "handshakes": each * VISITORS,
        "failed": len(failures),
        "failures": failures[:3],
        "certificates": len(lags),
        "served_after": round(max(lags), 3),
        "per_second": round(each * VISITORS / passed),
    }


def renew(handshakes: int) -> list[Row]:
    # Made before, so that the machine's time goes into handshakes.
    pairs = iter([authority.leaf("localhost") for _ in range(400)])
    with tempfile.TemporaryDirectory() as folder:
        store, port = Store(Path(folder)), free_port()

        def install() -> int:
            pair = next(pairs)
            store.install(pair.chain, pair.key_bytes, Meta("custom", datetime.now(UTC)))
            return pair.certificate.serial_number

        install()
        live = Live(store)
        with served(live, port), live.following():
            rows = [{"who": "ours", **load(port, install, handshakes)}]
    rows.append(renew_nginx(handshakes, pairs))
    return rows


def renew_nginx(handshakes: int, pairs: Iterator[authority.Signer]) -> Row:
    program = shutil.which("nginx")
    if program is None:
        return {"who": "nginx", "note": "not installed (Debian: apt-get install nginx-light)"}
    with tempfile.TemporaryDirectory() as name:
        store, port = Store(Path(name) / "store"), free_port()
        words = [program, "-p", name, "-c", f"{name}/conf"]

        def install() -> int:
            pair = next(pairs)
            store.install(pair.chain, pair.key_bytes, Meta("custom", datetime.now(UTC)))
            return pair.certificate.serial_number

        def reload() -> int:
            serial = install()
            subprocess.run([*words, "-s", "reload"], check=True, capture_output=True)
            return serial

        install()
        paths = " ".join(
            f"{kind}_temp_path {name}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(name, "conf").write_text(
            f"daemon off; user root; worker_processes 1; error_log {name}/log; pid {name}/pid;"
            f"events {{}} http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port} ssl;"
            f"ssl_certificate {store.chain}; ssl_certificate_key {store.key};"
            "return 200 hello; } }"
        )
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            return {"who": "nginx", **load(port, reload, handshakes)}
        finally:
            process.terminate()
            process.wait()


# -- grade ----------------------------------------------------------------------------------------


def grade(names: list[str]) -> list[Row]:
    sslyze = _sslyze()
    rows = []
    for wanted in (one for one in configurations.ALL if one.name in names):
        with wanted.serve() as port:
            began = time.perf_counter()
            found = asyncio.run(prober.probe("localhost", port, address="127.0.0.1"))
            roots = [authority.root().certificate]
            letter = rating.rate(found, now=datetime.now(UTC), roots=roots).letter
            seconds = time.perf_counter() - began
            row = {"server": wanted.name, "grade": letter, "ours": round(seconds, 3)}
            rows.append({**row, "sslyze": _scan(sslyze, port) if sslyze else None})
    return rows


def _sslyze() -> list[str] | None:
    uv = shutil.which("uv") or shutil.which(str(ROOT / "scripts/uv"))
    if uv is None:
        return None
    words = [uv, "run", "--quiet", "--isolated", "--no-project", "--with", "sslyze", "python"]
    ready = subprocess.run([*words, "-c", "import sslyze"], check=False, capture_output=True)
    where = subprocess.run(
        [*words, "-c", "import sys; print(sys.executable)"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    return words if ready.returncode == 0 and where.returncode == 0 else None


_SCAN = """
import sys, time
from sslyze import Scanner, ServerScanRequest, ServerNetworkLocation
began = time.perf_counter()
scanner = Scanner()
where = ServerNetworkLocation("localhost", int(sys.argv[1]), ip_address="127.0.0.1")
scanner.queue_scans([ServerScanRequest(where)])
list(scanner.get_results())
print(time.perf_counter() - began)
"""


def _scan(words: list[str], port: int) -> float | None:
    done = subprocess.run(
        [*words, "-c", _SCAN, str(port)], capture_output=True, text=True, check=False
    )
    lines = done.stdout.split()
    return round(float(lines[-1]), 3) if done.returncode == 0 and lines else None


# -- the run ---------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer handshakes and servers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    missing = [p for p in ("pebble", "pebble-challtestsrv", "nginx") if shutil.which(p) is None]
    if missing:
        print(f"could not run: {', '.join(missing)} not installed", file=sys.stderr)
        sys.exit(2)
    with pebble(PEBBLE_WFE_NONCEREJECT="0") as acme:
        issued = issue(acme)
    renewed = renew(2_000 if arguments.short else 10_000)
    graded = grade(_SHORT if arguments.short else [one.name for one in configurations.ALL])
    _print(issued, renewed, graded)
    figures = {"issue": issued, "renew": renewed, "grade": graded}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(0 if _verdict(issued, renewed, graded) else 1)


_SHORT = ["modern", "1.0 to 1.3", "3DES"]


def _print(issued: list[Row], renewed: list[Row], graded: list[Row]) -> None:
    print(f"{'issue':26} {'who':8} {'seconds':>8}")
    for row in issued:
        print(f"{row['what']:26} {row['who']:8} {row['seconds'] or row.get('note', '-'):>8}")
    heads = ("renew", "handshakes", "failed", "certificates", "served after", "/s")
    print("\n{:8} {:>10} {:>6} {:>12} {:>12} {:>6}".format(*heads))
    for row in renewed:
        if "note" in row:
            print(f"{row['who']:8} {row['note']}")
            continue
        print(
            f"{row['who']:8} {row['handshakes']:10,} {row['failed']:6} {row['certificates']:12} "
            f"{row['served_after']:10.3f} s {row['per_second']:6,}  {' '.join(row['failures'])}"
        )
    print(f"\n{'grade':26} {'letter':>6} {'ours':>8} {'sslyze':>8}")
    for row in graded:
        print(
            f"{row['server']:26} {row['grade']:>6} {row['ours']:6.3f} s {row['sslyze'] or '-':>8}"
        )


def _verdict(issued: list[Row], renewed: list[Row], graded: list[Row]) -> bool:
    slowest = max(row["seconds"] for row in issued if row["who"] == "ours")
    ours = renewed[0]
    grading = max(row["ours"] for row in graded)
    print(f"\nissue: {slowest:.2f} s from nothing to served HTTPS (goal <= {ISSUE_GOAL:g} s)")
    print(
        f"renew: {ours['failed']} of {ours['handshakes']:,} handshakes failed, a new certificate "
        f"is served after {ours['served_after']:.2f} s (goal 0, <= {SERVED_GOAL:g} s)"
    )
    print(f"grade: {grading:.2f} s for the slowest server (goal <= {GRADE_GOAL:g} s)")
    met = slowest <= ISSUE_GOAL and grading <= GRADE_GOAL
    return bool(met and ours["failed"] == 0 and ours["served_after"] <= SERVED_GOAL)


if __name__ == "__main__":
    main()
