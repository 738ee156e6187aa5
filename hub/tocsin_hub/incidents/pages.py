"""The page of one incident: what is known of it, its course, who was told and who answered.

All of it is written here and can be read and answered without scripts; its script only fetches it anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from tocsin_hub.alerts.model import NO_CHANNEL, NO_ROOM, STARTED_ANEW
from tocsin_hub.i18n import Catalogue
from tocsin_hub.incidents.model import Answer, Incident, LogLine, Remark, Step
from tocsin_hub.incidents.told import ToldLine, told_of
from tocsin_hub.pages import reader_texts
from tocsin_hub.people import audit
from tocsin_hub.people.access import page_for, viewer
from tocsin_hub.people.model import Role
from tocsin_hub.services import Services, services
from tocsin_hub.store import StoredEvent
from tocsin_hub.times import from_us, iso
from tocsin_shared.events import Certainty, Rhythm

incident_pages = Blueprint("incident", __name__)
_MOST_EVENTS = 200
_OWN_ERRORS = {
    NO_CHANNEL: "told.no_channel",
    STARTED_ANEW: "told.started_anew",
    NO_ROOM: "told.no_room",
}
"""What the hub says itself of a delivery; a channel's words are shown as they came, in English."""
_FAMILIES = {
    Step.ANSWERED: "answer",
    Step.ESCALATED: "severity",
    Step.ALERTED: "channel",
    Step.UNREACHED: "channel",
    Step.OPENED: "label",
}


@dataclass(frozen=True)
class Moment:
    """A point in time for a page: for the script, and for who has none."""

    iso: str
    utc: str


@dataclass(frozen=True)
class Line:
    """One line of the course, in words."""

    step: str
    at: Moment
    words: str


@dataclass(frozen=True)
class Message:
    """One message to one person, in words."""

    who: str
    how: str
    at: Moment
    shown: Moment | None
    answer: str
    error: str
    foreign: bool
    """Whether the error is a channel's own words, in English."""


@dataclass(frozen=True)
class Detection:
    """One detection of an incident, in words."""

    at: Moment
    sound: str
    room: str
    score: str
    level: str


@dataclass(frozen=True)
class Words:
    """Puts an incident into words of one language."""

    hub: Services
    texts: Catalogue
    names: Mapping[str, str]
    """Names of persons by their ids."""

    def room(self, node: str | None) -> str:
        """Name of the room of ``node``."""
        record = self.hub.rooms.get(node) if node else None
        return record.room if record else node or ""

    def person(self, person: str | None) -> str:
        """Name of a person; whoever is not known is somebody."""
        return self.names.get(person or "") or self.texts.t("incident.somebody")

    def moment(self, at_us: int) -> Moment:
        """A point in time."""
        return Moment(
            iso(at_us) or "", self.texts.t("format.utc", time=f"{from_us(at_us):%Y-%m-%d %H:%M:%S}")
        )

    def line(self, line: LogLine) -> Line:
        """One line of the course."""
        detail = self._detail(line)
        place = line.person is None and line.step in {Step.ALERTED, Step.UNREACHED}
        name = self.texts.t("incident.told_place") if place else self.person(line.person)
        values = {"detail": detail, "name": name, "room": self.room(line.node)}
        words = self._step(line, values)
        adds = line.step in {Step.HEARD, Step.CLEARED, Step.UNHEARD, Step.REOPENED} and line.detail
        return Line(line.step, self.moment(line.at_us), f"{words} ({detail})" if adds else words)

    def _step(self, line: LogLine, values: Mapping[str, str]) -> str:
        if line.step is Step.ALERTED and line.person is None:
            return self.texts.t("step.alerted_place", **values)
        # A step that this page does not know by words is shown by its name rather than not at all.
        known = f"step.{line.step}" in self.texts.texts
        return self.texts.t(f"step.{line.step}", **values) if known else self.texts.named("step", line.step)

    def _detail(self, line: LogLine) -> str:
        remarks = line.step is not Step.ANSWERED and line.detail in set(Remark)
        if remarks or line.step not in _FAMILIES:
            return self.texts.named("remark", line.detail)
        return self.texts.named(_FAMILIES[line.step], line.detail)

    def message(self, told: ToldLine) -> Message:
        """One message."""
        return Message(
            who=self.person(told.person) if told.person else self.texts.t("incident.told_place"),
            how=self.texts.named("channel", told.channel),
            at=self.moment(told.queued_us),
            shown=self.moment(told.shown_us) if told.shown_us else None,
            answer=self.texts.named("answer", told.answer) if told.answer else "",
            error=self.texts.t(_OWN_ERRORS[told.error]) if told.error in _OWN_ERRORS else told.error,
            foreign=told.error not in _OWN_ERRORS,
        )

    def detection(self, event: StoredEvent) -> Detection:
        """One detection."""
        by_rhythm = event.certainty is Certainty.RHYTHM
        return Detection(
            at=self.moment(event.onset_us),
            sound=self.texts.named("label", event.label),
            room=self.room(event.node),
            score=self.texts.t("history.by_rhythm") if by_rhythm else self.texts.percent(event.score),
            level=self.texts.dbfs(event.level_dbfs),
        )

    def certainty(self, events: Iterable[StoredEvent], incident: Incident) -> str:
        """What the incident rests on, where that is not the network's whole rule."""
        rhythm = next((event.rhythm for event in events if event.rhythm is not Rhythm.NONE), None)
        words = [self.texts.named("rhythm", rhythm)] if rhythm else []
        if incident.certainty not in {None, Certainty.CERTAIN}:
            words.append(self.texts.named("certainty", str(incident.certainty)))
        return " ".join(words)


@incident_pages.get("/incidents/<key>")
@page_for(Role.OFFICER)
def show(key: str) -> ResponseReturnValue:
    """All that is known of one incident."""
    hub = services()
    incident = _seen(key)
    log, told = hub.incidents.log(key), told_of(hub.store, key)
    events = hub.incidents.events(key, limit=_MOST_EVENTS)
    persons = {line.person for line in log if line.person} | {line.person for line in told if line.person}
    words = Words(hub, reader_texts(), hub.incidents.names(persons))
    return render_template(
        "incident.html",
        incident=incident,
        words=words,
        log=[words.line(line) for line in log],
        told=[words.message(line) for line in told],
        detections=[words.detection(event) for event in events],
        most=_MOST_EVENTS,
        certainty=words.certainty(events, incident),
        answers=list(Answer),
        said=request.args.get("said", ""),
    )


@incident_pages.post("/incidents/<key>/acknowledge")
@page_for(Role.OFFICER)
def acknowledge(key: str) -> ResponseReturnValue:
    """Note that the person knows of it."""
    _seen(key)
    services().desk.acknowledge(key, viewer().id)
    audit.record("incident.acknowledged", key)
    return redirect(url_for("incident.show", key=key))


@incident_pages.post("/incidents/<key>/answer")
@page_for(Role.OFFICER)
def answer(key: str) -> ResponseReturnValue:
    """Note what the person says of it."""
    _seen(key)
    given = request.form.get("answer", "")
    if given not in set(Answer):
        return redirect(url_for("incident.show", key=key))
    services().desk.answer(key, viewer().id, Answer(given))
    return redirect(url_for("incident.show", key=key, said=given))


def _seen(key: str) -> Incident:
    """The incident of this id, if there is one and it is for the eyes of whoever asks."""
    known = services().incidents.get(key, viewer().zones) if key.isalnum() and len(key) == 26 else None
    if known is None:
        raise NotFound
    return known
