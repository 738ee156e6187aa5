"""Weights of float layers, stored in eight bits where that loses nothing.

A file of integers whose first and last layers compute in float would be twice as large for it. The weights
of a settled network (:mod:`tocsin_models.integers`) lie on the grid of eight bits anyway, so they are stored
on it, and the interpreter takes them off it once, when the file is loaded.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.net import WEIGHT_STEPS

SAME = 1e-5
"""A weight that differs by less than this share of the largest is the same: rounding of float32."""
DEQUANTIZE_VERSION = 5
"""Version of DEQUANTIZE that knows a scale for each channel (TensorFlow Lite, ``op_version.cc``)."""


def small(content: bytes) -> bytes:
    """The TFLite file ``content``, its float convolutions' weights in eight bits where they are exact so."""
    import flatbuffers  # noqa: PLC0415  # only converting needs it
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph, taken_off = model.subgraphs[0], []
    for operator in graph.operators:
        axis = _channel_axis(schema, model, operator)
        if axis is not None and _shrink(schema, model, int(operator.inputs[1]), axis):
            taken_off.append(_dequantize(schema, model, len(graph.tensors) - 1, int(operator.inputs[1])))
    graph.operators = taken_off + list(graph.operators)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _channel_axis(schema: Any, model: Any, operator: Any) -> int | None:
    """Axis of the outputs in the weights of ``operator``; ``None`` where it is no convolution."""
    code = model.operatorCodes[operator.opcodeIndex]
    kinds = {schema.BuiltinOperator.CONV_2D: 0, schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3}
    return kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode))


def _shrink(schema: Any, model: Any, place: int, axis: int) -> bool:
    """Append the weights in tensor ``place`` as integers; whether that was possible without loss."""
    graph = model.subgraphs[0]
    tensor = graph.tensors[place]
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) == 0:
        return False
    weights = np.frombuffer(bytes(data), dtype="<f4").reshape(tensor.shape)
    found = _on_grid(weights, axis)
    if found is None:
        return False
    buffer, integers = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(found[0].tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    integers.shape, integers.type = list(tensor.shape), schema.TensorType.INT8
    integers.name, integers.buffer = tensor.name + b"/integers", len(model.buffers) - 1
    integers.quantization = schema.QuantizationParametersT()
    integers.quantization.scale = found[1]
    integers.quantization.zeroPoint = np.zeros(len(found[1]), dtype=np.int64)
    integers.quantization.quantizedDimension = axis
    graph.tensors.append(integers)
    # Buffer 0 is the empty one, which says that a tensor is computed.
    model.buffers[tensor.buffer].data, tensor.buffer = None, 0
    return True


def _on_grid(
    weights: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]] | None:
    """(steps, length of a step of each channel) of ``weights``; ``None`` where they are on no grid."""
    others = tuple(one for one in range(weights.ndim) if one != axis)
    largest = np.maximum(np.abs(weights).max(axis=others, keepdims=True), np.float32(1e-12))
    step = largest / np.float32(WEIGHT_STEPS)
    steps = np.round(weights / step)
    if np.abs(steps * step - weights).max() > SAME * float(largest.max()):
        return None
    return steps.astype(np.int8), step.reshape(-1).astype(np.float32)


def _dequantize(schema: Any, model: Any, source: int, target: int) -> Any:
    """An operator that takes the tensor ``source`` off its grid into ``target``."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = DEQUANTIZE_VERSION
    known = [one for one, at in enumerate(model.operatorCodes) if _same_code(at, code)]
    if not known:
        model.operatorCodes.append(code)
    operator.opcodeIndex = known[0] if known else len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _same_code(one: Any, other: Any) -> bool:
    return bool(one.builtinCode == other.builtinCode and one.version == other.version)
