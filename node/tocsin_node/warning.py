"""When the node itself has to warn: the rule for alarms of which the hub has not said that it has them.

Pure: time is an argument. Nobody may have been told of an alarm that the hub has not acknowledged within
:data:`GRACE_SECONDS`; then the node's own lamp burns until the hub's word comes, at most for so long.
"""

from collections.abc import Iterable

from tocsin_node.retiming import same_machine_boot
from tocsin_shared.events import Phase, SoundDetected
from tocsin_shared.labels import Severity, severity_of

GRACE_SECONDS = 2.0


class News:
    """Which events are the first word of an alarm. Not thread-safe."""

    def __init__(self) -> None:
        self._tests: set[str] = set()

    def is_alarm(self, event: SoundDetected) -> bool:
        """Whether the hub's word on ``event`` is a matter of life.

        It is the first phase of an alarm, or the first that says that what passed for a test was none.
        """
        was_test = event.id in self._tests
        if event.test and event.phase is not Phase.OFFSET:
            self._tests.add(event.id)
        else:
            self._tests.discard(event.id)
        first = event.phase is Phase.ONSET or was_test
        return first and not event.test and severity_of(event.label) is Severity.ALARM


def age_seconds(event: SoundDetected, boot: str, mono: float) -> float | None:
    """How long ago ``event`` was made, ``mono`` seconds being now; ``None`` if another clock told that."""
    return mono - event.mono_ns / 1e9 if same_machine_boot(event.boot, boot) else None


class Unheard:
    """Alarms that wait for the hub's word. Not thread-safe.

    The lamp burns for ``burn_seconds`` after an alarm stayed without an answer, unless it comes before.
    """

    def __init__(self, burn_seconds: float) -> None:
        self._burn = burn_seconds
        self._made: dict[str, float] = {}

    def made(self, alarm: str, now: float) -> None:
        """The alarm with the id ``alarm`` was made at ``now``."""
        self._forget(now)
        self._made.setdefault(alarm, now)

    def heard(self, alarms: Iterable[str]) -> None:
        """The hub has these."""
        for alarm in alarms:
            self._made.pop(alarm, None)

    def burns(self, now: float) -> bool:
        """Whether the lamp has to burn at ``now``."""
        self._forget(now)
        return any(now >= at + GRACE_SECONDS for at in self._made.values())

    def changes_in(self, now: float) -> float | None:
        """Seconds until :meth:`burns` may give another answer; ``None`` while nothing waits."""
        turns = [at + GRACE_SECONDS + later for at in self._made.values() for later in (0.0, self._burn)]
        return min((turn - now for turn in turns if turn > now), default=None)

    def _forget(self, now: float) -> None:
        self._made = {key: at for key, at in self._made.items() if now < at + GRACE_SECONDS + self._burn}
