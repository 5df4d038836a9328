"""What the spool costs, how fast it is replayed, and whether an hour's outage fits into it.

spool_cost_percent   of end-to-end probes/s, against a daemon built without it, in pairs that take turns
spool_replay_s       100,000 records of 2 KB answers, from the start of the daemon to the last one acknowledged
spool_hour_percent   of the default limit, for 360,000 answers of 2 KB: an hour at 100 a second
"""

import json
import os
import shutil
import statistics
import subprocess
import time

from harness import place
from harness.postgres import Postgres
from harness.proctor import Daemon

from . import servers, work

PAIRS = 3
SCENARIOS = 1000
SAMPLES = 8
WORKERS = 2
ANSWER_BYTES = 2048
REPLAYED_JOBS = 50_000  # two records each
HOUR_JOBS = 360_000
HIGH_PERCENT = 80       # of the limit, from where nothing new is begun


def build(target):
    subprocess.run(["make", "--no-print-directory", target], cwd=place.REPOSITORY, check=True,
                   stdout=subprocess.DEVNULL)
    return os.path.join(place.REPOSITORY, target)


def installation_with(binary):
    """A copy of the installation that runs this daemon; the caller removes it."""
    root = place.make_folder("bare")
    shutil.copytree(place.installation(), root, dirs_exist_ok=True)
    shutil.copy(binary, os.path.join(root, "sbin", "proctord"))
    return root


# cost


def probes_per_s(root, nginx):
    ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"}, "pool:probe": {"size": WORKERS},
           **nginx.ini()}
    daemon = Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"})
    daemon.root = root
    with daemon:
        daemon.wait_ready()
        warm = work.start_run(daemon, work.import_definition(daemon, "warm", 500), 1)
        work.await_run(daemon, warm, 60)
        run = work.start_run(daemon, work.import_definition(daemon, "bench", SCENARIOS), SAMPLES)
        work.await_run(daemon, run, 600)
        work.check_recorded(daemon, run, SCENARIOS * SAMPLES)
        return SCENARIOS * SAMPLES / work.run_seconds(daemon, run)


def measure_cost(tell):
    bare = installation_with(build("build/bare/proctord"))
    with_spool, without = [], []
    try:
        with servers.Nginx() as nginx:
            for pair in range(PAIRS):
                turns = [(place.installation(), with_spool), (bare, without)]
                for root, results in turns if pair % 2 == 0 else reversed(turns):
                    results.append(probes_per_s(root, nginx))
                tell(f"pair {pair + 1}: {with_spool[-1]:.0f}/s with the spool, {without[-1]:.0f}/s without")
    finally:
        place.remove_folder(bare)
    ratio = statistics.median(a / b for a, b in zip(with_spool, without))
    return round(100 * (1 - ratio), 1), "percent", {
        "pairs": PAIRS, "probes": SCENARIOS * SAMPLES, "with_per_s": [round(rate) for rate in with_spool],
        "without_per_s": [round(rate) for rate in without], "of": "median of the pairs' ratios"}


# replay


def feed(folder, first_job, count):
    """What tests/bench/spool_feed.c tells about the spool that it has filled."""
    done = subprocess.run([build("build/bench/spool_feed"), folder, str(first_job), str(count), str(ANSWER_BYTES)],
                          capture_output=True, text=True, check=True, **place.as_run_user())
    return json.loads(done.stdout)


def measure_replay(tell):
    with Postgres() as server:
        ini = {"database": {"url": server.database()}, "daemon": {"log_level": "info"}}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
            daemon.wait_ready()
            daemon.call("providers.pause", provider="openai", reason="the answers come from the spool")
            run = work.start_run(daemon, work.import_definition(daemon, "replayed", 1000), REPLAYED_JOBS // 1000)
            first = daemon.rows("SELECT min(id), max(id) - min(id) + 1 FROM jobs WHERE run_id = %s", run)
            assert first[0][1] == REPLAYED_JOBS, first
            # As an outage finds them: the daemon has claimed them all, and answered them, by and by.
            daemon.rows("""
                WITH gone AS (DELETE FROM ready RETURNING job_id, attempt)
                INSERT INTO leases (job_id, attempt, node_id)
                SELECT job_id, attempt, (SELECT max(id) FROM nodes) FROM gone RETURNING job_id""")
            daemon.process.kill()
            daemon.process.wait()
            told = feed(os.path.join(daemon.sections["daemon"]["state_dir"], "spool"), first[0][0], REPLAYED_JOBS)
            tell(f"fed {told['records']} records")
            begun = time.monotonic()
            daemon.start()
            while daemon.call("spool")["depth"] > 0:
                assert time.monotonic() < begun + 300, daemon.call("spool")
                time.sleep(0.05)
            seconds = time.monotonic() - begun
            work.check_recorded(daemon, run, REPLAYED_JOBS)
    return round(seconds, 2), "s", {"records": told["records"], "answer_bytes": ANSWER_BYTES,
                                    "from": "the start of the daemon, migrations known",
                                    "verified": "jobs = outcomes = transcripts = progress by SQL"}


def measure_hour(tell):
    folder = place.make_folder("hour")
    try:
        told = feed(os.path.join(folder, "spool"), 1, HOUR_JOBS)
        tell(f"{told['records']} records, {told['bytes'] / 2**30:.2f} GiB")
        assert told["unwritten"] == 0 and told["records"] == 2 * HOUR_JOBS, told
        assert told["percent"] < HIGH_PERCENT, told
    finally:
        place.remove_folder(folder)
    return told["percent"], "percent of the default limit", {"answers": HOUR_JOBS, "answer_bytes": ANSWER_BYTES,
                                                             "bytes": told["bytes"], "must_be_below": HIGH_PERCENT}
