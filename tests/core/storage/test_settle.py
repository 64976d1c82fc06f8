"""The end of a program waits for threads of a library that are still in Python."""

from __future__ import annotations

import subprocess
import sys

_STRANGER = """
import ctypes, time
from insight_cloud.core.storage import settle

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def run(_):
    time.sleep(0.5)  # the lock is given away, as while an event loop is woken
    print("left Python", flush=True)
    return 0

thread = ctypes.c_ulong()
assert ctypes.CDLL(None).pthread_create(ctypes.byref(thread), None, run, None) == 0
while not settle._strangers():
    time.sleep(0.001)
"""


def test_a_thread_that_python_did_not_start_is_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left Python\n", "")
