"""Rules: the report of a simulation, for programs and for people."""

from dataclasses import asdict
from typing import Any

from tocsin_hub.fleet.ledger import Latency, Verdict
from tocsin_hub.fleet.model import Plan, Played


def document(plan: Plan, played: Played, verdict: Verdict, machine: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known, as JSON."""
    tally = played.tally
    return {
        "plan": {
            "run": plan.run,
            "broker": f"{plan.broker.host}:{plan.broker.port}",
            "nodes": plan.nodes,
            "zones": plan.zones,
            "rate_per_minute": plan.rate,
            "seconds": plan.seconds,
            "heartbeat_seconds": plan.heartbeat_seconds,
            "storm_at": plan.storm_at,
            "churn": plan.churn,
            "seed": plan.seed,
        },
        "machine": machine,
        "interrupted": played.interrupted,
        "took_seconds": round(played.took_seconds, 1),
        "connected": played.connected,
        "connections": tally.connections,
        "heartbeats": tally.heartbeats,
        "resent": tally.resent,
        "waiting": tally.waiting,
        "simulator_kb_per_node": round(tally.maxrss_kb / plan.nodes),
        **asdict(verdict),
        "good": verdict.good,
    }


def in_words(played: Played, verdict: Verdict) -> str:
    """The same in a few lines."""
    asked = "not asked (give --database)" if verdict.stored is None else str(verdict.stored)
    tally = played.tally
    lost = f"lost {verdict.lost} (after the hub's word {verdict.lost_after_word}), twice {verdict.twice}"
    sent = f"sent later {verdict.waited}, sent again {tally.resent}, heartbeats {tally.heartbeats}"
    lines = [
        f"sounds {verdict.produced}, acknowledged {verdict.acknowledged}, stored {asked}",
        f"{lost}, stale {verdict.stale}, late {verdict.late}",
        f"connections {tally.connections}, {sent}",
    ]
    lines += [f"onset → {what}: {_figures(one)}" for what, one in verdict.latency.items()]
    lines += [f"{kind}: {', '.join(ids)}" for kind, ids in verdict.named.items()]
    return "\n".join(lines)


def _figures(one: Latency) -> str:
    if not one.count:
        return "nothing to measure"
    return f"p50 {one.p50} ms, p95 {one.p95} ms, p99 {one.p99} ms, longest {one.most} ms ({one.count})"
