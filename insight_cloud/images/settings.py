"""What an operator may say about images."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

__all__ = ["LOGO", "ImagesSettings"]

LOGO = "/logo/"
"""The address of the logo, as the endpoint knows it."""


def _folders(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        address, _, folder = text.partition("=")
        if not (address.startswith("/") and address.endswith("/") and folder):
            raise ValueError(f"{text!r} is not ADDRESS=FOLDER; an address is like /photos/")
    return texts


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        ipaddress.ip_network(text)
    return texts


class ImagesSettings(BaseModel):
    """Images that are resized and re-encoded when somebody asks for them, at `/_image`.

    `insight serve` answers there once it has sources: `folders`, `logo`, `remote` or `keys`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folders: Annotated[tuple[str, ...], AfterValidator(_folders)] = ()
    """Folders of images, each as `ADDRESS=FOLDER`: with `/photos/=/srv/photos` the image
    `/srv/photos/cat.jpg` is asked for as `/_image?url=/photos/cat.jpg&w=640`. All that lies in
    them may be seen by anybody."""
    logo: Path | None = None
    """An image that stands in the head of every page instead of ours."""
    directory: Path | None = None
    """Where finished images are kept; without it only in memory, and made again after a start."""
    disk_bytes: int = Field(default=1024**3, ge=1024 * 1024)
    """Most bytes of finished images on disk; the least recently used go first."""
    memory_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Most bytes of finished images in the memory of each web process."""
    processes: int | None = Field(default=None, ge=1, le=64)
    """Processes that decode and encode, of each web process; without it as many as make one a
    processor together."""
    process_memory_bytes: int = Field(default=1280 * 1024 * 1024, ge=512 * 1024 * 1024)
    """Address space of each such process; an image that needs more is refused."""
    seconds: float = Field(default=7, gt=0, le=600)
    """Seconds of CPU for one image; one that needs more is refused."""
    queue: int = Field(default=64, ge=0)
    """Images that may wait for a process; further ones are answered with 503."""
    source_bytes: int = Field(default=20_000_000, ge=1024)
    """Largest source in bytes."""
    source_pixels: int = Field(default=50_000_000, ge=1)
    """Largest source in pixels, by its header, before anything is decoded."""
    source_side: int = Field(default=16_384, ge=1)
    """Longest side of a source in pixels."""
    formats: tuple[Literal["webp", "avif"], ...] = ("webp", "avif")
    """What is sent to a browser that accepts it, in this order; to others JPEG or PNG."""
    avif_width: int = Field(default=1920, ge=16)
    """Widest AVIF that is made while somebody waits; wider ones would take seconds."""
    max_age_seconds: int = Field(default=86_400, ge=0)
    """How long browsers and edges keep an image whose address does not name its version."""
    remote: tuple[str, ...] = ()
    """Beginnings of addresses of other hosts, such as `https://cdn.example/photos/`."""
    remote_private: Annotated[tuple[str, ...], AfterValidator(_networks)] = ()
    """Networks that are not public and may be asked nevertheless, for a store of one's own."""
    remote_seconds: int = Field(default=86_400, ge=0)
    """After which an image of another host is fetched again."""
    keys: tuple[SecretStr, ...] = ()
    """Keys that sign other addresses, the newest first; at least 16 bytes each."""

    @property
    def mounts(self) -> Mapping[str, Path]:
        """The folders by the beginning of the address, and the logo."""
        pairs = (text.partition("=") for text in self.folders)
        logo = {} if self.logo is None else {LOGO: self.logo}
        return {address: Path(folder) for address, _, folder in pairs} | logo

    @property
    def serves(self) -> bool:
        """Whether there is a source that images may come from."""
        return bool(self.mounts or self.remote or self.keys)
