"""Small data sets of the shapes that the loaders know, of sounds that are told apart by their pitch."""

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16_000


def tone(hertz: float, seconds: float = 2.2, seed: int = 0, rate: int = RATE) -> npt.NDArray[np.float32]:
    """A tone in a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0.0, 0.01, len(time))
    return (0.4 * np.sin(2.0 * np.pi * hertz * time) + noise).astype(np.float32)


def write(path: Path, samples: npt.NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """``samples`` as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def folders(
    root: Path, labels: Iterable[str] = ("hum", "whine"), each: int = 10, seconds: float = 2.2
) -> Path:
    """``LABEL/N.wav``."""
    for number, label in enumerate(labels):
        for clip in range(each):
            write(root / label / f"{clip}.wav", tone(300.0 * 3.0**number, seconds, 100 * number + clip))
    return root


def csv_manifest(root: Path, rows: Iterable[str], head: str = "path,label,group") -> Path:
    """``manifest.csv`` with ``rows``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return root


AIHUB_CLASSES = (("01.교통수단", "03.전자제품및생활환경소리", "경적"), ("03.공장", "04.기타소리", "기계음"))


def aihub(root: Path, *, packed: bool, each: int = 5) -> Path:
    """The tree of AI-Hub 71376, unpacked or in zip archives whose names are in CP949."""
    for number, (top, kind, name) in enumerate(AIHUB_CLASSES):
        for part, stage, count in (("TS", "Training", each), ("VS", "Validation", 2)):
            place = root / stage / "01.원천데이터"
            folder = place / f"{part}_{top}" / kind / name
            for clip in range(count):
                seed = clip + 50 * number + 500 * (part == "VS")
                write(folder / f"{part}{number}{clip}.wav", tone(300.0 * 3.0**number, seed=seed))
            if packed:
                _pack(folder, place / f"{part}_{top}_{kind}.zip", name)
                shutil.rmtree(place / f"{part}_{top}")
    return root


def _pack(folder: Path, archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for clip in sorted(folder.iterdir()):
            file.writestr(_KoreanWindowsName(f"{name}/{clip.name}"), clip.read_bytes())


class _KoreanWindowsName(zipfile.ZipInfo):
    """A name in the bytes of CP949, without the flag that says UTF-8."""

    __slots__ = ()

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  # what zipfile calls it
        return self.filename.encode("cp949"), self.flag_bits & ~0x800
