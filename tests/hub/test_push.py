"""Sending to phones: a real push service in small, real encryption, and everything that it may answer."""

import dataclasses
import datetime as dt
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.hub.databases import at
from tests.hub.parts import START_US, ulid, wait_until
from tests.hub.push_service import Browser, PushService, push_service, unpadded
from tocsin_hub.alerts.model import Message
from tocsin_hub.i18n import LANGUAGES, catalogue
from tocsin_hub.incidents.model import Incident, IncidentKind, IncidentSeverity
from tocsin_hub.people.model import Person, Role
from tocsin_hub.phones import keeping, payload
from tocsin_hub.phones.endpoints import Endpoint, is_public, is_reachable_on_site, parse_endpoint
from tocsin_hub.phones.model import Phone, PhoneTrouble, PhoneTroubleKind
from tocsin_hub.phones.push import THREADS, Push
from tocsin_hub.phones.registry import Registry
from tocsin_hub.phones.sender import Sender, _Pinned
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.phones.vapid import Signer, signer
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.settings import IngestSettings
from tocsin_hub.store import Store
from tocsin_hub.writer import Writer
from tocsin_shared.errors import BadInputError, UnavailableError

HOSTS = PushSettings().hosts
MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2/abc"
KIM = Person(id="p1", name="Kim", role=Role.WORKER, language="ko")


def incident(**changes: Any) -> Incident:
    fields: dict[str, Any] = {
        "id": ulid(7),
        "kind": IncidentKind.SOUND,
        "group": "fire",
        "label": "smoke_alarm",
        "severity": IncidentSeverity.ALARM,
        "zone": "hall-1",
        "drill": False,
        "opened_us": START_US,
        "updated_us": START_US,
    }
    return Incident(**{**fields, **changes})


def message(person: Person | None = KIM, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "delivery": ulid(1),
        "alert": ulid(2),
        "receipt": "r" * 43,
        "incident": incident(),
        "room": "Press shop",
        "candidates": ("smoke_alarm", "machine_alarm_beep"),
        "person": person,
        "repeat": 0,
        "seconds_ago": 3.2,
        "address": f"/me?incident={ulid(7)}",
    }
    return Message(**{**fields, **changes})


class Site:
    """Database, writer, phones and the channel; the push service is small but real."""

    def __init__(
        self, folder: Path, service: PushService, sender: type[Sender] = Sender, **changes: Any
    ) -> None:
        fields: dict[str, Any] = {"test_port": service.port, "timeout_seconds": 2.0}
        self.settings = PushSettings(**{**fields, **changes})
        path = at(folder / "hub.sqlite")
        prepare(path)
        self.service = service
        self.store = Store(path)
        self.writer = Writer(Recorder(path), IngestSettings())
        self.deaths: list[str] = []
        self.writer.start(lambda *_: None, self.deaths.append)
        self.registry = Registry(self.store)
        self.troubles: list[PhoneTrouble] = []
        self.signer = signer(folder, "mailto:safety@site.example")
        self.push = Push(
            registry=self.registry,
            sender=sender(self.settings, self.signer),
            origin="https://hub.example",
            timeout_seconds=self.settings.timeout_seconds,
            zone=dt.UTC,
            clock=lambda: START_US,
            put=self.writer.put,
            on_trouble=self.troubles.append,
        )

    def add(self, path: str, person: str = "p1", number: int = 1) -> Browser:
        """A phone whose messages are answered as ``path`` says."""
        browser = Browser()
        self.add_phone(browser.phone(self.service.url(path), person, number))
        return browser

    def add_phone(self, phone: Phone) -> None:
        self.writer.call(lambda recorder: keeping.save_phone(recorder.database, phone))
        self.registry.reload()

    def close(self) -> None:
        self.service.released.set()
        self.push.stop()
        self.writer.stop()
        self.store.close()
        assert self.deaths == []


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, service: PushService) -> Iterator[Site]:
    made = Site(tmp_path, service)
    yield made
    made.close()


def test_what_is_sent_is_what_the_phone_reads(site: Site, service: PushService) -> None:
    browser = site.add("201/a")
    site.push.send(message())
    [request] = service.taken
    assert request.headers["Urgency"] == "high"
    assert int(request.headers["TTL"]) > 0
    assert request.headers["Content-Encoding"] == "aes128gcm"
    assert len(request.headers["Topic"]) <= 32
    assert len(request.body) < 4096
    words = browser.read(request.body)
    notification = words["notification"]
    assert words["web_push"] == 8030
    assert notification["navigate"] == f"https://hub.example/me?incident={ulid(7)}"
    assert notification["lang"] == "ko"
    assert "화재 경보(연기 감지기) 소리일 수 있습니다" in notification["title"]
    assert "Press shop" in notification["body"]
    assert "3초 전" in notification["body"]
    assert "기계 경고음" in notification["body"]
    assert notification["data"] == {
        "receipt": "r" * 43,
        "phone": "phone-1",
        "answered": notification["data"]["answered"],
        "unsent": notification["data"]["unsent"],
    }
    assert [one["action"] for one in notification["actions"]] == ["need_help", "safe", "false_alarm"]


def test_the_request_is_signed_for_the_service_by_the_hubs_key(site: Site, service: PushService) -> None:
    site.add("201/a")
    site.push.send(message())
    scheme, _, rest = service.taken[0].headers["Authorization"].partition(" ")
    token, _, key = rest.removeprefix("t=").partition(",k=")
    signed, _, signature = token.rpartition(".")
    raw = unpadded(signature)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(key))
    pair = (int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    point.verify(utils.encode_dss_signature(*pair), signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(unpadded(signed.partition(".")[2]))
    assert (scheme, key) == ("vapid", site.signer.public_key)
    assert claims["aud"] == f"http://127.0.0.1:{service.port}"
    assert claims["sub"] == "mailto:safety@site.example"
    assert 0 < claims["exp"] - time.time() < 24 * 3600


def test_all_phones_of_a_person_are_told_and_one_that_works_is_enough(
    site: Site, service: PushService
) -> None:
    site.add("500/a", number=1)
    working = site.add("201/b", number=2)
    site.push.send(message())
    assert site.troubles[-1] == PhoneTrouble(PhoneTroubleKind.PUSH_REFUSED, "p1", lasts=False)
    [taken] = [one for one in service.taken if one.path == "/201/b"]
    assert working.read(taken.body)["notification"]["data"]["phone"] == "phone-2"


@pytest.mark.parametrize("status", [404, 410])
def test_a_phone_that_is_gone_is_forgotten(site: Site, status: int) -> None:
    site.add(f"{status}/a")
    with pytest.raises(UnavailableError, match="does not know the phone any more"):
        site.push.send(message())
    site.writer.call(lambda _: None)
    assert not site.push.reaches(KIM)
    assert site.store.rows("SELECT count(*) FROM phones") == [(0,)]
    assert site.troubles[-1].lasts


@pytest.mark.parametrize(
    ("path", "words", "tries"),
    [
        ("500/a", "answered 500", 3),
        ("429/a", "answered 429", 3),
        ("400/a", "refused the message (400)", 1),
        ("413/a", "refused the message (413)", 1),
        ("redirect/a", "it wants the message elsewhere", 1),
    ],
)
def test_a_refusal_is_told_in_words_and_the_phone_stays(
    site: Site, service: PushService, path: str, words: str, tries: int
) -> None:
    site.add(path)
    with pytest.raises(UnavailableError) as refused:
        site.push.send(message())
    assert words in str(refused.value)
    assert "/a" not in str(refused.value)
    assert len(service.taken) == tries
    [phone] = site.registry.of("p1")
    assert phone.failures == 1
    assert words in phone.error
    assert site.troubles[-1].kind is PhoneTroubleKind.PUSH_REFUSED
    assert words in site.troubles[-1].detail


def test_a_service_that_is_busy_for_a_moment_gets_the_message(site: Site, service: PushService) -> None:
    site.add("once/a")
    site.push.send(message())
    assert len(service.taken) == 2


def test_a_service_that_wants_to_be_left_alone_is_but_for_alarms(site: Site, service: PushService) -> None:
    service.retry_after = "120"
    site.add("429/a")
    with pytest.raises(UnavailableError, match="asks to wait 120 s"):
        site.push.send(message())
    assert len(service.taken) == 1
    notice = message(incident=incident(severity=IncidentSeverity.NOTICE, label="knock"))
    with pytest.raises(UnavailableError, match="asked to wait"):
        site.push.send(notice)
    assert len(service.taken) == 1
    with pytest.raises(UnavailableError):
        site.push.send(message())
    assert len(service.taken) == 2


class TwoServices(Sender):
    """Allows a second push service, with threads of its own."""

    other: PushService

    def endpoint(self, text: str) -> Endpoint:
        if f":{self.other.port}/" in text:
            found = parse_endpoint(text, (), self.other.port)
            return dataclasses.replace(found, service="other")
        return super().endpoint(text)


def test_a_service_that_hangs_ends_in_words_and_holds_up_no_other(tmp_path: Path) -> None:
    """Phones hang and hold all threads of their service; a person of another one is told at once."""
    phones = THREADS + 4
    with push_service() as service, push_service() as other:
        sender = type("_", (TwoServices,), {"other": other})
        site = Site(tmp_path, service, sender, timeout_seconds=1.5)
        try:
            for number in range(phones):
                site.add(f"hang/{number}", f"p{number}", number)
            site.add_phone(Browser().phone(other.url("201/x"), "fine", phones))
            hanging = [threading.Thread(target=_send_in_vain, args=(site, f"p{n}")) for n in range(phones)]
            for one in hanging:
                one.start()
            wait_until(lambda: len(service.taken) >= THREADS, "all threads of the service to hang")
            site.push.send(message(dataclasses.replace(KIM, id="fine")))
            assert any(one.is_alive() for one in hanging)
            for one in hanging:
                one.join(60)
            refused = {one.person: one.detail for one in site.troubles if one.lasts}
            assert set(refused) == {f"p{n}" for n in range(phones)}
            assert all("answer within" in detail for detail in refused.values())
        finally:
            site.close()


def _send_in_vain(site: Site, person: str) -> None:
    with pytest.raises(UnavailableError):
        site.push.send(message(dataclasses.replace(KIM, id=person)))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.7",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "not an address",
    ],
)
def test_a_name_that_leads_inside_is_not_followed(tmp_path: Path, address: str) -> None:
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", address]

    sender = Sender(PushSettings(), signer(tmp_path, "mailto:a@b.example"), resolver)
    sent = sender.send(Browser().phone(MOZILLA), b"{}", {})
    assert not sent.accepted
    assert "not on the internet" in sent.error
    assert asked == ["updates.push.services.mozilla.com"]


def test_a_name_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    def resolver(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    sent = Sender(PushSettings(), signer(tmp_path, "mailto:a@b.example"), resolver).send(
        Browser().phone(MOZILLA), b"{}", {}
    )
    assert sent.again
    assert "cannot be reached: Name or service not known" in sent.error


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "x"])
def test_metadata_is_no_service_of_the_site(address: str) -> None:
    assert not is_reachable_on_site(address, allow_loopback=True)
    assert is_reachable_on_site("192.168.1.7", allow_loopback=False)
    assert not is_reachable_on_site("127.0.0.1", allow_loopback=False)


@pytest.mark.parametrize(
    "text",
    [
        "http://updates.push.services.mozilla.com/x",
        "https://updates.push.services.mozilla.com:8443/x",
        "https://push.services.mozilla.com.evil.example/x",
        "https://evil.example/updates.push.services.mozilla.com",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com\\@evil.example/x",
        "https://xfcm.googleapis.com/x",
        "https://127.0.0.1/x",
        "http://127.0.0.1:80/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://fcm.googleapis.com/x\r\nHost: evil",
        "https://fcm.googleapis.com/ x",
        "https://fcm.googleapis.com:99999/x",
        "https://",
        "file:///etc/passwd",
        "",
        "https://fcm.googleapis.com/" + "a" * 3000,
        "https://.push.apple.com/x",
        "https://fcm.googleapis.com\u3002evil/x",
    ],
)
def test_an_endpoint_that_is_not_allowed(text: str) -> None:
    with pytest.raises(BadInputError, match="endpoint: "):
        parse_endpoint(text, HOSTS)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        (MOZILLA, "*.push.services.mozilla.com"),
        ("https://fcm.googleapis.com/fcm/send/a:b", "fcm.googleapis.com"),
        ("https://FCM.googleapis.com:443/wp/a?x=1", "fcm.googleapis.com"),
        ("https://web.push.apple.com/QOa", "*.push.apple.com"),
        ("https://wns2-db3p.notify.windows.com/w/?token=a%2bb", "*.notify.windows.com"),
    ],
)
def test_an_endpoint_that_is_allowed(text: str, service: str) -> None:
    found = parse_endpoint(text, HOSTS)
    assert (found.service, found.port) == (service, 443)
    assert ":" not in found.origin.removeprefix("https:")


@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test_any_endpoint_is_allowed_or_refused(text: str) -> None:
    try:
        found = parse_endpoint(text, HOSTS)
    except BadInputError:
        return
    assert any(found.host.endswith(entry.lstrip("*")) for entry in HOSTS)


def test_no_test_port_unless_it_is_set() -> None:
    with pytest.raises(BadInputError):
        parse_endpoint("http://127.0.0.1:4000/x", HOSTS)
    assert parse_endpoint("http://127.0.0.1:4000/x", HOSTS, 4000).service == "test"


@pytest.mark.parametrize(
    "broken",
    [{"p256dh": "AAAA"}, {"auth": ""}, {"p256dh": "B" * 87}, {"auth": "!"}, {"p256dh": "ü"}],
)
def test_a_key_that_is_none_is_a_phone_that_is_gone(site: Site, broken: dict[str, Any]) -> None:
    phone = dataclasses.replace(Browser().phone(site.service.url("201/a")), **broken)
    sent = site.push._sender.send(phone, b"{}", {})
    assert sent.gone
    assert site.service.taken == []


def test_the_hubs_key_is_made_once_and_is_its_own(tmp_path: Path) -> None:
    first = signer(tmp_path, "mailto:a@b.example").public_key
    assert signer(tmp_path, "mailto:a@b.example").public_key == first
    assert (tmp_path / "vapid.pem").stat().st_mode & 0o777 == 0o600
    assert len(unpadded(first)) == 65
    (tmp_path / "vapid.pem").write_text("no key", encoding="utf-8")
    with pytest.raises(UnavailableError, match="is damaged"):
        signer(tmp_path, "mailto:a@b.example")


def test_a_signature_is_made_once_for_each_service(tmp_path: Path) -> None:
    made: Signer = signer(tmp_path, "mailto:a@b.example")
    one = made.authorization("https://one.example")
    assert made.authorization("https://one.example") == one
    assert made.authorization("https://two.example") != one


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("room", ["Press shop", "창고" * 3000, '"\\\x00\ud7ff' * 2000, ""])
def test_no_payload_is_too_long_for_a_push_service(language: str, room: str) -> None:
    texts = catalogue(language)
    for given_incident in (
        incident(),
        incident(drill=True, help_us=START_US),
        incident(kind=IncidentKind.TROUBLE, label="mic_absent", severity=IncidentSeverity.TROUBLE),
        incident(label="l" * 64),
    ):
        told = message(
            room=room, incident=given_incident, candidates=("a" * 64,) * 9, address="/me?" + "x" * 2000
        )
        notice = payload.alert_notice(told, texts, "https://hub.example", "12:00:00")
        assert len(payload.encode(notice, texts, "p" * 26)) < payload.MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("language", "drill", "maybe"), [("en", "Drill", "May be"), ("ko", "훈련", "수 있습니다")]
)
def test_the_words_say_drill_may_be_and_help(language: str, drill: str, maybe: str) -> None:
    texts = catalogue(language)

    def notice(**changes: Any) -> payload.Notice:
        return payload.alert_notice(
            message(incident=incident(**changes)), texts, "https://hub.example", "12:00:00"
        )

    assert maybe in notice().title
    assert drill not in notice().title
    assert notice(drill=True).title.startswith(drill)
    assert texts.t("phone.drill") in notice(drill=True).body
    assert notice(help_us=1).title != notice().title
    trouble = notice(kind=IncidentKind.TROUBLE, label="mic_absent", severity=IncidentSeverity.TROUBLE)
    assert texts.t("trouble.mic_absent") in trouble.title
    assert not trouble.asks
    assert payload.canary_notice(texts, "https://hub.example", "r").quiet


@given(
    room=st.text(max_size=300),
    seconds=st.floats(-1e9, 1e12),
    label=st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True),
)
def test_any_words_make_a_payload(room: str, seconds: float, label: str) -> None:
    told = message(room=room, seconds_ago=seconds, incident=incident(label=label))
    texts = catalogue("ko")
    notice = payload.alert_notice(told, texts, "https://hub.example", "12:00:00")
    assert json.loads(payload.encode(notice, texts))["notification"]["title"]


def test_a_topic_is_one_for_each_incident() -> None:
    assert payload.topic(ulid(1)) == payload.topic(ulid(1)) != payload.topic(ulid(2))
    assert len(payload.topic("x")) <= 32


def test_a_connection_is_used_again_and_made_anew_when_it_broke(site: Site, service: PushService) -> None:
    site.add("201/a")
    sender = site.push._sender
    [phone] = site.registry.of("p1")
    for _ in range(3):
        assert sender.send(phone, b"{}", {}).accepted
    assert service.connections == 1
    [[(kept, _)]] = sender._kept.values()
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert sender.send(phone, b"{}", {}).accepted
    assert service.connections == 2


def test_a_phone_that_registers_again_keeps_what_is_known_of_it(site: Site) -> None:
    browser = site.add("201/a")
    site.push.send(message())
    [before] = site.registry.of("p1")
    again = browser.phone(site.service.url("201/a"), "p2", 5, language="ko")
    site.writer.call(lambda recorder: keeping.save_phone(recorder.database, again))
    site.registry.reload()
    [after] = site.registry.of("p2")
    assert site.registry.of("p1") == ()
    assert (after.id, after.accepted_us, after.language) == (before.id, START_US, "ko")


def test_the_least_used_phones_of_a_person_are_forgotten(site: Site) -> None:
    for number in range(1, 5):
        site.add(f"201/{number}", number=number)

    def keep(recorder: Recorder) -> None:
        shown = [
            dataclasses.replace(one, shown_us=99) for one in site.registry.of("p1") if one.id == "phone-1"
        ]
        keeping.save_progress(recorder.database, shown)
        keeping.drop_oldest(recorder.database, "p1", 2)

    site.writer.call(keep)
    site.registry.reload()
    assert {one.id for one in site.registry.of("p1")} == {"phone-1", "phone-4"}


def _certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "service.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("name", "trusted"), [("fcm.googleapis.com", True), ("evil.example", False)])
def test_the_address_is_pinned_and_the_certificate_is_the_names(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    pem = _certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with push_service() as service:
        service._server.socket = context.wrap_socket(service._server.socket, server_side=True)
        client = ssl.create_default_context(cafile=pem)
        connection = _Pinned("fcm.googleapis.com", service.port, ["127.0.0.1"], client, 5.0)
        if trusted:
            connection.request("POST", "/201/a", b"x")
            assert connection.getresponse().status == 201
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                connection.request("POST", "/201/a", b"x")
        connection.close()
