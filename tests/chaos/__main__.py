"""`make chaos`: kills what it can while it runs, then proves by three books that nothing was lost or paid twice.

    python3 tests/chaos [--probes N] [--runs N] [--kills KIND=N,…] [--seed N] [--shared]

One JSON line on stdout; how it goes, and everything that is wrong, on stderr. Exit status 1 when anything is.
"""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from chaos import plan, single, shared  # noqa: E402  (needs the path above)

SINGLE_KILLS = "workers=500,daemon=30,postgres=10,stop=10,upgrade=5"
SHARED_KILLS = "workers=150,daemon=30,postgres=5,stop=5"
FAULTS_SHOWN = 50


def tell(text):
    print(f"chaos: {text}", file=sys.stderr, flush=True)


def options(argv):
    parser = argparse.ArgumentParser(prog="tests/chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--probes", type=int, help="of two turns each (20000; 6000 with --shared)")
    parser.add_argument("--runs", type=int, default=20, help="that they are spread over (%(default)s)")
    parser.add_argument("--kills", metavar="KIND=N,…", help=f"{SINGLE_KILLS}; with --shared {SHARED_KILLS}")
    parser.add_argument("--seed", type=int, help="of all blows; drawn and told when not given")
    parser.add_argument("--shared", action="store_true",
                        help="three daemons on one Postgres, whose standby takes over in the middle")
    given = parser.parse_args(argv)
    given.probes = given.probes or (6000 if given.shared else 20_000)
    given.seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    try:
        given.kills = plan.parse_kills(given.kills or (SHARED_KILLS if given.shared else SINGLE_KILLS))
    except ValueError as error:
        parser.error(f"--kills: {error}")
    if given.probes < 2 * given.runs:
        parser.error("--probes: each run needs two or more")
    return given


def main(argv=None):
    given = options(argv)
    begun = time.monotonic()
    tell(f"seed {given.seed}, {given.probes} probes in {given.runs} runs, kills {given.kills}")
    play = shared.play if given.shared else single.play
    verdict, kills = play(random.Random(given.seed), given.probes, given.runs, given.kills, tell)
    print(json.dumps(line(given, verdict, kills, time.monotonic() - begun)), flush=True)
    for fault in verdict.faults[:FAULTS_SHOWN]:
        tell(f"WRONG: {fault}")
    if len(verdict.faults) > FAULTS_SHOWN:
        tell(f"WRONG: … and {len(verdict.faults) - FAULTS_SHOWN} more")
    return 1 if verdict.faults else 0


def line(given, verdict, kills, seconds):
    counts = verdict.counts
    return {"figure": "chaos_shared" if given.shared else "chaos", "seed": given.seed,
            **{name: counts[name] for name in ("probes", "succeeded", "outcomes", "duplicates", "lost", "bought_again",
                                               "asked_again", "superseded")},
            "explained": dict(verdict.explained), "kills": {**dict.fromkeys(plan.KINDS, 0), **Counter(kills)},
            "slowest_spooling_ms": round(verdict.slowest_spooling_s * 1000), "wrong": len(verdict.faults),
            "took_s": round(seconds, 1)}


if __name__ == "__main__":
    sys.exit(main())
