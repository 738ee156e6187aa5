"""Rules: a rollout, as its JSON tells it, in the words of one language, and where its marks stand. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin_hub.i18n import Catalogue
from tocsin_hub.rollouts.gates import parse_errors
from tocsin_hub.rollouts.model import BAD, GOOD, PASSING, Execution, Pause, Status
from tocsin_hub.rollouts.rehearse import Moment, Rehearsal

Json = Mapping[str, Any]

_OUT = (Execution.CANCELED, Execution.SKIPPED, Execution.REMOVED)
_WAIT = (Execution.QUEUED, Execution.OFFERED, Execution.DEFERRED)
KINDS = {"good": "check", "work": "update", "wait": "starting", "bad": "warning", "out": "none"}
"""How a room fares, in five kinds, and the mark of each."""
_SEVERAL_STEPS = (Execution.ACCEPTED, Execution.DEFERRED, Execution.SELF_TESTING)
"""States that do not tell already in which step a room is."""
_GOLDEN = re.compile(r"hears ([a-z0-9_]+) in ([a-z0-9_]+)\.wav")
_FAR = re.compile(r"a score in ([a-z0-9_]+)\.wav is ")
_SLOW = re.compile(r"a window takes ([0-9.]+) ms; ([0-9.]+) ms are allowed")
_NUMBER = re.compile(r"[0-9]+")
_MEGABYTE = 1_000_000
_CENTRE, _GAP, _APART = 22.0, 30.0, 20.0
"""Radius of the first ring, least distance of the next one, and of marks on a ring; units of the drawing."""
_SHOWN_MOMENTS = 60


@dataclass(frozen=True)
class RoomWords:
    """How one room fares, for people."""

    node: str
    room: str
    zone: str
    kind: str
    """One of :data:`KINDS`."""
    mark: str
    state: str
    why: str
    """In plain words; empty while there is nothing to tell."""
    detail: str
    """The same of the node itself, in English, for whoever mends it."""
    where: str
    """The step in which it is, or went wrong."""
    loaded: str
    """How much of the bundle is there; empty unless it is being fetched."""
    active: str
    """What listens now."""
    remarks: tuple[str, ...]
    since: str | None
    """ISO 8601."""


@dataclass(frozen=True)
class RingWords:
    """One ring, for people."""

    number: int
    """From 1."""
    spec: str
    state: str
    name: str
    """Of the state."""
    proven: str
    gate: str
    waived: bool
    rooms: tuple[RoomWords, ...]


@dataclass(frozen=True)
class Dot:
    """One room in the drawing."""

    x: float
    y: float
    kind: str


@dataclass(frozen=True)
class Drawing:
    """Rings of rooms around one another; units of the drawing, the middle is 0."""

    radii: tuple[float, ...]
    dots: tuple[Dot, ...]
    reach: float
    """From the middle to the edge."""


@dataclass(frozen=True)
class LineWords:
    """One line of the log."""

    at: str
    """ISO 8601."""
    words: str
    kind: str
    """``stop``, ``good`` or ``plain``."""


@dataclass(frozen=True)
class Outcome:
    """What a rehearsal showed, for people."""

    good: bool
    words: str
    rings: tuple[tuple[int, int, tuple[str, ...], tuple[str, ...]], ...]
    """Number of the ring, its rooms, how they fare, and why."""
    moments: tuple[tuple[str, str], ...]
    count: int
    """How many moments there were."""


def kind_of(state: str) -> str:
    """In which of the five kinds a room is counted."""
    if state in GOOD:
        return "good"
    if state in BAD:
        return "bad"
    if state in _OUT:
        return "out"
    return "wait" if state in _WAIT else "work"


@dataclass(frozen=True)
class Words:
    """Puts rollouts into words of one language."""

    texts: Catalogue

    def paused(self, told: Json) -> str:
        """Why it stands still, with the figures; empty if it does not."""
        if told["reason"] is None:
            return ""
        return self.reason(told["reason"], told["reason_detail"])

    def passes(self, told: Json) -> bool:
        """Whether it goes on by itself."""
        return told["reason"] in PASSING

    def reason(self, pause: str, detail: str) -> str:
        """The reason of a pause, with its figures."""
        words = self.texts.named("rollout_pause", pause)
        figures = self._figures(pause, detail)
        return f"{words.removesuffix('.')} ({figures})." if figures else words

    def _figures(self, pause: str, detail: str) -> str:
        if pause == Pause.BAD_EXPRESSION:
            return detail
        numbers = _NUMBER.findall(detail)
        if len(numbers) == 1 and pause == Pause.ERROR_THRESHOLD:
            return self.texts.t("rollout_figures.not_returned", one=numbers[0])
        if len(numbers) != 2 or f"rollout_figures.{pause}" not in self.texts.texts:
            return ""
        return self.texts.t(f"rollout_figures.{pause}", one=numbers[0], two=numbers[1])

    def why(self, code: str, detail: str = "") -> str:
        """What a code means; with ``detail``, as exactly as it tells."""
        if code == "E_GOLDEN" and (found := _GOLDEN.search(detail)):
            heard, clip = (self.texts.named("label", one) for one in found.groups())
            return self.texts.t("rollout_exact.golden", clip=clip, heard=heard)
        if code == "E_GOLDEN" and (found := _FAR.search(detail)):
            return self.texts.t("rollout_exact.far", clip=self.texts.named("label", found[1]))
        if code == "E_BUDGET" and (found := _SLOW.search(detail)):
            took, allowed = (round(float(one)) for one in found.groups())
            return self.texts.t("rollout_exact.budget", took=took, allowed=allowed)
        return self.texts.named("rollout_why", code) if code else ""

    def ring(self, told: Json) -> RingWords:
        """One ring with its rooms; those that did not go well first."""
        rooms = [self.room(one) for one in told["nodes"]]
        order = ["bad", "work", "wait", "good", "out"]
        return RingWords(
            number=told["number"] + 1,
            spec=told["name"],
            state=told["state"],
            name=self.texts.named("rollout_ring", told["state"]),
            proven=self.texts.t("rollout.ring_of", good=told["proven"], all=told["counted"]),
            gate=self.gate(told["gate"]),
            waived=told["waived"],
            rooms=tuple(sorted(rooms, key=lambda one: (order.index(one.kind), one.room))),
        )

    def gate(self, gate: Json) -> str:
        """What a ring must show, as one sentence."""
        share, errors = self.texts.percent(gate["success_share"]), self.errors(gate["errors"])
        if not gate["soak_seconds"]:
            return self.texts.t("rollout.gate_at_once", share=share, errors=errors)
        soak = self.length(gate["soak_seconds"])
        return self.texts.t("rollout.gate", share=share, soak=soak, errors=errors)

    def errors(self, expression: str) -> str:
        """At how many failed rooms a ring stops."""
        limit = parse_errors(expression)
        if limit is None:
            return expression
        percent = None if limit.percent is None else f"{limit.percent:g}"
        if limit.count is not None and percent is not None:
            return self.texts.t("rollout.errors_both", count=limit.count, percent=percent)
        if limit.count == 1:
            return self.texts.t("rollout.errors_first")
        if limit.count is not None:
            return self.texts.t("rollout.errors_count", count=limit.count)
        return self.texts.t("rollout.errors_percent", percent=percent)

    def length(self, seconds: float) -> str:
        """A length of time that was chosen: whole minutes below an hour."""
        if seconds < 3600.0 and seconds % 60.0 == 0.0:
            return self.texts.t("rollout.minutes", count=round(seconds / 60.0))
        return self.texts.duration(seconds)

    def room(self, told: Json) -> RoomWords:
        """How one room fares."""
        kind = kind_of(told["state"])
        code = told["error"] or told["waits"]
        at_work = kind in {"work", "wait"}
        step = told["step"] if told["state"] in _SEVERAL_STEPS or kind == "bad" else ""
        loading = told["state"] == Execution.DOWNLOADING and told["bytes_total"]
        return RoomWords(
            node=told["node"],
            room=told["room"],
            zone=told["zone"],
            kind=kind,
            mark=KINDS[kind],
            state=self.texts.named("rollout_node", told["state"]),
            why=self.why(code, told["detail"]),
            detail=told["detail"] if code.startswith("E_") else "",
            where=self._where(step, at_work=at_work),
            loaded=self._loaded(told["bytes_done"], told["bytes_total"]) if loading else "",
            active=self._active(told["active_release"], told["active_variant"]),
            remarks=tuple(self._remarks(told)),
            since=told["since"],
        )

    def _where(self, step: str, *, at_work: bool) -> str:
        if not step:
            return ""
        key = "rollout.now_in" if at_work else "rollout.stage"
        return self.texts.t(key, step=self.texts.named("rollout_step", step))

    def _loaded(self, done: int, total: int) -> str:
        return self.texts.t("rollout.loaded", done=f"{done / _MEGABYTE:.1f}", all=f"{total / _MEGABYTE:.1f}")

    def _active(self, release: str, variant: str) -> str:
        return self.texts.t("rollout.active", release=release, variant=variant) if release else ""

    def _remarks(self, told: Json) -> list[str]:
        remarks = []
        if not told["online"] and told["state"] != Execution.REMOVED and told["waits"] != "offline":
            remarks.append(self.texts.t("rollout.offline"))
        if told["forgiven"]:
            remarks.append(self.texts.t("rollout.forgiven"))
        if told["windows_missed"]:
            remarks.append(self.texts.t("rollout.missed", count=told["windows_missed"]))
        return remarks

    def counts(self, told: Json) -> list[tuple[str, str, int]]:
        """Of each kind that there is: its name, its words and how many rooms."""
        kinds = [kind_of(one["state"]) for ring in told["rings"] for one in ring["nodes"]]
        return [
            (kind, self.texts.t(f"rollout_legend.{kind}"), kinds.count(kind))
            for kind in KINDS
            if kind in kinds
        ]

    def line(self, told: Json) -> LineWords:
        """One line of the log."""
        person = told["person"]
        name = (person or {}).get("name") or self.texts.t("rollout.somebody")
        words = self.event(told["code"], told["room"], told["ring"], told["detail"], name)
        stops = told["code"] in set(Pause) or told["code"].removeprefix("node_") in BAD
        good = told["code"] in {"ring_passed", *Status} or told["code"].removeprefix("node_") in GOOD
        return LineWords(told["at"], words, "stop" if stops else "good" if good else "plain")

    def event(self, code: str, room: str, ring: int | None, detail: str, name: str = "") -> str:
        """Something that happened, in one sentence."""
        if code.startswith("node_"):
            state = code.removeprefix("node_")
            return self.texts.t("rollout_log.room", room=room, words=self._room_event(state, detail))
        if code in set(Pause):
            return self.texts.t("rollout.paused_because", reason=self.reason(code, detail))
        if code in set(Status):
            return self.texts.named("rollout_state", code)
        number = "" if ring is None else ring + 1
        if f"rollout_log.{code}" not in self.texts.texts:  # of a newer version: rather its name than nothing
            return code
        return self.texts.t(f"rollout_log.{code}", name=name, ring=number, room=room)

    def _room_event(self, state: str, code: str) -> str:
        words = self.texts.named("rollout_node", state)
        why = self.why(code)
        return f"{words} ({why.rstrip('.')})" if why else words

    def outcome(self, shown: Rehearsal, rooms: Mapping[str, str]) -> Outcome:
        """What a rehearsal showed; ``rooms`` are their names by node."""
        duration = self.texts.duration(shown.seconds)
        if shown.status is Status.SUCCEEDED:
            words = self.texts.t("rollout.outcome_good", duration=duration)
        elif shown.status is Status.SUCCEEDED_WITH_FAILURES:
            words = self.texts.t("rollout.outcome_partly", duration=duration)
        elif shown.pause is not None:
            reason = self.reason(shown.pause, _detail_of(shown))
            words = self.texts.t("rollout.outcome_stopped", duration=duration, reason=reason)
        else:
            words = self.texts.t("rollout.outcome_open", duration=duration)
        rings = tuple(
            (
                one.ring + 1,
                one.nodes,
                tuple(self._counted("rollout_node", one.states)),
                tuple(self._counted("rollout_why", one.codes)),
            )
            for one in shown.rings
        )
        moments = tuple(self._moment(one, rooms) for one in shown.moments[:_SHOWN_MOMENTS])
        return Outcome(shown.status is Status.SUCCEEDED, words, rings, moments, len(shown.moments))

    def _counted(self, family: str, counts: Mapping[str, int]) -> list[str]:
        return [
            self.texts.t("rollout.outcome_count", count=count, words=self.texts.named(family, name))
            for name, count in counts.items()
        ]

    def _moment(self, moment: Moment, rooms: Mapping[str, str]) -> tuple[str, str]:
        when = self.texts.t("rollout.at_once")
        if moment.seconds >= 1.0:
            when = self.texts.t("rollout.after", duration=self.texts.duration(moment.seconds))
        room = rooms.get(moment.node, moment.node)
        return when, self.event(moment.code, room, moment.ring, moment.detail)


def _detail_of(shown: Rehearsal) -> str:
    """The figures of the pause in which a rehearsal ended."""
    return next((one.detail for one in reversed(shown.moments) if one.code == shown.pause), "")


def drawing(rings: Sequence[Json]) -> Drawing:
    """The rooms of each ring on a circle around the ring before; a single first room in the middle."""
    radii: list[float] = []
    dots: list[Dot] = []
    for ring in rings:
        kinds = [kind_of(one["state"]) for one in ring["nodes"]]
        needed = len(kinds) * _APART / (2.0 * math.pi)
        radius = max(radii[-1] + _GAP if radii else _CENTRE, needed)
        radii.append(radius)
        alone = len(radii) == 1 and len(kinds) == 1
        for number, kind in enumerate(kinds):
            turn = 2.0 * math.pi * number / len(kinds) - math.pi / 2.0
            x, y = (0.0, 0.0) if alone else (radius * math.cos(turn), radius * math.sin(turn))
            dots.append(Dot(round(x, 1), round(y, 1), kind))
    return Drawing(tuple(round(one, 1) for one in radii), tuple(dots), (radii or [0.0])[-1] + 14.0)
