"""The HTTP API, ``/api/v1``: parse, ask, answer in JSON. One module for each matter."""

from tocsin_hub.api.alerts import alerts as _alerts
from tocsin_hub.api.events import events as _events
from tocsin_hub.api.incidents import incidents as _incidents
from tocsin_hub.api.me import me as _me
from tocsin_hub.api.parts import SPEC, api, problem
from tocsin_hub.api.people import people as _people
from tocsin_hub.api.phones import phones as _phones
from tocsin_hub.api.phones import receipts
from tocsin_hub.api.plots import plots as _plots
from tocsin_hub.api.rollouts import rollouts as _rollouts

__all__ = ["SPEC", "api", "problem", "receipts"]

api.register_blueprint(_events)
api.register_blueprint(_incidents)
api.register_blueprint(_people)
api.register_blueprint(_alerts)
api.register_blueprint(_plots)
api.register_blueprint(_phones)
api.register_blueprint(_me)
api.register_blueprint(_rollouts)
