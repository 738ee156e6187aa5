"""What the machine says about itself. Whatever it does not say is ``None``, never a guess."""

import ctypes
import os
import platform
import time
from pathlib import Path

from tocsin_node.retiming import PLAUSIBLE_SECONDS
from tocsin_shared.events import Clock

_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_MODEL = Path("/proc/device-tree/model")
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5
_NOW_THROTTLED = 0b1111
"""Bits 0 to 3 of the firmware's word: under-voltage, capped, throttled, temperature limit, all now."""


def temperature_celsius(path: Path = _TEMPERATURE) -> float | None:
    """Temperature of the processor."""
    try:
        value = int(path.read_text(encoding="ascii")) / 1000.0
    except (OSError, ValueError):
        return None
    return value if -100.0 <= value <= 300.0 else None


def throttled(path: Path = _THROTTLED) -> bool | None:
    """Whether a Raspberry Pi runs slower now than it could; ``None`` on other machines."""
    try:
        return bool(int(path.read_text(encoding="ascii"), 16) & _NOW_THROTTLED)
    except (OSError, ValueError):
        return None


def clock(marker: Path = _SYNCHRONIZED, now: float | None = None) -> Clock:
    """Whether the wall clock is kept by the network: the kernel says so, or systemd-timesyncd does.

    ``now`` is what it shows, seconds since 1970. Before 2020 nobody is believed: it was never set.
    """
    if (time.time() if now is None else now) < PLAUSIBLE_SECONDS:
        return Clock.UNSYNCED
    return Clock.NTP if _kernel_is_synchronized() or marker.exists() else Clock.UNSYNCED


def machine_boot(path: Path = _BOOT_ID) -> str:
    """A name for this start of the machine; empty where the kernel gives none."""
    try:
        return path.read_text(encoding="ascii").strip().replace("-", "")[:32]
    except (OSError, ValueError):
        return ""


def hardware(path: Path = _MODEL) -> str:
    """The board, or else processor and system."""
    try:
        model = path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        model = ""
    return (model or f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores")[:120]


def _kernel_is_synchronized() -> bool:
    """``adjtimex`` with modes 0 only reads; its result 5 means that nobody keeps the clock (adjtimex(2))."""
    buffer = ctypes.create_string_buffer(512)  # struct timex is 208 bytes on 64 bit systems
    try:
        state = int(ctypes.CDLL(None).adjtimex(buffer))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR
