"""The manifest of a model bundle: what stands in ``manifest.json`` and how a bundle is found and read.

A bundle is a folder that is installed or refused as one: ``manifest.json``, one ``<variant>.tflite``
for each variant, ``card.md``, and golden clips. Nothing in it is trusted before its hash agrees.
"""

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tocsin_shared.errors import BundleError
from tocsin_shared.events import Label, Seconds, Text, Token

SCHEMA = 1
MAX_MANIFEST_BYTES = 1024 * 1024
FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}(/[a-z0-9][a-z0-9._-]{0,79})?(?!\n)$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
Threshold = Annotated[float, Meta(gt=0.0, lt=1.0)]


class FeatureSpec(Struct, frozen=True, kw_only=True):
    """How samples become the log-mel frames that a model sees; see ``features.py`` for the formula."""

    sample_rate_hz: Positive = 16_000
    frame_length: Positive = 400
    """Samples in one frame, 25 ms."""
    frame_hop: Positive = 160
    """Samples from one frame to the next, 10 ms."""
    fft_length: Positive = 512
    mel_bands: Positive = 64
    mel_low_hz: Annotated[float, Meta(ge=0.0)] = 125.0
    mel_high_hz: Annotated[float, Meta(gt=0.0)] = 7_500.0
    log_offset: Annotated[float, Meta(gt=0.0)] = 1e-3
    """Added to every mel magnitude before the logarithm."""
    mean: float = -3.0
    """Subtracted from the logarithm: a constant of the bundle, never of a clip."""
    scale: Annotated[float, Meta(gt=0.0)] = 2.0
    """Divides the difference."""
    clip_low: float = -2.0
    clip_high: float = 4.0
    """The result is clipped to this range, so that one loud clip cannot widen a quantizer's step."""
    window_frames: Positive = 200
    """Frames in one window, 2 s."""

    @property
    def window_seconds(self) -> float:
        """Advance that a window covers, seconds."""
        return self.window_frames * self.frame_hop / self.sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Samples from the first to the last that one window is made of."""
        return (self.window_frames - 1) * self.frame_hop + self.frame_length


class DetectionRule(Struct, frozen=True, kw_only=True):
    """When scores of one label become a detection; every length is in seconds, whatever the hop."""

    on_threshold: Threshold
    """A window at or above this score is a hit."""
    off_threshold: Threshold
    """While a detection lasts, a window at or above this score keeps it alive; at most ``on_threshold``."""
    active_seconds: Seconds = 1.0
    """Time that hits must cover …"""
    span_seconds: Seconds = 2.0
    """… within this long: k hits of n windows."""
    release_seconds: Seconds = 2.5
    """The detection ends when nothing has kept it alive for this long."""
    min_seconds: Seconds = 0.0
    """A detection is told only once it has lasted this long."""
    max_seconds: Seconds = 60.0
    """A detection that lasts longer is ended, and told again as a new one if it goes on."""
    refractory_seconds: Seconds = 0.0
    """After the end, the same label is not told again for this long."""


class LabelSpec(Struct, frozen=True, kw_only=True):
    """One output of the model."""

    name: Label
    rule: DetectionRule | None = None
    """``None``: the label is recognised, but never told."""


class VariantSpec(Struct, frozen=True, kw_only=True):
    """One build of the model."""

    name: Label | Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}(?!\n)$")]
    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1, le=2**31)]


class GoldenClip(Struct, frozen=True, kw_only=True):
    """A sound made by the project, and the label that every variant must give it."""

    file: FileName
    label: Label


class Manifest(Struct, frozen=True, kw_only=True):
    """All that must be known to run a bundle. ``labels`` stand in the order of the model's outputs."""

    schema: Annotated[int, Meta(ge=1, le=2**31)] = SCHEMA
    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}(?!\n)$")]
    release: Annotated[str, Meta(pattern=r"^\d{1,4}\.\d{1,4}\.\d{1,4}(?!\n)$")]
    created: Text
    features: FeatureSpec
    labels: Annotated[tuple[LabelSpec, ...], Meta(min_length=1, max_length=1024)]
    variants: Annotated[tuple[VariantSpec, ...], Meta(min_length=1, max_length=16)]
    golden: Annotated[tuple[GoldenClip, ...], Meta(max_length=256)] = ()
    min_node: Token = "0.1.0"
    """Oldest node version that can run this bundle."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names in the order of the model's outputs."""
        return tuple(label.name for label in self.labels)

    def variant(self, name: str) -> VariantSpec:
        """The variant called ``name``.

        Raises:
            BundleError: the bundle has no such variant; the text lists those it has.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise BundleError(f"bundle {self.name} {self.release} has no variant {name!r}; it has: {known}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in ``folder``.

    Raises:
        BundleError: no manifest, not readable, too large, not valid, or of a newer schema.
    """
    path = folder / "manifest.json"
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes, which no manifest is")
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is not a model bundle: it holds no manifest.json") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    _check(manifest, path)
    return manifest


def _check(manifest: Manifest, path: Path) -> None:
    if manifest.schema > SCHEMA:
        raise BundleError(f"{path}: schema {manifest.schema}, but this version reads up to {SCHEMA}")
    names = manifest.label_names
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: a label stands twice among {', '.join(names)}")
    spec = manifest.features
    if not spec.mel_low_hz < spec.mel_high_hz <= spec.sample_rate_hz / 2:
        raise BundleError(f"{path}: features: mel_low_hz < mel_high_hz <= half of sample_rate_hz is needed")
    if spec.fft_length < spec.frame_length or spec.clip_low >= spec.clip_high:
        raise BundleError(f"{path}: features: fft_length >= frame_length and clip_low < clip_high are needed")


def read_variant(folder: Path, variant: VariantSpec) -> bytes:
    """The model file of ``variant``, with size and SHA-256 checked against the manifest.

    Raises:
        BundleError: missing, unreadable, or not the file that the manifest describes.
    """
    path = folder / variant.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) != variant.size_bytes:
        raise BundleError(f"{path}: {len(content)} bytes, but the manifest says {variant.size_bytes}")
    if hashlib.sha256(content).hexdigest() != variant.sha256:
        raise BundleError(f"{path}: its SHA-256 is not the one in the manifest; install the bundle again")
    return content


def zoo_folders() -> list[Path]:
    """Where shipped bundles may stand, first match wins: the checkout, then the installed package."""
    checkout = Path(__file__).resolve().parents[2] / "models" / "zoo"
    return [folder for folder in (checkout, Path(sys.prefix) / "share" / "tocsin" / "zoo") if folder.is_dir()]


def shipped_bundle(name: str = "sentry") -> Path:
    """Folder of the newest shipped release of ``name``.

    Raises:
        BundleError: nothing of that name was shipped with this installation.
    """
    for zoo in zoo_folders():
        folders = [path.parent for path in (zoo / name).glob("*/manifest.json")]
        releases = {release: folder for folder in folders if (release := _release_of(folder))}
        if releases:
            return releases[max(releases)]
    looked = ", ".join(str(folder) for folder in zoo_folders()) or "nowhere: no zoo folder is installed"
    raise BundleError(f"no bundle {name!r} was shipped with this installation (looked in {looked})")


def _release_of(folder: Path) -> tuple[int, ...]:
    parts = folder.name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
