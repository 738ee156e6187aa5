"""The doctor before real brokers, files and the bundle that ships."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.node.conftest import BrokerProcess
from tocsin_node.cli import main
from tocsin_node.doctor import doctor, examine
from tocsin_node.outbox import Outbox
from tocsin_node.settings import ModelSettings, NodeSettings, OutboxSettings, SourceSettings
from tocsin_shared.broker import BrokerSettings, make_client
from tocsin_shared.codec import encode
from tocsin_shared.events import HubPresence, Presence
from tocsin_shared.topics import HUB_STATE


def settings(folder: Path, broker: BrokerSettings) -> NodeSettings:
    noise = np.random.default_rng(1).normal(0.0, 0.01, 32_000)
    soundfile.write(folder / "room.wav", noise, 16_000)
    return NodeSettings(
        node="press-1",
        source=SourceSettings(kind="file", path=folder / "room.wav"),
        broker=broker,
        outbox=OutboxSettings(path=folder / "outbox.sqlite"),
    )


def tell_hub_is_there(broker: BrokerSettings) -> None:
    client = make_client(broker, "hub")
    client.connect(broker.host, broker.port)
    client.loop_start()
    hub = HubPresence(state=Presence.ONLINE, epoch="e", at=datetime.now(UTC))
    client.publish(HUB_STATE, encode(hub), qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


@pytest.mark.broker
def test_a_machine_that_is_well_but_for_its_hub_and_then_for_nothing(
    tmp_path: Path, broker: BrokerProcess
) -> None:
    reached = BrokerSettings(port=broker.port, protocol=broker.protocol)
    asked = settings(tmp_path, reached)
    outbox = Outbox(asked.outbox.path, asked.outbox.max_bytes)
    outbox.open()
    try:
        findings = {one.part: one for one in examine(asked)}
        assert "no hub was ever there" in findings["link"].words
        for part in ("sound", "disk", "model", "heat"):
            assert findings[part].well, findings[part].words
        assert "hears its 14 clips" in findings["model"].words
        tell_hub_is_there(reached)
        findings = {one.part: one for one in examine(asked)}
        assert findings["link"].well, findings["link"].words
    finally:
        outbox.close()


def test_everything_that_is_missing_is_named_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = dataclasses.replace(
        settings(tmp_path, BrokerSettings(port=1)),
        source=SourceSettings(kind="file", path=tmp_path / "away.wav"),
        model=ModelSettings(bundle=str(tmp_path / "no.bundle")),
        outbox=OutboxSettings(path=tmp_path / "damaged.sqlite"),
    )
    nowhere.outbox.path.write_bytes(b"not a database at all" * 100)
    before = sorted(tmp_path.iterdir())
    assert doctor(nowhere, as_json=True) == 1
    wrong = {one["part"]: one["words"] for one in json.loads(capsys.readouterr().out) if not one["well"]}
    assert {"sound", "link", "disk", "model"} <= set(wrong)
    assert "127.0.0.1:1" in wrong["link"]
    assert "away.wav" in wrong["sound"]
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_prints_a_line_for_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(tmp_path, BrokerSettings())
    config = tmp_path / "node.toml"
    text = 'node = "press-1"\n[source]\nkind = "file"\npath = "room.wav"\n[broker]\nport = 1\n'
    config.write_text(text, encoding="utf-8")
    assert main(["doctor", "--config", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    parts = ["sound", "clock", "link", "disk", "model", "update", "heat"]
    assert [line[7:].split(":")[0] for line in lines] == parts
    assert {line[:5] for line in lines} <= {"ok   ", "WRONG"}
