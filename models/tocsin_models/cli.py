"""``tocsin models``: bundles and the study. Heavy packages are imported by what needs them only."""

import argparse
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin_models.study import cli as study
from tocsin_shared.errors import BadInputError
from tocsin_shared.trust.cli import add_passphrase, passphrase

if TYPE_CHECKING:
    from tocsin_shared.classifier import Classifier

STEPS = ("train", "quantize", "bundle")


def main(argv: list[str]) -> int:
    """Run ``tocsin models …``; 0 when all went well, 1 when a result would mislead, 2 on wrong usage."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse leaves the process; a function that is called does not
        return stop.code if isinstance(stop.code, int) else 2
    if arguments.command is None:
        _parser().print_help()
        return 2
    result: int = arguments.run_command(arguments)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tocsin models", description="Make and measure sound models.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    make_help = "recordings and made sounds → a bundle, in one go; goes on where it was stopped"
    _add_making(commands.add_parser("make", help=make_help, description=make_help))
    for name, help_text in study.COMMANDS.items():
        study.add_command(commands.add_parser(name, help=help_text, description=help_text), name)
    _add_evaluate(commands.add_parser("evaluate", help="hits, latency and false alarms of a bundle"))
    _add_speed(commands.add_parser("speed", help="time of one window through each variant, one thread"))
    _add_publish(commands.add_parser("publish", help="check a bundle, and sign it for the nodes of a site"))
    _add_verify(commands.add_parser("verify", help="hear bundles that were signed elsewhere, as a hub does"))
    return parser


def _add_making(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("models/zoo/sentry/1.0.0"),
        help="folder of the bundle, ending in NAME/RELEASE",
    )
    parser.add_argument("--corpus", type=Path, help="folder with manifest.csv; without it, made sounds only")
    parser.add_argument("--yamnet", type=Path, help="YAMNet as float32 TFLite, to start from its weights")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="TFLITE",
        help="float32 file of an earlier release, whose weights are taken instead of training",
    )
    parser.add_argument("--run", type=Path, help="folder for what is in between (default runs/NAME-RELEASE)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="threads to train with")
    parser.add_argument("--quick", action="store_true", help="tiny, to try the way; good for nothing else")
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="stop after this step")
    parser.set_defaults(run_command=_make)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How well a bundle hears recordings: single windows, and events through the node's own detector, "
        "each recording in ambience of its own. Without --manifest, made sounds are played instead. Status 1 "
        "where so many recordings are missing, damaged or without a meaning that figures would mislead."
    )
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (default: the one shipped)")
    parser.add_argument("--variant", help="variant to run (default: the one a node would take)")
    parser.add_argument(
        "--manifest", type=Path, metavar="CSV", help="recordings: columns path (below the file) and label"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="TOML with what your labels mean, beside those of ESC-50 and UrbanSound8K, which are known: "
        '[labels] my_label = ["vehicle_horn"], [may_hold] my_label = ["speech"]',
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=PATTERN",
        help="rows to hear, such as note=fold4* or source!=test; may be given again",
    )
    parser.add_argument(
        "--snr",
        type=float,
        nargs=2,
        default=(10.0, 25.0),
        metavar=("LOW", "HIGH"),
        help="level above the ambience is drawn between these, in dB (default: 10 25)",
    )
    parser.add_argument("--peer", type=Path, metavar="TFLITE", help="YAMNet, to hear the same recordings")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument(
        "--card", action="store_true", help="write the text into the bundle's card.md as well"
    )
    parser.add_argument("--each", type=int, default=20, help="made sounds of each label (without --manifest)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same figures")
    parser.set_defaults(run_command=_evaluate)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (default: the one shipped)")
    parser.set_defaults(run_command=_speed)


def _add_publish(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Checks manifest, golden clips and gate, and signs each variant for the nodes: nothing is signed if "
        "one of them fails. Nodes see it once the hub has signed snapshot and timestamp (or --online)."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--key", type=Path, action="append", required=True, dest="keys", help="an engineer's key file"
    )
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR", help="the trust repository")
    parser.add_argument("--online", type=Path, metavar="DIR", help="the hub's keys, to sign all at once")
    parser.add_argument("--variant", action="append", default=[], help="only this one; may be given again")
    parser.add_argument(
        "--floor", default="", metavar="RELEASE", help="nodes that have proven it never go below"
    )
    parser.add_argument(
        "--hardware", action="append", default=[], metavar="TEXT", help="part of a board's name it is for"
    )
    add_passphrase(parser)
    parser.set_defaults(run_command=_publish)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.description = "Hears the golden clips and asks the gate; exit status 1 if a bundle fails."
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="an unpacked archive")
    parser.set_defaults(run_command=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    os.nice(19)  # beside a hub, alarms go first
    from tocsin_models.publish import verify  # noqa: PLC0415

    verify(arguments.folders)
    print("every bundle is well")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from tocsin_models.publish import Publication, publish  # noqa: PLC0415
    from tocsin_shared.trust.keys import load_signer  # noqa: PLC0415
    from tocsin_shared.trust.online import online_keys  # noqa: PLC0415
    from tocsin_shared.trust.repository import Repository, renew  # noqa: PLC0415

    repository, now = Repository(arguments.repository), datetime.now(UTC)
    repository.root()
    secret = passphrase(arguments, new=False)
    order = Publication(
        arguments.bundle,
        repository,
        [load_signer(path, secret) for path in arguments.keys],
        tuple(arguments.variant),
        arguments.floor,
        tuple(arguments.hardware),
    )
    publish(order, now, _tell)
    if arguments.online is not None:
        renew(repository, online_keys(arguments.online), now)
    return 0


def _make(arguments: argparse.Namespace) -> int:
    # Processes that draw windows share the cores; numpy's own threads would only get into each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tocsin_models.make import FULL, QUICK, Order, make  # noqa: PLC0415  # keeps --help instant

    name, release = _named(arguments.out)
    make(
        Order(
            out=arguments.out,
            run=arguments.run or Path("runs") / f"{name}-{release}",
            corpus=arguments.corpus,
            yamnet=arguments.yamnet,
            start=arguments.start,
            name=name,
            release=release,
            seed=arguments.seed,
            size=QUICK if arguments.quick else FULL,
            threads=arguments.threads,
        ),
        arguments.until,
        _tell,
    )
    return 0


def _named(out: Path) -> tuple[str, str]:
    name, release = out.resolve().parts[-2:]
    if not (re.fullmatch(r"[a-z0-9-]{1,32}", name) and re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", release)):
        raise BadInputError(f"--out {out}: must end in NAME/RELEASE, such as models/zoo/sentry/1.0.0")
    return name, release


def _evaluate(arguments: argparse.Namespace) -> int:
    from tocsin_shared.classifier import Classifier  # noqa: PLC0415
    from tocsin_shared.manifest import shipped_bundle  # noqa: PLC0415

    bundle = arguments.bundle or shipped_bundle()
    classifier = Classifier.load(bundle, arguments.variant)
    if arguments.manifest is not None:
        return _evaluate_recordings(arguments, bundle, classifier)
    from tocsin_models.evaluate import heard_alarms  # noqa: PLC0415

    for one in heard_alarms(classifier, arguments.each, arguments.seed):
        told = f"{one.hits:3} of {one.of:3}; told as something else: {one.other}"
        print(f"{one.label:24} {one.snr_db:3g} dB: {told}")
    return 0


def _evaluate_recordings(arguments: argparse.Namespace, bundle: Path, classifier: "Classifier") -> int:
    import msgspec  # noqa: PLC0415

    from tocsin_models.card import put_recordings  # noqa: PLC0415
    from tocsin_models.label_map import LabelMap  # noqa: PLC0415
    from tocsin_models.recordings import Order, Peer, choose, evaluate  # noqa: PLC0415
    from tocsin_models.recordings_text import as_text  # noqa: PLC0415
    from tocsin_models.teacher import Teacher  # noqa: PLC0415

    meanings = LabelMap.read(arguments.labels)
    chosen = choose(arguments.manifest, meanings, classifier.manifest.label_names, arguments.where)
    peer = None if arguments.peer is None else Peer(Teacher(arguments.peer), meanings.yamnet)
    _tell(f"{len(chosen.items)} recordings")
    low, high = sorted(arguments.snr)
    report = evaluate(classifier, chosen, Order(arguments.seed, (low, high), peer), _tell)
    text = as_text(report)
    print(msgspec.json.encode(report).decode() if arguments.json else text)
    if arguments.card:
        put_recordings(bundle / "card.md", text)
    if report.misleading:
        _tell(f"{len(report.problems)} recordings could not be heard, so these figures mislead")
    return int(report.misleading)


def _speed(arguments: argparse.Namespace) -> int:
    from tocsin_models.evaluate import speed  # noqa: PLC0415
    from tocsin_shared.manifest import read_manifest, shipped_bundle  # noqa: PLC0415

    bundle = arguments.bundle or shipped_bundle()
    times = [speed(bundle, variant.name) for variant in read_manifest(bundle).variants]
    slowest = max(one.median_ms for one in times)
    for one in times:
        print(
            f"{one.variant:12} median {one.median_ms:7.2f} ms, p95 {one.p95_ms:7.2f} ms, "
            f"{slowest / one.median_ms:4.1f} × ({one.runtime}, 1 thread)"
        )
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
