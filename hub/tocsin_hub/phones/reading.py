"""Reading about phones, other addresses and receipts."""

from dataclasses import dataclass

from tocsin_hub.phones.model import Address, Phone
from tocsin_hub.store import Store

_PHONE = (
    "id, person, endpoint, p256dh, auth, language, user_agent, created_us, accepted_us, shown_us, failures, "
    "error, canary_us, canary_shown_us"
)
_ADDRESS = "id, person, url, created_us, accepted_us, failures, error"


@dataclass(frozen=True)
class Told:
    """What a receipt token stands for."""

    sent_us: int
    shown_us: int | None
    phone: str | None = None
    """The phone that was checked; ``None`` for an alert, which goes to all phones of a person."""
    canary: bool = False
    incident: str | None = None
    person: str | None = None


def phones(store: Store) -> list[Phone]:
    """All phones, the oldest first."""
    return [Phone(*row) for row in store.rows(f"SELECT {_PHONE} FROM phones ORDER BY created_us, id")]  # noqa: S608


def addresses(store: Store) -> list[Address]:
    """All other addresses, the oldest first."""
    sql = f"SELECT {_ADDRESS} FROM addresses ORDER BY created_us, id"  # noqa: S608
    return [Address(*row) for row in store.rows(sql)]


def told(store: Store, receipt_sha256: str) -> Told | None:
    """What the receipt with this hash was given out for, if it was."""
    checks = store.rows(
        "SELECT sent_us, shown_us, phone, canary FROM phone_checks WHERE receipt_sha256 = ?",
        (receipt_sha256,),
    )
    if checks:
        sent_us, shown_us, phone, canary = checks[0]
        return Told(sent_us, shown_us, phone, bool(canary))
    alerts = store.rows(
        "SELECT d.queued_us, d.shown_us, a.incident, a.person FROM deliveries d "
        "JOIN alerts a ON a.id = d.alert WHERE d.receipt_sha256 = ?",
        (receipt_sha256,),
    )
    if not alerts:
        return None
    sent_us, shown_us, incident, person = alerts[0]
    return Told(sent_us, shown_us, incident=incident, person=person)
