"""Rollouts over HTTP: what is signed, what is planned, what happens, and what a person does about it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from flask import Blueprint, abort, jsonify, make_response
from flask.typing import ResponseReturnValue
from msgspec import Meta

from tocsin_hub.api.answers import Moment
from tocsin_hub.api.incidents import SomebodyShown
from tocsin_hub.api.parts import ConflictError, asked, described, needs, problem, sent, who
from tocsin_hub.people import audit
from tocsin_hub.people.guard import takes_body
from tocsin_hub.people.limits import by_person, limit
from tocsin_hub.people.model import Role
from tocsin_hub.rollouts.actions import Action, IllegalTransitionError
from tocsin_hub.rollouts.drafts import Draft
from tocsin_hub.rollouts.engine import UnknownRolloutError, UpdatesOffError
from tocsin_hub.rollouts.model import Course, Execution, Gate, Pause, RingState, Status
from tocsin_hub.rollouts.rehearse import FaultLine, Script, SiteLine
from tocsin_hub.rollouts.upload import UPLOAD_BYTES, accept
from tocsin_hub.rollouts.views import bundle_json, limited
from tocsin_hub.services import services
from tocsin_hub.times import LAST_US, to_us
from tocsin_shared.errors import BadInputError, SettingsError
from tocsin_shared.events import NodeId, Zone

rollouts = Blueprint("rollouts", __name__)
_MOST_MOMENTS = 2000
Seconds = Annotated[float, Meta(ge=0.0, le=604_800.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Word = Annotated[str, Meta(max_length=64)]
RingSpec = Annotated[str, Meta(max_length=1000, description="2, 25%, zone:a+b, node:x+y or rest")]
Base64 = Annotated[str, Meta(min_length=1, extra_json_schema={"contentEncoding": "base64"})]


class SignedVariant(msgspec.Struct):
    """One signed archive."""

    name: str
    release: str
    variant: str
    sha256: str
    runtimes: list[str]
    hardware: list[str]
    min_node: str


class SignedRelease(msgspec.Struct):
    """One release that can be rolled out."""

    name: str
    release: str
    floor: Annotated[str, Meta(description="A node that has proven it takes nothing older than this.")]
    variants: list[SignedVariant]


class SignedReleases(msgspec.Struct):
    """Everything that engineers have signed."""

    bundles: list[SignedRelease]


class GateShown(msgspec.Struct):
    """What a ring must show before the next one begins."""

    success_share: float
    soak_seconds: float
    errors: str
    min_executed: int
    max_disagreement: float
    max_alarm_drift: float
    min_alarm_difference: int
    ring_seconds: float


class TargetShown(msgspec.Struct):
    """How one node fares in a rollout."""

    node: str
    room: str
    zone: str
    state: Execution
    stage: str
    error: str
    detail: str
    since: str | None
    online: bool
    waits: str
    variant: str
    active_release: str
    active_variant: str
    forgiven: bool
    returning: bool
    step: str
    bytes_done: int
    bytes_total: int
    windows_missed: int


class RingShown(msgspec.Struct):
    """Nodes that go together."""

    number: int
    name: str
    state: RingState
    since: str | None
    waived: bool
    proven: int
    counted: int
    gate: GateShown
    nodes: list[TargetShown]


class RolloutLine(msgspec.Struct):
    """One thing that happened to a rollout."""

    at: str
    version: int
    code: str
    person: SomebodyShown | None
    node: str
    room: str
    ring: int | None
    detail: str


class RolloutShown(msgspec.Struct):
    """One rollout; times are ISO 8601 in UTC."""

    id: str
    name: str
    release: str
    variants: list[SignedVariant]
    back: list[SignedVariant]
    state: Status
    reason: Pause | None
    reason_detail: str
    course: Course
    version: int
    created: str
    created_by: SomebodyShown
    approved_by: SomebodyShown | None
    two_persons: bool
    starts: str | None
    lone_zones: list[str]
    actions: list[Action]
    rings: list[RingShown]
    log: list[RolloutLine]


class RolloutList(msgspec.Struct):
    """The newest rollouts, the newest first, without their logs."""

    rollouts: list[RolloutShown]


class RolloutLog(msgspec.Struct):
    """What happened to a rollout, oldest first."""

    log: list[RolloutLine]


class GateWanted(msgspec.Struct, forbid_unknown_fields=True):
    """What each ring must show before the next one begins."""

    success_share: Share = 1.0
    soak_seconds: Seconds = 600.0
    errors: Word = "1"
    min_executed: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    max_disagreement: Share = 0.05
    max_alarm_drift: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.5
    min_alarm_difference: Annotated[int, Meta(ge=0, le=1_000_000)] = 3
    ring_seconds: Annotated[float, Meta(ge=1.0, le=604_800.0)] = 86_400.0


class NewRollout(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be rolled out."""

    name: Word
    release: Word
    variants: Annotated[list[Word], Meta(max_length=20)] = []
    rings: Annotated[list[RingSpec], Meta(min_length=1, max_length=50)] = msgspec.field(
        default_factory=lambda: ["1", "25%", "rest"]
    )
    nodes: Annotated[list[NodeId], Meta(max_length=1000)] = []
    back: Word | None = None
    gate: GateWanted = msgspec.field(default_factory=GateWanted)
    starts: Moment | None = None
    two_persons: bool = True
    max_parallel: Annotated[int, Meta(ge=1, le=10_000)] = 20
    offline_grace_seconds: Seconds = 1800.0
    lone_zones: Annotated[list[Zone], Meta(max_length=200)] = []
    soak_seconds: Seconds | None = None
    shadow_seconds: Seconds | None = None

    def draft(self) -> Draft:
        """The same, as the rules want it.

        Raises:
            BadInputError: ``starts`` is no moment.
        """
        return Draft(
            name=self.name,
            release=self.release,
            variants=tuple(self.variants),
            rings=tuple(self.rings),
            nodes=tuple(self.nodes),
            gate=Gate(**msgspec.structs.asdict(self.gate)),
            back=self.back or None,
            starts_us=_moment(self.starts),
            two_persons=self.two_persons,
            max_parallel=self.max_parallel,
            offline_grace=self.offline_grace_seconds,
            lone_zones=frozenset(self.lone_zones),
            soak_seconds=self.soak_seconds,
            shadow_seconds=self.shadow_seconds,
        )


class NewRehearsal(msgspec.Struct, forbid_unknown_fields=True):
    """A rollout that is only tried, and what is to go wrong meanwhile."""

    rollout: NewRollout
    faults: Annotated[list[FaultLine], Meta(max_length=100)] = []
    site: Annotated[list[SiteLine], Meta(max_length=100)] = []
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0


class RehearsedRing(msgspec.Struct):
    """How a ring would end."""

    ring: int
    state: RingState
    nodes: int
    states: dict[str, int]
    codes: dict[str, int]


class RehearsedMoment(msgspec.Struct):
    """One thing that would happen."""

    seconds: float
    ring: int | None
    node: str
    code: str
    detail: str


class RehearsalShown(msgspec.Struct):
    """What would happen; at most the first 2000 moments of it."""

    status: Status
    pause: Pause | None
    seconds: float
    directives: int
    most_at_work: int
    rings: list[RehearsedRing]
    moments: list[RehearsedMoment]


class NewBundle(msgspec.Struct, forbid_unknown_fields=True):
    """Bundles, and the metadata of the role ``models`` that signs them."""

    metadata: Annotated[str, Meta(min_length=2, max_length=4_000_000)]
    archives: Annotated[list[Base64], Meta(min_length=1, max_length=20)]


class TakenBundles(msgspec.Struct):
    """Paths in the repository of what was taken."""

    taken: list[str]


class HowMany(msgspec.Struct, forbid_unknown_fields=True):
    """How many are asked for."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        at_us = to_us(moment) if moment.tzinfo else -1
    except (ValueError, OverflowError):
        at_us = -1
    if not 0 <= at_us <= LAST_US:
        raise BadInputError("starts: must be a time with its zone, such as 2030-01-31T22:00:00Z")
    return at_us


@contextmanager
def _in_words() -> Iterator[None]:
    """What rollouts raise, as the API tells it."""
    try:
        yield
    except UnknownRolloutError:
        abort(HTTPStatus.NOT_FOUND)
    except (IllegalTransitionError, UpdatesOffError, SettingsError) as error:
        raise ConflictError(str(error)) from error


def _limited(shown: dict[str, Any]) -> dict[str, Any]:
    """``shown`` for whoever asks: of other zones than hers nothing is told."""
    zones = who().zones
    if not zones:
        return shown
    made = limited(shown, zones)
    rings = [ring | {"name": ""} for ring in made["rings"]]
    return made | {"rings": rings, "lone_zones": [one for one in made["lone_zones"] if one in zones]}


def _only_of_all_zones() -> None:
    """A rollout is about the whole site."""
    if who().zones:
        words = "This needs an admin of all zones."
        abort(make_response(problem(HTTPStatus.FORBIDDEN, "not_allowed", words)))


@rollouts.get("/bundles")
@needs(Role.OFFICER)
@described("rollouts", answer=SignedReleases, errors=(409,))
def list_bundles() -> ResponseReturnValue:
    """Every signed release that can be rolled out, newest first; none where nothing goes over the air."""
    with _in_words():
        return jsonify(bundles=[bundle_json(one) for one in services().rollouts.bundles()])


@rollouts.post("/bundles")
@takes_body(UPLOAD_BYTES)
@needs(Role.ADMIN)
@described("rollouts", body=NewBundle, answer=TakenBundles, status=201, errors=(409,), judged=True)
@limit("60 per hour", by=by_person("upload"))
def upload_bundles() -> ResponseReturnValue:
    """Take signed bundles; refused if signature, manifest, golden clips or gate fail."""
    _only_of_all_zones()
    wanted, hub = sent(NewBundle), services()
    with _in_words():
        taken = accept(hub.rollouts, wanted.metadata, wanted.archives, hub.settings.updates.check_seconds)
    audit.record("bundle.uploaded", ", ".join(taken))
    return jsonify(taken=list(taken)), 201


@rollouts.get("/rollouts")
@needs(Role.OFFICER)
@described("rollouts", query=HowMany, answer=RolloutList)
def list_rollouts() -> ResponseReturnValue:
    """The newest rollouts, without their logs."""
    hub = services()
    found = hub.rollouts.newest(asked(HowMany).limit)
    return jsonify(rollouts=[_limited(hub.rollouts.shown(one, log_too=False)) for one in found])


@rollouts.post("/rollouts")
@needs(Role.ADMIN)
@described("rollouts", body=NewRollout, answer=RolloutShown, status=201, errors=(409,), judged=True)
@limit("120 per hour", by=by_person("rollout"))
def create_rollout() -> ResponseReturnValue:
    """Plan a rollout; it waits for approval, and then for its start."""
    _only_of_all_zones()
    hub = services()
    draft = sent(NewRollout).draft()
    with _in_words():
        made = hub.rollouts.create(draft, who().id, hub.clock())
        shown = hub.rollouts.shown(hub.rollouts.get(made))
    audit.record("rollout.create", made, f"{draft.name} {draft.release}")
    return jsonify(shown), 201


@rollouts.post("/rollouts/rehearse")
@needs(Role.ADMIN)
@described("rollouts", body=NewRehearsal, answer=RehearsalShown, errors=(409,), judged=True)
@limit("120 per hour", by=by_person("rehearse"))
def rehearse_a_rollout() -> ResponseReturnValue:
    """What a rollout would do on the nodes of this site if each were well but for what is to go wrong."""
    _only_of_all_zones()
    wanted = sent(NewRehearsal)
    script = Script(faults=tuple(wanted.faults), site=tuple(wanted.site))
    with _in_words():
        result = services().rollouts.rehearse(wanted.rollout.draft(), script, wanted.seed)
    made = msgspec.to_builtins(result)
    return jsonify(made | {"moments": made["moments"][:_MOST_MOMENTS]})


@rollouts.get("/rollouts/<string(length=26):rollout_id>")
@needs(Role.OFFICER)
@described("rollouts", answer=RolloutShown)
def show_rollout(rollout_id: str) -> ResponseReturnValue:
    """One rollout as it stands, ring by ring, with its log."""
    with _in_words():
        hub = services()
        return jsonify(_limited(hub.rollouts.shown(hub.rollouts.get(rollout_id))))


@rollouts.get("/rollouts/<string(length=26):rollout_id>/log")
@needs(Role.OFFICER)
@described("rollouts", answer=RolloutLog)
def show_rollout_log(rollout_id: str) -> ResponseReturnValue:
    """What happened to a rollout, oldest first."""
    with _in_words():
        hub = services()
        return jsonify(log=_limited(hub.rollouts.shown(hub.rollouts.get(rollout_id)))["log"])


_WORDS = {
    Action.APPROVE: "Agree to a rollout; it may be started then.",
    Action.DENY: "Do not agree to a rollout.",
    Action.START: "Start a rollout that was approved; others of the same nodes are over with that.",
    Action.PAUSE: "Let nothing more begin; what is on its way comes to its end.",
    Action.RESUME: "Go on, in spite of what stopped it.",
    Action.ABORT: "Give a rollout up: nothing more begins.",
    Action.ROLLBACK: "Let every node that took the bundle take the one to go back to.",
}


def _add(action: Action, words: str) -> None:
    """An endpoint for ``action``."""

    def view(rollout_id: str) -> ResponseReturnValue:
        _only_of_all_zones()
        hub = services()
        with _in_words():
            after = hub.rollouts.act(rollout_id, action, who().id, hub.clock())
            shown = hub.rollouts.shown(after)
        audit.record(f"rollout.{action}", rollout_id)
        return jsonify(shown)

    view.__name__ = view.__qualname__ = f"{action}_rollout"
    view.__doc__ = words
    made: Callable[..., ResponseReturnValue] = described("rollouts", answer=RolloutShown, errors=(409,))(view)
    rollouts.post(f"/rollouts/<string(length=26):rollout_id>/{action}")(needs(Role.ADMIN)(made))


for _action, _said in _WORDS.items():
    _add(_action, _said)
