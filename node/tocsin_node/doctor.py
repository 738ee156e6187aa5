"""``tocsin node doctor``: looks at what a node needs on this machine, and says what is wrong in plain words.

The probes stand here, the judgements in :mod:`tocsin_node.diagnosis`. Nothing is changed: the
outbox is opened for reading only.
"""

import contextlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from paho.mqtt import client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_node import diagnosis, health
from tocsin_node.bundle import bundle_folder, load_bundle
from tocsin_node.capture import open_source
from tocsin_node.diagnosis import Finding
from tocsin_node.settings import NodeSettings
from tocsin_shared.audio import read_blocks
from tocsin_shared.broker import BrokerSettings, make_client
from tocsin_shared.classifier import Classifier
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, TocsinError
from tocsin_shared.events import HubPresence, Presence
from tocsin_shared.features import level_dbfs, log_mel
from tocsin_shared.topics import HUB_STATE

_SOUND_SECONDS, _CONNECT_SECONDS, _HUB_SECONDS = 5.0, 5.0, 2.0
_SAMPLE_RATE_HZ = 16_000


def doctor(settings: NodeSettings, *, as_json: bool) -> int:
    """Look and print; returns the exit status: 0 if all is well, 1 if something is wrong."""
    findings = examine(settings)
    if as_json:
        print(json.dumps([asdict(one) for one in findings], ensure_ascii=False))  # noqa: T201
    else:
        for one in findings:
            print(f"{'ok   ' if one.well else 'WRONG'}  {one.part}: {one.words}", flush=True)  # noqa: T201
    return 0 if all(one.well for one in findings) else 1


def examine(settings: NodeSettings) -> list[Finding]:
    """What was found, one for each part; a probe that fails is a finding, too."""
    return [
        _sound(settings),
        diagnosis.clock(health.clock()),
        _link(settings.broker, settings.node),
        _disk(settings),
        _model(settings),
        _update(settings),
        diagnosis.heat(health.temperature_celsius(), health.throttled()),
    ]


def _sound(settings: NodeSettings) -> Finding:
    if settings.source.kind == "stdin":
        return Finding("sound", True, "comes from standard input, which only a running node hears")
    stop = threading.Event()
    heard: list[Any] = []
    try:
        source = open_source(settings.source, _SAMPLE_RATE_HZ)
        deadline = time.monotonic() + _SOUND_SECONDS
        for block in source.sounds(stop):
            heard.append(block.samples)
            if sum(map(len, heard)) >= _SAMPLE_RATE_HZ or time.monotonic() > deadline:
                break
    except TocsinError as error:
        return diagnosis.sound("", None, str(error))
    level = level_dbfs(np.concatenate(heard)) if heard else None
    return diagnosis.sound(source.name, level)


def _link(settings: BrokerSettings, node: str) -> Finding:
    address = f"{settings.host}:{settings.port}"
    try:
        problem, hub = _asked(settings, f"{node}-doctor")
    except (OSError, ValueError, TocsinError) as error:
        return diagnosis.link(address, str(error))
    return diagnosis.link(address, problem, hub=hub)


def _asked(settings: BrokerSettings, client_id: str) -> tuple[str, bool | None]:
    """Why the broker refuses, or nothing; and what it keeps of the hub's presence."""
    answers: list[ReasonCode] = []
    hub: list[bool] = []
    client = make_client(settings, client_id, reconnect=False)
    client.connect_timeout = _CONNECT_SECONDS
    client.on_connect = _taking(answers)
    client.on_message = _noting(hub)
    # No session is asked for: the doctor leaves nothing behind in the broker.
    clean: dict[str, Any] = {"clean_start": True} if settings.modern else {}
    client.connect(settings.host, settings.port, settings.keepalive_seconds, **clean)
    try:
        _loop_until(client, lambda: bool(answers), _CONNECT_SECONDS)
        if not answers:
            return "it does not answer; it may want TLS, or speak another MQTT (broker.protocol)", None
        if answers[0].is_failure:
            return f"it refuses the node: {answers[0]}", None
        _loop_until(client, lambda: bool(hub), _HUB_SECONDS)
        return "", hub[-1] if hub else None
    finally:
        client.disconnect()


def _taking(answers: list[Any]) -> Callable[..., None]:
    def on_connect(client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.append(reason)
        client.subscribe(HUB_STATE, 1)

    return on_connect


def _noting(hub: list[bool]) -> Callable[..., None]:
    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with contextlib.suppress(DecodeError):
            hub.append(decode(bytes(message.payload), HubPresence).state is Presence.ONLINE)

    return on_message


def _loop_until(client: mqtt.Client, done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        if client.loop(timeout=0.2) != mqtt.MQTT_ERR_SUCCESS:
            return


def _disk(settings: NodeSettings) -> Finding:
    path = settings.outbox.path
    try:
        free = shutil.disk_usage(path.parent).free
        if path.exists():
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as disk:
                answer = disk.execute("pragma quick_check(1)").fetchone()[0]
            if answer != "ok":
                return diagnosis.disk(free, f"the outbox {path} is damaged: {answer}")
    except (OSError, sqlite3.Error) as error:
        return diagnosis.disk(None, f"the outbox {path} cannot be opened: {error}")
    return diagnosis.disk(free)


def _model(settings: NodeSettings) -> Finding:
    try:
        classifier = load_bundle(settings.model.bundle, settings.model.variant, settings.model.threads)
        missed = missed_clips(classifier, settings.model.bundle)
    except TocsinError as error:
        return diagnosis.model(settings.model.bundle, (), 0, str(error))
    heard = len(classifier.manifest.golden) - len(missed)
    return diagnosis.model(classifier.name, missed, heard)


def _update(settings: NodeSettings) -> Finding:
    """Root, repository and slots, looked at without a change: what is fetched goes to a folder of its own."""
    asked = settings.update
    if not asked.url:
        return diagnosis.update("")
    try:
        from tocsin_node.update.look import looked  # noqa: PLC0415  # needs tocsin[ota]
    except ModuleNotFoundError as error:
        return diagnosis.update(
            asked.url, f"the package {error.name} is missing: pip install 'tocsin[node,ota]'"
        )
    try:
        return diagnosis.update(asked.url, words=looked(asked))
    except TocsinError as error:
        return diagnosis.update(asked.url, str(error))


def missed_clips(classifier: Classifier, bundle: str) -> tuple[str, ...]:
    """Labels of the golden clips in which the best window of ``classifier`` names another label.

    Raises:
        TocsinError: a clip cannot be read.
    """
    manifest, folder = classifier.manifest, bundle_folder(bundle)
    missed = []
    for clip in manifest.golden:
        blocks = list(read_blocks(folder / clip.file, manifest.features.sample_rate_hz))
        frames = log_mel(np.concatenate(blocks), manifest.features)[: manifest.features.window_frames]
        best = manifest.label_names[int(np.argmax(classifier.scores(frames)))]
        if best != clip.label:
            missed.append(clip.label)
    return tuple(missed)
