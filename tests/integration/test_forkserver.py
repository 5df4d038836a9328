"""The prepared parent of a pool, and its standbys: workers that it has forked before they are needed."""

import os
import re
import signal

import pytest

from harness import place
from harness.storm import STANDBYS, worker_processes
from services import NO_DATABASE
from test_supervision import wait_serving

WORKERS = 3  # more than there are standbys


@pytest.fixture
def forking(make_daemon):
    """A daemon over real workers, whose prepared parent is ready."""
    daemon = make_daemon({**NO_DATABASE, "pool:probe": {"size": WORKERS, "restart_delay": "20ms",
                                                        "ping_interval": "100ms", "health_interval": "1h"}},
                         keys={"OPENAI_API_KEY": "k"})
    wait_serving(daemon, WORKERS)
    daemon.wait_log(r"worker\.start worker=probe/1 pid=\d+ by=fork")
    return daemon


def parent_of(daemon):
    return daemon.call("status")["pools"][0]["forkserverPid"]


def wait_proven(daemon):
    place.wait_until(lambda: all(worker["lastPongMs"] is not None for worker in daemon.workers()), 10, "pongs of all")


def standbys_of(daemon):
    """The pids of the standbys, once all workers are proven and as many are there as are kept."""
    wait_proven(daemon)

    def find():
        found = worker_processes(daemon.process.pid) - {parent_of(daemon), *daemon.worker_pids()}
        return found if len(found) == STANDBYS else None
    return place.wait_until(find, 10, "standbys")


def send_all(pids, signo):
    for pid in pids:
        os.kill(pid, signo)


def wait_gone(*pids):
    place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "processes to be gone")


def wait_restarted(daemon, name, since):
    """(pid, how) of the worker's next life, once it is ready."""
    line = daemon.wait_log(rf"worker\.start worker={name} ", since=since)
    daemon.wait_log(rf"worker\.ready worker={name} ", since=since)
    pid, how = re.search(r"pid=(\d+) by=(\w+)", line).groups()
    return int(pid), how


def open_files(pid):
    """What the process has open and another one could have open too."""
    found = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        if not target.startswith(("anon_inode:", "/dev/")):
            found.add(target)
    return found


# The parent.

def test_the_prepared_parents_end_is_survived_and_made_good(forking):
    standbys = standbys_of(forking)
    pids, parent, mark = forking.worker_pids(), parent_of(forking), forking.log_position()
    os.kill(parent, signal.SIGKILL)
    os.kill(pids[0], signal.SIGKILL)
    forking.wait_log(r"worker\.start worker=probe/1 pid=\d+ by=exec", since=mark)
    forking.wait_log(r"forkserver\.ready ", since=mark)
    wait_gone(parent, *standbys)
    wait_serving(forking, WORKERS)
    assert forking.worker_pids()[1] == pids[1]
    assert parent_of(forking) not in (0, parent)
    wait_proven(forking)
    mark = forking.log_position()
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    assert wait_restarted(forking, "probe/1", mark)[1] == "fork"


def test_a_prepared_parent_that_hangs_is_replaced_and_holds_nobody_up(forking):
    standbys = standbys_of(forking)
    parent, mark = parent_of(forking), forking.log_position()
    os.kill(parent, signal.SIGSTOP)
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    forking.wait_log(r"forkserver\.stuck ", since=mark)
    forking.wait_log(r"worker\.start worker=probe/1 pid=\d+ by=exec", since=mark)
    wait_serving(forking, WORKERS)
    place.wait_until(lambda: parent_of(forking) not in (0, parent), 10, "another prepared parent")
    wait_gone(parent, *standbys)


def test_a_parent_that_is_replaced_by_a_reload_leaves_no_standbys(forking):
    standbys, parent, mark = standbys_of(forking), parent_of(forking), forking.log_position()
    forking.write_keys({"OPENAI_API_KEY": "another"})
    forking.call("reload")
    forking.wait_log(r"forkserver\.ready ", since=mark)
    wait_gone(parent, *standbys)
    assert not standbys & standbys_of(forking)


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
def test_forked_workers_and_standbys_end_with_the_daemon(forking, signo):
    pids = {*standbys_of(forking), *forking.worker_pids(), parent_of(forking)}
    assert len(pids) == STANDBYS + WORKERS + 1
    forking.kill(signo)
    wait_gone(*pids)


# The standbys.

def test_a_standby_takes_a_dead_workers_place_and_another_takes_its(forking):
    standbys, mark = standbys_of(forking), forking.log_position()
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    pid, how = wait_restarted(forking, "probe/1", mark)
    assert pid in standbys and how == "fork"
    assert os.getpgid(pid) == pid
    left = standbys_of(forking)
    assert pid not in left and len(left & standbys) == STANDBYS - 1


def test_workers_that_die_together_are_all_forked_anew(forking):
    standbys, mark = standbys_of(forking), forking.log_position()
    send_all(forking.worker_pids(), signal.SIGKILL)
    lives = [wait_restarted(forking, f"probe/{number}", mark) for number in range(1, WORKERS + 1)]
    pids = {pid for pid, _ in lives}
    assert [how for _, how in lives] == ["fork"] * WORKERS
    assert standbys <= pids and len(pids) == WORKERS
    assert len({len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}) == 1, "some have more open than others"
    standbys_of(forking)


def test_standbys_that_a_stranger_kills_are_not_missed(forking):
    standbys, mark = standbys_of(forking), forking.log_position()
    send_all(standbys, signal.SIGKILL)
    for pid in standbys:
        forking.wait_log(rf"standby\.ended.*\b{pid}\b", since=mark)
    wait_gone(*standbys)
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    pid, how = wait_restarted(forking, "probe/1", mark)
    assert pid not in standbys and how == "fork"
    standbys_of(forking)


def test_a_standby_that_dies_at_its_first_step_is_a_worker_that_died(forking):
    standbys, mark = standbys_of(forking), forking.log_position()
    send_all(standbys, signal.SIGSTOP)
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    line = forking.wait_log(r"worker\.start worker=probe/1 pid=\d+ by=fork", since=mark)
    assert int(re.search(r"pid=(\d+)", line)[1]) in standbys
    mark = forking.log_position()
    send_all(standbys, signal.SIGKILL)
    forking.wait_log(r"worker\.exit worker=probe/1 signal=9", since=mark)
    assert wait_restarted(forking, "probe/1", mark)[1] == "fork"


def test_a_standby_that_dies_before_the_daemon_hears_of_it_is_a_worker_that_died(forking):
    """It was given the descriptors, and the daemon learns of its death together with its name."""
    standbys, parent, mark = standbys_of(forking), parent_of(forking), forking.log_position()
    send_all(standbys | {parent}, signal.SIGSTOP)
    os.kill(forking.worker_pids()[0], signal.SIGKILL)
    forking.wait_log(r"worker\.restart worker=probe/1 ", since=mark)
    forking.call("status")  # a turn of the loop later, so that the parent has been asked
    known = worker_processes(forking.process.pid)
    os.kill(forking.process.pid, signal.SIGSTOP)
    os.kill(parent, signal.SIGCONT)
    place.wait_until(lambda: worker_processes(forking.process.pid) - known, 5, "the next standby")
    send_all(standbys, signal.SIGKILL)
    os.kill(forking.process.pid, signal.SIGCONT)
    line = forking.wait_log(r"worker\.start worker=probe/1 pid=\d+ by=fork", since=mark)
    assert int(re.search(r"pid=(\d+)", line)[1]) in standbys
    wait_serving(forking, WORKERS)
    assert not standbys & set(forking.worker_pids())


def test_standbys_have_open_nothing_of_others_but_their_parents_stderr(forking):
    standbys = standbys_of(forking)
    others = {parent_of(forking), *forking.worker_pids(), *standbys}
    stderr = os.readlink(f"/proc/{parent_of(forking)}/fd/2")
    for pid in standbys:
        shared = set().union(*(open_files(pid) & open_files(other) for other in others - {pid}))
        assert shared == {stderr}
