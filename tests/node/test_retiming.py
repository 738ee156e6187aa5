"""Times that a wrong clock told come right by the monotonic clock, for any clocks."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.events import event
from tocsin_node.retiming import boot_token, corrected, same_machine_boot
from tocsin_shared.codec import decode, encode
from tocsin_shared.events import Clock, Phase, SoundDetected

TRUE_ONSET = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
BOOT = boot_token("f" * 32, "one")


def told(
    clock: Clock = Clock.UNSYNCED, *, wrong: float = 40.0, mono: float = 38.0, lasted: float | None = None
) -> SoundDetected:
    """An event whose onset a clock at ``wrong`` seconds told when the monotonic one stood at ``mono``."""
    onset = datetime.fromtimestamp(wrong, UTC)
    return msgspec.structs.replace(
        event(1, phase=Phase.ONSET if lasted is None else Phase.OFFSET),
        onset=onset,
        offset=None if lasted is None else onset + timedelta(seconds=lasted),
        onset_mono_ns=round(mono * 1e9),
        clock=clock,
        boot=BOOT,
    )


@given(
    wrong=st.floats(0.0, 4e9),
    mono=st.floats(0.0, 1e8),
    later=st.floats(0.0, 1e8),
    lasted=st.none() | st.floats(0.0, 1e5),
    process=st.sampled_from(["one", "two"]),
)
def test_whatever_the_wrong_clock_said_the_onset_comes_right(
    wrong: float, mono: float, later: float, lasted: float | None, process: str
) -> None:
    """The clock is set at any later moment; even another process of the same start can tell then."""
    wall_now = TRUE_ONSET.timestamp() + later
    before = told(wrong=wrong, mono=mono, lasted=lasted)
    after = corrected(before, boot_token("f" * 32, process), wall_now - (mono + later))
    assert abs(after.onset - TRUE_ONSET) < timedelta(milliseconds=1)
    assert after.clock is Clock.NTP
    if before.offset is None:
        assert after.offset is None
    else:
        assert after.offset is not None
        assert after.offset - after.onset == before.offset - before.onset
    untouched = {"onset", "offset", "clock"}
    for name in set(SoundDetected.__struct_fields__) - untouched:
        assert getattr(after, name) == getattr(before, name)
    assert corrected(after, BOOT, 0.0) == after, "once right, it is never touched again"
    assert decode(encode(after), SoundDetected) == after


@given(st.floats(-1e10, 1e13, allow_nan=False))
def test_no_clock_whatever_makes_an_event_that_cannot_be_sent(wall_minus_mono: float) -> None:
    encode(corrected(told(), BOOT, wall_minus_mono))


@pytest.mark.parametrize(
    "before",
    [
        told(Clock.NTP),
        msgspec.structs.replace(told(), boot=boot_token("0" * 32, "one")),
        msgspec.structs.replace(told(), onset_mono_ns=None),
    ],
    ids=["told by a right clock", "another start of the machine", "of an older version"],
)
def test_what_cannot_be_put_right_stays_as_it_is(before: SoundDetected) -> None:
    assert corrected(before, BOOT, 1.7e9) == before


def test_a_machine_that_gives_no_name_to_its_start_shares_a_clock_with_its_own_process_only() -> None:
    assert same_machine_boot(boot_token("", "one"), boot_token("", "one"))
    assert not same_machine_boot(boot_token("", "one"), boot_token("", "two"))
    assert not same_machine_boot(boot_token("", "one"), BOOT)
