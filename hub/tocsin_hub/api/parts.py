"""What all of the API shares: its blueprint, who may ask, how errors are told, how answers are described."""

import inspect
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar

import msgspec
from flask import Blueprint, abort, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from spectree import Response
from spectree.plugins.base import Context

from tocsin_hub.api import asking
from tocsin_hub.api.document import document, new_spec
from tocsin_hub.people import access, tokens
from tocsin_hub.people.guard import SAFE
from tocsin_hub.people.limits import ANSWERS, limit_api
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.tokens import Scope
from tocsin_hub.services import services
from tocsin_shared.errors import BadInputError, UnavailableError

P = ParamSpec("P")
S = TypeVar("S", bound=msgspec.Struct)
View = Callable[P, ResponseReturnValue]
JSON = "application/json"
api = Blueprint("api", __name__, url_prefix="/api/v1")
SPEC = new_spec("Tocsin hub")
JUDGED: set[str] = set()
"""Names of endpoints that refuse with 400 also what their types allow, by rules that no type can tell."""


class ConflictError(BadInputError):
    """What was asked for is well formed, but does not fit what is there: answered 409, not 400."""


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
    answer: type[msgspec.Struct] | None,
    query: type[msgspec.Struct] | None = None,
    body: type[msgspec.Struct] | None = None,
    status: int = 200,
    errors: tuple[int, ...] = (),
    public: bool = False,
    judged: bool = False,
) -> Callable[[View[P]], View[P]]:
    """Checks and documents an endpoint; what was checked is in ``request.context.query`` and ``.json``.

    ``errors`` are statuses that it answers beside those of every endpoint, such as 409; ``public`` says
    that it needs no session, because it is no part of :data:`api`. Tests compare answers with ``answer``.
    """

    def decorate(view: View[P]) -> View[P]:
        if judged:
            JUDGED.add(view.__name__)
        known = {400, 401, 403, 429, 503, *errors}
        known |= {404} if inspect.signature(view).parameters else set()
        known |= {413, 415} if body is not None else set()
        validate: Any = SPEC.validate(
            query=query,
            json=body,
            resp=Response(**{f"HTTP_{status}": answer} | {f"HTTP_{code}": Problem for code in sorted(known)}),
            tags=[tag],
            before=lambda *_: _check(query, body),
            after=lambda *_: None,
            skip_validation=True,
            validation_error_status=400,
            operation_id=view.__name__,
            security=[] if public else None,
        )
        return validate(view)  # type: ignore[no-any-return]

    return decorate


def _check(query: type[msgspec.Struct] | None, body: type[msgspec.Struct] | None) -> None:
    """Read what the current request says, or refuse it."""
    if body is not None and request.mimetype != JSON:
        words = f"Send the body as {JSON}, not as {request.mimetype[:80] or 'a body without a type'}."
        abort(make_response(problem(415, "unsupported_media_type", words)))
    try:
        asked_for = query and asking.read_query(request.args.items(multi=True), query)
        said = body and asking.read_body(request.get_data(), body)
    except BadInputError as error:  # told here, because not every endpoint is part of :data:`api`
        abort(make_response(problem(400, "bad_parameter", str(error))))
    request.context = Context(asked_for, said, None, None, None)  # type: ignore[attr-defined]


def asked(kind: type[S]) -> S:
    """The parameters of the current request, as its description says: a ``kind``."""
    query: S = request.context.query  # type: ignore[attr-defined]
    return query


def sent(kind: type[S]) -> S:
    """The body of the current request, as its description says: a ``kind``."""
    body: S = request.context.json  # type: ignore[attr-defined]
    return body


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


@api.errorhandler(ConflictError)
def _conflict(error: ConflictError) -> ResponseReturnValue:
    return problem(409, "conflict", str(error))


@api.errorhandler(UnavailableError)
def _unavailable(_error: UnavailableError) -> ResponseReturnValue:
    return problem(503, "unavailable", "The database does not answer at the moment; try again soon.")


@api.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    """The description of this API."""
    return jsonify(document(SPEC, JUDGED))
