"""From the hub's statements, which SQLite takes as they are, to those of psycopg."""

import re
from functools import lru_cache

_WORDS = re.compile(
    r"(?P<text>'(?:[^']|'')*')"  # stays as it is
    r"|(?P<hint> INDEXED BY \w+)"  # PostgreSQL finds its indexes by itself
    r"|(?P<name>(?<![:\w]):[a-z_]\w*)"
    r"|(?P<mark>\?)"
    r"|(?P<percent>%)"
)


@lru_cache(4096)
def translated(sql: str) -> str:
    """``sql`` as psycopg takes it: ``%s`` for ``?``, ``%(name)s`` for ``:name``, and no hints for SQLite."""
    return _WORDS.sub(_word, sql)


def _word(match: re.Match[str]) -> str:
    word = match.group()
    if match["text"]:
        return word.replace("%", "%%")
    if match["name"]:
        return f"%({word[1:]})s"
    if match["mark"]:
        return "%s"
    return "%%" if match["percent"] else ""
