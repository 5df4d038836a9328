"""inflight_pss_mb: memory of daemon and workers while 2,000 conversations have a call in flight."""

from harness import place
from harness.proctor import Daemon

from . import processes, servers, work

IN_FLIGHT = 2000
DELAY_S = 2.0
WORKERS = 4
CAPACITY = 500
FOLLOWUPS = 2
CONVERSATIONS = 4000


def measure(tell):
    samples = []
    with servers.Delaying(DELAY_S) as server:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
               "pool:probe": {"size": WORKERS, "capacity": CAPACITY}, **server.ini()}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
            daemon.wait_ready()
            definition = work.import_definition(daemon, "bench", CONVERSATIONS // 4, FOLLOWUPS)
            pids = [daemon.process.pid] + daemon.worker_pids()
            idle = processes.pss_mb(pids)
            run = work.start_run(daemon, definition, 4)

            def sample():
                """True at the end of the run; takes a sample where the server holds enough."""
                if server.count()["in_flight"] >= IN_FLIGHT:
                    samples.append(processes.pss_mb(pids))
                status = daemon.call("run.show", run=run, brief=True)["status"]
                return status not in ("PENDING", "RUNNING")
            place.wait_until(sample, 120, "the end of the run")
            most = server.count()["most"]
            assert samples, f"never {IN_FLIGHT} calls in flight, only {most}\n{daemon.log()}"
            work.check_recorded(daemon, run, CONVERSATIONS)
    tell(f"{len(samples)} samples, {min(samples):.1f} to {max(samples):.1f} MB, idle {idle:.1f} MB")
    return round(max(samples), 1), "MB", {
        "in_flight": IN_FLIGHT, "most_in_flight": most, "latency_s": DELAY_S, "turns": FOLLOWUPS + 1,
        "conversations": CONVERSATIONS, "workers": WORKERS, "capacity": CAPACITY, "samples": len(samples),
        "idle_mb": round(idle, 1), "of": "daemon and workers, PSS by smaps_rollup, without Postgres",
        "counted": "by the server, while it holds 2,000 or more"}
