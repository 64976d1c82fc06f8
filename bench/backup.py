"""Backups beside pg_dump | gzip -9, pg_dump's own formats and pgBackRest, in one run.

    uv run python bench/backup.py            # 1 GiB and more: ten to twenty minutes
    uv run python bench/backup.py --short    # a small database: under a minute

Ours is encrypted, uploaded to an S3 server on loopback, and read back from it; the others write
plain files. CPU is that of the client's programs and of the PostgreSQL server together; `peak` is
the resident memory of all client processes at once, of the backup or the restore, whichever took
more. The long run plays two rounds of all methods after each other, and takes the faster one of
each. Every restored database is compared with its source, but pgBackRest's, which is a copy of the
whole cluster's files and includes no start of a server.

A peer that is not installed is said to be missing; nothing is estimated. Debian's PostgreSQL is
used where it is installed, because pgBackRest of the same Debian knows it; otherwise the embedded
one. Debian 12 has no pg_dump that can write zstd, so Debian 13's is fetched into `.var/`.

Goals: 8 times the wall speed of `pg_dump | gzip -9`, a fifth of its CPU, 0.95 of its size, twice
the speed of its restore, at most 200 MiB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".var/bench/backup"
MIB = 2**20
GOALS = {"wall": 8.0, "cpu": 5.0, "size": 0.95, "restore": 2.0, "peak": 200.0}
TICKS = os.sysconf("SC_CLK_TCK")
_STORE = """
import asyncio, re, sys, urllib.parse
from datetime import datetime, timezone
from pathlib import Path

# As much of S3 as an upload, a listing and a download need; each object is a file.
root, uploads = Path(sys.argv[1]), {}

def answer(status, body=b"", **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {headers.pop('size', len(body))}")
    return ("\\r\\n".join([f"HTTP/1.1 {status} X", *lines]) + "\\r\\n\\r\\n").encode() + body

def entry(path):
    found = path.stat()
    when = datetime.fromtimestamp(found.st_mtime, timezone.utc)
    return found.st_size, when, f'"{found.st_mtime_ns:x}"'

def listing(prefix):
    items = ""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        key = path.relative_to(root).as_posix()
        if key.startswith(prefix):
            size, when, tag = entry(path)
            items += (f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{tag}</ETag>"
                      f"<LastModified>{when:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>")
    return answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}"
                  "</ListBucketResult>".encode())

def handle(method, key, query, head, body):
    path = root / key
    if method == "GET" and "list-type" in query:
        return listing(query.get("prefix", ""))
    if method == "GET" and "uploads" in query:
        return answer(200, b"<ListMultipartUploadsResult></ListMultipartUploadsResult>")
    if method == "POST" and "uploads" in query:
        uploads[key] = {}
        return answer(200, f"<InitiateMultipartUploadResult><UploadId>{len(uploads)}"
                      "</UploadId></InitiateMultipartUploadResult>".encode())
    if method == "POST" and "delete" in query:
        for found in re.findall(b"<Key>(.*?)</Key>", body):
            (root / found.decode()).unlink(missing_ok=True)
        gone = body.replace(b"<Object>", b"<Deleted>").replace(b"</Object>", b"</Deleted>")
        gone = re.search(b"<Deleted>.*</Deleted>", gone, re.S)[0]
        return answer(200, b"<DeleteResult>" + gone + b"</DeleteResult>")
    path.parent.mkdir(parents=True, exist_ok=True)
    if method == "PUT" and "partNumber" in query:
        uploads[key][int(query["partNumber"])] = body
        return answer(200, etag='"part"')
    if method == "POST" and "uploadId" in query:
        with path.open("wb") as out:
            for _, part in sorted(uploads.pop(key).items()):
                out.write(part)
        return answer(200, b'<CompleteMultipartUploadResult><ETag>"x"</ETag>'
                      b"</CompleteMultipartUploadResult>")
    if method == "PUT":
        path.write_bytes(body)
        return answer(200, etag=entry(path)[2])
    if not path.is_file():
        return answer(404)
    size, when, tag = entry(path)
    common = {"etag": tag, "last_modified": f"{when:%a, %d %b %Y %H:%M:%S} GMT"}
    if method == "HEAD":
        return answer(200, size=size, **common)
    if method == "DELETE":
        path.unlink()
        return answer(204)
    wanted = re.search(rb"range: bytes=(\\d+)-(\\d*)", head, re.I)
    with path.open("rb") as file:
        if wanted is None:
            return answer(200, file.read(), **common)
        start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        file.seek(start)
        return answer(206, file.read(end - start + 1), **common,
                      content_range=f"bytes {start}-{end}/{size}")

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            method, target, _ = head.split(b"\\r\\n")[0].decode().split()
            length = re.search(rb"content-length: (\\d+)", head, re.I)
            body = await reader.readexactly(int(length[1])) if length else b""
            url = urllib.parse.urlsplit(target)
            key = urllib.parse.unquote(url.path).removeprefix("/backups").strip("/")
            query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
            writer.write(handle(method, key, query, head, body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
_FILL = """
select setseed(0.5);
create table words (id int primary key, word text);
insert into words select i, (array['null', 'pointer', 'value', 'request', 'unused', 'variable',
  'function', 'import', 'possible', 'injection', 'query', 'user', 'file', 'path', 'handler',
  'returns', 'without', 'check', 'before', 'after', 'thread', 'lock', 'shared', 'state', 'buffer',
  'length', 'offset', 'index', 'error', 'response'])[1 + i % 30]
  || case when i >= 30 then substr(md5(i::text), 1, 2 + i % 5) else '' end
  from generate_series(0, 1999) i;
create table issues (id bigint primary key, project int, rule text, path text, line int,
  message text, fingerprint text, severity text, first_seen timestamptz, fixed_at timestamptz);
create table events (id bigserial primary key, issue bigint, at timestamptz, kind text, data jsonb);
create table samples (series int, at timestamptz, value double precision, n int);
create table documents (id uuid primary key, title text, body text);
insert into issues select i, i % 500, 'rule-' || (i % 313), 'src/' || (select string_agg(word, '/')
  from words where id in ((i * 7) % 2000, (i * 13) % 2000, (i * 31) % 2000)) || '.py', i % 3000,
  (select string_agg(word, ' ') from words where id in (i % 2000, (i * 3) % 2000, (i * 17) % 2000,
  (i * 29) % 2000, (i * 37) % 2000, (i * 41) % 2000, (i * 53) % 2000)),
  encode(sha256(i::text::bytea), 'hex'), (array['low', 'medium', 'high'])[1 + i % 3],
  timestamptz '2024-01-01' + i * interval '13 seconds',
  case when i % 3 = 0 then timestamptz '2025-01-01' + i * interval '7 seconds' end
  from generate_series(1, {scale} * 10000) i;
insert into events (issue, at, kind, data) select (random() * {scale} * 10000)::bigint,
  timestamptz '2024-01-01' + i * interval '5 seconds',
  (array['opened', 'fixed', 'commented', 'assigned', 'reopened'])[1 + i % 5],
  jsonb_build_object('by', 'user-' || (random() * 1000)::int, 'commit', substr(md5(i::text), 1, 12),
  'note', (select string_agg(word, ' ') from words where id in
  (i % 2000, (i * 3) % 2000, (i * 23) % 2000, (i * 97) % 2000)))
  from generate_series(1, {scale} * 15000) i;
insert into samples select i % 200, timestamptz '2025-01-01' + (i / 200) * interval '10 seconds',
  round((50 + 20 * sin(i / 5000.0) + random() * 5)::numeric, 3), (random() * 1000)::int
  from generate_series(1, {scale} * 30000) i;
insert into documents select md5(i::text)::uuid, 'Document ' || i,
  (select string_agg(word, ' ' order by md5((id * i)::text)) from words where id % 40 = i % 40)
  from generate_series(1, {scale} * 2000) i;
create index on issues (project, rule);
create index on issues (fingerprint);
create index on events (issue);
create index on samples (series, at);
create index on documents (title);
vacuum analyze;
"""
_SAME = """
select string_agg(n || ':' || c || ':' || h, ' ' order by n) from (
  select 'issues' n, count(*) c, sum(hashtext(t::text)::bigint) h from issues t union all
  select 'events', count(*), sum(hashtext(t::text)::bigint) from events t union all
  select 'samples', count(*), sum(hashtext(t::text)::bigint) from samples t union all
  select 'documents', count(*), sum(hashtext(t::text)::bigint) from documents t) x
"""


@dataclass
class Row:
    name: str
    missing: str = ""
    wall: float = 0.0
    cpu_client: float = 0.0
    cpu_server: float = 0.0
    size: float = 0.0
    peak: float = 0.0
    restore: float | None = None
    restore_cpu: float | None = None
    same: bool | None = None

    @property
    def cpu(self) -> float:
        return self.cpu_client + self.cpu_server


@dataclass
class Server:
    """A PostgreSQL of the benchmark's own, on a socket in a temporary directory."""

    binaries: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"postgresql://insight@/bench?host={self.folder}&port=5432"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        if not self.data.exists():
            words = ["--username=insight", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
            words = [str(self.binaries / "initdb"), "-D", str(self.data), "--no-sync", *words]
            run(words, **user())
        flags = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", self.data, "-k", self.folder, *flags],
                stdout=log,
                stderr=log,
                **user(),
            )
        while not self.answers():
            time.sleep(0.05)

    def answers(self) -> bool:
        words = [str(self.binaries / "pg_isready"), "-q", "-h", str(self.folder), "-U", "insight"]
        return subprocess.run(words, check=False).returncode == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def sql(self, text: str, database: str = "bench") -> str:
        url = self.url.replace("/bench?", f"/{database}?")
        words = [self.binaries / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url]
        return run(words, input=text.encode()).decode().strip()

    def cpu(self) -> float:
        """Seconds of all its processes, the ended ones too."""
        assert self.process is not None
        time.sleep(0.2)  # until the backends of the last client are gone
        return cpu_of(self.process.pid) + sum(cpu_of(child) for child in children(self.process.pid))


def user() -> dict[str, Any]:
    """The server refuses to be root."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}


def run(words: Sequence[object], **options: Any) -> bytes:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, check=False, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: {done.stderr.decode()[-2000:]}")
    return bytes(done.stdout)


def stat(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def cpu_of(pid: int) -> float:
    """User and system time of a process and of its children that were waited for."""
    fields = stat(pid)
    return sum(map(int, fields[11:15])) / TICKS if fields else 0.0


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def resident(pid: int) -> float:
    """MiB of a process and all below it; pages that several share are counted once."""
    total = 0.0
    with contextlib.suppress(OSError, ValueError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total = int(text.partition("Pss:")[2].split()[0]) / 1024
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in map(int, (task / "children").read_text().split()):
                    if not begins(pid, child):
                        total += resident(child)
    return total


def begins(parent: int, child: int) -> bool:
    """Whether a child is still a copy of its parent, whose memory would be counted twice."""
    with contextlib.suppress(OSError, IndexError):
        up = float(Path("/proc/uptime").read_text().split()[0])
        same = (
            Path(f"/proc/{child}/cmdline").read_bytes()
            == Path(f"/proc/{parent}/cmdline").read_bytes()
        )
        return same and up - int(stat(child)[19]) / TICKS < 1
    return True  # it has ended


def measured(
    server: Server, command: str, environment: Mapping[str, str]
) -> tuple[float, float, float, float]:
    """Wall, CPU of the client, CPU of the server, peak memory, of a shell command."""
    before, peak = server.cpu(), 0.0
    began = time.perf_counter()
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-ec", command],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command}: {said.decode()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, server.cpu() - before, peak


def size_of(path: Path) -> float:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files) / MIB


# -- the methods -------------------------------------------------------------------------------


class Bench:
    def __init__(self, server: Server, work: Path, endpoint: str) -> None:
        self.server = server
        self.work = work
        self.endpoint = endpoint
        self.wanted = server.sql(_SAME)
        self.keys = 0

    def method(
        self,
        name: str,
        backup: str,
        restore: str,
        out: Path | None,
        environment: Mapping[str, str] | None = None,
    ) -> Row:
        """`restore` fills the database `back`, which is new and empty."""
        row = Row(name)
        found = measured(self.server, backup, environment or {})
        row.wall, row.cpu_client, row.cpu_server, row.peak = found
        row.size = size_of(out) if out is not None else 0.0
        self.server.sql("drop database if exists back", "postgres")
        if environment is None:
            self.server.sql("create database back template template0", "postgres")
        seconds, client, behind, peak = measured(self.server, restore, environment or {})
        row.restore, row.restore_cpu, row.peak = seconds, client + behind, max(row.peak, peak)
        row.same = self.server.sql(_SAME, "back") == self.wanted
        self.server.sql("drop database back", "postgres")
        return row

    def seed(self) -> Row:
        out, b, url, back = self.work / "seed.gz", self.server.binaries, *self._urls()
        return self.method(
            "pg_dump | gzip -9",
            f"{b}/pg_dump '{url}' | gzip -9 > {out}",
            f"gunzip -c {out} | {b}/psql -X -q -v ON_ERROR_STOP=1 '{back}'",
            out,
        )

    def custom(self) -> Row:
        out, b, url, back = self.work / "dump.fc", self.server.binaries, *self._urls()
        return self.method(
            "pg_dump -Fc",
            f"{b}/pg_dump -Fc -f {out} '{url}'",
            f"{b}/pg_restore -d '{back}' {out}",
            out,
        )

    def directory(self) -> Row:
        name = "pg_dump -Fd -j2 zstd:3"
        program = _with_zstd(self.server.binaries)
        if program is None:
            return Row(name, missing="there is no pg_dump with zstd, and apt-get brings none")
        out, (url, back) = self.work / "dump.fd", self._urls()
        shutil.rmtree(out, ignore_errors=True)
        # A newer pg_restore ends with 1, because an older server has no transaction_timeout.
        return self.method(
            name,
            f"{program}/pg_dump -Fd -j2 --compress=zstd:3 -f {out} '{url}'",
            f"{program}/pg_restore -j2 -d '{back}' {out} || [ $? = 1 ]",
            out,
        )

    def pgbackrest(self) -> Row:
        name = "pgBackRest zst:3"
        if shutil.which("pgbackrest") is None:
            return Row(name, missing="not installed: apt-get install pgbackrest")
        if self.server.binaries.parent.name != "15":
            return Row(name, missing="its Debian version knows PostgreSQL up to 15")
        home = self.work / "pgbackrest"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        _give(home)
        config = home / "pgbackrest.conf"
        config.write_text(
            f"[global]\nrepo1-path={home}/repo\nlog-path={home}\nlock-path={home}/lock\n"
            f"spool-path={home}/spool\nprocess-max=2\nstart-fast=y\narchive-check=n\n"
            f"compress-type=zst\ncompress-level=3\nlog-level-console=warn\n"
            f"[bench]\npg1-path={self.server.data}\npg1-socket-path={self.server.folder}\n"
            "pg1-user=insight\npg1-database=postgres\n"
        )
        config.chmod(0o644)
        become = "" if os.geteuid() else "setpriv --reuid=nobody --regid=nogroup --clear-groups "
        command = f"{become}pgbackrest --config={config} --stanza=bench"
        run(["bash", "-c", f"cd / && {command} --no-online stanza-create"])
        row = Row(name)
        found = measured(self.server, f"cd / && {command} --type=full backup", {})
        row.wall, row.cpu_client, row.cpu_server, row.peak = found
        row.size = size_of(home / "repo")
        back = home / "back"
        back.mkdir(mode=0o700)
        _give(back)
        wall, client, _, _ = measured(
            self.server, f"cd / && {command} --pg1-path={back} --type=none restore", {}
        )
        row.restore, row.restore_cpu = wall, client
        return row

    def to_s3(self) -> Row:
        return self.ours(s3=True)

    def to_disk(self) -> Row:
        return self.ours(s3=False)

    def ours(self, *, s3: bool) -> Row:
        self.keys += 1
        key = self.work / f"key-{self.keys}"
        insight = f"{sys.executable} -m insight_cloud.cli backup"
        store = "s3://backups/bench" if s3 else (self.work / "store").as_uri()
        recipient = run([sys.executable, "-m", "insight_cloud.cli", "backup", "new-key", key])
        environment = {
            "AWS_ACCESS_KEY_ID": "AKIABENCH",
            "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-benchmark",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "INSIGHT_BACKUP__RECIPIENTS": recipient.decode().strip(),
            "INSIGHT_BACKUP__IDENTITY_FILE": str(key),
            "INSIGHT_BACKUP__PROGRAMS": str(self.server.binaries),
            "PYTHONPATH": str(ROOT),
        }
        url = shlex.quote(self.server.url)
        common = f"--url {url} --name bench --store {store}"
        row = self.method(
            f"ours, encrypted, to {'S3' if s3 else 'a disk'}",
            f"cd {self.work} && {insight} create {common}",
            f"cd {self.work} && {insight} restore {common} --into back",
            None,
            environment,
        )
        listed = subprocess.run(
            ["bash", "-c", f"cd {self.work} && {insight} list {common} --json"],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            check=True,
        )
        row.size = json.loads(listed.stdout)[0]["backups"][0]["stored_bytes"] / MIB
        return row

    def _urls(self) -> tuple[str, str]:
        return self.server.url, self.server.url.replace("/bench?", "/back?")


_CLIENT = (
    "postgresql-client-17 libpq5 libc6 libzstd1 liblz4-1 zlib1g libssl3t64 libgssapi-krb5-2"
    " libkrb5-3 libk5crypto3 libcom-err2 libkrb5support0 libkeyutils1 libldap2 libsasl2-2"
    " libreadline8t64"
)
_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    " http://deb.debian.org/debian trixie main\n"
)


def _with_zstd(binaries: Path) -> Path | None:
    """A folder with a pg_dump of version 16 or newer that can write zstd."""
    for folder in {binaries, *Path("/usr/lib/postgresql").glob("*/bin")}:
        help_text = run([folder / "pg_dump", "--version"]).decode()
        found = re.search(r"\) (\d+)", help_text)
        config = folder / "pg_config"
        recent = found is not None and int(found[1]) >= 16 and config.exists()
        if recent and b"with-zstd" in run([config, "--configure"]):
            return folder
    return _fetched()


def _fetched() -> Path | None:
    """Debian 13's programs, each behind a script that gives it the libraries it was built for."""
    folder = FOLDER / "client-17"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
            place = Path(temporary)
            try:
                _fetch(place)
            except (RuntimeError, OSError) as error:
                print(f"pg_dump with zstd: {str(error).strip()[-200:]}", file=sys.stderr)
                return None
            place.chmod(0o755)
            (place / "tree").rename(folder)
    return folder


def _fetch(place: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial", "debs", "tree"):
        (place / name).mkdir(parents=True)
    (place / "sources").write_text(_SOURCE)
    options = [
        f"Dir::Etc::SourceList={place}/sources",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={place}/lists",
        f"Dir::Cache={place}/cache",
        "Dir::State::Status=/dev/null",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
    ]
    apt = ["apt-get", "--quiet", *(word for option in options for word in ("-o", option))]
    run([*apt, "update"])
    run([*apt, "download", *_CLIENT.split()], cwd=place / "debs")
    for package in (place / "debs").iterdir():
        run(["dpkg-deb", "-x", package, place / "tree"])
    (loader,) = (place / "tree/usr/lib").glob("*/ld-linux-*.so.*")
    here = loader.parent.relative_to(place / "tree")
    for name in ("pg_dump", "pg_restore"):
        script = place / "tree" / name
        script.write_text(
            f'#!/bin/sh\nhere=$(dirname "$0")\nexec "$here/{here}/{loader.name}" --library-path'
            f' "$here/{here}" --argv0 "$0" "$here/usr/lib/postgresql/17/bin/{name}" "$@"\n'
        )
        script.chmod(0o755)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")


# -- running and printing ----------------------------------------------------------------------


def binaries() -> Path:
    """Debian's newest PostgreSQL, else that of the wheel."""
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return max((each.parent for each in found), key=lambda each: float(each.parent.name))
    sys.path.insert(0, str(ROOT))
    from insight_cloud.database import embedded

    return embedded.binaries()


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """A server of the benchmark that speaks S3, so that no emulator's slowness is measured."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _STORE, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("port"):
            raise RuntimeError("the S3 server did not start")
        yield f"http://127.0.0.1:{line.split()[1]}"
    finally:
        process.kill()
        process.wait()


def rows_of(*, scale: int, rounds: int) -> tuple[list[Row], float]:
    settings = {
        "listen_addresses": "",
        "fsync": "off",
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
        "max_connections": "50",
    }
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="insight-bench-")))
        endpoint = stack.enter_context(s3(place / "s3"))
        place.chmod(0o755)
        home, work = place / "pg", place / "work"
        home.mkdir(mode=0o700)
        work.mkdir(mode=0o755)
        _give(home)
        server = Server(binaries(), home, settings=settings)
        server.start()
        try:
            server.sql("create database bench", "postgres")
            server.sql(_FILL.replace("{scale}", str(scale)))
            database = int(server.sql("select pg_database_size('bench')")) / MIB
            print(f"database of {database:,.0f} MiB on PostgreSQL {_version(server)}", flush=True)
            bench = Bench(server, work, endpoint)
            methods = [bench.seed, bench.to_s3, bench.custom, bench.directory]
            if rounds > 1:
                methods += [bench.to_disk, bench.pgbackrest]
            played = [[said(method()) for method in methods] for _ in range(rounds)]
            rows = [_best(list(found)) for found in zip(*played, strict=True)]
            return rows, database
        finally:
            server.stop()


def _version(server: Server) -> str:
    return server.sql("show server_version").split()[0]


def said(row: Row) -> Row:
    """Progress of a long run."""
    told = row.missing or f"{row.wall:.1f} s, restore {row.restore or 0:.1f} s"
    print(f"... {row.name}: {told}", file=sys.stderr)
    return row


def _best(rows: list[Row]) -> Row:
    """The fastest round; memory is that of the worst."""
    best = min(rows, key=lambda row: row.wall)
    best.restore = min((row.restore for row in rows if row.restore is not None), default=None)
    best.peak = max(row.peak for row in rows)
    best.same = None if best.same is None else all(row.same for row in rows)
    return best


def show(rows: list[Row]) -> None:
    seed = rows[0]
    print(
        f"{'method':30} {'wall s':>7} {'x seed':>6} {'CPU s':>13} {'/ seed':>6} {'MiB':>6}"
        f" {'x seed':>6} {'peak MiB':>8} {'restore s':>9} {'x seed':>6} {'same':>5}"
    )
    for row in rows:
        if row.missing:
            print(f"{row.name:30} {row.missing}")
            continue
        faster = f"{seed.restore / row.restore:6.1f}" if row.restore and seed.restore else "     -"
        restore = f"{row.restore:9.1f}" if row.restore else "        -"
        print(
            f"{row.name:30} {row.wall:7.1f} {seed.wall / row.wall:6.1f}"
            f" {row.cpu_client:6.1f}+{row.cpu_server:<6.1f} {seed.cpu / row.cpu:6.1f}"
            f" {row.size:6.1f} {row.size / seed.size:6.2f} {row.peak:8.0f} {restore} {faster}"
            f" {'yes' if row.same else '-' if row.same is None else 'NO':>5}"
        )


def judged(rows: list[Row]) -> dict[str, float]:
    seed, ours = rows[0], rows[1]
    assert seed.restore is not None
    assert ours.restore is not None
    return {
        "wall": seed.wall / ours.wall,
        "cpu": seed.cpu / ours.cpu,
        "size": ours.size / seed.size,
        "restore": seed.restore / ours.restore,
        "peak": ours.peak,
    }


def met(name: str, figure: float) -> bool:
    return figure <= GOALS[name] if name in {"size", "peak"} else figure >= GOALS[name]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="a small database, one round")
    parser.add_argument("--scale", type=int, help="11 MiB each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    scale = arguments.scale or (14 if arguments.short else 100)
    try:
        rows, database = rows_of(scale=scale, rounds=1 if arguments.short else 2)
    except (RuntimeError, OSError) as error:
        print(f"could not run: {error}", file=sys.stderr)
        return 2
    show(rows)
    found = judged(rows)
    if arguments.json:
        data = {"database_mib": database, "rows": [asdict(row) for row in rows], "figures": found}
        arguments.json.write_text(json.dumps(data, indent=2) + "\n")
    for name, figure in found.items():
        sign = "at most" if name in {"size", "peak"} else "at least"
        print(f"{name}: {figure:.2f} (goal {sign} {GOALS[name]:g})")
    good = all(met(name, figure) for name, figure in found.items()) and rows[1].same
    if arguments.short:
        print("a small database: start-up weighs more, so the goals are those of the long run")
        return 0 if rows[1].same else 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
