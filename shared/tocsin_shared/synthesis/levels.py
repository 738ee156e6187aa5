"""Levels, mixing, rooms, loudspeakers and clipping: how a sound reaches a microphone."""

import numpy as np

from tocsin_shared.features import Samples, level_dbfs
from tocsin_shared.synthesis.tones import Wave, band_pass, coloured_noise, length

FULL_SCALE = 0.999
PEAK = 0.5
"""Peak of every sound that leaves this package without a level of its own."""


def at_level(samples: Samples, dbfs: float) -> Samples:
    """``samples`` with a root mean square of ``dbfs`` over the part that sounds.

    Silence stays silence. A level whose peaks would pass full scale is clipped there, as a
    microphone would.
    """
    present = _sounding_level(samples)
    if present is None:
        return samples.astype(np.float32)
    return clipped(samples * np.float32(10.0 ** ((dbfs - present) / 20.0)))


def mix(sound: Samples, bed: Samples, snr_db: float, start: int = 0) -> Samples:
    """``bed`` with ``sound`` added from sample ``start`` on, ``snr_db`` above the bed.

    Both levels are taken over the part that sounds, so that pauses of an alarm do not make it
    louder. Shape and level are those of the bed; over a silent bed the sound keeps its own level.
    """
    wanted = _sounding_level(bed)
    placed = sound if wanted is None else at_level(sound, wanted + snr_db)
    mixed = bed.astype(np.float32).copy()
    end = min(len(mixed), start + len(placed))
    mixed[start:end] += placed[: max(0, end - start)]
    return clipped(mixed)


def clipped(samples: Samples, drive_db: float = 0.0) -> Samples:
    """``samples`` raised by ``drive_db`` and cut off at full scale, as an overloaded microphone does."""
    raised: Samples = np.clip(samples * 10.0 ** (drive_db / 20.0), -FULL_SCALE, FULL_SCALE).astype(np.float32)
    return raised


def in_room(
    samples: Samples, reverberation_seconds: float, rng: np.random.Generator, rate_hz: int = 16_000
) -> Samples:
    """``samples`` as heard in a room that rings for ``reverberation_seconds`` (decay by 60 dB)."""
    return convolved(samples, room_response(reverberation_seconds, rng, rate_hz))


def room_response(reverberation_seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Impulse response of a made-up room: the direct sound, then noise that decays exponentially.

    60 dB in ``reverberation_seconds`` is the definition of reverberation time in ISO 3382. The direct
    sound stands 0 to 10 dB above or below the sum of the rest, by chance, as near or far sources do.
    """
    count = max(2, length(reverberation_seconds, rate_hz))
    tail = coloured_noise(count, 0.5, rng) * 10.0 ** (-3.0 * np.arange(count) / count)
    tail *= 10.0 ** (rng.uniform(-10.0, 10.0) / 20.0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    response: Samples = (tail / np.sqrt(np.sum(tail**2))).astype(np.float32)
    return response


def convolved(samples: Samples, response: Samples) -> Samples:
    """``samples`` through ``response``, same length and same level as before."""
    before = level_dbfs(samples)
    if before is None or len(response) == 0:
        return samples.astype(np.float32)
    count = len(samples) + len(response) - 1
    wave = np.fft.irfft(np.fft.rfft(samples, count) * np.fft.rfft(response, count), n=count)[: len(samples)]
    after = np.sqrt(np.mean(wave**2))
    return clipped((wave * (10.0 ** (before / 20.0) / max(float(after), 1e-12))).astype(np.float32))


def small_speaker(samples: Samples, low_hz: float, high_hz: float, rate_hz: int = 16_000) -> Samples:
    """``samples`` through a loudspeaker or microphone that passes ``low_hz`` to ``high_hz`` only."""
    return clipped(band_pass(samples.astype(np.float64), low_hz, high_hz, rate_hz).astype(np.float32))


def finished(wave: Wave, peak: float = PEAK) -> Samples:
    """``wave`` as float32 with its largest sample at ``peak``; silence stays silence."""
    largest = float(np.max(np.abs(wave))) if len(wave) else 0.0
    return (wave * (peak / largest) if largest > 0.0 else wave).astype(np.float32)


def _sounding_level(samples: Samples, rate_hz: int = 16_000) -> float | None:
    """Level in dBFS over the 20 ms pieces that are within 30 dB of the loudest one."""
    size = rate_hz // 50
    if len(samples) < size:
        return level_dbfs(samples)
    pieces = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    power = np.mean(pieces**2, axis=1)
    loud = power[power >= power.max() * 1e-3]
    mean = float(np.mean(loud))
    return 10.0 * float(np.log10(mean)) if mean > 0.0 else None
