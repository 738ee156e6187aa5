"""Our verifier behind the command line of the public suite tuf-conformance, to be run from outside::

    PYTHONPATH=node:shared pytest .../tuf_conformance --entrypoint "python tests/tufconf/client.py"

The suite (github.com/theupdateframework/tuf-conformance) is no package and no part of this repository. Exit
status 0 for what is trusted, 1 for what is refused.
"""

import argparse
import hashlib
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from tuf.api import metadata as tuf

from tocsin_node.update.download import Download, Patience, Wanted
from tocsin_node.update.fetching import Web
from tocsin_node.update.metadata import Metadata, Place
from tocsin_shared.errors import TocsinError
from tocsin_shared.trust.files import put

PATIENCE = Patience(bytes_per_second=1e9, total_seconds=30.0, cuts=1)


def main(argv: list[str]) -> int:
    """``init ROOT``, ``refresh`` or ``download``, as the suite asks for them."""
    arguments = _parser().parse_args(argv)
    folder = arguments.metadata_dir
    if arguments.command == "init":
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(arguments.root, folder / "root.json")
        return 0
    try:
        seen = Metadata(
            Place(arguments.metadata_url, folder, (folder / "root.json").read_bytes()),
            Web(socket_seconds=5.0),
        )
        for name in arguments.target_name:
            _fetch(seen, name, arguments)
    except (TocsinError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _fetch(seen: Metadata, name: str, arguments: argparse.Namespace) -> None:
    target = seen.target(name)
    place = arguments.target_dir / quote(name, "")
    folder, slash, file = name.rpartition("/")
    named = f"{folder}{slash}{target.sha256}.{file}" if _consistent(arguments.metadata_dir) else name
    url = f"{arguments.target_base_url.rstrip('/')}/{quote(named)}"
    wanted = Wanted(url, target.length, target.sha256, place.with_suffix(".part"))
    if place.exists() and hashlib.sha256(place.read_bytes()).hexdigest() == target.sha256:
        return
    put(place, Download(Web(), wanted, PATIENCE).run())
    wanted.part.unlink(missing_ok=True)


def _consistent(folder: Path) -> bool:
    return bool(tuf.Metadata[tuf.Root].from_file(str(folder / "root.json")).signed.consistent_snapshot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
