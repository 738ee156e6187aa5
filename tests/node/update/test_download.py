"""Section C of the faults: what a download meets, and what it makes of it."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.node.update.server import Mischief, Server, serving
from tocsin_node.update.download import Download, Patience, Wanted
from tocsin_node.update.fetching import CHUNK_BYTES, Web
from tocsin_node.update.steps import Fault, LaterError, RefusedError

CONTENT = bytes(number * number % 251 for number in range(200_000))
SHA = hashlib.sha256(CONTENT).hexdigest()
FAST = Patience(bytes_per_second=1e9, total_seconds=60.0)


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / f"{SHA}.tar").write_bytes(CONTENT)
    with serving(tmp_path / "web") as server:
        yield server


@pytest.fixture(name="wanted")
def _wanted(server: Server, tmp_path: Path) -> Wanted:
    return Wanted(f"{server.url}/{SHA}.tar", len(CONTENT), SHA, tmp_path / "parts" / f"{SHA}.part")


def fetched(wanted: Wanted, patience: Patience = FAST, socket_seconds: float = 10.0) -> bytes:
    return Download(Web(socket_seconds=socket_seconds), wanted, patience).run()


@pytest.mark.parametrize("tenth", range(1, 10))
def test_c32_a_connection_cut_at_every_tenth_goes_on_where_it_was(
    server: Server, wanted: Wanted, tenth: int
) -> None:
    """Not more is sent than the file has, and one piece."""
    server.mischief = Mischief(cut_at=[len(CONTENT) * tenth // 10])
    assert fetched(wanted) == CONTENT
    assert len(server.requests) == 2
    assert server.requests[1][1].startswith("bytes=")
    assert server.sent <= len(CONTENT) + CHUNK_BYTES


def test_c32_cut_nine_times_in_one_download(server: Server, wanted: Wanted) -> None:
    """At every tenth, one after another."""
    server.mischief = Mischief(cut_at=[len(CONTENT) * tenth // 10 for tenth in range(1, 10)])
    assert fetched(wanted) == CONTENT
    assert server.sent <= len(CONTENT) + 9 * CHUNK_BYTES


def test_c32_a_process_that_died_leaves_a_part_that_is_gone_on_with(server: Server, wanted: Wanted) -> None:
    """The next process asks for the rest alone."""
    wanted.part.parent.mkdir()
    wanted.part.write_bytes(CONTENT[:150_000])
    assert fetched(wanted) == CONTENT
    assert server.requests == [(f"/{SHA}.tar", "bytes=150000-")]


def test_c33_one_byte_after_another_ends_at_the_deadline(server: Server, wanted: Wanted) -> None:
    """However alive the connection is."""
    server.mischief = Mischief(drip_seconds=0.02)
    with pytest.raises(LaterError) as refused:
        fetched(wanted, Patience(total_seconds=0.5))
    assert refused.value.fault is Fault.DOWNLOAD_SLOW


def test_c33_or_when_it_is_slower_than_the_least_rate(server: Server, wanted: Wanted) -> None:
    """50 bytes a second are no download."""
    server.mischief = Mischief(drip_seconds=0.02)
    with pytest.raises(LaterError) as refused:
        fetched(wanted, Patience(slow_seconds=0.4, slowest_bytes_per_second=10_000.0))
    assert "bytes per second" in refused.value.detail


def test_c34_a_stall_is_ended_and_what_came_is_kept(server: Server, wanted: Wanted) -> None:
    """By the socket's own limit; then the rest is asked for, and comes."""
    server.mischief = Mischief(stall=True)
    with pytest.raises(LaterError) as refused:
        fetched(wanted, Patience(cuts=1), socket_seconds=0.3)
    assert refused.value.fault is Fault.DOWNLOAD_UNREACHABLE
    server.mischief = Mischief()
    assert fetched(wanted) == CONTENT
    assert server.requests[-1][1] == "bytes=200-"


def test_c35_a_server_without_range_makes_it_begin_anew(server: Server, wanted: Wanted) -> None:
    """A whole answer is never put behind a part."""
    server.mischief = Mischief(cut_at=[70_000], no_range=True)
    assert fetched(wanted) == CONTENT


@pytest.mark.parametrize("mischief", [{"wrong_range": True}, {"other_etag": True}])
def test_c36_another_part_or_another_file_makes_it_begin_anew(
    server: Server, wanted: Wanted, mischief: dict[str, bool]
) -> None:
    """What was there is thrown away; nothing is mixed."""
    server.mischief = Mischief(cut_at=[70_000], **mischief)  # type: ignore[arg-type]
    assert fetched(wanted) == CONTENT
    assert server.requests[-1][1] == ""


def test_c37_a_whole_part_is_checked_without_asking(server: Server, wanted: Wanted) -> None:
    """There is nothing left to ask for."""
    wanted.part.parent.mkdir()
    wanted.part.write_bytes(CONTENT)
    assert fetched(wanted) == CONTENT
    assert server.requests == []


def test_c37_a_server_that_knows_no_rest_makes_it_begin_anew(server: Server, wanted: Wanted) -> None:
    """416: its file is shorter than ours."""
    wanted.part.parent.mkdir()
    wanted.part.write_bytes(CONTENT[:-1])
    server.mischief = Mischief(change=lambda content: content[:100], cut_at=[100, 100])
    with pytest.raises(LaterError):
        fetched(wanted, Patience(cuts=2))
    assert [asked for _, asked in server.requests][:2] == ["bytes=199999-", ""]


@pytest.mark.parametrize("left", [CONTENT[:1000][::-1], CONTENT + b"x", b"\0" * len(CONTENT)])
def test_c38_a_damaged_part_is_thrown_away(server: Server, wanted: Wanted, left: bytes) -> None:
    """Damaged, too long, or of another file: the second time all of it is fetched."""
    wanted.part.parent.mkdir()
    wanted.part.write_bytes(left)
    assert fetched(wanted) == CONTENT


@pytest.mark.parametrize("folder", ["/dev/full", "/proc/nowhere/part"])
def test_c39_a_disk_that_takes_nothing_is_said(server: Server, wanted: Wanted, folder: str) -> None:
    """And nothing is left behind."""
    from dataclasses import replace

    with pytest.raises(RefusedError) as refused:
        fetched(replace(wanted, part=Path(folder)))
    assert refused.value.fault is Fault.DISK


def test_c41_a_download_keeps_to_its_rate(server: Server, wanted: Wanted) -> None:
    """Told by the clock that it is given: no faster, however fast the line is."""
    now = [0.0]
    waits: list[float] = []

    class Clocked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            now[0] += timeout or 0.0
            return False

    download = Download(
        Web(), wanted, Patience(bytes_per_second=100_000.0), stop=Clocked(), clock=lambda: now[0]
    )
    assert download.run() == CONTENT
    assert sum(waits) == pytest.approx(len(CONTENT) / 100_000.0, rel=0.01)


def test_c41_while_an_alarm_is_open_nothing_comes(server: Server, wanted: Wanted) -> None:
    """And the pause counts as no delay."""
    asked: list[bool] = []

    def held() -> bool:
        asked.append(len(asked) < 3)
        return asked[-1]

    class Quick(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return False

    assert Download(Web(), wanted, FAST, held, Quick()).run() == CONTENT
    assert asked.count(True) == 3


def test_c42_a_body_without_a_length_or_end_is_bounded(server: Server, wanted: Wanted) -> None:
    """More than was signed is refused before it fills the disk."""
    server.mischief = Mischief(longer=1_000_000, chunked=True)
    with pytest.raises(RefusedError) as refused:
        fetched(wanted)
    assert refused.value.fault is Fault.DOWNLOAD_ENDLESS
    assert not wanted.part.exists()


def test_c43_a_redirect_is_not_followed(server: Server, wanted: Wanted, tmp_path: Path) -> None:
    """Not even to another file of the same server."""
    server.mischief = Mischief(redirect=f"{server.url}/elsewhere")
    with pytest.raises(LaterError) as refused:
        fetched(wanted)
    assert refused.value.detail == "HTTP 302"
    assert len(server.requests) == 1


def test_a09_bytes_that_were_not_signed_are_refused_and_not_kept(server: Server, wanted: Wanted) -> None:
    """One flipped bit."""
    server.mischief = Mischief(change=lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RefusedError) as refused:
        fetched(wanted)
    assert refused.value.fault is Fault.DOWNLOAD_TAMPER
    assert not wanted.part.exists()


def self_signed(path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that it signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + made.public_bytes(Encoding.PEM))
    return path


def test_over_https_only_a_server_that_is_believed_is_asked(server: Server, tmp_path: Path) -> None:
    """With the site's own authority, cut and gone on with; without it, nothing is asked."""
    certificate = self_signed(tmp_path / "hub.pem")
    with serving(server.folder, certificate) as secure:
        secure.mischief = Mischief(cut_at=[70_000])
        wanted = Wanted(f"{secure.url}/{SHA}.tar", len(CONTENT), SHA, tmp_path / "parts" / f"{SHA}.part")
        with pytest.raises(LaterError) as refused:
            Download(Web(), wanted, Patience(cuts=0)).run()
        assert refused.value.fault is Fault.DOWNLOAD_UNREACHABLE
        assert secure.requests == []
        assert Download(Web(certificate), wanted, FAST).run() == CONTENT
        assert len(secure.requests) == 2
