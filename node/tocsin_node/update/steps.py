"""The fourteen steps of an update, what can go wrong in each, and in which words that is told. Pure."""

from enum import StrEnum

from tocsin_shared.errors import TocsinError
from tocsin_shared.events import UpdateState


class Step(StrEnum):
    """What is done, in this order."""

    CLOCK = "clock"
    DIRECTIVE = "directive"
    LOCK = "lock"
    METADATA = "metadata"
    COMPATIBLE = "compatible"
    DOWNLOAD = "download"
    STATIC = "static"
    LOAD = "load"
    GOLDEN = "golden"
    BUDGET = "budget"
    SHADOW = "shadow"
    ACTIVATE = "activate"
    SOAK = "soak"
    COMMIT = "commit"


ORDER = tuple(Step)
JUDGING = ORDER[: ORDER.index(Step.DOWNLOAD)]
"""Whoever is refused here was refused by its papers: REJECTED, not FAILED."""
LIVE = (Step.ACTIVATE, Step.SOAK, Step.COMMIT)
"""From here on there is something to be taken back."""

STATES = {
    Step.CLOCK: UpdateState.ACCEPTED,
    Step.DIRECTIVE: UpdateState.ACCEPTED,
    Step.LOCK: UpdateState.ACCEPTED,
    Step.METADATA: UpdateState.ACCEPTED,
    Step.COMPATIBLE: UpdateState.ACCEPTED,
    Step.DOWNLOAD: UpdateState.DOWNLOADING,
    Step.STATIC: UpdateState.VERIFYING,
    Step.LOAD: UpdateState.SELF_TESTING,
    Step.GOLDEN: UpdateState.SELF_TESTING,
    Step.BUDGET: UpdateState.SELF_TESTING,
    Step.SHADOW: UpdateState.SHADOWING,
    Step.ACTIVATE: UpdateState.ACTIVATING,
    Step.SOAK: UpdateState.SOAKING,
    Step.COMMIT: UpdateState.SOAKING,
}
"""What a node reports while it is in a step."""


class Fault(StrEnum):
    """What went wrong; the hub counts by these."""

    CLOCK = "E_CLOCK"
    DIRECTIVE_SIG = "E_DIRECTIVE_SIG"
    DIRECTIVE_NODE = "E_DIRECTIVE_NODE"
    DIRECTIVE_STALE = "E_DIRECTIVE_STALE"
    DIRECTIVE_SEQ = "E_DIRECTIVE_SEQ"
    BUSY = "E_BUSY"
    SPACE = "E_SPACE"
    TUF_FREEZE = "E_TUF_FREEZE"
    TUF_ROLLBACK = "E_TUF_ROLLBACK"
    TUF_MIXMATCH = "E_TUF_MIXMATCH"
    TUF_KEY = "E_TUF_KEY"
    TUF_ENDLESS = "E_TUF_ENDLESS"
    TUF_UNREACHABLE = "E_TUF_UNREACHABLE"
    TUF_DAMAGED = "E_TUF_DAMAGED"
    TUF_MISSING = "E_TUF_MISSING"
    TUF_DIFFERS = "E_TUF_DIFFERS"
    ROLLBACK = "E_ROLLBACK"
    INCOMPATIBLE = "E_INCOMPATIBLE"
    DOWNLOAD_UNREACHABLE = "E_DOWNLOAD_UNREACHABLE"
    DOWNLOAD_SLOW = "E_DOWNLOAD_SLOW"
    DOWNLOAD_TAMPER = "E_DOWNLOAD_TAMPER"
    DOWNLOAD_ENDLESS = "E_DOWNLOAD_ENDLESS"
    DISK = "E_DISK"
    STATIC = "E_STATIC"
    LOAD = "E_LOAD"
    GOLDEN = "E_GOLDEN"
    BUDGET = "E_BUDGET"
    SHADOW = "E_SHADOW"
    ACTIVATE = "E_ACTIVATE"
    SOAK = "E_SOAK"
    COMMIT = "E_COMMIT"
    CRASH = "E_CRASH"
    TIMEOUT = "E_TIMEOUT"
    LOOP = "E_LOOP"
    INTERNAL = "E_INTERNAL"
    TAKE_BACK = "E_TAKE_BACK"


WORDS = {
    Fault.CLOCK: "the clock of the node stands before a time that it knows has passed",
    Fault.DIRECTIVE_SIG: "the directive is not signed by the director",
    Fault.DIRECTIVE_NODE: "the directive is for another node",
    Fault.DIRECTIVE_STALE: "the directive came after its end",
    Fault.DIRECTIVE_SEQ: "the directive is older than one that was followed (replayed)",
    Fault.BUSY: "an alarm is open",
    Fault.SPACE: "the disk has no room",
    Fault.TUF_FREEZE: "the signed metadata has expired: somebody withholds newer, or the hub does not sign",
    Fault.TUF_ROLLBACK: "older signed metadata was offered than the node has seen",
    Fault.TUF_MIXMATCH: "signed metadata does not fit together",
    Fault.TUF_KEY: "metadata is not signed by enough of the right keys",
    Fault.TUF_ENDLESS: "metadata is larger than it may be",
    Fault.TUF_UNREACHABLE: "the trust repository is not reached",
    Fault.TUF_DAMAGED: "the trust repository is damaged",
    Fault.TUF_MISSING: "no engineer has signed this bundle",
    Fault.TUF_DIFFERS: "the director names other bytes than the engineers signed",
    Fault.ROLLBACK: "the bundle is older than what this node has proven",
    Fault.INCOMPATIBLE: "the bundle is not for this node",
    Fault.DOWNLOAD_UNREACHABLE: "the bundle could not be fetched",
    Fault.DOWNLOAD_SLOW: "the bundle came too slowly",
    Fault.DOWNLOAD_TAMPER: "the bundle that came is not the one that was signed",
    Fault.DOWNLOAD_ENDLESS: "more came than was signed",
    Fault.DISK: "the disk does not take the bundle",
    Fault.STATIC: "the bundle is not one that this node reads",
    Fault.LOAD: "the model does not load",
    Fault.GOLDEN: "the model does not hear its golden clips as its signer did",
    Fault.BUDGET: "the model is too slow or too large for this machine",
    Fault.SHADOW: "the model hears this room otherwise than the active one",
    Fault.ACTIVATE: "the bundle could not be made the active one",
    Fault.SOAK: "the bundle failed while it was on trial",
    Fault.COMMIT: "the bundle could not be kept",
    Fault.CRASH: "the node ended again and again with this bundle",
    Fault.TIMEOUT: "a step took longer than it may",
    Fault.LOOP: "the update went on without an end",
    Fault.INTERNAL: "the node could not do what it should",
    Fault.TAKE_BACK: "the bundle before could not be brought back; the one of the installation listens",
}
"""What each fault means, for people."""

WORDS_OF = {str(fault): words for fault, words in WORDS.items()}
"""The same by code, for codes that may be those of another version."""

OWN = {
    Step.CLOCK: Fault.CLOCK,
    Step.STATIC: Fault.STATIC,
    Step.LOAD: Fault.LOAD,
    Step.GOLDEN: Fault.GOLDEN,
    Step.BUDGET: Fault.BUDGET,
    Step.SHADOW: Fault.SHADOW,
    Step.ACTIVATE: Fault.ACTIVATE,
    Step.SOAK: Fault.SOAK,
    Step.COMMIT: Fault.COMMIT,
}
"""The fault of what goes wrong in a step in a way that nobody foresaw; others are INTERNAL."""


class RefusedError(TocsinError):
    """The update ends here."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        self.fault, self.detail = fault, detail
        super().__init__(f"{fault}: {WORDS[fault]}{detail and ': '}{detail}")


class LaterError(RefusedError):
    """Not now; it begins again after a while.

    ``counted`` says whether it is given up after some tries; otherwise only the end of the directive ends it.
    """

    def __init__(self, fault: Fault, detail: str = "", *, counted: bool = True) -> None:
        super().__init__(fault, detail)
        self.counted = counted
