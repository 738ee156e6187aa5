"""What people may write into fields about people."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_hub.people.model import DailySpan
from tocsin_hub.people.rules import (
    FieldError,
    check_password,
    clean_login,
    clean_name,
    clean_zones,
    read_spans,
    write_spans,
)

SPANS = st.builds(
    DailySpan,
    st.frozensets(st.integers(0, 6)),
    st.integers(0, 1439),
    st.integers(0, 1439),
)


@given(st.lists(SPANS, max_size=4))
def test_spans_are_read_as_they_are_written(spans: list[DailySpan]) -> None:
    assert read_spans(write_spans(spans), "shift") == tuple(spans)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    keys = {"people.bad_name", "people.bad_login", "people.bad_zone", "people.bad_span"}
    reads = (clean_name, clean_login, lambda text: clean_zones([text]), lambda text: read_spans(text, "x"))
    assert {key for read in reads if (key := refusal(read, text))} <= keys


def refusal(read: Callable[[str], object], text: str) -> str:
    """Key of why ``text`` is refused; empty if it is not."""
    try:
        read(text)
    except FieldError as error:
        return error.key
    return ""


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("22:00-06:00", DailySpan(frozenset(), 1320, 360)),
        ("1-5 6:30–14:00", DailySpan(frozenset(range(5)), 390, 840)),
        ("6-1 00:00-24:00", DailySpan(frozenset({5, 6, 0}), 0, 0)),
        ("1,3,5-6 08:00-08:00", DailySpan(frozenset({0, 2, 4, 5}), 480, 480)),
    ],
)
def test_days_and_times(text: str, span: DailySpan) -> None:
    assert read_spans(text, "shift") == (span,)


@pytest.mark.parametrize(
    "text", ["25:00-06:00", "8-9 06:00-07:00", "06:00", "morning", "06:60-07:00", "1 - 2"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FieldError, match=r"quiet: must look like"):
        read_spans(text, "quiet")


def test_names_have_no_signs_that_nobody_sees() -> None:
    assert clean_name("  김  민아 ") == "김 민아"
    for text in ("", " ", "a" * 81, "Mina\u202eadmin", "a\x00b", "\u200b", "\ud800"):
        with pytest.raises(FieldError):
            clean_name(text)


def test_login_names_are_small_and_passwords_are_not_short() -> None:
    assert clean_login(" Mina.Kim@Example.org ") == "mina.kim@example.org"
    check_password("correct horse", 10)
    for password in ("short", "aaaaaaaaaaaa", "x" * 257):
        with pytest.raises(FieldError):
            check_password(password, 10)
