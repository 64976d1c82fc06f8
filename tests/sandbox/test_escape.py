"""What code in the sandbox might try. Each attempt must fail, and say how it failed.

Every case is a program that tries one thing; it prints `escaped` if it succeeds and `contained`
with the reason if it does not. What only the outside can see is looked at from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.sandbox import Ended, Sandbox
from tests.sandbox import needed

SECRET = "the-secret-of-the-host"

_FRAME = """
import ctypes, errno, os, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    # One system call; its error becomes an exception.
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def attempt():
{body}
try:
    attempt()
except (OSError, ImportError, AttributeError, ValueError, MemoryError) as error:
    print("contained:", repr(error), flush=True)
else:
    print("escaped", flush=True)
"""


@pytest.fixture(scope="module")
async def sandbox() -> Sandbox:
    """One for all cases."""
    return await needed.sandbox()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Things of this machine that nobody in there may reach."""
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    folder = tmp_path
    while folder != folder.parent and folder.owner() == tmp_path.owner() and folder != Path("/tmp"):
        folder.chmod(0o755)  # only the sandbox hides it, not its rights
        folder = folder.parent
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        path = stack.enter_context(socket.socket(socket.AF_UNIX))
        path.bind(str(tmp_path / "s"))
        path.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = f"insight-{os.getpid()}-{os.urandom(4).hex()}"
        abstract.bind("\0" + name)
        abstract.listen()
        sleeper = subprocess.Popen(["/bin/sleep", "600"])
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        yield {
            "secret": str(secret),
            "port": listener.getsockname()[1],
            "path": str(tmp_path / "s"),
            "abstract": name,
            "pid": sleeper.pid,
            "sleeper": sleeper,
            "package": str(Path(__file__).parents[2] / "insight_cloud" / "__init__.py"),
        }


async def tried(sandbox: Sandbox, body: str, **limits: Any) -> Ended:
    """Run one attempt."""
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    script = _FRAME.format(body=indented)
    ours = sandbox.within(**{"seconds": 30.0, **limits})
    return await ours.run([sys.executable, "-I", "-c", script])


ATTEMPTS = {
    # Files
    "read the passwords of the system": "open('/etc/shadow').read()",
    "read a file of the host that everybody may read": "open({secret!r}).read()",
    "look into the home of root": "assert os.listdir('/root/.ssh')",
    "look into the database's directory": "os.listdir('/var/lib')",
    "write into the system": "open('/usr/bin/owned', 'w')",
    "write into the program": "open({package!r}, 'a')",
    "write beside the root": "open('/owned', 'w')",
    "write into /dev": "open('/dev/owned', 'w')",
    "write into shared memory that nobody counts": "open('/dev/shm/owned', 'w')",
    "follow a link of its own to the host": (
        "os.symlink({secret!r}, '/tmp/link')\nopen('/tmp/link').read()"
    ),
    "make a hard link to a file of the program": "os.link({package!r}, '/tmp/hard')",
    "leave through the root of another process": "open('/proc/1/root{secret}').read()",
    "make a device": "os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))",
    "open the disk": "open('/dev/vda', 'rb')\nopen('/dev/sda', 'rb')",
    "read the kernel's memory": "open('/proc/kcore', 'rb').read(1)",
    "open a file by its handle, past every mount": "call(304, -100, 0, 0)",
    # /proc and /sys
    "see a process of the host": "open('/proc/{pid}/cmdline').read()",
    "change a setting of the kernel": "open('/proc/sys/kernel/core_pattern', 'w').write('|/x')",
    "reboot by the magic key": "open('/proc/sysrq-trigger', 'w').write('b')",
    "see the control groups": "os.listdir('/sys/fs/cgroup')",
    # Network
    "connect to a server of the host": "socket.create_connection(('127.0.0.1', {port}), 3)",
    "connect to the internet": "socket.create_connection(('192.0.2.1', 80), 3)",
    "look a name up": "socket.getaddrinfo('example.com', 80)",
    "send a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "open a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "use a socket's path of the host": "socket.socket(socket.AF_UNIX).connect({path!r})",
    "use a socket's abstract name of the host": (
        "socket.socket(socket.AF_UNIX).connect('\\0' + {abstract!r})"
    ),
    # Rights
    "become root": "os.setuid(0)",
    "become root by a program that may": (
        "import shutil\n"
        "done = subprocess.run([shutil.which('su') or '/bin/su', '-c', 'id -u'],\n"
        "    stdin=subprocess.DEVNULL, capture_output=True, text=True)\n"
        "if done.stdout.strip() != '0': raise OSError(done.returncode, done.stderr)"
    ),
    "make a program that becomes its owner": (
        "open('/tmp/p', 'w').write('x')\nos.chown('/tmp/p', 0, 0)\nos.chmod('/tmp/p', 0o4755)"
    ),
    "be root in a name space of its own": "call(272, 0x10000000)",
    "be root in one, by clone": "call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "be root in one, by clone3": "call(435, 0, 0)",
    "enter another name space": "call(308, 0, 0)",
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "mount by the newer calls": "call(430, b'tmpfs', 0)",
    "change the root": "os.chroot('/tmp')",
    "trace another process": "call(101, 16, 1, 0, 0)",
    "kill a process of the host": "os.kill({pid}, signal.SIGKILL)",
    "use the kernel's keys": "call(250, 0, -3, 0)",
    "load a program into the kernel": "call(321, 0, 0, 0)",
    "submit calls past the filter": "call(425, 8, 0)",
    "measure other processes": "call(298, 0, -1, 0, -1, 0)",
    "use the other numbers of the same calls": "call(0x40000000 + 272, 0x10000000)",
    "lift its own limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (1000000, 1000000))"
    ),
    # Disk
    "fill the disk": (
        "with open('/tmp/big', 'wb') as f:\n"
        "    for _ in range(200): f.write(bytes(1024 * 1024)); f.flush()"
    ),
    "fill the disk with many files": (
        "for number in range(200):\n    with open(f'/tmp/{{number}}', 'wb') as f:\n"
        "        f.write(bytes(1024 * 1024))"
    ),
    "open every descriptor": "files = [open('/dev/null') for _ in range(100000)]",
}
_X86_ONLY = {name for name, body in ATTEMPTS.items() if "call(" in body}


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_nothing_of_this_succeeds(sandbox: Sandbox, host: dict[str, Any], name: str) -> None:
    if name in _X86_ONLY and os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls in here are those of x86-64")
    body = ATTEMPTS[name].format(**{k: v for k, v in host.items() if k != "sleeper"})
    ended = await tried(sandbox, body, disk_bytes=32 * 1024 * 1024)
    assert ended.stdout.startswith(b"contained:"), ended
    assert SECRET.encode() not in ended.stdout + ended.outcome.stderr
    assert host["sleeper"].poll() is None


async def test_the_environment_of_the_host_is_not_there(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", SECRET)
    ended = await sandbox.run(["/bin/sh", "-c", "env; cat /proc/*/environ | tr '\\0' '\\n'"])
    assert SECRET.encode() not in ended.stdout
    assert b"HOME=/tmp" in ended.stdout


async def test_no_descriptor_of_the_host_is_left_open(sandbox: Sandbox) -> None:
    ended = await sandbox.run(
        [sys.executable, "-I", "-c", "import os; print(os.listdir('/proc/self/fd'))"]
    )
    # Three are its own, and one reads the folder.
    assert len(ended.stdout.split()) <= 4, ended


async def test_a_fork_bomb_ends_and_leaves_nobody(sandbox: Sandbox) -> None:
    body = "while True:\n    os.fork()"
    ended = await tried(sandbox, body, processes=48, seconds=5.0)
    assert ended.stdout.startswith(b"contained: BlockingIOError") or ended.problem, ended
    assert await _nobody(sandbox)


async def test_memory_has_an_end(sandbox: Sandbox) -> None:
    body = "parts = []\nwhile True:\n    parts.append(bytearray(16 * 1024 * 1024))"
    ended = await tried(sandbox, body, memory_bytes=128 * 1024 * 1024, disk_bytes=16 * 1024 * 1024)
    memory = (await sandbox.isolation()).memory
    assert "MiB of memory" in ended.problem if memory else b"MemoryError" in ended.stdout, ended


async def test_memory_of_all_processes_together_has_an_end(sandbox: Sandbox) -> None:
    if not (await sandbox.isolation()).memory:
        pytest.skip("no control group can be made here: memory is limited for each process")
    body = (
        "children = [os.fork() for _ in range(4)]\n"
        "part = bytearray(48 * 1024 * 1024)\ntime.sleep(20)"
    )
    ended = await tried(
        sandbox, body, memory_bytes=128 * 1024 * 1024, disk_bytes=16 * 1024 * 1024, seconds=15.0
    )
    assert ended.problem, ended
    assert await _nobody(sandbox)


async def test_time_of_the_processor_has_an_end(sandbox: Sandbox) -> None:
    ended = await tried(sandbox, "while True: pass", cpu_seconds=1)
    assert "exit status" in ended.problem
    assert not ended.stdout


async def test_time_has_an_end_whatever_signals_are_ignored(sandbox: Sandbox) -> None:
    body = (
        "for number in range(1, 32):\n"
        "    if number not in (signal.SIGKILL, signal.SIGSTOP):\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "time.sleep(600)"
    )
    ended = await tried(sandbox, body, seconds=1.5)
    assert ended.problem == "stopped at its time limit of 1.5 s"
    assert await _nobody(sandbox)


async def test_what_is_said_has_an_end(sandbox: Sandbox) -> None:
    body = "while True: sys.stdout.write('x' * 65536)"
    ended = await tried(sandbox, body, output_bytes=1024 * 1024)
    assert ended.problem == "stopped: it wrote more than 1 MiB"
    assert len(ended.stdout) == 1024 * 1024


async def test_a_process_that_left_its_parents_does_not_outlive_the_run(sandbox: Sandbox) -> None:
    body = (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.close(1); os.close(2); time.sleep(600)\n    os._exit(0)\n"
        "raise OSError('done')"
    )
    ended = await tried(sandbox, body)
    assert ended.stdout.startswith(b"contained")
    assert await _nobody(sandbox)


async def test_nothing_stays_when_the_caller_is_cancelled(sandbox: Sandbox) -> None:
    task = asyncio.create_task(tried(sandbox, "time.sleep(600)", seconds=300.0))
    await asyncio.sleep(0.5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await _nobody(sandbox)


async def test_nothing_stays_when_the_worker_is_killed(sandbox: Sandbox) -> None:
    script = (
        "import asyncio\nfrom insight_cloud import wiring\n"
        "from insight_cloud.settings import Settings\n"
        "async def main():\n"
        f"    sandbox = wiring.sandbox(Settings(sandbox={{'uid': {needed.UID}}}))\n"
        "    await sandbox.run(['/bin/sh', '-c', 'echo running >&2; sleep 600'],\n"
        "        heard=lambda data: print(data.decode(), flush=True))\n"
        "asyncio.run(main())\n"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert (await asyncio.wait_for(worker.stdout.readline(), 60)).strip() == b"running"
    worker.kill()
    await worker.wait()
    assert await _nobody(sandbox)


async def _nobody(sandbox: Sandbox) -> bool:
    """Whether no process of the sandbox's user is left; the kernel may take a moment."""
    if os.geteuid() != 0:  # then it is our own user, and others' processes are no concern
        return True
    for _ in range(200):
        if sandbox.uid not in _owners():
            return True
        await asyncio.sleep(0.05)
    return False


def _owners() -> set[int]:
    """The users of all processes."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add(path.stat().st_uid)
    return found


async def test_what_is_shown_may_lie_where_the_writable_place_is(sandbox: Sandbox) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 - no I/O that waits
        shown = Path(folder) / "shown.txt"
        shown.write_text("seen")
        other = Sandbox(show=(*sandbox.show, shown))
        ended = await other.run(["/bin/cat", str(shown)])
        assert (ended.problem, ended.stdout) == ("", b"seen")
        refused = await other.run(["/bin/sh", "-c", f"echo x > {shown}"])
        assert "Read-only" in refused.problem
        assert shown.read_text() == "seen"
