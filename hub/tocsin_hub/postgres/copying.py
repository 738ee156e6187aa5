"""From the hub's file of SQLite into a PostgreSQL: piece by piece, going on where it was interrupted.

Until all of it is there and counted, the table ``copying`` stands in the target, and no hub starts on it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulid import ULID

from tocsin_hub.connection import FAULTS
from tocsin_hub.lock import DatabaseLock
from tocsin_hub.place import PostgresPlace, database_errors
from tocsin_hub.postgres import schema
from tocsin_hub.postgres.connection import PostgresConnection
from tocsin_hub.postgres.lead import PostgresLead
from tocsin_hub.postgres.months import Month, month_of
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError, UnavailableError

PIECE_ROWS = 2000
_COUNTERS = "counters"
"""Copied last: what is added to other tables is counted there."""

Progress = Callable[[str, int, int], None]
"""Told of a table, how many of its rows are there, and how many there will be."""


@dataclass(frozen=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The columns by which its rows are ordered and told apart."""


def copy(source: Path, place: PostgresPlace, now_us: int, progress: Progress) -> dict[str, int]:
    """Copy everything in ``source`` into ``place``; how many rows each table now has, in both of them.

    Raises:
        BadInputError: there is something in the target that no copy brought there.
        UnavailableError: a hub uses one of them, one cannot be used, or their counts differ.
    """
    lock, lead = DatabaseLock(source), PostgresLead(place)
    lock.take()
    try:
        lead.take()
        schema.prepare(place, now_us, for_copy=True)
        with (
            closing(Store(source)) as old,
            database_errors(place),
            closing(PostgresConnection(place, lead)) as new,
        ):
            return _Copy(old, new, place, progress).run(now_us)
    finally:
        lead.release()
        lock.release()


class _Copy:
    def __init__(self, old: Store, new: PostgresConnection, place: PostgresPlace, progress: Progress) -> None:
        self._old = old
        self._new = new
        self._place = place
        self._progress = progress

    def run(self, now_us: int) -> dict[str, int]:
        tables = self._tables()
        if self._was_here(tables):
            return {table.name: self._in_new(table) for table in tables}
        with self._transaction():
            self._begin(tables)
            schema.make_months(self._new, self._months(now_us))
        for table in tables:
            self._copy(table)
        with self._transaction():
            return self._finish(tables)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._new.begin()
        try:
            yield
            self._new.commit()
        except BaseException:
            self._new.rollback()
            raise

    def _tables(self) -> list[_Table]:
        """Those of the target, as the source has them; their order matters where one refers to another."""
        return [self._table(name) for name in schema.tables(self._new)]

    def _table(self, name: str) -> _Table:
        described = self._old.rows(f"PRAGMA table_info({name})")
        key = sorted((place, column) for _, column, *_, place in described if place)
        return _Table(name, tuple(column for _, column, *_ in described), tuple(column for _, column in key))

    def _begin(self, tables: Sequence[_Table]) -> None:
        if not schema.is_being_copied_into(self._new):
            for table in tables:
                if table.name != _COUNTERS and self._has_rows(table):
                    raise BadInputError(
                        f"there is something in {self._place} already (in its table {table.name}): "
                        "make a new database and name that one"
                    )
            self._new.execute(
                "CREATE TABLE copying (name text PRIMARY KEY, key text NOT NULL, rows bigint NOT NULL)"
            )

    def _has_rows(self, table: _Table) -> bool:
        return self._new.execute(f"SELECT 1 FROM {table.name} LIMIT 1").fetchone() is not None  # noqa: S608

    def _months(self, now_us: int) -> Iterator[Month]:
        """The months in which there are events, as told by their ids."""
        after = ""
        while True:
            ((first,),) = self._old.rows("SELECT min(id) FROM events WHERE id >= ?", (after,))
            if first is None:
                return
            at_us = int(ULID.from_str(first).milliseconds) * 1000
            if at_us > now_us:
                return  # the clock of a node was wrong; what has no month is kept with the others
            month = month_of(at_us)
            yield month
            after = month.next.first_id

    def _copy(self, table: _Table) -> None:
        total = self._in_old(table)
        done, key = self._so_far(table)
        while True:
            self._progress(table.name, done, total)
            rows = self._rows_after(table, key)
            if not rows:
                return
            key = [rows[-1][table.columns.index(column)] for column in table.key]
            done += len(rows)
            with self._transaction():
                self._put(table, rows)
                self._new.execute(
                    "INSERT INTO copying (name, key, rows) VALUES (?, ?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET key = excluded.key, rows = excluded.rows",
                    (table.name, json.dumps(key), done),
                )

    def _so_far(self, table: _Table) -> tuple[int, list[Any] | None]:
        row = self._new.execute("SELECT rows, key FROM copying WHERE name = ?", (table.name,)).fetchone()
        return (0, None) if row is None else (int(row[0]), json.loads(row[1]))

    def _rows_after(self, table: _Table, key: Sequence[Any] | None) -> list[tuple[Any, ...]]:
        names, order = ", ".join(table.columns), ", ".join(table.key)
        after = f"WHERE ({order}) > ({', '.join('?' * len(table.key))})" if key else ""
        sql = f"SELECT {names} FROM {table.name} {after} ORDER BY {order} LIMIT {PIECE_ROWS}"  # noqa: S608
        return self._old.rows(sql, key or ())

    def _put(self, table: _Table, rows: Sequence[Sequence[Any]]) -> None:
        names, marks = ", ".join(table.columns), ", ".join("?" * len(table.columns))
        order = ", ".join(table.key)
        news = ", ".join(f"{name} = excluded.{name}" for name in table.columns if name not in table.key)
        # What is counted has rows from the beginning.
        what = f"UPDATE SET {news}" if table.name == _COUNTERS else "NOTHING"
        try:
            self._new.executemany(
                f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT ({order}) DO {what}",  # noqa: S608
                rows,
            )
        except FAULTS as error:
            raise UnavailableError(f"rows of the table {table.name} cannot be copied: {error}") from error

    def _finish(self, tables: Sequence[_Table]) -> dict[str, int]:
        if differing := self._differing(tables):
            raise UnavailableError(
                f"not everything is in {self._place}: {'; '.join(differing)}; copy again into a new database"
            )
        schema.go_on_counting(self._new)
        self._new.execute("DROP TABLE copying")
        return {table.name: self._in_new(table) for table in tables}

    def _was_here(self, tables: Sequence[_Table]) -> bool:
        """Whether a copy of this very source ended here, and no hub has used it since."""
        if schema.is_being_copied_into(self._new):
            return False
        counters = f"SELECT name, value FROM {_COUNTERS} ORDER BY name"  # noqa: S608 - a name of our own
        return self._old.rows(counters) == self._new.execute(counters).fetchall() and not self._differing(
            tables
        )

    def _differing(self, tables: Sequence[_Table]) -> list[str]:
        """Tables that have not as many rows in both."""
        counts = [(table.name, self._in_new(table), self._in_old(table)) for table in tables]
        return [f"{name} has {there} of {wanted} rows" for name, there, wanted in counts if there != wanted]

    def _in_old(self, table: _Table) -> int:
        ((count,),) = self._old.rows(f"SELECT count(*) FROM {table.name}")  # noqa: S608
        return int(count)

    def _in_new(self, table: _Table) -> int:
        (count,) = self._new.execute(f"SELECT count(*) FROM {table.name}").fetchone() or (0,)  # noqa: S608
        return int(count)
