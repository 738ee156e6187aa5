"""Korean and English: the catalogues, which of them a request gets, and how figures are written.

Each language is one flat JSON file in ``locales/``: key → text with ``{placeholders}``. The page's
scripts get the same catalogue, so that a sound has one name wherever it is shown. Texts are plain: no
markup stands in them, and whoever shows one escapes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tocsin_shared.errors import TocsinError

LANGUAGES: dict[str, str] = {"en": "English", "ko": "한국어"}
"""Language code → the language's own name, in the order in which they are offered."""

FALLBACK = "en"
COOKIE = "tocsin_language"
COOKIE_SECONDS = 365 * 86_400
_FOLDER = Path(__file__).with_name("locales")
_RANGE = re.compile(r"^\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([0-9.]{1,5})\s*)?$")


@dataclass(frozen=True)
class Catalogue:
    """All texts of one language."""

    language: str
    texts: Mapping[str, str]

    def t(self, key: str, **values: object) -> str:
        """The text of ``key`` with ``values`` in its placeholders.

        Raises:
            KeyError: no such key, or a placeholder without a value; the tests find both.
        """
        return self.texts[key].format(**values)

    def named(self, family: str, name: str) -> str:
        """The text of ``family.name``; a name that has none is shown by itself, its ``_`` as spaces."""
        return self.texts.get(f"{family}.{name}") or name.replace("_", " ")

    def percent(self, share: float) -> str:
        """A share of 1 as a whole percentage."""
        return self.t("format.percent", number=round(share * 100))

    def dbfs(self, level: float | None) -> str:
        """A level with a true minus sign; ``None``, which is digital silence, as a dash."""
        number = "" if level is None else f"{round(level)}".replace("-", "−")
        return self.t("format.dbfs", number=number) if number else "–"

    def duration(self, seconds: float) -> str:
        """A length of time in its two largest units."""
        whole = max(0, round(seconds))
        if whole < 60:
            return self.t("format.seconds", seconds=whole)
        if whole < 3600:
            return self.t("format.minutes", minutes=whole // 60, seconds=whole % 60)
        if whole < 86_400:
            return self.t("format.hours", hours=whole // 3600, minutes=whole % 3600 // 60)
        return self.t("format.days", days=whole // 86_400, hours=whole % 86_400 // 3600)


@cache
def catalogue(language: str) -> Catalogue:
    """The catalogue of ``language``, read once.

    Raises:
        TocsinError: its file is not there or not what it must be, so the installation is damaged.
    """
    path = _FOLDER / f"{language}.json"
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TocsinError(f"{path}: the texts cannot be read ({error}); install Tocsin again") from error
    return Catalogue(language, texts)


def choose(asked: str | None, remembered: str | None, accepted: str | None) -> str:
    """The language of a page: asked for in the address, else remembered, else accepted, else English.

    ``accepted`` is an Accept-Language header (RFC 9110, section 12.5.4); the best-weighted known
    language wins, and the first of equals.
    """
    for code in (asked, remembered):
        if code in LANGUAGES:
            return code
    return _best_accepted(accepted or "")


def _best_accepted(header: str) -> str:
    best, best_weight = FALLBACK, 0.0
    for item in header[:1000].split(","):
        match = _RANGE.match(item)
        code = match[1].lower() if match else ""
        weight = _weight(match[2]) if match else 0.0
        if code in LANGUAGES and weight > best_weight:
            best, best_weight = code, weight
    return best


def _weight(text: str | None) -> float:
    try:
        return min(1.0, float(text)) if text else 1.0
    except ValueError:
        return 0.0
