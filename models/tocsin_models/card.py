"""The card of a bundle: what it is made from, what it can do, and what it cannot."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin_models.corpus import Clip
from tocsin_models.evaluate import Evaluation, Heard
from tocsin_models.figures import table
from tocsin_models.files import write_whole
from tocsin_models.gate import Verdict
from tocsin_models.recipe import EVALUATION_GROUPS, TOLD
from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import LabelSpec

BEGIN, END = "<!-- on recordings: begin -->", "<!-- on recordings: end -->"
RECORDINGS = """\
    --where source=esc50_union --where source=us8k_part --where source=icu_alarm \\
    --where source=asterisk_speech --where source=debian:ui_sounds \\
    --where note=fold4 --where 'note=fold2;*' --where note=base --where note= \\
    --where 'group!=ast_e*' --where group!=ast_it --where group!=ast_fr"""
"""Which recordings a card speaks of: fold 4 of ESC-50, fold 2 of UrbanSound8K, and groups kept apart."""
NOT_YET = "Not measured yet: `tocsin models evaluate --manifest CSV --bundle DIR --card` fills this in."


@dataclass(frozen=True)
class Origin:
    """Where a bundle comes from."""

    name: str
    release: str
    seed: int
    yamnet_sha256: str | None
    """Hash of the file that the weights started from; ``None`` where they started from chance."""
    start_sha256: str | None
    """Hash of the earlier release's float32 file whose weights these are; ``None``: learnt anew."""
    clips: tuple[Clip, ...]
    windows: int
    parameters: int
    calibration_sha256: str
    sizes: Mapping[str, int]
    """Bytes of each variant."""
    verdicts: Mapping[str, Verdict]
    """What the gate said of each variant that was made, whether it ships or not."""


def card_text(origin: Origin, labels: Sequence[LabelSpec], figures: Evaluation) -> str:
    """The card as Markdown."""
    parts = [
        f"# {origin.name} {origin.release}",
        _purpose(origin),
        "## Made with",
        _command(origin),
        "## On recordings",
        f"{BEGIN}\n{NOT_YET}\n{END}",
        "## Windows",
        _windows(origin, figures),
        "## Made sounds through the detector",
        _alarms(figures),
        "## Rules",
        _rules(labels),
        "## Speed",
        _speeds(figures),
        "## Limits",
        LIMITS,
        "## Data and attribution",
        _data(origin),
    ]
    return "\n\n".join(parts) + "\n"


LIMITS = """\
- An aid beside certified alarm systems, never a replacement for one.
- No recording of a smoke or carbon monoxide alarm, an evacuation signal, a reversing beeper, a scream, a
  telephone, a door bell or a knock was there to learn from, and few of sirens, horns and glass. Those sounds
  were made after the standards or after nature, and for the rest the network relies on what YAMNet knows. How
  well screams, reversing beepers and bells are told in real recordings has not been measured.
- Sirens of buildings and of vehicles are often told as one another; so are tools and engines.
- Beeps of machines, telephones and reversing vehicles can be taken for one another.
- Shots, explosions and knocks are recognised, but not told: of real ones few were found, and much else was
  taken for them.
- Glass is over in half a second: far away or in noise it is missed, and a clatter can be taken for it.
- Medical alarms and other soft beeps are mostly missed, and so are engines that idle.
- The least threshold of an alarm, and which labels are told, were chosen after the recordings above had been
  heard by an earlier release; how many false alarms a label of that severity may give, after they had been
  heard by this one: the figures are kind. No weight and no threshold was fitted to them.
- The window is 1.9 s long: an alarm that lasts is told 1 to 2 s after it begins.
- Speech is recognised so that it is not mistaken for an alarm; what is said is not."""

MADE_TEXT = """\
{windows:,} training windows of {clips} recordings and of made sounds; calibrated on training windows whose
list has the SHA-256 `{calibration}`. No recording of the groups {groups}, and none of fold 4 of ESC-50 nor of
its groups, was trained on."""

WINDOWS_TEXT = """\
F1 at a score of one half over {count:,} windows of held-out recordings and newly made sounds, at −3 to 25
dB over what else is there, near and far, some clipped; parts of a sound too short to count are left out."""

GATE_TEXT = """\
Each variant against the network that it was made from, on the windows of validation and test together."""

ALARMS_TEXT = """\
Six seconds of a made sound over made ambience, newly drawn, not those of training; streams of 13 s. How many
were told by their name, by their level above the ambience, and how often another label was told as well."""

QUIET_TEXT = """\
False detections in {hours:.2f} h of held-out recordings without alarms, made rooms, speech and decoys,
which follow one another far more densely than in a real room: {counts}."""

SPEED_TEXT = "One window, one thread, x86-64, {runtime}; only the ratio means anything elsewhere."

START_TEXT = """

The weights are those of an earlier release, from its float32 file with the SHA-256 `{sha256}`, on the grid of
an integer kernel and with channels of one reach. They had been learnt in several steps while the recipe was
worked out: one epoch of the last layers, four of the network, two with caps, three with blur and rounding.
Without `--start` the command learns anew, in one go, and will not give the same weights."""

YAMNET_TEXT = """

YAMNet: copyright the TensorFlow Authors, Apache License 2.0; the float32 TFLite file with the SHA-256
`{sha256}`."""

DATA_TEXT = """\
Groups `fs…` are sounds of freesound.org by number, as cut for ESC-50 (K. J. Piczak, 2015): the author of
`fs100032` stands at https://freesound.org/s/100032/ and in the LICENSE of ESC-50."""


def _purpose(origin: Origin) -> str:
    start = (
        "It starts from YAMNet (Google, Apache-2.0, trained on AudioSet), without the channels of it that "
        "are never active."
        if origin.yamnet_sha256
        else "It starts from chance."
    )
    return (
        f"A network that hears {', '.join(TOLD)} in windows of 1.9 s, and recognises speech so that it "
        f"is not mistaken for them. {origin.parameters:,} parameters. {start}"
    )


def _command(origin: Origin) -> str:
    yamnet = " --yamnet YAMNET.tflite" if origin.yamnet_sha256 else ""
    corpus = " --corpus RECORDINGS" if origin.clips else ""
    start = " --start EARLIER/float32.tflite" if origin.start_sha256 else ""
    folder = f"models/zoo/{origin.name}/{origin.release}"
    commands = (
        f"```\ntocsin models make{corpus}{yamnet}{start} --seed {origin.seed} --out {folder}\n"
        f"tocsin models evaluate --bundle {folder} --card --peer YAMNET.tflite \\\n"
        f"    --manifest RECORDINGS/manifest.csv \\\n{RECORDINGS}\n```"
    )
    made_of = MADE_TEXT.format(
        windows=origin.windows,
        clips=len(origin.clips),
        calibration=origin.calibration_sha256,
        groups=", ".join(sorted(EVALUATION_GROUPS)),
    )
    earlier = START_TEXT.format(sha256=origin.start_sha256) if origin.start_sha256 else ""
    return f"{commands}\n\n{made_of}{earlier}"


def _windows(origin: Origin, figures: Evaluation) -> str:
    names = list(figures.windows)
    first = figures.windows[names[0]]
    rows = [[label, *(f"{figures.windows[name].f1[label]:.3f}" for name in names)] for label in first.f1]
    rows += [["**macro-F1**", *(f"**{figures.windows[name].macro_f1:.3f}**" for name in names)]]
    rows += [["size, bytes", *(f"{origin.sizes[name]:,}" for name in names)]]
    head = WINDOWS_TEXT.format(count=first.windows)
    return "\n\n".join([head, table(["label", *names], rows), "## The gate", GATE_TEXT, _gate(origin)])


def _gate(origin: Origin) -> str:
    rows = [
        [
            name,
            f"{origin.sizes[name]:,}",
            f"{one.macro_f1:.4f}",
            f"{one.f1_drop_points:+.2f}",
            f"{one.agreement:.2%}",
            f"{one.cosine:.4f}",
            "passes" if one.passed else f"refused, does not ship: {'; '.join(one.failures)}",
        ]
        for name, one in origin.verdicts.items()
    ]
    head = ["variant", "bytes", "macro-F1", "points lost", "same best label", "cosine", ""]
    return table(head, rows)


def _alarms(figures: Evaluation) -> str:
    by_label: dict[str, list[Heard]] = defaultdict(list)
    for one in figures.alarms:
        by_label[one.label].append(one)
    levels = [f"{one.snr_db:g} dB" for one in next(iter(by_label.values()), [])]
    rows = [
        [label, *(f"{one.hits} / {one.of}" for one in ones), str(sum(one.other for one in ones))]
        for label, ones in by_label.items()
    ]
    false = ", ".join(f"{label} {count}" for label, count in figures.quiet_told.items() if count) or "nothing"
    quiet = QUIET_TEXT.format(hours=figures.quiet_hours, counts=false)
    return "\n\n".join([ALARMS_TEXT, table(["sound", *levels, "told as something else"], rows), quiet])


def _rules(labels: Sequence[LabelSpec]) -> str:
    rows = [
        [
            spec.name,
            f"{r.on_threshold:g}",
            f"{r.off_threshold:g}",
            f"{r.active_seconds:g} of {r.span_seconds:g}",
            f"{r.release_seconds:g}",
        ]
        for spec in labels
        if (r := spec.rule) is not None
    ]
    return table(["label", "on", "off", "seconds active", "release, seconds"], rows)


def _speeds(figures: Evaluation) -> str:
    if not figures.speeds:
        return "Not measured."
    rows = [[one.variant, f"{one.median_ms:.2f}", f"{one.p95_ms:.2f}"] for one in figures.speeds]
    return "\n\n".join(
        [
            SPEED_TEXT.format(runtime=figures.speeds[0].runtime),
            table(["variant", "median, ms", "p95, ms"], rows),
        ]
    )


def _data(origin: Origin) -> str:
    if not origin.clips:
        return "Made sounds only; no recording was used."
    by_source: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in origin.clips:
        by_source[clip.source, clip.licence].append(clip)
    rows = [
        [source, licence or "not stated", str(len(clips)), _groups(clips)]
        for (source, licence), clips in sorted(by_source.items())
    ]
    yamnet = YAMNET_TEXT.format(sha256=origin.yamnet_sha256) if origin.yamnet_sha256 else ""
    return f"{DATA_TEXT}{yamnet}\n\n" + table(["source", "licence", "clips", "groups"], rows)


def _groups(clips: Sequence[Clip]) -> str:
    return " ".join(sorted({clip.group for clip in clips}))


def put_recordings(path: Path, text: str) -> None:
    """Put ``text`` where the card ``path`` keeps what was heard on recordings.

    Raises:
        BundleError: there is no card, it has no such place, or it cannot be written.
    """
    try:
        card = path.read_text(encoding="utf-8")
        before, rest = card.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        write_whole(path, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(f"{path}: the figures cannot be written there: {error}") from error
