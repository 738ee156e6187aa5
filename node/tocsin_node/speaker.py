"""A loudspeaker, by PortAudio: plays the alarm of a self-test into the room."""

from typing import Any

import numpy as np

from tocsin_node.capture import load_portaudio
from tocsin_shared.audio import Resampler
from tocsin_shared.errors import UnavailableError
from tocsin_shared.features import Samples


class Speaker:
    """The first output whose name holds ``pattern``; an empty one is the default output."""

    def __init__(self, pattern: str, sample_rate_hz: int) -> None:
        self._pattern = pattern
        self._rate = sample_rate_hz

    def play(self, samples: Samples) -> None:
        """Begin to play ``samples``, shape (samples,), and return at once.

        Raises:
            UnavailableError: there is no such output, or it cannot be used now.
        """
        sounddevice = load_portaudio()
        try:
            device = self._device(sounddevice)
            rate = int(device["default_samplerate"])
            resampler = Resampler(self._rate, rate)
            made = np.concatenate([resampler.push(samples), resampler.finish()])
            sounddevice.play(made, rate, device=device["index"], blocking=False)
        except (sounddevice.PortAudioError, ValueError, OSError) as error:
            raise UnavailableError(f"the speaker cannot be used: {error}") from error

    def _device(self, sounddevice: Any) -> dict[str, Any]:
        if not self._pattern:
            default: dict[str, Any] = sounddevice.query_devices(kind="output")
            return default
        wanted = self._pattern.casefold()
        outputs = [one for one in sounddevice.query_devices() if one["max_output_channels"] > 0]
        for one in outputs:
            if wanted in one["name"].casefold():
                found: dict[str, Any] = one
                return found
        known = ", ".join(repr(one["name"]) for one in outputs) or "none"
        raise ValueError(f"there is no output named {self._pattern!r}; outputs: {known}")
