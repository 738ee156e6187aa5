"""The report tells what was lost, what came twice and what was nothing."""

from tocsin_hub.demo.report import Played, Sighting, percentiles, summary

SIREN = Played("press-shop", "siren", 1000.0, 5.0, -20.0)
SMOKE = Played("press-shop", "smoke_alarm", 1020.0, 8.0, -25.0)


def sighting(number: int, label: str, at: float, node: str = "press-shop", rows: int = 1) -> Sighting:
    return Sighting(f"id{number}", node, label, detected=at, stored=at + 0.1, shown=at + 0.2, rows=rows)


def test_all_is_well() -> None:
    """Two sounds, two detections: nothing lost, nothing twice, latencies from the onset."""
    report = summary([SIREN, SMOKE], [sighting(1, "siren", 1002.0), sighting(2, "smoke_alarm", 1021.0)])
    assert [report[key] for key in ("played", "detected", "stored", "shown", "lost")] == [2, 2, 2, 2, 0]
    assert report["duplicates"] == report["false_alarms"] == 0
    assert report["latency_ms"] == {
        "stored": {"p50": 1100.0, "p95": 2100.0},
        "shown": {"p50": 1200.0, "p95": 2200.0},
    }


def test_a_sound_that_no_screen_showed_is_lost() -> None:
    """Stored is not shown; the report says how far it came."""
    half = Sighting("id1", "press-shop", "siren", detected=1002.0, stored=1002.1, shown=None, rows=1)
    report = summary([SIREN], [half])
    assert (report["stored"], report["shown"], report["lost"]) == (1, 0, 1)


def test_two_detections_of_one_sound_are_a_duplicate() -> None:
    """So is a row that stands in the store twice."""
    assert summary([SIREN], [sighting(1, "siren", 1001.0), sighting(2, "siren", 1004.0)])["duplicates"] == 1
    assert summary([SIREN], [sighting(1, "siren", 1001.0, rows=2)])["duplicates"] == 1


def test_a_detection_without_sound_is_a_false_alarm() -> None:
    """Wrong room, wrong label or wrong time do not count for the sound."""
    others = [
        sighting(1, "siren", 1002.0, node="warehouse"),
        sighting(2, "smoke_alarm", 1002.0),
        sighting(3, "siren", 999.0),
        sighting(4, "siren", 1011.0),
    ]
    report = summary([SIREN], others)
    assert (report["false_alarms"], report["lost"]) == (4, 1)


def test_a_sound_that_matters_little_is_no_false_alarm_when_it_is_heard() -> None:
    """Nobody must be told that somebody cries; whoever is, is told the truth."""
    cry = sighting(1, "crying", 1001.0)
    report = summary([Played("press-shop", "crying", 1000.0, 3.0, -20.0)], [cry])
    assert (report["played"], report["lost"], report["false_alarms"]) == (0, 0, 0)
    assert summary([], [cry])["false_alarms"] == 1


def test_speech_is_not_expected() -> None:
    """Nobody must be told of speech, so it cannot be lost."""
    assert summary([Played("press-shop", "speech", 1000.0, 3.0, -20.0)], [])["played"] == 0


def test_percentiles_without_values_are_none() -> None:
    """Not enough data is None, never 0; one value is its own percentile."""
    assert percentiles([None]) == {"p50": None, "p95": None}
    assert percentiles([2.0]) == {"p50": 2000.0, "p95": 2000.0}
    assert percentiles([n / 100 for n in range(1, 101)]) == {"p50": 500.0, "p95": 950.0}
