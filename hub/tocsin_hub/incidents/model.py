"""What an incident is: many events, one matter, with its state and its timeline."""

from dataclasses import dataclass
from enum import StrEnum


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
    """Its severity rose."""
    ANSWERED = "answered"
    ACKNOWLEDGED = "acknowledged"
    ALERTED = "alerted"
    """A person was told; the detail says by which channel."""
    CLEARED = "cleared"
    REOPENED = "reopened"


@dataclass(frozen=True)
class Incident:
    """One matter; times are microseconds of UTC.

    Two facts, four states: it lasts or is cleared, and it is acknowledged or not.
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

    @property
    def active(self) -> bool:
        """Whether it lasts."""
        return self.cleared_us is None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody said that she knows."""
        return self.acknowledged_us is not None


@dataclass(frozen=True)
class LogLine:
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
