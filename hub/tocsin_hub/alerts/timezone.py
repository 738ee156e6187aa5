"""The time zone of the site, from its name or from the machine."""

import logging
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

LOCALTIME = Path("/etc/localtime")

log = logging.getLogger(__name__)


def site_time_zone(name: str, localtime: Path = LOCALTIME) -> tzinfo | None:
    """The zone called ``name``; empty: that of the machine. ``None``, loudly, if there is none to be had.

    A hub that did not start because of a misspelled zone would alarm nobody at all.
    """
    try:
        if name:
            return ZoneInfo(name)
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError on top
        log.error("the time zone %r cannot be used (%s)", name or str(localtime), error)  # noqa: TRY400
    except KeyError:
        log.error("this machine knows no time zone %r", name)  # noqa: TRY400
    log.error("nobody counts as off shift or quiet; set [alerts] time_zone, or install tzdata")
    return None
