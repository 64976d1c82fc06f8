"""The child's first steps, before bubblewrap: control groups, limits, the filter's descriptor.

A program of its own, with the standard library alone, so that it starts in milliseconds:
`python -I -S launch.py SPECIFICATION`, which is JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

__all__ = ["main"]


def main(text: str) -> None:
    """Become the program that the specification names, within its limits. Does not return."""
    wanted = json.loads(text)
    for group in wanted["groups"]:
        Path(group, "cgroup.procs").write_text(str(os.getpid()), "ascii")
    for name, limit in wanted["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hardest = resource.getrlimit(kind)
        most = limit if hardest == resource.RLIM_INFINITY else min(limit, hardest)
        resource.setrlimit(kind, (most, most))
    command = list(wanted["command"])
    if wanted["filter"]:
        descriptor = os.memfd_create("filter", 0)  # inherited: that is what it is for
        os.write(descriptor, bytes.fromhex(wanted["filter"]))
        os.lseek(descriptor, 0, os.SEEK_SET)
        command[1:1] = ["--seccomp", str(descriptor)]
    os.umask(0o022)  # the folders that bubblewrap makes are passed by whoever runs in there
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1])
