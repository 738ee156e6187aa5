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


@MIGRATIONS()
def m009_hops(db: Database) -> None:
    """When the node decided, and when the hub first had a detection on its disk."""
    db.execute("ALTER TABLE events ADD COLUMN detected_us INTEGER")
    db.execute("ALTER TABLE events ADD COLUMN first_committed_us INTEGER")


@MIGRATIONS()
def m010_incidents(db: Database) -> None:
    """One row for each incident, a line for each thing that happened to it, and which events it holds."""
    db.execute(
        "CREATE TABLE incidents (id TEXT PRIMARY KEY, kind TEXT NOT NULL, grouping TEXT NOT NULL, "
        "label TEXT NOT NULL, severity TEXT NOT NULL, zone TEXT NOT NULL, drill INTEGER NOT NULL, "
        "opened_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, cleared_us INTEGER, "
        "acknowledged_us INTEGER, acknowledged_by TEXT, help_us INTEGER, origin_node TEXT, "
        "origin_level_dbfs REAL, nodes TEXT NOT NULL, first_event TEXT, events INTEGER NOT NULL, "
        "late INTEGER NOT NULL, detail TEXT NOT NULL, change INTEGER NOT NULL) STRICT"
    )
    db.execute("CREATE UNIQUE INDEX idx_incidents_change ON incidents (change)")
    db.execute("CREATE INDEX idx_incidents_opened ON incidents (opened_us, id)")
    db.execute("CREATE INDEX idx_incidents_active ON incidents (grouping, zone) WHERE cleared_us IS NULL")
    db.execute(
        "CREATE TABLE incident_log (id INTEGER PRIMARY KEY, incident TEXT NOT NULL, at_us INTEGER NOT NULL, "
        "step TEXT NOT NULL, person TEXT, node TEXT, event TEXT, detail TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_incident_log_incident ON incident_log (incident, at_us, id)")
    db.execute(
        "CREATE TABLE incident_events (event TEXT PRIMARY KEY, incident TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX idx_incident_events_incident ON incident_events (incident)")
    db.execute(
        "CREATE TABLE drills (id TEXT PRIMARY KEY, zones TEXT NOT NULL, "
        "started_by TEXT, note TEXT NOT NULL, started_us INTEGER NOT NULL, ends_us INTEGER NOT NULL) STRICT"
    )


@MIGRATIONS()
def m011_people(db: Database) -> None:
    """Persons, how they get in, programs that act for them, and who did what."""
    db.execute(
        "CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, language TEXT, "
        "zones TEXT NOT NULL, buddy TEXT, shift TEXT NOT NULL, quiet TEXT NOT NULL, muted TEXT NOT NULL, "
        "enabled INTEGER NOT NULL, login TEXT UNIQUE, password_hash TEXT, created_us INTEGER NOT NULL) STRICT"
    )
    db.execute("ALTER TABLE sessions ADD COLUMN person TEXT")
    db.execute("ALTER TABLE login_links ADD COLUMN person TEXT")
    db.execute(
        "CREATE TABLE api_tokens (id TEXT PRIMARY KEY, name TEXT NOT NULL, "
        "token_sha256 TEXT NOT NULL UNIQUE, person TEXT NOT NULL, scopes TEXT NOT NULL, "
        "created_us INTEGER NOT NULL, expires_us INTEGER, used_us INTEGER, revoked_us INTEGER) STRICT"
    )
    db.execute(
        "CREATE TABLE audit (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, person TEXT, "
        "action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL, address TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_audit_at ON audit (at_us)")


@MIGRATIONS()
def m012_alerts(db: Database) -> None:
    """Plans whom to tell, who was told, and each try to reach somebody."""
    db.execute(
        "CREATE TABLE policies (id TEXT PRIMARY KEY, rank INTEGER NOT NULL, document TEXT NOT NULL, "
        "changed_us INTEGER NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE alerts (id TEXT PRIMARY KEY, incident TEXT NOT NULL, person TEXT, "
        "audience TEXT NOT NULL, created_us INTEGER NOT NULL, answered_us INTEGER, answer TEXT) STRICT"
    )
    db.execute("CREATE INDEX idx_alerts_incident ON alerts (incident)")
    db.execute("CREATE INDEX idx_alerts_person ON alerts (person, created_us)")
    db.execute(
        "CREATE TABLE deliveries (id TEXT PRIMARY KEY, alert TEXT NOT NULL, channel TEXT NOT NULL, "
        "receipt_sha256 TEXT, queued_us INTEGER NOT NULL, accepted_us INTEGER, shown_us INTEGER, "
        "failed_us INTEGER, error TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_deliveries_alert ON deliveries (alert)")
    db.execute("CREATE UNIQUE INDEX idx_deliveries_receipt ON deliveries (receipt_sha256)")


@MIGRATIONS()
def m013_incident_rules(db: Database) -> None:
    """What the rules must remember of an incident, which of its events last, and drills that sound."""
    for column in (
        "certainty TEXT",
        "unheard TEXT NOT NULL DEFAULT '[]'",
        "tally TEXT NOT NULL DEFAULT '{}'",
        "quiet_us INTEGER",
    ):
        db.execute(f"ALTER TABLE incidents ADD COLUMN {column}")
    db.execute("CREATE INDEX idx_incidents_place ON incidents (grouping, zone, cleared_us)")
    db.execute("ALTER TABLE incident_events ADD COLUMN ended_us INTEGER")
    db.execute(
        "CREATE INDEX idx_incident_events_lasting ON incident_events (incident, event) WHERE ended_us IS NULL"
    )
    db.execute(
        "CREATE INDEX idx_incident_log_answered ON incident_log (incident, id) WHERE step = 'answered'"
    )
    db.execute("ALTER TABLE drills ADD COLUMN sound INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX idx_drills_ends ON drills (ends_us)")


@MIGRATIONS()
def m015_stamps(db: Database) -> None:
    """Finding deliveries that wait for their channel, and what was stamped since a moment."""
    db.execute(
        "CREATE INDEX idx_deliveries_waiting ON deliveries (queued_us) "
        "WHERE accepted_us IS NULL AND failed_us IS NULL"
    )
    db.execute(
        "CREATE INDEX idx_deliveries_accepted ON deliveries (accepted_us) WHERE accepted_us IS NOT NULL"
    )
    db.execute("CREATE INDEX idx_deliveries_shown ON deliveries (shown_us) WHERE shown_us IS NOT NULL")
    db.execute("CREATE INDEX idx_alerts_answered ON alerts (answered_us) WHERE answered_us IS NOT NULL")
    db.execute("CREATE INDEX idx_alerts_created ON alerts (created_us)")
    db.execute(
        "CREATE INDEX idx_incidents_unacknowledged ON incidents (cleared_us) WHERE acknowledged_us IS NULL"
    )


@MIGRATIONS()
def m017_phones(db: Database) -> None:
    """One row for each browser that shows notifications, and for each notification that is no alert."""
    db.execute(
        "CREATE TABLE phones (id TEXT PRIMARY KEY, person TEXT NOT NULL, endpoint TEXT NOT NULL UNIQUE, "
        "p256dh TEXT NOT NULL, auth TEXT NOT NULL, language TEXT NOT NULL, user_agent TEXT NOT NULL, "
        "created_us INTEGER NOT NULL, accepted_us INTEGER, shown_us INTEGER, failures INTEGER NOT NULL, "
        "error TEXT NOT NULL, canary_us INTEGER, canary_shown_us INTEGER) STRICT"
    )
    db.execute("CREATE INDEX idx_phones_person ON phones (person)")
    db.execute(
        "CREATE TABLE phone_checks (receipt_sha256 TEXT PRIMARY KEY, phone TEXT NOT NULL, "
        "canary INTEGER NOT NULL, sent_us INTEGER NOT NULL, shown_us INTEGER) STRICT"
    )
    db.execute("CREATE INDEX idx_phone_checks_sent ON phone_checks (sent_us)")


@MIGRATIONS()
def m018_addresses(db: Database) -> None:
    """Where else a person is told: addresses of other services, with the secrets that stand in them."""
    db.execute(
        "CREATE TABLE addresses (id TEXT PRIMARY KEY, person TEXT NOT NULL, url TEXT NOT NULL, "
        "created_us INTEGER NOT NULL, accepted_us INTEGER, failures INTEGER NOT NULL, "
        "error TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_addresses_person ON addresses (person)")


@MIGRATIONS()
def m019_access_of_persons(db: Database) -> None:
    """Sessions and links belong to persons; sessions of nobody end. People count their changes."""
    db.execute("DELETE FROM sessions")
    for column in ("seen_us INTEGER NOT NULL DEFAULT 0", "idle_us INTEGER NOT NULL DEFAULT 0"):
        db.execute(f"ALTER TABLE sessions ADD COLUMN {column}")
    for column in ("address", "device"):
        db.execute(f"ALTER TABLE sessions ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX idx_sessions_person ON sessions (person)")
    for column in ("purpose TEXT NOT NULL DEFAULT 'admin'", "role TEXT", "zones TEXT", "name TEXT"):
        db.execute(f"ALTER TABLE login_links ADD COLUMN {column}")
    db.execute("ALTER TABLE login_links ADD COLUMN made_by TEXT")
    db.execute("ALTER TABLE people ADD COLUMN subject TEXT")
    db.execute("CREATE UNIQUE INDEX idx_people_subject ON people (subject)")
    db.table("counters").insert({"name": "people", "value": 0})


@MIGRATIONS()
def m020_zones(db: Database) -> None:
    """The past of one zone, newest first; the audit log by action."""
    db.execute("CREATE INDEX idx_events_zone ON events (zone, onset_us, id)")
    db.execute("CREATE INDEX idx_audit_action ON audit (action, id)")


@MIGRATIONS()
def m021_plan(db: Database) -> None:
    """The floor plan: its picture, of which there is at most one, and where each room lies."""
    db.execute(
        "CREATE TABLE plan_picture (id INTEGER PRIMARY KEY CHECK (id = 1), sha256 TEXT NOT NULL, "
        "kind TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL) STRICT"
    )
    db.execute("CREATE TABLE plan_rooms (node TEXT PRIMARY KEY, corners TEXT NOT NULL) STRICT, WITHOUT ROWID")


@MIGRATIONS()
def m022_levels(db: Database) -> None:
    """How loud each room was, minute by minute."""
    db.execute(
        "CREATE TABLE levels (node TEXT NOT NULL, minute INTEGER NOT NULL, mean_dbfs REAL NOT NULL, "
        "loudest_dbfs REAL NOT NULL, PRIMARY KEY (node, minute)) STRICT, WITHOUT ROWID"
    )
    # Few among many: without these the history would look through everything to find them.
    db.execute("CREATE INDEX idx_events_test ON events (onset_us, id) WHERE test = 1")
    db.execute("CREATE INDEX idx_incidents_drill ON incidents (id) WHERE drill = 1")


@MIGRATIONS()
def m023_counts(db: Database) -> None:
    """How many detections there are, kept up by the database itself: to count them would read them all."""
    db.execute("INSERT INTO counters (name, value) SELECT 'events', count(*) FROM events")
    db.execute(
        "CREATE TRIGGER events_added AFTER INSERT ON events BEGIN "
        "UPDATE counters SET value = value + 1 WHERE name = 'events'; END"
    )
    db.execute(
        "CREATE TRIGGER events_gone AFTER DELETE ON events BEGIN "
        "UPDATE counters SET value = value - 1 WHERE name = 'events'; END"
    )


@MIGRATIONS()
def m024_retention(db: Database) -> None:
    """What was let go of when, and indices over age, and over the sounds of a room and a zone."""
    db.execute(
        "CREATE TABLE prunings (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, seconds REAL NOT NULL, "
        "removed TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_alerts_age ON alerts (created_us, id)")
    db.execute("CREATE INDEX idx_troubles_until ON troubles (until_us, id)")
    db.execute("CREATE INDEX idx_events_node_label ON events (node, label, onset_us, id)")
    db.execute("CREATE INDEX idx_events_zone_label ON events (zone, label, onset_us, id)")


@MIGRATIONS()
def m025_rollouts(db: Database) -> None:
    """Rollouts, how each of their nodes fares, what happened to them, and the numbers of directives."""
    db.execute(
        "CREATE TABLE rollouts (id TEXT PRIMARY KEY, version INTEGER NOT NULL, status TEXT NOT NULL, "
        "document TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE rollout_targets (rollout TEXT NOT NULL REFERENCES rollouts (id), "
        "place INTEGER NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL, document TEXT NOT NULL, "
        "PRIMARY KEY (rollout, node)) STRICT"
    )
    db.execute(
        "CREATE TABLE rollout_log (id INTEGER PRIMARY KEY, rollout TEXT NOT NULL, version INTEGER NOT NULL, "
        "at_us INTEGER NOT NULL, code TEXT NOT NULL, person TEXT, node TEXT NOT NULL, ring INTEGER, "
        "detail TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX idx_rollout_log_rollout ON rollout_log (rollout, id)")
    for verb in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER rollout_log_no_{verb.lower()} BEFORE {verb} ON rollout_log BEGIN "
            "SELECT raise(ABORT, 'the log of rollouts is only added to'); END"
        )
    # Grows for each node and for ever: a lower one is a replay to the node.
    db.execute("CREATE TABLE directive_seqs (node TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT")


@MIGRATIONS()
def m026_node_reports(db: Database) -> None:
    """What each node said last about its bundles: not every broker gives it again to a hub that it knows."""
    db.execute("CREATE TABLE node_reports (node TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT")


@MIGRATIONS()
def m027_retired_nodes(db: Database) -> None:
    """Nodes whose rooms were given up; what a broker still keeps of them makes no room."""
    db.execute(
        "CREATE TABLE retired_nodes (node TEXT PRIMARY KEY, at_us INTEGER NOT NULL, "
        "done INTEGER NOT NULL) STRICT"
    )


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
