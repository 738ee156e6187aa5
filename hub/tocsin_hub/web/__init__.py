"""Web processes beside the hub: they answer browsers, and leave hearing, storing and alerting to it.

The database is the truth; what goes through Redis is a hint, and makes dashboards quick. Its package is
imported only where one is used.
"""

from tocsin_hub.settings import WebSettings
from tocsin_hub.web.beats import Beats
from tocsin_hub.web.ports import Bus
from tocsin_shared.errors import UnavailableError


def bus_of(web: WebSettings, beats: Beats) -> Bus | None:
    """What leads to the other processes of the site; ``None`` where there is only the hub.

    Raises:
        SettingsError: the Redis that is set cannot be used as it is set.
        UnavailableError: its package is not installed.
    """
    if not web.redis:
        return None
    try:
        from tocsin_hub.web import bus  # noqa: PLC0415 - a hub alone has no package for it
    except ImportError as error:
        raise UnavailableError(
            f"[web] redis is set, and {error.name or 'its package'} is not installed: "
            "pip install 'tocsin[hub,redis]'"
        ) from error
    made: Bus = bus.RedisBus(bus.connect(web.redis, web.redis_password()), beats)
    return made
