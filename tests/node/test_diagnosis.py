"""The doctor's judgements: each says what is wrong and how to mend it."""

import pytest

from tocsin_node import diagnosis
from tocsin_node.diagnosis import Finding
from tocsin_shared.events import Clock


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (diagnosis.sound("", None, "there is no microphone now"), "source.device"),
        (diagnosis.sound("mic", None), "digital silence"),
        (diagnosis.sound("mic", -95.0), "raise its gain"),
        (diagnosis.sound("mic", -3.0), "lower its gain"),
        (diagnosis.clock(Clock.UNSYNCED), "timedatectl set-ntp true"),
        (diagnosis.clock(Clock.FLOOR), "timedatectl set-ntp true"),
        (diagnosis.link("b:1883", "Connection refused"), "Connection refused"),
        (diagnosis.link("b:1883", hub=False), "the hub is away"),
        (diagnosis.link("b:1883"), "start tocsin hub run"),
        (diagnosis.disk(10**6), "only 1 MB"),
        (diagnosis.disk(10**9, "the outbox is damaged"), "outbox.path"),
        (diagnosis.disk(None), "not known"),
        (diagnosis.model("m", ("siren",), 3), "misses its own clips of siren"),
        (diagnosis.model("m", (), 0, "no bundle"), "[model]"),
        (diagnosis.update("https://hub/updates", "no root of trust"), "docs/ota.md"),
        (diagnosis.heat(85.0, None), "85 °C"),
        (diagnosis.heat(40.0, throttled=True), "too hot or too little power"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(finding: Finding, words: str) -> None:
    assert not finding.well
    assert words in finding.words
    assert "; " in finding.words, "a remedy follows"


@pytest.mark.parametrize(
    "finding",
    [
        diagnosis.sound("mic", -60.0),
        diagnosis.clock(Clock.NTP),
        diagnosis.link("b:1883", hub=True),
        diagnosis.disk(10**9),
        diagnosis.model("m", (), 14),
        diagnosis.heat(None, None),
        diagnosis.heat(60.0, throttled=False),
    ],
)
def test_what_is_well_needs_no_remedy(finding: Finding) -> None:
    assert finding.well
