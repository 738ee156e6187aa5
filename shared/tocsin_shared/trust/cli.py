"""``tocsin trust``: makes and rotates the keys that say which model may run."""

import argparse
import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from tocsin_shared.errors import SettingsError
from tocsin_shared.trust.roles import DIRECTOR, MODELS, ONLINE, ROOT, ROOT_KEYS, SNAPSHOT, TARGETS, TIMESTAMP

PASSPHRASE = "TOCSIN_TRUST_PASSPHRASE"  # noqa: S105  # the name of the variable
ROLES = (ROOT, TARGETS, MODELS, SNAPSHOT, TIMESTAMP, DIRECTOR)


def main(argv: list[str]) -> int:
    """Run ``tocsin trust …``; 0 well, 1 when something expires soon or failed, 2 on wrong usage.

    Raises:
        TocsinError: what the command needs cannot be used.
    """
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tocsin trust", description="Keys that say which model may run.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = commands.add_parser(
        "init",
        help="make all keys, and a repository that is signed with them",
        description="Keys of people (root 1 to 3, targets, models) get a passphrase: take the files off this "
        "machine, apart from one another. Those of the hub (snapshot, timestamp, director) have none: the "
        "hub must read them by itself.",
    )
    init.add_argument("--keys", type=Path, required=True, metavar="DIR", help="new folder for keys of people")
    init.add_argument("--online", type=Path, required=True, metavar="DIR", help="new folder for the hub's")
    init.set_defaults(run=_init)
    rotate = commands.add_parser(
        "rotate",
        help="give a role a new key, or a new term",
        description="With --new the role gets that key (made if the file is missing) in place of --old; "
        "without, its word is signed again as it is. --key names the keys that sign: two of root for root, "
        "targets, snapshot and timestamp with --new; targets' for models and director with --new; "
        "else the role's own.",
    )
    rotate.add_argument("role", choices=ROLES)
    rotate.add_argument("--key", type=Path, action="append", required=True, metavar="FILE", dest="keys")
    rotate.add_argument("--new", type=Path, metavar="FILE", help="key that takes the place of the old one")
    rotate.add_argument("--old", metavar="ID", help="begin of the id of the key that goes")
    rotate.set_defaults(run=_rotate)
    status = commands.add_parser("status", help="roles, keys, and days until their word expires")
    status.add_argument("--json", action="store_true", help="one JSON array")
    status.set_defaults(run=_status)
    sign = commands.add_parser("renew", help="sign snapshot and timestamp again, as the hub does by itself")
    sign.add_argument("--online", type=Path, required=True, metavar="DIR", help="folder of the hub's keys")
    sign.set_defaults(run=_renew)
    for one in (init, rotate, status, sign):
        one.add_argument("--repository", type=Path, required=True, metavar="DIR")
    for one in (init, rotate):
        add_passphrase(one)
    key = commands.add_parser("key", help="make a key for one more person, with a passphrase")
    key.add_argument("file", type=Path, metavar="FILE")
    add_passphrase(key)
    key.set_defaults(run=_key)
    return parser


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Let ``parser`` take ``--passphrase-file``; see :func:`passphrase`."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"its first line is the passphrase; else {PASSPHRASE} in the environment, else it is asked for",
    )


def passphrase(arguments: argparse.Namespace, *, new: bool) -> bytes:
    """The passphrase of key files: from a file, the environment, or the keyboard (twice if ``new``).

    Raises:
        SettingsError: there is none, or the two are not the same.
    """
    if arguments.passphrase_file is not None:
        try:
            lines = arguments.passphrase_file.read_bytes().splitlines()
        except OSError as error:
            raise SettingsError(f"{arguments.passphrase_file}: {error.strerror}") from error
        return bytes(lines[0]) if lines else b""
    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE].encode()
    if not sys.stdin.isatty():
        raise SettingsError(f"no passphrase: give --passphrase-file, set {PASSPHRASE}, or use a terminal")
    typed = getpass.getpass("Passphrase of the keys: ")
    if new and getpass.getpass("Once more: ") != typed:
        raise SettingsError("the two passphrases are not the same")
    return typed.encode()


def _init(arguments: argparse.Namespace) -> int:
    from tocsin_shared.trust.keys import SUFFIX, make_key  # noqa: PLC0415  # --help answers without crypto
    from tocsin_shared.trust.repository import FirstKeys, Repository, found  # noqa: PLC0415

    keys, online = arguments.keys, arguments.online
    if Repository(arguments.repository).exists():
        raise SettingsError(f"{arguments.repository}: holds a repository already; tocsin trust rotate")
    secret = passphrase(arguments, new=True)
    root = [make_key(keys / f"{ROOT}-{n}{SUFFIX}", secret) for n in range(1, ROOT_KEYS + 1)]
    targets, models = (make_key(keys / f"{name}{SUFFIX}", secret) for name in (TARGETS, MODELS))
    hub = {name: make_key(online / f"{name}{SUFFIX}", None) for name in (*ONLINE, DIRECTOR)}
    first = FirstKeys(root, targets, [models], hub[SNAPSHOT], hub[TIMESTAMP], hub[DIRECTOR].public_key)
    made = found(arguments.repository, first, _now())
    print(f"{arguments.repository}: founded. Give every node {made.metadata / '1.root.json'}:")
    print("  tocsin node trust-root FILE --config node.toml")
    print(f"Take the files in {keys} off this machine: each root key to another place, with a copy.")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    from tocsin_shared.trust.keys import load_signer, make_key  # noqa: PLC0415
    from tocsin_shared.trust.repository import Replacement, Repository, replace_key, sign_again  # noqa: PLC0415

    repository = Repository(arguments.repository)
    repository.root()
    secret = passphrase(arguments, new=False)
    signers = [load_signer(path, secret) for path in arguments.keys]
    if arguments.new is None:
        sign_again(repository, arguments.role, signers, _now())
    else:
        hub = arguments.role in {*ONLINE, DIRECTOR}
        path = arguments.new
        new = load_signer(path, secret) if path.exists() else make_key(path, None if hub else secret)
        replace_key(repository, Replacement(arguments.role, new, arguments.old), signers, _now())
    print(f"{arguments.role}: signed; nodes see it once the hub has signed snapshot and timestamp")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    import dataclasses  # noqa: PLC0415
    import json  # noqa: PLC0415

    from tocsin_shared.trust.repository import Repository, status  # noqa: PLC0415

    rows = status(Repository(arguments.repository), _now())
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) | {"words": row.words} for row in rows]))
    else:
        for row in rows:
            need = f"{row.threshold} of {row.keys} keys"
            print(f"{row.role:10} version {row.version:<4} {need:11} {row.days:7.1f} days  {row.words}")
    return int(any(row.words for row in rows))


def _renew(arguments: argparse.Namespace) -> int:
    from tocsin_shared.trust.online import online_keys  # noqa: PLC0415
    from tocsin_shared.trust.repository import Repository, renew  # noqa: PLC0415

    done = renew(Repository(arguments.repository), online_keys(arguments.online), _now())
    print(f"signed: {', '.join(done) or 'nothing was due'}")
    return 0


def _key(arguments: argparse.Namespace) -> int:
    from tocsin_shared.trust.keys import make_key  # noqa: PLC0415

    print(f"{make_key(arguments.file, passphrase(arguments, new=True)).public_key.keyid}")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)
