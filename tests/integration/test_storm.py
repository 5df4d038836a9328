"""A stranger kills all workers of a large pool, again and again."""

import os
import signal

import pytest

from fake_pool import WORKING
from harness.storm import Storm, percentile
from probing import wait_end

pytestmark = pytest.mark.timed

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
    assert raged.kills > WORKERS, "the first blow was the only one"
    assert raged.degradations() == set()
    assert not any(worker["state"] == "parked" for worker in daemon.workers())
    slowest = sorted(raged.status_ms)[-5:]
    assert percentile(raged.status_ms, 99) < 50, f"{len(raged.status_ms)} answers, {slowest}"
    progress = wait_end(daemon, run)["progress"]
    assert progress == {"total": PROBES, "completed": PROBES, "failed": 0, "cancelled": 0}


def test_workers_killed_before_they_can_prove_themselves_do_not_park_their_pool_nor_stay_away(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon({**fake.ini(ping_interval="1h", restart_delay="200ms", restart_delay_max="1m"),
                          "group:root": {"intensity": 2, "period": "1m"}})
    for number in range(1, 8):
        os.kill(fake.wait("step", number, name="serve")["pid"], signal.SIGKILL)
    # Were it their fault, the eighth life would begin 6.4 s later at the soonest; so it does after 1.6 s at most.
    fake.wait("step", 8, name="serve", deadline=4)
    assert daemon.call("status")["pools"][0]["degraded"] is None
