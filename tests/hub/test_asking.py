"""What a request may say, and the words in which it is told that it may not."""

from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from flask import Flask, jsonify
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from tocsin_hub.api.asking import read_body, read_query
from tocsin_hub.api.parts import described, problem, sent
from tocsin_shared.errors import BadInputError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Query(msgspec.Struct):
    count: Annotated[int, Meta(ge=1, le=9)] = 5
    any_number: int | None = None
    share: float = 0.5
    lit: bool | None = None
    colour: Colour | None = None
    side: Literal["", "left", "right"] = ""
    name: Annotated[str, Meta(pattern=r"^[a-z]*(?!\n)$", description="small letters")] = ""
    several: list[str] = []
    alone: Annotated[int, Meta(ge=0, extra_json_schema={"x-not-with": ["name"]})] | None = None


class Body(msgspec.Struct):
    answer: Colour
    minutes: Annotated[int, Meta(ge=1, le=60)] = 10


class TheBody(msgspec.Struct):
    answer: str
    minutes: int


def test_what_is_right_is_read() -> None:
    said = [("count", "7"), ("share", "1.5"), ("lit", "true"), ("colour", "blue"), ("several", "a"),
            ("several", "b"), ("side", "left"), ("any_number", "-3")]  # fmt: skip
    query = read_query(said, Query)
    assert (query.count, query.share, query.lit, query.colour) == (7, 1.5, True, Colour.BLUE)
    assert (query.several, query.side, query.any_number, query.alone) == (["a", "b"], "left", -3, None)
    assert read_query([], Query) == Query()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([("count", "10")], "count: must be a whole number from 1 to 9"),
        ([("count", "1.0")], "count: must be a whole number from 1 to 9"),
        ([("count", "1e0")], "count: must be a whole number from 1 to 9"),
        ([("count", "\u0663")], "count: must be a whole number from 1 to 9"),
        ([("count", "")], "count: must be a whole number from 1 to 9"),
        ([("count", "null")], "count: must be a whole number from 1 to 9"),
        ([("count", "9" * 5000)], "count: must be a whole number from 1 to 9"),
        ([("any_number", "null")], "any_number: must be a whole number"),
        ([("any_number", "9" * 20)], "any_number: must be a whole number"),
        ([("lit", "1")], "lit: must be true or false"),
        ([("colour", "green")], "colour: must be one of red, blue"),
        ([("side", "up")], "side: must be one of left, right"),
        ([("name", "a\n")], "name: must be small letters"),
        ([("count", "1"), ("count", "1")], "count: given more than once"),
        ([("alone", "1"), ("name", "a")], "name: cannot be asked together with alone"),
    ],
)
def test_what_is_wrong_is_named(said: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read_query(said, Query)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "x"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"^share: "):
        read_query([("share", text)], Query)


def test_an_unknown_parameter_is_told_which_are_known() -> None:
    with pytest.raises(BadInputError, match=r"^cont: there is no such parameter here; known are count, "):
        read_query([("cont", "1")], Query)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Query.__struct_fields__) | st.text(), st.text())))
def test_no_query_does_worse_than_be_refused(said: list[tuple[str, str]]) -> None:
    with suppress(BadInputError):
        assert isinstance(read_query(said, Query), Query)


@settings(deadline=None)
@given(st.binary())
def test_no_body_does_worse_than_be_refused(body: bytes) -> None:
    with pytest.raises(BadInputError):
        read_body(body, Body)


@pytest.fixture(scope="module")
def app() -> Flask:
    made = Flask("described")
    made.config["MAX_CONTENT_LENGTH"] = 1000
    made.register_error_handler(BadInputError, lambda error: problem(400, "bad_parameter", str(error)))
    made.register_error_handler(413, lambda _: problem(413, "request_entity_too_large", "too large"))

    @made.post("/answer")
    @described("test", body=Body, answer=TheBody)
    def answer() -> ResponseReturnValue:
        """What was said."""
        return jsonify(answer=str(sent(Body).answer), minutes=sent(Body).minutes)

    return made


def post(app: Flask, body: bytes, kind: str | None = "application/json") -> tuple[int, Any]:
    client: FlaskClient = app.test_client()
    answer = client.post("/answer", data=body, content_type=kind)
    return answer.status_code, answer.json


def test_a_body_is_read(app: Flask) -> None:
    assert post(app, b'{"answer":"red"}') == (200, {"answer": "red", "minutes": 10})
    assert post(app, b'{"answer":"red","minutes":12.0}') == (200, {"answer": "red", "minutes": 12})
    assert post(app, b'{"answer":"red"}', "application/json; charset=utf-8")[0] == 200


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_another_kind_of_body_is_a_415(app: Flask, kind: str | None) -> None:
    status, words = post(app, b'{"answer":"red"}', kind)
    assert (status, words["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body: is not JSON"),
        (b"{", "the body: is not JSON"),
        (b'{"answer":"red\xff"}', "the body: is not JSON"),
        (b"[" * 900, "the body: expected `object`, got `array`"),
        (b'{"answer":' + b"[" * 900, "answer: expected `str`, got `array`"),
        (b"null", "the body: expected `object`"),
        (b"{}", "the body: object missing required field `answer`"),
        (b'{"answer":"green"}', "answer: invalid enum value 'green'"),
        (b'{"answer":"red","minutes":"10"}', "minutes: expected `int`, got `str`"),
        (b'{"answer":"red","minutes":1.5}', "minutes: expected `int`, got `float`"),
        (b'{"answer":"red","minutes":61.0}', "minutes: expected `int` <= 60"),
        (b'{"answer":"red","minutes":1e300}', "minutes: expected `int`, got `float`"),
        (b'{"answer":"red","minutes":61}', "minutes: expected `int` <= 60"),
        (b'{"answer":"red","minutes":NaN}', "the body: is not JSON"),
    ],
)
def test_a_wrong_body_is_a_400_that_says_where(app: Flask, body: bytes, sentence: str) -> None:
    status, words = post(app, body)
    assert status == 400
    assert words["error"]["message"].startswith(sentence)


def test_a_large_body_is_a_413(app: Flask) -> None:
    assert post(app, b'{"answer":"red"' + b" " * 1000 + b"}")[0] == 413
