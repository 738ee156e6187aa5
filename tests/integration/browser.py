"""A Chromium for tests, and a node of paper: it hears nothing and says what the test wants said."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from ulid import ULID

from tocsin_hub.demo.broker import BrokerAddress
from tocsin_shared.codec import encode
from tocsin_shared.events import (
    Clock,
    Heartbeat,
    Message,
    MicState,
    NodeBorn,
    NodeConnection,
    Phase,
    Presence,
    ScoredLabel,
    SoundDetected,
    Trouble,
    TroublesChanged,
)
from tocsin_shared.topics import node_topic

PHONE = (360, 740)
DESKTOP = (1280, 800)
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
)
_ANSWER_SECONDS = 10.0


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A headless Chromium with an empty profile in the folder ``profile``."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(profile)}
    driver = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver", env=environment))
    try:
        driver.set_page_load_timeout(20)
        driver.set_script_timeout(60)
        yield driver
    finally:
        driver.quit()


def show_as(driver: Chrome, size: tuple[int, int], *, dark: bool = False, zone: str = "Asia/Seoul") -> None:
    """Make the page think that it is on a screen of ``size`` CSS pixels, in this time zone, dark or light."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    emulate(driver, "prefers-color-scheme", "dark" if dark else "light")
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})


def emulate(driver: Chrome, feature: str, value: str) -> None:
    """Set one media feature, such as ``prefers-color-scheme``."""
    features = [{"name": feature, "value": value}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints(driver: Chrome) -> list[str]:
    """What the page wrote to the console since the last call: errors and refused scripts or styles."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


class PaperNode:
    """Speaks MQTT as a node does. Use it as a context manager; leaving it says goodbye properly."""

    def __init__(self, broker: BrokerAddress, node: str, zone: str, room: str) -> None:
        self.node, self.zone, self.room = node, zone, room
        self.boot = str(ULID())
        self._address = broker
        self._seq = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"node-{node}", protocol=mqtt.MQTTv5)

    def __enter__(self) -> "PaperNode":
        self._client.will_set(
            node_topic(self.node, "conn"), encode(self._presence(Presence.OFFLINE)), 1, True
        )
        self._client.connect(self._address.host, self._address.port, keepalive=30)
        self._client.loop_start()
        self._send("conn", self._presence(Presence.ONLINE), retain=True)
        self._send("birth", self._birth())
        return self

    def __exit__(self, *_error: object) -> None:
        if self._client.is_connected():
            self._send("conn", self._presence(Presence.OFFLINE), retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _presence(self, state: Presence) -> NodeConnection:
        return NodeConnection(state=state, boot=self.boot, session=1)

    def announce_clips(self, *, keeps: bool) -> None:
        """Be born again, now with or without clips."""
        self._send("birth", replace(self._birth(), keeps_clips=keeps))

    def _birth(self) -> NodeBorn:
        return NodeBorn(
            node=self.node,
            zone=self.zone,
            room=self.room,
            boot=self.boot,
            session=1,
            at=datetime.now(UTC),
            version="0.1.0",
            bundle="sentry-0.1.0+full-int8",
            runtime="ai-edge-litert 2.3.0",
            hardware="Raspberry Pi 4 Model B Rev 1.5",
            source="USB microphone (C-Media)",
            labels=("smoke_alarm", "siren", "glass_breaking", "vehicle_horn", "speech", "background"),
            hop_seconds=0.5,
            # Seldom enough that a test may take its time between two heartbeats.
            heartbeat_seconds=120.0,
            outbox_depth=0,
        )

    def beat(self, level_dbfs: float | None, mic: MicState = MicState.LISTENING, **changes: Any) -> None:
        """Send a heartbeat."""
        figures: dict[str, Any] = {
            "node": self.node,
            "boot": self.boot,
            "at": datetime.now(UTC),
            "mic": mic,
            "level_dbfs": level_dbfs,
            "clipped_ratio": 0.0,
            "dropped_blocks": 0,
            "inference_p95_ms": 11.3,
            "outbox_depth": 0,
            "outbox_dropped": 0,
            "outbox_dead": 0,
        }
        self._send("hb", Heartbeat(**{**figures, **changes}))

    def suffer(self, *kinds: str, minutes_ago: float = 5.0) -> None:
        """Say which troubles last."""
        since = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        troubles = tuple(
            Trouble(id=str(ULID()), kind=kind, since=since, detail=f"{kind} in detail") for kind in kinds
        )
        message = TroublesChanged(node=self.node, boot=self.boot, at=datetime.now(UTC), troubles=troubles)
        self._send("troubles", message, retain=True)

    def hear(self, label: str, *, seconds_ago: float = 1.0, **changes: Any) -> SoundDetected:
        """Report the onset of a sound; returns the message, for :meth:`over`."""
        self._seq += 1
        onset = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        fields: dict[str, Any] = {
            "id": str(ULID.from_datetime(onset)),
            "node": self.node,
            "zone": self.zone,
            "label": label,
            "score": 0.94,
            "top": (ScoredLabel(label, 0.94), ScoredLabel("alarm_beep", 0.21), ScoredLabel("speech", 0.03)),
            "level_dbfs": -18.4,
            "ambient_dbfs": -52.0,
            "onset": onset,
            "offset": None,
            "mono_ns": time.monotonic_ns(),
            "boot": self.boot,
            "seq": self._seq,
            "clock": Clock.NTP,
            "bundle": "sentry-0.1.0+full-int8",
            "phase": Phase.ONSET,
        }
        message = SoundDetected(**{**fields, **changes})
        self._send(f"ev/{label}", message)
        return message

    def over(self, message: SoundDetected, lasted_seconds: float | None = None) -> None:
        """Report the end of a sound: now, or so many seconds after its onset."""
        offset = datetime.now(UTC)
        if lasted_seconds is not None:
            offset = message.onset + timedelta(seconds=lasted_seconds)
        self._seq += 1
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        fields.update(phase=Phase.OFFSET, offset=offset, seq=self._seq)
        self._send(f"ev/{message.label}", SoundDetected(**fields))

    def _send(self, kind: str, message: Message, retain: bool = False) -> None:
        sent = self._client.publish(node_topic(self.node, kind), encode(message), qos=1, retain=retain)
        sent.wait_for_publish(_ANSWER_SECONDS)
        assert sent.is_published(), f"the broker did not take {kind} within {_ANSWER_SECONDS} s"
