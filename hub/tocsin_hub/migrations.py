"""The tables of the hub's database, as numbered steps that are each applied once.

A step that has been released is never changed; what comes later is a new step.
"""

from sqlite_utils import Database, Migrations

MIGRATIONS = Migrations("tocsin-hub")


@MIGRATIONS()
def m001_events(db: Database) -> None:
    """One row for each detection; all its phases share the row."""
    db.table("events").create(
        {
            "id": str,
            "node": str,
            "zone": str,
            "label": str,
            "score": float,
            "top": str,
            "level_dbfs": float,
            "ambient_dbfs": float,
            "onset_us": int,
            "offset_us": int,
            "mono_ns": int,
            "boot": str,
            "seq": int,
            "clock": str,
            "bundle": str,
            "phase": str,
            "rhythm": str,
            "late": int,
            "first_received_us": int,
            "received_us": int,
            "committed_us": int,
            "change": int,
        },
        pk="id",
        not_null=set(_EVENT_COLUMNS_THAT_MUST_BE),
        strict=True,
    )
    db.table("events").create_index(["change"], unique=True)
    db.table("events").create_index(["onset_us", "id"])
    db.table("events").create_index(["node", "onset_us", "id"])
    db.table("events").create_index(["label", "onset_us", "id"])
    db.execute("CREATE INDEX idx_events_open ON events (node, boot) WHERE offset_us IS NULL")


@MIGRATIONS()
def m002_nodes(db: Database) -> None:
    """One row for each node: its last words, as they came, and what the hub made of them."""
    db.table("nodes").create(
        {
            "node": str,
            "birth": str,
            "conn": str,
            "heartbeat": str,
            "boot": str,
            "last_seen_us": int,
            "state": str,
            "since_us": int,
        },
        pk="node",
        not_null={"state", "since_us"},
        strict=True,
    )


@MIGRATIONS()
def m003_quarantine(db: Database) -> None:
    """Messages that could not be read; only the newest are kept."""
    db.table("quarantine").create(
        {"id": int, "at_us": int, "topic": str, "reason": str, "size_bytes": int, "payload": bytes},
        pk="id",
        not_null={"at_us", "topic", "reason", "size_bytes", "payload"},
        strict=True,
    )


@MIGRATIONS()
def m004_counters(db: Database) -> None:
    """Numbers that only grow: the last change, messages ever quarantined."""
    db.table("counters").create({"name": str, "value": int}, pk="name", not_null={"value"}, strict=True)
    db.table("counters").insert_all([{"name": "change", "value": 0}, {"name": "quarantined", "value": 0}])


@MIGRATIONS()
def m005_access(db: Database) -> None:
    """One-time links and the sessions that they opened; of tokens only the SHA-256 is kept."""
    db.table("login_links").create(
        {"token_sha256": str, "created_us": int, "expires_us": int, "used_us": int},
        pk="token_sha256",
        not_null={"created_us", "expires_us"},
        strict=True,
    )
    db.table("sessions").create(
        {"id_sha256": str, "role": str, "created_us": int, "expires_us": int},
        pk="id_sha256",
        not_null={"role", "created_us", "expires_us"},
        strict=True,
    )


@MIGRATIONS()
def m006_troubles(db: Database) -> None:
    """One row for each trouble of a node, from its start to its end."""
    db.table("troubles").create(
        {"id": str, "node": str, "kind": str, "since_us": int, "until_us": int, "detail": str},
        pk="id",
        not_null={"node", "kind", "since_us", "detail"},
        strict=True,
    )
    db.table("troubles").create_index(["node", "since_us"])


@MIGRATIONS()
def m007_tests(db: Database) -> None:
    """Events by which a node tested itself."""
    db.execute("ALTER TABLE events ADD COLUMN test INTEGER NOT NULL DEFAULT 0")


@MIGRATIONS()
def m008_certainty(db: Database) -> None:
    """How sure the node was that decided; older events met the network's whole rule."""
    db.execute("ALTER TABLE events ADD COLUMN certainty TEXT NOT NULL DEFAULT 'certain'")


_EVENT_COLUMNS_THAT_MUST_BE = (
    "node",
    "zone",
    "label",
    "score",
    "top",
    "onset_us",
    "mono_ns",
    "boot",
    "seq",
    "clock",
    "bundle",
    "phase",
    "rhythm",
    "late",
    "first_received_us",
    "received_us",
    "committed_us",
    "change",
)
