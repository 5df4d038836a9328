"""Memory and processor limits of workers and services: by control groups on a fake tree, by rlimits without one."""

import os
import signal

import pytest

from harness import place

from fake_pool import GREETING, WORKING

MIB = 1 << 20


class CgroupTree:
    """The daemon's own group, as plain files: what the daemon writes into them, the kernel would act upon."""

    def __init__(self):
        self.folder = place.make_folder("cgroup")
        self.write("cgroup.controllers", "cpu io memory pids\n")
        self.write("cgroup.subtree_control", "")
        self.write("cgroup.procs", "")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        place.give_to_run_user(path)

    def read(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def groups(self):
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())

    def empty(self, group):
        """As the kernel's is when its last process has gone: it can be removed now."""
        for entry in os.scandir(os.path.join(self.folder, group)):
            os.unlink(entry.path)

    def wait_group(self, group, pid):
        place.wait_until(lambda: self.read(f"{group}/cgroup.procs") == f"{pid}\n", 10, f"process {pid} in {group}")

    def wait_gone(self, group):
        place.wait_until(lambda: group not in self.groups(), 10, f"the end of {group}")


@pytest.fixture
def cgroups():
    tree = CgroupTree()
    yield tree
    place.remove_folder(tree.folder)


def limits_of(pid):
    """{name: soft limit} of a process; None = unlimited."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        rows = [(line[:26].strip(), line[26:].split()[0]) for line in file.readlines()[1:]]
    return {name: None if soft == "unlimited" else int(soft) for name, soft in rows}


def test_without_a_group_of_our_own_limits_are_rlimits(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini(memory_limit="256M", cpu_limit="90s"),
                         environment={"PROCTOR_CGROUP_ROOT": "/nonexistent"}).wait_ready()
    limits = limits_of(daemon.worker_pids()[0])
    assert (limits["Max data size"], limits["Max cpu time"]) == (256 * MIB, 90)
    daemon.wait_log("cgroup.none .*No such file")


def test_a_worker_over_its_rlimit_gets_no_more_memory(make_daemon, make_fake):
    fake = make_fake([["allocate", 512 * MIB]], WORKING)
    daemon = make_daemon(fake.ini(memory_limit="256M"), environment={"PROCTOR_CGROUP_ROOT": "/nonexistent"})
    assert "MemoryError" in daemon.wait_event("worker.exit", deadline=15)["data"]["stderr"]


def test_a_worker_over_its_processor_time_dies_of_it(make_daemon, make_fake):
    daemon = make_daemon(make_fake([*GREETING, ["spin"]], WORKING).ini(cpu_limit="1s", ping_interval="1m"))
    event = daemon.wait_event("worker.exit", deadline=20)
    assert event["data"]["exit"].split()[0] == f"signal={int(signal.SIGXCPU)}"
    assert event["data"]["blame"] == "jobs"


def test_in_a_group_of_our_own_each_limited_life_has_one_below(make_daemon, make_fake, services, cgroups):
    service = services.service("hog", memory_limit="64M")
    daemon = make_daemon({**make_fake(WORKING).ini(size=2, memory_limit="256M"), **service},
                         environment={"PROCTOR_CGROUP_ROOT": cgroups.folder}).wait_ready()
    assert cgroups.read("cgroup.subtree_control") == "+memory"
    assert cgroups.read("daemon/cgroup.procs") == f"{daemon.process.pid}\n"
    assert cgroups.groups() == ["daemon", "service-hog", "worker-probe-1", "worker-probe-2"]
    for number, pid in enumerate(daemon.worker_pids(), 1):
        cgroups.wait_group(f"worker-probe-{number}", pid)
        assert cgroups.read(f"worker-probe-{number}/memory.max") == f"{256 * MIB}\n"
        assert cgroups.read(f"worker-probe-{number}/memory.oom.group") == "1\n"
        assert limits_of(pid)["Max data size"] is None, "the group's limit is the one that counts"
    assert cgroups.read("service-hog/memory.max") == f"{64 * MIB}\n"


def test_a_worker_killed_for_its_memory_is_known_by_its_group_and_its_group_goes(make_daemon, make_fake, cgroups):
    daemon = make_daemon(make_fake(WORKING).ini(memory_limit="256M"),
                         environment={"PROCTOR_CGROUP_ROOT": cgroups.folder}).wait_ready()
    pid, = daemon.worker_pids()
    cgroups.wait_group("worker-probe-1", pid)
    cgroups.write("worker-probe-1/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 1\n")
    os.kill(pid, signal.SIGKILL)
    event = daemon.wait_event("worker.exit")
    assert (event["data"]["exit"], event["data"]["blame"]) == ("signal=9 oom=yes", "jobs")
    # Its heir has a group beside the one that is not empty yet.
    daemon.wait_ready()
    cgroups.wait_group("worker-probe-1.2", daemon.worker_pids()[0])
    cgroups.empty("worker-probe-1")
    cgroups.wait_gone("worker-probe-1")


def test_groups_live_on_when_the_daemon_is_upgraded(make_daemon, make_fake, cgroups):
    daemon = make_daemon(make_fake(WORKING).ini(memory_limit="256M"),
                         environment={"PROCTOR_CGROUP_ROOT": cgroups.folder}).wait_ready()
    pid, = daemon.worker_pids()
    cgroups.wait_group("worker-probe-1", pid)
    daemon.call("upgrade")
    assert cgroups.groups() == ["daemon", "worker-probe-1"]
    cgroups.write("worker-probe-1/memory.events", "oom_kill 1\n")
    os.kill(pid, signal.SIGKILL)
    assert daemon.wait_event("worker.exit")["data"]["exit"] == "signal=9 oom=yes"
    place.wait_until(lambda: daemon.worker_pids() not in ([], [pid]), 10, "its heir")
    cgroups.wait_group("worker-probe-1.2", daemon.worker_pids()[0])


def test_a_group_that_others_live_in_is_left_alone(make_daemon, make_fake, cgroups):
    cgroups.write("cgroup.procs", f"{os.getpid()}\n")
    daemon = make_daemon(make_fake(WORKING).ini(memory_limit="256M"),
                         environment={"PROCTOR_CGROUP_ROOT": cgroups.folder}).wait_ready()
    daemon.wait_log("cgroup.none .*busy")
    assert cgroups.groups() == []
    assert limits_of(daemon.worker_pids()[0])["Max data size"] == 256 * MIB
