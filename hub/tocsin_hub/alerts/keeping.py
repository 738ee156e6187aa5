"""Writing alerts: who was told, what became of it, and policies. Call it inside the writer's transaction."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tocsin_hub.alerts.model import Alert, Delivery
from tocsin_hub.incidents.model import LogLine
from tocsin_hub.recorder import Recorder

_SHOWN_ERROR = 300


@dataclass(frozen=True)
class Result:
    """What became of a delivery."""

    delivery: str
    at_us: int
    error: str | None = None
    """``None``: the channel's service took it."""
    line: LogLine | None = None
    """What the timeline says of it, if anything."""


def receipt_of(secret: bytes, delivery: str) -> str:
    """The token with which a device says that it shows ``delivery``, and with which its person answers.

    It is derived and kept nowhere, so that a hub that was started anew can send the same message again. It
    is known only to the hub, which has ``secret``, and to the device.
    """
    digest = hmac.new(secret, f"receipt {delivery}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def receipt_sha256(receipt: str) -> str:
    """What the database keeps of a token."""
    return hashlib.sha256(receipt.encode("utf-8", "replace")).hexdigest()


def note_sends(
    recorder: Recorder,
    alerts: Iterable[Alert],
    deliveries: Iterable[tuple[Delivery, str | None]],
    lines: Iterable[LogLine],
) -> None:
    """Write down who is about to be told; with each delivery the SHA-256 of its receipt."""
    # Twice the same is no error: what could not be written is written later, whole.
    recorder.database.executemany(
        "INSERT INTO alerts (id, incident, person, audience, created_us, answered_us, answer) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (one.id, one.incident, one.person, str(one.audience), one.created_us, one.answered_us, one.answer)
            for one in alerts
        ],
    )
    recorder.database.executemany(
        "INSERT INTO deliveries "
        "(id, alert, channel, receipt_sha256, queued_us, accepted_us, shown_us, failed_us, error) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [_delivery_values(one, receipt) for one, receipt in deliveries],
    )
    write_lines(recorder, lines)


def _delivery_values(one: Delivery, receipt: str | None) -> tuple[object, ...]:
    stamps = (one.queued_us, one.accepted_us, one.shown_us, one.failed_us)
    return (one.id, one.alert, str(one.channel), receipt, *stamps, one.error)


def note_results(recorder: Recorder, results: Sequence[Result]) -> None:
    """Write down what became of deliveries. A late acceptance undoes a failure; nothing undoes the former."""
    for result in results:
        if result.error is None:
            recorder.database.execute(
                "UPDATE deliveries SET accepted_us = coalesce(accepted_us, ?), failed_us = NULL, error = '' "
                "WHERE id = ?",
                (result.at_us, result.delivery),
            )
        else:
            recorder.database.execute(
                "UPDATE deliveries SET failed_us = ?, error = ? "
                "WHERE id = ? AND accepted_us IS NULL AND failed_us IS NULL",
                (result.at_us, result.error[:_SHOWN_ERROR], result.delivery),
            )
    write_lines(recorder, [result.line for result in results if result.line is not None])


def note_accepted(recorder: Recorder, delivery: str, at_us: int) -> None:
    """The channel's service took a delivery."""
    note_results(recorder, [Result(delivery, at_us)])


def note_failed(recorder: Recorder, delivery: str, at_us: int, error: str) -> None:
    """A delivery was given up."""
    note_results(recorder, [Result(delivery, at_us, error)])


def note_shown(recorder: Recorder, receipt: str, now_us: int) -> bool:
    """A device shows the delivery whose receipt has this SHA-256; ``False`` if none has or it said so."""
    # What is shown was accepted, whether the channel heard of it or not.
    cursor = recorder.database.execute(
        "UPDATE deliveries SET shown_us = ?, accepted_us = coalesce(accepted_us, ?), failed_us = NULL, "
        "error = '' WHERE receipt_sha256 = ? AND shown_us IS NULL",
        (now_us, now_us, receipt),
    )
    return cursor.rowcount == 1


def note_answers(recorder: Recorder, answers: Mapping[str, tuple[int, str]]) -> None:
    """Stamp alerts that were answered, by id, with when and what."""
    for alert, (at_us, answer) in answers.items():
        recorder.database.execute(
            "UPDATE alerts SET answered_us = ?, answer = ? WHERE id = ? AND answered_us IS NULL",
            (at_us, answer, alert),
        )


def write_lines(recorder: Recorder, lines: Iterable[LogLine]) -> None:
    """Add lines to timelines."""
    recorder.database.executemany(
        "INSERT INTO incident_log (incident, at_us, step, person, node, event, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (line.incident, line.at_us, str(line.step), line.person, line.node, line.event, line.detail)
            for line in lines
        ],
    )
