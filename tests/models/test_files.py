"""A file is there whole or not at all, also when there is no room for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tocsin_models.files import whole_file, write_whole
from tocsin_shared.errors import UnavailableError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.txt", b"one")
    write_whole(tmp_path / "a" / "b.txt", b"two")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"two"


def test_no_room_is_an_error_that_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    """In a process that may write no file beyond 4 kB, as on a disk that is full."""
    write_whole(tmp_path / "b.bin", b"old")
    code = f"""
import resource
from pathlib import Path
from tocsin_models.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))
write_whole(Path({str(tmp_path / "b.bin")!r}), bytes(100_000))
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert "UnavailableError" in done.stderr
    assert "b.bin: cannot be written: File too large; make room" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]
    assert (tmp_path / "b.bin").read_bytes() == b"old"


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "b.bin") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_where_a_file_should_stand_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.bin").mkdir()
    with pytest.raises(UnavailableError, match="cannot be written"):
        write_whole(tmp_path / "b.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]
