"""Connections to SQLite, whose every complaint is an error of SQLite, however damaged the file is."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

BUSY_SECONDS = 5.0
"""How long a connection waits for another process that holds the database."""


class _Connection(sqlite3.Connection):
    """SQLite quotes names in its messages.

    Those of a damaged file may be no UTF-8, and then Python raises a ``UnicodeDecodeError`` in place of the
    message.
    """

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As in any connection.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(f"damaged beyond spelling: {error}") from error


def connect(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """A connection to the file ``path``, which is made if it is not there.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, check_same_thread=check_same_thread, factory=_Connection
    )
    # A letter that damage made no UTF-8 must not hide all other rows from whoever reads them.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection
