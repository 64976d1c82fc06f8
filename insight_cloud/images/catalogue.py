"""What was made of a folder of images, as a file that templates and later runs read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import msgspec

from insight_cloud.core.errors import Corrupt, Missing
from insight_cloud.images.markup import Described
from insight_cloud.images.urls import Address
from insight_cloud.images.variants import Format

__all__ = ["Catalogue", "Entry", "File"]


@dataclass(frozen=True, slots=True)
class File:
    """One file that was written; `width` is what it was made for."""

    path: str
    format: Format
    width: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One source and what became of it. `recipe` names the source's content and all choices."""

    recipe: str
    bytes: int
    width: int
    height: int
    alpha: bool
    placeholder: str
    thumbhash: str
    files: tuple[File, ...]

    @property
    def best(self) -> int:
        """Bytes of the smallest full-size file; the source's own where none is smaller."""
        widest = max((file.width for file in self.files), default=0)
        return min([self.bytes, *(f.bytes for f in self.files if f.width == widest)])


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Entries by the source's path below the folder."""

    images: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def decode(cls, text: bytes) -> Catalogue:
        """Read what `encode` wrote.

        Raises:
            Corrupt: it did not write this.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise Corrupt(f"the catalogue of images cannot be read: {error}") from error

    def encode(self) -> bytes:
        """Return the catalogue as JSON, the same for the same content."""
        ordered = Catalogue(dict(sorted(self.images.items())))
        return msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n"

    def described(self, source: str) -> Described:
        """Return what markup needs to know of an image.

        Raises:
            Missing: the catalogue does not have it.
        """
        entry = self._entry(source)
        return Described(source, entry.width, entry.height, entry.alpha, entry.placeholder)

    def address(self, prefix: str) -> Address:
        """Return addresses of the files below `prefix`; one quality was made, so it is that."""

        def address(source: str, width: int, quality: int, form: Format | None) -> str | None:  # noqa: ARG001 - see above
            files = self._entry(source).files
            wanted = {form, "png"} if form == "jpeg" else {form}
            found = (file for file in files if file.width == width and file.format in wanted)
            path = next((file.path for file in found), None)
            return None if path is None else str(PurePosixPath(prefix) / path)

        return address

    def _entry(self, source: str) -> Entry:
        entry = self.images.get(source)
        if entry is None:
            raise Missing(f"the catalogue has no image {source!r}; run `insight images optimize`")
        return entry
