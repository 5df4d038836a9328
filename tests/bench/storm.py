"""storm_status_p99_ms: how long `status` takes while a stranger kills all of 50 workers every 100 ms."""

from harness.proctor import Daemon
from harness.simulator import Simulator
from harness.storm import Storm, percentile

from . import work

WORKERS = 50
STORM_S = 30
INTERVAL_S = 0.1
SCENARIOS = 300


def measure(tell):
    with Simulator("--latency", "0.02") as simulator:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
               "pool:probe": {"size": WORKERS, "health_interval": "1h"},
               **simulator.ini("openai", requests_per_minute=0, concurrency=0)}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
            daemon.wait_ready()
            run = work.start_run(daemon, work.import_definition(daemon, "storm", SCENARIOS, followups=1), 1)
            storm = Storm(daemon, INTERVAL_S).rage(STORM_S)
            assert not storm.degradations(), storm.degradations()
            work.await_run(daemon, run, 180)
            work.check_recorded(daemon, run, SCENARIOS)
            seconds = work.run_seconds(daemon, run)
    tell(f"{storm.kills} kills, {len(storm.status_ms)} answers, the worst after {max(storm.status_ms):.1f} ms")
    return round(percentile(storm.status_ms, 99), 2), "ms", {
        "median_ms": round(percentile(storm.status_ms, 50), 2), "most_ms": round(max(storm.status_ms), 1),
        "asked": len(storm.status_ms), "kills": storm.kills, "workers": WORKERS, "storm_s": STORM_S,
        "every_ms": round(INTERVAL_S * 1000), "probes": SCENARIOS, "turns": 2, "run_s": round(seconds, 1),
        "verified": "no pool ever degraded; every probe completed, by SQL",
        "clock": "request to answer on a connection of its own, every 10 ms"}
