"""What is wrong with a machine that is to listen, and how to mend it: pure judgements of what was found."""

import math
from dataclasses import dataclass

from tocsin_shared.events import Clock

LEAST_FREE_BYTES = 50_000_000
"""Below this the outbox may soon find no room beside its journal."""
QUIET_DBFS = -90.0
"""A real microphone makes more noise by itself, even in a silent room."""
LOUD_DBFS = -6.0
HOT_CELSIUS = 80.0
"""A Raspberry Pi slows down from here on (Raspberry Pi documentation, "Frequency management")."""


@dataclass(frozen=True)
class Finding:
    """One line of ``tocsin node doctor``."""

    part: str
    well: bool
    words: str
    """What was found, and if it is not well, what is wrong and how to mend it."""


def sound(name: str, level_dbfs: float | None, problem: str = "") -> Finding:
    """A second of ``name``; ``level_dbfs`` ``None`` is digital silence; ``problem`` says why nothing came."""
    if problem:
        return Finding("sound", False, f"{problem}; plug it in, or name another in source.device")
    if level_dbfs is None:
        return Finding(
            "sound", False, f"{name} gives digital silence; is it muted, or the wrong input? see alsamixer"
        )
    text = f"{name} hears {level_dbfs:.0f} dBFS"
    if level_dbfs < QUIET_DBFS:
        return Finding("sound", False, f"{text}, which is no room; raise its gain in alsamixer")
    if level_dbfs > LOUD_DBFS:
        return Finding("sound", False, f"{text}, which is too loud; lower its gain in alsamixer")
    return Finding("sound", True, text)


def clock(trust: Clock) -> Finding:
    """How far the wall clock can be trusted."""
    if trust is Clock.NTP:
        return Finding("clock", True, "kept by the network")
    return Finding(
        "clock", False, "nobody keeps it right, so times of alarms may be wrong; timedatectl set-ntp true"
    )


def link(address: str, problem: str = "", *, hub: bool | None = None) -> Finding:
    """The broker at ``address``: ``problem`` is why it is not reached; ``hub`` whether the hub is there."""
    if problem:
        return Finding("link", False, f"broker {address}: {problem}; see the table [broker], and the broker")
    if hub is None:
        return Finding(
            "link", False, f"broker {address} answers, but no hub was ever there; start tocsin hub run"
        )
    if not hub:
        return Finding("link", False, f"broker {address} answers, but the hub is away; start tocsin hub run")
    return Finding("link", True, f"broker {address} answers, and the hub is there")


def disk(free_bytes: int | None, problem: str = "") -> Finding:
    """Room beside the outbox; ``problem`` is why the outbox cannot be used."""
    if problem or free_bytes is None:
        return Finding(
            "disk", False, f"{problem or 'free space is not known'}; see outbox.path and who may write there"
        )
    text = f"{free_bytes / 1e6:.0f} MB free for the outbox"
    if free_bytes < LEAST_FREE_BYTES:
        return Finding("disk", False, f"only {text}; delete what is not needed, or move outbox.path")
    return Finding("disk", True, text)


def model(name: str, missed: tuple[str, ...], heard: int, problem: str = "") -> Finding:
    """The bundle ``name``: golden clips that it ``missed``, how many it ``heard``, or the ``problem``."""
    if problem:
        return Finding("model", False, f"{problem}; install it again, or see the table [model]")
    if missed:
        return Finding(
            "model", False, f"{name} misses its own clips of {', '.join(missed)}; install it again"
        )
    return Finding("model", True, f"{name} hears its {heard} clips")


def update(url: str, problem: str = "", words: str = "") -> Finding:
    """Bundles over the air from ``url``, or why none come; ``words`` say what is active."""
    if not url:
        return Finding("update", True, "no bundles are taken over the air (update.url is empty)")
    if problem:
        return Finding("update", False, f"{problem}; see the table [update], and docs/ota.md")
    return Finding("update", True, f"the trust repository at {url} is good; {words}")


def heat(celsius: float | None, throttled: bool | None) -> Finding:
    """Temperature and clock of the processor, as far as the machine tells."""
    if throttled:
        return Finding(
            "heat", False, "the board runs slower than it could: too hot or too little power; cool or feed it"
        )
    if celsius is None or not math.isfinite(celsius):
        return Finding("heat", True, "this machine does not say how warm it is")
    if celsius >= HOT_CELSIUS:
        return Finding("heat", False, f"{celsius:.0f} °C; give the board air or a heat sink")
    return Finding("heat", True, f"{celsius:.0f} °C")
