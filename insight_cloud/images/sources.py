"""Where images may come from: folders of this machine, and hosts by name, safely."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from insight_cloud.core.errors import Missing, Refused, TooLarge

__all__ = ["Found", "Mounts"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was when it was looked at; equal stamps mean equal content."""

    path: Path
    size: int
    modified_ns: int
    inode: int


class Mounts:
    """Folders by the beginning of the address: `{"/static/": Path("static")}`.

    A file in the place of a folder is that one image, under the address as it stands there.
    Nothing outside of them is ever read: `..` and links that lead out are not found, as are
    sockets, pipes and devices.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """Take addresses that begin and end with a slash."""
        self._folders = sorted(
            (
                (f"/{prefix.strip('/')}/".replace("//", "/"), path)
                for prefix, path in folders.items()
            ),
            key=lambda pair: -len(pair[0]),
        )

    def find(self, url: str) -> Found:
        """Return the file that the path `url` names.

        Raises:
            Refused: no folder has such addresses.
            Missing: there is no such file in the folder.
        """
        path = unquote(url.partition("?")[0])
        for prefix, folder in self._folders:
            if path.startswith(prefix):
                return _found(folder, path.removeprefix(prefix), url)
        raise Refused(f"images are not served from {url!r}")

    def read(self, found: Found, most_bytes: int) -> bytes:
        """Return the content.

        Raises:
            Missing: it is not there any more.
            TooLarge: it has more than `most_bytes`.
        """
        # Without blocking: a file may have become a pipe that nobody writes to.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(found.path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Missing(f"{found.path.name} is not a file any more")
                data = file.read(most_bytes + 1)
        except OSError as error:
            raise Missing(f"{found.path.name} cannot be read") from error
        if len(data) > most_bytes:
            raise TooLarge(f"the image has more than {most_bytes:,} bytes")
        return data


def _found(folder: Path, below: str, url: str) -> Found:
    try:
        root = folder.resolve()
        path = (root / below).resolve()
        if not path.is_relative_to(root):
            raise Missing(f"there is no image {url!r}")
        status = path.stat()
    except (OSError, ValueError, RuntimeError) as error:  # also NUL in a name and rings of links
        raise Missing(f"there is no image {url!r}") from error
    if not stat.S_ISREG(status.st_mode):
        raise Missing(f"there is no image {url!r}")
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ino)
