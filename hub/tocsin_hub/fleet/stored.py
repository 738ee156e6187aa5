"""Reading a hub's database for what it has of one run; it is opened so that nothing can be written."""

import sqlite3
from contextlib import closing

from tocsin_hub.fleet.ledger import Stored
from tocsin_hub.place import Place, PostgresPlace
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

_CLOCKS_US = 3_600_000_000
_SQL = (
    "SELECT id, node, onset_us, seq, coalesce(first_committed_us, committed_us) FROM events "
    "WHERE onset_us >= ? AND substr(boot, 1, ?) = ?"
)


def read_stored(database: Place, run: str, since_us: int) -> list[Stored]:
    """All rows of the run ``run``, which began at ``since_us``.

    Raises:
        UnavailableError: the database is not there, or is not a hub's.
    """
    values = (since_us - _CLOCKS_US, len(run), run)
    if isinstance(database, PostgresPlace):
        with closing(Store(database)) as store:
            return [Stored(*row) for row in store.rows(_SQL, values)]
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as one:
            rows = one.execute(_SQL, values).fetchall()
    except sqlite3.Error as error:
        raise UnavailableError(
            f"--database {database} cannot be read: {error}; name the file of the hub that listens at this "
            "broker (hub.sqlite in its state_folder, unless [store] path says otherwise)"
        ) from error
    return [Stored(*row) for row in rows]
