"""What a phone is told: the words of a notification, and the JSON that is encrypted for it.

The JSON is a declarative push message (W3C Push API, ``web_push: 8030``): a browser that knows the format
shows it even when the page's script fails, and our script reads the same fields where the browser does not.
"""

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

import msgspec

from tocsin_hub.alerts.model import Message
from tocsin_hub.i18n import Catalogue
from tocsin_hub.incidents.model import Answer, IncidentKind
from tocsin_hub.times import from_us

MAX_PAYLOAD_BYTES = 3900
"""A push service takes 4,096 bytes of which the encryption needs up to 103 (RFC 8291, section 4)."""
LATE_SECONDS = 15.0
"""A message that took longer to the phone says so: its "seconds ago" is not true any more."""
_DECLARATIVE = 8030
_LONGEST_ROOM = 80
_MOST_CANDIDATES = 3
_ANSWERS = (Answer.NEED_HELP, Answer.SAFE, Answer.FALSE_ALARM)
"""The first two are all that Android shows."""


@dataclass(frozen=True)
class Notice:
    """One notification in words."""

    title: str
    body: str
    navigate: str
    """Whole address of the page that opens on a tap."""
    tag: str
    """A notification replaces the one with the same tag."""
    receipt: str
    """Token with which the phone says that it shows it."""
    quiet: bool = False
    """Shown without sound or vibration."""
    asks: bool = False
    """Whether it can be answered on the lock screen."""


def alert_notice(message: Message, texts: Catalogue, origin: str, at: str) -> Notice:
    """The notification for ``message``; ``at`` is the time of day of its onset in the site's time zone."""
    incident = message.incident
    return Notice(
        title=_title(message, texts),
        body=_body(message, texts, at),
        navigate=origin + message.address,
        tag=incident.id,
        receipt=message.receipt,
        asks=incident.kind is IncidentKind.SOUND,
    )


def _title(message: Message, texts: Catalogue) -> str:
    incident = message.incident
    if incident.kind is IncidentKind.TROUBLE:
        what = texts.named("trouble", incident.label)
    else:
        what = may_be(texts, incident.label)
    title = texts.t("phone.title", severity=texts.named("phone_severity", incident.severity), what=what)
    if incident.help_us is not None:
        title = texts.t("phone.title_help", title=title)
    return texts.t("phone.title_drill", title=title) if incident.drill else title


def _body(message: Message, texts: Catalogue, at: str) -> str:
    room = message.room or message.incident.zone or texts.t("phone.no_room")
    ago = texts.duration(message.seconds_ago)
    lines = [texts.t("phone.where_when", room=room[:_LONGEST_ROOM], ago=ago, at=at)]
    others = [one for one in message.candidates[:_MOST_CANDIDATES] if one != message.incident.label]
    if others:
        sounds = ", ".join(texts.named("label", one) for one in others)
        lines.append(texts.t("now.candidates", sounds=sounds))
    if message.incident.drill:
        lines.append(texts.t("phone.drill"))
    if message.repeat:
        lines.append(texts.t("phone.again"))
    return "\n".join(lines)


def may_be(texts: Catalogue, label: str) -> str:
    """ "May be …" for a label; one that has no sentence of its own gets the general one."""
    return texts.texts.get(f"may_be.{label}") or texts.t("may_be.other", sound=texts.named("label", label))


def canary_notice(texts: Catalogue, origin: str, receipt: str) -> Notice:
    """The daily word that all is well on the way to the phone: to be seen, and not to be felt."""
    title, body = texts.t("phone.canary_title"), texts.t("phone.canary_body")
    return Notice(title, body, f"{origin}/me", "canary", receipt, quiet=True)


def test_notice(texts: Catalogue, origin: str, receipt: str) -> Notice:
    """What the person asked for, to see and feel how an alert comes."""
    return Notice(texts.t("phone.test_title"), texts.t("phone.test_body"), f"{origin}/me", "test", receipt)


def encode(notice: Notice, texts: Catalogue, phone: str = "") -> bytes:
    """The JSON for ``notice`` in the language of ``texts``; always shorter than :data:`MAX_PAYLOAD_BYTES`."""
    body = notice.body
    while len(made := msgspec.json.encode(_document(notice, body, texts, phone))) >= MAX_PAYLOAD_BYTES:
        body = body[: len(body) * 3 // 4]
        if not body:
            return msgspec.json.encode(_document(_bare(notice), "", texts, phone))
    return made


def _bare(notice: Notice) -> Notice:
    return replace(notice, title=notice.title[:200], navigate=notice.navigate[:500])


def _document(notice: Notice, body: str, texts: Catalogue, phone: str) -> dict[str, Any]:
    data: dict[str, Any] = {"receipt": notice.receipt, "phone": phone}
    notification: dict[str, Any] = {
        "title": notice.title,
        "body": body,
        "lang": texts.language,
        "dir": "ltr",
        "tag": notice.tag,
        "navigate": notice.navigate,
        "silent": notice.quiet,
        "require_interaction": not notice.quiet,
        "renotify": not notice.quiet,
        "data": data,
    }
    if notice.asks:
        notification["actions"] = [
            {"action": str(one), "title": texts.named("phone_answer", one), "navigate": notice.navigate}
            for one in _ANSWERS
        ]
        data["answered"] = {str(one): texts.named("phone_answered", one) for one in _ANSWERS}
        data["unsent"] = texts.t("phone.unsent")
    return {"web_push": _DECLARATIVE, "mutable": True, "notification": notification}


def topic(incident: str) -> str:
    """Collapse key of an incident: a message that waits is replaced by the next (RFC 8030, section 5.4)."""
    return base64.urlsafe_b64encode(hashlib.sha256(incident.encode()).digest()[:18]).decode()


def time_of_day(us: int, zone: tzinfo | None) -> str:
    """``us``, microseconds of UTC, as hours, minutes, seconds in ``zone``; ``None``: that of this machine."""
    return f"{from_us(us).astimezone(zone):%H:%M:%S}"
