"""A microphone hears: PulseAudio's null sink is the room, its monitor the microphone of a real node."""

import os
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.integration.facility import wait_until
from tocsin_hub.demo import site as site_parts
from tocsin_hub.demo.broker import broker, free_port
from tocsin_hub.demo.script import Room
from tocsin_hub.demo.site import Site
from tocsin_shared import synthesis

ROOM = Room("mic-1", "hall-1", "Room with a microphone")


@pytest.fixture(name="sound_server")
def _sound_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PulseAudio of the test's own, with one null sink."""
    runtime = tmp_path / "pulse"
    runtime.mkdir(mode=0o700)
    environment = {
        "HOME": str(runtime),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SERVER": f"unix:{runtime}/native",
        "PULSE_SINK": "room",
        "PULSE_SOURCE": "room.monitor",
    }
    command = [
        *(
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--use-pid-file=no",
            "--exit-idle-time=-1",
            "--disallow-exit",
        ),
        *("-L", f"module-native-protocol-unix socket={runtime}/native auth-anonymous=1"),
        *("-L", "module-null-sink sink_name=room"),
    ]
    with (tmp_path / "pulse.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            wait_until((runtime / "native").exists, 10.0, "PulseAudio's socket")
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield
        finally:
            server.terminate()
            server.wait(10)


@pytest.mark.slow
@pytest.mark.sound
@pytest.mark.broker
@pytest.mark.usefixtures("sound_server")
def test_a_played_alarm_arrives_in_the_hub(tmp_path: Path) -> None:
    """paplay → null sink → monitor → PortAudio → node → broker → hub → database."""
    alarm = synthesis.at_level(synthesis.sound("smoke_alarm", 8.0, np.random.default_rng(4)), -20.0)
    soundfile.write(tmp_path / "alarm.wav", alarm, 16_000)
    with broker("embedded", tmp_path) as address:
        site = Site(tmp_path, address, free_port())
        try:
            site.start_hub()
            site.start_microphone(ROOM, device="pulse")
            wait_until(lambda: b"listening" in _log(tmp_path), 30.0, "the node to listen")
            time.sleep(1.0)
            subprocess.run(["paplay", str(tmp_path / "alarm.wav")], check=True, timeout=30)
            wait_until(lambda: "smoke_alarm" in _labels(tmp_path), 20.0, "the smoke alarm in the database")
        finally:
            site.stop()
    assert _labels(tmp_path) == ["smoke_alarm"]


@pytest.mark.slow
@pytest.mark.sound
@pytest.mark.broker
@pytest.mark.usefixtures("sound_server")
def test_a_microphone_that_is_absent_unplugged_and_mute_is_told_in_time_and_then_hears_again(
    tmp_path: Path,
) -> None:
    """Unloading the null sink takes the microphone away while the node records from it."""
    alarm = synthesis.at_level(synthesis.sound("smoke_alarm", 8.0, np.random.default_rng(4)), -20.0)
    soundfile.write(tmp_path / "alarm.wav", alarm, 16_000)
    _unplug()
    with broker("embedded", tmp_path) as address:
        site = Site(tmp_path, address, free_port())
        try:
            site.start_hub()
            site.start_microphone(ROOM, device="pulse")
            _wait_for_troubles(tmp_path, "mic_absent", [True], "the absence at boot in the hub")
            _plug_in()
            _wait_for_troubles(tmp_path, "mic_absent", [False], "its end")
            _wait_for_troubles(tmp_path, "mic_silent", [True], "the silence of a sink that nobody plays to")
            unplugged = time.time()
            _unplug()
            _wait_for_troubles(tmp_path, "mic_absent", [False, True], "the unplugged microphone in the hub")
            told = _rows(tmp_path, "select max(since_us) / 1e6 from troubles where kind = 'mic_absent'")
            assert 0.0 < told[0][0] - unplugged < 10.0
            assert _troubles(tmp_path)["mic_silent"] == [False]
            wait_until(lambda: b"next try in 4 s" in _log(tmp_path), 30.0, "tries that fail")
            _plug_in()
            _wait_for_troubles(tmp_path, "mic_absent", [False, False], "the replugged microphone")
            subprocess.run(["paplay", str(tmp_path / "alarm.wav")], check=True, timeout=30)
            wait_until(lambda: "smoke_alarm" in _labels(tmp_path), 20.0, "the smoke alarm in the database")
        finally:
            site.stop()
    assert b"Traceback" not in _log(tmp_path)


@pytest.mark.slow
@pytest.mark.sound
@pytest.mark.broker
@pytest.mark.usefixtures("sound_server")
def test_a_node_hears_its_own_speaker_and_the_hub_stores_it_as_a_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """speaker → null sink → monitor → microphone → network → outbox → broker → hub → acknowledgement."""
    monkeypatch.setattr(site_parts, "_NODE", site_parts._NODE + _EVERY_TEN_SECONDS)
    with broker("embedded", tmp_path) as address:
        site = Site(tmp_path, address, free_port())
        try:
            site.start_hub()
            site.start_microphone(ROOM, device="pulse")
            wait_until(lambda: b"self-test passed" in _log(tmp_path), 60.0, "the self-test to pass")
        finally:
            site.stop()
    assert set(_rows(tmp_path, "select label, test from events")) == {("smoke_alarm", 1)}
    assert "selftest_failed" not in _troubles(tmp_path)


_EVERY_TEN_SECONDS = """
[selftest]
every_hours = 0.003
how = "speaker"
output = "pulse"
"""


def _unplug() -> None:
    _pactl("unload-module", "module-null-sink")


def _plug_in() -> None:
    _pactl("load-module", "module-null-sink", "sink_name=room")


def _wait_for_troubles(folder: Path, kind: str, lasting: list[bool], what: str) -> None:
    wait_until(lambda: _troubles(folder)[kind] == lasting, 30.0, what)


def _pactl(*arguments: str) -> None:
    subprocess.run(["pactl", *arguments], check=True, timeout=10, stdout=subprocess.DEVNULL)


def _troubles(folder: Path) -> dict[str, list[bool]]:
    """Whether each trouble lasts, by kind, in the hub's database."""
    found: dict[str, list[bool]] = defaultdict(list)
    for kind, open_now in _rows(folder, "select kind, until_us is null from troubles order by since_us"):
        found[kind].append(bool(open_now))
    return found


def _log(folder: Path) -> bytes:
    return (folder / f"{ROOM.node}.log").read_bytes()


def _labels(folder: Path) -> list[str]:
    return [label for (label,) in _rows(folder, "select label from events")]


def _rows(folder: Path, question: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(f"file:{folder / 'hub' / 'hub.sqlite'}?mode=ro", uri=True)
    try:
        return database.execute(question).fetchall()
    finally:
        database.close()
