"""Writing about phones and other addresses: each function takes the database of the writer's thread."""

from collections.abc import Iterable

from tocsin_hub.connection import Connection
from tocsin_hub.phones.model import Address, Phone

KEPT_CHECK_US = 7 * 86_400 * 1_000_000
"""Receipts of checks are forgotten after a week."""


def save_phone(database: Connection, phone: Phone) -> None:
    """Add a phone, or bring up to date the one with its endpoint, whoever it was registered for before."""
    database.execute(
        "INSERT INTO phones (id, person, endpoint, p256dh, auth, language, user_agent, created_us, failures, "
        "error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '') ON CONFLICT (endpoint) DO UPDATE SET "
        "person = excluded.person, p256dh = excluded.p256dh, auth = excluded.auth, "
        "language = excluded.language, user_agent = excluded.user_agent",
        (
            phone.id,
            phone.person,
            phone.endpoint,
            phone.p256dh,
            phone.auth,
            phone.language,
            phone.user_agent,
            phone.created_us,
        ),
    )


def drop_oldest(database: Connection, person: str, most: int) -> None:
    """Keep ``most`` phones of a person: the ones that showed something last, or were registered last."""
    database.execute(
        "DELETE FROM phones WHERE person = ? AND id NOT IN (SELECT id FROM phones WHERE person = ? "
        "ORDER BY CASE WHEN shown_us > created_us THEN shown_us ELSE created_us END DESC LIMIT ?)",
        (person, person, most),
    )


def delete_phone(database: Connection, phone: str, person: str | None = None) -> bool:
    """Forget a phone; with ``person`` only if it is hers. Whether there was one."""
    if person is None:
        return database.execute("DELETE FROM phones WHERE id = ?", (phone,)).rowcount == 1
    return database.execute("DELETE FROM phones WHERE id = ? AND person = ?", (phone, person)).rowcount == 1


def save_progress(database: Connection, phones: Iterable[Phone]) -> None:
    """Write how well each phone is reached."""
    for phone in phones:
        database.execute(
            "UPDATE phones SET accepted_us = ?, shown_us = ?, failures = ?, error = ?, canary_us = ?, "
            "canary_shown_us = ? WHERE id = ?",
            (
                phone.accepted_us,
                phone.shown_us,
                phone.failures,
                phone.error,
                phone.canary_us,
                phone.canary_shown_us,
                phone.id,
            ),
        )


def add_check(database: Connection, receipt_sha256: str, phone: str, canary: bool, now_us: int) -> None:
    """Note that a notification that is no alert is on its way; old ones are forgotten."""
    database.execute("DELETE FROM phone_checks WHERE sent_us < ?", (now_us - KEPT_CHECK_US,))
    database.execute(
        "INSERT INTO phone_checks (receipt_sha256, phone, canary, sent_us) VALUES (?, ?, ?, ?)",
        (receipt_sha256, phone, int(canary), now_us),
    )


def check_shown(database: Connection, receipt_sha256: str, now_us: int) -> bool:
    """Note that a check was shown; whether this was the first word of it."""
    cursor = database.execute(
        "UPDATE phone_checks SET shown_us = ? WHERE receipt_sha256 = ? AND shown_us IS NULL",
        (now_us, receipt_sha256),
    )
    return cursor.rowcount == 1


def add_address(database: Connection, address: Address) -> None:
    """Add where else a person is told."""
    database.execute(
        "INSERT INTO addresses (id, person, url, created_us, failures, error) VALUES (?, ?, ?, ?, 0, '')",
        (address.id, address.person, address.url, address.created_us),
    )


def delete_address(database: Connection, address: str) -> bool:
    """Forget an address; whether there was one."""
    return database.execute("DELETE FROM addresses WHERE id = ?", (address,)).rowcount == 1


def save_address(database: Connection, address: Address) -> None:
    """Write how well an address is reached."""
    database.execute(
        "UPDATE addresses SET accepted_us = ?, failures = ?, error = ? WHERE id = ?",
        (address.accepted_us, address.failures, address.error, address.id),
    )
