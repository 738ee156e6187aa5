"""A bundle is tried in a child: whatever it does to the child, the node lives and knows the step."""

import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.update.world import real_bundle, without_numbers
from tocsin_node.update.flatbuffer import operators
from tocsin_node.update.sandbox import Verdict, command, tried, verdict
from tocsin_node.update.steps import Fault, RefusedError, Step
from tocsin_node.update.trial import Order
from tocsin_shared.errors import BundleError
from tocsin_shared.trust.bundles import MANIFEST, REFERENCE

pytestmark = pytest.mark.slow
Files = dict[str, bytes]


def laid_out(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def order(folder: Path, **change: object) -> Order:
    made = Order(
        folder=str(folder),
        variant="float16",
        budget_ms=10_000.0,
        memory_bytes=3_000_000_000,
        cpu_seconds=120,
        sample_rate_hz=16_000,
    )
    return msgspec.structs.replace(made, **change)


def with_model(files: Files, content: bytes) -> Files:
    """``files`` with another model whose hash agrees."""
    manifest = msgspec.json.decode(files[MANIFEST])
    manifest["variants"][0] |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return files | {"float16.tflite": content, MANIFEST: msgspec.json.encode(manifest)}


def fails(folder: Path, files: Files, **change: object) -> Verdict:
    return tried(order(laid_out(folder, files), **change), 120.0)


def test_the_shipped_bundle_passes_locked_in(tmp_path: Path) -> None:
    """Four steps, without a network where the system allows it."""
    found = fails(tmp_path, real_bundle())
    assert found.failed is None, found
    assert set(found.passed) == {"sandbox", Step.STATIC, Step.LOAD, Step.GOLDEN, Step.BUDGET}
    assert "network" in found.sandbox


def test_d46_permuted_labels_fail_at_the_golden_clips(tmp_path: Path) -> None:
    """The worst silent failure there is."""
    files = real_bundle()
    manifest = msgspec.json.decode(files[MANIFEST])
    manifest["labels"] = [*manifest["labels"][1:], manifest["labels"][0]]
    found = fails(tmp_path, files | {MANIFEST: msgspec.json.encode(manifest)})
    assert (found.failed, found.words.split()[0]) == (Step.GOLDEN, "hears")


def test_d47_other_scores_than_the_signers_fail_at_the_golden_clips(tmp_path: Path) -> None:
    """The same best label is not enough: a wrong scale shows in how sure it is."""
    files = real_bundle()
    references = msgspec.json.decode(files[REFERENCE])
    references[3]["scores"] = [min(1.0, 0.8 * one) for one in references[3]["scores"]]
    found = fails(tmp_path, files | {REFERENCE: msgspec.json.encode(references)})
    assert found.failed is Step.GOLDEN
    assert "from the signer's" in found.words


def test_d48_a_model_that_is_too_slow_fails_at_the_budget(tmp_path: Path) -> None:
    """Told with both figures."""
    found = fails(tmp_path, real_bundle(), budget_ms=0.01)
    assert found.failed is Step.BUDGET
    assert "0.0 ms are allowed" in found.words
    with pytest.raises(RefusedError) as refused:
        found.require(Step.BUDGET)
    assert refused.value.fault is Fault.BUDGET


def test_d51_a_model_that_answers_no_numbers_fails(tmp_path: Path) -> None:
    """NaN in its weights."""
    content = without_numbers(real_bundle()["float16.tflite"])
    found = fails(tmp_path, with_model(real_bundle(), content))
    assert found.failed in {Step.LOAD, Step.GOLDEN}
    assert "no numbers" in found.words


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _hole(content: bytes) -> bytes:
    return content[:1_000_000] + bytes(2_000_000) + content[3_000_000:]


def _no_model(_content: bytes) -> bytes:
    return b"MZ" + bytes(10_000)


def _torn_offsets(content: bytes) -> bytes:
    """The tables at both ends of the file, where the interpreter follows offsets without looking."""
    dice, torn = random.Random(5), bytearray(content)
    for at in [dice.randrange(8, 2000) for _ in range(20)] + [
        dice.randrange(len(content) - 20_000, len(content)) for _ in range(400)
    ]:
        torn[at] ^= 1 << dice.randrange(8)
    return bytes(torn)


@pytest.mark.parametrize("spoil", [_cut, _hole, _no_model, _torn_offsets])
def test_d45_a_damaged_model_whose_hash_agrees_is_refused_and_the_node_lives(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """Cut, holed, no model at all, torn: refused by its step, or it ends the child."""
    found = fails(tmp_path, with_model(real_bundle(), spoil(real_bundle()["float16.tflite"])))
    assert found.failed in {Step.STATIC, Step.LOAD, Step.GOLDEN}, found
    assert found.words


def test_d45_a_changed_model_is_refused_by_its_hash(tmp_path: Path) -> None:
    """Before anything native sees it."""
    content = real_bundle()["float16.tflite"]
    found = fails(tmp_path, real_bundle() | {"float16.tflite": content[:-1] + bytes([content[-1] ^ 1])})
    assert (found.failed, "SHA-256" in found.words) == (Step.STATIC, True)


def test_a_bundle_for_another_rate_of_sound_is_refused(tmp_path: Path) -> None:
    """It would hear everything at the wrong pitch."""
    found = fails(tmp_path, real_bundle(), sample_rate_hz=48_000)
    assert found.failed is Step.STATIC


CHILDREN = {
    "SIGSEGV": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "hung": "import time; time.sleep(60)",
    "without a word": "pass",
    "status 7": "raise SystemExit(7)",
}


@pytest.mark.parametrize(("words", "code"), CHILDREN.items())
def test_d45_a_child_that_crashes_or_hangs_is_told_by_how_it_ended(
    words: str, code: str, tmp_path: Path
) -> None:
    """At the first step that it did not finish."""
    loaded = '{"step": "static", "ok": true, "words": ""}'
    begin = f"print({loaded!r}, flush=True); "
    found = tried(order(tmp_path), 1.0, [sys.executable, "-c", begin + code])
    assert found.failed is Step.LOAD
    assert words in found.words


def test_a_child_that_leaks_is_ended_by_its_bounds(tmp_path: Path) -> None:
    """Memory that it may not have is not given to it."""
    found = tried(order(laid_out(tmp_path, real_bundle()), memory_bytes=60_000_000), 60.0)
    assert found.failed is not None


@given(st.binary(max_size=400))
def test_no_answer_of_a_child_is_more_than_a_verdict(answer: bytes) -> None:
    """Whatever a model writes."""
    assert verdict(answer, "").failed is not None
    assert verdict(b'{"step": "load", "ok": false, "words": "x"}\n' + answer, "").failed is not None


@given(st.data())
def test_no_file_whatever_confuses_the_static_check(data: st.DataObject) -> None:
    """Refused or read, and nothing else."""
    content = bytearray(b"\x1c\0\0\0TFL3" + data.draw(st.binary(max_size=300)))
    try:
        assert all(isinstance(one, int) for one in operators(bytes(content)))
    except BundleError:
        assert content


def test_the_operators_of_the_shipped_model_are_known() -> None:
    """CONV_2D (3) is among them, and none is custom (32)."""
    used = operators(real_bundle()["float16.tflite"])
    assert 3 in used
    assert 32 not in used
    assert np.all(np.asarray(used) < 300)
    assert command()[0] == sys.executable
