"""The labels that Tocsin knows, how severe each is, and how a label may be spelled.

A bundle may bring labels that are not listed here; they are shown by their own name and count as
``warning``, because an unknown warning is better shown than hidden.
"""

from enum import StrEnum

LABEL_PATTERN = r"^[a-z][a-z0-9_]{0,63}(?!\n)$"
"""Spelling of a label: it is a topic level on MQTT and a folder name in a data set.

``(?!\\n)`` stands in every pattern of ours because ``$`` alone would let a line break through at the end.
"""


class Severity(StrEnum):
    """How much a sound matters to somebody who cannot hear it."""

    ALARM = "alarm"
    """Life safety: never dropped, never delayed, never muted."""
    WARNING = "warning"
    """Danger to a person nearby."""
    NOTICE = "notice"
    """Good to know."""
    NONE = "none"
    """Recognised so that it is not mistaken for something else; never reported."""


SEVERITIES: dict[str, Severity] = {
    "smoke_alarm": Severity.ALARM,
    "siren": Severity.ALARM,  # of a bundle that does not tell sirens apart
    "co_alarm": Severity.ALARM,
    "evacuation_siren": Severity.ALARM,
    "emergency_siren": Severity.ALARM,
    "gunshot_or_explosion": Severity.ALARM,
    "scream": Severity.ALARM,
    "vehicle_horn": Severity.WARNING,
    "reversing_beeper": Severity.WARNING,
    "glass_breaking": Severity.WARNING,
    "chainsaw_or_power_tool": Severity.WARNING,
    "machine_alarm_beep": Severity.WARNING,
    "engine": Severity.NOTICE,
    "dog_bark": Severity.NOTICE,
    "crying": Severity.NOTICE,
    "phone_or_door_bell": Severity.NOTICE,
    "knock": Severity.NOTICE,
    "speech": Severity.NONE,
    "background": Severity.NONE,
}


def severity_of(label: str) -> Severity:
    """Severity of ``label``; a label that is not listed is a warning."""
    return SEVERITIES.get(label, Severity.WARNING)
