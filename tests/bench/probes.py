"""probes_per_s: one-turn probes a second, every one recorded in an embedded Postgres with its defaults."""

from harness.proctor import Daemon

from . import processes, servers, work

SCENARIOS = 1000
SAMPLES = 20
WORKERS = 2


def measure(tell):
    count = SCENARIOS * SAMPLES
    with servers.Nginx() as nginx:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
               "pool:probe": {"size": WORKERS}, **nginx.ini()}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
            daemon.wait_ready()
            warm = work.start_run(daemon, work.import_definition(daemon, "warm", 500), 1)
            work.await_run(daemon, warm, 60)
            definition = work.import_definition(daemon, "bench", SCENARIOS)
            before = processes.cpu_by_program(daemon.process.pid)
            run = work.start_run(daemon, definition, SAMPLES)
            work.await_run(daemon, run, 600)
            after = processes.cpu_by_program(daemon.process.pid)
            work.check_recorded(daemon, run, count)
            seconds = work.run_seconds(daemon, run)
    cpu = {name: round(used - before.get(name, 0), 2) for name, used in after.items()}
    tell(f"{count} probes in {seconds:.2f} s; CPU seconds: {cpu}")
    return round(count / seconds), "1/s", {
        "probes": count, "seconds": round(seconds, 3), "turns": 1, "prompt_bytes": work.PROMPT_BYTES,
        "answer_bytes": servers.ANSWER_BYTES, "workers": WORKERS, "server": "nginx, canned answer",
        "database": "embedded, durable", "cpu_s": cpu,
        "verified": "jobs = outcomes = transcripts = progress by SQL",
        "clock": "runs.finished_at - started_at"}
