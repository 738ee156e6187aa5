"""The room's own lamp: real programs, gpiozero's pins without a board, and lamps that do not work."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from tests.node.fake_hub import until
from tocsin_node import warning
from tocsin_node.lamp import CommandLamp, Lamp, LocalWarning, PinLamp, lamps
from tocsin_node.settings import WarningSettings
from tocsin_shared.errors import UnavailableError

NOTES = """
import sys, time
from pathlib import Path
with Path(sys.argv[1]).open("a") as file:
    file.write(" ".join(sys.argv[2:]) + "\\n")
if sys.argv[-1] == "on" and "stay" in sys.argv:
    time.sleep(600)
"""


def program(folder: Path, *words: str) -> tuple[tuple[str, ...], Callable[[], list[str]]]:
    """A command that notes how it was called, and what it noted so far."""
    notes = folder / "notes"
    notes.touch()
    return (sys.executable, "-c", NOTES, str(notes), *words), lambda: notes.read_text().splitlines()


@contextmanager
def running(shine: Sequence[Lamp], seconds: float = 60.0, **hooks: Any) -> Iterator[LocalWarning]:
    made, stop = LocalWarning(shine, seconds, **hooks), threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,), name="warning")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        made.wake()
        thread.join(10.0)
        assert not thread.is_alive()


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """gpiozero's own pins without a board."""
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, MockFactory()
    yield gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory.reset()
    gpiozero.Device.pin_factory = before


def test_a_command_is_run_with_on_and_off_and_no_shell_reads_it(tmp_path: Path) -> None:
    command, notes = program(tmp_path, "hall; touch x", "$HOME", "*")
    lamp = CommandLamp(command)
    lamp.turn(True)
    until(lambda: notes() == ["hall; touch x $HOME * on"])
    lamp.turn(False)
    lamp.close()
    assert notes()[1:] == ["hall; touch x $HOME * off"]
    assert list(tmp_path.iterdir()) == [tmp_path / "notes"]


def test_a_command_that_runs_on_is_ended_before_it_is_told_off(tmp_path: Path) -> None:
    command, notes = program(tmp_path, "stay")
    lamp = CommandLamp(command)
    lamp.turn(True)
    child = lamp._running
    until(lambda: notes() == ["stay on"])
    lamp.turn(False)
    assert child is not None
    assert child.poll() is not None
    lamp.close()
    assert notes() == ["stay on", "stay off"]


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match="command /nowhere/lamp cannot be run"):
        CommandLamp(["/nowhere/lamp"]).turn(True)


def test_a_pin_goes_high_and_low(pins: MockFactory) -> None:
    lamp = PinLamp(17)
    lamp.turn(True)
    assert pins.pin(17).function == "output"
    assert pins.pin(17).state
    lamp.turn(False)
    assert not pins.pin(17).state
    assert lamp.name == "GPIO pin 17"


def test_a_pin_that_cannot_be_had_is_named_and_had_later(pins: MockFactory) -> None:
    other = gpiozero.DigitalOutputDevice(17)
    lamp = PinLamp(17)
    with pytest.raises(UnavailableError, match="GPIO pin 17 cannot be used"):
        lamp.turn(True)
    other.close()
    lamp.turn(True)
    assert pins.pin(17).state


def test_without_gpiozero_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(UnavailableError, match=r"pip install 'tocsin\[gpio\]'"):
        PinLamp(17).turn(True)


def test_the_settings_name_the_lamps(tmp_path: Path) -> None:
    assert lamps(WarningSettings()) == []
    both = lamps(WarningSettings(command=("lamp",), gpio_pin=0))
    assert [lamp.name for lamp in both] == ["command lamp", "GPIO pin 0"]


def test_an_alarm_without_the_hubs_word_turns_every_lamp_on_until_the_word_comes(
    pins: MockFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 0.2)
    command, notes = program(tmp_path)
    with running([CommandLamp(command), PinLamp(17)]) as local:
        until(lambda: notes() == ["off"])  # which shows at the start that it can be run
        local.made("a")
        until(lambda: pins.pin(17).state and notes() == ["off", "on"])
        local.heard(["a"])
        until(lambda: not pins.pin(17).state and notes() == ["off", "on", "off"])


def test_an_alarm_that_is_answered_at_once_turns_nothing_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 1.0)
    command, notes = program(tmp_path)
    with running([CommandLamp(command)]) as local:
        local.made("a")
        local.heard(["a"])
        local.made("b")  # proves that the loop would have turned it on
        until(lambda: "on" in notes())
        local.heard(["b"])
        until(lambda: notes()[-1] == "off")
    assert notes() == ["off", "on", "off"]


def test_the_warning_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 0.1)
    command, notes = program(tmp_path)
    with running([CommandLamp(command)], seconds=0.5) as local:
        local.made("a")
        until(lambda: notes() == ["off", "on", "off"])


def test_a_node_that_stops_turns_its_lamp_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 0.1)
    command, notes = program(tmp_path, "stay")
    with running([CommandLamp(command)]) as local:
        local.made("a")
        until(lambda: "stay on" in notes())
    assert notes()[-1] == "stay off"


class BrokenLamp:
    """Does not work until it is mended."""

    name = "lamp"

    def __init__(self) -> None:
        self.mended = False
        self.turned: list[bool] = []

    def turn(self, on: bool) -> None:
        if not self.mended:
            raise UnavailableError("it is broken")
        self.turned.append(on)

    def close(self) -> None:
        self.turned.append(False)


def test_a_lamp_that_does_not_work_is_told_once_tried_again_and_keeps_no_other_from_burning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 0.1)
    command, notes = program(tmp_path)
    broken, told = BrokenLamp(), list[str]()
    with running([broken, CommandLamp(command)], trouble=told.append) as local:
        local.made("a")
        until(lambda: "on" in notes())
        time.sleep(1.2)
        assert told == ["it is broken"]
        broken.mended = True
        until(lambda: broken.turned == [True])
        until(lambda: told == ["it is broken", ""])
    assert caplog.text.count("it is broken") == 1


def test_with_no_lamp_at_all_the_log_still_says_that_nobody_may_know(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "GRACE_SECONDS", 0.1)
    with running([]) as local:
        local.made("a")
        until(lambda: "the hub does not acknowledge an alarm" in caplog.text)
    assert "no lamp is set" in caplog.text
