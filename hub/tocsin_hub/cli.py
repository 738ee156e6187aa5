"""``tocsin hub``: run a hub, make a login link, print an example of its settings."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from tocsin_hub import forgetting, keyboard, settings
from tocsin_hub.auth import LINK_MINUTES, make_login_link, secret_key
from tocsin_hub.link import CLIENT_ID
from tocsin_hub.people import audit
from tocsin_hub.people.cli import add_commands
from tocsin_hub.place import stand_by
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention.cli import add_store_commands
from tocsin_hub.server import check_address, serve
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import now_us
from tocsin_hub.web.process import build_web, check
from tocsin_shared.broker import make_client

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(argv: list[str]) -> int:
    """Run ``tocsin hub …``; the exit status.

    Raises:
        TocsinError: what went wrong, in words for the person at the keyboard.
    """
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tocsin hub", description="Receives, stores and shows what nodes hear."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the hub")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    run.set_defaults(run=_run)

    web = commands.add_parser("web", help="run a web process beside the hub; see docs/scaling.md")
    web.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")
    web.add_argument("--host", help="address to listen on, in place of [web] host")
    web.add_argument("--port", type=_port, help="port to listen on, in place of [web] port")
    web.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    web.set_defaults(run=_web)

    link = commands.add_parser("login-link", help="print a link that logs one person in, once")
    link.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")
    link.add_argument(
        "--valid-minutes", type=_minutes, default=LINK_MINUTES, metavar="N", help="default: %(default)s"
    )
    link.set_defaults(run=_login_link)

    forget = commands.add_parser("forget", help="forget the room of a node that is gone; the hub may run")
    forget.add_argument("node", metavar="NODE", help="id of the node, such as press-2")
    forget.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")
    forget.set_defaults(run=_forget)

    add_commands(commands)
    add_store_commands(commands)

    config = commands.add_parser("config", help="about the settings")
    config_commands = config.add_subparsers(required=True, metavar="COMMAND")
    example = config_commands.add_parser("example", help="print a commented settings file")
    example.set_defaults(run=_example)
    check = config_commands.add_parser("check", help="say whether a settings file can be used")
    check.add_argument("config", type=Path, metavar="FILE", help="the hub's settings")
    check.set_defaults(run=_check)
    return parser


def _minutes(text: str) -> int:
    minutes = int(text) if text.isdecimal() else 0
    if not 1 <= minutes <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError(f"must be a whole number of minutes from 1 to 10080, not {text!r}")
    return minutes


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, not {text!r}")
    return port


def _example(_arguments: argparse.Namespace) -> int:
    print(settings.example(), end="")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    settings.load(arguments.config)
    return 0


def _login_link(arguments: argparse.Namespace) -> int:
    print(_new_link(keyboard.opened(arguments.config), arguments.valid_minutes))
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    chosen, node = keyboard.opened(arguments.config), arguments.node
    if node in keyboard.read(chosen, forgetting.retired):
        print(f"The room of {node} is forgotten already.")
        return 0
    forgetting.check(keyboard.read(chosen, lambda store: store.nodes()), node, now_us())

    def write(recorder: Recorder) -> None:
        forgetting.retire(recorder, node, now_us())
        audit.note(recorder, None, "room.forgotten", node, address=audit.COMMAND_LINE)

    keyboard.write(chosen, write)
    print(f"The room of {node} is forgotten: by a hub that runs within a second, by another when it starts.")
    print("What was heard in it stays in the history. If the node speaks again, its room is back.")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    logging.basicConfig(level=arguments.log_level.upper(), format=_LOG_FORMAT)
    # Whatever is wrong is said here, in one line, before any process is started.
    secret_key(chosen.state_folder)
    make_client(chosen.broker, CLIENT_ID)
    # Before its tables are touched: the hub that leads may be of the version before.
    stand_by(chosen.database)
    prepare(chosen.database)
    check_address(chosen.web)
    _greet(chosen)
    return serve(chosen)


def _web(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    logging.basicConfig(level=arguments.log_level.upper(), format=_LOG_FORMAT)
    web = replace(chosen.web, host=arguments.host or chosen.web.host, port=arguments.port or chosen.web.port)
    chosen = replace(chosen, web=web)
    check(chosen)
    check_address(chosen.web)
    print(f"This web process listens on {web.host} port {web.port}; people come by {web.origin}", flush=True)
    return serve(chosen, build_web)


def _greet(chosen: HubSettings) -> None:
    newcomer = not keyboard.read(chosen, lambda store: store.anybody_logged_in())
    print(f"The dashboard is at {chosen.web.origin}", flush=True)
    if newcomer:
        print(f"Nobody has logged in yet. This link works once, within {LINK_MINUTES} minutes:", flush=True)
        print(_new_link(chosen, LINK_MINUTES), flush=True)


def _new_link(chosen: HubSettings, minutes: int) -> str:
    return keyboard.write(chosen, lambda recorder: make_login_link(recorder, chosen.web, now_us(), minutes))
