"""The sound cards that Linux knows: which USB device each one is, and whether somebody uses it.

A card's number follows the order of plugging in; its USB id, serial number and port do not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys/class/sound")
PROC = Path("/proc/asound")
USB_PREFIX = "usb:"
USB_PATTERN = r"usb:([0-9a-fA-F]{4}:[0-9a-fA-F]{4}(:.+)?|\d+-\d+(\.\d+)*)"
"""``usb:VID:PID``, ``usb:VID:PID:SERIAL``, or ``usb:PORT`` such as ``usb:1-1.2``, as ``lsusb -t`` counts."""
_CARD = re.compile(r"card(\d+)")
_PORT = re.compile(r"\d+-\d+(\.\d+)*")


@dataclass(frozen=True)
class Card:
    """A sound card that is plugged in."""

    number: int
    name: str
    usb_id: str = ""
    """Vendor and product as ``vvvv:pppp``; empty for a card that is not a USB device."""
    serial: str = ""
    port: str = ""
    in_use: bool = False
    """Whether a program records from it."""

    def is_called(self, wanted: str) -> bool:
        """Whether ``wanted``, of :data:`USB_PATTERN`, names this card."""
        wanted = wanted.removeprefix(USB_PREFIX)
        if _PORT.fullmatch(wanted):
            return wanted == self.port
        vendor, product, *serial = wanted.split(":", 2)
        return f"{vendor}:{product}".lower() == self.usb_id and serial in ([], [self.serial])


def cards(sys: Path = SYS, proc: Path = PROC) -> list[Card]:
    """All sound cards, by number; none where the system does not say."""
    return sorted(_cards(sys, proc), key=lambda card: card.number)


def _cards(sys: Path, proc: Path) -> Iterator[Card]:
    for folder in sys.glob("card*"):
        if match := _CARD.fullmatch(folder.name):
            number = int(match[1])
            device = _usb_device(folder)
            usb_id = f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}" if device else ""
            yield Card(
                number=number,
                name=_text(folder / "id"),
                usb_id=usb_id.lower(),
                serial=_text(device / "serial") if device else "",
                port=device.name if device else "",
                in_use=_in_use(proc / folder.name),
            )


def _usb_device(card: Path) -> Path | None:
    """The USB device above a card's interface, such as …/usb1/1-1/1-1.2 above 1-1.2:1.0."""
    try:
        interface = (card / "device").resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return next(
        (folder for folder in (interface, *interface.parents) if (folder / "idVendor").is_file()), None
    )


def _in_use(card: Path) -> bool:
    states = [_text(status) for status in card.glob("pcm*c/sub*/status")]
    return any(state and state != "closed" for state in states)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
