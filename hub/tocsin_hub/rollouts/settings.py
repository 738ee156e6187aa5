"""Settings of bundles over the air: where the trust repository is, and how much of the line they may take."""

from dataclasses import dataclass
from pathlib import Path

from tocsin_shared.settings import setting


@dataclass(frozen=True)
class UpdateSettings:
    """Bundles over the air: where they are, who lets them out, and how fast they go."""

    repository: Path | None = setting(
        None,
        "Folder of the trust repository that tocsin trust init --repository has made; without it nothing "
        "goes over the air. The hub must be able to write to it.",
        shown='"updates"',
    )
    keys: Path | None = setting(
        None,
        "Folder of the hub's own keys, as tocsin trust init --online has made it; readable by the hub alone.",
        shown='"hub-keys"',
    )
    two_persons: bool = setting(True, "Whoever approves a rollout must be another person than who made it.")
    downloads: int = setting(
        12,
        "Bundles that are sent at once; other nodes wait for their turn. Each takes one of [web] threads.",
        minimum=1,
        maximum=500,
    )
    bytes_per_second: float = setting(
        2_000_000.0, "All nodes together are sent bundles no faster than this.", minimum=10_000.0, maximum=1e9
    )
    check_seconds: float = setting(
        300.0,
        "An uploaded bundle must have heard its clips within this; only where tocsin[models] is installed.",
        minimum=10.0,
        maximum=3600.0,
    )

    @property
    def enabled(self) -> bool:
        """Whether anything goes over the air."""
        return self.repository is not None
