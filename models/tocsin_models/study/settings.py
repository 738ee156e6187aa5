"""Settings of a study: one TOML file says how data are prepared, how the network learns and is made small."""

from dataclasses import dataclass

from tocsin_shared.manifest import FeatureSpec
from tocsin_shared.settings import setting, table

LEAST_RECORDINGS = 3
"""One for training, one for validation and one for the test."""


@dataclass(frozen=True)
class DataSettings:
    """Which recordings are used, and for what."""

    sources: tuple[str, ...] = setting(
        (), "Sources to take from a CSV manifest; all where the list is empty."
    )
    merge: tuple[str, ...] = setting(
        (), "Labels that mean the same, as 'dog_bark = dog'.", pattern=r"[^=]*[^=\s][^=]*=[^=]*[^=\s][^=]*"
    )
    min_recordings: int = setting(
        LEAST_RECORDINGS, "Classes with fewer recordings are left out.", minimum=LEAST_RECORDINGS
    )
    max_recordings: int = setting(
        0, "Most training recordings of one class, chosen at random (under-sampling); 0 for all.", minimum=0
    )
    validation_share: float = setting(0.15, "Share of the groups for validation.", minimum=0.01, maximum=0.4)
    test_share: float = setting(0.2, "Share of the groups for the test.", minimum=0.01, maximum=0.4)
    test_folds: tuple[str, ...] = setting(
        (), "Folds of the data set that are kept for the test, with every group that is in them."
    )
    seed: int = setting(1, "Seed of every choice at random.", minimum=0)

    def __post_init__(self) -> None:
        """Refuse folds and merges that contradict one another."""
        pairs = [pair.split("=") for pair in self.merge]
        left = [one.strip() for one, _ in pairs]
        if len(set(left)) != len(left):
            raise ValueError("data.merge: a label stands twice on the left")
        if set(left) & {one.strip() for _, one in pairs}:
            raise ValueError("data.merge: a label stands on the left and on the right")

    @property
    def merged(self) -> dict[str, str]:
        """New name of each label that is renamed."""
        return {old.strip(): new.strip() for old, new in (pair.split("=") for pair in self.merge)}


@dataclass(frozen=True)
class FeatureSettings:
    """How sound becomes windows of log-mel frames; see :mod:`tocsin_shared.features`."""

    window_seconds: float = setting(2.0, "Length of a window.", minimum=0.1, maximum=30.0)
    stride_seconds: float = setting(1.6, "From one window to the next.", minimum=0.05, maximum=30.0)
    frame_ms: float = setting(25.0, "Length of a frame.", minimum=5.0, maximum=100.0)
    hop_ms: float = setting(10.0, "From one frame to the next.", minimum=1.0, maximum=100.0)
    mel_bands: int = setting(64, "Mel bands.", minimum=8, maximum=256)
    mel_low_hz: float = setting(125.0, "Lower edge of the lowest band.", minimum=0.0, maximum=4_000.0)
    mel_high_hz: float = setting(7_500.0, "Upper edge of the highest band.", minimum=500.0, maximum=8_000.0)
    mean: float = setting(
        -3.0,
        "Subtracted from the logarithms; longer frames are louder and need more.",
        minimum=-10.0,
        maximum=10.0,
    )
    scale: float = setting(
        2.0, "Divides them; what then lies outside −2 to 4 is cut.", minimum=0.1, maximum=10.0
    )

    def __post_init__(self) -> None:
        """Refuse a window or a stride that is no whole number of frames."""
        if self.stride_seconds > self.window_seconds:
            raise ValueError("features.stride_seconds must not be longer than window_seconds")
        if self.mel_low_hz >= self.mel_high_hz:
            raise ValueError("features.mel_low_hz must lie below mel_high_hz")
        for name, seconds in (("window", self.window_seconds), ("stride", self.stride_seconds)):
            frames = seconds * 1e3 / self.hop_ms
            if abs(frames - round(frames)) > 1e-6 or round(frames) < 1:
                raise ValueError(
                    f"features.{name}_seconds must be a whole number of hops of {self.hop_ms:g} ms"
                )

    @property
    def spec(self) -> FeatureSpec:
        """The same as the product's own features know it, at 16 kHz."""
        length = round(self.frame_ms * 16)
        return FeatureSpec(
            frame_length=length,
            frame_hop=round(self.hop_ms * 16),
            fft_length=1 << max(5, (length - 1).bit_length()),
            mel_bands=self.mel_bands,
            mel_low_hz=self.mel_low_hz,
            mel_high_hz=self.mel_high_hz,
            mean=self.mean,
            scale=self.scale,
            window_frames=round(self.window_seconds * 1e3 / self.hop_ms),
        )

    @property
    def stride_frames(self) -> int:
        """Frames from one window to the next."""
        return round(self.stride_seconds * 1e3 / self.hop_ms)


@dataclass(frozen=True)
class NetworkSettings:
    """Shape of the residual network; the defaults are ResNet-50."""

    stem: int = setting(64, "Channels of the first convolution.", minimum=4, maximum=256)
    stages: tuple[int, ...] = setting((3, 4, 6, 3), "Blocks in each stage.", minimum=1, maximum=64)
    widths: tuple[int, ...] = setting(
        (64, 128, 256, 512),
        "Inner channels of the blocks in each stage; four times as many leave it.",
        minimum=4,
        maximum=1_024,
    )
    dropout: float = setting(
        0.2, "Share of features dropped before the last layer.", minimum=0.0, maximum=0.9
    )

    def __post_init__(self) -> None:
        """Refuse stages and widths that do not belong together."""
        if len(self.stages) != len(self.widths) or not self.stages:
            raise ValueError("network.stages and network.widths must have as many numbers, at least one")


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn."""

    epochs: int = setting(20, "Times that every training window is seen.", minimum=1, maximum=10_000)
    batch: int = setting(32, "Windows in one step.", minimum=2, maximum=4_096)
    rate: float = setting(1e-3, "Highest learning rate, of Adam.", minimum=1e-7, maximum=1.0)
    warm_up_epochs: float = setting(1.0, "Epochs in which the rate rises from 0.", minimum=0.0, maximum=100.0)
    smoothing: float = setting(0.1, "Label smoothing.", minimum=0.0, maximum=0.5)
    mixup: float = setting(
        0.2, "Parameter of the beta distribution of mixup; 0 for none.", minimum=0.0, maximum=2.0
    )
    level_db: float = setting(
        10.0, "Windows are made louder or softer by up to this much.", minimum=0.0, maximum=40.0
    )
    largest_weight: float = setting(5.0, "Cap of the class weights, as a multiple of the mean.", minimum=1.0)
    buffer_shards: int = setting(8, "Shards whose windows are shuffled together.", minimum=1, maximum=4_096)
    threads: int = setting(0, "Threads to compute with; 0 for as many as there are cores.", minimum=0)
    seed: int = setting(1, "Seed of weights, order and augmentation.", minimum=0)


@dataclass(frozen=True)
class QuantizeSettings:
    """How the network is made small, and what it must keep."""

    windows: int = setting(600, "Training windows that calibrate, stratified.", minimum=1, maximum=100_000)
    max_f1_drop_points: float = setting(
        0.5, "Gate: macro-F1 may fall by this much.", minimum=0.0, maximum=100.0
    )
    min_agreement: float = setting(
        0.985, "Gate: share of windows with the same best label.", minimum=0.0, maximum=1.0
    )
    min_cosine: float = setting(0.99, "Gate: mean cosine of the logits.", minimum=-1.0, maximum=1.0)
    seed: int = setting(1, "Seed of the choice of windows.", minimum=0)


@dataclass(frozen=True)
class StudySettings:
    """The whole file."""

    name: str = setting(
        "resnet50", "Name of the network in tables and files.", pattern=r"[a-z0-9][a-z0-9-]{0,31}"
    )
    data: DataSettings = table(DataSettings, "Recordings and what they are used for.")
    features: FeatureSettings = table(FeatureSettings, "Windows and frames.")
    network: NetworkSettings = table(NetworkSettings, "The residual network.")
    training: TrainingSettings = table(TrainingSettings, "Learning.")
    quantize: QuantizeSettings = table(QuantizeSettings, "Making it small.")
