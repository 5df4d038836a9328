"""idle_cpu_percent: what daemon, workers and Postgres use when nothing is to be done."""

import time

from harness.proctor import Daemon

from . import processes, servers, work

WINDOW_S = 20
SETTLE_S = 5
WORKERS = 2


def measure(tell):
    with servers.Nginx() as nginx:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
               "pool:probe": {"size": WORKERS}, **nginx.ini()}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
            daemon.wait_ready()
            # Some work first: an idle daemon that has never worked holds fewer timers and connections.
            run = work.start_run(daemon, work.import_definition(daemon, "warm", 500), 1)
            work.await_run(daemon, run, 60)
            time.sleep(SETTLE_S)
            parts = processes.cpu_by_program(daemon.process.pid)
            before, begun = processes.cpu_seconds(daemon.process.pid), time.monotonic()
            time.sleep(WINDOW_S)
            used = processes.cpu_seconds(daemon.process.pid) - before
            seconds = time.monotonic() - begun
            after = processes.cpu_by_program(daemon.process.pid)
    cpu = {name: round(spent - parts.get(name, 0), 2) for name, spent in after.items()}
    tell(f"{used:.2f} CPU s in {seconds:.1f} s: {cpu}")
    return round(100 * used / seconds, 2), "percent of one core", {
        "window_s": round(seconds, 1), "workers": WORKERS, "cpu_s": cpu,
        "of": "daemon, workers, embedded Postgres, and what ended meanwhile",
        "by": "schedstat of each thread, and /proc/PID/stat of those waited for"}
