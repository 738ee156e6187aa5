"""When a web process may be believed: the rules of beats."""

import pytest

from tocsin_hub.web.beats import FRESH_SECONDS, Beat, Beats, Standing, standing

LONG_AGO = FRESH_SECONDS + 0.1


@pytest.mark.parametrize(
    ("hub", "own", "found"),
    [
        (0.5, 0.5, Standing.LIVE),
        (FRESH_SECONDS, None, Standing.LIVE),
        (LONG_AGO, 0.5, Standing.CUT_OFF),
        (None, 0.5, Standing.CUT_OFF),
        (LONG_AGO, LONG_AGO, None),
        (None, None, None),
    ],
)
def test_silence_of_the_hub_is_told_from_silence_of_redis(
    hub: float | None, own: float | None, found: Standing | None
) -> None:
    """Who hears himself by Redis, but no hub, knows that there is none; who hears nobody knows nothing."""
    assert standing(hub, own) is found


def beat(process: str, *, leads: bool = False, **pages: int) -> Beat:
    return Beat(host_id=process, leads=leads, pages=pages)


def test_pages_of_all_others_count_for_as_long_as_those_speak() -> None:
    beats = Beats()
    beats.take(beat("w1", mina=1, jun=2), 10.0)
    beats.take(beat("w2", mina=3), 12.0)
    assert (beats.pages("mina", 12.0), beats.pages("jun", 12.0), beats.pages(None, 12.0)) == (4, 2, 6)
    assert beats.pages("nobody", 12.0) == 0
    later = 10.0 + LONG_AGO
    assert (beats.pages("mina", later), beats.pages("jun", later), beats.others(later)) == (3, 0, 1)


def test_the_hub_that_was_heard_last_counts_until_it_says_farewell() -> None:
    beats = Beats()
    assert beats.hub(1.0) is None
    beats.take(beat("first", leads=True), 1.0)
    beats.take(beat("web"), 3.0)
    beats.take(beat("second", leads=True), 4.0)
    heard = beats.hub(5.0)
    assert heard is not None
    assert (heard[0], heard[1].host_id) == (1.0, "second")
    beats.take(beat("second"), 6.0)
    assert beats.hub(6.0) == (5.0, beat("first", leads=True))
