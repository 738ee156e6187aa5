"""The description of the API, OpenAPI 3.1, made from what its endpoints say about themselves."""

from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from spectree import SecurityScheme, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import InType, SecureType, SecuritySchemeData

Document = dict[str, Any]
_METHODS = {"get", "post", "put", "patch", "delete"}
_SCHEMAS = "#/components/schemas/"
_SENDING = {"post", "put", "patch"}
_NO_JSON = "Unsupported Media Type"
_WORDS = """Everything that the dashboard shows, for programs.

Every answer that is no success has the body `{"error": {"code": …, "message": …}}`, also where no endpoint
is: 404, 405 and 413 are told like that. What changes something is sent as `Content-Type: application/json`,
also without a body; a parameter or a field that is wrong is named. Lists go on from the cursor `next`. Times
are ISO 8601 in UTC; levels are dBFS.
"""


_SESSION = SecurityScheme(
    name="session",
    data=SecuritySchemeData(
        type=SecureType.API_KEY,
        name="tocsin_session",
        field_in=InType.COOKIE,
        description="The cookie of somebody who logged in; with HTTPS its name begins with `__Host-`.",
    ),
)
_TOKEN = SecurityScheme(
    name="token",
    data=SecuritySchemeData(
        type=SecureType.HTTP, scheme="bearer", description="An API token of a program, with its scopes."
    ),
)


class Names:
    """Gives each Struct its plain name in the document, and sees that no two share one."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __call__(self, model: Any) -> str:
        """The name of ``model``.

        Raises:
            ValueError: another Struct has that name already.
        """
        name = str(model.__name__)
        if self._known.setdefault(name, model) is not model:
            raise ValueError(f"two types of the API are called {name}; rename that of {model.__module__}")
        return name


def new_spec(title: str) -> SpecTree:
    """What gathers the descriptions; it serves no pages, because those load scripts from elsewhere."""
    return SpecTree(
        "flask",
        title=title,
        version="v1",
        description=_WORDS,
        path="api/spectree",
        page_templates={},
        mode="strict",
        annotations=False,
        model_adapter=get_msgspec_model_adapter(),
        naming_strategy=Names(),
        nested_naming_strategy=lambda _parent, child: child,
        validation_error_status=400,
        security_schemes=[_SESSION, _TOKEN],
        security=[{"session": []}, {"token": []}],
    )


def document(spec: SpecTree, judged: Collection[str] = ()) -> Document:
    """The description of every endpoint that is registered; call it in the context of an application."""
    made: Document = msgspec.json.decode(msgspec.json.encode(spec.spec))
    for method, operation in _operations(made):
        if operation["operationId"] in judged:
            operation["x-judged"] = True
        if method in _SENDING:
            operation["responses"].setdefault(
                "415", operation["responses"]["400"] | {"description": _NO_JSON}
            )
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _of_parameter(parameter["schema"])
    schemas = made["components"]["schemas"]
    made["components"]["schemas"] = {
        name: schemas[name] for name in sorted(_named(made["paths"], schemas, set()))
    }
    return made


def _operations(made: Document) -> Iterator[tuple[str, Document]]:
    for path in made["paths"].values():
        yield from ((method, operation) for method, operation in path.items() if method in _METHODS)


def _of_parameter(schema: Document) -> Document:
    """``schema`` without ``null``: an address cannot say it, and leaves the parameter out instead."""
    choices = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
    if schema.get("default", "") is None:
        del schema["default"]
    return schema | (choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {})


def _named(node: Any, schemas: Document, known: set[str]) -> set[str]:
    """Names of the types that ``node`` refers to, and those refer to; those of queries stand nowhere."""
    if isinstance(node, list):
        for item in node:
            _named(item, schemas, known)
    elif isinstance(node, dict):
        name = str(node.get("$ref", "")).removeprefix(_SCHEMAS)
        if name in schemas and name not in known:
            known.add(name)
            _named(schemas[name], schemas, known)
        _named(list(node.values()), schemas, known)
    return known
