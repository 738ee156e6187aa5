"""A microphone is known by its USB id, serial number or port, whatever number its card got today."""

import re
from pathlib import Path

import pytest

from tocsin_node.capture import Device, choose_device, why_not
from tocsin_node.cards import USB_PATTERN, Card, cards
from tocsin_node.earwatch import MicrophoneError
from tocsin_node.settings import SourceSettings
from tocsin_shared.events import TroubleKind


def plug(
    root: Path, number: int, port: str, usb_id: str, *, serial: str = "", status: str = "closed"
) -> None:
    """A USB sound card as sysfs and procfs show it."""
    device = root / "devices" / "usb1" / port
    interface = device / f"{port}:1.0"
    card = interface / "sound" / f"card{number}"
    card.mkdir(parents=True)
    vendor, product = usb_id.split(":")
    (device / "idVendor").write_text(f"{vendor}\n")
    (device / "idProduct").write_text(f"{product}\n")
    if serial:
        (device / "serial").write_text(f"{serial}\n")
    (card / "id").write_text("Device\n")
    (card / "device").symlink_to(interface)
    (root / "class").mkdir(exist_ok=True)
    (root / "class" / f"card{number}").symlink_to(card)
    substream = root / "asound" / f"card{number}" / "pcm0c" / "sub0"
    substream.mkdir(parents=True)
    (substream / "status").write_text(f"{status}\n")


@pytest.fixture
def present(tmp_path: Path) -> list[Card]:
    plug(tmp_path, 2, "1-1.2", "0d8c:0014")
    plug(tmp_path, 1, "1-1.4", "0D8C:0014", serial="A1:B2", status="state: RUNNING\nowner_pid : 1")
    inner = tmp_path / "class" / "card0"
    inner.mkdir()
    (inner / "id").write_text("PCH\n")
    (tmp_path / "class" / "controlC0").mkdir()
    return cards(tmp_path / "class", tmp_path / "asound")


def test_the_system_tells_its_cards(present: list[Card]) -> None:
    assert present == [
        Card(0, "PCH"),
        Card(1, "Device", "0d8c:0014", "A1:B2", "1-1.4", in_use=True),
        Card(2, "Device", "0d8c:0014", "", "1-1.2"),
    ]
    assert cards(Path("/nowhere"), Path("/nowhere")) == []


DEVICES = [
    Device(4, "default", 2, 44_100),
    Device(7, "USB PnP Sound Device: Audio (hw:2,0)", 1, 48_000),
]


@pytest.mark.parametrize("wanted", ["usb:1-1.2", "usb:0d8c:0014", "PnP"])
def test_a_usb_microphone_is_found_whatever_its_number(present: list[Card], wanted: str) -> None:
    free = [card for card in present if not card.in_use]
    assert choose_device(DEVICES, wanted, free).index == 7


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ("usb:1-1.3", TroubleKind.MIC_ABSENT, r"USB sound cards: 0d8c:0014 at 1-1\.4, 0d8c:0014 at 1-1\.2"),
        ("usb:1234:5678", TroubleKind.MIC_ABSENT, "no microphone usb:1234:5678 now"),
        ("usb:0d8c:0014:XY", TroubleKind.MIC_ABSENT, "no microphone"),
        ("usb:0d8c:0014:A1:B2", TroubleKind.MIC_BUSY, "another program uses the sound card Device; fuser"),
        ("usb:1-1.4", TroubleKind.MIC_BUSY, "pcmC1D"),
        ("Device", TroubleKind.MIC_BUSY, "another program"),
        ("Yeti", TroubleKind.MIC_ABSENT, "no microphone named 'Yeti'"),
    ],
)
def test_absent_and_busy_are_told_apart(
    present: list[Card], wanted: str, kind: TroubleKind, said: str
) -> None:
    devices = [DEVICES[0]] if wanted != "Device" else []
    with pytest.raises(MicrophoneError, match=said) as raised:
        choose_device(devices, wanted, present)
    assert raised.value.kind is kind


def test_portaudio_says_why(present: list[Card]) -> None:
    assert why_not(OSError("Device unavailable", -9985)) is TroubleKind.MIC_BUSY
    assert why_not(OSError("Invalid sample rate", -9997)) is TroubleKind.MIC_WRONG_RATE
    assert why_not(OSError("Illegal combination of I/O devices", -9993)) is TroubleKind.MIC_ABSENT
    assert why_not(ValueError("x")) is TroubleKind.MIC_ABSENT


@pytest.mark.parametrize("device", ["usb:", "usb:0d8c", "usb:Device", "usb:1", "usb:0d8c:00145"])
def test_a_usb_name_that_is_none_is_refused_with_its_remedy(device: str) -> None:
    assert not re.fullmatch(USB_PATTERN, device)
    with pytest.raises(ValueError, match="lsusb"):
        SourceSettings(device=device)
