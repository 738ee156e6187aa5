"""A value that differs a little from another one."""

from dataclasses import replace

import pytest

from tocsin_hub.incidents.model import Incident, IncidentKind, IncidentSeverity
from tocsin_hub.rooms import NodeRecord
from tocsin_hub.values import changed
from tocsin_hub.writer import Outcome, Receipt

INCIDENT = Incident(
    id="one",
    kind=IncidentKind.SOUND,
    group="fire",
    label="siren",
    severity=IncidentSeverity.ALARM,
    zone="hall-1",
    drill=False,
    opened_us=1,
    updated_us=1,
)


@pytest.mark.parametrize(
    ("value", "news"),
    [
        (INCIDENT, {"change": 7, "updated_us": 9}),
        (INCIDENT, {}),
        (NodeRecord("press-1", since_us=1), {"last_seen_us": 3}),
        (Outcome(node="press-1"), {"receipt": Receipt(1, 1, 1)}),
    ],
)
def test_it_is_what_replace_makes_and_leaves_the_other_as_it_is(
    value: object, news: dict[str, object]
) -> None:
    before = repr(value)
    assert changed(value, **news) == replace(value, **news)  # type: ignore[type-var]
    assert repr(value) == before


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="Incident has no chnge"):
        changed(INCIDENT, chnge=7)
