"""The hub's settings: one frozen dataclass for each table of ``hub.toml``."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tocsin_hub.alerts.limits import RoadLimits
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.phones.settings import ChannelSettings, PushSettings
from tocsin_hub.place import Place, PostgresPlace, check_url
from tocsin_hub.rollouts.settings import UpdateSettings
from tocsin_shared import settings
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.errors import SettingsError
from tocsin_shared.settings import setting, table

SPARE_THREADS = 8
"""Threads that dashboards may not use up, so that pages and the API always answer."""
_MOST_DAYS = 36_500


@dataclass(frozen=True)
class WebSettings:
    """Where the dashboard is served."""

    host: str = setting(
        "127.0.0.1", "Address to listen on; 0.0.0.0 listens on every network of this machine."
    )
    port: int = setting(8080, "Port to listen on.", minimum=1, maximum=65535)
    public_url: str = setting(
        "",
        "Address under which people reach the dashboard, such as https://tocsin.example.org, when a proxy "
        "stands before it; empty means http://host:port.",
        pattern=r"(https?://[A-Za-z0-9.\-:\[\]]+/?)?",
    )
    threads: int = setting(
        64,
        f"Threads that answer; each open dashboard holds one, and {SPARE_THREADS} stay free for pages.",
        minimum=SPARE_THREADS + 4,
        maximum=2000,
    )

    proxies: int = setting(
        0,
        "Proxies before the hub whose X-Forwarded-For and X-Forwarded-Proto are believed; without it, all "
        "who come through a proxy share one count of wrong passwords.",
        minimum=0,
        maximum=5,
    )
    site_ca: str = setting(
        "",
        "File of the site's own certificate authority, served by the proxy as /site-ca.crt: invitations then "
        "show how a phone comes to trust it. Empty where phones trust the dashboard's certificate anyway.",
    )

    redis: str = setting(
        "",
        "A Redis between the hub and its web processes (tocsin hub web): redis://HOST:6379, or rediss:// "
        "for TLS. No password. Empty where the hub is the only process.",
    )
    redis_password_file: Path | None = setting(
        None, "File that holds the password for redis.", shown='"redis-password"'
    )

    def __post_init__(self) -> None:
        if self.redis:
            parts = urlsplit(self.redis)
            if parts.password is not None or "password" in parse_qs(parts.query):
                raise ValueError(
                    "there is a password in redis: put it into a file of its own, redis_password_file"
                )
            if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
                raise ValueError(f"redis must be redis://HOST:6379 or rediss://HOST:6379, not {self.redis!r}")

    def redis_password(self) -> str | None:
        """What stands in the file for it.

        Raises:
            SettingsError: it cannot be read.
        """
        if self.redis_password_file is None:
            return None
        try:
            return self.redis_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"web.redis_password_file: {self.redis_password_file} cannot be read: {error}"
            ) from error

    @property
    def origin(self) -> str:
        """Scheme, host and port under which people reach the dashboard."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"

    @property
    def secure(self) -> bool:
        """Whether people reach the dashboard by HTTPS, so that cookies must never leave it."""
        return self.origin.startswith("https://")


@dataclass(frozen=True)
class AccessSettings:
    """Who gets in, and for how long."""

    session_days: int = setting(
        30, "A session of an officer or an admin ends after this many days.", minimum=1, maximum=365
    )
    idle_days: int = setting(
        7, "A session of an officer or an admin that is not used ends sooner.", minimum=1, maximum=365
    )
    phone_days: int = setting(
        365, "A worker's session ends after this many days: her phone is her key.", minimum=1, maximum=1000
    )
    phone_idle_days: int = setting(
        90, "A worker's session that is not used ends sooner.", minimum=1, maximum=1000
    )
    invite_days: int = setting(7, "An invitation that nobody used ends.", minimum=1, maximum=60)
    password_length: int = setting(
        10, "Characters that a password must have at least.", minimum=8, maximum=64
    )
    argon2_rounds: int = setting(3, "Argon2id: passes over the memory.", minimum=1, maximum=20)
    argon2_memory_kib: int = setting(
        65_536, "Argon2id: KiB of memory for one password.", minimum=8192, maximum=1_048_576
    )
    argon2_lanes: int = setting(2, "Argon2id: lanes that are computed side by side.", minimum=1, maximum=16)
    login_tries: int = setting(
        10, "Wrong passwords for one login name within 15 minutes.", minimum=3, maximum=1000
    )
    api_per_minute: int = setting(
        6000,
        "Requests to the API that one session, token or address may send in a minute; alarms and answers "
        "are not counted.",
        minimum=60,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class OidcSettings:
    """Logging in with the accounts of an identity provider (OpenID Connect)."""

    issuer: str = setting(
        "",
        "Address of the provider, exactly as it calls itself; empty means that nobody logs in by it.",
        pattern=r"(https://\S+|http://(127\.0\.0\.1|localhost)(:\d+)?(/\S*)?)?",
    )
    client_id: str = setting("tocsin", "What the provider calls this hub.")
    client_secret_file: Path | None = setting(
        None, "File with the client secret; without it the hub is a public client.", shown='"oidc.secret"'
    )
    name: str = setting("OpenID Connect", "What stands on the button.")
    scope: str = setting("openid profile", "What the provider is asked for.")
    role_claim: str = setting("groups", "The claim that says a person's role: a text or a list of them.")
    admins: tuple[str, ...] = setting(("tocsin-admins",), "Values of that claim that make an admin.")
    officers: tuple[str, ...] = setting(("tocsin-officers",), "Values that make an officer.")
    workers: tuple[str, ...] = setting(("tocsin-workers",), "Values that make a worker.")
    zones_claim: str = setting(
        "", "The claim that names a person's zones; empty means that everybody sees all of them."
    )


@dataclass(frozen=True)
class StoreSettings:
    """The database of events."""

    path: Path | None = setting(
        None, "The SQLite file; by default hub.sqlite in the state folder.", shown='"hub-state/hub.sqlite"'
    )
    url: str = setting(
        "",
        "A PostgreSQL to be used instead: postgresql://USER@HOST:5432/NAME?sslmode=verify-full. No password.",
    )
    password_file: Path | None = setting(
        None, "File that holds the password for url.", shown='"database-password"'
    )
    keep_events_days: int = setting(
        365,
        "Detections are kept so long, but as long as their incident lasts; 0: for ever.",
        minimum=0,
        maximum=_MOST_DAYS,
    )
    keep_incidents_days: int = setting(
        1095,
        "Incidents that are over, with their timelines, and drills; 0: for ever.",
        minimum=0,
        maximum=_MOST_DAYS,
    )
    keep_alerts_days: int = setting(
        1095, "Who was told of what, when and how; 0: for ever.", minimum=0, maximum=_MOST_DAYS
    )
    keep_audit_days: int = setting(1095, "Who did what; 0: for ever.", minimum=0, maximum=_MOST_DAYS)
    keep_quarantine_days: int = setting(
        90, "Messages that could not be read; 0: for ever.", minimum=0, maximum=_MOST_DAYS
    )
    keep_troubles_days: int = setting(
        365, "Troubles of nodes that are over; 0: for ever.", minimum=0, maximum=_MOST_DAYS
    )
    prune_hour: int = setting(
        3, "Hour of the day, local time of this machine, in which old data goes.", minimum=0, maximum=23
    )

    def __post_init__(self) -> None:
        if self.url:
            check_url(self.url)
            if self.path is not None:
                raise ValueError("path and url are both set; a hub has one database: take one of them out")


@dataclass(frozen=True)
class IngestSettings:
    """How messages are gathered into one write to the disk."""

    commit_ms: int = setting(20, "A message waits at most this long for others.", minimum=0, maximum=1000)
    commit_rows: int = setting(500, "At most this many messages make one write.", minimum=1, maximum=10_000)
    queue: int = setting(
        10_000,
        "Messages that may wait for the disk; then the broker is held back.",
        minimum=10,
        maximum=1_000_000,
    )


@dataclass(frozen=True)
class IncidentSettings:
    """How what nodes report becomes incidents."""

    hold_seconds: float = setting(
        20.0, "An incident ends when none of its sounds was heard for this long.", minimum=0.0, maximum=3600.0
    )
    rejoin_seconds: float = setting(
        120.0,
        "A sound that begins so soon after the end of an incident goes on with it.",
        minimum=0.0,
        maximum=86_400.0,
    )
    late_seconds: float = setting(
        120.0,
        "A sound that is reported so long after its onset, and is over, is shown but alarms nobody.",
        minimum=10.0,
        maximum=86_400.0,
    )
    node_silent_seconds: float = setting(
        20.0,
        "A node of which nothing was heard for this long is a trouble; never sooner than two and a half of "
        "its heartbeats and 2 s.",
        minimum=5.0,
        maximum=3600.0,
    )

    @property
    def limits(self) -> Limits:
        """The same, as the rules want it."""
        return Limits(
            hold_seconds=self.hold_seconds,
            rejoin_seconds=self.rejoin_seconds,
            late_seconds=self.late_seconds,
            node_silent_seconds=self.node_silent_seconds,
        )


@dataclass(frozen=True)
class AlertSettings:
    """When people are told, and for how long a channel is tried."""

    time_zone: str = setting(
        "",
        "Time zone in which shifts and quiet hours are meant, such as Asia/Seoul; empty: that of this "
        "machine. With one that this machine does not know, nobody is off shift and nobody quiet.",
        pattern=r"[A-Za-z0-9_+\-/]{0,64}",
    )
    cleared_minutes: float = setting(
        30.0,
        "For this long an alarm that is over, but that nobody acknowledged, still climbs its steps.",
        minimum=0.0,
        maximum=1440.0,
    )
    deadline_seconds: float = setting(
        30.0, "A channel that did not take a message after this long has failed.", minimum=1.0, maximum=600.0
    )
    retry_seconds: tuple[float, ...] = setting(
        (1.0, 2.0, 4.0, 8.0),
        "Waits between the tries of a channel; the last one holds for all further tries.",
        minimum=0.1,
        maximum=300.0,
    )
    queue: int = setting(
        2000,
        "Messages that may wait for one channel; alarms take the place of others.",
        minimum=10,
        maximum=100_000,
    )

    @property
    def limits(self) -> RoadLimits:
        """How long a channel is tried, as the roads want it."""
        return RoadLimits(self.deadline_seconds, self.retry_seconds, self.queue)


@dataclass(frozen=True)
class MetricsSettings:
    """Figures for Prometheus at /metrics."""

    access: str = setting(
        "local",
        "Who may read them without logging in: programs of this machine (local; nobody, where a proxy stands "
        "before the hub), anybody, or nobody. Officers and their API tokens always may.",
        choices=("local", "anybody", "nobody"),
    )


@dataclass(frozen=True)
class HubSettings:
    """All settings of the hub."""

    state_folder: Path = setting(
        Path("hub-state"), "Folder for the database and the hub's secret; relative paths start at this file."
    )
    web: WebSettings = table(WebSettings, "The dashboard.")
    broker: BrokerSettings = table(BrokerSettings, "The MQTT broker.")
    access: AccessSettings = table(AccessSettings, "Who gets in, and for how long.")
    oidc: OidcSettings = table(OidcSettings, "Logging in with the accounts of a company.")
    store: StoreSettings = table(StoreSettings, "The database.")
    ingest: IngestSettings = table(IngestSettings, "Gathering messages into writes.")
    incidents: IncidentSettings = table(IncidentSettings, "Many reports, one incident.")
    alerts: AlertSettings = table(AlertSettings, "Telling people.")
    metrics: MetricsSettings = table(MetricsSettings, "Figures for Prometheus.")
    push: PushSettings = table(PushSettings, "Notifications on people's phones.")
    channels: ChannelSettings = table(ChannelSettings, "Other roads to people, such as ntfy on the LAN.")
    updates: UpdateSettings = table(UpdateSettings, "Models over the air; see docs/ota.md.")

    @property
    def download_threads(self) -> int:
        """Threads that downloads may hold: those that are set, but never more than dashboards may."""
        if not self.updates.enabled:
            return 0
        return min(self.updates.downloads, (self.web.threads - SPARE_THREADS) // 2)

    @property
    def database(self) -> Place:
        """The PostgreSQL, or the SQLite file."""
        if self.store.url:
            return PostgresPlace(self.store.url, self.store.password_file)
        return self.store.path or self.state_folder / "hub.sqlite"


def load(path: Path) -> HubSettings:
    """The settings in the file ``path``; relative paths start at its folder.

    Raises:
        SettingsError: no such file, not TOML, or a key or value that is wrong.
    """
    return settings.load(path, HubSettings)


def example() -> str:
    """A commented ``hub.toml`` with every key at its default."""
    return settings.example(HubSettings, "Settings of a Tocsin hub: tocsin hub run --config hub.toml")
