"""A headless Firefox that receives push messages from a push service of the test's own."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SECONDS = 60.0


class Firefox:
    """Speaks to ``remote.mjs``; ``port`` is that of the push service."""

    def __init__(self, folder: Path) -> None:
        node = shutil.which("node")
        assert node, "node is missing: tests/install-packages"
        assert (FOLDER / "node_modules" / "puppeteer-core").is_dir(), "run tests/install-packages"
        self._log = (folder / "firefox.log").open("wb")
        self._process = subprocess.Popen(
            [node, str(FOLDER / "remote.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "HOME": str(folder)},
        )
        self.port: int = self._answer()

    def __call__(self, do: str, **values: Any) -> Any:
        """Do one thing, and return what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        # A browser that hangs must end the test with a word, and not after the whole run's time.
        timer = threading.Timer(SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        assert line, "the browser did not answer in time"
        said = json.loads(line)
        assert "error" not in said, said["error"]
        return said["result"]

    def evaluate(self, code: str) -> Any:
        """Value of an expression in the page; a promise is awaited."""
        return self("evaluate", code=code)

    def notifications(self) -> list[dict[str, Any]]:
        """What is shown now."""
        code = (
            "navigator.serviceWorker.ready.then((worker) => worker.getNotifications()).then((all) => "
            "all.map(({ title, body, tag, lang, data }) => ({ title, body, tag, lang, data })))"
        )
        found: list[dict[str, Any]] = self.evaluate(code)
        return found

    def close(self) -> None:
        if self._process.poll() is None:
            try:
                self("close")
                self._process.wait(20)
            except (AssertionError, OSError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait(20)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            pipe.close()


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """A Firefox that is not open yet; ``open`` it when the hub knows the port of its push service."""
    made = Firefox(folder)
    try:
        yield made
    finally:
        made.close()
