"""Weights of an earlier release, read from its float32 file, so that the next one can go on from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_models.net import Folded, NetSpec, build, convolutions, set_exactly
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def earlier(path: Path, net: NetSpec, features: FeatureSpec, labels: int) -> Any:
    """The Keras network of the shape ``net`` with the weights of the float32 TFLite file ``path``.

    Raises:
        BadInputError: not a TFLite file, or one of another network.
    """
    model = build(net, features, labels)
    try:
        layers, mean, peak = _read(path, len(convolutions(net)))
        for name, layer in zip(convolutions(net), layers, strict=True):
            set_exactly(model, name, layer)
        model.get_layer("logits_of_mean").set_weights([mean.kernel, mean.bias + peak.bias])
        model.get_layer("logits_of_peak").set_weights([peak.kernel])
    except (ValueError, RuntimeError, KeyError, OSError, IndexError) as error:
        raise BadInputError(f"{path}: not the float32 file of a release of this shape: {error}") from error
    return model


def _read(path: Path, count: int) -> tuple[list[Folded], Folded, Folded]:
    """The first ``count`` convolutions, and the last layers for the mean and for the maximum."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    steps = interpreter._get_ops_details()
    made_by = {int(step["outputs"][0]): str(step["op_name"]) for step in steps}
    found = [step for step in steps if step["op_name"] in CONVOLUTIONS]
    if len(found) != count + 2:
        raise ValueError(f"{len(found)} convolutions, {count + 2} are wanted")
    if any(int(step["inputs"][1]) in made_by for step in found):
        raise ValueError("its weights are not float32")
    layers = [_folded(interpreter, step["inputs"]) for step in found]
    heads = {made_by.get(int(step["inputs"][0])): layer for step, layer in zip(found, layers, strict=True)}
    return layers[:count], heads["MEAN"], heads["MAX_POOL_2D"]


def _folded(interpreter: Any, inputs: Sequence[int]) -> Folded:
    kernel = np.asarray(interpreter.get_tensor(int(inputs[1])))
    bias = np.asarray(interpreter.get_tensor(int(inputs[2])))
    if kernel.dtype != np.float32:
        raise ValueError(f"weights are {kernel.dtype}")
    return Folded(np.ascontiguousarray(kernel.transpose(1, 2, 3, 0)), bias.astype(np.float32))
