"""``tocsin fleet``: simulate many nodes at a broker, and check what the hub made of what they said."""

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from ulid import ULID

from tocsin_hub.fleet import report
from tocsin_hub.fleet.ledger import judge
from tocsin_hub.fleet.model import Plan, Played
from tocsin_hub.fleet.probe import probe
from tocsin_hub.fleet.processes import Simulation, share_of_files
from tocsin_hub.fleet.stored import read_stored
from tocsin_hub.keyboard import database_url
from tocsin_hub.place import Place, PostgresPlace
from tocsin_hub.times import now_us
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.errors import SettingsError, UnavailableError

NODES_PER_ZONE = 50
NODES_PER_PROCESS = 1000
_TOLD_SECONDS = 5.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}


def main(argv: list[str]) -> int:
    """Run ``tocsin fleet …``; exit status 1 if something was lost or is there twice.

    Raises:
        TocsinError: the broker refuses the nodes, or a file cannot be used; the text names the remedy.
    """
    options = _parser().parse_args(argv)
    plan = _plan(options)
    processes = options.processes or min(os.cpu_count() or 1, -(-plan.nodes // NODES_PER_PROCESS))
    share_of_files(plan.nodes, processes)
    since_us = now_us()
    if options.database:
        read_stored(options.database, plan.run, since_us)  # what cannot be read is better said now
    print(f"run {plan.run}, seed {plan.seed}: {plan.nodes} nodes in {processes} processes")
    if not probe(plan):
        print(
            "no hub says that it is at this broker: what the nodes tell waits in their outboxes until one is"
        )
    played = Simulation(plan, processes, _Progress(sys.stdout.isatty())).run()
    return _close(options, plan, played, since_us)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tocsin fleet", description="Simulates many nodes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    simulate = commands.add_parser(
        "simulate",
        help="let many nodes tell of sounds, and check what the hub has of them",
        description="Real clients of the real wire, made for a test site: the hub takes them for rooms, "
        "shows them, and alerts its people. Exit status 1 if something was lost or is there twice.",
    )
    option = simulate.add_argument
    option("--broker", required=True, metavar="URL", help="mqtt://[USER@]HOST[:PORT], or mqtts:// with TLS")
    option("--nodes", type=_whole(1, 1_000_000), default=100, metavar="N", help="default: %(default)s")
    option("--rate", type=_number(0.0, 6000.0), default=1.0, metavar="R", help="sounds per node and minute")
    option("--seconds", type=_number(1.0, 1e6), default=60.0, metavar="S", help="default: %(default)s")
    option("--alarm-storm", action="store_true", help="half-way, all nodes alarm within 2 s")
    option("--churn", action="store_true", help="nodes drop out without a word, are restarted, and come back")
    option("--report", type=Path, metavar="FILE", help="write what happened to FILE, as JSON")
    option("--ledger", type=Path, metavar="FILE", help="write a line of JSON for each sound to FILE")
    option(
        "--database",
        type=_database,
        metavar="PATH",
        help="the hub's SQLite file, or postgresql://…, to check what is stored (password: PGPASSFILE)",
    )
    _add_details(option)
    return parser


def _database(text: str) -> Place:
    return PostgresPlace(database_url(text)) if "://" in text else Path(text)


def _add_details(option: Callable[..., object]) -> None:
    option("--heartbeat-seconds", type=_number(0.5, 600.0), default=10.0, metavar="S", help="default: 10")
    option("--zones", type=_whole(1, 100_000), metavar="N", help="default: one for 50 nodes")
    option("--late-seconds", type=_number(0.01, 3600.0), default=2.0, metavar="S", help="default: 2")
    option("--drain-seconds", type=_number(0.0, 86_400.0), default=60.0, metavar="S", help="default: 60")
    option("--prefix", type=_prefix, default="fleet", help="begins the names of the nodes")
    option("--seed", type=int, help="decides which node says what when (default: chance)")
    option("--processes", type=_whole(1, 256), metavar="N", help="default: one for 1000 nodes, one per core")
    option("--protocol", choices=("5", "3.1.1"), default="5", help="MQTT version")
    option("--username", default="", help="user name; {node} stands for the name of each node")
    option("--password-file", type=Path, metavar="FILE", help="its password; {node} as above")
    option("--ca-file", type=Path, metavar="FILE", help="certificates that vouch for the broker")
    option("--cert-file", type=Path, metavar="FILE", help="the certificate of the node; {node} as above")
    option("--key-file", type=Path, metavar="FILE", help="its key; {node} as above")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text) if text.isdecimal() else least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"give a whole number from {least} to {most}, not {text!r}")
        return value

    return number


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"give a number from {least:g} to {most:g}, not {text!r}")
        return value

    return number


def _prefix(text: str) -> str:
    if not (1 <= len(text) <= 16 and all(sign in "abcdefghijklmnopqrstuvwxyz0123456789-" for sign in text)):
        raise argparse.ArgumentTypeError(f"give 1 to 16 of a-z, 0-9 and -, not {text!r}")
    return text


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        broker=_broker(options),
        nodes=options.nodes,
        rate=options.rate,
        seconds=options.seconds,
        run=str(ULID()),
        seed=random.SystemRandom().randrange(10**6) if options.seed is None else options.seed,
        zones=min(options.zones or -(-options.nodes // NODES_PER_ZONE), options.nodes),
        heartbeat_seconds=options.heartbeat_seconds,
        storm_at=options.seconds / 2 if options.alarm_storm else None,
        churn=options.churn,
        prefix=options.prefix,
        drain_seconds=options.drain_seconds,
    )


def _broker(options: argparse.Namespace) -> BrokerSettings:
    form = f"--broker {options.broker}: not of the form mqtt://[USER@]HOST[:PORT] or mqtts://…"
    try:
        url = urlsplit(options.broker)
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError as error:
        raise SettingsError(form) from error
    if not (port and url.hostname):
        raise SettingsError(form)
    if url.password is not None:
        raise SettingsError("--broker: a password is seen by everybody there; give it with --password-file")
    if (url.scheme == "mqtts") != (options.ca_file is not None):
        raise SettingsError("--broker: mqtts:// and --ca-file FILE go together")
    try:
        return BrokerSettings(
            host=url.hostname,
            port=port,
            protocol=options.protocol,
            username=options.username or url.username or "",
            password_file=options.password_file,
            ca_file=options.ca_file,
            cert_file=options.cert_file,
            key_file=options.key_file,
        )
    except ValueError as error:
        raise SettingsError(f"of the options for the broker, {str(error).replace('_', '-')}") from error


class _Progress:
    """Where the progress goes: one line that changes on a screen, a line now and then elsewhere."""

    def __init__(self, screen: bool) -> None:
        self._screen = screen
        self._told = -math.inf

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if self._screen:
            print(f"\r{text:<100}", end="", flush=True)
        elif now - self._told >= _TOLD_SECONDS or not text[:1].isspace():
            print(text, flush=True)
            self._told = now


def _close(options: argparse.Namespace, plan: Plan, played: Played, since_us: int) -> int:
    stored = read_stored(options.database, plan.run, since_us) if options.database else None
    verdict = judge(played.records, stored, options.late_seconds)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
    if options.report:
        found = report.document(plan, played, verdict, machine)
        _write(options.report, json.dumps(found, indent=2) + "\n")
    if options.ledger:
        _write(options.ledger, "".join(f"{json.dumps(asdict(record))}\n" for record in played.records))
    print(f"\n{report.in_words(played, verdict)}")
    return 0 if verdict.good else 1


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
