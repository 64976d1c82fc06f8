"""What a file says of itself before anything of it is decoded: format, size, and if it is whole.

Apart and in pure Python because this is where hostile files end. A bomb is refused by what its
header declares, at the cost of a walk over its segments; no decoder has seen it by then.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["MEDIA_TYPES", "Header", "Limits", "Readable", "bare", "read"]

Readable = Literal["jpeg", "png", "webp", "gif"]
"""The formats that are decoded. AVIF, HEIF, SVG and all others never are."""

MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
}

_MOST_SCANS = 100  # of a progressive JPEG; encoders make about ten, a bomb has thousands
_MOST_STEPS = 100_000  # segments, chunks or blocks that are looked at
_INTERLACED_BYTES = 256 * 1024 * 1024  # such a PNG is decoded as a whole, not line by line
_KNOWN = (
    (re.compile(rb"....ftyp(?:avi[fs]|hei[cxsm]|hev[cx]|mif1|msf1)", re.DOTALL), "AVIF or HEIF"),
    (re.compile(rb"(?:II\*\0|MM\0\*|II\+\0|MM\0\+)"), "TIFF"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|!doctype svg|svg)", re.IGNORECASE), "SVG"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<", re.IGNORECASE), "HTML or XML"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a source may be."""

    size: int = 20_000_000
    """Bytes of the file."""
    pixels: int = 50_000_000
    """Width times height."""
    side: int = 16_384
    """Pixels of the longer side."""
    frames: int = 10_000
    """Frames of an animation, of which the first is used."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the file declares. Width and height are as stored, before EXIF turns them."""

    format: Readable
    width: int
    height: int
    frames: int = 1


def read(data: bytes, limits: Limits) -> Header:
    """Return what `data` declares.

    Raises:
        TooLarge: the file, its picture or its animation is beyond `limits`.
        Invalid: it is of a format that is never decoded, or not whole.
    """
    if len(data) > limits.size:
        raise TooLarge(f"the image has {len(data):,} bytes; at most {limits.size:,} are read")
    try:
        header = _reader(data)(data)
    except (struct.error, IndexError) as error:
        raise Invalid("the image is truncated") from error
    if header.width < 1 or header.height < 1:
        raise Invalid("the image has no pixels")
    if max(header.width, header.height) > limits.side:
        raise TooLarge(
            f"the image is {header.width} × {header.height} pixels; "  # noqa: RUF001 - a product
            f"a side may have {limits.side:,}"
        )
    if header.width * header.height > limits.pixels:
        raise TooLarge(
            f"the image has {header.width * header.height:,} pixels; at most "
            f"{limits.pixels:,} are decoded"
        )
    if header.frames > limits.frames:
        raise TooLarge(f"the animation has {header.frames:,} frames; at most {limits.frames:,} may")
    return header


def bare(data: bytes, header: Header) -> bytes:
    """Return the same picture without metadata, comments and whatever follows its end.

    `data` must have passed `read`. Nothing is decoded. The colour profile stays; EXIF goes, so
    a picture that EXIF turns must not be sent like this.
    """
    return _BARE[header.format](data)


def _reader(data: bytes) -> Callable[[bytes], Header]:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if not data:
        raise Invalid("the image is empty")
    for pattern, name in _KNOWN:
        if pattern.match(data):
            raise Invalid(f"the file is {name}; only JPEG, PNG, WebP and GIF are decoded")
    raise Invalid("the file is no JPEG, PNG, WebP or GIF")


# -- JPEG --------------------------------------------------------------------------------------

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_METADATA = frozenset({0xE1, 0xED, 0xFE, *range(0xE3, 0xED), 0xEF})  # not JFIF, ICC, Adobe


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, up to the end of the picture; a scan with its data."""
    at = 2
    for _ in range(_MOST_STEPS):
        if data[at] != 0xFF:
            raise Invalid("the JPEG is damaged: there is no marker where one must be")
        while data[at] == 0xFF:
            at += 1
        marker, start = data[at], at - 1
        at += 1
        if marker == 0xD9:
            return
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise Invalid("the JPEG is truncated")
        at += length
        if marker == 0xDA:
            following = _NEXT_MARKER.search(data, at)
            if following is None:
                raise Invalid("the JPEG is truncated")
            at = following.start()
        yield marker, start, at
    raise Invalid("the JPEG has too many segments")


def _jpeg(data: bytes) -> Header:
    size, scans = None, 0
    for marker, start, _ in _segments(data):
        if marker == 0xDA:
            scans += 1
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 5)
            if size not in {None, (width, height)}:
                raise Invalid("the JPEG declares two sizes")
            size = (width, height)
        if scans > _MOST_SCANS:
            raise TooLarge(f"the JPEG has more than {_MOST_SCANS} scans")
    if size is None or not scans:
        raise Invalid("the JPEG has no picture")
    return Header("jpeg", *size)


def _bare_jpeg(data: bytes) -> bytes:
    kept = [b"\xff\xd8"]
    for marker, start, end in _segments(data):
        profile = data[start + 4 : start + 15] == b"ICC_PROFILE"
        if marker not in _METADATA and (marker != 0xE2 or profile):
            kept.append(data[start:end])
    return b"".join((*kept, b"\xff\xd9"))


# -- PNG ---------------------------------------------------------------------------------------

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PICTURE = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"}
)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk, up to and with the last."""
    at = 8
    for _ in range(_MOST_STEPS):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Invalid("the PNG is truncated")
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise Invalid("the PNG has too many chunks")


def _png(data: bytes) -> Header:
    names = _chunks(data)
    name, _, end = next(names)
    if name != b"IHDR" or end != 33:
        raise Invalid("the PNG does not begin with its header")
    width, height, bits, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if kind not in _CHANNELS:
        raise Invalid("the PNG is of no known kind")
    if interlaced and width * height * _CHANNELS[kind] * max(bits, 8) // 8 > _INTERLACED_BYTES:
        raise TooLarge("the PNG is interlaced and too large to be decoded as a whole")
    if not any(name == b"IDAT" for name, _, _ in names):
        raise Invalid("the PNG has no picture")
    for _ in names:  # to the end, so that a truncated one is noticed
        pass
    return Header("png", width, height)


def _bare_png(data: bytes) -> bytes:
    kept = (data[start:end] for name, start, end in _chunks(data) if name in _PICTURE)
    return data[:8] + b"".join(kept)


# -- WebP --------------------------------------------------------------------------------------


def _parts(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each part of the RIFF file."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise Invalid("the WebP is truncated")
    at, stop = 12, size + 8
    for _ in range(_MOST_STEPS):
        if at >= stop:
            return
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if end > stop + 1:
            raise Invalid("the WebP is truncated")
        yield name, at, end
        at = end
    raise Invalid("the WebP has too many parts")


def _webp(data: bytes) -> Header:
    size, frames = None, 0
    for name, start, _ in _parts(data):
        if name == b"ANMF":
            frames += 1
        elif size is None and name in _WEBP_SIZES:
            size = _WEBP_SIZES[name](data, start + 8)
        elif name in {b"VP8 ", b"VP8L"}:
            # Behind VP8X: a canvas must not hide a picture of another size.
            inner = _WEBP_SIZES[name](data, start + 8)
            if inner != size:
                raise Invalid("the WebP declares two sizes")
    if size is None:
        raise Invalid("the WebP does not declare its size")
    return Header("webp", *size, max(frames, 1))


def _vp8(data: bytes, at: int) -> tuple[int, int]:
    if data[at + 3 : at + 6] != b"\x9d\x01\x2a":
        raise Invalid("the WebP is damaged")
    width, height = struct.unpack_from("<HH", data, at + 6)
    return width & 0x3FFF, height & 0x3FFF


def _vp8l(data: bytes, at: int) -> tuple[int, int]:
    if data[at] != 0x2F:
        raise Invalid("the WebP is damaged")
    (bits,) = struct.unpack_from("<I", data, at + 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _vp8x(data: bytes, at: int) -> tuple[int, int]:
    width = int.from_bytes(data[at + 4 : at + 7], "little") + 1
    height = int.from_bytes(data[at + 7 : at + 10], "little") + 1
    return width, height


_WEBP_SIZES = {b"VP8 ": _vp8, b"VP8L": _vp8l, b"VP8X": _vp8x}


def _bare_webp(data: bytes) -> bytes:
    kept = []
    for name, start, end in _parts(data):
        if name == b"VP8X":  # without the flags that announce EXIF and XMP
            flags = data[start + 8] & ~0x0C
            kept.append(data[start : start + 8] + bytes([flags]) + data[start + 9 : end])
        elif name in {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}:
            kept.append(data[start:end])
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# -- GIF ---------------------------------------------------------------------------------------


def _blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each block, up to and with the trailer; the sub-blocks skipped."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    steps = 0
    while True:
        kind, start = data[at], at
        if kind == 0x3B:
            yield kind, start, start + 1
            return
        if kind == 0x2C:
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            raise Invalid("the GIF is damaged")
        while data[at]:
            at += data[at] + 1
            steps += 1
        at += 1
        steps += 1
        if steps > _MOST_STEPS:
            raise TooLarge("the GIF has too many blocks")
        yield kind, start, at


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    frames = 0
    for kind, start, _ in _blocks(data):
        if kind == 0x2C:
            frames += 1
            left, top, wide, high = struct.unpack_from("<HHHH", data, start + 1)
            # Decoders enlarge the canvas to what its frames cover.
            width, height = max(width, left + wide), max(height, top + high)
    if not frames:
        raise Invalid("the GIF has no picture")
    return Header("gif", width, height, frames)


def _bare_gif(data: bytes) -> bytes:
    head = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept = [data[:head]]
    for kind, start, end in _blocks(data):
        application = kind == 0x21 and data[start + 1] == 0xFF
        looping = data[start + 3 : start + 14] == b"NETSCAPE2.0"
        if kind != 0x21 or data[start + 1] == 0xF9 or (application and looping):
            kept.append(data[start:end])
    return b"".join(kept)


_BARE = {"jpeg": _bare_jpeg, "png": _bare_png, "webp": _bare_webp, "gif": _bare_gif}
