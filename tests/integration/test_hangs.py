"""What a worker that answers no ping is put down to, and whether it is killed for it."""

import os
import signal
import time

import pytest

from fake_pool import GREETING, WORKING
from harness import place
from probing import worker_program
from scrape import scrape

# A real worker, whose loop stops in the midst of answering a ping.
REAL_HANG = """
import sys, threading
sys.path.insert(0, {workers!r})
import probe
from proctor import serve
def answer_no_ping(worker, message, size):
    threading.Event().wait()
serve.Worker._on_ping = answer_no_ping
sys.exit(probe.main(["--serve"]))
"""


def suspicions(daemon):
    return [line for line in daemon.log_lines() if " worker.suspect " in line]


def wait_verdict(daemon, verdict, deadline=15):
    """Waits until `workers show`, the log and the events put it down to that; returns the event's data."""
    def find():
        return next((worker for worker in daemon.workers() if worker["verdict"] == verdict), None)
    shown = place.wait_until(find, deadline, f"the verdict {verdict}: {suspicions(daemon)}")
    daemon.wait_log(rf"worker\.suspect worker={shown['worker']} pid={shown['pid']} verdict={verdict} ")
    data = daemon.wait_event("worker.suspect", subject=shown["worker"])["data"]
    assert data == {"verdict": verdict, "reason": shown["ailment"]}
    return data


def assert_well_again(daemon, pids):
    """All have answered since, no life has ended, and nothing is said against any."""
    place.wait_until(lambda: all(worker["verdict"] is None and not worker["late"] and worker["state"] == "ready"
                                 for worker in daemon.workers()), 15, "pongs of all")
    assert daemon.worker_pids() == pids
    assert not any(" worker.exit " in line or " worker.fault " in line for line in daemon.log_lines())


def wait_hang_kill(daemon, deadline=25):
    """The crash record of the first worker that was killed for its silence."""
    data = daemon.wait_event("worker.exit", deadline)["data"]
    assert data["reason"].startswith("no pong to 2 pings: ")
    assert data["planned"] is False
    return data


# Stopped.

def test_a_stopped_worker_is_continued_and_goes_on_where_it_was(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"at": {"one": [["signal", int(signal.SIGSTOP)]]}, "at_turn": 2}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    pids = daemon.worker_pids()
    progress = daemon.wait_run(start_run(daemon, ["one"]))["progress"]
    assert progress["completed"] == 1
    assert [number for _, number in fake.calls("one")] == [1, 2, 3]
    event = daemon.wait_event("worker.suspect", subject="probe/1")
    assert event["data"] == {"verdict": "stopped",
                             "reason": "it was stopped by a signal or a debugger (state T); it is continued"}
    daemon.wait_log(rf"worker\.suspect worker=probe/1 pid={pids[0]} verdict=stopped ")
    assert_well_again(daemon, pids)
    assert scrape(daemon)("proctor_worker_hangs_total", pool="probe", verdict="stopped") == 1
    assert scrape(daemon).sum("proctor_worker_exits_total") == 0


def test_one_that_is_stopped_again_at_once_is_killed(make_daemon, make_fake):
    stop = ["signal", int(signal.SIGSTOP)]
    fake = make_fake([*GREETING, stop, stop, stop, ["hang"]], WORKING)
    daemon = make_daemon(fake.ini())
    data = wait_hang_kill(daemon)
    assert "stopped again" in data["reason"] and "(state T)" in data["reason"]
    assert "step_signal" in data["stack"]
    assert len(suspicions(daemon)) == 1
    told = scrape(daemon)
    assert told("proctor_worker_hangs_total", pool="probe", verdict="dead") == 1
    assert told("proctor_worker_exits_total", pool="probe", cause="fault") == 1


# Hung.

def test_a_deadlock_is_no_life_whatever_a_helper_thread_says(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["deadlock"]], WORKING)
    daemon = make_daemon(fake.ini())
    data = wait_hang_kill(daemon)
    assert "waits for something that does not come (state S)" in data["reason"]
    assert "in step_deadlock" in data["stack"] and "in _beat" in data["stack"]
    assert "the helper thread is alive" in data["stderr"]
    assert not suspicions(daemon)


def test_an_endless_computation_is_told_from_a_wait(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["spin"]], WORKING)
    data = wait_hang_kill(make_daemon(fake.ini()))
    assert "busy and does not come back to its loop (state R)" in data["reason"]
    assert "in step_spin" in data["stack"]


def test_the_stack_of_a_real_worker_is_in_its_crash_record(make_daemon, make_fake):
    fake = make_fake()
    program = os.path.join(fake.folder, "hang.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(REAL_HANG.format(workers=worker_program()))
    daemon = make_daemon(fake.ini(command=f"/usr/bin/python3 {program}", boot_timeout="30s"))
    data = wait_hang_kill(daemon)
    assert "in answer_no_ping" in data["stack"]
    assert 'proctor/serve.py"' in data["stack"] and "in _handle_line" in data["stack"]


def test_of_a_pool_only_the_one_that_hangs_is_killed(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["hang"]], WORKING)
    daemon = make_daemon(fake.ini(size=3))
    sick = fake.wait("step", name="hang")["pid"]
    wait_hang_kill(daemon)
    assert not place.process_is_alive(sick)
    ends = [line for line in daemon.log_lines() if " worker.exit " in line]
    assert len(ends) == 1, ends


# In the kernel's hands.

def test_a_worker_that_no_signal_reaches_is_given_time(make_daemon, make_fake):
    """A parent of a vfork is in state D until its child execs."""
    fake = make_fake([*GREETING, ["vfork", "device"], ["serve"]])
    daemon = make_daemon(fake.ini()).wait_ready()
    pids = daemon.worker_pids()
    data = wait_verdict(daemon, "disk")
    assert "no signal reaches it (state D)" in data["reason"]
    with open(os.path.join(fake.folder, "device"), "w", encoding="ascii"):
        pass
    assert_well_again(daemon, pids)


def test_one_that_stays_there_is_killed_in_the_end(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["vfork", "device"], ["serve"]], WORKING)
    daemon = make_daemon(fake.ini(ping_interval="50ms", ping_timeout="100ms"))
    data = wait_hang_kill(daemon)
    assert "a device has not answered for too long (state D)" in data["reason"]
    assert data["exit"].startswith("signal=9"), "nothing else reaches it"
    assert len(suspicions(daemon)) == 3
    place.wait_until(lambda: daemon.workers()[0]["state"] == "ready", 10, "another in its place")


# Starved.

def test_of_a_pool_that_mostly_falls_silent_none_is_killed(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["wait_file", "enough"], ["serve"]])
    daemon = make_daemon(fake.ini(size=4)).wait_ready()
    pids = daemon.worker_pids()
    data = wait_verdict(daemon, "starved")
    assert "the machine is starved; none is killed" in data["reason"]
    assert daemon.wait_event("worker.suspect")["level"] == "error"
    # Each was judged, and more than once: the one that is judged last is not alone.
    place.wait_until(lambda: all(sum(f"worker={worker['worker']} " in line for line in suspicions(daemon)) >= 2
                                 for worker in daemon.workers()), 15, "two verdicts on each")
    fake.allow("enough")
    assert_well_again(daemon, pids)


@pytest.fixture
def late(make_daemon, make_fake):
    """(daemon, fake, when): a worker has missed a pong and cannot answer, and since then the daemon is stopped."""
    fake = make_fake([*GREETING, ["wait_file", "enough"], ["serve"]])
    daemon = make_daemon(fake.ini(ping_interval="100ms", ping_timeout="1s")).wait_ready()
    place.wait_until(lambda: daemon.workers()[0]["late"], 10, "a missed pong")
    daemon.call("status")
    daemon.process.send_signal(signal.SIGSTOP)
    yield daemon, fake, time.monotonic()
    daemon.process.send_signal(signal.SIGCONT)


def wait_age(begun, seconds):
    place.wait_until(lambda: time.monotonic() - begun > seconds, seconds + 1, "the daemon to have been late enough")


def test_an_answer_that_the_daemon_was_too_late_to_read_counts(late):
    daemon, fake, begun = late
    fake.allow("enough")
    fake.wait("got", 2, type="ping")
    wait_age(begun, 1.5)
    daemon.process.send_signal(signal.SIGCONT)
    place.wait_until(lambda: daemon.workers()[0]["lastPongMs"] is not None, 10, "the pongs to be read")
    assert_well_again(daemon, [fake.journal("born")[0]["pid"]])
    assert not suspicions(daemon)


def test_a_daemon_that_was_late_itself_gives_its_workers_that_time(late):
    daemon, fake, begun = late
    wait_age(begun, 2.5)
    daemon.process.send_signal(signal.SIGCONT)
    daemon.call("status")
    assert daemon.workers()[0]["late"]
    fake.allow("enough")
    assert_well_again(daemon, [fake.journal("born")[0]["pid"]])
    assert not suspicions(daemon)


# As people see it.

def test_workers_show_says_what_ails_one(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["wait_file", "enough"], ["serve"]])
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    wait_verdict(daemon, "starved")
    shown = daemon.proctorctl("workers", "show", "probe/1").stdout
    assert "Ails" in shown and "the machine is starved" in shown
    fake.allow("enough")
    place.wait_until(lambda: "Ails" not in daemon.proctorctl("workers", "show", "probe/1").stdout, 10, "it to be well")
