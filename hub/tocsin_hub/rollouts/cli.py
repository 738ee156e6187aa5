"""``tocsin rollout``: what a rollout would do, before it is done."""

import argparse
from pathlib import Path

import msgspec

from tocsin_hub.rollouts.commands import add_commands
from tocsin_hub.rollouts.model import Status
from tocsin_hub.rollouts.rehearse import Moment, Rehearsal, RingResult, Script, rehearse
from tocsin_shared.errors import SettingsError

_MOST_NODES = 5000
_SHOWN_MOMENTS = 200


def main(argv: list[str]) -> int:
    """Run ``tocsin rollout …``; 0 if it would succeed, 1 if not or failed, 2 on wrong usage.

    Raises:
        TocsinError: the fault script cannot be used.
    """
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tocsin rollout", description="Models over the air, ring by ring.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    one = commands.add_parser(
        "rehearse",
        help="the rules of a rollout against simulated nodes",
        description="The same rules as in a real rollout, against nodes that do not exist, in simulated "
        "time, with the faults of a script. Exit status 0 only if every node would take the bundle.",
    )
    one.add_argument("--nodes", type=_count, required=True, metavar="N", help=f"1 to {_MOST_NODES}")
    one.add_argument("--zones", type=_count, required=True, metavar="Z", help="nodes are dealt out to them")
    one.add_argument("--faults", type=Path, metavar="FILE", help="what goes wrong, and the rings (JSON)")
    one.add_argument("--seed", type=int, default=0, metavar="S", help="another one gives other durations")
    one.add_argument("--json", action="store_true", help="one JSON object")
    one.set_defaults(run=_rehearse)
    add_commands(commands)
    return parser


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= _MOST_NODES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_NODES}")
    return number


def _rehearse(arguments: argparse.Namespace) -> int:
    script = Script() if arguments.faults is None else read_script(arguments.faults)
    result = rehearse(arguments.nodes, arguments.zones, script, arguments.seed)
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        print("\n".join(_told(result)))
    return 0 if result.status is Status.SUCCEEDED else 1


def read_script(path: Path) -> Script:
    """The fault script in ``path``.

    Raises:
        SettingsError: it cannot be read, or is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Script)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}; see docs/ota.md for an example") from error


def _told(result: Rehearsal) -> list[str]:
    shown = result.moments[:_SHOWN_MOMENTS]
    lines = [_moment(one) for one in shown]
    if len(result.moments) > len(shown):
        lines.append(f"… and {len(result.moments) - len(shown)} more; --json has them all")
    lines += ["", *(_ring(one) for one in result.rings), ""]
    why = f" ({result.pause})" if result.pause else ""
    lines.append(f"outcome: {result.status}{why} after {_clock(result.seconds)}")
    return lines


def _moment(one: Moment) -> str:
    ring = "" if one.ring is None else f"ring {one.ring + 1}"
    return f"{_clock(one.seconds)}  {ring:8}{one.node:12}{one.code}{one.detail and f' {one.detail}'}".rstrip()


def _ring(one: RingResult) -> str:
    states = ", ".join(f"{count} {state}" for state, count in one.states.items())
    codes = ", ".join(f"{count} × {code}" for code, count in one.codes.items())
    return f"ring {one.ring + 1}: {one.state}, {one.nodes} nodes: {states}{codes and f' ({codes})'}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:3}:{whole // 60 % 60:02}:{whole % 60:02}"
