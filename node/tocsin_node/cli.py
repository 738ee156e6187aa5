"""``tocsin node``: listen to recordings, run a node, print an example of its settings."""

import argparse
import logging
import os
import sys
from pathlib import Path

from tocsin_node import settings

LEVELS = ("debug", "info", "warning", "error")


def main(argv: list[str]) -> int:
    """Run ``tocsin node …``; returns the exit status: 0 well, 1 failed, 2 wrong usage.

    Raises:
        TocsinError: what the command needs cannot be used; the text is fit for the user.
    """
    arguments = _parser().parse_args(argv)
    # A hop's matrix is small: more threads of OpenBLAS have little to gain.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tocsin node", description="Recognises alarms and other sounds in a room, and tells the hub."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_listen(commands)
    _add_run(commands)
    _add_config(commands)
    _add_bench(commands)
    _add_doctor(commands)
    _add_clips(commands)
    _add_trust_root(commands)
    return parser


def _add_listen(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    listen = commands.add_parser(
        "listen",
        help="print what is heard in recordings, or by the microphone",
        description="Runs recordings (WAV, FLAC, Ogg, MP3) or the microphone through the node's own "
        "pipeline, and prints one line for each detection. No broker is needed.",
    )
    listen.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, or the word mic")
    listen.add_argument("--bundle", default="sentry", metavar="DIR", help="bundle folder, or a shipped name")
    listen.add_argument("--variant", default="", metavar="V", help="build of the model, such as full-int8")
    listen.add_argument("--hop-seconds", type=_hop, default=0.5, metavar="S", help="0.1 to 2; default 0.5")
    listen.add_argument("--device", default="", metavar="NAME", help="with mic: part of the device's name")
    listen.add_argument("--json", action="store_true", help="one JSON object on each line")
    listen.set_defaults(run=_listen)


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser("run", help="run a node until it is stopped")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, node.toml")
    run.add_argument("--log-level", choices=LEVELS, default="info", help="default info")
    run.set_defaults(run=_run)


def _add_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = commands.add_parser("config", help="settings of a node")
    actions = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = actions.add_parser("example", help="print a commented node.toml with every key at its default")
    example.set_defaults(run=_config_example)
    check = actions.add_parser("check", help="say whether a settings file can be used")
    check.add_argument("config", type=Path, metavar="FILE", help="settings, node.toml")
    check.set_defaults(run=_config_check)


def _add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = commands.add_parser(
        "bench",
        help="measure what listening costs on this machine",
        description="Times features and network for every variant, and a whole node, and recommends a "
        "variant and a hop. Where librosa is installed its mel spectrogram is timed beside.",
    )
    bench.add_argument("--bundle", default="sentry", metavar="DIR", help="bundle folder, or a shipped name")
    bench.add_argument("--seconds", type=_seconds, default=20.0, metavar="N", help="whole node; default 20")
    bench.add_argument("--yamnet", type=Path, metavar="FILE", help="YAMNet as TFLite, to compare with")
    bench.add_argument("--json", action="store_true", help="one JSON object")
    bench.set_defaults(run=_bench)


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what is wrong on this machine, and how to mend it",
        description="Looks at sound, clock, link, disk, model and heat; exit status 1 if one is wrong.",
    )
    doctor.add_argument("--config", type=Path, metavar="FILE", help="settings, node.toml; else the defaults")
    doctor.add_argument("--json", action="store_true", help="one JSON array")
    doctor.set_defaults(run=_doctor)


def _add_clips(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    clips = commands.add_parser("clips", help="encrypted recordings of alarms that this node keeps")
    actions = clips.add_subparsers(title="commands", metavar="COMMAND", required=True)
    key = actions.add_parser("key", help="make a key in a new file, readable by its owner alone")
    key.add_argument("file", type=Path, metavar="FILE")
    key.set_defaults(run=_clips_key)
    listing = actions.add_parser("list", help="print the clips that are kept, oldest first")
    export = actions.add_parser("export", help="write a clip as a WAV file, no longer encrypted")
    export.add_argument("id", metavar="ID", help="of the event")
    export.add_argument("file", type=Path, metavar="FILE.wav", help="a new file")
    delete = actions.add_parser("delete", help="delete clips")
    which = delete.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID", help="of the event")
    which.add_argument("--all", action="store_true", help="every clip")
    for action, run in ((listing, _clips_list), (export, _clips_export), (delete, _clips_delete)):
        action.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, node.toml")
        action.set_defaults(run=run)


def _add_trust_root(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    root = commands.add_parser(
        "trust-root",
        help="give this node the root of trust for bundles over the air",
        description="FILE is metadata/1.root.json of the site's trust repository, brought here by hand: "
        "all that comes over the air is checked from it.",
    )
    root.add_argument("file", type=Path, metavar="FILE")
    root.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, node.toml")
    root.set_defaults(run=_trust_root)


def _hop(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 2.0:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 2 seconds, not {text!r}")
    return seconds


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"must be 1 to 86400 seconds, not {text!r}")
    return seconds


def _listen(arguments: argparse.Namespace) -> int:
    # Here and not above, so that --help answers before numpy and the interpreter are loaded.
    from tocsin_node.listen import Request, listen  # noqa: PLC0415

    bundle = arguments.bundle
    if Path(bundle).is_dir() and "/" not in bundle:
        bundle = f"./{bundle}"
    return listen(
        Request(
            paths=tuple(arguments.paths),
            bundle=bundle,
            variant=arguments.variant,
            hop_seconds=arguments.hop_seconds,
            device=arguments.device,
            json=arguments.json,
        )
    )


def _bench(arguments: argparse.Namespace) -> int:
    from tocsin_node.bench import Request, bench  # noqa: PLC0415  # see _listen

    return bench(Request(arguments.bundle, arguments.seconds, arguments.yamnet, arguments.json))


def _doctor(arguments: argparse.Namespace) -> int:
    from tocsin_node.doctor import doctor  # noqa: PLC0415  # see _listen

    config = arguments.config
    read = settings.NodeSettings(node="doctor") if config is None else settings.load(config)
    return doctor(read, as_json=arguments.json)


def _clips_key(arguments: argparse.Namespace) -> int:
    from tocsin_node.clip_files import make_key  # noqa: PLC0415  # see _listen

    make_key(arguments.file)
    return 0


def _clips_list(arguments: argparse.Namespace) -> int:
    from tocsin_node.clip_export import list_clips  # noqa: PLC0415  # see _listen

    return list_clips(settings.load(arguments.config).clips)


def _clips_export(arguments: argparse.Namespace) -> int:
    from tocsin_node.clip_export import export_clip  # noqa: PLC0415  # see _listen

    export_clip(settings.load(arguments.config).clips, arguments.id, arguments.file)
    return 0


def _clips_delete(arguments: argparse.Namespace) -> int:
    from tocsin_node.clip_export import delete_clips  # noqa: PLC0415  # see _listen

    delete_clips(settings.load(arguments.config).clips, None if arguments.all else arguments.ids)
    return 0


def _trust_root(arguments: argparse.Namespace) -> int:
    from tocsin_node.update.wiring import install_root  # noqa: PLC0415  # see _listen

    print(f"installed: {install_root(settings.load(arguments.config).update, arguments.file)}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from tocsin_node.agent import build  # noqa: PLC0415  # see _listen

    logging.basicConfig(
        level=arguments.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    return build(settings.load(arguments.config)).run()


def _config_example(_arguments: argparse.Namespace) -> int:
    print(settings.example(), end="")
    return 0


def _config_check(arguments: argparse.Namespace) -> int:
    settings.load(arguments.config)
    return 0
