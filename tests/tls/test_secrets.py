"""No private key or token leaves the files it lies in: not by logs, words of commands, errors."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from insight_cloud.tls import certificate
from insight_cloud.tls.cloudflare import Api
from insight_cloud.tls.issuer import Issued, Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.store import Store
from tests.tls.answering import answering, authority
from tests.tls.authority import leaf
from tests.tls.cloudflare import TOKEN
from tests.tls.pebble import Pebble


def bodies(folder: Path) -> set[str]:
    """A line out of the middle of every private key below `folder`."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and "PRIVATE KEY" in (text := path.read_text(errors="replace")):
            text = text.replace("\\n", "\n")
            inner = re.findall(r"-----BEGIN [A-Z ]*KEY-----\n([^\n]{20,})", text)
            found |= {line[10:50] for line in inner}
    assert found
    return found


async def test_nothing_secret_is_logged_at_any_level(
    tmp_path: Path, acme: Pebble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Store(tmp_path)
    async with answering(store, acme):
        keeper = Keeper(store, authority(acme, store), Wanted(("a.example",)), hooks=[["true"]])
        await keeper.renew()
        await keeper.renew(force=True)
    assert "tls.installed" in caplog.text
    assert "JWS payload" in caplog.text  # the library's own words were listened to
    for secret in bodies(tmp_path):
        assert secret not in caplog.text
    assert "PRIVATE KEY" not in caplog.text


async def test_no_file_can_be_read_by_others(tmp_path: Path, acme: Pebble) -> None:
    before = os.umask(0)  # the widest that an operator can have
    try:
        store = Store(tmp_path / "certificates")
        async with answering(store, acme):
            await Keeper(store, authority(acme, store), Wanted(("a.example",))).renew()
    finally:
        os.umask(before)
    for path in [store.directory, *store.directory.rglob("*")]:
        if not path.is_symlink():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_no_process_shows_a_secret_in_its_words(tmp_path: Path, acme: Pebble) -> None:
    """Look at every process of the machine while `insight tls` runs certbot and a hook."""
    environment = {
        "PATH": os.environ["PATH"],
        "INSIGHT_TLS__DIRECTORY": str(tmp_path / "certificates"),
        "INSIGHT_TLS__METHOD": "letsencrypt",
        "INSIGHT_TLS__NAMES": "a.example",
        "INSIGHT_TLS__ACME_URL": acme.url,
        "INSIGHT_TLS__ACME_CA_FILE": str(acme.ca_file),
        "INSIGHT_TLS__AGREE_TERMS": "true",
        "INSIGHT_TLS__HTTP_HOST": "127.0.0.1",
        "INSIGHT_TLS__HTTP_PORT": str(acme.http_port),
        "INSIGHT_TLS__HOOKS": "sleep 0.5",
        "INSIGHT_TLS__CLOUDFLARE_TOKEN": TOKEN,
    }
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "insight_cloud.cli", "tls", "issue"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        done.set()
        watcher.join()
    assert ran.returncode == 0, ran.stderr
    words = b"\n".join(seen).decode(errors="replace")
    assert "sleep\0000.5" in words
    for secret in {*bodies(tmp_path), TOKEN, "PRIVATE KEY"}:
        assert secret not in words
        assert secret not in ran.stdout + ran.stderr


def test_nothing_shows_a_secret_when_it_is_printed() -> None:
    pair = leaf("a.example")
    issued = Issued(pair.chain, pair.key_bytes)
    secret = pair.key_bytes.decode().splitlines()[1]
    assert secret not in repr(issued)
    assert TOKEN not in repr(Api(TOKEN))
    assert secret not in repr(certificate.load(pair.chain))
