"""The service on this machine, for somebody who tries it: what `make up` and `make down` do.

Apart from the program: an operator runs `insight serve` under a supervisor instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from insight_cloud import settings
from insight_cloud.core.errors import INTERRUPTED, Conflict, InsightError, Unavailable
from insight_cloud.core.report import stopwatch

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".var"
LOG = STATE / "serve.log"
PID = STATE / "serve.pid"
INSIGHT = Path(sys.executable).with_name("insight")

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
_LISTENING = "Insight Cloud is on "
"""What `insight serve` says when everything is prepared."""

_PORT_TAKEN = "insight: cannot listen on "

_INCOMPLETE = 3
"""Exit status of `insight analyze` when a detector failed; the others' findings were sent."""

SAMPLE = "requests"
SAMPLE_VERSION = "2.32.5"


def environment() -> dict[str, str]:
    """Ours, with the data below `.var/` unless the caller decided about that."""
    kept_here = {"INSIGHT_DATABASE__DIRECTORY": str(STATE / "postgres")}
    return kept_here | dict(os.environ)


def up() -> None:
    """Start the service, analyse a real project with it, and say where to look.

    Raises:
        InsightError: a step failed; what was started is stopped again.
    """
    url = address()
    running = pid()
    if running is not None:
        wait_until_ready(url, running)
        summarise(url, running, "is already running")
        return
    with stopwatch() as watch, started(url) as process:
        say(f"the service is ready after {watch.seconds:.1f} s; its log is {short(LOG)}")
        analyse(url, *sample())
        summarise(url, process, "is running")


def down() -> None:
    """Stop the service and the database that it started.

    Raises:
        Unavailable: it did not stop in time.
    """
    running = pid()
    if running is None:
        say("the service is not running")
        return
    stop(running)
    say("the service is stopped; its data stay in .var/")


# -- the process -----------------------------------------------------------------------------


def address() -> str:
    """Where the service listens, by the settings (a proxy's public URL is of no use here)."""
    server = settings.load(environment=environment()).server
    return server.model_copy(update={"public_url": None}).url


def pid() -> int | None:
    """The process of the service started from this checkout, if it is still there."""
    try:
        number = int(PID.read_text(encoding="ascii"))
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if os.fsencode(INSIGHT) in command and b"serve" in command else None


@contextlib.contextmanager
def started(url: str) -> Iterator[int]:
    """Start the service and wait for it; stop it again if the body fails or is interrupted."""
    STATE.mkdir(exist_ok=True)
    with LOG.open("wb") as log:
        child = subprocess.Popen(
            [INSIGHT, "serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,  # it outlives this terminal; Ctrl-C comes to us, not to it
        )
    PID.write_text(f"{child.pid}\n", encoding="ascii")
    try:
        wait_until_ready(url, child.pid, child)
        yield child.pid
    except BaseException:
        if child.poll() is None:
            stop(child.pid)
        child.wait()
        PID.unlink(missing_ok=True)
        raise
    child.returncode = 0  # we leave it running on purpose: Popen would warn of a forgotten child


def wait_until_ready(url: str, process: int, child: subprocess.Popen[bytes] | None = None) -> None:
    """Return when the service says that it can serve.

    Raises:
        Unavailable: it ended, or did not become ready in time; the message has its log's end.
    """
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        ended = pid() is None if child is None else child.poll() is not None
        if ended:
            hint = "\nAnother port: INSIGHT_SERVER__PORT=8001 make up" * (_PORT_TAKEN in read_log())
            raise Unavailable(f"the service ended before it was ready:\n{log_end()}{hint}")
        # Both: another program may answer at this address while ours finds it taken.
        if _LISTENING in read_log() and healthy(url):
            return
        time.sleep(0.1)
    raise Unavailable(
        f"process {process} was not ready after {READY_SECONDS:.0f} s; {short(LOG)} ends with:\n"
        f"{log_end()}"
    )


def healthy(url: str) -> bool:
    """Whether the service at `url` says of itself that it can serve."""
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=5) as answer:  # noqa: S310 - http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(process: int) -> None:
    """Ask the process to end, and wait until it has.

    Raises:
        Unavailable: it is still there after `STOP_SECONDS`.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while alive(process):
        if time.monotonic() > until:
            raise Unavailable(f"process {process} did not stop within {STOP_SECONDS:.0f} s")
        time.sleep(0.05)
    PID.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Whether there is such a process (one that only waits to be collected is not)."""
    try:
        return stat_fields(process)[0] not in {"Z", "X"}
    except OSError:
        return False


def read_log() -> str:
    """What the service said since its start."""
    return LOG.read_text(encoding="utf-8", errors="replace") if LOG.exists() else ""


def log_end() -> str:
    """The last lines of the service's log."""
    return (
        "\n".join(f"  {line}" for line in read_log().splitlines()[-20:]) or "  (the log is empty)"
    )


# -- the first analysis ----------------------------------------------------------------------


def sample() -> tuple[Path, str, str]:
    """A real project to analyse: its directory, its name and its version."""
    directory = STATE / "sample" / f"{SAMPLE}-{SAMPLE_VERSION}"
    try:
        if not directory.exists():
            fetch(directory.parent)
    except (subprocess.CalledProcessError, OSError) as error:
        say(f"cannot get the sources of {SAMPLE} ({error}); analysing this checkout instead")
        return ROOT, "insight-cloud", "checkout"
    return directory, SAMPLE, f"v{SAMPLE_VERSION}"


def fetch(into: Path) -> None:
    """Download and unpack the sources of the sample from the package registry."""
    wanted = f"{SAMPLE}=={SAMPLE_VERSION}"
    say(f"getting the sources of {wanted}")
    # pip asks a source package for its metadata by its build tool, which has to be there.
    tools = ["--with", "pip", "--with", "setuptools", "--with", "wheel"]
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(str(ROOT / "scripts/uv"), "run", "--quiet", "--no-project", *tools),
            *("python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-binary", ":all:"),
            *("--dest", str(into), wanted),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    name = f"{SAMPLE}-{SAMPLE_VERSION}"
    archive = next(into.glob(f"{name}.tar.*"))
    with tempfile.TemporaryDirectory(dir=into) as unpacked:
        # The program, because Python's own refuses paths that lead outside only from 3.11.4 on.
        subprocess.run(
            ["/bin/tar", "--extract", "--file", archive, "--directory", unpacked], check=True
        )
        (Path(unpacked) / name).rename(into / name)  # whole, or not at all


def analyse(url: str, directory: Path, name: str, version: str) -> None:
    """Run every detector on `directory` and send the findings to the service.

    Raises:
        Unavailable: nothing arrived. A detector that failed is told, and is no such failure.
    """
    token = insight("users", "token", "--name", "make up", "--scope", "ingest", "--days", "1")
    with stopwatch() as watch:
        insight(
            *("analyze", str(directory), "--upload", "--server", url),
            *("--project", name, "--branch", "main", "--commit", version),
            *("--output", str(STATE / "findings.txt"), "--cache-dir", str(STATE / "cache")),
            accepted=(0, _INCOMPLETE),
            INSIGHT_CLIENT__TOKEN=token,
        )
    say(f"{name} {version.removeprefix('v')} was analysed in {watch.seconds:.1f} s")


def insight(
    *arguments: str, accepted: tuple[int, ...] = (0,), quiet: bool = False, **variables: str
) -> str:
    """Run `insight` and return what it prints; its messages go to the terminal unless `quiet`.

    Raises:
        Unavailable: it ended with another status than `accepted`, after saying why.
    """
    done = subprocess.run(
        [INSIGHT, *arguments],
        cwd=ROOT,
        env=environment() | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode not in accepted:
        raise Unavailable(
            f"`insight {' '.join(arguments)}` ended with {done.returncode}; "
            f"the service's log ends with:\n{log_end()}"
        )
    return done.stdout.strip()


# -- what is said ----------------------------------------------------------------------------


def summarise(url: str, process: int, state: str) -> None:
    """Say where the service is, what it costs and how to sign in."""
    mebibytes = memory_bytes(process) / 2**20
    say(
        f"\nInsight Cloud {state}.\n"
        f"  page     {url}\n"
        f"  sign in  {sign_in()}\n"
        f"  memory   {mebibytes:.0f} MiB, without PostgreSQL\n"
        f"  stop     make down"
    )


def sign_in() -> str:
    """How somebody gets in: a link for the first administrator, or where to find another way."""
    status = Conflict.exit_status
    link = insight("users", "link", accepted=(0, status), quiet=True)
    if link:
        return f"{link}  (works once, for the first administrator)"
    where = f"INSIGHT_DATABASE__DIRECTORY={short(STATE / 'postgres')} {short(INSIGHT)}"
    return f"there is an administrator already; for a new password: {where} users link EMAIL"


def memory_bytes(process: int) -> int:
    """The proportional share of memory of a process and its descendants, without PostgreSQL's."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                children.setdefault(int(stat_fields(int(entry.name))[1]), []).append(
                    int(entry.name)
                )
    total, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        with contextlib.suppress(OSError):
            if Path(f"/proc/{number}/comm").read_text(encoding="ascii").strip() != "postgres":
                total += proportional_bytes(number)
                waiting += children.get(number, [])
    return total


def proportional_bytes(process: int) -> int:
    """The Pss of one process: private pages, and its share of those that others have too."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def stat_fields(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before may hold anything."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def short(path: Path) -> str:
    """A path as seen from the checkout."""
    return str(path.relative_to(ROOT))


def say(message: str) -> None:
    """Tell the person in front of the terminal."""
    print(message, flush=True)


def main(arguments: list[str]) -> int:
    """Carry out `up` or `down`; return the exit status."""
    try:
        {"up": up, "down": down}[arguments[0]]()
    except InsightError as error:
        print(f"make {arguments[0]}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
