"""Finds and loads the bundle that the settings name."""

from importlib.metadata import version
from pathlib import Path

from tocsin_node.settings import is_path
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import shipped_bundle


def load_bundle(bundle: str, variant: str = "", threads: int = 1) -> Classifier:
    """The classifier of ``bundle``: a shipped one by its name, or the one in a folder by its path.

    Raises:
        BundleError: there is none, it is damaged, or it needs a newer node.
        UnavailableError: no interpreter is installed.
    """
    classifier = Classifier.load(bundle_folder(bundle), variant or None, threads)
    needed, present = classifier.manifest.min_node, version("tocsin")
    if _release(needed) > _release(present):
        raise BundleError(f"{classifier.name} needs node {needed} or newer, but this is {present}")
    return classifier


def bundle_folder(bundle: str) -> Path:
    """The folder of ``bundle``, a shipped name or a path.

    Raises:
        BundleError: nothing of that name was shipped.
    """
    return Path(bundle) if is_path(bundle) else shipped_bundle(bundle)


def _release(text: str) -> tuple[int, ...]:
    numbers = (part for part in text.split("."))
    return tuple(int(part) if part.isdecimal() else 0 for part in numbers)
