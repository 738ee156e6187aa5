"""Settings of the roads to people: push services, and the addresses that apprise understands."""

from dataclasses import dataclass

from tocsin_shared.settings import setting


@dataclass(frozen=True)
class PushSettings:
    """Notifications on people's phones, by the push services of their browsers."""

    subject: str = setting(
        "",
        "Where a push service reaches whoever runs this hub, as mailto: or https: address; Apple refuses one "
        "that is made up. Empty means public_url.",
        pattern=r"(mailto:[^@\s]+@[^@\s]+\.[^@\s]+|https://[^\s]+)?",
    )
    hosts: tuple[str, ...] = setting(
        (
            "*.push.services.mozilla.com",
            "fcm.googleapis.com",
            "*.push.apple.com",
            "*.notify.windows.com",
        ),
        "Push services that phones may name: Mozilla, Google, Apple, Microsoft. A * stands for one or more "
        "names before a dot.",
        pattern=r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+",
    )
    ttl_seconds: int = setting(
        600, "A push service keeps a message this long for a phone out of reach.", minimum=10, maximum=86_400
    )
    timeout_seconds: float = setting(
        5.0, "A push service that does not answer for this long has failed.", minimum=0.5, maximum=30.0
    )
    phones_per_person: int = setting(
        8, "Phones and browsers that one person may register.", minimum=1, maximum=50
    )
    canary_at: str = setting(
        "09:00",
        "Time of day, in the time zone of [alerts], at which a phone shows that it is reached; empty: never.",
        pattern=r"(([01][0-9]|2[0-3]):[0-5][0-9])?",
    )
    canary_minutes: float = setting(
        15.0, "A phone that has not shown it after so long is not reached.", minimum=0.1, maximum=720.0
    )
    test_port: int = setting(
        0,
        "Only for tests: a push service at http://127.0.0.1 on this port is allowed; 0 allows none.",
        minimum=0,
        maximum=65535,
    )


@dataclass(frozen=True)
class ChannelSettings:
    """Other roads to people (pip install 'tocsin[channels]'): addresses that apprise understands."""

    schemas: tuple[str, ...] = setting(
        ("ntfy", "ntfys", "gotify", "gotifys", "pover", "mailto", "mailtos", "signal", "signals"),
        "Kinds of addresses that an officer may enter for a person, by the names that apprise has for them.",
        pattern=r"[a-z][a-z0-9]{1,20}",
    )
    timeout_seconds: float = setting(
        5.0, "A service that does not answer for this long has failed.", minimum=0.5, maximum=30.0
    )
    addresses_per_person: int = setting(5, "Addresses that one person may have.", minimum=1, maximum=20)
    allow_loopback: bool = setting(
        False, "Only where the service runs on this very machine: addresses at 127.0.0.1 are allowed."
    )
