"""Clips on a real disk: encrypted, whole or not there, without speech; whatever fails is told."""

import contextlib
import os
import resource
import signal
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from ulid import ULID

from tests.node.conftest import BrokerProcess
from tests.node.events import event
from tests.node.fake_hub import FakeHub, until
from tests.node.fake_judge import FakeJudge
from tests.node.test_agent import NodeProcess, alarm, broker, hub, running
from tests.node.test_privacy import leaks
from tocsin_node import cli
from tocsin_node.agent import build
from tocsin_node.clip_files import SUFFIX, ClipFolder, ClipHeader, load_key, make_key, seal
from tocsin_node.clips import Clips
from tocsin_node.settings import ClipSettings, NodeSettings, SourceSettings
from tocsin_shared.codec import decode
from tocsin_shared.errors import BadInputError, SettingsError, UnavailableError
from tocsin_shared.events import NodeBorn, TroublesChanged
from tocsin_shared.features import Samples
from tocsin_shared.manifest import FeatureSpec, LabelSpec, Manifest

__all__ = ["broker", "hub"]
RATE = 16_000
WINDOW = FeatureSpec().window_samples
HOP = RATE // 2
MANIFEST = Manifest(
    name="fake",
    release="0.1.0",
    created="",
    features=FeatureSpec(),
    labels=(LabelSpec(name="siren"), LabelSpec(name="speech")),
    variants=FakeJudge().manifest.variants,
)


def noise(seconds: float, seed: int = 3) -> Samples:
    """What 16 bit make of a room; shape (samples,)."""
    made = np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * RATE))
    heard: Samples = (np.round(made * 32768) / 32768).astype(np.float32)
    return heard


def wanted(folder: Path, **changes: object) -> ClipSettings:
    """Settings under which clips are kept, with a key."""
    key = folder / "clips.key"
    if not key.exists():
        make_key(key)
    given = {"keep": True, "folder": folder / "clips", "key_file": key, **changes}
    return ClipSettings(**given)  # type: ignore[arg-type]


class Site:
    """The clips of a node whose ears this test is."""

    def __init__(self, settings: ClipSettings) -> None:
        self.troubles: list[str] = []
        self.clips = Clips(settings, MANIFEST, self.troubles.append)
        self.folder = ClipFolder(settings.folder, settings.max_bytes, 1e9)
        self._thread = threading.Thread(target=self.clips.run)
        self._end = 0
        self._thread.start()
        until(lambda: self.troubles)

    def hear(self, sound: Samples, speech: float = 0.01) -> None:
        for at in range(0, len(sound), HOP):
            block = sound[at : at + HOP]
            self._end += len(block)
            if self._end >= WINDOW:
                self.clips.window(self._end / RATE, [0.9, speech])
            self.clips.heard(block)

    def end(self) -> None:
        self.clips.stop()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def kept_once(settings: ClipSettings, sound: Samples) -> str:
    """Let one siren be heard at 4 s of ``sound``, and end; the id of its event."""
    site, told = Site(settings), event(1)
    site.hear(sound[: 5 * RATE])
    site.clips.told(told, 4.0)
    site.hear(sound[5 * RATE :])
    site.end()
    return told.id


def test_a_clip_is_what_was_heard_around_the_onset_and_nothing_of_it_is_clear_on_the_disk(
    tmp_path: Path,
) -> None:
    settings, sound = wanted(tmp_path), noise(14.0)
    clip = kept_once(settings, sound)
    header, samples = ClipFolder(settings.folder, 10**9, 1e9).read(clip, load_key(settings.key_file))
    assert (header.label, header.node, header.samples) == ("siren", "press-1", 8 * RATE)
    assert header.before_samples == 2 * RATE
    assert (np.frombuffer(samples, "<i2") == np.round(sound[2 * RATE : 10 * RATE] * 32768)).all()
    (path,) = [one for one in tmp_path.rglob("*") if one.is_file() and one.name != "clips.key"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size > 2 * 8 * RATE
    assert leaks(path.read_bytes(), sound[5 * RATE : 7 * RATE]) == []
    assert leaks(samples, sound[5 * RATE : 7 * RATE]) != []


@pytest.mark.parametrize("seconds", [1.0, 5.5, 9.0, 11.0])
def test_one_word_anywhere_in_its_span_and_nothing_is_kept(tmp_path: Path, seconds: float) -> None:
    settings, sound = wanted(tmp_path), noise(16.0)
    site, spoken = Site(settings), round(seconds * RATE)
    site.hear(sound[:spoken])
    if seconds >= 4.0:
        site.clips.told(event(1), 4.0)
    site.hear(sound[spoken : spoken + HOP], speech=0.2)
    if seconds < 4.0:
        site.hear(sound[spoken + HOP : 5 * RATE])
        site.clips.told(event(1), 4.0)
    site.hear(sound[max(spoken + HOP, 5 * RATE) :])
    site.end()
    # A word after the windows of the last sample is no longer in it.
    inside = spoken + HOP > 2 * RATE and spoken + HOP - WINDOW < 10 * RATE
    assert bool(site.folder.kept()) is not inside
    assert site.troubles[-1] == ""


def test_a_self_test_keeps_none_and_sound_that_ends_makes_a_short_one(tmp_path: Path) -> None:
    site, told = Site(wanted(tmp_path)), event(1)
    site.hear(noise(6.0))
    site.clips.told(replace(event(2), test=True), 3.0)
    site.clips.told(told, 4.0)
    site.hear(noise(1.0))
    site.clips.finish()
    site.end()
    assert [clip.id for clip in site.folder.kept()] == [told.id]


def test_old_clips_go_by_age_and_by_size(tmp_path: Path) -> None:
    now = 1e9
    folder = ClipFolder(tmp_path / "clips", 1000, 100.0, lambda: now)
    for age, name in ((101.0, "old"), (50.0, "second"), (20.0, "third"), (-500.0, "ahead")):
        folder.write(name, b"x" * 240)
        os.utime(tmp_path / "clips" / f"{name}{SUFFIX}", (now - age, now - age))
    (tmp_path / "clips" / "killed.part").write_bytes(b"x")
    folder.tidy()
    assert [clip.id for clip in folder.kept()] == ["second", "third", "ahead"]
    folder.write("new", b"x" * 600)
    os.utime(tmp_path / "clips" / f"new{SUFFIX}", (now, now))
    assert {clip.id for clip in folder.kept()} == {"ahead", "new"}
    now += 101.0
    folder.tidy()
    assert list((tmp_path / "clips").iterdir()) == []
    with pytest.raises(UnavailableError, match=r"more than clips\.max_bytes"):
        folder.write("huge", b"x" * 1001)


@contextlib.contextmanager
def disk_full() -> Iterator[None]:
    """No file of this process may grow beyond 100 bytes: the kernel's own refusal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_told_leaves_nothing_half_and_is_over_with_the_next_clip(tmp_path: Path) -> None:
    site, sound = Site(wanted(tmp_path)), noise(14.0)
    site.hear(sound)
    with disk_full():
        site.clips.told(event(1), 4.0)
        site.hear(sound[:HOP])
        until(lambda: len(site.troubles) == 2)
    assert "File too large" in site.troubles[-1]
    assert list((tmp_path / "clips").iterdir()) == []
    site.clips.told(event(2), 4.0)
    site.hear(sound[:HOP])
    site.end()
    assert site.troubles[2] == ""
    assert len(site.folder.kept()) == 1


@pytest.mark.parametrize(
    ("content", "mode", "named"),
    [
        (None, 0, "No such file"),
        (b"ab" * 32, 0o640, "others can read it"),
        (b"ab" * 32, 0o604, "others can read it"),
        (b"ab" * 31, 0o600, "not 64 hexadecimal digits"),
        (b"\xff" * 64, 0o600, "not 64 hexadecimal digits"),
    ],
)
def test_a_bad_key_is_a_trouble_before_any_alarm_and_no_clip_is_kept(
    tmp_path: Path, content: bytes | None, mode: int, named: str
) -> None:
    key = tmp_path / "bad.key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    site = Site(wanted(tmp_path, key_file=key))
    assert named in site.troubles[0]
    site.hear(noise(14.0))
    site.clips.told(event(1), 4.0)
    site.hear(noise(1.0))
    site.end()
    assert site.folder.kept() == []
    assert named in site.troubles[-1]


def test_a_key_is_never_overwritten_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "k"
    make_key(path)
    key = load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="is there already"):
        make_key(path)
    assert load_key(path) == key


def _sealed(key: bytes) -> tuple[ClipHeader, bytes]:
    told = event(1)
    header = ClipHeader(
        id=told.id,
        node=told.node,
        label=told.label,
        onset=told.onset,
        before_samples=1,
        sample_rate_hz=RATE,
        samples=3,
    )
    return header, seal(key, header, b"abcdef")


def test_another_key_any_changed_byte_and_another_name_are_refused(tmp_path: Path) -> None:
    key = bytes(range(32))
    header, sealed = _sealed(key)
    folder = ClipFolder(tmp_path, 10**6, 1e9)
    folder.write(header.id, sealed)
    assert folder.read(header.id, key) == (header, b"abcdef")
    with pytest.raises(BadInputError, match="another key"):
        folder.read(header.id, bytes(32))
    other = str(ULID())
    folder.write(other, sealed)
    with pytest.raises(BadInputError, match="under another name"):
        folder.read(other, key)
    for at in range(len(sealed)):
        for changed in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]):
            folder.write(header.id, changed)
            with pytest.raises(BadInputError):
                folder.read(header.id, key)
    assert _sealed(key)[1][14:26] != sealed[14:26]  # a nonce serves once


def test_the_command_lists_exports_and_deletes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = kept_once(wanted(tmp_path), noise(14.0))
    config = tmp_path / "node.toml"
    config.write_text('node = "press-1"\n[clips]\nfolder = "clips"\nkey_file = "clips.key"\n')
    at, wav = ["--config", str(config)], tmp_path / "out.wav"
    assert cli.main(["clips", "list", *at]) == 0
    assert f"{clip}  2026-01-01 00:00:00 UTC  siren  8.0 s" in capsys.readouterr().out
    assert cli.main(["clips", "export", clip, str(wav), *at]) == 0
    with wave.open(str(wav)) as made:
        assert (made.getframerate(), made.getnframes()) == (RATE, 8 * RATE)
        assert made.readframes(10) == (noise(14.0)[2 * RATE :][:10] * 32768).astype("<i2").tobytes()
    assert wav.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="name a new file"):
        cli.main(["clips", "export", clip, str(wav), *at])
    with pytest.raises(BadInputError, match="there is no clip"):
        cli.main(["clips", "delete", "../clips/x", *at])
    (tmp_path / "clips.key").unlink()
    assert cli.main(["clips", "key", str(tmp_path / "clips.key")]) == 0
    assert cli.main(["clips", "list", *at]) == 1
    assert "another key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["clips", "delete", *at])
    assert len(list((tmp_path / "clips").iterdir())) == 1
    assert cli.main(["clips", "delete", "--all", *at]) == 0
    assert list((tmp_path / "clips").iterdir()) == []


def test_a_bundle_that_cannot_tell_speech_keeps_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no label speech"):
        Clips(wanted(tmp_path), FakeJudge().manifest, lambda _detail: None)


def test_off_by_default_there_is_no_ring(tmp_path: Path) -> None:
    node = build(NodeSettings(node="press-1", source=SourceSettings(kind="stdin")))
    assert node._clips is None
    assert not ClipSettings().keep


def _last_troubles(heard: FakeHub) -> list[str]:
    told = heard.payloads("troubles")
    newest = decode(told[-1], TroublesChanged).troubles if told else ()
    return [one.kind for one in newest if one.until is None]


def _hear_an_alarm(node: NodeProcess, heard: FakeHub, seconds: float) -> str:
    until(lambda: "microphone: listening" in node.log, 20.0)
    node.play(np.concatenate([noise(4.0) * 0.01, alarm(seconds)]))
    until(heard.live, 20.0)
    return heard.live()[0].id


@pytest.mark.slow
@pytest.mark.broker
def test_a_whole_node_announces_that_it_keeps_clips_and_keeps_one(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    make_key(tmp_path / "a.key")
    more = '[clips]\nkeep = true\nfolder = "clips"\nkey_file = "a.key"\nseconds_after = 2'
    with running(tmp_path, broker, more=more) as node:
        clip = _hear_an_alarm(node, hub, 4.0)
        path = tmp_path / "clips" / f"{clip}{SUFFIX}"
        until(path.exists, 20.0)
        assert decode(hub.payloads("birth")[0], NodeBorn).keeps_clips
        assert "clips" not in _last_troubles(hub)
        node.signal(signal.SIGTERM)
    header, samples = ClipFolder(tmp_path / "clips", 10**9, 1e9).read(clip, load_key(tmp_path / "a.key"))
    assert header.label == "smoke_alarm"
    heard = np.frombuffer(samples, "<i2") / 32768
    assert len(heard) == 4 * RATE
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    everything = b"".join([one.read_bytes() for one in files] + [payload for _, payload in hub.messages])
    assert leaks(everything, heard[RATE : 3 * RATE].astype(np.float32)) == []
    assert float(np.abs(heard[2 * RATE :]).max()) > 5 * float(np.abs(heard[:RATE]).max())


@pytest.mark.slow
@pytest.mark.broker
def test_a_node_without_its_key_says_so_and_tells_its_alarms_all_the_same(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with running(tmp_path, broker, more='[clips]\nkeep = true\nkey_file = "none.key"') as node:
        until(lambda: "clips" in _last_troubles(hub), 20.0)
        _hear_an_alarm(node, hub, 4.0)
        assert node.signal(signal.SIGTERM) == 0
    assert not list(tmp_path.rglob(f"*{SUFFIX}"))
