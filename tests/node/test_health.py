"""What the machine says about itself, and that it never guesses."""

from pathlib import Path

import pytest

from tocsin_node import health
from tocsin_shared.events import Clock


def file(folder: Path, text: str) -> Path:
    path = folder / "value"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"), [("48312\n", 48.312), ("-5000", -5.0), ("hot", None), ("", None), ("999999999", None)]
)
def test_temperature_is_told_in_degrees_or_not_at_all(tmp_path: Path, text: str, value: float | None) -> None:
    assert health.temperature_celsius(file(tmp_path, text)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0\n", False), ("4\n", True), ("1", True), ("50000", False), ("50005", True), ("?", None)],
)
def test_throttling_counts_only_while_it_lasts(tmp_path: Path, text: str, value: bool | None) -> None:
    assert health.throttled(file(tmp_path, text)) is value


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert health.temperature_celsius(tmp_path / "no") is None
    assert health.throttled(tmp_path / "no") is None


def test_the_board_is_named_where_it_has_a_name(tmp_path: Path) -> None:
    assert (
        health.hardware(file(tmp_path, "Raspberry Pi 4 Model B Rev 1.4\0"))
        == "Raspberry Pi 4 Model B Rev 1.4"
    )
    assert "cores" in health.hardware(tmp_path / "no")
    assert len(health.hardware(file(tmp_path, "x" * 500))) == 120


def test_the_clock_is_trusted_when_the_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.clock() in {Clock.NTP, Clock.UNSYNCED}
    monkeypatch.setattr(health, "_kernel_is_synchronized", lambda: False)
    assert health.clock(tmp_path / "no") is Clock.UNSYNCED
    assert health.clock(file(tmp_path, "")) is Clock.NTP


def test_a_clock_before_2020_is_believed_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_kernel_is_synchronized", lambda: True)
    assert health.clock(file(tmp_path, ""), now=86_400.0) is Clock.UNSYNCED
    assert health.clock(file(tmp_path, ""), now=1_600_000_000.0) is Clock.NTP


def test_this_start_of_the_machine_has_a_name_or_none(tmp_path: Path) -> None:
    named = file(tmp_path, "0f8fad5b-d9cb-469f-a165-70867728950e\n")
    assert health.machine_boot(named) == "0f8fad5bd9cb469fa16570867728950e"
    assert health.machine_boot(tmp_path / "no") == ""
