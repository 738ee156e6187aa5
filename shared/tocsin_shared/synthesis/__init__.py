"""Sounds that the project makes itself: alarms from the standards, decoys, voices and rooms.

They train and check models, and they are what the demo and the tests play, so that neither needs a
recording. Everything is made by numpy from a ``numpy.random.Generator`` alone: the same generator
state gives the same samples.

    >>> rng = np.random.default_rng(7)
    >>> alarm = at_level(sound("smoke_alarm", 6.0, rng), -25.0)
    >>> heard = mix(alarm, ambience(10.0, rng), snr_db=25.0, start=16_000)
"""

from collections.abc import Callable

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.alarms import alarm_beeps, t3_alarm
from tocsin_shared.synthesis.impacts import glass_breaking
from tocsin_shared.synthesis.levels import at_level, mix
from tocsin_shared.synthesis.rooms import ambience
from tocsin_shared.synthesis.sirens import siren
from tocsin_shared.synthesis.vehicles import vehicle_horn
from tocsin_shared.synthesis.voices import speech

__all__ = ["LABELS", "ambience", "at_level", "mix", "sound"]

Maker = Callable[[float, np.random.Generator, int], Samples]

_MAKERS: dict[str, Maker] = {
    "smoke_alarm": t3_alarm,
    "siren": siren,
    "glass_breaking": glass_breaking,
    "vehicle_horn": vehicle_horn,
    "alarm_beep": alarm_beeps,
    "speech": speech,
}
LABELS: tuple[str, ...] = tuple(_MAKERS)
"""What :func:`sound` can make."""


def sound(label: str, seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A sound of ``label``, float32, shape (samples,), peak 0.5, without any background.

    It starts at once. Alarms, sirens, horns, beeps and speech go on to the end; glass breaks at the
    start and is quiet after a second or two.

    Raises:
        ValueError: no such label; the text lists those of :data:`LABELS`.
    """
    if label not in _MAKERS:
        raise ValueError(f"no sound is made for {label!r}; known are {', '.join(LABELS)}")
    return _MAKERS[label](seconds, rng, rate_hz)
