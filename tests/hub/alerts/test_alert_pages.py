"""The pages and the API of alerts, as a browser and a program use them."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub.alerts.cases import NEVER, incident, officer, worker
from tests.hub.alerts.desk import save_incident
from tests.hub.parts import birth, form_token, log_in_as, person, ulid
from tests.hub.test_pages import get, tell
from tocsin_hub.alerts import keeping
from tocsin_hub.alerts.model import Alert, Audience, ChannelName, Delivery
from tocsin_hub.alerts.pages import NEW
from tocsin_hub.alerts.policies import DEFAULTS, checked, decode, encode, to_document
from tocsin_hub.alerts.rules import Reason
from tocsin_hub.i18n import catalogue
from tocsin_hub.incidents.model import IncidentSeverity
from tocsin_hub.people.model import Person, Role
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub
from tocsin_shared.errors import BadInputError

EN, KO = catalogue("en"), catalogue("ko")
ALARM = to_document(DEFAULTS[0])


def document(**changes: Any) -> dict[str, Any]:
    """A policy for alarms as a program sends it."""
    made: dict[str, Any] = msgspec.to_builtins(ALARM)
    return {**made, "name": "Night", **changes}


def ask(client: FlaskClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.open(f"/api/v1{path}", method=method, json=body)
    assert answer.status_code == status, answer.text
    return answer.json


def post(client: FlaskClient, path: str, fields: dict[str, Any]) -> Any:
    """Send the form of a policy, with the token against forged forms."""
    return client.post(path, data={**fields, "csrf_token": form_token(client)})


def names(client: FlaskClient) -> list[str]:
    return [one["name"] for one in ask(client, "GET", "/policies")["policies"]]


def has_people(hub: Hub, *people: Person) -> None:
    """Let the hub know these people."""
    hub.engine._facts = replace(hub.engine._facts, people=lambda: people)


# Documents


@pytest.mark.parametrize("policy", DEFAULTS, ids=lambda policy: policy.id)
def test_what_a_site_starts_with_keeps_to_the_rules_and_survives_the_database(policy: Any) -> None:
    kept = decode(encode(to_document(policy)))
    assert checked(policy.id, policy.order, kept) == policy
    assert policy.severities <= set(IncidentSeverity)


MEANINGLESS: list[tuple[dict[str, Any], str]] = [
    ({"name": "   "}, "name: give the policy a name"),
    ({"steps": []}, "must tell people within 10 s"),
    ({"steps": [{"after_seconds": 11, "audience": "in_zone", "channels": ["push"]}]}, "within 10 s"),
    ({"steps": [{"after_seconds": 0, "audience": "buddies", "channels": ["push"]}]}, "within 10 s"),
    ({"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": ["push"]}]}, "must tell again"),
    ({"steps": [{"after_seconds": 0, "audience": "place", "channels": ["push"]}]}, "actuator alone"),
    ({"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": ["actuator"]}]}, "choose push"),
    ({"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": ["push", "push"]}]}, "twice"),
    (
        {
            "steps": [
                {"after_seconds": 9, "audience": "in_zone", "channels": ["push"]},
                {"after_seconds": 1, "audience": "officers", "channels": ["push"]},
            ]
        },
        "step 2: comes before step 1",
    ),
]


def test_a_policy_that_means_nothing_good_is_refused(client: FlaskClient) -> None:
    for changes, words in MEANINGLESS:
        refused = ask(client, "POST", "/policies", document(**changes), 400)
        assert words in refused["error"]["message"], changes
    assert names(client) == [one.name for one in DEFAULTS]


FORMLESS: list[dict[str, Any]] = [
    {"severities": []},
    {"severities": ["loud"]},
    {"zones": ["Hall 1"]},
    {"groups": ["*"]},
    {"most_repeats": -1},
    {"schema": 2},
    {"surprise": 1},
    {"steps": [{"after_seconds": -1, "audience": "in_zone", "channels": ["push"]}]},
    {"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": []}]},
    {"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": ["push"], "repeat_seconds": 1}]},
    {"steps": [{"after_seconds": 0, "audience": "in_zone", "channels": ["push"]}] * 11},
]


def test_a_document_of_another_form_is_refused(client: FlaskClient) -> None:
    for changes in FORMLESS:
        ask(client, "POST", "/policies", document(**changes), 400)


@settings(max_examples=50)
@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_document_breaks_the_reader(text: str) -> None:
    with pytest.raises(BadInputError):
        decode(text)


# The API of policies


def test_policies_are_kept_in_their_order(client: FlaskClient) -> None:
    shown = ask(client, "GET", "/policies")
    assert (shown["own"], shown["unreadable"]) == (False, [])
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"]
    key = ask(client, "POST", "/policies", document(), 201)["id"]
    assert names(client) == ["Night", "Alarm", "Warning", "Notice", "Trouble"]
    assert ask(client, "GET", "/policies")["own"] is True
    ask(client, "PUT", f"/policies/{key}", document(name="Day", zones=["hall-1"]))
    ask(client, "POST", f"/policies/{key}/move", {"by": 2})
    assert names(client) == ["Alarm", "Warning", "Day", "Notice", "Trouble"]
    ask(client, "DELETE", f"/policies/{key}")
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"]
    for method, path, body in (
        ("PUT", f"/policies/{key}", document()),
        ("DELETE", f"/policies/{key}", None),
        ("POST", f"/policies/{key}/move", {"by": 1}),
    ):
        ask(client, method, path, body, 404)


def test_without_policies_the_first_ones_hold_again(client: FlaskClient) -> None:
    key = ask(client, "POST", "/policies", document(), 201)["id"]
    for one in (*(policy.id for policy in DEFAULTS), key):
        ask(client, "DELETE", f"/policies/{one}")
    assert ask(client, "GET", "/policies")["own"] is False


def test_a_damaged_policy_stays_and_is_told(hub: Hub, client: FlaskClient) -> None:
    ask(client, "POST", "/policies", document(), 201)

    def damage(recorder: Recorder) -> None:
        recorder.database.execute("UPDATE policies SET document = '{' WHERE id = 'default-alarm'")

    hub.writer.call(damage)
    assert ask(client, "GET", "/policies")["unreadable"] == ["default-alarm"]
    assert EN.t("policy.unreadable", count=1) in get(client, "/admin/policies").text
    ask(client, "DELETE", "/policies/default-alarm")
    assert ask(client, "GET", "/policies")["unreadable"] == []


# The tester


def test_the_tester_says_who_would_be_told_and_why_not(hub: Hub, client: FlaskClient) -> None:
    has_people(
        hub,
        worker("ada"),
        worker("ben", shift=(NEVER,)),
        worker("cyd", zones=frozenset({"hall-2"})),
        officer("eve"),
        worker("fay", enabled=False),
    )
    asked = {"label": "smoke_alarm", "zone": "hall-1", "weekday": 2, "minute": 600}
    shown = ask(client, "POST", "/policies/test", asked)
    assert (shown["policy"], shown["severity"]) == ("default-alarm", "alarm")
    reasons = {one["person"]: one["reason"] for one in shown["people"]}
    # Nobody has a page open and no phone is there: nothing leads to anybody, and the hub says so.
    assert reasons == {
        "ada": Reason.UNREACHABLE,
        "ben": Reason.UNREACHABLE,
        "cyd": Reason.OTHER_ZONE,
        "eve": Reason.UNREACHABLE,
        "fay": Reason.DISABLED,
    }
    assert [one["channel"] for one in shown["tellings"]] == ["actuator"]


def test_the_tester_takes_a_draft(hub: Hub, client: FlaskClient) -> None:
    has_people(hub, worker("ada", shift=(NEVER,)), worker("ben"))
    road = hub.engine.roads[ChannelName.PAGE]
    road.channel = replace_reach(road.channel)
    draft = document(
        steps=[
            {"after_seconds": 5, "audience": "in_zone", "channels": ["page"], "repeat_seconds": 60},
            {"after_seconds": 300, "audience": "everybody", "channels": ["page"]},
        ]
    )
    asked = {"label": "smoke_alarm", "zone": "hall-1", "weekday": 2, "minute": 600, "draft": draft}
    shown = ask(client, "POST", "/policies/test", asked)
    assert shown["policy_name"] == "Night"
    assert [(one["person"], one["after_seconds"], one["repeats"]) for one in shown["tellings"]] == [
        ("ben", 5.0, 14),
        ("ada", 300.0, 0),
    ]
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"], "nothing was kept"
    replaced = ask(client, "POST", "/policies/test", {**asked, "draft_of": "default-alarm"})
    assert replaced["policy"] == "default-alarm"
    assert replaced["tellings"] == shown["tellings"]
    ask(client, "POST", "/policies/test", {**asked, "draft": document(steps=[])}, 400)
    for wrong in ({"weekday": 7}, {"minute": 1440}, {"label": "A b"}, {"zone": "Hall 1"}):
        ask(client, "POST", "/policies/test", {**asked, **wrong}, 400)


def replace_reach(channel: Any) -> Any:
    """The channel as it were if everybody had a page open."""

    class Everywhere:
        name = channel.name

        def reaches(self, person: Person | None) -> bool:
            return person is not None

        def send(self, message: object) -> None:
            raise NotImplementedError

    return Everywhere()


# The page of policies


def form(**changes: Any) -> dict[str, Any]:
    """The form of a policy as a browser sends it."""
    fields = {
        "name": "Night",
        "enabled": "yes",
        "severity": ["alarm"],
        "after-1": "0",
        "audience-1": "in_zone",
        "channel-1": ["push", "page"],
        "repeat-1": "30",
        "after-2": "45,5",
        "audience-2": "officers",
        "channel-2": ["push"],
        "repeat-2": "",
        "audience-3": "",
        "most": "",
        "trial_label": "smoke_alarm",
        "trial_zone": "hall-1",
        "trial_day": "2",
        "trial_time": "10:00",
        "do": "save",
    }
    return {**fields, **changes}


def test_a_policy_is_written_without_any_json(hub: Hub, client: FlaskClient) -> None:
    tell(hub, "birth", birth())
    page = get(client, f"/admin/policies/edit?policy={NEW}")
    assert {"value": "hall-1"}.items() <= page.all("input", name="zone")[0].items()
    sent = post(client, f"/admin/policies/edit?policy={NEW}", form())
    assert sent.status_code == 303
    listed = get(client, sent.location)
    assert EN.t("policy_done.saved") in listed.text
    saved = ask(client, "GET", "/policies")["policies"][0]
    assert saved["name"] == "Night"
    assert saved["steps"] == [
        {"after_seconds": 0.0, "audience": "in_zone", "channels": ["push", "page"], "repeat_seconds": 30.0},
        {"after_seconds": 45.5, "audience": "officers", "channels": ["push"], "repeat_seconds": None},
    ]
    shown = get(client, f"/admin/policies/edit?policy={saved['id']}")
    assert shown.all("input", name="after-2")[0]["value"] == "45.5"
    here = f"/admin/policies/edit?policy={saved['id']}"
    assert post(client, here, form(do="later")).status_code == 303
    assert names(client)[:2] == ["Alarm", "Night"]
    assert post(client, here, form(name="Day", do="save")).status_code == 303
    assert names(client)[:2] == ["Alarm", "Day"]
    assert post(client, here, form(do="delete")).status_code == 303
    assert names(client)[:2] == ["Alarm", "Warning"]
    again = post(client, here, form(do="delete"))
    assert EN.t("policy_done.missing") in get(client, again.location).text
    assert client.get(here).status_code == 404


WRONG: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"name": " "}, "name", {}),
    ({"severity": []}, "severities", {}),
    ({"severity": ["loud"]}, "form", {}),
    ({"most": "many"}, "most", {}),
    ({"most": "1001"}, "most", {}),
    ({"after-2": "soon"}, "after", {"step": 2}),
    ({"after-2": "-1"}, "after", {"step": 2}),
    ({"after-2": "1e9"}, "after", {"step": 2}),
    ({"repeat-2": "5"}, "repeat", {"step": 2, "seconds": 10}),
    ({"channel-2": []}, "channels", {"step": 2}),
    ({"channel-2": ["smoke"]}, "channels", {"step": 2}),
    ({"audience-2": "nobody"}, "channels", {"step": 2}),
    ({"after-1": "9", "after-2": "1"}, "order", {"step": 2, "before": 1}),
    ({"audience-1": "place"}, "place", {"step": 1}),
    ({"channel-1": ["actuator"]}, "person", {"step": 1}),
    ({"after-1": "20", "after-2": "30"}, "alarm_soon", {"seconds": 10}),
    ({"repeat-1": ""}, "alarm_repeat", {}),
    ({"zone": ["../x"]}, "form", {}),
]


def test_whatever_is_wrong_is_said_in_words(client: FlaskClient) -> None:
    for changes, fault, values in WRONG:
        for language, texts in (("en", EN), ("ko", KO)):
            sent = post(client, f"/admin/policies/edit?policy={NEW}&lang={language}", form(**changes))
            assert sent.status_code == 400, changes
            assert texts.t(f"policy_error.{fault}", **values) in sent.text, changes
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"]


def test_the_page_tries_a_draft_before_it_is_saved(hub: Hub, client: FlaskClient) -> None:
    has_people(
        hub,
        worker("ada", name="Ada <b>"),
        worker("ben", name="Ben", zones=frozenset({"hall-2"})),
        officer("eve"),
    )
    road = hub.engine.roads[ChannelName.PAGE]
    road.channel = replace_reach(road.channel)
    sent = post(client, f"/admin/policies/edit?policy={NEW}", form(do="try"))
    assert sent.status_code == 200
    assert "Ada &lt;b&gt;" in sent.text
    assert EN.t("policy_reason.told") in sent.text
    assert EN.t("policy_reason.other_zone") in sent.text
    assert EN.t("tester.repeats", count=30) in sent.text
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"]
    other = post(client, f"/admin/policies/edit?policy={NEW}", form(do="try", trial_label="knock"))
    assert EN.t("tester.other_policy") in other.text


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from([*form(), "group", "zone", "help_tells_zone", "after-10", "audience-10"]),
        st.text(max_size=40),
    )
)
def test_no_form_breaks_the_page(client: FlaskClient, fields: dict[str, str]) -> None:
    for do in ("try", fields.get("do", "save")):
        sent = post(client, f"/admin/policies/edit?policy={NEW}", {**form(), **fields, "do": do})
        assert sent.status_code in {200, 303, 400}, sent.text


# Who was told


def told(hub: Hub, person: str | None, number: int, incident_id: str) -> None:
    """Write down that ``person`` was told."""

    def write(recorder: Recorder) -> None:
        alert = Alert(ulid(number), incident_id, person, Audience.IN_ZONE, 1_000_000 * number)
        delivery = Delivery(
            ulid(number + 1), alert.id, ChannelName.PUSH, 1_000_000 * number, 1_000_000 * number + 5
        )
        keeping.note_sends(recorder, [alert], [(delivery, f"receipt-{number}")], [])

    hub.writer.call(write)


def test_who_was_told_of_an_incident(hub: Hub, client: FlaskClient) -> None:
    alarm = incident()
    hub.writer.call(lambda recorder: save_incident(recorder, alarm))
    told(hub, "ada", 100, alarm.id)
    told(hub, None, 200, alarm.id)
    hub.writer.call(lambda recorder: keeping.note_shown(recorder, "receipt-100", 100_000_009))
    hub.writer.call(lambda recorder: keeping.note_answers(recorder, {ulid(100): (101_000_000, "safe")}))
    shown = ask(client, "GET", f"/incidents/{alarm.id}/alerts")["alerts"]
    assert [(one["person"], one["answer"]) for one in shown] == [("ada", "safe"), (None, None)]
    (delivery,) = shown[0]["deliveries"]
    assert delivery["accepted"] is not None
    assert delivery["shown"] is not None
    ask(client, "GET", f"/incidents/{ulid(99)}/alerts", status=404)
    ask(client, "GET", "/incidents/nonsense/alerts", status=404)


def test_what_i_missed(hub: Hub, client: FlaskClient) -> None:
    me = ask_who(hub, client)
    for number in range(3):
        hub.writer.call(partial(save_incident, incident=incident(id=ulid(7000 + number))))
        told(hub, me, 100 + 10 * number, ulid(7000 + number))
    told(hub, "somebody else", 500, ulid(7000))
    hub.writer.call(lambda recorder: keeping.note_shown(recorder, "receipt-110", 1_000_000_000))
    first = ask(client, "GET", "/me/alerts?limit=2")
    assert [(one["incident"], one["missed"]) for one in first["alerts"]] == [
        (ulid(7002), True),
        (ulid(7001), False),
    ]
    rest = ask(client, "GET", f"/me/alerts?limit=2&before={first['next']}")
    assert [one["incident"] for one in rest["alerts"]] == [ulid(7000)]
    assert rest["next"] is None
    for wrong in ("limit=0", "limit=x", "before=x", "other=1"):
        ask(client, "GET", f"/me/alerts?{wrong}", status=400)


def ask_who(_hub: Hub, client: FlaskClient) -> str:
    """Id of the person whose client this is."""
    from tocsin_hub.people import access

    with client:
        client.get("/api/v1/rooms")
        person = access.current()
    assert person is not None
    return person.id


# Who may


OFFICERS_ONLY = ["/awareness", "/api/v1/awareness", f"/api/v1/incidents/{incident().id}/alerts"]
ADMINS_ONLY = ["/admin/policies", f"/admin/policies/edit?policy={NEW}", "/api/v1/policies"]


def test_who_may_see_what(hub: Hub) -> None:
    hub.writer.call(lambda recorder: save_incident(recorder, incident()))
    hall = frozenset({"hall-1"})
    worker_, officer_, admin, local = (
        log_in_as(hub, person(hub, role.title(), role=role, zones=zones))
        for role, zones in (
            (Role.WORKER, frozenset()),
            (Role.OFFICER, hall),
            (Role.ADMIN, frozenset()),
            (Role.ADMIN, hall),
        )
    )
    for path in OFFICERS_ONLY:
        assert [one.get(path).status_code for one in (worker_, officer_, admin)] == [403, 200, 200], path
    for path in ADMINS_ONLY:
        answers = [one.get(path).status_code for one in (worker_, officer_, local, admin)]
        assert answers == [403, 403, 403, 200], path
    for one in (worker_, officer_, local):
        ask(one, "POST", "/policies", document(), 403)
        ask(one, "POST", "/policies/test", {"label": "siren", "weekday": 0, "minute": 0}, 403)
    stranger = hub.app.test_client()
    for path in (*OFFICERS_ONLY, *ADMINS_ONLY, "/api/v1/me/alerts"):
        assert stranger.get(path).status_code == (401 if path.startswith("/api") else 302), path


def test_alerts_of_another_zone_are_nobodys_business(hub: Hub) -> None:
    hub.writer.call(lambda recorder: save_incident(recorder, incident()))
    elsewhere = log_in_as(hub, person(hub, "Yun", zones=frozenset({"hall-2"})))
    ask(elsewhere, "GET", f"/incidents/{incident().id}/alerts", status=404)


def test_a_form_without_its_token_changes_nothing(client: FlaskClient) -> None:
    assert client.post(f"/admin/policies/edit?policy={NEW}", data=form()).status_code == 400
    assert names(client) == ["Alarm", "Warning", "Notice", "Trouble"]


def test_who_changed_a_policy_is_written_down(hub: Hub, client: FlaskClient) -> None:
    key = ask(client, "POST", "/policies", document(), 201)["id"]
    ask(client, "DELETE", f"/policies/{key}")
    rows = hub.services.store.rows(
        "SELECT action, subject FROM audit WHERE action LIKE 'policy.%' ORDER BY id"
    )
    assert rows == [("policy.saved", key), ("policy.deleted", key)]
