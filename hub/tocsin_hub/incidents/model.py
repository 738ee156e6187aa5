"""What an incident is: many events, one matter, with its state and its timeline."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tocsin_shared.events import Certainty

DRILL_GROUP = "drill"
"""Group of what an officer lets sound to practise: nothing that is really heard ever joins it."""


class IncidentKind(StrEnum):
    """What it is about."""

    SOUND = "sound"
    TROUBLE = "trouble"
    """Something keeps us from hearing or telling."""


class IncidentSeverity(StrEnum):
    """How much it matters, worst first."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTICE = "notice"
    TROUBLE = "trouble"


class Answer(StrEnum):
    """What a person can say to an incident."""

    SAFE = "safe"
    NEED_HELP = "need_help"
    FALSE_ALARM = "false_alarm"


class Step(StrEnum):
    """What can happen to an incident; the kinds of lines of its timeline."""

    OPENED = "opened"
    HEARD = "heard"
    """Another node, or the same one again, reports it."""
    ESCALATED = "escalated"
    """Its severity rose, or it is another matter than that which somebody acknowledged."""
    ANSWERED = "answered"
    ACKNOWLEDGED = "acknowledged"
    ALERTED = "alerted"
    """A person was told; the detail says by which channel."""
    UNREACHED = "unreached"
    """A person could not be told; the detail says by which channel."""
    CLEARED = "cleared"
    REOPENED = "reopened"
    UNHEARD = "unheard"
    """A node that reports it went offline: nobody hears whether it lasts."""


class Remark(StrEnum):
    """Why a line stands in the timeline, where its step alone does not say so."""

    NEED_HELP = "need_help"
    """Somebody asks for help."""
    NEW_LABEL = "new_label"
    """Another sound of the same group."""
    AGAIN = "again"
    """It is heard again after a silence."""
    LASTS = "lasts"
    """It was reported late, and it still sounds."""
    NO_DRILL = "no_drill"
    """It goes on after the drill, so it is none."""
    END_UNKNOWN = "end_unknown"
    """The node that heard it was started anew, or stayed away: nobody heard it end."""


class HubTrouble(StrEnum):
    """What can keep the hub itself from hearing or telling, and what it sees of its nodes."""

    NODE_SILENT = "node_silent"
    NODE_TWICE = "node_twice"
    """Two machines speak as one node."""
    OUTBOX_OLDER = "outbox_older"
    """A node came back with an outbox that is older than what it had told: what waited in it is lost."""
    HUB_LATE = "hub_late"
    DATABASE_REFUSES = "database_refuses"
    BROKER_LOST = "broker_lost"
    HUB_CERTIFICATE = "hub_certificate"
    QUEUE_LOST = "queue_lost"
    """Redis is away: dashboards at web processes learn of alarms from the database, seconds later."""
    PUSH_REFUSED = "push_refused"
    TRUST_EXPIRES = "trust_expires"
    """Metadata of bundles ends soon, or what signs it cannot be used: nothing new goes over the air."""
    ROLLOUT_FAULT = "rollout_fault"


class Incident(msgspec.Struct, frozen=True):
    """One matter; times are microseconds of UTC.

    Two facts, four states: it lasts or is cleared, and it is acknowledged or not. An acknowledgement covers
    what was known when it was given: what makes the matter worse, or another one, lifts it again.
    """

    id: str
    """ULID."""
    kind: IncidentKind
    group: str
    """What is grouped: a group of labels that are easily taken for one another, or a kind of trouble."""
    label: str
    """Label of the strongest event, or the kind of trouble."""
    severity: IncidentSeverity
    zone: str
    """Where; empty for troubles of the hub itself."""
    drill: bool
    opened_us: int
    """Onset of its first event."""
    updated_us: int
    """When it last changed."""
    cleared_us: int | None = None
    acknowledged_us: int | None = None
    acknowledged_by: str | None = None
    """Id of the person who said so first."""
    help_us: int | None = None
    """When somebody first asked for help."""
    origin_node: str | None = None
    """The node that heard it the loudest, which is likely the nearest."""
    origin_level_dbfs: float | None = None
    nodes: tuple[str, ...] = ()
    """All nodes that report it, in the order in which they did."""
    first_event: str | None = None
    """Id of the event that opened it."""
    events: int = 0
    late: bool = False
    """All of it was reported so late that nobody is to be woken."""
    detail: str = ""
    """What exactly is wrong, in English, for whoever mends a trouble."""
    change: int = 0
    """Number of the last change, from the same counter as the events'."""
    certainty: Certainty | None = None
    """What the surest of its events rests on; ``None`` for troubles."""
    unheard: tuple[str, ...] = ()
    """Nodes that reported it and went offline before it ended: it may last, and they would not say so."""

    @property
    def active(self) -> bool:
        """Whether it lasts."""
        return self.cleared_us is None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody said that she knows."""
        return self.acknowledged_us is not None


class LogLine(msgspec.Struct, frozen=True):
    """One line of an incident's timeline."""

    incident: str
    at_us: int
    step: Step
    person: str | None = None
    """Id of who did it, or of who was told."""
    node: str | None = None
    event: str | None = None
    detail: str = ""
    """A value of an enumeration (an answer, a channel) or words of a person; never English for the screen."""


@dataclass(frozen=True)
class Drill:
    """Some minutes in which incidents of some zones are marked as a drill; times are microseconds of UTC."""

    id: str
    """ULID."""
    zones: frozenset[str]
    """Empty means every zone."""
    started_by: str | None
    """Id of the officer."""
    note: str
    started_us: int
    ends_us: int
    sound: bool = False
    """Whether it opened an incident of its own in each zone, so that people can practise without a sound."""

    def covers(self, zone: str, at_us: int) -> bool:
        """Whether what begins in ``zone`` at ``at_us`` belongs to it."""
        return self.started_us <= at_us < self.ends_us and (not self.zones or zone in self.zones)
