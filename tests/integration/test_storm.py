"""A stranger kills all workers of a large pool, again and again."""

import pytest

from harness.storm import Storm
from probing import wait_end

STORM_S = 5
WORKERS = 50
PROBES = 200


@pytest.fixture
def storm(make_daemon, simulator, start_run):
    """(daemon, run, storm) after a storm over a run of many probes of two turns."""
    simulator.post("/_sim/config", {"latency": {"*": "0.02"}})
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0, concurrency=0),
                          "daemon": {"log_level": "info"}, "pool:probe": {"size": WORKERS, "health_interval": "1h"}},
                         keys={"OPENAI_API_KEY": "k"}).wait_ready()
    run = start_run(daemon, [f"question {number}" for number in range(PROBES)], followups=1)
    return daemon, run, Storm(daemon).rage(STORM_S)


def test_a_storm_of_kills_neither_parks_the_pool_nor_mutes_the_daemon_nor_fails_a_probe(storm):
    daemon, run, raged = storm
    assert raged.kills >= 2 * WORKERS, "too few kills to call it a storm"
    assert raged.degradations() == set()
    assert not any(worker["state"] == "parked" for worker in daemon.workers())
    slowest = sorted(raged.status_ms)[-5:]
    assert raged.status_percentile(99) < 50, f"{len(raged.status_ms)} answers, the slowest {slowest}"
    progress = wait_end(daemon, run)["progress"]
    assert progress == {"total": PROBES, "completed": PROBES, "failed": 0, "cancelled": 0}
