"""What all of the API shares: its blueprint, who may ask, how errors are told, how answers are described."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec

import msgspec
from flask import Blueprint, abort, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from spectree import Response, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter

from tocsin_hub.people import access, tokens
from tocsin_hub.people.guard import SAFE
from tocsin_hub.people.limits import ANSWERS, limit_api
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.tokens import Scope
from tocsin_hub.services import services
from tocsin_shared.errors import BadInputError, UnavailableError

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]
api = Blueprint("api", __name__, url_prefix="/api/v1")
SPEC = SpecTree(
    "flask",
    title="Tocsin hub",
    version="v1",
    path="api/v1/docs",
    mode="strict",
    annotations=False,
    model_adapter=get_msgspec_model_adapter(),
)


class ErrorWords(msgspec.Struct):
    """Why a request was refused."""

    code: str
    message: str


class Problem(msgspec.Struct):
    """The body of every answer that is no success."""

    error: ErrorWords


def problem(status: int, code: str, message: str) -> ResponseReturnValue:
    """An error as the API tells it."""
    return jsonify(error={"code": code, "message": message}), status


def described(
    tag: str,
    *,
    answer: type[msgspec.Struct],
    query: type[msgspec.Struct] | None = None,
    body: type[msgspec.Struct] | None = None,
    status: int = 200,
) -> Callable[[View[P]], View[P]]:
    """Checks and documents an endpoint; what was checked is in ``request.context.query`` and ``.json``."""
    answers = {f"HTTP_{status}": answer} | {
        f"HTTP_{code}": Problem for code in (400, 401, 403, 404, 415, 503)
    }
    validate: Any = SPEC.validate(
        query=query,
        json=body,
        resp=Response(**answers),
        tags=[tag],
        before=_refuse_bad_input,
        skip_validation=False,
    )
    return validate  # type: ignore[no-any-return]


def _refuse_bad_input(_request: object, _response: object, error: Any, _view: object, adapter: Any) -> None:
    if error is not None:
        first = adapter.validation_errors(error)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the request"
        abort(make_response(problem(400, "bad_parameter", f"{place}: {first['msg']}")))


def who() -> Person:
    """The person who asks; the blueprint lets nobody else in."""
    person: Person = g.person
    return person


def needs(role: Role) -> Callable[[View[P]], View[P]]:
    """Refuses who may not what ``role`` may."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            if who().may(role):
                return view(*args, **kwargs)
            return problem(HTTPStatus.FORBIDDEN, "not_allowed", f"This needs the role {role}.")

        return guarded

    return guard


@api.before_request
def _only_those_who_may() -> ResponseReturnValue | None:
    """Lets in whoever comes with a session, or with a token whose scopes cover what is asked for."""
    if (sent := request.headers.get("Authorization")) is None:
        g.person = access.current()
        if g.person is None:
            return problem(401, "not_logged_in", "Log in, or send an API token, first.")
        return None
    token = tokens.read_header(sent)
    acting = None if token is None else tokens.acting(services(), token)
    if acting is None:
        return problem(401, "bad_token", "This API token is not known, was revoked or has ended.")
    if (scope := _scope_needed()) not in acting.scopes:
        return problem(403, "not_allowed", f"This needs a token with the scope {scope}.")
    g.person = acting.person
    return None


def _scope_needed() -> Scope:
    if request.method in SAFE:
        return Scope.READ
    return Scope.ANSWER if request.path.endswith(ANSWERS) else Scope.MANAGE


limit_api(api)


@api.errorhandler(BadInputError)
def _bad_input(error: BadInputError) -> ResponseReturnValue:
    return problem(400, "bad_parameter", str(error))


@api.errorhandler(UnavailableError)
def _unavailable(_error: UnavailableError) -> ResponseReturnValue:
    return problem(503, "unavailable", "The database does not answer at the moment; try again soon.")
