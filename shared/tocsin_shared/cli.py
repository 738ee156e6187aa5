"""The command ``tocsin``: finds its sub-commands among the installed parts and runs one.

Each part names a ``main(argv) -> exit status`` in the entry-point group ``tocsin.commands``, and only
the one that is asked for is imported: a Raspberry Pi with ``tocsin[node]`` never touches Flask.
"""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version

from tocsin_shared.errors import TocsinError

GROUP = "tocsin.commands"


def main(argv: list[str] | None = None) -> int:
    """Run ``tocsin COMMAND …`` and return its exit status: 0 well, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_usage(commands))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"tocsin {version('tocsin')}")
        return 0
    if arguments[0] not in commands:
        print(f"tocsin: there is no command {arguments[0]!r}\n\n{_usage(commands)}", file=sys.stderr)
        return 2
    return _run(commands[arguments[0]], arguments[1:])


def _usage(commands: dict[str, EntryPoint]) -> str:
    names = "\n".join(f"  tocsin {name} --help" for name in sorted(commands))
    return f"usage: tocsin COMMAND …\n\n{names}\n  tocsin --version"


def _run(point: EntryPoint, arguments: list[str]) -> int:
    try:
        command: Callable[[list[str]], int] = point.load()
    except ModuleNotFoundError as error:
        print(
            f"tocsin {point.name}: the package {error.name!r} is missing; "
            f"install this part with: pip install 'tocsin[{point.name}]'",
            file=sys.stderr,
        )
        return 1
    try:
        return command(arguments)
    except TocsinError as error:
        print(f"tocsin {point.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; closing stderr as well keeps the interpreter quiet at exit.
        sys.stderr.close()
        return 141
