"""The operator's story of dns-01: the command, the stand-in for Cloudflare, a real authority.

`insight tls issue` writes the proof into the zone of the stand-in, from where this test carries it
to the name server that the authority asks: Cloudflare would publish it by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from insight_cloud.edge import fake as stand_in
from insight_cloud.edge.fake import Fake
from insight_cloud.tls import Store
from tests.edge.support import answering
from tests.tls.pebble import Pebble, pebble

ZONE = "site.example"
PROOF = f"_acme-challenge.{ZONE}"


@dataclass(frozen=True)
class Rehearsal:
    """A folder whose settings lead to the stand-in and to the authority."""

    folder: Path
    cloudflare: Fake
    authority: Pebble

    @property
    def store(self) -> Store:
        return Store(self.folder / "certificates")

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "insight_cloud.cli", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def insight(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, said = process.communicate(timeout=120)
        return process.returncode, out, said

    def asked(self, method: str) -> int:
        """How often the stand-in was asked to do `method` with a record."""
        return sum(m == method and "/dns_records" in path for m, path in self.cloudflare.calls)


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    with pebble() as authority:
        fake = Fake(name=ZONE, on_change=lambda _: carry(fake, authority))
        with answering(fake) as url:
            (tmp_path / "insight.toml").write_text(
                f"{stand_in.settings_text(url)}"
                f'[tls]\nnames = ["{ZONE}", "*.{ZONE}"]\nchallenge = "dns-01"\ndns_seconds = 0\n'
                f'agree_terms = true\nacme_url = "{authority.url}"\n'
                f'acme_ca_file = "{authority.ca_file}"\ndirectory = "certificates"\n'
            )
            yield Rehearsal(tmp_path, fake, authority)


def carry(fake: Fake, authority: Pebble) -> None:
    """Publish the zone's proofs, before the stand-in answers that it has them."""
    authority.tell("clear-txt", host=f"{PROOF}.")
    for value in fake.records.values(PROOF):
        authority.tell("set-txt", host=f"{PROOF}.", value=value)


def test_a_wildcard_is_issued_and_the_zone_is_as_it_was(rehearsal: Rehearsal) -> None:
    before = {"type": "TXT", "name": PROOF, "content": '"of somebody else"', "ttl": 300}
    rehearsal.cloudflare.records.add(before)
    kept = dict(rehearsal.cloudflare.records.kept)
    status, out, said = rehearsal.insight("tls", "issue", "--json")
    assert status == 0, said
    assert json.loads(out)["certificate"]["names"] == [ZONE, f"*.{ZONE}"]
    assert rehearsal.asked("POST") == rehearsal.asked("DELETE") == 2
    assert rehearsal.cloudflare.records.kept == kept
    assert len(rehearsal.authority.front.orders) == 1
    assert rehearsal.insight("tls", "issue")[1].startswith("nothing to do")
    assert stand_in.TOKEN not in out + said


def test_without_its_number_the_zone_is_looked_up(rehearsal: Rehearsal) -> None:
    settings = rehearsal.folder / "insight.toml"
    text = settings.read_text().replace(f'zone_id = "{stand_in.ZONE}"\n', "")
    settings.write_text(text)
    status, _, said = rehearsal.insight("tls", "issue")
    assert status == 0, said
    settings.write_text(text.replace(f'"{ZONE}", "*.{ZONE}"', '"www.other.example"'))
    status, _, said = rehearsal.insight("tls", "issue", "--again")
    assert (status, "Traceback" in said) == (3, False)
    assert "Cloudflare knows no zone of _acme-challenge.www.other.example" in said


def test_stopped_it_takes_its_records_back(rehearsal: Rehearsal) -> None:
    asked, go_on = threading.Event(), threading.Event()
    published: list[Any] = []

    def silent(_: str, path: str) -> None:
        if path.startswith("/chalZ/"):
            published.extend(rehearsal.cloudflare.records.values(PROOF))
            asked.set()
            go_on.wait(60)

    rehearsal.authority.front.fault = silent
    process = rehearsal.start("tls", "issue")
    try:
        assert asked.wait(60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=25)  # a call to the authority takes 30 by itself
    finally:
        process.kill()
        rehearsal.authority.front.fault = lambda *_: None
        go_on.set()
    assert (process.returncode, len(published)) == (130, 2), said
    assert rehearsal.cloudflare.records.kept == {}
    with rehearsal.store.locked():
        pass
    assert rehearsal.insight("tls", "issue")[0] == 0
