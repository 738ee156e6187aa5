"""Every layout is read as it lies on disk, and whatever cannot be used is named."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest

from tests.models.study import trees
from tocsin_models.study.archives import as_file, members
from tocsin_models.study.sources import Layout, guessed, read_data_set, without_twins
from tocsin_shared.audio import read_clip
from tocsin_shared.errors import BadInputError


def test_the_first_folder_is_the_label(tmp_path: Path) -> None:
    trees.write(tmp_path / "set" / "siren" / "deep" / "a.wav", trees.tone(400.0))
    trees.write(tmp_path / "set" / "stray.wav", trees.tone(400.0))
    found = read_data_set(tmp_path / "set", Layout.AUTO)
    assert [(one.label, one.group) for one in found.recordings] == [("siren", "set/siren/deep/a.wav")]
    assert [str(one) for one in found.problems] == [
        f"{tmp_path}/set/stray.wav: lies in no folder, so it has no label"
    ]


def test_a_manifest_is_read_row_by_row_and_every_bad_row_is_named(tmp_path: Path) -> None:
    trees.write(tmp_path / "a.wav", trees.tone(400.0))
    rows = ["a.wav,siren,g1", "a.wav,,g1", "gone.wav,siren,g2", "../out.wav,siren,g3", "/etc/passwd,x,g"]
    found = read_data_set(trees.csv_manifest(tmp_path, rows), Layout.AUTO)
    assert [one.label for one in found.recordings] == ["siren"]
    assert Counter(one.kind for one in found.problems) == {"row": 3, "missing": 1}
    assert "manifest.csv:3: label must not be empty" in str(found.problems[0])


def test_a_manifest_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the columns group are missing"):
        read_data_set(trees.csv_manifest(tmp_path, [], head="path,label"), Layout.CSV)


def test_only_the_wanted_sources_are_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        trees.write(tmp_path / f"{name}.wav", trees.tone(400.0))
    trees.csv_manifest(tmp_path, ["a.wav,x,1,one", "b.wav,x,2,two"], head="path,label,group,source")
    assert [one.source for one in read_data_set(tmp_path, Layout.CSV, ("two",)).recordings] == ["two"]


def test_esc50_as_it_is_published(tmp_path: Path) -> None:
    trees.write(tmp_path / "audio" / "1-100032-A-0.wav", trees.tone(400.0))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,100032,A\n",
        encoding="utf-8",
    )
    (one,) = read_data_set(tmp_path, Layout.AUTO).recordings
    assert (one.label, one.group, one.fold) == ("dog", "fs100032", "fold1")


def test_urbansound8k_as_it_is_published(tmp_path: Path) -> None:
    trees.write(tmp_path / "audio" / "fold5" / "100032-3-0-0.wav", trees.tone(400.0))
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text(
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark\n",
        encoding="utf-8",
    )
    (one,) = read_data_set(tmp_path, Layout.AUTO).recordings
    # The same group as in ESC-50: it is the same recording of Freesound.
    assert (one.label, one.group, one.fold) == ("dog_bark", "fs100032", "fold5")


@pytest.mark.parametrize("packed", [False, True])
def test_aihub_with_korean_names(tmp_path: Path, packed: bool) -> None:
    found = read_data_set(trees.aihub(tmp_path, packed=packed), Layout.AUTO)
    assert found.problems == ()
    assert Counter((one.label, one.fold) for one in found.recordings) == {
        ("교통수단/전자제품및생활환경소리/경적", "TS"): 5,
        ("교통수단/전자제품및생활환경소리/경적", "VS"): 2,
        ("공장/기타소리/기계음", "TS"): 5,
        ("공장/기타소리/기계음", "VS"): 2,
    }
    for one in found.recordings[::5]:
        with as_file(one.file, one.member) as path:
            assert len(read_clip(path)) == round(2.2 * 16_000)


def test_sounds_in_a_tar_are_heard_as_well(tmp_path: Path) -> None:
    clip = trees.write(tmp_path / "a.wav", trees.tone(400.0))
    archive = tmp_path / "TS_02.공사장_01.사람의비언어적소리.tar"
    with tarfile.open(archive, "w") as file:
        file.add(clip, "비명/a.wav")
    assert members(archive) == ["비명/a.wav"]
    clip.unlink()
    (one,) = read_data_set(tmp_path, Layout.AUTO).recordings
    assert one.label == "공사장/사람의비언어적소리/비명"
    with as_file(one.file, one.member) as path:
        assert len(read_clip(path)) > 0


def test_a_damaged_archive_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    trees.aihub(tmp_path, packed=True)
    broken = tmp_path / "TS_04.시설류_04.기타소리.zip"
    broken.write_bytes(b"PK\x03\x04 and then nothing")
    found = read_data_set(tmp_path, Layout.AUTO)
    assert len(found.recordings) == 14
    assert [(one.kind, one.where) for one in found.problems] == [("archive", str(broken))]


def test_a_recording_with_two_labels_is_used_with_neither(tmp_path: Path) -> None:
    for name in "ab":
        trees.write(tmp_path / f"{name}.wav", trees.tone(400.0))
    rows = ["a.wav,siren,g1", "a.wav,horn,g1", "b.wav,horn,g2", "b.wav,horn,g2"]
    kept, problems = without_twins(read_data_set(trees.csv_manifest(tmp_path, rows), Layout.CSV).recordings)
    assert [one.file.name for one in kept] == ["b.wav"]
    assert [(one.misleads, "siren" in one.text) for one in problems] == [(True, True), (False, False)]


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    assert guessed(tmp_path) is Layout.FOLDERS
    with pytest.raises(BadInputError, match="holds no recording"):
        read_data_set(tmp_path, Layout.AUTO)
    with pytest.raises(BadInputError, match="no such folder"):
        read_data_set(tmp_path / "gone", Layout.AUTO)
