"""The floor plan: what is a picture and what only says so, and where a room may lie."""

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_hub.plan.image import MOST_BYTES, Image, read_image
from tocsin_hub.plan.keeping import PictureFolder
from tocsin_hub.plan.model import HEIGHT, WIDTH, FloorPlan, Picture, read_shape, rectangle
from tocsin_shared.errors import BadInputError


def png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG of grey pixels with further chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + b"\xc0" * width for _ in range(min(height, 300))))
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(width: int, height: int, *more: bytes) -> bytes:
    """What a JPEG looks like from outside, with further segments before its frame."""
    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\x00\x34\xff\xd0\x56"
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + b"".join(more) + frame + scan + b"\xff\xd9"


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def lossless(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"pixels"


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("png", png(640, 400)),
        ("jpeg", jpeg(640, 400)),
        ("webp", webp(lossless(640, 400))),
        ("webp", webp(canvas(640, 400), (b"EXIF", b"where it was made"), lossless(640, 400))),
        ("webp", webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 640, 400)))),
    ],
)
def test_pictures_of_the_three_kinds_are_taken(kind: str, data: bytes) -> None:
    image = read_image(data)
    assert (image.kind, image.width, image.height) == (kind, 640, 400)
    assert read_image(image.data) == image


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "kind"),
        (b"GIF89a" + b"\0" * 99, "kind"),
        (b"<?xml version='1.0'?><!-- x --><svg/>", "svg"),
        (png(60_000, 60_000), "pixels"),
        (png(8192, 8192), "pixels"),
        (png(8193, 70), "pixels"),
        (png(0, 0), "tiny"),
        (png(10, 10), "tiny"),
        (png(640, 400)[:-20], "damaged"),
        (png(640, 400).replace(b"IDAT", b"IDAX"), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"x"), "damaged"),
        (jpeg(60_000, 60_000), "pixels"),
        (jpeg(640, 400)[:-2], "damaged"),
        (jpeg(640, 400, segment(0xC0, struct.pack(">BHHB", 8, 9, 9, 1))), "tiny"),
        (jpeg(640, 400, segment(0xC2, struct.pack(">BHHB", 8, 400, 640, 1))), "damaged"),
        (jpeg(640, 400)[:-2] + segment(0xDA, b"x") * 200 + b"\xff\xd9", "damaged"),
        (webp(lossless(16_384, 16_384)), "pixels"),
        (webp(canvas(640, 400, flags=2), lossless(640, 400)), "moving"),
        (webp(canvas(16_000, 16_000), lossless(640, 400)), "damaged"),
        (webp(canvas(640, 400)), "damaged"),
        (webp(lossless(640, 400))[:-4], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * MOST_BYTES, "bytes"),
    ],
)
def test_what_is_no_usable_picture_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadInputError, match=f"^{why}$"):
        read_image(data)


def test_what_a_picture_says_beside_its_pixels_is_left_out() -> None:
    secret = b"37.5665 N, 126.9780 E"
    for data in (
        png(640, 400, chunk(b"tEXt", secret), chunk(b"iCCP", secret)),
        jpeg(640, 400, segment(0xE1, b"Exif\0\0" + secret), segment(0xFE, secret)),
        webp(canvas(640, 400, flags=8), (b"EXIF", secret), lossless(640, 400)),
        png(640, 400) + secret,
        jpeg(640, 400) + secret,
    ):
        assert secret in data
        assert secret not in read_image(data).data


@given(st.sampled_from([png(70, 70), jpeg(70, 70), webp(canvas(70, 70), lossless(70, 70))]), st.data())
def test_damage_anywhere_is_refused_or_harmless(whole: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(max_size=8))
    try:
        image = read_image(whole[:place] + patch + whole[place + data.draw(st.integers(0, 8)) :])
    except BadInputError:
        return
    assert isinstance(image, Image)
    assert image.width * image.height <= 24_000_000


def test_a_picture_is_kept_whole_and_the_one_before_it_is_deleted(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    first = folder.keep(read_image(png(640, 400)))
    second = folder.keep(read_image(png(500, 400)))
    assert folder.read(first) == png(640, 400)
    folder.forget_others(second)
    assert folder.read(first) is None
    assert folder.read(second) == png(500, 400)
    assert [path.name for path in (tmp_path / "plan").iterdir()] == [f"{second.sha256}.png"]


def test_the_plan_has_the_proportions_of_its_picture() -> None:
    assert FloorPlan().height == HEIGHT
    assert FloorPlan(Picture("a" * 64, "png", 800, 400)).height == WIDTH // 2


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"x": "1"}, "number"),
        ({"x": "1", "y": "1", "width": "-5", "height": "50"}, "number"),
        ({"x": "1", "y": "1", "width": "1e3", "height": "50"}, "number"),
        ({"x": "1", "y": "1", "width": "٣٠", "height": "50"}, "number"),
        ({"x": "980", "y": "1", "width": "50", "height": "50"}, "outside"),
        ({"x": "1", "y": "600", "width": "50", "height": "50"}, "outside"),
        ({"x": "1", "y": "1", "width": "19", "height": "50"}, "small"),
        ({"corners": "1,1 2,2"}, "corners"),
        ({"corners": "1,1 50,1 50;50"}, "corners"),
        ({"corners": " ".join(["1,1"] * 25)}, "corners"),
        ({"corners": "1,1 5000,1 50,50"}, "outside"),
        ({"corners": "1,1 9,9 5,5"}, "small"),
    ],
)
def test_a_room_that_cannot_be_drawn_is_named(form: dict[str, str], why: str) -> None:
    with pytest.raises(BadInputError, match=f"^{why}$"):
        read_shape("gate", form, HEIGHT)


def test_a_room_may_be_a_rectangle_a_polygon_or_absent() -> None:
    fields = {"x": " 10", "y": "20", "width": "30", "height": "40", "corners": ""}
    shape = read_shape("gate", fields, HEIGHT)
    assert shape == rectangle("gate", 10, 20, 30, 40)
    assert shape.is_rectangle
    polygon = read_shape("gate", {**fields, "corners": "0,0  100,0 50,90"}, HEIGHT)
    assert polygon is not None
    assert (polygon.box, polygon.is_rectangle) == ((0, 0, 100, 90), False)
    assert read_shape("gate", dict.fromkeys(fields, " "), HEIGHT) is None
