"""The API is as its document says: the committed file, the code, and what is really answered."""

import copy
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pytest
import schemathesis
from flask.testing import FlaskClient
from msgspec import inspect
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.hub.documents import OPENAPI
from tests.hub.parts import birth, feed, heartbeat, many
from tocsin_hub.api.parts import JSON, SPEC, api
from tocsin_hub.root import Hub
from tocsin_shared import codec
from tocsin_shared.topics import node_topic


def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/api/v1/openapi.json")
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json  # type: ignore[assignment]
    return made


def operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_committed_document_is_that_of_the_code(client: FlaskClient) -> None:
    assert json.loads(OPENAPI.read_text(encoding="utf-8")) == document(client), "renew it with: make api-docs"


def test_every_endpoint_of_the_api_is_described(hub: Hub) -> None:
    views = {
        rule.rule: hub.app.view_functions[rule.endpoint]
        for rule in hub.app.url_map.iter_rules()
        if rule.rule.startswith(api.url_prefix or "")
    }
    assert len(views) >= 3
    silent = {rule for rule, view in views.items() if SPEC.get_function_metadata(view) is None}
    assert silent == {"/api/v1/openapi.json"}, "put described(...) on it"


def test_operations_have_names_words_and_errors(client: FlaskClient) -> None:
    made = document(client)
    every = list(operations(made))
    names = [operation["operationId"] for _, _, operation in every]
    assert len(set(names)) == len(names)
    for path, _, operation in every:
        assert operation["summary"].endswith(".")
        assert {"400", "401", "403", "503"} <= set(operation["responses"]), path
        assert "422" not in operation["responses"]
        assert "{" not in path or "404" in operation["responses"], path


def test_no_two_types_share_a_name(hub: Hub) -> None:
    """In the document one of them would stand for both."""
    known: dict[str, Any] = {}
    for view in hub.app.view_functions.values():
        if (described := SPEC.get_function_metadata(view)) is not None:
            for model in described.resp.code_models.values():
                for kind in named_types(inspect.type_info(model)):
                    assert known.setdefault(kind.__name__, kind) is kind, (
                        f"rename {kind} or {known[kind.__name__]}"
                    )


def named_types(info: inspect.Type) -> Iterator[Any]:
    """The Structs and enumerations in a type, itself among them."""
    if isinstance(info, inspect.StructType):
        yield info.cls
        for field in info.fields:
            yield from named_types(field.type)
    elif isinstance(info, inspect.EnumType):
        yield info.cls
    elif isinstance(info, inspect.Metadata):
        yield from named_types(info.type)
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            yield from named_types(one)
    elif isinstance(info, inspect.CollectionType):
        yield from named_types(info.item_type)
    elif isinstance(info, inspect.DictType):
        yield from named_types(info.value_type)


def test_parameters_are_never_null(client: FlaskClient) -> None:
    for _, _, operation in operations(document(client)):
        for parameter in operation.get("parameters", ()):
            assert '"null"' not in json.dumps(parameter)
            assert parameter["schema"].get("default", "") is not None


def test_the_document_needs_a_session_and_no_page_loads_scripts_from_elsewhere(hub: Hub) -> None:
    visitor = hub.app.test_client()
    assert visitor.get("/api/v1/openapi.json").status_code == 401
    rules = [rule.rule for rule in hub.app.url_map.iter_rules()]
    assert [rule for rule in rules if "swagger" in rule or "redoc" in rule or "scalar" in rule] == []


@pytest.fixture
def furnished(hub: Hub, client: FlaskClient) -> FlaskClient:
    """A hub that has something to answer."""
    for kind, message in (("birth", birth()), ("hb", heartbeat())):
        hub.ingest.receive(node_topic("press-1", kind), codec.encode(message), False, None)
    feed(hub, *many(5))
    return client


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """The application of ``hub`` over real HTTP; its address."""
    server = make_server("127.0.0.1", 0, hub.app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Thousands of requests are not worth a line each."""


@pytest.mark.slow
def test_schemathesis_finds_nothing(hub: Hub, furnished: FlaskClient) -> None:
    """Good and bad data for every operation that the application's own document names; all checks."""
    made = document(furnished)
    cookie = furnished.get_cookie("tocsin_session")
    assert cookie is not None
    found: list[str] = []
    statuses: Counter[tuple[str, int]] = Counter()
    for limiter in hub.app.extensions.get("limiter", ()):
        limiter.enabled = False  # what is tried here is what an endpoint takes, not how often
    with served(hub) as address:
        for variant in variants(made):
            found += findings(variant, address, cookie.value, statuses)
    assert found == [], "\n\n".join(found)
    for path, method, operation in operations(made):
        label = f"{method.upper()} {path}"
        well = sum(count for (name, status), count in statuses.items() if name == label and status < 500)
        assert well > 5, f"{label}: {well} answers"
        if method == "get" and "{" not in path:
            assert statuses[label, 200] > 0, f"{label} never went well"
        if operation.get("requestBody") or any("pattern" in str(one) for one in operation["parameters"]):
            refused = sum(statuses[label, status] for status in (400, 404, 415))
            assert refused > 3, f"{label} was never told nonsense"


def variants(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document without parameters that exclude others, and its operations that have such, with them."""
    excluding = {
        (path, method): {one["name"]: one["schema"]["x-not-with"] for one in operation.get("parameters", ())
                         if "x-not-with" in one["schema"]}
        for path, method, operation in operations(made)
    }  # fmt: skip
    yield _without(made, {at: set(found) for at, found in excluding.items()})
    others = {at: set(chain.from_iterable(found.values())) for at, found in excluding.items() if found}
    if others:
        paths = {path: made["paths"][path] for path, _ in others}
        yield _without({**made, "paths": paths}, others)


def _without(made: dict[str, Any], names: dict[tuple[str, str], set[str]]) -> dict[str, Any]:
    copied = copy.deepcopy(made)
    for path, method, operation in operations(copied):
        gone = names.get((path, method), set())
        operation["parameters"] = [one for one in operation.get("parameters", ()) if one["name"] not in gone]
    return copied


def findings(
    made: dict[str, Any], address: str, session: str, statuses: Counter[tuple[str, int]]
) -> list[str]:
    """What schemathesis has to say about the application at ``address``, with the requests that show it."""
    config = SchemathesisConfig.from_dict(
        {
            "base-url": address,
            "headers": {"Origin": address},
            "auth": {"openapi": {"session": {"api_key": session}}},
            "continue-on-failure": True,
            "operations": [*judged(made), *sent_without_body(made)],
            "generation": {
                "max-examples": 10,
                "deterministic": True,
                "no-shrink": True,
                "with-security-parameters": False,
            },
        }
    )
    said = []
    for event in from_schema(schemathesis.openapi.from_dict(made, config=config)).execute():
        if isinstance(event, events.ScenarioFinished):
            for answer in event.recorder.interactions.values():
                if answer.response is not None:
                    statuses[event.recorder.label, answer.response.status_code] += 1
        said += complaints(event)
    return said


def sent_without_body(made: dict[str, Any]) -> list[dict[str, Any]]:
    """What changes something is sent as JSON, even if there is nothing to send."""
    return [
        {"include-path": path, "include-method": method.upper(), "headers": {"Content-Type": JSON}}
        for path, method, operation in operations(made)
        if method != "get" and "requestBody" not in operation
    ]


def judged(made: dict[str, Any]) -> list[dict[str, Any]]:
    """What may refuse well-formed data, by rules that no schema can tell."""
    accepted = ["2xx", "3xx", "400", "401", "403", "404", "409", "429"]
    return [
        {
            "include-path": path,
            "include-method": method.upper(),
            "checks": {"positive_data_acceptance": {"expected-statuses": accepted}},
        }
        for path, method, operation in operations(made)
        if operation.get("x-judged")
    ]


def complaints(event: events.EngineEvent) -> list[str]:
    """What went wrong in one event of schemathesis' engine."""
    if isinstance(event, events.NonFatalError | events.FatalError):
        return [str(getattr(event, "info", event))]
    if not isinstance(event, events.ScenarioFinished):
        return []
    return [
        f"{check.name}: {check.failure_info.failure} {check.failure_info.code_sample}"
        for checks in event.recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]
