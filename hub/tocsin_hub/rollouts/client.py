"""The edge to a hub's API for whoever types ``tocsin rollout``: one request, one answer, errors in words."""

import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin_shared.errors import BadInputError, SettingsError, UnavailableError

URL_VARIABLE, TOKEN_VARIABLE = "TOCSIN_HUB", "TOCSIN_TOKEN"
SECONDS = 330.0
"""An upload is answered after it was heard."""
_MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class Client:
    """A hub, and the token by which it is asked."""

    url: str
    """Such as ``https://tocsin.example.org``."""
    token: str
    ca_file: Path | None = None
    """Authority of the hub's certificate, if this machine does not know it."""

    def get(self, path: str) -> Any:
        """What stands at ``path`` below ``/api/v1``.

        Raises:
            BadInputError: the hub refuses, and says why.
            UnavailableError: it is not reached, or does not answer as a hub.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: object = None) -> Any:
        """The answer to ``body`` as JSON; raises as :meth:`get`."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            f"{self.url}/api/v1{path}", data=body, headers=headers, method=method
        )
        try:
            secure = self.url.startswith("https")
            context = ssl.create_default_context(cafile=self.ca_file) if secure else None
            with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
                return json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            raise BadInputError(f"{self.url}: {_said(error)}") from error
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{self.url}: {error}; is it the address of a hub?") from error


def _said(error: urllib.error.HTTPError) -> str:
    """What the hub gave as its reason."""
    try:
        words: str = json.loads(error.read(_MOST_BYTES))["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        words = f"HTTP {error.code}"
    return words


def client(url: str | None, token_file: Path | None, ca_file: Path | None) -> Client:
    """The hub that a command names, or the environment.

    Raises:
        SettingsError: none is named, or the token cannot be read.
    """
    address = (url or os.environ.get(URL_VARIABLE, "")).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise SettingsError(f"which hub? give --hub https://…, or set {URL_VARIABLE}")
    if token_file is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{token_file}: cannot be read: {error}") from error
    if not token:
        raise SettingsError(
            f"no API token: give --token-file, or set {TOKEN_VARIABLE}; tocsin hub token add NAME "
            "--person … --scopes read,manage makes one"
        )
    return Client(address, token, ca_file)
