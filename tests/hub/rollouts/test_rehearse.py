"""``tocsin rollout rehearse``: the outcome of each fault, and the command line."""

import json
import tomllib
from pathlib import Path

import pytest

from tocsin_hub.rollouts.cli import main
from tocsin_hub.rollouts.model import Pause, Status
from tocsin_hub.rollouts.rehearse import Fault, FaultLine, Script, SiteLine, rehearse
from tocsin_shared.errors import BadInputError, SettingsError

STOPPED = {
    Fault.TOO_SLOW: "E_BUDGET",
    Fault.NEVER_ALARMS: "E_SHADOW",
    Fault.ALWAYS_ALARMS: "E_SHADOW",
    Fault.PERMUTED_LABELS: "E_GOLDEN",
    Fault.NAN: "E_GOLDEN",
    Fault.TAMPERED: "E_DOWNLOAD_TAMPER",
    Fault.DOES_NOT_LOAD: "E_LOAD",
    Fault.LEAKS: "E_SOAK",
    Fault.CRASHES: "E_CRASH",
    Fault.INCOMPATIBLE: "E_INCOMPATIBLE",
    Fault.DISK_FULL: "E_DISK",
    Fault.HANGS: "time_limit",
    Fault.SILENT: "silent",
}


def everywhere(fault: Fault) -> Script:
    return Script(faults=(FaultLine(fault=fault),))


@pytest.mark.parametrize("fault", STOPPED)
def test_a_bad_bundle_is_stopped_in_the_canary(fault: Fault) -> None:
    result = rehearse(12, 3, everywhere(fault))
    assert (result.status, result.pause) == (Status.PAUSED, Pause.ERROR_THRESHOLD)
    assert result.directives == 1
    assert result.rings[0].codes == {STOPPED[fault]: 1}
    assert [ring.states for ring in result.rings[1:]] == [{"queued": 3}, {"queued": 8}]
    assert result.most_at_work <= 1


@pytest.mark.parametrize(
    ("fault", "status", "pause"),
    [
        (Fault.DRIFTS, Status.PAUSED, Pause.ALARM_DRIFT),
        (Fault.FALLS_BACK_LATER, Status.PAUSED, Pause.ERROR_THRESHOLD),
        (Fault.OFFLINE, Status.PAUSED, Pause.SUCCESS_GATE),
        (Fault.DEAF, Status.PAUSED, Pause.SUCCESS_GATE),
        (Fault.FLAPPING, Status.SUCCEEDED, None),
    ],
)
def test_what_other_faults_come_to(fault: Fault, status: Status, pause: Pause | None) -> None:
    result = rehearse(12, 3, everywhere(fault))
    assert (result.status, result.pause) == (status, pause)
    assert result.most_at_work <= 1


def test_every_fault_has_its_outcome_here() -> None:
    others = {Fault.DRIFTS, Fault.FALLS_BACK_LATER, Fault.OFFLINE, Fault.DEAF, Fault.FLAPPING}
    assert set(STOPPED) | others == set(Fault)


def test_a_site_without_faults_takes_the_bundle_ring_by_ring() -> None:
    result = rehearse(6, 2, Script(rings=("1", "2", "3")))
    assert result.status is Status.SUCCEEDED
    assert [ring.states for ring in result.rings] == [{"succeeded": 1}, {"succeeded": 2}, {"succeeded": 3}]
    assert (result.directives, result.most_at_work) == (6, 1)
    assert rehearse(6, 2, Script(rings=("1", "2", "3"))) == result


def test_a_node_that_is_away_catches_up_and_an_alarm_only_delays() -> None:
    away = FaultLine(fault=Fault.OFFLINE, nodes=("node-006",), to_seconds=30_000.0)
    alarm = SiteLine(kind="alarm", from_seconds=100.0, to_seconds=4000.0)
    result = rehearse(6, 2, Script(faults=(away,), site=(alarm,)))
    assert result.status is Status.SUCCEEDED
    codes = [one.code for one in result.moments]
    assert "safety_hold" in codes
    assert codes.index("succeeded_with_failures") < codes.index("catching_up") < codes.index("succeeded")


def test_case_75_a_thousand_nodes_are_rehearsed_until_the_canary_stops_them() -> None:
    result = rehearse(1000, 250, Script(faults=(FaultLine(fault=Fault.TOO_SLOW),), rings=("10", "rest")))
    assert result.rings[0].states["failed"] >= 1
    assert result.rings[1].states == {"queued": 990}


def test_the_command_says_ring_by_ring_what_would_happen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "faults.json"
    script.write_text('{"faults": [{"fault": "too_slow", "nodes": ["zone:zone-1"]}], "rings": ["1", "rest"]}')
    assert main(["rehearse", "--nodes", "4", "--zones", "2", "--faults", str(script)]) == 1
    told = capsys.readouterr().out
    assert "ring 1: active, 1 nodes: 1 failed (1 × E_BUDGET)" in told
    assert "outcome: paused (error_threshold)" in told
    assert main(["rehearse", "--nodes", "4", "--zones", "2", "--json", "--seed", "7"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "succeeded"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rehearse"],
        ["rehearse", "--nodes", "0", "--zones", "1"],
        ["rehearse", "--nodes", "six", "--zones", "1"],
        ["rehearse", "--nodes", "99999", "--zones", "1"],
        ["rehearse", "--nodes", "6", "--zones", "2", "--seed", "x"],
        ["create"],
    ],
)
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: tocsin rollout" in capsys.readouterr().err


def test_more_zones_than_nodes_are_refused() -> None:
    with pytest.raises(BadInputError, match="one for each zone"):
        main(["rehearse", "--nodes", "2", "--zones", "3"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"faults": [{"fault": "lazy"}]}', '{"ring": ["1"]}', '{"rings": []}', "[" * 100_000],
)
def test_a_script_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    script = tmp_path / "faults.json"
    script.write_text(text)
    with pytest.raises(SettingsError, match=r"faults\.json"):
        main(["rehearse", "--nodes", "2", "--zones", "1", "--faults", str(script)])


def test_a_script_that_is_away_or_names_strangers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        main(["rehearse", "--nodes", "2", "--zones", "1", "--faults", str(tmp_path / "none.json")])
    with pytest.raises(BadInputError, match="node-9"):
        rehearse(2, 1, Script(faults=(FaultLine(fault=Fault.NAN, nodes=("node-9",)),)))
    with pytest.raises(BadInputError, match="in no ring"):
        rehearse(2, 1, Script(rings=("1",)))


def test_the_command_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    commands = project["project"]["entry-points"]["tocsin.commands"]
    assert commands["rollout"] == f"{main.__module__}:main"
