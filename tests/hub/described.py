"""Compares every answer of the API, in whatever test it is given, with its description."""

from typing import Any

import msgspec
from flask import Response, current_app, request

from tocsin_hub.api.parts import SPEC, Problem


def refuse_undescribed(response: Response) -> Response:
    """Goes after every request of an application under test.

    Raises:
        AssertionError: an endpoint of the API answers something else than its description says.
    """
    endpoint = request.endpoint or ""
    if request.path.startswith("/api/") and response.status_code >= 400:
        assert _read_and_written(response, Problem) == response.json, response.get_data(as_text=True)
    described = SPEC.get_function_metadata(current_app.view_functions.get(endpoint, print))
    if described is not None and request.method != "OPTIONS":
        known = {int(code[-3:]) for code in (*described.resp.code_models, *described.resp.codes)}
        assert response.status_code in known | {405, 415}, (
            f"{endpoint} answers {response.status_code}; {known} known"
        )
        answer = described.resp.find_model(response.status_code)
        if answer is not None and request.method != "HEAD":
            assert _read_and_written(response, answer) == response.json, response.get_data(as_text=True)
    return response


def _read_and_written(response: Response, kind: Any) -> Any:
    """The body, read as ``kind`` and written again: the same, unless a field is missing or not described."""
    assert response.mimetype == "application/json", response.mimetype
    return msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(response.get_data(), type=kind)))
