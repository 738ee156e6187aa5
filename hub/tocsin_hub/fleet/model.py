"""What a simulation is made of: its plan, what one node tells, and what became of it."""

from dataclasses import dataclass, field

from tocsin_shared.broker import BrokerSettings

NODE = "{node}"
"""Stands in user names and file names for the name of the node."""


@dataclass(frozen=True)
class Plan:
    """One simulation."""

    broker: BrokerSettings
    """User name and files may hold :data:`NODE`."""
    nodes: int
    rate: float
    """Sounds per node and minute."""
    seconds: float
    """How long sounds are made, from the moment at which all nodes are connected."""
    run: str
    """ULID; begins every boot of the run, so that its events are told from all others in a database."""
    seed: int = 0
    zones: int = 1
    heartbeat_seconds: float = 10.0
    storm_at: float | None = None
    """Seconds after which all nodes alarm within :data:`STORM_SECONDS`; ``None``: they do not."""
    churn: bool = False
    """Nodes drop out without a word, and come back."""
    prefix: str = "fleet"
    """Begins the names of nodes and zones."""
    drain_seconds: float = 60.0
    """How long the hub's acknowledgements are waited for after the last sound."""

    def name(self, number: int) -> str:
        """Id of the node ``number``, from 0."""
        return f"{self.prefix}-{number + 1:05}"

    def zone(self, number: int) -> str:
        """Zone of the node ``number``: neighbours share one."""
        return f"{self.prefix}-zone-{number * self.zones // self.nodes + 1:03}"


STORM_SECONDS = 2.0


@dataclass(frozen=True)
class Out:
    """A message that a node sends."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(slots=True)
class Record:
    """What is known of one sound; the line of the ledger."""

    id: str
    node: str
    label: str
    boot: str
    onset_us: int
    seq: int
    """Number of the last message about it."""
    phase: str
    """What that message says."""
    storm: bool = False
    acknowledged_us: int | None = None
    """From the onset to the hub's first acknowledgement, microseconds of a clock that nobody sets."""
    complete: bool = False
    """The last message is acknowledged, too."""
    waited: bool = False
    """A message about it did not go at once, because there was no connection or too much to send."""


@dataclass(frozen=True)
class Tally:
    """How the nodes of one process fare."""

    connected: int = 0
    produced: int = 0
    """Sounds."""
    acknowledged: int = 0
    """Sounds of which the hub has acknowledged something."""
    waiting: int = 0
    """Messages that wait in outboxes."""
    connections: int = 0
    """Ever made."""
    resent: int = 0
    """Messages that were sent again because no answer came."""
    heartbeats: int = 0
    refusal: str = ""
    """The last reason why a node could not connect."""
    maxrss_kb: int = 0
    """Memory of the process."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.connected + other.connected,
            self.produced + other.produced,
            self.acknowledged + other.acknowledged,
            self.waiting + other.waiting,
            self.connections + other.connections,
            self.resent + other.resent,
            self.heartbeats + other.heartbeats,
            self.refusal or other.refusal,
            self.maxrss_kb + other.maxrss_kb,
        )


@dataclass
class Played:
    """What a fleet did."""

    records: list[Record] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    connected: int = 0
    """Nodes that were connected when the script began."""
    took_seconds: float = 0.0
    """From the first sound to the last word."""
    interrupted: bool = False
