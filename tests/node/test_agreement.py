"""What network and rhythm say becomes one detection with one number, and its certainty only grows."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.node.fake_judge import FakeJudge, tone
from tocsin_node.agreement import FAST_REST_SECONDS, LABEL_OF, Agreement, Window
from tocsin_node.pipeline import Pipeline, Sound
from tocsin_shared.detector import Change, Detector
from tocsin_shared.events import Certainty, Phase, Rhythm
from tocsin_shared.manifest import DetectionRule, LabelSpec
from tocsin_shared.rhythm import Match
from tocsin_shared.synthesis.alarms import t3_pulses
from tocsin_shared.synthesis.tones import gate

RULE = DetectionRule(on_threshold=0.8, off_threshold=0.5, active_seconds=1.5, span_seconds=2.5)
LABELS = (
    LabelSpec(name="smoke_alarm", rule=RULE),
    LabelSpec(name="scream", rule=RULE),
    LabelSpec(name="background"),
)
HOP = 0.5
ONSET, UPDATE, OFFSET = Phase.ONSET, Phase.UPDATE, Phase.OFFSET


class Room:
    """Detector and agreement as the pipeline steps them, one window every half a second."""

    def __init__(self) -> None:
        self.detector, self.agreement = Detector(LABELS, HOP), Agreement(LABELS, HOP)
        self.now = 0.0
        self.told: list[Change] = []

    def hear(self, smoke: float, rhythm: Match | None = None, scream: float = 0.0) -> list[Change]:
        self.now += HOP
        window = Window(self.now, [smoke, scream, 0.1], -20.0)
        changes = self.detector.step(window.end, window.scores, window.level_dbfs)
        found = self.agreement.hear(window, changes)
        found += self.agreement.match(self.now, [rhythm] if rhythm else [])
        self.told += found
        return found

    def t3(self, cycles: int = 2) -> Match:
        return Match(Rhythm.T3, cycles, max(0.0, self.now - 8.0), self.now)

    @property
    def story(self) -> list[tuple[Phase, Certainty]]:
        return [(one.phase, one.certainty) for one in self.told]


def test_the_network_alone_is_certain_and_has_no_rhythm() -> None:
    room = Room()
    for score in [0.85] * 4 + [0.0] * 6:
        room.hear(score)
    assert room.story == [(ONSET, Certainty.CERTAIN), (OFFSET, Certainty.CERTAIN)]
    assert {one.rhythm for one in room.told} == {Rhythm.NONE}


def test_one_window_far_above_the_threshold_is_told_at_once_and_becomes_certain() -> None:
    room = Room()
    first = room.hear(0.99)
    assert [(one.phase, one.certainty) for one in first] == [(ONSET, Certainty.FAST)]
    assert first[0].onset_seconds == 0.0
    for score in [0.99] * 3 + [0.0] * 6:
        room.hear(score)
    assert room.story[1:] == [(UPDATE, Certainty.CERTAIN), (OFFSET, Certainty.CERTAIN)]
    assert len({one.detection for one in room.told}) == 1
    assert len({one.onset_seconds for one in room.told}) == 1


def test_a_first_sign_that_does_not_come_true_is_ended_and_not_repeated_for_a_while() -> None:
    room = Room()
    for score in [0.99] + [0.0] * 8 + [0.99] + [0.0] * 8:
        room.hear(score)
    assert room.story == [(ONSET, Certainty.FAST), (OFFSET, Certainty.FAST)]
    while room.now < FAST_REST_SECONDS + 5.0:
        room.hear(0.0)
    assert [one.certainty for one in room.hear(0.99)] == [Certainty.FAST]


def test_a_first_sign_is_for_alarms_with_a_rhythm_only() -> None:
    room = Room()
    assert room.hear(0.0, scream=0.999) == []


def test_the_rhythm_confirms_what_the_network_says() -> None:
    room = Room()
    for _ in range(4):
        room.hear(0.85)
    (confirmed,) = room.hear(0.85, room.t3())
    assert (confirmed.phase, confirmed.rhythm, confirmed.certainty) == (
        UPDATE,
        Rhythm.T3,
        Certainty.CONFIRMED,
    )
    assert confirmed.detection == room.told[0].detection
    assert room.hear(0.85, room.t3()) == []


def test_one_cycle_is_no_rhythm() -> None:
    room = Room()
    assert room.hear(0.0, room.t3(cycles=1)) == []


def test_the_rhythm_alone_is_told_as_such_and_ends_with_it() -> None:
    room = Room()
    for _ in range(16):
        room.hear(0.1)
    assert room.hear(0.1, room.t3(cycles=2)) == [], "that comes about by chance"
    (alone,) = room.hear(0.1, room.t3(cycles=3))
    assert (alone.label, alone.certainty, alone.rhythm) == ("smoke_alarm", Certainty.RHYTHM, Rhythm.T3)
    assert alone.score == 0.1
    last = room.t3()
    room.hear(0.1, last)
    (over,) = room.hear(0.1)
    assert (over.phase, over.offset_seconds, over.detection) == (OFFSET, last.end, alone.detection)


def test_the_network_confirms_what_the_rhythm_says_and_the_rhythm_holds_what_the_network_leaves() -> None:
    room = Room()
    room.hear(0.1, room.t3(cycles=3))
    for _ in range(4):
        room.hear(0.85, room.t3())
    for _ in range(12):
        room.hear(0.0, room.t3())
    room.hear(0.0)
    assert room.story == [
        (ONSET, Certainty.RHYTHM),
        (UPDATE, Certainty.CONFIRMED),
        (OFFSET, Certainty.CONFIRMED),
    ]
    assert len({one.detection for one in room.told}) == 1


def test_a_bundle_without_fire_alarms_still_tells_their_rhythm() -> None:
    agreement = Agreement((LabelSpec(name="siren", rule=RULE),), HOP)
    (alone,) = agreement.match(9.0, [Match(Rhythm.T4, 3, 1.0, 8.0)])
    assert (alone.label, alone.score, alone.certainty) == ("co_alarm", 0.0, Certainty.RHYTHM)


def test_at_the_end_everything_is_ended_once() -> None:
    room = Room()
    for _ in range(4):
        room.hear(0.99, room.t3(), scream=0.9)
    ended = room.agreement.flush(room.detector.flush())
    assert sorted((one.label, one.phase) for one in ended) == [("scream", OFFSET), ("smoke_alarm", OFFSET)]
    assert room.agreement.open_count == 0
    assert room.agreement.flush(room.detector.flush()) == []


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.6, 0.85, 0.99]), st.sampled_from([0, 1, 2, 3]), st.booleans()),
    max_size=300,
)


@given(STEPS)
def test_whatever_comes_detections_of_a_label_are_whole_and_do_not_overlap(
    steps: Sequence[tuple[float, int, bool]],
) -> None:
    room = Room()
    for smoke, cycles, screams in steps:
        room.hear(smoke, room.t3(cycles) if cycles else None, scream=0.9 * screams)
    room.told += room.agreement.flush(room.detector.flush())
    for label in ("smoke_alarm", "scream"):
        told = [one for one in room.told if one.label == label]
        ended = -1.0
        for number in dict.fromkeys(one.detection for one in told):
            life = [one for one in told if one.detection == number]
            assert life[0].phase is ONSET
            assert life[-1].phase is OFFSET
            assert all(one.phase is UPDATE for one in life[1:-1])
            assert len({one.onset_seconds for one in life}) == 1
            assert life[0].onset_seconds >= ended
            assert life[-1].offset_seconds is not None
            ended = life[-1].offset_seconds
            assert ended >= life[0].onset_seconds
            ranks = [list(Certainty).index(one.certainty) for one in life]
            assert ranks == sorted(ranks)
    assert room.agreement.open_count == 0


def test_the_pipeline_hears_a_rhythm_that_the_network_does_not_know() -> None:
    pipeline = Pipeline(FakeJudge(), 0.5)
    pulses = gate(t3_pulses(12.0), 12.0, 16_000).astype("float32")
    sound = tone(12.0, amplitude=0.01, hertz=3_100.0) * pulses
    found = [
        one.change
        for start in range(0, len(sound), 1_600)
        for one in pipeline.push(Sound(sound[start : start + 1_600], (start + 1_600) / 16_000))
    ]
    assert [(one.label, one.certainty) for one in found] == [(LABEL_OF[Rhythm.T3], Certainty.RHYTHM)]
    assert found[0].onset_seconds < 0.2
    assert [one.change.phase for one in pipeline.flush()] == [OFFSET]
