"""The edge to the node's own lamp or vibration: a command, or a pin of a Raspberry Pi; and the loop that
turns it on when an alarm stays without the hub's word.

A lamp that cannot be used is a trouble, told and tried again; it never keeps the node from hearing.
"""

import importlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from tocsin_node.settings import WarningSettings
from tocsin_node.warning import Unheard
from tocsin_shared.errors import UnavailableError

_RETRY_SECONDS = 1.0
_LONGEST_SLEEP_SECONDS = 1.0
_END_SECONDS = 1.0

log = logging.getLogger("tocsin.node.lamp")


class Lamp(Protocol):
    """Something in the room that can be seen or felt."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def turn(self, on: bool) -> None:
        """Turn it on or off.

        Raises:
            UnavailableError: it cannot be used now; another call tries again.
        """

    def close(self) -> None:
        """Let go of it, as it is."""


class CommandLamp:
    """A program that is run with the last argument ``on`` or ``off``; never through a shell.

    One that runs on after ``on`` is ended before ``off`` is run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Its first word."""
        return f"command {self._command[0]}"

    def turn(self, on: bool) -> None:
        """See :class:`Lamp`."""
        self._end()
        try:
            self._running = subprocess.Popen(
                [*self._command, "on" if on else "off"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{self.name} cannot be run: {error}") from error

    def close(self) -> None:
        """See :class:`Lamp`; a program that was told off gets a moment to end."""
        if self._running is not None:
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(_END_SECONDS)
        self._end()

    def _end(self) -> None:
        child, self._running = self._running, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class PinLamp:
    """A pin by its BCM number, high while the warning lasts; by gpiozero, which is loaded at first use."""

    def __init__(self, pin: int) -> None:
        self._pin = pin
        self._device: Any = None

    @property
    def name(self) -> str:
        """The number of the pin."""
        return f"GPIO pin {self._pin}"

    def turn(self, on: bool) -> None:
        """See :class:`Lamp`."""
        try:
            if self._device is None:
                gpiozero = importlib.import_module("gpiozero")
                self._device = gpiozero.DigitalOutputDevice(self._pin, initial_value=False)
            self._device.value = int(on)
        except ImportError as error:
            text = f"{self.name} cannot be used without gpiozero: pip install 'tocsin[gpio]'"
            raise UnavailableError(text) from error
        except Exception as error:  # each pin library below gpiozero has errors of its own
            self.close()
            raise UnavailableError(f"{self.name} cannot be used: {error}") from error

    def close(self) -> None:
        """See :class:`Lamp`."""
        device, self._device = self._device, None
        if device is not None:
            with suppress(Exception):
                device.close()


def lamps(settings: WarningSettings) -> list[Lamp]:
    """The lamps that ``settings`` name; none is touched yet."""
    made: list[Lamp] = []
    if settings.command:
        made.append(CommandLamp(settings.command))
    if settings.gpio_pin is not None:
        made.append(PinLamp(settings.gpio_pin))
    return made


class LocalWarning:
    """Warns in the room when the hub does not answer. :meth:`run` belongs in a thread of its own.

    ``trouble`` is told what is wrong with a lamp, or nothing (``""``) when it works again.
    """

    def __init__(
        self,
        shine: Sequence[Lamp],
        burn_seconds: float,
        *,
        trouble: Callable[[str], None] = lambda _: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._lamps = tuple(shine)
        self._trouble = trouble
        self._beat = beat
        self._changed = threading.Condition()
        self._unheard = Unheard(burn_seconds)
        self._wrong: dict[str, str] = {}
        self._is_on: dict[str, bool] = {}

    def made(self, alarm: str, ago_seconds: float = 0.0) -> None:
        """An alarm with this id has begun, so long ago."""
        with self._changed:
            self._unheard.made(alarm, time.monotonic() - ago_seconds)
            self._changed.notify_all()

    def heard(self, alarms: Iterable[str]) -> None:
        """The hub has these."""
        with self._changed:
            self._unheard.heard(alarms)
            self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Turn the lamps on and off until ``stop``, and off at the end."""
        burnt = False
        while not stop.is_set():
            self._beat()
            with self._changed:
                burns = self._unheard.burns(time.monotonic())
            if burns != burnt:
                log.log(logging.CRITICAL if burns else logging.INFO, "%s", _told(burns, self._lamps))
                burnt = burns
            settled = self._turn(burns)
            with self._changed:
                self._changed.wait(self._sleep_seconds(burns=burns, settled=settled))
        self._turn(on=False)
        for lamp in self._lamps:
            lamp.close()

    def wake(self) -> None:
        """Let :meth:`run` see ``stop`` at once."""
        with self._changed:
            self._changed.notify_all()

    def _sleep_seconds(self, *, burns: bool, settled: bool) -> float:
        """How long nothing can change; none if something has while the lamps were turned."""
        now = time.monotonic()
        if self._unheard.burns(now) != burns:
            return 0.0
        next_turn = self._unheard.changes_in(now)
        longest = _LONGEST_SLEEP_SECONDS if settled else _RETRY_SECONDS
        return longest if next_turn is None else min(next_turn, longest)

    def _turn(self, on: bool) -> bool:
        """Bring every lamp to ``on``; whether all are there."""
        for lamp in self._lamps:
            if self._is_on.get(lamp.name) is on:
                continue
            try:
                lamp.turn(on)
            except UnavailableError as error:
                self._note(lamp.name, str(error))
            else:
                self._is_on[lamp.name] = on
                self._note(lamp.name, "")
        return all(self._is_on.get(lamp.name) is on for lamp in self._lamps)

    def _note(self, lamp: str, text: str) -> None:
        if self._wrong.get(lamp, "") == text:
            return
        self._wrong[lamp] = text
        if text:
            log.error("the warning of this room does not work: %s", text)
        self._trouble("; ".join(filter(None, self._wrong.values())))


def _told(burns: bool, shine: Sequence[Lamp]) -> str:
    with_what = ", ".join(lamp.name for lamp in shine) or "no lamp is set, see [warning] in the settings"
    if burns:
        return f"the hub does not acknowledge an alarm: warning in the room ({with_what})"
    return "the warning in the room is over"
