"""``python -m tests.chaos``: a campaign by hand, as long as one likes; ``make chaos`` calls it."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import run
from tests.chaos.invariants import Outcome, broken, count
from tests.chaos.script import OF_POSTGRESQL
from tests.hub import postgres_server


def main() -> int:
    """Run a campaign; exit status 1 if anything that must hold does not."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="decides which fault comes when (default: chance)")
    parser.add_argument("--folder", type=Path, help="for logs and databases (default: a new one)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="tocsin-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {options.seconds:g} s, logs in {folder}", flush=True)
    outcome = _run(options.database, folder, seed, options.seconds)
    print(table(outcome))
    problems = broken(outcome)
    for problem in problems[:50]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _run(database: str, folder: Path, seed: int, seconds: float) -> Outcome:
    def say(text: str) -> None:
        print(text, flush=True)

    if database == "sqlite":
        return run(folder, seed, seconds, say)
    server = postgres_server.made(safe=True)
    server.start()
    try:
        return run(folder, seed, seconds, say, kinds=OF_POSTGRESQL, database=server)
    finally:
        server.remove()


def table(outcome: Outcome) -> str:
    """The figures of a campaign as Markdown."""
    found, kinds = count(outcome), sorted({fault.kind for fault in outcome.faults})
    return (
        "| faults | kinds | produced | lost | twice | in calm | late in calm |\n"
        "|---|---|---|---|---|---|---|\n"
        f"| {len(outcome.faults)} | {len(kinds)} | {found.produced} | {found.lost} | {found.twice} "
        f"| {found.calm} | {found.late} |"
    )


if __name__ == "__main__":
    sys.exit(main())
