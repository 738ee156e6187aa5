"""Every error that Tocsin raises on purpose, as one tree that says whose fault it is.

::

    TocsinError                 catch this at the root of a process; str() is fit for a person
    ├── SettingsError           the configuration is wrong: the administrator mends a file
    ├── BadInputError           something from outside is not what it must be
    │   ├── DecodeError         an MQTT payload
    │   ├── AudioError          a sound file, or what a sound card handed over
    │   └── BundleError         a model bundle, its manifest or one of its files
    └── UnavailableError        something that we need is not there now: worth another try later

Foreign exceptions (PortAudio, SQLite, paho, the interpreter, …) are mapped to one of these where they
enter, with ``raise … from``, and never travel further.
"""


class TocsinError(Exception):
    """Base of all errors below; its text names the thing and the remedy."""


class SettingsError(TocsinError):
    """A settings file cannot be used. The text names file, line, key and the nearest right one."""


class BadInputError(TocsinError):
    """Something from outside is not what it must be; skip it, count it, go on."""


class DecodeError(BadInputError):
    """An MQTT payload is not a valid message of the kind its topic promises."""


class AudioError(BadInputError):
    """A sound file or a block of sound cannot be used."""


class BundleError(BadInputError):
    """A model bundle, its manifest or one of its files cannot be used."""


class UnavailableError(TocsinError):
    """A device, broker, disk or service is not there now; trying again later may help."""
