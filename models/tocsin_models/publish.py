"""``tocsin models publish``: a bundle that passes its checks is signed into the trust repository.

Nothing is signed before every variant has heard its golden clips, and has kept of the bundle's most exact
variant what the gate asks for, on sounds that are made here. What the signer's machine hears in the golden
clips is signed with it, so that a node notices if it hears something else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
from securesystemslib.signer import CryptoSigner

from tocsin_models.figures import Scores, sigmoid, window_figures
from tocsin_models.gate import Bounds, verdict
from tocsin_shared import synthesis
from tocsin_shared.audio import read_clip
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BundleError
from tocsin_shared.features import Frames, log_mel
from tocsin_shared.manifest import Manifest, read_manifest
from tocsin_shared.trust.bundles import (
    REFERENCE,
    Notes,
    Reference,
    bundle_files,
    pack,
    read_references,
    release_of,
)
from tocsin_shared.trust.repository import Repository, add_bundle

MOST_EXACT = ("float32", "float16")
SIGNED_APART = 0.1
"""Largest difference of a score from what the signer's machine heard; see docs/ota.md, step golden."""
MADE_EACH, MADE_SNR_DB, SEED = 3, 20.0, 11
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Publication:
    """What is to be published."""

    bundle: Path
    repository: Repository
    signers: Sequence[CryptoSigner]
    variants: tuple[str, ...] = ()
    """Empty is every variant of the bundle."""
    floor: str = ""
    """Release below which a node that has proven this bundle never goes; empty is this one's own."""
    hardware: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)


def publish(order: Publication, now: datetime, tell: Tell) -> tuple[str, ...]:
    """Check, then sign; the paths in the repository.

    Raises:
        BundleError: the bundle fails a check; nothing was signed.
        BadInputError, SettingsError, UnavailableError: the repository or the key cannot be used.
    """
    manifest = read_manifest(order.bundle)
    floor = order.floor or manifest.release
    if release_of(floor) > release_of(manifest.release):
        raise BundleError(f"the floor {floor} is above the release {manifest.release} itself")
    names = order.variants or tuple(variant.name for variant in manifest.variants)
    archives = {}
    tell(f"checking {manifest.name} {manifest.release}: {', '.join(names)}")
    for name, references in checked(order.bundle, manifest, names, order.bounds).items():
        content = {REFERENCE: msgspec.json.encode(references)}
        archives[name] = pack(bundle_files(order.bundle, name) | content)
    paths = []
    for name, archive in archives.items():
        notes = Notes(
            name=manifest.name,
            release=manifest.release,
            variant=name,
            floor=floor,
            hardware=order.hardware,
            min_node=manifest.min_node,
        )
        paths.append(add_bundle(order.repository, archive, notes, order.signers, now))
        tell(f"signed {paths[-1]}, {len(archive):,} bytes")
    return tuple(paths)


def checked(
    folder: Path, manifest: Manifest, names: Sequence[str], bounds: Bounds
) -> dict[str, tuple[Reference, ...]]:
    """What each of the variants ``names`` hears in the golden clips.

    Raises:
        BundleError: there are no clips, one is misheard, or a variant is not as good as the most exact one.
    """
    if not manifest.golden:
        raise BundleError(f"{folder}: has no golden clips, so no node could prove it; make it with them")
    judges = {name: Classifier.load(folder, name) for name in names}
    found = {name: _heard(classifier, folder) for name, classifier in judges.items()}
    known = {variant.name for variant in manifest.variants}
    exact = next((name for name in MOST_EXACT if name in known), manifest.variants[0].name)
    frames, labels = _made(manifest)
    original = _logits(Classifier.load(folder, exact), frames)
    for name, classifier in judges.items():
        _gate(name, _logits(classifier, frames), original, (labels, manifest.label_names), bounds)
    return found


def verify(folders: Sequence[Path]) -> None:
    """Hear archives that were signed elsewhere, each unpacked into one of ``folders``, as before signing.

    Of each release the most exact variant that is there is what the gate compares with.

    Raises:
        BundleError: a clip is misheard, or not heard as the signer heard it, or a variant fails the gate.
    """
    releases: dict[tuple[str, str], list[Classifier]] = {}
    for folder in folders:
        manifest = read_manifest(folder)
        classifier = Classifier.load(folder, manifest.variants[0].name)
        _as_signed(classifier, _heard(classifier, folder), folder)
        releases.setdefault((manifest.name, manifest.release), []).append(classifier)
    for found in releases.values():
        _compare(found)


def _compare(found: Sequence[Classifier]) -> None:
    named = {one.variant.name: one for one in found}
    exact = next((named[name] for name in MOST_EXACT if name in named), found[0])
    frames, labels = _made(exact.manifest)
    original = _logits(exact, frames)
    for name, classifier in named.items():
        truth = (labels, exact.manifest.label_names)
        _gate(name, _logits(classifier, frames), original, truth, Bounds())


def _as_signed(classifier: Classifier, heard: Sequence[Reference], folder: Path) -> None:
    signed = read_references((folder / REFERENCE).read_bytes())
    for one in heard:
        there = signed.get(one.file)
        apart = 1.0 if there is None else np.abs(np.subtract(one.scores, there.scores)).max()
        if not apart <= SIGNED_APART:
            raise BundleError(f"{classifier.variant.name} hears {one.file} otherwise than when it was signed")


def _made(manifest: Manifest) -> tuple[list[Frames], list[str]]:
    """Windows of made sounds of every label that can be made, and what each is."""
    rng = np.random.default_rng(SEED)
    seconds = manifest.features.window_seconds + 0.2
    frames, labels = [], []
    for label in manifest.label_names:
        for _ in range(MADE_EACH if label in synthesis.LABELS else 0):
            sound = synthesis.sound(label, seconds, rng)
            heard = synthesis.mix(sound, synthesis.ambience(seconds, rng), MADE_SNR_DB)
            frames.append(log_mel(heard, manifest.features)[: manifest.features.window_frames])
            labels.append(label)
    return frames, labels


def _logits(classifier: Classifier, frames: Sequence[Frames]) -> Scores:
    return np.stack([classifier.logits(window) for window in frames])


def _heard(classifier: Classifier, folder: Path) -> tuple[Reference, ...]:
    manifest, found = classifier.manifest, []
    for clip in manifest.golden:
        samples = read_clip(folder / clip.file, manifest.features.sample_rate_hz)
        scores = classifier.scores(log_mel(samples, manifest.features)[: manifest.features.window_frames])
        best = manifest.label_names[int(np.argmax(scores))]
        if best != clip.label:
            raise BundleError(f"{folder}: {classifier.variant.name} hears {best} in {clip.file}; not signed")
        found.append(Reference(file=clip.file, scores=tuple(round(float(one), 5) for one in scores)))
    return tuple(found)


def _gate(
    name: str, logits: Scores, original: Scores, truth: tuple[Sequence[str], Sequence[str]], bounds: Bounds
) -> None:
    labels, known = truth
    targets = np.array([[label == one for one in known] for label in labels], dtype=np.float32)
    given = np.ones_like(targets)
    f1, best = (window_figures(sigmoid(one), targets, given, known).macro_f1 for one in (logits, original))
    judged = verdict(logits, original, f1=f1, original_f1=best, bounds=bounds)
    if not judged.passed:
        raise BundleError(f"the gate refuses {name}: {'; '.join(judged.failures)}; not signed")
