"""Makes the documents of the two interfaces from the code: ``python -m tests.hub.documents`` renews them.

``docs/openapi.json`` is made whole. Of ``docs/asyncapi.yaml`` the schemas of the messages are made, below a
line that says so; what stands above it is written by hand.
"""

import json
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tocsin_hub.api.document import document
from tocsin_hub.api.parts import JUDGED, SPEC
from tocsin_hub.root import build
from tocsin_hub.settings import HubSettings
from tocsin_shared import events

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPENAPI = DOCS / "openapi.json"
ASYNCAPI = DOCS / "asyncapi.yaml"
MARK = "  # Made from shared/tocsin_shared/events.py; renew with: make api-docs\n"
MESSAGES = (
    events.SoundDetected,
    events.Backfill,
    events.EventsCommitted,
    events.NodeConnection,
    events.NodeBorn,
    events.Heartbeat,
    events.TroublesChanged,
    events.HubPresence,
    events.ActuatorState,
    events.NodeReported,
)


def openapi() -> dict[str, Any]:
    """The description of the API of an application that was only built."""
    with tempfile.TemporaryDirectory() as folder:
        app = build(HubSettings(state_folder=Path(folder))).app
        with app.app_context():
            return document(SPEC, JUDGED)


def schemas() -> dict[str, Any]:
    """The JSON Schemas of every message, as AsyncAPI wants them."""
    _, made = msgspec.json.schema_components(MESSAGES, ref_template="#/components/schemas/{name}")
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def asyncapi_text(text: str) -> str:
    """``text`` of the AsyncAPI file, with fresh schemas."""
    head, _, _ = text.partition(MARK)
    made = yaml.safe_dump({"schemas": schemas()}, sort_keys=True, allow_unicode=True, width=110)
    return head + MARK + textwrap.indent(made, "  ")


def main() -> None:
    """Renew both."""
    OPENAPI.write_text(json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    ASYNCAPI.write_text(asyncapi_text(ASYNCAPI.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
