"""A corpus is read strictly, its groups never straddle a split, and broken clips are told."""

import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tocsin_models import recipe
from tocsin_models.corpus import Clip, ReadReport, Split, read_manifest_csv, read_sounds
from tocsin_shared.errors import BadInputError

HEAD = "path,label,source,group,tier,licence,note,seconds\n"


def clip(**changes: str) -> Clip:
    values = {
        "label": "dog",
        "source": "esc50_union",
        "group": "fs1",
        "tier": "A",
        "licence": "CC0",
        "note": "",
    }
    return Clip(path=Path(f"dog-{changes.pop('digits', '0123456789')}.ogg"), **(values | changes))


def test_a_manifest_is_read_in_its_order(tmp_path: Path) -> None:
    rows = "a/x.ogg,siren,s,g1,A,CC0,fold2,5.0\nb/y.ogg,dog,s,g2,B,CC BY-NC,,1\n"
    (tmp_path / "manifest.csv").write_text(HEAD + rows, encoding="utf-8")
    first, second = read_manifest_csv(tmp_path)
    assert first == Clip(tmp_path / "a/x.ogg", "siren", "s", "g1", "A", "CC0", "fold2")
    assert second.tier == "B"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,label\n", "source, group, tier, licence, note are missing"),
        (HEAD + "x.ogg,,s,g,A,CC0,,1\n", "manifest.csv:2: label must not be empty"),
        (
            HEAD + "x.ogg,dog,s,g,A,CC0,,1\n../y.ogg,dog,s,g,A,CC0,,1\n",
            "manifest.csv:3: the path '../y.ogg' leads",
        ),
        (HEAD + "/etc/passwd,dog,s,g,A,CC0,,1\n", "leads out of the corpus"),
    ],
)
def test_a_wrong_manifest_is_refused_with_line_and_reason(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=complaint):
        read_manifest_csv(tmp_path)


def test_a_folder_without_a_manifest_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a corpus"):
        read_manifest_csv(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(struct.pack("<64I", *range(2**31, 2**31 + 64)))
    with pytest.raises(BadInputError):
        read_manifest_csv(tmp_path)


def test_broken_clips_are_skipped_told_and_counted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.zeros(800, dtype=np.float32), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF and nothing else")
    rows = "good.wav,dog,s,g1,A,CC0,,1\nbad.wav,dog,s,g2,A,CC0,,1\ngone.wav,dog,s,g3,A,CC0,,1\n"
    (tmp_path / "manifest.csv").write_text(HEAD + rows, encoding="utf-8")
    told: list[str] = []
    report = ReadReport()
    read = list(read_sounds(read_manifest_csv(tmp_path), report, told.append))
    assert [found.path.name for found, _ in read] == ["good.wav"]
    assert len(told) == 2
    assert "bad.wav" in told[0]
    with pytest.raises(BadInputError, match="2 of 3 clips cannot be read"):
        report.check()


def test_one_broken_clip_in_a_hundred_does_not_stop_the_work() -> None:
    ReadReport(read=99, broken=["x.ogg: damaged"]).check()


def test_only_tier_a_is_used() -> None:
    assert recipe.split_of(clip(tier="B"), frozenset()) is None
    assert recipe.split_of(clip(source="max_samples"), frozenset()) is None


def test_fold_4_and_all_of_its_groups_are_kept_for_the_evaluation() -> None:
    held, other = clip(note="fold4", group="fs7"), clip(note="fold2", group="fs7", label="siren")
    groups = recipe.evaluation_groups((held, other))
    assert recipe.split_of(held, groups) is Split.TEST
    assert recipe.split_of(other, groups) is Split.TEST
    assert recipe.split_of(clip(group="icu_session", label="alarm_beep"), groups) is Split.TEST


def test_clips_named_as_misleading_are_used_nowhere() -> None:
    for digits in recipe.LEFT_OUT:
        assert recipe.split_of(clip(digits=digits, label="car_horn"), frozenset()) is None


LABELS_OF_CORPORA = ("dog", "siren", "car_horn", "rain", "speech", "RIR")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(LABELS_OF_CORPORA),
            st.text("fs0123456789", min_size=1, max_size=6),
            st.sampled_from(["", "fold1", "fold4"]),
        ),
        max_size=60,
    )
)
def test_what_is_trained_on_shares_no_group_with_what_is_evaluated(rows: list[tuple[str, str, str]]) -> None:
    clips = tuple(clip(label=label, group=group, note=note) for label, group, note in rows)
    groups = recipe.evaluation_groups(clips)
    found: dict[Split, set[str]] = defaultdict(set)
    for one in clips:
        split = recipe.split_of(one, groups)
        if split is not None:
            found[split].add(one.group)
    assert not found[Split.TEST] & (found[Split.TRAIN] | found[Split.VALIDATION])
