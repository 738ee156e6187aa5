"""The node's settings: one frozen dataclass for each table of ``node.toml``."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from tocsin_node.cards import USB_PATTERN, USB_PREFIX
from tocsin_shared import settings
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.events import NODE_ID_PATTERN, ZONE_PATTERN
from tocsin_shared.settings import setting, table


@dataclass(frozen=True)
class SourceSettings:
    """What the node hears with."""

    kind: str = setting(
        "microphone",
        "A sound card, recordings played at their own speed, or raw sound from standard input.",
        choices=("microphone", "file", "stdin"),
    )
    device: str = setting(
        "",
        "Which microphone: part of its name, a pattern with *, usb:VID:PID, usb:VID:PID:SERIAL or usb:PORT "
        "such as usb:1-1.2; empty is the default one.",
    )
    path: Path | None = setting(None, "Recording, or folder of recordings, of kind file.", shown='"sounds"')
    repeat: bool = setting(False, "Begin again at the end of the recordings; otherwise the node stops there.")
    sample_rate_hz: int = setting(
        16_000,
        "Sample rate of standard input, which is one channel of signed 16 bit little-endian samples.",
        minimum=8_000,
        maximum=192_000,
    )
    block_ms: int = setting(100, "Sound is handed over in blocks of this length.", minimum=10, maximum=500)

    def __post_init__(self) -> None:
        if self.kind == "file" and self.path is None:
            raise ValueError("kind file needs path")
        if self.device.startswith(USB_PREFIX) and not re.fullmatch(USB_PATTERN, self.device):
            raise ValueError(
                f"device {self.device!r} is none of usb:VID:PID, usb:VID:PID:SERIAL, usb:PORT; "
                "lsusb and lsusb -t name them"
            )


@dataclass(frozen=True)
class ModelSettings:
    """What recognises the sounds."""

    bundle: str = setting(
        "sentry", "Name of a shipped bundle, or the path of a bundle's folder (a path holds a / or a dot)."
    )
    variant: str = setting(
        "", "Build of the model, such as full-int8; empty takes the best one of the bundle."
    )
    threads: int = setting(1, "Threads of the interpreter.", minimum=1, maximum=16)
    hop_seconds: float = setting(
        0.5,
        "A window of sound is judged this often; shorter is quicker and costs more.",
        minimum=0.1,
        maximum=2.0,
    )


@dataclass(frozen=True)
class OutboxSettings:
    """Where events wait until the hub has stored them."""

    path: Path = setting(
        Path("node-outbox.sqlite"), "The SQLite file; relative paths start at this settings file."
    )
    max_bytes: int = setting(
        200_000_000,
        "Events that wait take up to this; then the oldest of the least severe are given up, never alarms.",
        minimum=100_000,
        maximum=100_000_000_000,
    )
    backfill_per_second: float = setting(
        200.0,
        "What waited while the hub was away is sent at most this fast; what is heard now goes at once.",
        minimum=1.0,
        maximum=100_000.0,
    )


@dataclass(frozen=True)
class WarningSettings:
    """How the node itself warns when the hub does not answer."""

    command: tuple[str, ...] = setting(
        (),
        "Program and arguments, run with on or off as the last argument, without a shell, when the hub has "
        "not acknowledged an alarm within 2 s; empty for none.",
    )
    gpio_pin: int | None = setting(
        None,
        "Pin of a Raspberry Pi, by its BCM number, that is high meanwhile; needs tocsin[gpio].",
        minimum=0,
        maximum=27,
        shown="17",
    )
    seconds: float = setting(
        60.0, "The warning ends after this, or when the hub has answered.", minimum=1.0, maximum=3600.0
    )


@dataclass(frozen=True)
class WatchdogSettings:
    """When a node that stands still is taken down."""

    stall_seconds: float = setting(
        30.0,
        "A part of the node that makes no headway for so long ends the process, so that it starts anew.",
        minimum=5.0,
        maximum=600.0,
    )


@dataclass(frozen=True)
class SelftestSettings:
    """How the node tests itself."""

    every_hours: float = setting(
        0.0,
        "An alarm is made this often, and must reach the hub, marked as a test; 0 is never.",
        minimum=0.0,
        maximum=8760.0,
    )
    how: str = setting(
        "inject",
        "Injected, the alarm is silent and leaves the microphone out; by a speaker everybody hears it.",
        choices=("inject", "speaker"),
    )
    output: str = setting("", "Part of the speaker's name; empty is the default output.")


@dataclass(frozen=True)
class MetricsSettings:
    """What Prometheus is told."""

    textfile: Path | None = setting(
        None,
        "File for node_exporter's textfile collector, written with each heartbeat; its name ends in .prom.",
        shown='"/var/lib/prometheus/node-exporter/tocsin.prom"',
    )

    def __post_init__(self) -> None:
        if self.textfile is not None and self.textfile.suffix != ".prom":
            raise ValueError("textfile must end in .prom, or node_exporter leaves it out")


@dataclass(frozen=True)
class HomeAssistantSettings:
    """Whether Home Assistant finds the node by itself."""

    discovery: bool = setting(
        False,
        "Home Assistant, on the same broker, shows the node: one sensor for each sound, and its health.",
    )
    prefix: str = setting(
        "homeassistant",
        "Home Assistant's discovery prefix, as it stands in its own settings.",
        pattern=r"[A-Za-z0-9_-]{1,64}",
    )


@dataclass(frozen=True)
class ClipSettings:
    """Whether short recordings of alarms are kept. They never leave the node."""

    keep: bool = setting(
        False,
        "Keep short, encrypted clips of alarms on this node; the dashboard says so. Needs tocsin[clips].",
    )
    folder: Path = setting(Path("node-clips"), "Folder of the clips; it should hold nothing else.")
    key_file: Path = setting(
        Path("node-clips.key"),
        "Key that encrypts them, readable by its owner alone: tocsin node clips key FILE makes it.",
    )
    seconds_before: float = setting(
        2.0, "A clip begins this long before the alarm.", minimum=0.0, maximum=30.0
    )
    seconds_after: float = setting(
        6.0, "And ends this long after the alarm began.", minimum=1.0, maximum=30.0
    )
    max_bytes: int = setting(
        50_000_000,
        "All clips together take up to this; then the oldest go.",
        minimum=2_000_000,
        maximum=100_000_000_000,
    )
    max_age_days: float = setting(14.0, "A clip is deleted after this.", minimum=0.01, maximum=366.0)
    speech_above: float = setting(
        0.05,
        "Nothing is kept if the network's score of speech is above this in any window of the clip.",
        minimum=0.0,
        maximum=0.5,
    )


@dataclass(frozen=True)
class UpdateSettings:
    """Whether and how bundles come over the air."""

    url: str = setting(
        "",
        "Address of the hub's trust repository, such as https://hub.example/updates; empty takes none. "
        "Needs tocsin[ota], and a root: tocsin node trust-root FILE.",
        pattern=r"(https?://[^\s]{1,200}[^\s/])?",
    )
    folder: Path = setting(Path("node-update"), "Bundles, signed metadata and progress; nothing else in it.")
    floor_file: Path = setting(
        Path("node-floor.json"),
        "Second place for the releases below which nothing is installed; best on another partition.",
    )
    ca_file: Path | None = setting(
        None, "Authority of the hub's web server, if the system does not know it.", shown='"site-ca.pem"'
    )
    bytes_per_second: float = setting(
        256_000.0, "Bundles come no faster than this.", minimum=1_000.0, maximum=1e9
    )
    download_minutes: float = setting(
        60.0, "A download that takes longer is put off; what has come is kept.", minimum=0.1, maximum=10_000.0
    )
    shadow_seconds: float = setting(
        600.0,
        "A new bundle hears the room silently beside the active one for so long, or as the hub says.",
        minimum=0.0,
        maximum=604_800.0,
    )
    soak_seconds: float = setting(
        1800.0,
        "And is on trial for so long before it is kept, or as the hub says.",
        minimum=0.0,
        maximum=604_800.0,
    )
    budget_share: float = setting(
        0.5, "A window may take this share of the hop, at the 95th percentile.", minimum=0.001, maximum=1.0
    )


@dataclass(frozen=True)
class NodeSettings:
    """All settings of a node."""

    node: str = setting(
        ...,
        "Name of this node, unique on the site: 3 to 32 of a-z, 0-9 and -.",
        pattern=NODE_ID_PATTERN,
        shown='"press-1"',
    )
    zone: str = setting(
        "site", "Part of the site that the room belongs to: 1 to 32 of a-z, 0-9 and -.", pattern=ZONE_PATTERN
    )
    room: str = setting(
        "",
        "Name of the room as people call it, at most 120 letters; empty is the node's own name.",
        pattern=".{0,120}",
    )
    heartbeat_seconds: float = setting(
        6.0,
        "The node says how it fares this often; the hub misses it after two and a half times this, and 2 s.",
        minimum=0.5,
        maximum=300.0,
    )
    source: SourceSettings = table(SourceSettings, "What the node hears with.")
    model: ModelSettings = table(ModelSettings, "What recognises the sounds.")
    broker: BrokerSettings = table(BrokerSettings, "The MQTT broker through which the hub is reached.")
    outbox: OutboxSettings = table(OutboxSettings, "Where events wait until the hub has stored them.")
    warning: WarningSettings = table(WarningSettings, "How the node warns when the hub does not answer.")
    watchdog: WatchdogSettings = table(WatchdogSettings, "When a node that stands still is taken down.")
    selftest: SelftestSettings = table(SelftestSettings, "How the node tests itself.")
    metrics: MetricsSettings = table(MetricsSettings, "What Prometheus is told.")
    home_assistant: HomeAssistantSettings = table(
        HomeAssistantSettings, "Whether Home Assistant finds the node by itself."
    )
    clips: ClipSettings = table(ClipSettings, "Whether short recordings of alarms are kept on the node.")

    update: UpdateSettings = table(UpdateSettings, "Whether and how bundles come over the air.")

    @property
    def room_name(self) -> str:
        """Name of the room for people."""
        return self.room or self.node


def load(path: Path) -> NodeSettings:
    """The settings in the file ``path``; relative paths, that of a bundle too, start at its folder.

    Raises:
        SettingsError: no such file, not TOML, or a key or value that is wrong.
    """
    read = settings.load(path, NodeSettings)
    if not is_path(read.model.bundle):
        return read
    bundle = str(path.resolve().parent / read.model.bundle)
    return dataclasses.replace(read, model=dataclasses.replace(read.model, bundle=bundle))


def is_path(bundle: str) -> bool:
    """Whether ``bundle`` is meant as a folder and not as the name of a shipped bundle."""
    return "/" in bundle or "." in bundle


def example() -> str:
    """A commented ``node.toml`` with every key at its default."""
    return settings.example(NodeSettings, "Settings of a Tocsin node: tocsin node run --config node.toml")
