"""Pictures for tests, drawn here: good ones of every kind, and hostile ones that must not hurt."""

from __future__ import annotations

import functools
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pyvips  # type: ignore[import-untyped]  # no types

__all__ = ["GOOD", "HOSTILE", "chunk", "jpeg", "photo", "png", "webp"]


@functools.cache
def photo(width: int = 960, height: int = 640) -> Any:
    """Something like a photograph: soft shapes, colours and a little noise."""
    x = pyvips.Image.xyz(width, height)
    across, down = x[0] * (255 / width), x[1] * (255 / height)
    rings = ((x[0] - width / 2) ** 2 + (x[1] - height / 3) ** 2) ** 0.5 * (720 / width)
    noise = pyvips.Image.gaussnoise(width, height, mean=0, sigma=4, seed=7)
    bands = [across * 0.6 + rings.math("sin") * 60 + 60, down, 200 - down * 0.5 + across * 0.2]
    joined = bands[0].bandjoin([bands[1], bands[2]]) + noise
    return joined.cast("uchar").copy(interpretation="srgb").copy_memory()


def jpeg(picture: Any = None, **options: Any) -> bytes:
    data: bytes = (picture or photo()).jpegsave_buffer(**{"Q": 88} | options)
    return data


def png(picture: Any = None, **options: Any) -> bytes:
    data: bytes = (picture or photo()).pngsave_buffer(**options)
    return data


def webp(picture: Any = None, **options: Any) -> bytes:
    data: bytes = (picture or photo()).webpsave_buffer(**{"Q": 88} | options)
    return data


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _header(width: int, height: int, bits: int, kind: int, interlaced: int = 0) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body)


def _bomb_png(width: int, height: int, bits: int, kind: int, interlaced: int = 0) -> bytes:
    """A PNG with the beginning of its pixels, so that only its header gives it away."""
    pixels = zlib.compress(bytes(1_000_000), 9)
    return (
        _header(width, height, bits, kind, interlaced)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def _jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG whose header declares another size."""
    data = bytearray(jpeg(photo(64, 48)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _many_scans() -> bytes:
    data = jpeg(photo(64, 48), interlace=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 12)]
    return data[:first] + scan * 2000 + data[first:]


def _two_sizes() -> bytes:
    data = jpeg(photo(64, 48))
    at = data.index(b"\xff\xc0")
    end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
    second = bytearray(data[at:end])
    second[5:9] = struct.pack(">HH", 60000, 60000)
    return data[:end] + bytes(second) + data[end:]


def _gif(width: int, height: int, frames: int = 1, frame: tuple[int, int] = (1, 1)) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\0"
    return head + one * frames + b";"


def _gif_of_blocks() -> bytes:
    comment = b"\x21\xfe" + b"\x01x" * 400_000 + b"\0"
    return _gif(1, 1)[:-1] + comment + b";"


def _riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for name, content in parts:
        body += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _lossless_webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return _riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + b"\0" * 20))


def _vp8x(width: int, height: int) -> bytes:
    return b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _hidden_size() -> bytes:
    """A canvas of 64 × 48 around a picture of 16,383 × 16,383."""  # noqa: RUF002 - a product
    vp8 = b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + b"\0" * 40
    return _riff((b"VP8X", _vp8x(64, 48)), (b"VP8 ", vp8))


def _avif(width: int = 64, height: int = 48) -> bytes:
    data: bytes = photo(width, height).heifsave_buffer(compression="av1", effort=0)
    return data


_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">{}</svg>'


def _uses() -> bytes:
    levels = "".join(
        f'<g id="a{n}">' + f'<use href="#a{n - 1}"/>' * 10 + "</g>" for n in range(1, 10)
    )
    return _SVG.format(f'<rect id="a0" width="1" height="1"/>{levels}<use href="#a9"/>').encode()


_ENTITIES = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">
<!ENTITY c "&b;&b;&b;">]><svg xmlns="http://www.w3.org/2000/svg"><text>&c;</text></svg>"""

Make = Callable[[], bytes]
HOSTILE: dict[str, Make] = {
    # Formats that are never decoded.
    "avif": _avif,
    "avif-144-megapixels": lambda: _avif().replace(
        struct.pack(">II", 64, 48), struct.pack(">II", 12000, 12000)
    ),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
    "mif1": lambda: b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(200),
    "avif-sequence": lambda: b"\0\0\0\x18ftypavis\0\0\0\0avisavif" + bytes(200),
    "svg": lambda: _SVG.format("<rect/>").encode(),
    "svg-with-xml-line": lambda: b'<?xml version="1.0"?>' + _SVG.format("<rect/>").encode(),
    "svg-after-a-byte-order-mark": lambda: b"\xef\xbb\xbf" + _SVG.format("<rect/>").encode(),
    "svg-after-blanks": lambda: b"\n \t" + _SVG.format("<rect/>").encode(),
    "svg-of-a-billion-uses": _uses,
    "svg-of-entities": lambda: _ENTITIES,
    "svg-with-a-file": lambda: _SVG.format('<image href="meadow.jpg"/>').encode(),
    "svg-with-a-huge-blur": lambda: _SVG.format(
        '<filter id="f"><feGaussianBlur stdDeviation="8000"/></filter>'
    ).encode(),
    "svg-packed": lambda: __import__("gzip").compress(_SVG.format("<rect/>").encode()),
    "tiff": lambda: photo(64, 48).tiffsave_buffer(),
    "tiff-big-endian": lambda: b"MM\0*\0\0\0\x08" + bytes(200),
    "bigtiff": lambda: b"II+\0\x08\0\0\0" + bytes(200),
    "jpeg-xl": lambda: b"\xff\x0a" + bytes(200),
    "jpeg-2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
    "bmp": lambda: b"BM" + bytes(200),
    "pdf": lambda: b"%PDF-1.7\n" + bytes(200),
    "ppm": lambda: b"P6 64 48 255\n" + bytes(64 * 48 * 3),
    "vips": lambda: b"\x08\xf2\xa6\xb6" + bytes(200),
    "matlab": lambda: b"MATLAB 5.0 MAT-file" + bytes(200),
    "csv": lambda: b"1,2,3\n4,5,6\n",
    "html": lambda: b"<!doctype html><script>alert(1)</script>",
    "random": lambda: random.Random(1).randbytes(5000),
    "empty": lambda: b"",
    "one-byte": lambda: b"\xff",
    # Bombs: the header declares more than anybody should decode.
    "png-3600-megapixels": lambda: _bomb_png(60000, 60000, 1, 0),
    "png-144-megapixels": lambda: _bomb_png(12000, 12000, 16, 6),
    "png-256-megapixels": lambda: _bomb_png(16000, 16000, 8, 2),
    "png-2-to-the-31": lambda: _bomb_png(2**31, 2**31, 8, 2),
    "png-long-and-thin": lambda: _bomb_png(2**31 - 1, 1, 8, 2),
    "png-interlaced-and-large": lambda: _bomb_png(7000, 7000, 16, 6, 1),
    "jpeg-65500": lambda: _jpeg_of(65500, 65500),
    "jpeg-2000-scans": _many_scans,
    "gif-65535": lambda: _gif(65535, 65535),
    "gif-with-a-frame-beyond-its-canvas": lambda: _gif(1, 1, 1, (65535, 65535)),
    "gif-of-20000-frames": lambda: _gif(1, 1, 20_000),
    "gif-of-400000-blocks": _gif_of_blocks,
    "webp-268-megapixels": lambda: _lossless_webp(16384, 16384),
    "webp-canvas-of-2-to-the-24": lambda: _riff((b"VP8X", _vp8x(2**24, 2**24))),
    "webp-with-a-hidden-size": _hidden_size,
    "too-many-bytes": lambda: jpeg(photo(64, 48)) + bytes(20_000_001),
    # Broken in ways that a header shows.
    "png-without-pixels": lambda: _header(64, 48, 8, 2) + chunk(b"IEND", b""),
    "png-of-no-width": lambda: _bomb_png(0, 48, 8, 2),
    "png-of-no-kind": lambda: _bomb_png(64, 48, 8, 5),
    "png-without-header": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") * 3,
    "png-truncated": lambda: png()[:-4000],
    "png-chunk-beyond-the-end": lambda: (
        _header(64, 48, 8, 2) + struct.pack(">I", 2**31) + b"IDAT" + bytes(100)
    ),
    "png-of-200000-chunks": lambda: (
        _header(64, 48, 8, 2) + chunk(b"tEXt", b"") * 200_000 + chunk(b"IEND", b"")
    ),
    "jpeg-truncated": lambda: jpeg()[:-4000],
    "jpeg-header-only": lambda: jpeg()[:200],
    "jpeg-two-sizes": _two_sizes,
    "jpeg-without-size": lambda: b"\xff\xd8\xff\xda\0\x02\xff\xd9",
    "jpeg-segment-beyond-the-end": lambda: b"\xff\xd8\xff\xe0\xff\xff" + bytes(100),
    "gif-truncated": lambda: _gif(8, 8)[:-3],
    "gif-without-picture": lambda: _gif(8, 8, 0),
    "webp-truncated": lambda: webp()[:-400],
    "webp-part-beyond-the-end": lambda: (
        _riff((b"VP8X", _vp8x(64, 48)))[:-4] + b"VP8 \xff\xff\xff\x7f"
    ),
    "webp-without-picture": _riff,
}
"""Files that are refused by their header: no decoder sees them."""


def _turned(orientation: int) -> bytes:
    copy = photo(96, 64).copy()
    copy.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return jpeg(copy, keep="exif")


def _animated(form: str) -> bytes:
    frames = [photo(96, 64).linear(1 - n / 8, 0).cast("uchar") for n in range(4)]
    joined = pyvips.Image.arrayjoin(frames, across=1).copy()
    joined.set_type(pyvips.GValue.gint_type, "page-height", 64)
    data: bytes = joined.write_to_buffer(f".{form}")
    return data


def _compressed_text() -> bytes:
    text = zlib.compress(bytes(64_000_000), 9)
    data = png(photo(96, 64))
    return data[:33] + chunk(b"zTXt", b"Comment\0\0" + text) + data[33:]


GOOD: dict[str, Make] = {
    "jpeg": lambda: jpeg(photo(96, 64)),
    "jpeg-progressive": lambda: jpeg(photo(96, 64), interlace=True),
    "jpeg-gray": lambda: jpeg(photo(96, 64).colourspace("b-w")),
    "jpeg-cmyk": lambda: jpeg(photo(96, 64).icc_transform("cmyk", input_profile="srgb")),
    "jpeg-display-p3": lambda: jpeg(photo(96, 64).icc_transform("p3", input_profile="srgb")),
    **{f"jpeg-turned-{n}": functools.partial(_turned, n) for n in range(1, 9)},
    "jpeg-then-zip": lambda: jpeg(photo(96, 64)) + b"PK\x03\x04" + bytes(500),
    "jpeg-then-script": lambda: jpeg(photo(96, 64)) + b"<script>alert(1)</script>",
    "png": lambda: png(photo(96, 64)),
    "png-16-bits": lambda: png(photo(96, 64).colourspace("rgb16")),
    "png-palette": lambda: png(photo(96, 64), palette=True),
    "png-gray": lambda: png(photo(96, 64).colourspace("b-w")),
    "png-transparent": lambda: png(photo(96, 64).bandjoin(128)),
    "png-gray-transparent": lambda: png(photo(96, 64).colourspace("b-w").bandjoin(90)),
    "png-interlaced": lambda: png(photo(96, 64), interlace=True),
    "png-with-64-megabytes-of-text": _compressed_text,
    "png-then-html": lambda: png(photo(96, 64)) + b"<html><script>alert(1)</script>",
    "png-one-pixel": lambda: png(photo(96, 64).crop(0, 0, 1, 1)),
    "gif": lambda: photo(96, 64).write_to_buffer(".gif"),
    "gif-animated": lambda: _animated("gif"),
    "gif-that-is-javascript": lambda: (
        photo(96, 64).write_to_buffer(".gif")[:-1] + b"\x21\xfe\x0d*/=alert(1)//\0;"
    ),
    "webp": lambda: webp(photo(96, 64)),
    "webp-lossless": lambda: webp(photo(96, 64), lossless=True),
    "webp-transparent": lambda: webp(photo(96, 64).bandjoin(128)),
    "webp-animated": lambda: _animated("webp"),
}
"""Files that are odd and nevertheless images."""
