"""Recordings are judged as a node would tell them, and whatever could not be heard is named."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tocsin_models.card import BEGIN, END, put_recordings
from tocsin_models.cli import main
from tocsin_models.corpus import read_manifest_csv
from tocsin_models.figures import Scores, poisson_upper
from tocsin_models.label_map import SHIPPED, LabelMap
from tocsin_models.recipe import LABELS
from tocsin_models.recordings import Chosen, Order, Peer, Report, choose, evaluate
from tocsin_models.recordings_text import as_text
from tocsin_models.teacher import CLASSES
from tocsin_shared.errors import BadInputError, BundleError
from tocsin_shared.features import Frames, Samples
from tocsin_shared.manifest import (
    DetectionRule,
    FeatureSpec,
    LabelSpec,
    Manifest,
    VariantSpec,
    shipped_bundle,
)
from tocsin_shared.synthesis import at_level, sound

RULE = DetectionRule(on_threshold=0.6, off_threshold=0.4, active_seconds=1.0, span_seconds=2.0)


class LoudIsASiren:
    """Hears a siren in every window whose loudest band stands well above the usual ambience."""

    name = "loud-1.0.0+float32"
    manifest = Manifest(
        name="loud",
        release="1.0.0",
        created="now",
        features=FeatureSpec(),
        labels=(
            LabelSpec(name="emergency_siren", rule=RULE),
            LabelSpec(name="speech"),
            LabelSpec(name="background"),
        ),
        variants=(VariantSpec(name="float32", file="m.tflite", sha256="0" * 64, size_bytes=1),),
    )

    def scores(self, window: Frames) -> Samples:
        loud = float(np.quantile(window.max(axis=1), 0.9)) > 2.0
        return np.array([0.9, 0.0, 0.1] if loud else [0.1, 0.0, 0.9], dtype=np.float32)


def write(folder: Path, name: str, samples: Samples) -> None:
    soundfile.write(folder / name, samples, 16_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sirens, one loud and one hardly there, rain, and speech."""
    rng = np.random.default_rng(1)
    siren = sound("emergency_siren", 4.0, rng)
    write(tmp_path, "loud.wav", at_level(siren, -12.0))
    write(tmp_path, "also.wav", at_level(sound("emergency_siren", 4.0, rng), -12.0))
    write(tmp_path, "rain.wav", (0.001 * rng.standard_normal(64_000)).astype(np.float32))
    write(tmp_path, "speech.wav", at_level(sound("speech", 4.0, rng), -12.0))
    rows = ["loud.wav,siren,a", "also.wav,siren,b", "rain.wav,rain,a", "speech.wav,speech,b"]
    (tmp_path / "manifest.csv").write_text("path,label,part\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the shipped bundle, to write into."""
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def chosen(data: Path, *where: str) -> Chosen:
    labels = LoudIsASiren.manifest.label_names
    return choose(data / "manifest.csv", LabelMap.read(), labels, where)


def report(data: Path, *where: str, snr_db: tuple[float, float] = (40.0, 40.0)) -> Report:
    judge: Any = LoudIsASiren()
    return evaluate(judge, chosen(data, *where), Order(3, snr_db), lambda _: None)


def test_a_siren_that_is_told_is_a_hit_and_comes_with_its_latency(data: Path) -> None:
    siren = report(data, "label=siren").events["siren"]
    assert (siren.of, siren.hits) == (2, 2)
    assert siren.right == ("emergency_siren",)
    assert siren.latency_seconds is not None
    assert 0.5 <= siren.latency_seconds[0] <= 2.5
    assert siren.interval[0] < 1.0 == siren.interval[1]


def test_a_siren_that_is_not_heard_is_no_hit(data: Path) -> None:
    siren = report(data, "label=siren", snr_db=(-20.0, -20.0)).events["siren"]
    assert (siren.hits, siren.latency_seconds) == (0, None)


def test_what_is_told_where_nothing_is_to_be_told_is_a_false_alarm(data: Path) -> None:
    false = report(data, "label=rain", "label=speech").false_alarms
    assert false.told["emergency_siren"] >= 1
    assert false.alarms == sum(false.told.values())
    assert false.recorded_hours == pytest.approx(8.0 / 3600.0)
    assert false.hours > false.recorded_hours
    assert false.alarms_per_hour == pytest.approx(false.alarms / false.hours)
    assert false.alarms_per_hour_at_most == pytest.approx(poisson_upper(false.alarms) / false.hours)


def test_speech_is_recognised_only_so_it_is_no_event(data: Path) -> None:
    assert set(report(data).events) == {"siren"}


def test_the_same_seed_gives_the_same_figures(data: Path) -> None:
    assert report(data) == report(data)


def test_windows_are_judged_for_every_label_that_is_there(data: Path) -> None:
    found = report(data, "label=siren", "label=rain")
    assert set(found.windows.f1) == {"emergency_siren", "background"}
    assert found.macro_f1 == pytest.approx(np.mean(list(found.windows.f1.values())))
    assert found.windows.f1["emergency_siren"] > 0.7


def test_rows_are_chosen_by_their_columns(data: Path) -> None:
    def names(*where: str) -> list[str]:
        return [item.path.name for item in chosen(data, *where).items]

    assert names("part=a") == ["loud.wav", "rain.wav"]
    assert names("label=siren", "label=rain", "part=a") == ["loud.wav", "rain.wav"]
    assert names("label!=s*") == ["rain.wav"]
    with pytest.raises(BadInputError, match="the columns fold are missing"):
        names("fold=4")
    with pytest.raises(BadInputError, match="COLUMN=PATTERN"):
        names("fold4")
    with pytest.raises(BadInputError, match="no recording is left"):
        names("part=c")


def test_what_cannot_be_heard_is_named_and_makes_the_figures_misleading(data: Path) -> None:
    (data / "torn.wav").write_bytes((data / "loud.wav").read_bytes()[:30])
    (data / "empty.wav").write_bytes(b"")
    with (data / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("torn.wav,siren,a\nempty.wav,siren,a\nloud.wav,siren,a\ngone.wav,siren,a\nx.wav,,a\n")
        file.write("rain.wav,sirren,a\n../out.wav,siren,a\n")
    found = report(data)
    told = "\n".join(found.problems)
    for part in ("torn.wav", "empty.wav", "stands there twice", "'gone.wav'", "label must not be empty",
                 "'sirren' has no meaning yet", "leads out"):  # fmt: skip
        assert part in told
    assert found.misleading


def test_labels_that_the_bundle_does_not_have_are_left_out_and_told_once(data: Path) -> None:
    with (data / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("loud.wav,chainsaw,a\nalso.wav,chainsaw,a\n")
    found = chosen(data, "label=chainsaw", "label=rain")
    assert [item.label for item in found.items] == ["rain"]
    assert [one.text for one in found.problems] == [
        "2 of 'chainsaw' left out: the bundle has none of chainsaw_or_power_tool"
    ]
    assert not found.problems[0].misleads


def test_one_bad_recording_of_many_does_not_mislead(data: Path) -> None:
    rows = [f"{number}.wav,rain,a" for number in range(60)]
    for number in range(59):
        write(data, f"{number}.wav", np.full(800, 1e-4, dtype=np.float32))
    (data / "59.wav").write_bytes(b"")
    (data / "manifest.csv").write_text("path,label,part\n" + "\n".join(rows) + "\n", encoding="utf-8")
    found = report(data)
    assert len(found.problems) == 1
    assert not found.misleading


def test_recordings_that_are_not_there_make_the_figures_misleading(data: Path) -> None:
    with (data / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("gone.wav,siren,a\n")
    found = report(data)
    assert found.recordings == 4
    assert found.misleading


def test_silence_is_named_and_is_no_siren_that_was_missed(data: Path) -> None:
    write(data, "also.wav", np.zeros(64_000, dtype=np.float32))
    found = report(data)
    assert (found.events["siren"].of, found.events["siren"].hits) == (1, 1)
    (problem,) = found.problems
    assert "also.wav: holds nothing but silence" in problem


def test_without_a_quiet_recording_nothing_is_said_about_false_alarms(data: Path) -> None:
    found = report(data, "label=siren")
    assert found.false_alarms.alarms_per_hour is None
    assert found.false_alarms.alarms_per_hour_at_most is None
    assert "false alarms were not counted" in as_text(found)


class LevelAsScore:
    """A peer whose class 5 is as sure as the sound is loud, and that names class 9 instead of a soft one."""

    def scores(self, samples: Samples) -> Scores:
        heard = np.zeros((1, CLASSES), dtype=np.float32)
        heard[0, 5] = np.max(np.abs(samples))
        heard[0, 9:14] = 0.5
        return heard


def test_the_peer_hears_a_soft_recording_as_well_as_a_loud_one(data: Path) -> None:
    write(data, "also.wav", at_level(sound("emergency_siren", 4.0, np.random.default_rng(2)), -50.0))
    stand_in: Any = LevelAsScore()
    judge: Any = LoudIsASiren()
    order = Order(3, (40.0, 40.0), Peer(stand_in, {"siren": (5,)}))
    peer = evaluate(judge, chosen(data), order, lambda _: None).events["siren"].peer
    assert peer is not None
    assert peer[0] == 2


def test_not_one_readable_recording_is_an_error(data: Path) -> None:
    (data / "loud.wav").write_bytes(b"no sound")
    with pytest.raises(BadInputError, match=r"none of 1 recordings can be read; the first: .*loud\.wav"):
        report(data, "path=loud.wav")


def test_a_map_of_ones_own_extends_the_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[labels]\nforklift = ["vehicle_horn"]\nrain = ["engine"]\nRIR = []\n', encoding="utf-8")
    found = LabelMap.read(own)
    assert found.right["forklift"] == ("vehicle_horn",)
    assert found.right["rain"] == ("engine",)
    assert found.right["siren"] == LabelMap.read().right["siren"]
    assert found.knows("RIR")
    assert not LabelMap.read().knows("RIR")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[labels]\nsiren = 3\n", "Expected `array`"),
        ("[lables]\n", "lables"),
        ("[labels\n", "own.toml"),
        ("[yamnet]\nsiren = [521]\n", "numbered 0 to 520, not 521"),
    ],
)
def test_a_wrong_map_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"own\.toml") as caught:
        LabelMap.read(tmp_path / "own.toml")
    assert complaint in str(caught.value)
    with pytest.raises(BadInputError, match="cannot be read"):
        LabelMap.read(tmp_path / "none.toml")


def test_the_shipped_map_speaks_of_labels_that_exist() -> None:
    found = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    named = {
        label for table in ("labels", "may_hold") for labels in found[table].values() for label in labels
    }
    assert named <= {*LABELS, "siren"}
    assert set(found["may_hold"]) | set(found["yamnet"]) <= set(found["labels"])


def test_the_bound_of_false_alarms_is_the_one_of_the_tables() -> None:
    assert poisson_upper(0) == pytest.approx(2.996, abs=0.001)
    assert poisson_upper(1) == pytest.approx(4.744, abs=0.001)
    assert poisson_upper(10) == pytest.approx(16.962, abs=0.001)


def test_the_text_has_a_row_for_each_label_and_names_problems(data: Path) -> None:
    (data / "rain.wav").unlink()
    text = as_text(report(data))
    assert "| siren | emergency_siren | 2 / 2 |" in text
    assert "Left out:\n- " in text
    assert "95 %" in text


def test_the_command_answers_in_json_and_fills_the_card(
    data: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "card.md").write_text(f"# card\n\n{BEGIN}\nold\n{END}\n\nend\n", encoding="utf-8")
    command = ["evaluate", "--bundle", str(bundle), "--manifest", str(data / "manifest.csv")]
    assert main([*command, "--json", "--card"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recordings"] == 4
    assert found["events"]["siren"]["of"] == 2
    card = (bundle / "card.md").read_text(encoding="utf-8")
    assert card.startswith(f"# card\n\n{BEGIN}\nsentry-")
    assert card.endswith(f"{END}\n\nend\n")
    (data / "loud.wav").write_bytes(b"")
    assert main(command) == 1
    assert "mislead" in capsys.readouterr().err


def test_a_card_without_a_place_for_figures_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# card\n", encoding="utf-8")
    with pytest.raises(BundleError, match="cannot be written there"):
        put_recordings(tmp_path / "card.md", "new")
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == "# card\n"


@pytest.mark.corpus
def test_every_label_of_the_corpus_has_a_meaning(corpus: Path) -> None:
    meanings = LabelMap.read()
    labels = {clip.label for clip in read_manifest_csv(corpus)}
    assert {label for label in labels if not meanings.knows(label)} == meanings.ignored & labels
