"""The shipped bundle, and what may be wrong with one: files as they would be signed."""

import copy
import hashlib
from collections.abc import Callable

import flatbuffers
import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.node.update.world import real_bundle, without_numbers
from tocsin_shared.trust.bundles import MANIFEST

Files = dict[str, bytes]
MAXIMUM = 55
"""Number of the operator in TensorFlow Lite's list."""


def good(variant: str, release: str) -> Files:
    """A variant of the shipped bundle under another release."""
    return _told(real_bundle(variant), release=release)


def slow(variant: str, release: str, times: int = 8) -> Files:
    """It hears the same and computes it ``times`` times."""
    return _with_model(good(variant, release), lambda content: repeated(content, times))


def mute(variant: str, release: str) -> Files:
    """Its network hears the golden clips, and its rules let it alarm of nothing."""
    files = good(variant, release)
    labels = msgspec.json.decode(files[MANIFEST])["labels"]
    for label in labels:
        if label["rule"] is not None:
            label["rule"] |= {"on_threshold": 0.9999999}
    return _told(files, labels=labels)


def permuted(variant: str, release: str) -> Files:
    """Every label stands where the next one should."""
    files = good(variant, release)
    labels = msgspec.json.decode(files[MANIFEST])["labels"]
    return _told(files, labels=[*labels[1:], labels[0]])


def no_numbers(variant: str, release: str) -> Files:
    """NaN among its weights."""
    return _with_model(good(variant, release), without_numbers)


def repeated(content: bytes, times: int) -> bytes:
    """The model ``content`` computed ``times`` times; its answer is the largest, which each of them is."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    maximum = schema.OperatorCodeT()
    maximum.builtinCode = maximum.deprecatedBuiltinCode = MAXIMUM
    maximum.version = 1
    model.operatorCodes.append(maximum)
    made = {int(out) for one in graph.operators for out in one.outputs}
    first, result = list(graph.operators), int(graph.outputs[0])
    for _ in range(times - 1):
        names = {old: _copied(graph, old) for old in made}
        graph.operators += [_renamed(one, names) for one in first]
        result = _larger(graph, len(model.operatorCodes) - 1, result, names[int(graph.outputs[0])])
    graph.outputs = np.array([result], dtype=np.int32)
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = result
    builder = flatbuffers.Builder(len(content) + 100_000)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _copied(graph: schema.SubGraphT, tensor: int) -> int:
    graph.tensors.append(copy.copy(graph.tensors[tensor]))
    return len(graph.tensors) - 1


def _renamed(operator: schema.OperatorT, names: dict[int, int]) -> schema.OperatorT:
    other = copy.copy(operator)
    other.inputs = np.array([names.get(int(one), int(one)) for one in operator.inputs], dtype=np.int32)
    other.outputs = np.array([names[int(one)] for one in operator.outputs], dtype=np.int32)
    return other


def _larger(graph: schema.SubGraphT, code: int, one: int, other: int) -> int:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    result = _copied(graph, one)
    operator.inputs = np.array([one, other], dtype=np.int32)
    operator.outputs = np.array([result], dtype=np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    operator.builtinOptions = schema.MaximumMinimumOptionsT()
    graph.operators.append(operator)
    return result


def _with_model(files: Files, change: Callable[[bytes], bytes]) -> Files:
    """``files`` with another model whose hash agrees."""
    variant = msgspec.json.decode(files[MANIFEST])["variants"][0]
    content = change(files[variant["file"]])
    named = variant | {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return _told(files | {variant["file"]: content}, variants=[named])


def _told(files: Files, **changes: object) -> Files:
    """``files`` with a manifest that says something else."""
    manifest = msgspec.json.decode(files[MANIFEST])
    return files | {MANIFEST: msgspec.json.encode(manifest | changes)}
