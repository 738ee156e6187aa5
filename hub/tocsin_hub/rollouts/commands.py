"""``tocsin rollout create | approve | … | status``: rollouts of a real hub, at the keyboard, by its API."""

import argparse
import base64
import json
import time
from pathlib import Path
from typing import Any

from tocsin_hub.rollouts.client import TOKEN_VARIABLE, URL_VARIABLE, Client, client
from tocsin_shared.errors import SettingsError

ACTIONS = {
    "approve": "agree to a rollout",
    "deny": "do not agree to a rollout",
    "start": "start a rollout that was approved",
    "pause": "let nothing more begin",
    "resume": "go on, in spite of what stopped it",
    "abort": "give a rollout up",
    "rollback": "let every node take the bundle to go back to",
}
_ENDED = ("succeeded", "succeeded_with_failures", "aborted", "rolled_back", "superseded")
_WATCH_SECONDS = 2.0


def add_commands(commands: Any) -> None:
    """Add what needs a hub to the commands of ``tocsin rollout``."""
    _add_create(_new(commands, "create", "plan a rollout; it waits for approval"))
    for name, words in ACTIONS.items():
        one = _new(commands, name, words)
        one.add_argument("rollout", metavar="ID")
        one.set_defaults(run=_act, action=name)
    status = _new(commands, "status", "how a rollout stands, or all of them")
    status.add_argument("rollout", nargs="?", metavar="ID")
    status.add_argument("--watch", action="store_true", help="until it ends or stops; status 1 if it fails")
    status.set_defaults(run=_status)
    _new(commands, "bundles", "what is signed and can be rolled out").set_defaults(run=_bundles)
    upload = _new(commands, "upload", "give a hub what was published into a copy of its repository")
    upload.add_argument("--repository", type=Path, required=True, metavar="DIR", help="the copy")
    upload.set_defaults(run=_upload)


def _new(commands: Any, name: str, words: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    one.add_argument("--hub", metavar="URL", help=f"address of the hub; else {URL_VARIABLE}")
    one.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"holds an API token; else {TOKEN_VARIABLE}"
    )
    one.add_argument("--ca-file", type=Path, metavar="FILE", help="authority of the hub's certificate")
    one.add_argument("--json", action="store_true", help="one JSON object")
    return one


def _add_create(one: argparse.ArgumentParser) -> None:
    one.add_argument("name", help="of the bundle, such as sentry")
    one.add_argument("release", help="such as 0.3.0")
    one.add_argument("--variant", action="append", default=[], help="in order of preference; else all")
    one.add_argument(
        "--ring",
        action="append",
        default=[],
        metavar="SPEC",
        help="2, 25%%, zone:a+b, node:x+y or rest, in order; else 1, 25%%, rest",
    )
    one.add_argument("--node", action="append", default=[], help="only this one; may be given again")
    one.add_argument("--lone-zone", action="append", default=[], metavar="ZONE", help="its only node may go")
    one.add_argument("--back", metavar="RELEASE", help="what a rollback offers")
    one.add_argument("--starts", metavar="TIME", help="begins by itself then: 2030-01-31T22:00:00Z")
    one.add_argument("--errors", default="1", help="a ring stops at these: 3, 20%%, 3 or 20%% (default: 1)")
    one.add_argument("--share", type=float, default=1.0, help="of a ring that must be proven (default: 1)")
    for name, words in (
        ("gate-soak", "between the last success of a ring and the next ring"),
        ("soak", "each node proves the bundle"),
        ("shadow", "each node hears with it silently"),
    ):
        one.add_argument(f"--{name}", type=float, metavar="SECONDS", help=words)
    one.set_defaults(run=_create)


def _hub(arguments: argparse.Namespace) -> Client:
    return client(arguments.hub, arguments.token_file, arguments.ca_file)


def _create(arguments: argparse.Namespace) -> int:
    gate: dict[str, object] = {"errors": arguments.errors, "success_share": arguments.share}
    if arguments.gate_soak is not None:
        gate["soak_seconds"] = arguments.gate_soak
    wanted: dict[str, object] = {
        "name": arguments.name,
        "release": arguments.release,
        "variants": arguments.variant,
        "nodes": arguments.node,
        "lone_zones": arguments.lone_zone,
        "back": arguments.back,
        "starts": arguments.starts,
        "soak_seconds": arguments.soak,
        "shadow_seconds": arguments.shadow,
        "gate": gate,
    }
    if arguments.ring:
        wanted["rings"] = arguments.ring
    return _tell(arguments, _hub(arguments).post("/rollouts", wanted))


def _act(arguments: argparse.Namespace) -> int:
    return _tell(arguments, _hub(arguments).post(f"/rollouts/{arguments.rollout}/{arguments.action}"))


def _status(arguments: argparse.Namespace) -> int:
    hub = _hub(arguments)
    if arguments.rollout is None:
        found = hub.get("/rollouts")["rollouts"]
        print(json.dumps(found) if arguments.json else "\n".join(map(_line, found)) or "no rollouts yet")
        return 0
    shown = hub.get(f"/rollouts/{arguments.rollout}")
    before = ""
    while arguments.watch and shown["state"] not in _ENDED and not _stopped(shown):
        if not arguments.json and (line := _line(shown)) != before:
            before = line
            print(line, flush=True)
        time.sleep(_WATCH_SECONDS)
        shown = hub.get(f"/rollouts/{arguments.rollout}")
    _tell(arguments, shown)
    return int(arguments.watch and shown["state"] != "succeeded")


def _stopped(shown: dict[str, Any]) -> bool:
    """Whether it waits for a person."""
    passing = ("safety_hold", "hub_degraded", "metadata_expiring")
    return shown["state"] == "paused" and shown["reason"] not in passing


def _bundles(arguments: argparse.Namespace) -> int:
    found = _hub(arguments).get("/bundles")["bundles"]
    lines = [
        f"{one['name']} {one['release']}  floor {one['floor']}  "
        f"{', '.join(variant['variant'] for variant in one['variants'])}"
        for one in found
    ]
    print(json.dumps(found) if arguments.json else "\n".join(lines) or "nothing is signed yet")
    return 0


def _upload(arguments: argparse.Namespace) -> int:
    """What the copy of the repository has beyond the hub's is sent, with the metadata that signs it."""
    from tocsin_shared.trust.repository import Repository  # noqa: PLC0415 - --help answers without crypto
    from tocsin_shared.trust.roles import MODELS  # noqa: PLC0415

    hub, copy = _hub(arguments), Repository(arguments.repository)
    known = {variant["sha256"] for one in hub.get("/bundles")["bundles"] for variant in one["variants"]}
    signed = copy.role(MODELS).signed
    archives = []
    for path, target in signed.targets.items():
        folder, _, name = path.rpartition("/")
        if target.hashes["sha256"] not in known:
            archives.append(_read(copy.targets / folder / f"{target.hashes['sha256']}.{name}"))
    if not archives:
        print("the hub has all of it already")
        return 0
    metadata = _read(copy.metadata / f"{signed.version}.{MODELS}.json").decode()
    sent = [base64.b64encode(one).decode() for one in archives]
    taken = hub.post("/bundles", {"metadata": metadata, "archives": sent})["taken"]
    print(json.dumps(taken) if arguments.json else "\n".join(f"taken: {one}" for one in taken))
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def _tell(arguments: argparse.Namespace, shown: dict[str, Any]) -> int:
    print(json.dumps(shown) if arguments.json else "\n".join(_told(shown)))
    return 0


def _told(shown: dict[str, Any]) -> list[str]:
    lines = [_line(shown)]
    for ring in shown["rings"]:
        name = ring["name"] and f" ({ring['name']})"
        proven = f"{ring['proven']} of {ring['counted']}"
        lines.append(f"  ring {ring['number'] + 1}{name}: {ring['state']}, {proven}")
        lines += [f"    {_node(one)}" for one in ring["nodes"]]
    return lines


def _node(one: dict[str, Any]) -> str:
    active = f"{one['active_release']} {one['active_variant']}".strip()
    why = " ".join(filter(None, (one["error"], one["detail"] or one["waits"])))
    return f"{one['node']:<20}{one['state']:<18}{active:<22}{why}".rstrip()


def _line(shown: dict[str, Any]) -> str:
    why = " ".join(filter(None, (shown["reason"], shown["reason_detail"])))
    nodes = [node for ring in shown["rings"] for node in ring["nodes"]]
    good = sum(node["state"] in {"succeeded", "already_installed"} for node in nodes)
    course = "" if shown["course"] == "forward" else f", {shown['course']}"
    return (
        f"{shown['id']}  {shown['name']} {shown['release']}  {shown['state']}{course}"
        f"{why and f' ({why})'}  {good} of {len(nodes)} nodes"
    )
