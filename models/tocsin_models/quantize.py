"""From the trained network to the files of a bundle, each judged before it may ship."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_models.dataset import Windows, balanced
from tocsin_models.figures import Scores, sigmoid, window_figures
from tocsin_models.gate import Bounds, Verdict, verdict
from tocsin_models.net import NetSpec, build
from tocsin_models.variants import CALIBRATED, Calibration, Floats, convert, convert_between
from tocsin_shared.classifier import Classifier
from tocsin_shared.manifest import FeatureSpec, read_manifest

SHIPPED = ("full-int8", "int8", "float16", "float32")
"""Variants of a bundle, the one that a node should prefer first. Dynamic range is left out: networks of
depthwise convolutions are slower with it than in float."""
FLOAT_BLOCKS = 2
"""Blocks at the end that the variant ``int8`` computes in float, as it does the first convolution: without
them it would not name the same best label often enough (ADR 13). ``full-int8`` is integers throughout."""
CALIBRATION_WINDOWS = 800
COMPARED_WINDOWS = 256
"""Windows on which the network and its float32 file are compared."""
SAME_LOGIT = 1e-3
"""Logits that differ by less are the same: what the order of a sum does to them."""


def choose_calibration(windows: Windows, count: int, seed: int) -> Calibration:
    """``count`` training windows, stratified over the labels; at most all there are.

    The hash is that of their indices, which together with the seed of the windows name them.
    """
    indices = balanced(windows, count, np.random.default_rng(seed))
    return Calibration(windows.inputs(indices), hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest())


def trained(weights: Path, net: NetSpec, features: FeatureSpec, labels: int, batch: int | None) -> Any:
    """The network with the ``weights`` of a run."""
    model = build(net, features, labels, batch=batch)
    model.load_weights(weights)
    return model


def files(
    weights: Path, net: NetSpec, features: FeatureSpec, calibration: Calibration, labels: int
) -> dict[str, bytes]:
    """The TFLite file of every variant that ships.

    What integers shift all logits by, on the average of the calibration windows, is taken back beforehand
    (bias correction, arXiv 1906.04721).
    """
    windows = calibration.windows

    def fresh() -> Any:
        return trained(weights, net, features, labels, batch=1)

    def integers(model: Any, name: str) -> bytes:
        return _mixed(model, net, windows) if name == "int8" else convert(model, name, windows)

    made = {name: convert(fresh(), name, windows) for name in SHIPPED if name not in CALIBRATED}
    wanted = _logits(made["float32"], windows)
    for name in (name for name in SHIPPED if name in CALIBRATED):
        model = fresh()
        # What full-int8 shifts is read off the file with the same integers inside and floats at its ends.
        first = _mixed(model, net, windows) if name == "int8" else convert(model, "int8", windows)
        kernel, bias = model.get_layer("logits_of_mean").get_weights()
        off = (_logits(first, windows) - wanted).mean(axis=0)
        model.get_layer("logits_of_mean").set_weights([kernel, bias - off])
        made[name] = integers(model, name)
    return {name: made[name] for name in SHIPPED}


def _mixed(model: Any, net: NetSpec, windows: Floats) -> bytes:
    """``model`` in integers but for its first convolution, its last blocks and what follows them."""
    last = len(net.blocks) + 1 - FLOAT_BLOCKS
    return convert_between(model, "layer2_depthwise", f"layer{last}_pointwise", windows)


def _logits(content: bytes, windows: Floats) -> Scores:
    """What the file ``content``, with floats in and out, says of ``windows``: shape (windows, labels)."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # only making needs it

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for window in windows:
        interpreter.set_tensor(inputs["index"], window[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(outputs["index"])[0].copy())
    return np.array(rows, dtype=np.float32)


def network_logits(model: Any, float32: bytes, windows: Windows) -> Scores:
    """Logits of the network ``model`` for every window, shape (windows, labels).

    ``float32`` is the file made of it, which is eight times as fast: where it says the same as the network of
    the first windows, it speaks for it, and the network itself is asked otherwise.
    """
    first = slice(min(len(windows), COMPARED_WINDOWS))
    own = _keras_logits(model, windows, first)
    if np.abs(_logits(float32, windows.inputs(first)) - own).max() > SAME_LOGIT:
        return _keras_logits(model, windows, slice(len(windows)))
    return _logits(float32, windows.inputs())


def _keras_logits(model: Any, windows: Windows, which: slice) -> Scores:
    pieces = (windows.inputs(slice(at, min(at + 64, which.stop))) for at in range(0, which.stop, 64))
    return np.concatenate([np.asarray(model(piece, training=False)) for piece in pieces])


def window_logits(classifier: Classifier, windows: Windows) -> Scores:
    """Logits of one variant for every window, shape (windows, labels)."""
    rows = [classifier.logits(frames.astype(np.float32)).copy() for frames in windows.frames]
    return np.array(rows, dtype=np.float32)


def judged(folder: Path, original: Scores, windows: Windows, bounds: Bounds) -> dict[str, Verdict]:
    """Verdict on every variant of the bundle in ``folder``, over ``windows`` that were not trained on.

    ``original`` holds the logits of the network itself.
    """
    manifest = read_manifest(folder)

    def macro_f1(logits: Scores) -> float:
        scores = sigmoid(logits)
        return window_figures(scores, windows.targets, windows.weights, manifest.label_names).macro_f1

    best, verdicts = macro_f1(original), {}
    for variant in manifest.variants:
        logits = window_logits(Classifier.load(folder, variant.name), windows)
        verdicts[variant.name] = verdict(
            logits, original, f1=macro_f1(logits), original_f1=best, bounds=bounds
        )
    return verdicts
