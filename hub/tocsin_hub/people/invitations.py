"""Invitations: a link, or a QR code of it, that lets one person in, once. Role and zones are fixed in it.

They stand in the table of login links, told apart by their purpose. A page asks before it uses one up, for
messengers open links to show what is behind them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import segno
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.secret import fresh, hashed
from tocsin_hub.recorder import Recorder
from tocsin_hub.settings import WebSettings
from tocsin_hub.store import Store

NEW, RENEW = "invite", "renew"
_ZONES = msgspec.json.Decoder(frozenset[str])
_COLUMNS = "token_sha256, person, role, zones, name, made_by"
_GOOD = f"purpose IN ('{NEW}', '{RENEW}') AND used_us IS NULL AND expires_us > ?"


@dataclass(frozen=True)
class Invitation:
    """Somebody may come in."""

    token_sha256: str
    person: str | None
    """Id of the person who gets in again; ``None``: a new one."""
    role: Role
    zones: frozenset[str]
    name: str
    made_by: str | None
    """Id of the admin; ``None``: the command line."""

    @property
    def needs_password(self) -> bool:
        """Whether she sets a password; a worker's phone is her key."""
        return self.role is not Role.WORKER


def invite(recorder: Recorder, person: Person, made_by: str | None, now_us: int, expires_us: int) -> str:
    """The token of a fresh invitation: for a new person like ``person``, or for herself if she has an id."""
    token = fresh()
    recorder.database.execute(
        "INSERT INTO login_links (token_sha256, created_us, expires_us, purpose, person, role, zones, name, "
        "made_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            hashed(token),
            now_us,
            expires_us,
            RENEW if person.id else NEW,
            person.id or None,
            str(person.role),
            msgspec.json.encode(sorted(person.zones)).decode(),
            person.name,
            made_by,
        ),
    )
    return token


def address_of(token: str, web: WebSettings) -> str:
    """The address that opens the invitation of ``token``."""
    return f"{web.origin}/join/{token}"


def find(store: Store, token: str, now_us: int) -> Invitation | None:
    """The invitation of ``token``, if it can be used now."""
    sql = f"SELECT {_COLUMNS} FROM login_links WHERE token_sha256 = ? AND {_GOOD}"  # noqa: S608
    rows = store.rows(sql, (hashed(token), now_us))
    return _from_row(rows[0]) if rows else None


def open_ones(store: Store, now_us: int) -> list[Invitation]:
    """Every invitation that could be used now, newest first."""
    sql = f"SELECT {_COLUMNS} FROM login_links WHERE {_GOOD} ORDER BY created_us DESC"  # noqa: S608
    return [_from_row(row) for row in store.rows(sql, (now_us,))]


def take_back(recorder: Recorder, token_sha256: str, now_us: int) -> bool:
    """End an invitation that nobody has used; whether there was one."""
    sql = f"DELETE FROM login_links WHERE token_sha256 = ? AND {_GOOD}"  # noqa: S608
    return bool(recorder.database.execute(sql, (token_sha256, now_us)).rowcount)


def use(recorder: Recorder, invitation: Invitation, now_us: int) -> bool:
    """Use an invitation up; ``False`` if somebody was faster, or it has ended."""
    sql = f"UPDATE login_links SET used_us = ? WHERE token_sha256 = ? AND {_GOOD}"  # noqa: S608
    return bool(recorder.database.execute(sql, (now_us, invitation.token_sha256, now_us)).rowcount)


def is_good(recorder: Recorder, invitation: Invitation, now_us: int) -> bool:
    """Whether an invitation can still be used, inside the transaction."""
    sql = f"SELECT 1 FROM login_links WHERE token_sha256 = ? AND {_GOOD}"  # noqa: S608
    return bool(recorder.database.execute(sql, (invitation.token_sha256, now_us)).fetchone())


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate as phones show it, eight pairs of digits a line.

    Raises:
        ValueError: it is no certificate.
    """
    digest = x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex(":").upper()
    return "\n".join(digest[at : at + 23] for at in range(0, len(digest), 24))


def qr_svg(address: str) -> str:
    """``address`` as a QR code: an SVG element without styles, as a strict policy wants it."""
    return segno.make(address, error="m").svg_inline(
        scale=1, border=4, omitsize=True, light="#fff", svgclass="qr"
    )


def _from_row(row: Sequence[Any]) -> Invitation:
    token_sha256, person, role, zones, name, made_by = row
    return Invitation(token_sha256, person, Role(role), _ZONES.decode(zones), name, made_by)
