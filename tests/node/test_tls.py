"""TLS with a real Mosquitto and certificates that openssl makes: how long they are good, and what is said."""

import contextlib
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.authority import Authority
from tests.node.conftest import BrokerProcess
from tests.node.events import born
from tests.node.fake_hub import NODE, FakeHub, until
from tests.node.test_agent import NodeProcess
from tocsin_hub.demo.broker import free_port
from tocsin_node.link import Identity, Link
from tocsin_node.outbox import Outbox
from tocsin_node.tls import CertificateWatch
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.certificate import days_left, first_certificate, not_after
from tocsin_shared.codec import decode
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import Heartbeat, TroubleKind, TroublesChanged


class TlsBroker(BrokerProcess):
    """Mosquitto with a port for TLS, where it wants a certificate to be shown, beside the plain one."""

    def __init__(self, authority: Authority, days: int) -> None:
        super().__init__("mosquitto", "5", authority.folder)
        self.tls_port = free_port()
        own = authority.certificate("broker", days)
        self._more = (
            f"listener {self.tls_port} 127.0.0.1\ncafile {authority.ca}\ncertfile {own}\n"
            f"keyfile {own.with_suffix('.key')}\nrequire_certificate true\nallow_anonymous true\n"
        )

    def _command(self) -> list[str]:
        command = super()._command()
        with Path(command[-1]).open("a", encoding="utf-8") as config:
            config.write(self._more)
        return command


class Told:
    """The last that was told of each kind of trouble."""

    def __init__(self) -> None:
        self.last: dict[TroubleKind, str] = {}

    def __call__(self, kind: TroubleKind, detail: str) -> None:
        self.last[kind] = detail


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    assert shutil.which("openssl"), "apt install openssl"
    return Authority(tmp_path_factory.mktemp("authority"))


def settings(authority: Authority, own: Path, port: int = 8883, ca: Path | None = None) -> BrokerSettings:
    key = own.with_suffix(".key")
    return BrokerSettings(port=port, ca_file=ca or authority.ca, cert_file=own, key_file=key)


@pytest.mark.parametrize("days", [1, 13, 400, 36_500])
def test_the_end_of_a_certificate_is_what_openssl_says(authority: Authority, days: int) -> None:
    """The far one ends after 2050, where the form of the date is another."""
    made = authority.certificate(f"days-{days}", days)
    said = subprocess.run(
        ["openssl", "x509", "-in", str(made), "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    end = not_after(first_certificate(made.read_text()))
    assert end.timestamp() == ssl.cert_time_to_seconds(said.removeprefix("notAfter=").strip())
    assert days_left(end, (end - timedelta(days=days)).timestamp()) == days


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_refused_and_never_breaks_the_reader(garbage: bytes) -> None:
    with pytest.raises(BadInputError):
        not_after(garbage)
    with pytest.raises(BadInputError):
        not_after(first_certificate(garbage.decode("latin-1")))


@given(cut=st.integers(0, 300))
def test_a_certificate_that_is_cut_off_is_refused(authority: Authority, cut: int) -> None:
    with pytest.raises(BadInputError):
        not_after(first_certificate(authority.ca.read_text())[:cut])


def test_a_certificate_that_ends_within_two_weeks_is_a_trouble_until_it_is_renewed_on_the_disk(
    authority: Authority,
) -> None:
    own, told = authority.certificate("own", 400), Told()
    now = time.time()
    watch = CertificateWatch(settings(authority, own), told, lambda: now)
    days, broker = watch.check()
    assert days == pytest.approx(400, abs=0.1)
    assert broker is None
    assert told.last == {TroubleKind.OWN_CERTIFICATE: ""}
    now += 390 * 86_400.0
    assert watch.check()[0] == pytest.approx(10, abs=0.1)
    assert "the node's own certificate ends on" in told.last[TroubleKind.OWN_CERTIFICATE]
    now += 20 * 86_400.0
    assert watch.check()[0] == pytest.approx(-10, abs=0.1)
    assert "has ended on" in told.last[TroubleKind.OWN_CERTIFICATE]
    authority.certificate("own", 800)
    assert watch.check()[0] == pytest.approx(390, abs=0.1)
    assert told.last == {TroubleKind.OWN_CERTIFICATE: ""}


def test_a_certificate_that_cannot_be_read_is_a_trouble_and_a_clock_of_1970_says_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    own, told = tmp_path / "own.pem", Told()
    own.write_text("no certificate")
    watch = CertificateWatch(settings(authority, own), told)
    assert watch.check() == (None, None)
    assert "cannot be read" in told.last[TroubleKind.OWN_CERTIFICATE]
    early = CertificateWatch(settings(authority, authority.certificate("early", 5)), told, lambda: 40.0)
    told.last.clear()
    assert early.check() == (None, None)
    refused = ssl.SSLCertVerificationError("certificate is not yet valid")
    refused.verify_message = "certificate is not yet valid"
    assert "the clock of this node was never set" in early.note_failure(refused)
    assert told.last == {}
    assert CertificateWatch(BrokerSettings()).check() == (None, None)


@contextlib.contextmanager
def linked(broker: BrokerSettings, watch: CertificateWatch, folder: Path) -> Iterator[Link]:
    """A link with its network loop running."""
    outbox, stop = Outbox(folder / "outbox.sqlite", 10**6), threading.Event()
    outbox.open()
    link = Link(broker, Identity(NODE, "b1"), outbox, born, certificates=watch, chance=lambda: 0.0)
    thread = threading.Thread(target=link.run_network, args=(stop,), name="link")
    thread.start()
    try:
        yield link
    finally:
        link.stop()
        stop.set()
        thread.join(10.0)
        outbox.close()


# paho leaves the socket of a failed handshake to Python, which closes it with the exception.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_with_a_certificate_of_somebody_else_is_refused_and_told(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker, told = TlsBroker(authority, 400), Told()
    broker.start()
    other = Authority(tmp_path, "other")
    own = settings(authority, authority.certificate(NODE, 400), broker.tls_port, other.ca)
    with linked(own, CertificateWatch(own, told), tmp_path) as link:
        until(lambda: "the broker's certificate is refused" in caplog.text)
        assert not link.connected
        assert "refused" in told.last[TroubleKind.BROKER_CERTIFICATE]
    own = settings(authority, own.cert_file or Path(), broker.tls_port)
    with linked(own, CertificateWatch(own, told), tmp_path) as link:
        until(lambda: link.connected)
        until(lambda: told.last[TroubleKind.BROKER_CERTIFICATE] == "")
    broker.kill()


@pytest.mark.slow
@pytest.mark.broker
def test_a_node_tells_how_long_both_certificates_are_good(authority: Authority, tmp_path: Path) -> None:
    broker = TlsBroker(authority, 5)
    broker.start()
    hub = FakeHub(broker)
    own = authority.certificate(NODE, 10)
    tls = f'ca_file = "{authority.ca}"\ncert_file = "{own}"\nkey_file = "{own.with_suffix(".key")}"\n'
    node = NodeProcess(tmp_path, broker.tls_port, broker=tls)
    try:
        until(lambda: hub.payloads("hb") and hub.payloads("troubles"), 30.0)

        def both() -> bool:
            told = decode(hub.payloads("troubles")[-1], TroublesChanged)
            return {"own_certificate", "broker_certificate"} <= {one.kind for one in told.troubles}

        until(both)
        # A first one may have been sent before the broker had shown its own.
        until(lambda: decode(hub.payloads("hb")[-1], Heartbeat).broker_certificate_days is not None)
        beat = decode(hub.payloads("hb")[-1], Heartbeat)
        assert beat.broker_certificate_days == pytest.approx(5, abs=0.1)
        assert beat.own_certificate_days == pytest.approx(10, abs=0.1)
        assert node.signal(signal.SIGTERM) == 0
    finally:
        if node.process.poll() is None:
            node.signal(signal.SIGKILL)
    hub.stop()
    broker.kill()
