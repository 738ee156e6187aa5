"""Writing a bundle: every file whole, the manifest last, so that a torn bundle is never taken for one."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from tocsin_models.files import write_whole
from tocsin_models.recipe import TOLD
from tocsin_shared.audio import read_clip
from tocsin_shared.classifier import Classifier
from tocsin_shared.features import log_mel
from tocsin_shared.manifest import FeatureSpec, GoldenClip, LabelSpec, Manifest, VariantSpec, read_manifest
from tocsin_shared.synthesis import ambience, mix, sound

GOLDEN_SECONDS = 2.2
GOLDEN_SNR_DB = 25.0
GOLDEN_LABELS = (*TOLD, "speech")


def golden_clip(label: str, seed: int) -> bytes:
    """A short made sound of ``label`` in a quiet room, as a WAV file of 16 bits."""
    rng = np.random.default_rng(seed)
    heard = mix(sound(label, GOLDEN_SECONDS, rng), ambience(GOLDEN_SECONDS, rng), GOLDEN_SNR_DB)
    buffer = io.BytesIO()
    soundfile.write(buffer, heard, 16_000, subtype="PCM_16", format="WAV")
    return buffer.getvalue()


def write_bundle(
    folder: Path,
    *,
    name: str,
    release: str,
    created: str,
    features: FeatureSpec,
    labels: tuple[LabelSpec, ...],
    variants: Mapping[str, bytes],
    card: str,
    seed: int,
    golden_labels: tuple[str, ...] = GOLDEN_LABELS,
) -> Manifest:
    """Write all files of a bundle to ``folder`` and return its manifest."""
    golden = {label: golden_clip(label, seed + GOLDEN_LABELS.index(label)) for label in golden_labels}
    for old in (folder / "golden").glob("*.wav"):
        old.unlink()
    for label, content in golden.items():
        write_whole(folder / "golden" / f"{label}.wav", content)
    for variant, content in variants.items():
        write_whole(folder / f"{variant}.tflite", content)
    write_whole(folder / "card.md", card.encode())
    manifest = Manifest(
        name=name,
        release=release,
        created=created,
        features=features,
        labels=labels,
        variants=tuple(_variant(variant, content) for variant, content in variants.items()),
        golden=tuple(GoldenClip(file=f"golden/{label}.wav", label=label) for label in golden),
    )
    write_whole(
        folder / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    )
    return manifest


def _variant(name: str, content: bytes) -> VariantSpec:
    return VariantSpec(
        name=name,
        file=f"{name}.tflite",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def misheard(folder: Path) -> dict[str, str]:
    """Labels of golden clips that some variant of the bundle hears as something else, and as what."""
    manifest = read_manifest(folder)
    found = {}
    for variant in manifest.variants:
        classifier = Classifier.load(folder, variant.name)
        for clip in manifest.golden:
            samples = read_clip(folder / clip.file)
            frames = log_mel(samples, manifest.features)[: manifest.features.window_frames]
            best = manifest.label_names[int(np.argmax(classifier.scores(frames)))]
            if best != clip.label:
                found[clip.label] = f"{variant.name} hears {best}"
    return found
