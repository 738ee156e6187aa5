"""Rules: is this really a picture, of which kind and size, and what of it may be kept.

The hub never decodes a picture; the readers' browsers do. So the declared size is what a picture costs them,
and it is judged from the headers alone. What a picture says beside its pixels (place, camera, text, colour
tables that unpack to gigabytes) is left out. Formats: PNG (ISO/IEC 15948), JPEG (ITU-T T.81, annex B), WebP
(RFC 9649). SVG is not taken: it is a program.
"""

import struct
import zlib
from dataclasses import dataclass

from tocsin_shared.errors import BadInputError

MOST_BYTES = 5 * 1024 * 1024
MOST_SIDE = 8192
MOST_PIXELS = 24_000_000
"""96 MB once it is unpacked in a phone."""
LEAST_SIDE = 64
_MOST_SCANS = 100
"""A progressive JPEG of normal make has ten; thousands keep a processor busy for minutes."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_LEFT_OUT = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_WEBP_ANIMATED = 0x02
_WEBP_ALPHA = 0x10


@dataclass(frozen=True)
class Image:
    """A picture that may be kept."""

    kind: str
    """``png``, ``jpeg`` or ``webp``."""
    width: int
    height: int
    """Pixels."""
    data: bytes
    """The file, without what is not pixels."""


def read_image(data: bytes) -> Image:
    """The picture in ``data``.

    Raises:
        BadInputError: it is none, is damaged, or is too large; the text is a key of the catalogue's family
            ``plan_error``.
    """
    if len(data) > MOST_BYTES:
        raise BadInputError("bytes")
    try:
        image = _read(data)
    except (struct.error, IndexError) as error:
        raise BadInputError("damaged") from error
    _check_size(image.width, image.height)
    return image


def _read(data: bytes) -> Image:
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    head = data[:2000].lstrip().lower()
    raise BadInputError("svg" if b"<svg" in head else "kind")


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise BadInputError("pixels")
    if min(width, height) < LEAST_SIDE:
        raise BadInputError("tiny")


def _png(data: bytes) -> Image:
    parts, position, kind = [_PNG_SIGNATURE], len(_PNG_SIGNATURE), b""
    width, height = _png_header(data)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        (crc,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[position + 4 : end - 4]) != crc:
            raise BadInputError("damaged")
        if kind in _PNG_KEPT:
            parts.append(data[position:end])
        position = end
    if b"IDAT" not in {part[4:8] for part in parts}:
        raise BadInputError("damaged")
    return Image("png", width, height, b"".join(parts))


def _png_header(data: bytes) -> tuple[int, int]:
    length, kind, width, height, depth, colour, packing, rows, lacing = struct.unpack_from(
        ">I4sIIBBBBB", data, 8
    )
    good = (length, kind, packing, rows) == (13, b"IHDR", 0, 0) and lacing < 2
    if not good or depth not in _PNG_DEPTHS.get(colour, ()):
        raise BadInputError("damaged")
    # Before the rest is looked at: what is too large is not worth a checksum.
    _check_size(width, height)
    return width, height


def _jpeg(data: bytes) -> Image:
    parts, position, scans, size = [b"\xff\xd8"], 2, 0, None
    while True:
        marker, start, end = _jpeg_segment(data, position)
        if marker == 0xD9:
            break
        if marker in _JPEG_FRAMES and size is None:
            size = _jpeg_size(data, start)
        elif marker in _JPEG_FRAMES | _JPEG_OTHER_FRAMES:
            raise BadInputError("damaged")
        scans += marker == 0xDA
        if scans > _MOST_SCANS or (scans and size is None):
            raise BadInputError("damaged")
        position = _jpeg_scan_end(data, end) if marker == 0xDA else end
        if marker not in _JPEG_LEFT_OUT:
            parts.append(data[start - 2 : position])
    if size is None or not scans:
        raise BadInputError("damaged")
    return Image("jpeg", *size, b"".join([*parts, b"\xff\xd9"]))


def _jpeg_segment(data: bytes, position: int) -> tuple[int, int, int]:
    """Marker, start of its length field, and end of the segment at ``position``; fill bytes are skipped."""
    if data[position] != 0xFF:
        raise BadInputError("damaged")
    while data[position + 1] == 0xFF:
        position += 1
    marker, start = data[position + 1], position + 2
    if marker == 0xD9:
        return marker, start, start
    (length,) = struct.unpack_from(">H", data, start)
    if length < 2 or start + length > len(data) or marker < 0xC0 or 0xD0 <= marker <= 0xD8:
        raise BadInputError("damaged")
    return marker, start, start + length


def _jpeg_size(data: bytes, start: int) -> tuple[int, int]:
    depth, height, width, components = struct.unpack_from(">BHHB", data, start + 2)
    if depth != 8 or components not in {1, 3, 4}:
        raise BadInputError("damaged")
    _check_size(width, height)
    return width, height


def _jpeg_scan_end(data: bytes, position: int) -> int:
    """Where the coded samples that begin at ``position`` end: at the next marker that is no restart."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise BadInputError("damaged")
        following = data[position + 1]
        if following not in {0x00, 0xFF} and not 0xD0 <= following <= 0xD7:
            return position
        position += 1 if following == 0xFF else 2


def _webp(data: bytes) -> Image:
    (declared,) = struct.unpack_from("<I", data, 4)
    if declared + 8 > len(data):
        raise BadInputError("damaged")
    parts, size, canvas, position = [], None, None, 12
    while position + 8 <= declared + 8:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if len(body) != length:
            raise BadInputError("damaged")
        if kind == b"VP8X":
            canvas = _webp_canvas(body)
            body = bytes([body[0] & _WEBP_ALPHA]) + body[1:]
        elif kind in {b"VP8 ", b"VP8L"} and size is None:
            size = _webp_size(kind, body)
        if kind in {b"VP8X", b"ALPH", b"VP8 ", b"VP8L"}:
            parts.append(struct.pack("<4sI", kind, length) + body + b"\0" * (length % 2))
        position += 8 + length + length % 2
    if size is None or canvas not in {None, size}:
        raise BadInputError("damaged")
    joined = b"".join(parts)
    return Image("webp", *size, b"RIFF" + struct.pack("<I", len(joined) + 4) + b"WEBP" + joined)


def _webp_canvas(body: bytes) -> tuple[int, int]:
    if body[0] & _WEBP_ANIMATED:
        raise BadInputError("moving")
    return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        if body[0] != 0x2F:
            raise BadInputError("damaged")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    start, width, height = struct.unpack_from("<3sHH", body, 3)
    if start != b"\x9d\x01\x2a":
        raise BadInputError("damaged")
    return width & 0x3FFF, height & 0x3FFF
