"""Attacks on the broker that the playbooks made, from a client that holds a real node's certificate.

The numbers are those of the list of faults and attacks in docs/security.md. What counts is what is
delivered to the hub's or the victim's side, never what the attacker is told: MQTT 3.1.1 calls a refused
message a success.
"""

import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.deploy.containers import wait_until
from tests.deploy.site import PASSPHRASE, SiteOfContainers

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(300)]
VERSIONS = [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
QUIET_SECONDS = 2.0
"""A message that is delivered at all is delivered within this on one machine."""


class Client:
    """A client with some certificate, that notes what it hears and how it is answered."""

    def __init__(self, site: SiteOfContainers, identity: Path, name: str, version: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.reasons: list[int] = []
        self.connected = threading.Event()
        self.lost = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion(version)
        )
        context = ssl.create_default_context(cafile=str(site.inventory / "pki/ca.crt"))
        context.load_cert_chain(identity.with_suffix(".crt"), identity.with_suffix(".key"))
        self._client.tls_set_context(context)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.lost.set()
        self._client.on_message = lambda _c, _u, got: self.heard.append((got.topic, bytes(got.payload)))
        self._client.on_publish = lambda _c, _u, _mid, reason, _p: self.reasons.append(reason.value)

    def _on_connect(self, _c: object, _u: object, _f: object, reason: ReasonCode, _p: object) -> None:
        if not reason.is_failure:
            self.connected.set()

    @property
    def paho(self) -> paho.Client:
        """The client itself."""
        return self._client

    @contextmanager
    def open(self, port: int) -> Iterator["Client"]:
        """Connected, for a while."""
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        try:
            assert self.connected.wait(20)
            yield self
        finally:
            self._client.disconnect()
            self._client.loop_stop()


def told_of(site: SiteOfContainers, unit: str, what: str) -> str:
    """What systemd tells of a service on the hub's machine."""
    return site.hub.run("systemctl", "show", "-p", what, "--value", unit).stdout.strip()


@pytest.fixture(scope="module")
def thief(site: SiteOfContainers) -> Path:
    """Key and certificate of the node paint-1, without their endings."""
    folder = site.folder / "thief"
    folder.mkdir()
    for end in ("crt", "key"):
        shutil.copy(site.paint.root / f"etc/tocsin/pki/node.{end}", folder / f"node.{end}")
    site.paint.run("systemctl", "stop", "tocsin-node")
    return folder / "node"


@pytest.fixture(scope="module", autouse=True)
def slow(site: SiteOfContainers, thief: Path) -> Iterator[tuple[ssl.SSLSocket, str]]:
    """A connection that has said the first letter of a CONNECT before all else, and the broker's process.

    Open from the beginning, because the broker is patient: nobody waits for it.
    """
    context = ssl.create_default_context(cafile=str(site.inventory / "pki/ca.crt"))
    context.load_cert_chain(thief.with_suffix(".crt"), thief.with_suffix(".key"))
    line = socket.create_connection(("127.0.0.1", site.broker_port), 20)
    with context.wrap_socket(line, server_hostname="127.0.0.1") as said:
        said.sendall(b"\x10")
        yield said, told_of(site, "mosquitto", "MainPID")


@pytest.fixture(scope="module")
def hub_identity(site: SiteOfContainers) -> Path:
    """Key and certificate of the hub: what it can hear, the hub can hear."""
    folder = site.folder / "hub-identity"
    folder.mkdir()
    for end in ("crt", "key"):
        shutil.copy(site.hub.root / f"etc/tocsin/pki/hub.{end}", folder / f"hub.{end}")
    return folder / "hub"


def delivered(
    site: SiteOfContainers, hub: Path, thief: Path, version: int, topic: str
) -> tuple[bool, list[int]]:
    """Whether what the thief publishes under ``topic`` reaches the hub's side, and how he was answered."""
    site.hub.run("systemctl", "stop", "tocsin-hub")
    try:
        with (
            Client(site, hub, "hub", MQTTProtocolVersion.MQTTv5).open(site.broker_port) as witness,
            Client(site, thief, "paint-1", version).open(site.broker_port) as attacker,
        ):
            witness.paho.subscribe("tocsin/v1/n/+/#", 1)
            time.sleep(0.5)
            attacker.paho.publish(topic, b"forged", 1)
            attacker.paho.publish("tocsin/v1/n/paint-1/birth", b"own", 1)
            wait_until(
                lambda: ("tocsin/v1/n/paint-1/birth", b"own") in witness.heard, 20.0, "his own message"
            )
            return any(heard == (topic, b"forged") for heard in witness.heard), attacker.reasons
    finally:
        site.hub.run("systemctl", "start", "tocsin-hub")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "topic",
    [
        pytest.param("tocsin/v1/n/press-1/ev/smoke_alarm", id="76-another-node"),
        pytest.param("tocsin/v1/n/paint-1/cmd/desired", id="81-own-desired"),
        pytest.param("tocsin/v1/n/paint-1/ack", id="82-own-ack"),
        pytest.param("tocsin/v1/n/paint-1/ev/a/b", id="76-deeper"),
    ],
)
def test_76_81_82_what_is_not_a_nodes_own_is_not_delivered(
    site: SiteOfContainers, hub_identity: Path, thief: Path, version: int, topic: str
) -> None:
    arrived, reasons = delivered(site, hub_identity, thief, version, topic)
    assert not arrived
    if version == MQTTProtocolVersion.MQTTv5:
        assert 0x87 in reasons


@pytest.mark.parametrize("version", VERSIONS)
def test_77_nobody_reads_what_is_meant_for_another(
    site: SiteOfContainers, hub_identity: Path, thief: Path, version: int
) -> None:
    filters = ["#", "+/v1/n/+/cmd/#", "tocsin/v1/n/press-1/cmd/#", "tocsin/#", "$SYS/#"]
    if version == MQTTProtocolVersion.MQTTv5:
        filters.append("$share/g/tocsin/v1/n/+/cmd/#")
    site.hub.run("systemctl", "stop", "tocsin-hub")
    try:
        with (
            Client(site, hub_identity, "hub", MQTTProtocolVersion.MQTTv5).open(site.broker_port) as hub,
            Client(site, thief, "paint-1", version).open(site.broker_port) as spy,
        ):
            for one in filters:
                spy.paho.subscribe(one, 1)
            time.sleep(0.5)
            hub.paho.publish("tocsin/v1/n/press-1/cmd/selftest", b"secret", 1)
            hub.paho.publish("tocsin/v1/n/paint-1/cmd/selftest", b"own", 1)
            wait_until(lambda: any(payload == b"own" for _, payload in spy.heard), 20.0, "his own command")
            time.sleep(QUIET_SECONDS)
            assert not [topic for topic, _ in spy.heard if "/n/press-1/" in topic or topic.startswith("$SYS")]
    finally:
        site.hub.run("systemctl", "start", "tocsin-hub")


@pytest.mark.parametrize("version", VERSIONS)
def test_78_a_user_name_in_the_connect_is_ignored(
    site: SiteOfContainers, hub_identity: Path, thief: Path, version: int
) -> None:
    site.hub.run("systemctl", "stop", "tocsin-hub")
    try:
        witness = Client(site, hub_identity, "hub", MQTTProtocolVersion.MQTTv5)
        liar = Client(site, thief, "hub", version)
        liar.paho.username_pw_set("hub", "hub")
        with witness.open(site.broker_port), liar.open(site.broker_port):
            witness.paho.subscribe("tocsin/v1/n/+/#", 1)
            time.sleep(0.5)
            liar.paho.publish("tocsin/v1/n/press-1/ack", b"forged", 1)
            liar.paho.publish("tocsin/v1/n/paint-1/birth", b"own", 1)
            wait_until(
                lambda: ("tocsin/v1/n/paint-1/birth", b"own") in witness.heard, 20.0, "his own message"
            )
            # 79: he asked for the client id of the hub, and its connection stands.
            assert not witness.lost.is_set()
            assert ("tocsin/v1/n/press-1/ack", b"forged") not in witness.heard
    finally:
        site.hub.run("systemctl", "start", "tocsin-hub")


def test_79_a_client_id_cannot_be_taken_over(site: SiteOfContainers, thief: Path) -> None:
    session = site.press.journal("tocsin-node").count("connected to")
    with Client(site, thief, "press-1", MQTTProtocolVersion.MQTTv5).open(site.broker_port):
        time.sleep(QUIET_SECONDS)
    assert site.press.journal("tocsin-node").count("connected to") == session


def test_80_a_last_will_on_anothers_topic_is_not_published(
    site: SiteOfContainers, hub_identity: Path, thief: Path
) -> None:
    site.hub.run("systemctl", "stop", "tocsin-hub")
    try:
        with Client(site, hub_identity, "hub", MQTTProtocolVersion.MQTTv5).open(site.broker_port) as witness:
            witness.paho.subscribe("tocsin/v1/n/+/#", 1)
            ghost = Client(site, thief, "paint-1", MQTTProtocolVersion.MQTTv311)
            ghost.paho.will_set("tocsin/v1/n/press-1/conn", b"forged", 1, retain=True)
            ghost.paho.connect("127.0.0.1", site.broker_port)
            ghost.paho.loop_start()
            ghost.connected.wait(10)
            line = ghost.paho.socket()
            assert line is not None
            line.close()
            ghost.paho.loop_stop()
            time.sleep(QUIET_SECONDS * 2)
            assert not [payload for _, payload in witness.heard if payload == b"forged"]
    finally:
        site.hub.run("systemctl", "start", "tocsin-hub")


def openssl(*arguments: str | Path) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def hears_something(site: SiteOfContainers, *arguments: str | Path) -> bool:
    """Whether a client with these certificates is let in and told whether the hub is there."""
    # With a name, which the broker does not let be empty: what refuses must be the certificate.
    listen = ["mosquitto_sub", "-i", "x", "-h", "127.0.0.1", "-p", str(site.broker_port)]
    done = subprocess.run(
        [*listen, "-t", "tocsin/v1/hub/state", "-C", "1", "-W", "5", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode == 0 or done.stdout != ""


def test_83_who_shows_no_certificate_or_a_foreign_one_is_refused(site: SiteOfContainers, thief: Path) -> None:
    folder = site.folder / "foreign"
    folder.mkdir()
    key, signed, ca = folder / "f.key", folder / "f.crt", site.inventory / "pki/ca.crt"
    openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=press-1", "-keyout", key, "-out", signed)
    assert hears_something(
        site, "--cafile", ca, "--cert", thief.with_suffix(".crt"), "--key", thief.with_suffix(".key")
    )
    assert not hears_something(site, "--cafile", ca)
    assert not hears_something(site)
    assert not hears_something(site, "--cafile", ca, "--cert", signed, "--key", key)


def signed_by_the_site(site: SiteOfContainers, folder: Path, name: str, days: tuple[float, float]) -> Path:
    """Key and certificate for ``name``, signed by the site's CA, good between two days from now."""
    authority = x509.load_pem_x509_certificate((site.inventory / "pki/ca.crt").read_bytes())
    secret = load_pem_private_key((site.inventory / "pki/ca.key").read_bytes(), PASSPHRASE.encode())
    assert isinstance(secret, Ed25519PrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .sign(secret, None)
    )
    identity = folder / "odd"
    identity.with_suffix(".crt").write_bytes(made.public_bytes(Encoding.PEM))
    kept = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    identity.with_suffix(".key").write_bytes(kept)
    return identity


@pytest.mark.parametrize(
    ("name", "days", "let_in"),
    [
        pytest.param("paint-1", (-2.0, 2.0), True, id="good"),
        pytest.param("press-1", (-3.0, -1.0), False, id="expired"),
        pytest.param("press-1", (1.0, 3.0), False, id="not-yet-valid"),
        pytest.param("+", (-2.0, 2.0), False, id="plus"),
        pytest.param("#", (-2.0, 2.0), False, id="hash"),
        pytest.param("press-1/#", (-2.0, 2.0), False, id="slash"),
    ],
)
def test_83_what_the_site_signed_counts_in_its_time_and_for_a_name_that_is_one(
    site: SiteOfContainers, tmp_path: Path, name: str, days: tuple[float, float], let_in: bool
) -> None:
    odd = signed_by_the_site(site, tmp_path, name, days)
    ca = site.inventory / "pki/ca.crt"
    heard = hears_something(
        site, "--cafile", ca, "--cert", odd.with_suffix(".crt"), "--key", odd.with_suffix(".key")
    )
    assert heard is let_in


def test_85_a_payload_of_another_node_is_kept_aside(site: SiteOfContainers, thief: Path) -> None:
    wait_until(site.takes_events, 60.0, "a hub that takes events")
    before = site.health()["quarantined"]
    with Client(site, thief, "paint-1", MQTTProtocolVersion.MQTTv5).open(site.broker_port) as liar:
        birth = b'{"schema": 1, "node": "press-1"}'
        liar.paho.publish("tocsin/v1/n/paint-1/hb", birth, 1).wait_for_publish(20)
        wait_until(lambda: site.health()["quarantined"] > before, 30.0, "the message in quarantine")


def test_86_what_is_too_large_is_refused_and_the_rest_goes_on(site: SiteOfContainers, thief: Path) -> None:
    with Client(site, thief, "paint-1", MQTTProtocolVersion.MQTTv5).open(site.broker_port) as big:
        big.paho.publish("tocsin/v1/n/paint-1/bf", b"x" * 300_000, 1)
        assert big.lost.wait(30)
    wait_until(site.takes_events, 60.0, "a hub that takes events")


FLOOD = 10_000


@contextmanager
def half_open(port: int, number: int) -> Iterator[list[socket.socket]]:
    """``number`` connections, one after another, that begin to shake hands and never go on."""
    files = number + 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), max(hard, files)))
    opened: list[socket.socket] = []
    try:
        for _ in range(number):
            opened.append(socket.create_connection(("127.0.0.1", port), 60))
            opened[-1].setblocking(False)
            with suppress(OSError):  # it may be closed already
                opened[-1].send(b"\x16\x03\x01")
        yield opened
    finally:
        for one in opened:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(one: socket.socket) -> bool:
    """Whether the broker has not closed the connection."""
    try:
        return one.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_88_many_connections_and_slow_ones_hold_up_no_alarm(site: SiteOfContainers, thief: Path) -> None:
    limit = int(told_of(site, "mosquitto", "LimitNOFILE"))
    broker = told_of(site, "mosquitto", "MainPID")
    with half_open(site.broker_port, FLOOD) as opened:
        wait_until(lambda: sum(map(is_open, opened)) <= limit, 60.0, "the broker to close what is too much")
        assert sum(map(is_open, opened)) > limit / 2
        before = len(site.stored())
        wait_until(lambda: len(site.stored()) > before, 90.0, "the next alarm of the press shop")
    assert told_of(site, "mosquitto", "MainPID") == broker
    wait_until(lambda: _hears(site, thief), 60.0, "the broker to let in a node again")


def _hears(site: SiteOfContainers, identity: Path) -> bool:
    key, signed = identity.with_suffix(".key"), identity.with_suffix(".crt")
    return hears_something(site, "--cafile", site.inventory / "pki/ca.crt", "--cert", signed, "--key", key)


def test_who_has_just_come_has_time_to_say_who_he_is(site: SiteOfContainers) -> None:
    """Mosquitto 2.0.21 cuts off one of fifteen when ``max_keepalive`` is what it gives to who is new."""
    opened = []
    for _ in range(80):
        opened.append(socket.create_connection(("127.0.0.1", site.broker_port), 20))
        opened[-1].setblocking(False)
        time.sleep(0.1)
    here = [is_open(one) for one in opened]
    for one in opened:
        one.close()
    assert all(here)


def test_88_who_never_ends_his_connect_is_let_go(
    site: SiteOfContainers, slow: tuple[ssl.SSLSocket, str]
) -> None:
    line, broker = slow
    line.settimeout(200)
    assert line.recv(1) == b""
    assert told_of(site, "mosquitto", "MainPID") == broker


def test_88_nobody_may_be_silent_for_ever(site: SiteOfContainers, thief: Path) -> None:
    # With MQTT 3.1.1 Mosquitto 2.0.11 (Debian 12) lets in who asks for it; later ones refuse.
    allowed: list[int | None] = []
    silent = Client(site, thief, "paint-1", MQTTProtocolVersion.MQTTv5)
    silent.paho.on_connect = lambda _c, _u, _f, _r, said: allowed.append(
        getattr(said, "ServerKeepAlive", None)
    )
    silent.paho.connect("127.0.0.1", site.broker_port, keepalive=0)
    silent.paho.loop_start()
    try:
        wait_until(lambda: bool(allowed), 20.0, "the broker's answer")
    finally:
        silent.paho.disconnect()
        silent.paho.loop_stop()
    assert allowed[0] == 120


def test_89_a_broken_configuration_never_reaches_the_broker(site: SiteOfContainers) -> None:
    candidate = site.hub.root / "root/broken.conf"
    candidate.write_text("listener 18839\nno_such_option true\n", encoding="ascii")
    done = site.hub.run("/etc/mosquitto/tocsin/check-config", "/root/broken.conf", check=False)
    assert done.returncode != 0
    assert "no_such_option" in done.stdout + done.stderr
    fine = site.hub.run(
        "/etc/mosquitto/tocsin/check-config", "/etc/mosquitto/tocsin/mosquitto.conf", check=False
    )
    assert fine.returncode == 0, fine.stdout + fine.stderr
