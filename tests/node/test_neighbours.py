"""A real node beside its neighbours: the file for Prometheus, and what Home Assistant finds in the broker."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

from tests.node.conftest import BrokerProcess
from tocsin_shared.broker import BrokerSettings, make_client


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("told", [True, False])
def test_neighbours_are_told_if_a_site_wants_it_and_not_otherwise(tmp_path: Path, *, told: bool) -> None:
    broker = BrokerProcess("mosquitto", "5", tmp_path)
    broker.start()
    client = make_client(BrokerSettings(port=broker.port), "home-assistant")
    retained: dict[str, dict[str, Any]] = {}
    client.on_message = lambda _client, _data, message: retained.update(
        {message.topic: json.loads(bytes(message.payload))}
    )
    soundfile.write(tmp_path / "room.wav", np.random.default_rng(1).normal(0.0, 0.01, 160_000), 16_000)
    config = tmp_path / "node.toml"
    config.write_text(
        'node = "press-1"\nheartbeat_seconds = 0.5\n'
        '[source]\nkind = "file"\npath = "room.wav"\nrepeat = true\n'
        f"[broker]\nport = {broker.port}\n"
        + ('[metrics]\ntextfile = "tocsin.prom"\n[home_assistant]\ndiscovery = true\n' if told else ""),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "tocsin_shared", "node", "run", "--config", str(config)]
    node = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        client.subscribe([("homeassistant/#", 1), ("tocsin/v1/n/press-1/hb", 0)])
        wait_until(
            lambda: retained.get("tocsin/v1/n/press-1/hb", {}).get("level_dbfs") is not None, "a level"
        )
        if told:
            wait_until(lambda: value(tmp_path, "tocsin_node_connected") == 1.0, "metrics that say connected")
            assert -45.0 < value(tmp_path, "tocsin_node_level_dbfs") < -35.0
    finally:
        node.terminate()
        assert node.wait(30) == 0
        client.disconnect()
        client.loop_stop()
        broker.kill()
    found = [topic for topic in retained if topic.startswith("homeassistant/")]
    assert ("homeassistant/binary_sensor/tocsin_press-1/smoke_alarm/config" in found) == told
    assert bool(found) == told
    assert [path.name for path in tmp_path.glob("*.prom*")] == (["tocsin.prom"] if told else [])


def value(folder: Path, name: str) -> float:
    """The value of a metric in the file; not a number while there is none."""
    path = folder / "tocsin.prom"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return next((one.value for one in samples if one.name == name), float("nan"))
