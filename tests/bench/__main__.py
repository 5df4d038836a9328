"""`make bench [ONLY=figure]`: one JSON line a figure on stdout, how it goes on stderr.

    python3 tests/bench [FIGURE …]
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import (crashloop, idle, inflight, limits, pools, probes, restart, spool,  # noqa: E402  (needs the path above)
                   storm)

FIGURES = {
    "probes_per_s": probes.measure,
    "inflight_pss_mb": inflight.measure,
    "restart_ready_ms": restart.measure,
    "restart_ready_p95_ms": restart.measure_p95,
    "workers_200_start_ms": pools.measure_start,
    "spare_worker_pss_mb": pools.measure_spare,
    "crashloop_cpu_percent": crashloop.measure,
    "storm_status_p99_ms": storm.measure,
    "idle_cpu_percent": idle.measure,
    "spool_cost_percent": spool.measure_cost,
    "spool_replay_s": spool.measure_replay,
    "spool_hour_percent": spool.measure_hour,
    "limit_use_percent": limits.measure_use,
    "limit_429s": limits.measure_429s,
    "limit_use_3nodes_percent": limits.measure_use_3nodes,
    "limit_429s_3nodes": limits.measure_429s_3nodes,
    "limit_kinds_use_percent": limits.measure_kinds_use,
    "limit_kinds_429s": limits.measure_kinds_429s,
    "limit_wrong_use_percent": limits.measure_wrong_use,
    "limit_wrong_429_percent": limits.measure_wrong_429,
    "admission_us": limits.measure_admission,
}


def tell(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main(wanted):
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown:
        tell(f"no figure is called {unknown[0]}; there are {', '.join(FIGURES)}")
        return 2
    for name in wanted or FIGURES:
        begun = time.monotonic()
        tell(f"measuring {name}")
        value, unit, how = FIGURES[name](tell)
        line = {"figure": name, "value": value, "unit": unit, **how, "cores": os.cpu_count(),
                "took_s": round(time.monotonic() - begun, 1)}
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
