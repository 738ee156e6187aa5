"""The roles of the trust repository: who signs what, with how many keys, for how long. Pure.

Offline roles are signed by people who hold key files with a passphrase; online roles by the hub. A stolen
hub can choose among models that were signed offline; it cannot make one.
"""

from dataclasses import dataclass
from datetime import timedelta

ROOT, TARGETS, MODELS, SNAPSHOT, TIMESTAMP = "root", "targets", "models", "snapshot", "timestamp"
DIRECTOR = "director"
"""Our own word, no role of TUF: signs which node is to run what."""
MODEL_PATHS = "models/*/*"
"""What the role ``models`` may sign: ``models/NAME/RELEASE-VARIANT.tar``."""
DIRECTOR_PATH = "config/director.json"
"""Target that names the director's keys; signed by ``targets``, so that no online key can change them."""
ROOT_KEYS, ROOT_THRESHOLD = 3, 2


@dataclass(frozen=True)
class Term:
    """How long a role's word is good, and when to begin to worry."""

    days: int
    """Signed for so many days."""
    warn_days: float
    """With fewer days left, somebody is to be told."""
    renew_hours: float | None = None
    """Online roles are signed again after this; ``None`` needs a person."""

    def expires_after(self) -> timedelta:
        """Length of the term."""
        return timedelta(days=self.days)


TERMS = {
    ROOT: Term(365, 30.0),
    TARGETS: Term(365, 30.0),
    MODELS: Term(180, 30.0),
    SNAPSHOT: Term(14, 3.0, renew_hours=7 * 24.0),
    TIMESTAMP: Term(3, 1.0, renew_hours=6.0),
}
OFFLINE, ONLINE = (ROOT, TARGETS, MODELS), (SNAPSHOT, TIMESTAMP)


@dataclass(frozen=True)
class RoleStatus:
    """How one role stands."""

    role: str
    version: int
    keys: int
    threshold: int
    days: float
    """Until its word expires; negative once it has."""

    @property
    def words(self) -> str:
        """What to do, or nothing while all is well."""
        if self.days >= TERMS[self.role].warn_days:
            return ""
        when = "has expired" if self.days < 0.0 else f"expires in {self.days:.1f} days"
        if self.role in ONLINE:
            return f"{when}; the hub signs it again by itself: see whether it runs and may read its keys"
        return f"{when}; sign it again with: tocsin trust rotate {self.role}"
