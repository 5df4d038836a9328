"""workers_200_start_ms and spare_worker_pss_mb: what many real workers take to start, and to be there."""

from harness import place
from harness.proctor import Daemon

from . import processes
from .restart import NO_DATABASE, seconds_of

STARTS = (10, 200)
IDLE = (4, 20)
PING_INTERVAL = "1s"


def make(size, **keys):
    return Daemon(ini={"daemon": {"log_level": "info"}, "database": {"url": NO_DATABASE},
                       "pool:probe": {"size": size, "health_interval": "1h", **keys}},
                  keys={"OPENAI_API_KEY": "bench"})


def ready_lines(daemon):
    return [line for line in daemon.log_lines() if " worker.ready " in line]


def start_ms(size):
    """From the daemon's first log line to the last worker's ready, the preparing of their parent included."""
    with make(size) as daemon:
        place.wait_until(lambda: len(ready_lines(daemon)) == size, 60, f"{size} ready workers")
        return (seconds_of(ready_lines(daemon)[-1]) - seconds_of(daemon.log_lines()[0])) * 1000


def measure_start(tell):
    few, many = STARTS
    took = {size: start_ms(size) for size in STARTS}
    tell(", ".join(f"{size} workers: {ms:.0f} ms" for size, ms in took.items()))
    return round(took[many]), "ms", {
        f"workers_{few}_start_ms": round(took[few]), "ms_a_worker_of_10": round(took[few] / few, 2),
        "ms_a_worker_of_200": round(took[many] / many, 2),
        "ms_each_further_worker": round((took[many] - took[few]) / (many - few), 2),
        "worker": "the real one, all imports done", "database": "none",
        "clock": "time stamps of the daemon's first log line and of the last worker.ready, 1 ms fine"}


def idle_pss_mb(size):
    """PSS of daemon, prepared parent and workers, once each worker has answered a ping."""
    with make(size, ping_interval=PING_INTERVAL) as daemon:
        def idle():
            workers = daemon.workers()
            return all(worker["lastPongMs"] is not None for worker in workers)
        place.wait_until(idle, 60, f"pongs of {size} workers")
        return processes.pss_mb(daemon.all_pids())


def measure_spare(tell):
    few, many = IDLE
    used = {size: idle_pss_mb(size) for size in IDLE}
    tell(", ".join(f"{size} workers: {mb:.1f} MB" for size, mb in used.items()))
    return round((used[many] - used[few]) / (many - few), 2), "MB", {
        **{f"workers_{size}_mb": round(mb, 1) for size, mb in used.items()},
        "of": "daemon, prepared parent and workers, PSS by smaps_rollup, each worker after its first pong",
        "by": f"(PSS of a pool of {many} - PSS of a pool of {few}) / {many - few}"}
