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
from tocsin_shared.synthesis.alarms import machine_alarm_beeps, t3_alarm, t4_alarm
from tocsin_shared.synthesis.bells import phone_or_door_bell
from tocsin_shared.synthesis.evacuation import evacuation_siren
from tocsin_shared.synthesis.impacts import door_knock, glass_breaking
from tocsin_shared.synthesis.levels import at_level, mix
from tocsin_shared.synthesis.machines import chainsaw_or_power_tool, engine
from tocsin_shared.synthesis.rooms import ambience
from tocsin_shared.synthesis.shots import gunshot_or_explosion
from tocsin_shared.synthesis.sirens import emergency_siren
from tocsin_shared.synthesis.throats import crying, dog_bark, scream
from tocsin_shared.synthesis.vehicles import reversing_beeper, vehicle_horn
from tocsin_shared.synthesis.voices import speech

__all__ = ["LABELS", "ambience", "at_level", "mix", "sound"]

Maker = Callable[[float, np.random.Generator, int], Samples]

_MAKERS: dict[str, Maker] = {
    "smoke_alarm": t3_alarm,
    "co_alarm": t4_alarm,
    "evacuation_siren": evacuation_siren,
    "emergency_siren": emergency_siren,
    "vehicle_horn": vehicle_horn,
    "reversing_beeper": reversing_beeper,
    "glass_breaking": glass_breaking,
    "gunshot_or_explosion": gunshot_or_explosion,
    "scream": scream,
    "chainsaw_or_power_tool": chainsaw_or_power_tool,
    "machine_alarm_beep": machine_alarm_beeps,
    "engine": engine,
    "dog_bark": dog_bark,
    "crying": crying,
    "phone_or_door_bell": phone_or_door_bell,
    "knock": door_knock,
    "speech": speech,
}
LABELS: tuple[str, ...] = tuple(_MAKERS)
"""What :func:`sound` can make."""


def sound(label: str, seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A sound of ``label``, float32, shape (samples,), peak 0.5, without any background.

    It starts at once and goes on, or comes again, to the end; only glass, shots and explosions are over
    after a second or a few.

    Raises:
        ValueError: no such label; the text lists those of :data:`LABELS`.
    """
    if label not in _MAKERS:
        raise ValueError(f"no sound is made for {label!r}; known are {', '.join(LABELS)}")
    return _MAKERS[label](seconds, rng, rate_hz)
