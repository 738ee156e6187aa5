"""``tocsin demo``: an alarm on its way from sound to screen, on this machine."""

import argparse
import json
import os
import platform
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_hub.demo.broker import broker, free_port
from tocsin_hub.demo.dashboard import BrokerTap, Dashboard, Ledger
from tocsin_hub.demo.player import Prepared, RoomPlayer, prepare, recordings
from tocsin_hub.demo.report import Played, summary
from tocsin_hub.demo.script import ROOMS, Cue, Room, script_of_recordings, write_script
from tocsin_hub.demo.site import Site
from tocsin_shared import synthesis
from tocsin_shared.errors import BadInputError, TocsinError, UnavailableError

ENDLESS_SECONDS = 1800.0
LISTEN_SECONDS = 45.0
USUAL = ("smoke_alarm", "scream", "glass_breaking", "vehicle_horn", "crying", "speech")
"""What is played unless told otherwise."""
UNUSUAL = ", ".join(label for label in synthesis.LABELS if label not in USUAL)
"""Sounds of which the shipped model misses too many for a demonstration; its card says how many."""
MIC_ROOM = Room("this-computer", "hall-1", "This computer · 이 컴퓨터")


def main(argv: list[str]) -> int:
    """Run the demo; exit status 0, or 1 if a headless run lost or doubled a sound."""
    options = _parser().parse_args(argv)
    with ExitStack() as stack:
        try:
            return _Demo(options, _folder(options.folder, stack), stack).run()
        except KeyboardInterrupt:
            print("\nstopping")
            return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tocsin demo", description="An alarm on its way from sound to screen."
    )
    option = parser.add_argument
    option("--mic", action="store_true", help="this computer's microphone is a room, too")
    option("--audio", type=Path, metavar="DIR", help="play these recordings, not made sound")
    option("--sounds", type=_labels, default=USUAL, metavar="A,B,…", help=f"made sounds (also: {UNUSUAL})")
    option("--headless", action="store_true", help="report at the end instead of waiting for a browser")
    option("--seconds", type=_seconds, metavar="N", help="seconds of sound (headless: 60, else 1800)")
    option("--report", type=Path, metavar="FILE", help="write what happened to FILE, as JSON")
    option("--port", type=int, default=8080, help="port of the dashboard; a free one if it is taken or 0")
    option("--folder", type=Path, help="keep database, settings and logs here (else they are forgotten)")
    option("--seed", type=int, help="decides which sound comes when (default: chance)")
    option(
        "--broker",
        default="embedded",
        metavar="WHICH",
        help="embedded (default), a mosquitto executable, or mqtt://host:port",
    )
    return parser


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(text.split(","))
    if unknown := [label for label in labels if label not in synthesis.LABELS]:
        known = ", ".join(synthesis.LABELS)
        raise argparse.ArgumentTypeError(f"no sound {unknown[0]!r} can be made; known are {known}")
    return labels


def _seconds(text: str) -> float:
    value = float(text)
    if not 20.0 <= value <= 86_400.0:
        raise argparse.ArgumentTypeError("give 20 to 86400 seconds")
    return value


def _folder(kept: Path | None, stack: ExitStack) -> Path:
    if kept is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-demo-")))
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"--folder {kept}: {error.strerror}") from error
    return kept.resolve()


class _Demo:
    """One run: holds what its steps share."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self._options = options
        self._folder = folder
        self._stack = stack
        self._seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
        self._seconds = options.seconds or (60.0 if options.headless else ENDLESS_SECONDS)
        self._ledger = Ledger()
        self._played: list[Played] = []

    def run(self) -> int:
        script = self._script()
        address = self._stack.enter_context(broker(self._options.broker, self._folder))
        site = Site(self._folder, address, _port(self._options.port))
        self._stack.callback(site.stop)
        print(f"seed {self._seed}; logs in {self._folder}\nstarting the hub and {len(ROOMS)} rooms …")
        site.start_hub()
        dashboard = Dashboard(site.address, self._ledger, _say_shown)
        self._stack.callback(dashboard.close)
        dashboard.open(site.login_link())
        tap = BrokerTap(address, self._ledger)
        tap.open()
        self._stack.callback(tap.close)
        players = self._start_rooms(site)
        _wait_for_rooms(site, dashboard)
        if not self._options.headless:
            print(f"\n  dashboard, by a link that works once:\n\n  {site.login_link()}?to=page\n")
        self._play(players, script, site)
        return self._close(dashboard)

    def _script(self) -> list[Cue]:
        rng = random.Random(self._seed)  # noqa: S311  # a demo's dice need not be secret
        if self._options.audio:
            files = recordings(self._options.audio, _say_left_out)
            cues = script_of_recordings(rng, files, self._seconds)
        else:
            cues = write_script(rng, self._options.sounds, self._seconds)
        if not cues:
            raise UnavailableError(f"no sound fits into {self._seconds:g} seconds; give more with --seconds")
        return cues

    def _start_rooms(self, site: Site) -> list[RoomPlayer]:
        players = []
        for number, room in enumerate(ROOMS):
            player = RoomPlayer(room, site.start_node(room), np.random.default_rng([self._seed, number]))
            self._stack.callback(player.stop)
            player.start()
            players.append(player)
        if self._options.mic:
            site.start_microphone(MIC_ROOM)
        return players

    def _play(self, players: list[RoomPlayer], script: list[Cue], site: Site) -> None:
        prepared = list(_prepared(script, np.random.default_rng(self._seed)))
        begin = time.monotonic()
        for player in players:
            mine = [one for one in prepared if one.cue.node == player.room.node]
            player.play(mine, begin, self._on_played)
        while time.monotonic() < begin + self._seconds:
            time.sleep(0.2)
            _check_alive(site)

    def _on_played(self, played: Played) -> None:
        self._played.append(played)
        name = next(room.name for room in ROOMS if room.node == played.node)
        sound = played.label or "recording"
        print(f"{_clock(played.onset)}  played  {name}: {sound} at {played.level_dbfs:.0f} dBFS", flush=True)

    def _close(self, dashboard: Dashboard) -> int:
        dashboard.read_history()
        # What a microphone hears was played by nobody here, so nothing can be said about it.
        rooms = {room.node for room in ROOMS}
        judged = [sighting for sighting in self._ledger.sightings() if sighting.node in rooms]
        report = {**summary(self._played, judged), "run": self._facts()}
        if self._options.report:
            _write_json(self._options.report, report)
        print(_in_words(report))
        return 1 if self._options.headless and (report["lost"] or report["duplicates"]) else 0

    def _facts(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "seconds": self._seconds,
            "broker": self._options.broker,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        }


def _say_left_out(why: str) -> None:
    print(f"left out: {why}")


def _say_shown(at: float, event: dict[str, Any]) -> None:
    sound = f"may be {event['label']} ({event['score']:.0%})"
    print(f"{_clock(at)}  shown   {event['room']}: {sound}", flush=True)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _in_words(report: dict[str, Any]) -> str:
    shown = report["latency_ms"]["shown"]
    counted = ("played", "detected", "stored", "shown", "lost", "duplicates", "false_alarms")
    counts = ", ".join(f"{key.replace('_', ' ')} {report[key]}" for key in counted)
    return f"\n{counts}; from onset to screen: median {shown['p50']} ms, p95 {shown['p95']} ms"


def _prepared(script: list[Cue], rng: np.random.Generator) -> Iterator[Prepared]:
    for cue in script:
        try:
            yield prepare(cue, rng)
        except BadInputError as error:
            _say_left_out(str(error))


def _wait_for_rooms(site: Site, dashboard: Dashboard) -> None:
    deadline = time.monotonic() + LISTEN_SECONDS
    wanted = {room.node for room in ROOMS}
    while not wanted <= {node for node, state in dashboard.room_states().items() if state == "listening"}:
        _check_alive(site)
        if time.monotonic() > deadline:
            raise UnavailableError(f"not all rooms listen after {LISTEN_SECONDS:g} s; logs: {site.folder}")
        time.sleep(0.2)


def _check_alive(site: Site) -> None:
    if dead := site.dead():
        raise UnavailableError(f"{dead[0]} has ended unasked:\n{site.last_lines(dead[0])}")


def _port(wanted: int) -> int:
    if wanted == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            return free_port()
    return wanted


def _write_json(path: Path, report: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise TocsinError(f"the report cannot be written to {path}: {error.strerror}") from error
