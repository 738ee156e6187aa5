"""The plan in the database and in the state folder: a row for the picture, a row for each room, one file."""

import os
import secrets
from hashlib import sha256
from pathlib import Path

import msgspec

from tocsin_hub.plan.image import Image
from tocsin_hub.plan.model import Corner, FloorPlan, Picture, RoomShape
from tocsin_hub.recorder import Recorder
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

_CORNERS = msgspec.json.Decoder(tuple[Corner, ...])


def read_plan(store: Store) -> FloorPlan:
    """The plan as it stands.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    pictures = store.rows("SELECT sha256, kind, width, height FROM plan_picture")
    rooms = store.rows("SELECT node, corners FROM plan_rooms ORDER BY node")
    picture = Picture(*pictures[0]) if pictures else None
    return FloorPlan(picture, tuple(RoomShape(node, _CORNERS.decode(corners)) for node, corners in rooms))


def save_rooms(recorder: Recorder, rooms: tuple[RoomShape, ...]) -> None:
    """Put ``rooms`` in place of all that were drawn; call it inside a transaction."""
    recorder.database.execute("DELETE FROM plan_rooms")
    for room in rooms:
        recorder.database.execute(
            "INSERT INTO plan_rooms (node, corners) VALUES (?, ?)",
            (room.node, msgspec.json.encode(room.corners).decode()),
        )


def save_picture(recorder: Recorder, picture: Picture | None) -> None:
    """Put ``picture`` in place of the one that was; ``None`` leaves the plan without one."""
    recorder.database.execute("DELETE FROM plan_picture")
    if picture is not None:
        recorder.database.execute(
            "INSERT INTO plan_picture (id, sha256, kind, width, height) VALUES (1, ?, ?, ?, ?)",
            (picture.sha256, picture.kind, picture.width, picture.height),
        )


class PictureFolder:
    """The files of pictures, each named by its hash."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "plan"

    def keep(self, image: Image) -> Picture:
        """Write ``image`` to the disk, whole or not at all.

        Raises:
            UnavailableError: the disk does not take it.
        """
        picture = Picture(sha256(image.data).hexdigest(), image.kind, image.width, image.height)
        path = self._path(picture)
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(image.data)
                file.flush()
                os.fsync(file.fileno())
            made.replace(path)
        except OSError as error:
            made.unlink(missing_ok=True)
            raise UnavailableError(f"the picture {path} cannot be written: {error.strerror}") from error
        return picture

    def read(self, picture: Picture) -> bytes | None:
        """The file of ``picture``, or ``None`` if it is gone."""
        try:
            return self._path(picture).read_bytes()
        except OSError:
            return None

    def forget_others(self, picture: Picture | None) -> None:
        """Delete every file but that of ``picture``; one that cannot be deleted stays."""
        for path in self._folder.glob("*"):
            if picture is None or path != self._path(picture):
                path.unlink(missing_ok=True)

    def _path(self, picture: Picture) -> Path:
        return self._folder / f"{picture.sha256}.{picture.kind}"
