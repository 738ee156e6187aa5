"""A rollout in the words of both languages, and the drawing of its rings."""

import math
from typing import Any

import pytest

from tocsin_hub.i18n import catalogue
from tocsin_hub.rollouts.model import BAD, GOOD, Execution, Pause, Status
from tocsin_hub.rollouts.rehearse import Fault, FaultLine, Script, rehearse
from tocsin_hub.rollouts.words import KINDS, Words, drawing, kind_of

EN, KO = Words(catalogue("en")), Words(catalogue("ko"))


def room(**changes: Any) -> dict[str, Any]:
    """A room as the JSON of a rollout tells it."""
    told: dict[str, Any] = {
        "node": "press-1",
        "room": "Press shop",
        "zone": "hall-1",
        "state": "failed",
        "stage": "golden",
        "error": "E_GOLDEN",
        "detail": "hears engine in smoke_alarm.wav",
        "since": None,
        "online": True,
        "waits": "",
        "active_release": "0.1.0",
        "active_variant": "full-int8",
        "forgiven": False,
        "step": "golden",
        "bytes_done": 0,
        "bytes_total": 0,
        "windows_missed": 0,
    }
    return told | changes


def test_a_room_that_failed_says_in_plain_words_what_it_did_not_hear() -> None:
    shown = EN.room(room())
    assert shown.state == "Failed; the old model listens"
    assert shown.why == "It did not hear its sample “Fire alarm (smoke detector)”: it took it for “Engine”."
    assert "listening to sample sounds" in shown.where
    assert shown.detail == "hears engine in smoke_alarm.wav"
    assert "화재 경보" in KO.room(room()).why
    assert "E_" not in shown.why + KO.room(room()).why


@pytest.mark.parametrize(
    ("code", "detail", "words"),
    [
        ("E_BUDGET", "a window takes 31.4 ms; 12.5 ms are allowed", "31 ms for one window of sound, 12 ms"),
        ("E_BUDGET", "", "too slow or too large"),
        ("E_GOLDEN", "a score in siren.wav is 0.310 from the signer's; 0.02 is allowed", "“Siren”"),
        ("E_GOLDEN", "has no golden clips", "did not recognise the sample sounds"),
        ("zone_busy", "", "one at a time"),
        ("E_OF_TOMORROW", "", "E OF TOMORROW"),
        ("", "", ""),
    ],
)
def test_reasons_are_as_exact_as_the_node_tells(code: str, detail: str, words: str) -> None:
    assert words in EN.why(code, detail)


def test_a_room_that_waits_says_for_what_and_one_that_loads_how_far_it_is() -> None:
    waits = EN.room(room(state="queued", error="", detail="", step="", waits="offline", online=False))
    assert (waits.kind, waits.why, waits.remarks) == ("wait", "Its node is not connected.", ())
    loads = EN.room(
        room(state="downloading", error="", detail="", bytes_done=2_300_000, bytes_total=4_100_000)
    )
    assert (loads.kind, loads.loaded, loads.where) == ("work", "2.3 of 4.1 MB", "")
    silent = EN.room(room(state="unreachable", error="silent", online=False, forgiven=True, windows_missed=3))
    assert len(silent.remarks) == 3


@pytest.mark.parametrize(
    ("pause", "detail", "words"),
    [
        (Pause.ERROR_THRESHOLD, "1 of 3", "too many rooms (1 of 3 rooms that came to an end)."),
        (Pause.ERROR_THRESHOLD, "2 did not return", "(2 rooms did not go back)."),
        (Pause.ALARM_DRIFT, "12 detections, 2 before", "(12 alarms, 2 with the old model)."),
        (Pause.SAFETY_HOLD, "drill", "an alarm or a drill is open."),
        (Pause.BAD_EXPRESSION, "3 or so", "(3 or so)."),
    ],
)
def test_a_pause_names_its_reason_and_figures(pause: Pause, detail: str, words: str) -> None:
    assert words in EN.reason(pause, detail)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ("1", "at the first room that fails"),
        ("3", "at 3 rooms that fail"),
        ("12.5%", "when 12.5 % of the rooms fail"),
        ("3 or 20%", "at 3 rooms that fail, or 20 %"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_gate_is_one_sentence(errors: str, words: str) -> None:
    gate = {"success_share": 0.9, "soak_seconds": 600.0, "errors": errors}
    assert EN.gate(gate).startswith("Before the next ring: 90% of its rooms must have proved it, and 10")
    assert words in EN.gate(gate)
    assert "must pass" not in EN.gate({**gate, "soak_seconds": 0.0})


def test_every_state_is_of_one_kind_and_what_counts_as_an_error_looks_like_one() -> None:
    kinds = {state: kind_of(state) for state in Execution}
    assert set(kinds.values()) == set(KINDS)
    assert {state for state, kind in kinds.items() if kind == "bad"} == BAD
    assert {state for state, kind in kinds.items() if kind == "good"} == GOOD


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("words", [EN, KO], ids=["en", "ko"])
def test_a_rehearsal_is_told_in_words_alone(words: Words, fault: Fault) -> None:
    shown = rehearse(6, 2, Script(faults=(FaultLine(fault),), rings=("1", "rest")), seed=1)
    outcome = words.outcome(shown, {})
    told = [outcome.words, *(line for ring in outcome.rings for part in ring[2:] for line in part)]
    told += [line for _, line in outcome.moments]
    assert outcome.good is (shown.status is Status.SUCCEEDED)
    assert not any("E_" in line or "{" in line or "_" in line for line in told), told


@pytest.mark.parametrize("counts", [(1, 3, 20), (1,), (0, 2), (), (2, 300)])
def test_marks_stand_on_rings_around_one_another_and_do_not_touch(counts: tuple[int, ...]) -> None:
    made = drawing([{"nodes": [{"state": "queued"}] * count} for count in counts])
    assert len(made.dots) == sum(counts)
    assert list(made.radii) == sorted(set(made.radii))
    assert all(math.hypot(dot.x, dot.y) < made.reach for dot in made.dots)
    spots = [(dot.x, dot.y) for dot in made.dots]
    near = [math.dist(one, two) for number, one in enumerate(spots) for two in spots[:number]]
    assert min(near, default=20.0) > 16.0
