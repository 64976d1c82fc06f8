from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from insight_cloud.core.errors import Conflict, Corrupt, Missing, Unavailable
from insight_cloud.tls import certificate
from insight_cloud.tls.store import Meta, Store
from tests.tls.authority import NOW, Signer, leaf

ROOT = Path(__file__).parent.parent.parent
META = Meta("custom", NOW, source="test")


def install(store: Store, signer: Signer, *, later: int = 0, keep: int = 5) -> str:
    meta = Meta("custom", NOW + timedelta(seconds=later))
    return store.install(signer.chain, signer.key_bytes, meta, keep=keep).name


def whole(store: Store) -> str:
    """The serial of the pair in use, which must belong together."""
    version = store.current()
    assert version is not None
    found = version.read()
    key = certificate.load_key(version.key.read_bytes())
    answers = certificate.checks(found, now=NOW, key=key)
    assert [c.detail for c in answers if c.status == "fail"] == []
    return found.serial


def test_an_installed_pair_is_in_use_and_private(tmp_path: Path) -> None:
    store, pair = Store(tmp_path / "certificates"), leaf("a.example")
    assert store.current() is None
    assert store.history() == ()
    install(store, pair)
    assert whole(store) == f"{pair.certificate.serial_number:x}"
    assert store.chain.read_bytes() == pair.chain
    modes = {p: stat.S_IMODE(p.lstat().st_mode) for p in store.directory.rglob("*")}
    assert {m for p, m in modes.items() if p.is_file() and not p.is_symlink()} == {0o600}
    assert {m for p, m in modes.items() if p.is_dir() and not p.is_symlink()} == {0o700}
    assert store.permissions().status == "pass"


def test_the_history_is_kept_and_pruned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [install(store, leaf("a.example"), later=n, keep=3) for n in range(5)]
    assert [v.name for v in store.history()] == names[:1:-1]
    assert store.history()[0].meta.method == "custom"
    store.use(names[2])
    assert whole(store)
    names.append(install(store, leaf("a.example"), later=9, keep=2))
    assert [v.name for v in store.history()] == [names[5], names[4]]


def test_pruning_spares_the_one_in_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, leaf("a.example"), later=5)
    install(store, leaf("a.example"), later=6)
    old = install(store, leaf("a.example"), later=0, keep=2)  # a clock that was set back
    current = store.current()
    assert current is not None
    assert current.name == old
    assert whole(store)


def test_a_version_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no version"):
        Store(tmp_path).use("../../etc")


def test_two_processes_do_not_change_it_at_once(tmp_path: Path) -> None:
    with (
        Store(tmp_path).locked(),
        pytest.raises(Conflict, match="another process"),
        Store(tmp_path).locked(),
    ):
        pytest.fail("locked twice")
    with Store(tmp_path).locked():
        pass


def test_challenges_are_answered_and_forgotten(tmp_path: Path) -> None:
    store, token = Store(tmp_path), "t" * 43
    store.put_challenge(token, "answer")
    assert Store(tmp_path).get_challenge(token) == b"answer"
    store.drop_challenge(token)
    assert store.get_challenge(token) is None
    (tmp_path / "key").write_text("secret")
    assert store.get_challenge("../key") is None
    with pytest.raises(Corrupt, match="token"):
        store.put_challenge("../../etc/passwd", "x")


def test_an_installation_sweeps_away_what_killed_runs_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_challenge("t" * 43, "answer")
    (store.challenges / f".{'u' * 43}.01234567").write_text("half")
    (tmp_path / ".current.01234567").symlink_to("versions/none")
    (tmp_path / "versions/.20261125T101500Z-1f2e3d4c.01234567").mkdir()
    (store.challenges / "a folder of somebody").mkdir()
    install(store, leaf("a.example"))
    left = {p.name for p in (*store.challenges.iterdir(), *tmp_path.iterdir())}
    assert left == {"a folder of somebody", "challenges", "current", "versions"}
    assert [v.name for v in store.history()] == [p.name for p in (tmp_path / "versions").iterdir()]


def test_others_who_can_read_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "c")
    install(store, leaf("a.example"))
    os.chmod(store.directory, 0o755)  # noqa: PTH101
    current = store.current()
    assert current is not None
    current.key.chmod(0o644)
    check = store.permissions()
    assert check.status == "fail"
    assert "chmod go-rwx" in check.detail


def test_a_damaged_file_of_ours_is_said(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(Corrupt, match="move it away"):
        Store(tmp_path).read_json("state.json")
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(Corrupt, match="no JSON object"):
        Store(tmp_path).read_json("state.json")
    assert Store(tmp_path).read_json("other.json") is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="stays in use"):
        install(Store(tmp_path / "file" / "sub"), leaf("a.example"))


# -- killed at every step -----------------------------------------------------------------------

_KILLED = """
import os, pathlib, signal, sys
from datetime import datetime
from pathlib import Path
steps = int(sys.argv[1])
seen = 0

def step(function):
    def counted(*args, **kwargs):
        global seen
        seen += 1
        if seen == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return counted

from insight_cloud.tls.store import Meta, Store
folder = Path(sys.argv[2])
chain, key = (folder / "new.pem").read_bytes(), (folder / "new.key").read_bytes()
for name in "open fsync mkdir rename replace symlink unlink rmdir close write".split():
    setattr(os, name, step(getattr(os, name)))
import io
meta = Meta("custom", datetime.fromisoformat(sys.argv[3]))
Store(folder / "store").install(chain, key, meta, keep=2)
print(seen)
"""


def test_killed_at_any_step_a_whole_pair_stays_in_use(tmp_path: Path) -> None:
    """Kill a process at every change it makes to the disk, one after the other."""
    store = Store(tmp_path / "store")
    installed, killed, steps = 0, 0, 0
    serials = {}
    pair = leaf("a.example")
    install(store, pair)
    before = whole(store)
    while installed < 2:
        steps += 1
        fresh = leaf("a.example")
        (tmp_path / "new.pem").write_bytes(fresh.chain)
        (tmp_path / "new.key").write_bytes(fresh.key_bytes)
        moment = (NOW + timedelta(seconds=steps)).isoformat()
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(steps), str(tmp_path), moment],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        now = whole(store)
        fresh_serial = f"{fresh.certificate.serial_number:x}"
        assert now in {before, fresh_serial}
        if done.returncode == 0:
            assert now == fresh_serial
            installed += 1
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr.decode()
            killed += 1
        serials[steps] = now
        before = now
    assert killed >= 20, "the steps were not met"
    assert len(set(serials.values())) > 2
    # What killed processes left is gone after the next installation.
    assert [p.name for p in store.directory.iterdir() if p.name.startswith(".current")] == []
    left = [p.name for p in (store.directory / "versions").iterdir() if p.name.startswith(".")]
    assert left == []
    assert len(store.history()) == 2


_FULL = """
import json, resource, signal, sys
from datetime import datetime
from pathlib import Path
from insight_cloud.core.errors import Unavailable
from insight_cloud.tls.store import Meta, Store
folder = Path(sys.argv[1])
chain, key = (folder / "new.pem").read_bytes(), (folder / "new.key").read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
store = Store(folder / "store")
try:
    store.install(chain, key, Meta("custom", datetime.fromisoformat(sys.argv[3])))
except Unavailable as error:
    print(error)
    sys.exit(6)
"""


@pytest.mark.parametrize("room", [0, 100, 700])
def test_without_room_on_the_disk_the_old_pair_stays(tmp_path: Path, room: int) -> None:
    """The kernel refuses to write more than `room` bytes into a file, as a full disk would."""
    store = Store(tmp_path / "store")
    install(store, leaf("a.example"))
    before = whole(store)
    fresh = leaf("a.example")
    (tmp_path / "new.pem").write_bytes(fresh.chain)
    (tmp_path / "new.key").write_bytes(fresh.key_bytes)
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path), str(room), NOW.isoformat()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "make room on the disk; the one in use stays in use" in done.stdout
    assert whole(store) == before
    assert len(list((store.directory / "versions").iterdir())) == 1


def test_a_note_that_cannot_be_read_does_not_take_the_pair_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, leaf("a.example"))
    version = store.current()
    assert version is not None
    (version.directory / "meta.json").write_text(json.dumps({"method": 1}))
    assert whole(store)
    again = store.current()
    assert again is not None
    assert again.meta.method == "unknown"
