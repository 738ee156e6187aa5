"""Starts the child that tries a bundle, and survives whatever becomes of it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from tocsin_node.update.steps import OWN, Fault, RefusedError, Step
from tocsin_node.update.trial import TRIALS, Order
from tocsin_shared.errors import UnavailableError

MAX_ANSWER_BYTES = 64 * 1024
_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH", "HOME")


class _Line(Struct, frozen=True):
    step: str
    ok: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """What became of a trial."""

    passed: dict[str, str]
    """What each step said that passed."""
    failed: Step | None = None
    words: str = ""
    """Why, if one failed."""
    sandbox: str = ""
    """How well the child was locked in."""

    def require(self, step: Step) -> None:
        """Go on only if ``step`` passed.

        Raises:
            RefusedError: it did not; or the child never came to it.
        """
        if step not in self.passed:
            words = self.words if self.failed is step else f"not reached: {self.words}"
            raise RefusedError(OWN.get(step, Fault.INTERNAL), words[:120])


def command() -> list[str]:
    """How the child is started, less its order."""
    return [sys.executable, "-m", "tocsin_node.update.trial"]


def tried(order: Order, seconds: float, argv: Sequence[str] | None = None) -> Verdict:
    """Try what ``order`` says, in a child that is ended after ``seconds``.

    Raises:
        UnavailableError: no child can be started.
    """
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    with tempfile.TemporaryFile() as answer:
        try:
            child = subprocess.Popen(
                [*(argv or command()), msgspec.json.encode(order).decode()],
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"the trial cannot be started: {error.strerror}") from error
        ended = _waited(child, seconds)
        answer.seek(0)
        return verdict(answer.read(MAX_ANSWER_BYTES), ended)


def _waited(child: "subprocess.Popen[bytes]", seconds: float) -> str:
    """How ``child`` ended, in words; nothing if by itself."""
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return f"it hung, and was ended after {seconds:g} s"
    if status >= 0:
        return "" if status in {0, 1} else f"it ended with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"


def verdict(answer: bytes, ended: str) -> Verdict:
    """What the lines of ``answer`` and the end of the child mean. Pure."""
    passed: dict[str, str] = {}
    for text in answer.splitlines():
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue  # a model that writes on its own
        if not line.ok and line.step in set(Step):
            return Verdict(passed, Step(line.step), line.words, passed.get("sandbox", ""))
        passed[line.step] = line.words
    missing = next((step for step, _work in TRIALS if step not in passed), None)
    words = (ended or "it ended without a word") if missing is not None else ""
    return Verdict(passed, missing, words, passed.get("sandbox", ""))
