"""The history as CSV (RFC 4180), line by line, so that a file of any length costs no memory.

It begins with a byte order mark, without which Excel takes Korean for something else. Text that a spreadsheet
would compute is led by an apostrophe: a room may not be called ``=HYPERLINK(…)`` and mean it (OWASP, CSV
injection). Numbers are the hub's own and stay numbers.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from tocsin_hub.i18n import Catalogue
from tocsin_hub.store import HistoryPage, StoredEvent
from tocsin_hub.times import iso

_COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")
COLUMNS = (
    "csv.onset",
    "csv.offset",
    "history.zone",
    "csv.room",
    "history.sound",
    "history.severity",
    "csv.score",
    "csv.level",
    "csv.ambient",
    "csv.seconds",
    "csv.certainty",
    "csv.late",
    "csv.test",
    "csv.received",
    "csv.node",
    "csv.label",
    "csv.id",
)


def harmless(text: str) -> str:
    """``text`` such that no spreadsheet computes it."""
    return f"'{text}" if text.startswith(_COMPUTED) else text


def lines(
    page_after: Callable[[str | None], HistoryPage], room_of: Callable[[str], str], texts: Catalogue
) -> Iterator[str]:
    """The file in pieces; ``page_after(cursor)`` gives its events, ``room_of(node)`` the name of a room."""
    yield "\ufeff" + _line([texts.t(key) for key in COLUMNS])
    cursor: str | None = None
    while True:
        page = page_after(cursor)
        yield "".join(_line(_row(event, room_of(event.node), texts)) for event in page.events)
        if page.next is None:
            return
        cursor = page.next


def _line(cells: Sequence[str | float | None]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _row(event: StoredEvent, room: str, texts: Catalogue) -> list[str | float | None]:
    seconds = None if event.offset_us is None else round((event.offset_us - event.onset_us) / 1e6, 1)
    return [
        iso(event.onset_us),
        iso(event.offset_us),
        harmless(event.zone),
        harmless(room),
        harmless(texts.named("label", event.label)),
        texts.named("severity", event.severity),
        round(event.score, 3),
        event.level_dbfs,
        event.ambient_dbfs,
        seconds,
        str(event.certainty),
        int(event.late),
        int(event.test),
        iso(event.first_received_us),
        event.node,
        event.label,
        event.id,
    ]
