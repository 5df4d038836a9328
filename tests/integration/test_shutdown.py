"""How the daemon ends: told to, told twice, killed; and what the next one finds."""

import os
import signal
import subprocess
import time

import pytest

from fake_pool import GREETING, WORKING
from harness import place


def assert_nothing_left(daemon, pids):
    place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "the end of all processes")
    left = os.listdir(os.path.dirname(daemon.socket_path))
    assert not [name for name in left if not name.endswith(".lock")], left


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_clean(make_daemon, make_fake, signo):
    daemon = make_daemon(make_fake(WORKING).ini(size=3)).wait_ready()
    pids = daemon.all_pids()
    assert len(pids) >= 4
    assert daemon.kill(signo) == 0
    assert_nothing_left(daemon, pids)
    assert "daemon.stopped" in daemon.log_lines()[-1]


def test_the_shutdown_command_stops_it_clean(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    pids = daemon.all_pids()
    assert daemon.call("shutdown") == {"stopping": True}
    assert daemon.wait_exit() == 0
    assert_nothing_left(daemon, pids)


def test_with_its_own_postgres_it_stops_clean_and_postgres_last(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": "embedded"}}).wait_ready()
    pids = daemon.all_pids()
    daemon.stop()
    assert_nothing_left(daemon, pids)
    lines = daemon.log_lines()
    ends = [next(number for number, line in enumerate(lines) if text in line)
            for text in ("worker.exit", "database system is shut down", "daemon.stopped")]
    assert ends == sorted(ends)
    assert not os.path.exists(f"{daemon.folder}/state/postgres/postmaster.pid"), "that was no clean stop"


def test_calls_under_way_finish_and_the_rest_stays_queued(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 1.0}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, [f"job {number}" for number in range(10)])
    fake.wait("call", 10)
    daemon.stop()
    assert len(fake.calls()) == 10, "a call was started after the word to stop"
    fake.script(WORKING)
    daemon.start().wait_ready()
    assert daemon.wait_run(run)["progress"]["completed"] == 10
    assert sorted(number for _, number in fake.calls()) == [1] * 10 + [2] * 10 + [3] * 10, "a call was repeated"


def test_status_is_served_while_it_drains(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 2.0}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    start_run(daemon, ["one"])
    fake.wait("call")
    os.kill(daemon.process.pid, signal.SIGTERM)
    daemon.wait_log("daemon.stopping held=1")
    assert daemon.call("status")["state"] == "stopping"
    assert daemon.wait_exit() == 0


def test_a_call_that_outlasts_the_drain_is_cut_and_its_job_runs_again(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 60}]], WORKING)
    daemon = make_daemon({**fake.ini(), "daemon": {"drain_timeout": "300ms"}}).wait_ready()
    run = start_run(daemon, ["one"])
    fake.wait("call")
    start = time.monotonic()
    daemon.stop()
    assert time.monotonic() - start < 8
    daemon.start().wait_ready()
    assert daemon.wait_run(run)["progress"]["completed"] == 1


def test_a_second_TERM_does_not_wait(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["ignore_term"], ["serve", {"delay": 60, "deaf": ["shutdown"]}]])
    daemon = make_daemon({**fake.ini(shutdown_timeout="1m"), "daemon": {"drain_timeout": "1m"}}).wait_ready()
    start_run(daemon, ["one"])
    fake.wait("call")
    pids = daemon.all_pids()
    os.kill(daemon.process.pid, signal.SIGTERM)
    daemon.wait_log("daemon.stopping")
    start = time.monotonic()
    os.kill(daemon.process.pid, signal.SIGTERM)
    assert daemon.wait_exit() == 0
    assert time.monotonic() - start < 3
    assert_nothing_left(daemon, pids)
    daemon.wait_log("daemon.hurry")


def test_a_second_TERM_does_not_wait_for_a_database_that_is_away(make_daemon, make_fake, start_run, own_postgres):
    fake = make_fake([*GREETING, ["serve"]])
    daemon = make_daemon({**fake.ini(), "database": {"url": own_postgres.database()}}).wait_ready()
    run = start_run(daemon, ["one"])
    daemon.wait_run(run)
    run = start_run(daemon, [f"job {number}" for number in range(200)])
    fake.wait("call", 30)
    own_postgres.freeze()
    os.kill(daemon.process.pid, signal.SIGTERM)
    daemon.wait_log("daemon.stopping")
    daemon.wait_log("worker.exit")
    os.kill(daemon.process.pid, signal.SIGTERM)
    start = time.monotonic()
    assert daemon.wait_exit() == 0
    assert time.monotonic() - start < 3
    own_postgres.thaw()


@pytest.fixture
def own_postgres():
    from harness.postgres import Postgres
    with Postgres() as server:
        yield server


def test_it_can_be_stopped_while_it_starts(make_daemon, make_fake):
    for pattern in ("control.listening", "daemon.start", "worker.start"):
        daemon = make_daemon(make_fake([["hang"]]).ini(shutdown_timeout="300ms"), start=False).spawn()
        daemon.wait_log(pattern)
        pids = daemon.all_pids()
        # The signal may arrive before it is watched: then it ends the process the hard way.
        assert daemon.kill(signal.SIGTERM) in (0, -signal.SIGTERM)
        place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "the end of all")


def test_it_can_be_stopped_while_its_postgres_is_made(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": "embedded"}})
    place.wait_until(lambda: os.path.exists(f"{daemon.folder}/state/postgres.new"), 10, "initdb")
    pids = daemon.all_pids()
    assert daemon.kill(signal.SIGTERM) == 0
    place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "the end of all")
    daemon.start().wait_ready()


def test_kill_9_leaves_no_process_behind(make_daemon, make_fake):
    """Not even of workers that neither read nor heed a signal."""
    fake = make_fake([*GREETING, ["ignore_term"], ["hang"]])
    daemon = make_daemon({**fake.ini(size=3, ping_interval="1m"), "database": {"url": "embedded"}}).wait_ready()
    pids = daemon.all_pids()
    assert len(pids) > 8
    daemon.kill()
    place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "the end of all")


def test_after_kill_9_the_next_start_takes_over_and_finishes_the_run(make_daemon, simulator, start_run):
    simulator.post("/_sim/script", {"rules": [{"do": "hang", "match": {"turn": 2}, "times": 20}]})
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0), "pool:probe": {"size": 2},
                          "database": {"url": "embedded"}}, keys={"OPENAI_API_KEY": "k"}).wait_ready()
    run = start_run(daemon, [f"question {number}" for number in range(60)])
    assert simulator.get("/_sim/wait", asked=80, timeout=15)["met"]
    daemon.kill()
    daemon.start()
    line = daemon.wait_log(r"store\.registered node=\d+ taken_back=[1-9]", 30)
    assert int(line.rpartition("=")[2]) >= 20
    daemon.wait_ready()
    assert daemon.wait_run(run)["progress"] == {"total": 60, "completed": 60, "failed": 0, "cancelled": 0}
    assert daemon.rows("SELECT count(*), count(DISTINCT (scenario_id, model_id, sample_index)) FROM transcripts "
                       "WHERE run_id = %s", run) == [(60, 60)]


def test_a_grandchild_of_a_worker_ends_with_it(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["fork_grandchild"], ["exit", 1]], WORKING)
    daemon = make_daemon(fake.ini())
    child = fake.wait("grandchild")["child"]
    place.wait_until(lambda: not place.process_is_alive(child), 5, "the end of the grandchild")
    place.wait_until(lambda: daemon.workers()[0]["state"] == "ready", 10, "a replacement")


def test_a_daemon_of_a_clean_stop_takes_nothing_back(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 0.2}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, [f"job {number}" for number in range(20)])
    fake.wait("call", 5)
    daemon.stop()
    daemon.start().wait_ready()
    daemon.wait_log(r"store\.registered node=\d+ taken_back=0")
    assert daemon.wait_run(run)["progress"]["completed"] == 20


def test_the_daemon_ends_behind_its_guard_but_does_not_wait_for_ever(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    guard, = (pid for pid in place.descendants(daemon.process.pid) if program_of(pid) == "proctor-guard")
    os.kill(guard, signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log(r"daemon\.stopped")
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(0.5)
    assert daemon.wait_exit() == 0
    os.kill(guard, signal.SIGCONT)
    place.wait_until(lambda: program_of(guard) is None, 10, "the end of the guard")


def program_of(pid):
    """The name of a process; None when there is none, or it only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, tail = file.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if tail.split()[0] == "Z" else head.partition("(")[2]
