"""Filters of the history, and the file that they are saved to."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_hub.export import harmless
from tocsin_hub.filters import Filters, read_filters
from tocsin_hub.times import to_us


def test_days_are_those_of_the_reader_and_the_last_one_is_included() -> None:
    filters = read_filters({"since": "2026-11-25", "until": "2026-11-25", "clock": "Asia/Seoul"})
    assert filters.since_us == to_us(datetime(2026, 11, 24, 15, tzinfo=UTC))
    assert filters.until_us == to_us(datetime(2026, 11, 25, 15, tzinfo=UTC))
    assert Filters(since="2026-11-25").since_us == to_us(datetime(2026, 11, 25, tzinfo=UTC))


def test_a_day_of_the_change_to_summer_time_is_as_long_as_it_is() -> None:
    filters = read_filters({"since": "2026-03-29", "until": "2026-03-29", "clock": "Europe/Berlin"})
    assert filters.since_us is not None
    assert filters.until_us is not None
    assert filters.until_us - filters.since_us == 23 * 3600 * 1_000_000


@pytest.mark.parametrize(
    "clock", ["../../etc/passwd", "/etc/localtime", "Nowhere/Town", "", "\x00", "posixrules\n"]
)
def test_a_time_zone_that_is_none_is_left_out(clock: str) -> None:
    assert read_filters({"clock": clock}).clock == ""


@given(st.dictionaries(st.sampled_from(list(Filters().__dataclass_fields__)), st.text(max_size=80)))
def test_any_address_gives_filters_that_the_store_takes(query: dict[str, str]) -> None:
    filters = read_filters(query)
    filters.for_store()
    assert read_filters(filters.query) == filters


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1"])
def test_no_text_is_computed_by_a_spreadsheet(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert harmless(f"Hall {text}") == f"Hall {text}"


def test_an_export_of_nothing_is_a_heading() -> None:
    from tocsin_hub.export import COLUMNS, lines
    from tocsin_hub.i18n import catalogue
    from tocsin_hub.store import HistoryPage

    text = "".join(lines(lambda _: HistoryPage((), None), str, catalogue("ko")))
    (heading,) = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    assert len(heading) == len(COLUMNS)
