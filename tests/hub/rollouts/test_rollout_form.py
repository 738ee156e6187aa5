"""The form of a new rollout becomes a draft, or says which field is wrong."""

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_hub.rollouts.drafts import Draft, Offered
from tocsin_hub.rollouts.form import (
    Circumstances,
    FormError,
    Row,
    Typed,
    mark,
    read,
    script,
    typed_in,
)
from tocsin_hub.rollouts.gates import readable
from tocsin_hub.rollouts.model import Variant
from tocsin_hub.rollouts.rehearse import Fault
from tocsin_hub.times import iso

NOW_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z


def offered(release: str, floor: str = "0.2.0") -> Offered:
    variants = tuple(
        Variant("sentry", release, name, f"{number}" * 64) for number, name in enumerate(("float16", "int8"))
    )
    return Offered("sentry", release, floor, variants)


AROUND = Circumstances((offered("0.3.0"), offered("0.2.0"), offered("0.1.0")), ZoneInfo("Asia/Seoul"), NOW_US)
TYPED = Typed(bundle="sentry 0.3.0")


def test_what_is_offered_first_makes_a_draft() -> None:
    draft = read(TYPED, AROUND)
    assert (draft.name, draft.release, draft.rings) == ("sentry", "0.3.0", ("1", "25%", "rest"))
    assert draft.gate == Draft("sentry", "0.3.0").gate
    assert (draft.back, draft.starts_us, draft.soak_seconds) == (None, None, None)


def test_every_field_counts() -> None:
    typed = replace(
        TYPED,
        variant="int8",
        back="0.2.0",
        rows=(Row(1, "zone", "hall-1, yard"), Row(2), Row(3, "node", "n1"), Row(4, "share", "12,5 %")),
        success="90 %",
        soak="30",
        errors="3 or 20%",
        disagreement="2.5",
        drift="200",
        longest="1",
        begin="2023-11-15T22:00",
        shadow="20",
        trial="0",
        two_persons=False,
        lone_zones=frozenset({"gate"}),
    )
    draft = read(typed, AROUND)
    assert draft.variants == ("int8",)
    assert draft.rings == ("zone:hall-1+yard", "node:n1", "12.5%")
    assert (draft.gate.success_share, draft.gate.soak_seconds, draft.gate.errors) == (0.9, 1800.0, "3 or 20%")
    assert (draft.gate.max_disagreement, draft.gate.max_alarm_drift) == (0.025, 2.0)
    assert (draft.gate.ring_seconds, draft.shadow_seconds, draft.soak_seconds) == (3600.0, 1200.0, 0.0)
    assert iso(draft.starts_us) == "2023-11-15T13:00:00.000Z"
    assert (draft.back, draft.two_persons, draft.lone_zones) == ("0.2.0", False, frozenset({"gate"}))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bundle": "sentry 9.9.9"}, "release"),
        ({"bundle": ""}, "release"),
        ({"variant": "float64"}, "variant"),
        ({"back": "0.3.0"}, "back"),
        ({"back": "0.1.0"}, "back"),
        ({"back": "7"}, "back"),
        ({"rows": ()}, "rings"),
        ({"rows": (Row(1, "count", "0"),)}, "rings"),
        ({"rows": (Row(1, "count", "²"),)}, "rings"),
        ({"rows": (Row(1, "share", "101"),)}, "rings"),
        ({"rows": (Row(1, "share", "many"),)}, "rings"),
        ({"rows": (Row(1, "zone", " , "),)}, "rings"),
        ({"rows": (Row(1, "moon", "1"),)}, "rings"),
        ({"success": "101"}, "figures"),
        ({"soak": "soon"}, "figures"),
        ({"soak": "-1"}, "figures"),
        ({"drift": "nan"}, "figures"),
        ({"longest": ""}, "figures"),
        ({"shadow": "1e9"}, "figures"),
        ({"errors": "0"}, "errors"),
        ({"errors": "some"}, "errors"),
        ({"begin": "2023-11-14T22:00"}, "begin"),
        ({"begin": "tomorrow"}, "begin"),
    ],
)
def test_a_field_that_means_nothing_is_named(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(FormError) as caught:
        read(replace(TYPED, **changes), AROUND)
    assert caught.value.fault == fault


@given(
    st.dictionaries(
        st.sampled_from(
            ["bundle", "back", "success", "soak", "errors", "begin", "kind-1", "value-1", "fault", "trial"]
        ),
        st.text(max_size=20) | st.sampled_from(["sentry 0.3.0", "zone", "count", "3", "2030-01-01T00:00"]),
    )
)
def test_whatever_is_sent_is_a_draft_that_rules_can_read_or_an_error(sent: dict[str, str]) -> None:
    try:
        draft = read(typed_in({"bundle": "sentry 0.3.0", **sent}, ()), AROUND)
    except FormError:
        return
    assert readable(draft.gate)
    assert draft.rings


def test_a_changed_draft_has_another_mark() -> None:
    draft = read(TYPED, AROUND)
    assert mark(draft) == mark(read(TYPED, AROUND))
    assert mark(draft) != mark(read(replace(TYPED, soak="11"), AROUND))


def test_what_is_to_go_wrong_is_a_fault_an_alarm_or_nothing() -> None:
    assert script("too_slow").faults[0].fault is Fault.TOO_SLOW
    assert script("alarm").site[0].kind == "alarm"
    for nothing in ("none", "", "moon"):
        assert not script(nothing).faults
        assert not script(nothing).site
