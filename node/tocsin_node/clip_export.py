"""``tocsin node clips``: what is kept, one clip as a WAV file, and away with them."""

import os
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

from tocsin_node.clip_files import ClipFolder, load_key
from tocsin_node.settings import ClipSettings
from tocsin_shared.errors import BadInputError, SettingsError


def list_clips(settings: ClipSettings) -> int:
    """Print one line for each clip; returns 1 if one cannot be read with the key.

    Raises:
        SettingsError, UnavailableError: key or folder cannot be used.
    """
    folder, key = _folder(settings), load_key(settings.key_file)
    unread = 0
    for clip in folder.kept():
        try:
            header, _ = folder.read(clip.id, key)
        except BadInputError as error:
            unread += 1
            print(error, file=sys.stderr)  # noqa: T201
            continue
        seconds = header.samples / header.sample_rate_hz
        print(f"{clip.id}  {header.onset:%Y-%m-%d %H:%M:%S} UTC  {header.label}  {seconds:.1f} s")  # noqa: T201
    return 1 if unread else 0


def export_clip(settings: ClipSettings, clip: str, path: Path) -> None:
    """Write the clip of the event ``clip`` as the new file ``path``, which only its owner can read.

    Raises:
        BadInputError: no such clip, another key, or changed since it was written.
        SettingsError, UnavailableError: key, folder or ``path`` cannot be used.
    """
    header, samples = _folder(settings).read(clip, load_key(settings.key_file))
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file, wave.open(file, "wb") as made:
            made.setnchannels(1)
            made.setsampwidth(2)
            made.setframerate(header.sample_rate_hz)
            made.writeframes(samples)
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already; name a new file") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def delete_clips(settings: ClipSettings, clips: Sequence[str] | None) -> None:
    """Delete these clips; ``None`` are all. The key is not needed.

    Raises:
        BadInputError: no such clip; those before it are deleted.
        UnavailableError: one cannot be deleted.
    """
    folder = _folder(settings)
    for clip in [one.id for one in folder.kept()] if clips is None else clips:
        folder.delete(clip)


def _folder(settings: ClipSettings) -> ClipFolder:
    return ClipFolder(settings.folder, settings.max_bytes, 86_400.0 * settings.max_age_days)
