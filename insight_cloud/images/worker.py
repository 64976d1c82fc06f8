"""The child process in which images are decoded: the only place where libvips is used.

Apart, and started as a script of its own, because a decoder that meets a hostile file may use
any amount of memory and time, or crash. The kernel limits this process and nobody else is in it.
It reads jobs from standard input and writes results to standard output, one at a time:

    two big-endian 32-bit lengths, then that many bytes of JSON and of data.

It imports nothing of the package, so that it starts fast and stays small.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

import pyvips  # type: ignore[import-untyped]  # no types

AVIF_QUALITY = {60: 46, 75: 53, 85: 65}
JPEG_QUALITY = {60: 62, 75: 71, 85: 84}
"""What looks like WebP of the same name: measured by SSIMULACRA2, see docs/explain/images.md."""

_LOADERS = ("Jpeg", "Png", "Webp", "Nsgif")
_HEIGHT = 10_000_000  # that is, only the width limits
_PREVIEW = 16  # pixels of the placeholder's width
_HASHED = 32  # pixels of the longer side of what is hashed


def main() -> None:
    """Serve jobs until standard input ends."""
    options = json.loads(sys.argv[1])
    _limit(options)
    _allow_only_safe_loaders()
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not part of a result
    _make({"variants": [[16, 75, "webp"]], "placeholder": True}, _WARM_UP)
    _write(results, {"ready": True}, [])
    while (job := _read(jobs)) is not None:
        _allow_seconds(options["seconds"])
        try:
            # The source is nobody's but `_make`'s, which lets go of it as early as it can.
            answer, blobs = _make(job[0], job.pop())
        except (pyvips.Error, ValueError, MemoryError) as error:
            reason = str(getattr(error, "detail", "") or error).strip().splitlines()
            answer, blobs = {"error": reason[-1][:200] if reason else "unreadable"}, []
        _write(results, answer, blobs)


def _limit(options: dict[str, Any]) -> None:
    """Give up what is not needed, before anything hostile is seen."""
    memory = options["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can be written
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if sys.platform == "linux":
        call = ctypes.CDLL(None, use_errno=True).prctl
        call(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        call(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive the parent
        if os.getppid() != options["parent"]:
            sys.exit(0)


def _allow_only_safe_loaders() -> None:
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in _LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)


def _allow_seconds(seconds: float) -> None:
    """Let this process use `seconds` of CPU more; the kernel ends it when they are used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _read(stream: BinaryIO) -> list[Any] | None:
    """A job and its source."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    length, size = struct.unpack(">II", head)
    return [json.loads(stream.read(length)), stream.read(size)]


def _write(stream: BinaryIO, answer: dict[str, Any], blobs: list[bytes]) -> None:
    text = json.dumps(answer).encode()
    stream.write(struct.pack(">II", len(text), sum(map(len, blobs))) + text)
    stream.writelines(blobs)
    stream.flush()


# -- pictures ----------------------------------------------------------------------------------


def _make(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Make the variants `[width, quality, format]` of a job, all from one decoding."""
    original = pyvips.Image.new_from_buffer(data, "", access="sequential")
    fields = original.get_fields()
    orientation = original.get("orientation") if "orientation" in fields else 1
    turned = 5 <= orientation <= 8
    width, height = original.width, original.height
    answer: dict[str, Any] = {
        "width": height if turned else width,
        "height": width if turned else height,
        "turned": orientation != 1,
        "alpha": bool(original.hasalpha()),
        "variants": [],
    }
    widths = _useful({variant[0] for variant in job["variants"]}, answer["width"])
    del original  # and its decoder
    largest = _decoded(data, fields, widths[0] if widths else _HASHED)
    del data
    aspect = answer["height"] / answer["width"]
    blobs = []
    for wide in widths:
        picture = _narrowed(largest, wide, aspect)
        for variant in job["variants"]:
            if variant[0] == wide:
                form = "png" if variant[2] == "jpeg" and answer["alpha"] else variant[2]
                blobs.append(_encoded(picture, variant[1], form))
                made = [*variant, form, picture.width, picture.height, len(blobs[-1])]
                answer["variants"].append(made)
    if job.get("placeholder"):
        answer["placeholder"] = _placeholder(_narrowed(largest, _PREVIEW, aspect))
        answer["thumbhash"] = _thumbhash(largest)
    return answer, blobs


def _useful(widths: set[int], natural: int) -> list[int]:
    """From the widest: of those that are no narrower than the picture one, since all are alike."""
    beyond = sorted(width for width in widths if width >= natural)[:1]
    return beyond + sorted((width for width in widths if width < natural), reverse=True)


def _decoded(data: bytes, fields: list[str], width: int) -> Any:
    """The picture in memory: upright, in sRGB, 8 bits, at most `width` wide."""
    options: dict[str, Any] = {"height": _HEIGHT, "size": "down"}
    if "icc-profile-data" in fields:
        # Only then: it would cost half as much again on pictures without a profile.
        options["export_profile"] = "srgb"
    # `fail_on` as an argument is ignored for buffers (libvips issue 5195); as a text it counts.
    picture = pyvips.Image.thumbnail_buffer(
        data, width, option_string="[fail_on=warning]", **options
    )
    if picture.format != "uchar" or picture.interpretation not in {"srgb", "b-w"}:
        picture = picture.colourspace("srgb").cast("uchar")
    return picture.copy_memory()


def _trim() -> None:
    """Give back what was used before: the encoder of AVIF takes by far the most, elsewhere."""
    with contextlib.suppress(AttributeError):  # only glibc has this
        ctypes.CDLL(None).malloc_trim(0)


def _narrowed(picture: Any, width: int, aspect: float) -> Any:
    """The picture `width` wide; `aspect` is the source's height by its width.

    Without the usual step of halving first (`gap`): it saves nothing here and costs sharpness.
    """
    if width >= picture.width:
        return picture
    if picture.hasalpha():  # this one keeps the colours of clear pixels out of their neighbours
        return picture.thumbnail_image(width, height=_HEIGHT, size="down").copy_memory()
    height = max(1, round(width * aspect))
    across, down = width / picture.width, height / picture.height
    return picture.resize(across, vscale=down, gap=0).copy_memory()


def _encoded(picture: Any, quality: int, form: str) -> bytes:
    save = {"webp": _webp, "avif": _avif, "jpeg": _jpeg, "png": _png}[form]
    data: bytes = save(picture, quality)
    return data


def _webp(picture: Any, quality: int) -> Any:
    return picture.webpsave_buffer(Q=quality, effort=4, keep="none")


def _avif(picture: Any, quality: int) -> Any:
    _trim()
    return picture.heifsave_buffer(
        Q=AVIF_QUALITY[quality],
        effort=3,  # the next step costs four times as much for 5 % of the bytes
        compression="av1",
        subsample_mode="on",
        bitdepth=8,
        keep="none",
    )


def _jpeg(picture: Any, quality: int) -> Any:
    return picture.jpegsave_buffer(
        Q=JPEG_QUALITY[quality],
        optimize_coding=True,
        interlace=True,
        trellis_quant=True,
        overshoot_deringing=True,
        optimize_scans=True,
        quant_table=3,
        keep="none",
    )


def _png(picture: Any, quality: int) -> Any:
    return picture.pngsave_buffer(palette=True, Q=quality, compression=9, keep="none")


# -- placeholders ------------------------------------------------------------------------------


def _placeholder(picture: Any) -> str:
    """A picture of 16 pixels, about 100 bytes, as base64."""
    data = picture.webpsave_buffer(Q=40, effort=6, keep="none")
    return base64.b64encode(data).decode()


def _thumbhash(picture: Any) -> str:
    """The picture's ThumbHash as base64: some 25 bytes with colours, transparency and aspect."""
    scale = _HASHED / max(picture.width, picture.height)
    small = picture if scale >= 1 else picture.resize(scale)
    if small.interpretation == "b-w":
        small = small.colourspace("srgb")
    if not small.hasalpha():
        small = small.addalpha()
    return base64.b64encode(
        _hash(small.width, small.height, bytes(small.write_to_memory()))
    ).decode()


def _hash(width: int, height: int, pixels: bytes) -> bytes:
    """ThumbHash: a few cosines of luminance, two colour differences and alpha, in nibbles."""
    count = width * height
    alphas = [pixels[at] / 255 for at in range(3, count * 4, 4)]
    total = sum(alphas)
    mean = [
        sum(pixels[4 * at + channel] / 255 * alphas[at] for at in range(count)) / (total or 1)
        for channel in range(3)
    ]
    clear = total < count
    lightness, yellow_blue, red_green = [], [], []
    for at, alpha in enumerate(alphas):
        # What is transparent takes the mean colour, so that it draws no edges.
        red, green, blue = (
            mean[channel] * (1 - alpha) + alpha / 255 * pixels[4 * at + channel]
            for channel in range(3)
        )
        lightness.append((red + green + blue) / 3)
        yellow_blue.append((red + green) / 2 - blue)
        red_green.append(red - green)
    most = 5 if clear else 7
    longer = max(width, height)
    across = max(1, _rounded(most * width / longer))
    down = max(1, _rounded(most * height / longer))
    light = _cosines(lightness, width, height, max(3, across), max(3, down))
    yellow = _cosines(yellow_blue, width, height, 3, 3)
    red_ = _cosines(red_green, width, height, 3, 3)
    wide = width > height
    first = (
        _rounded(63 * light[0])
        | _rounded(31.5 + 31.5 * yellow[0]) << 6
        | _rounded(31.5 + 31.5 * red_[0]) << 12
        | _rounded(31 * light[2]) << 18
        | clear << 23
    )
    second = (
        (down if wide else across)
        | _rounded(63 * yellow[2]) << 3
        | _rounded(63 * red_[2]) << 9
        | wide << 15
    )
    head = first.to_bytes(3, "little") + second.to_bytes(2, "little")
    parts = [light, yellow, red_]
    if clear:
        opacity = _cosines(alphas, width, height, 5, 5)
        head += bytes([_rounded(15 * opacity[0]) | _rounded(15 * opacity[2]) << 4])
        parts.append(opacity)
    nibbles = [_rounded(15 * value) for _, waves, _ in parts for value in waves]
    nibbles += [0] * (len(nibbles) % 2)
    return head + bytes(low | high << 4 for low, high in zip(*[iter(nibbles)] * 2, strict=True))


def _cosines(
    channel: list[float], width: int, height: int, across: int, down: int
) -> tuple[float, list[float], float]:
    """The mean, the waves scaled to 0..1, and the scale, of a channel's cosine transform."""
    rows = [
        [math.cos(math.pi / width * wave * (x + 0.5)) for x in range(width)]
        for wave in range(across)
    ]
    mean, waves = 0.0, []
    for up in range(down):
        column = [math.cos(math.pi / height * up * (y + 0.5)) for y in range(height)]
        # Those beyond the diagonal are fine detail, which nobody sees in a blur.
        for wave in range(across):
            if wave * down >= across * (down - up):
                break
            value = sum(
                column[y] * sum(map(_product, rows[wave], channel[y * width : (y + 1) * width]))
                for y in range(height)
            ) / (width * height)
            if up or wave:
                waves.append(value)
            else:
                mean = value
    scale = max(map(abs, waves), default=0.0)
    return mean, [0.5 + 0.5 / scale * value if scale else 0.5 for value in waves], scale


def _rounded(value: float) -> int:
    """Half goes up, as the format's other writers do it."""
    return math.floor(value + 0.5)


def _product(one: float, other: float) -> float:
    return one * other


_WARM_UP = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVQI12P4//8/AAX+Av7czFnnAAAAAElFTkSuQmCC"
)

if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        main()
