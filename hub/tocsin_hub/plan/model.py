"""What a floor plan is, and rules for the shapes in it. Values in, values out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin_shared.errors import BadInputError

WIDTH = 1000
"""Units across every plan; a picture is stretched to it, and the height follows its proportions."""
HEIGHT = 620
"""Units from top to bottom of a plan without a picture."""
SMALLEST = 20
"""Units that a side of a room must have, so that it can be seen and hit."""
MOST_CORNERS = 24

Corner = tuple[int, int]


@dataclass(frozen=True)
class RoomShape:
    """Where a room lies."""

    node: str
    corners: tuple[Corner, ...]
    """Units from the left and from the top, in order around the room."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the rectangle around it."""
        across, down = [x for x, _ in self.corners], [y for _, y in self.corners]
        return min(across), min(down), max(across) - min(across), max(down) - min(down)

    @property
    def is_rectangle(self) -> bool:
        """Whether the rectangle around it says all."""
        return self == rectangle(self.node, *self.box)


@dataclass(frozen=True)
class Picture:
    """The picture beneath the rooms; its file is named by its hash."""

    sha256: str
    kind: str
    """``png``, ``jpeg`` or ``webp``."""
    width: int
    height: int
    """Pixels."""


@dataclass(frozen=True)
class FloorPlan:
    """The plan of the site."""

    picture: Picture | None = None
    rooms: tuple[RoomShape, ...] = ()

    @property
    def height(self) -> int:
        """Units from top to bottom."""
        if self.picture is None:
            return HEIGHT
        return max(SMALLEST, round(WIDTH * self.picture.height / self.picture.width))


def rectangle(node: str, left: int, top: int, width: int, height: int) -> RoomShape:
    """A room with four right angles."""
    right, bottom = left + width, top + height
    return RoomShape(node, ((left, top), (right, top), (right, bottom), (left, bottom)))


def read_shape(node: str, form: Mapping[str, str], height: int) -> RoomShape | None:
    """The room that the fields of a form describe, or ``None`` when they are all empty.

    ``form`` holds ``x``, ``y``, ``width``, ``height`` and ``corners``; corners win where they are given.

    Raises:
        BadInputError: a field is not what it must be, or the room leaves the plan; the text is a key of the
            catalogue's family ``plan_error``.
    """
    if corners := form.get("corners", "").strip():
        shape = RoomShape(node, _corners(corners))
    else:
        fields = [form.get(name, "").strip() for name in ("x", "y", "width", "height")]
        if not any(fields):
            return None
        shape = rectangle(node, *(_number(field) for field in fields))
    return _checked(shape, height)


def _corners(text: str) -> tuple[Corner, ...]:
    pairs = text[:1000].split()
    if not 3 <= len(pairs) <= MOST_CORNERS:
        raise BadInputError("corners")
    found = [re.fullmatch(r"(\d{1,4}),(\d{1,4})", pair, re.ASCII) for pair in pairs]
    if not all(found):
        raise BadInputError("corners")
    return tuple((int(match[1]), int(match[2])) for match in found if match)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise BadInputError("number")
    return int(text)


def _checked(shape: RoomShape, height: int) -> RoomShape:
    left, top, across, down = shape.box
    if left + across > WIDTH or top + down > height:
        raise BadInputError("outside")
    if across < SMALLEST or down < SMALLEST:
        raise BadInputError("small")
    return shape
