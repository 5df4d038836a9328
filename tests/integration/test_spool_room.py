"""A spool that runs full, by its own limit or with its disk: nothing accepted is lost, it is said, and work goes on by
itself when there is room. What waits for the database beyond that does not fill the memory."""

import contextlib
import os
import pwd

import pytest

from harness import place
from probing import hold, renew, running, script, start, wait_asked
from trouble import (allow, check_all, ini_on, refuse, spool, wait_note, wait_spooled)

pytest_plugins = ["probe_fixtures"]

MIB = 1 << 20
ANSWER_BYTES = 3_700_000
PROBES = 26  # more than are asked at once
LIMIT = {"max_size": "256M"}  # the smallest that is allowed; its segments are of 32 MiB
HIGH_BYTES = 256 * MIB * 80 // 100
# Of rows that wait in memory, what the connection has of them, and conversations under way; without bounds it would be
# more than HIGH_BYTES beyond what it was.
MEMORY_BYTES = 140 * MIB


def start_refused(daemon, simulator, total, at_once):
    """Starts a run that the database takes no results of. Its first calls are under way, and held."""
    hold(simulator)
    run = start(daemon, total)
    wait_asked(simulator, at_once)
    for table in ("outcomes", "checkpoints"):
        refuse(daemon, table, "'55P03'", "come back later")
    return run


@contextlib.contextmanager
def big_answers(simulator):
    script(simulator, (f"huge={ANSWER_BYTES}", {}))
    yield
    renew(simulator)


# the limit


def alerts(daemon):
    return [(item["kind"], item["subject"], item["state"]) for item in daemon.ctl("alerts")["items"]]


def resident_bytes(daemon):
    with open(f"/proc/{daemon.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_at_its_limit_nothing_new_is_begun_in_bounded_memory_and_all_of_it_arrives(simulator, postgres):
    ini = ini_on(postgres.database(), spool=LIMIT, provider_openai={"concurrency": 4})
    # For a build with the sanitizer, which would keep what was freed.
    kept = {"ASAN_OPTIONS": "quarantine_size_mb=8"}
    with big_answers(simulator), running(simulator, ini, environment=kept) as daemon:
        before, most = resident_bytes(daemon), 0
        total = HIGH_BYTES // ANSWER_BYTES + 8
        run = start_refused(daemon, simulator, total, 4)
        hold(simulator, False)

        def is_full():
            nonlocal most
            most = max(most, resident_bytes(daemon))
            return spool(daemon)["state"] == "full"
        place.wait_until(is_full, 60, "the spool to be full")
        assert "over 80 % of the spool" in wait_note(daemon, "nothing new is started: ")
        told = daemon.ctl("spool")
        assert told["depthBytes"] >= HIGH_BYTES
        assert alerts(daemon) == [("spool.high", "spool", "active")]
        assert "over 80 %" in told["trouble"] and "come back later" in told["waitsFor"]
        assert daemon.call("providers.show", provider="openai")["why"]
        place.wait_until(lambda: simulator.get("/_sim/stats")["in_flight"] == 0, 10, "what is under way to end")
        asked = simulator.get("/_sim/stats")["providers"]["openai"]["bought"]
        assert asked < total, "some were not begun"
        daemon.wait_log(r"spool\.follow")
        assert most - before < MEMORY_BYTES, f"{(most - before) / MIB:.0f} MiB"
        allow(daemon)

        def is_sent():
            nonlocal most
            most = max(most, resident_bytes(daemon))
            return spool(daemon)["depth"] == 0 and spool(daemon)["state"] == "well"
        place.wait_until(is_sent, 60, "the spool to be sent")
        place.wait_until(lambda: alerts(daemon) == [], 10, "the alert to end")
        check_all(daemon, simulator, run, total)
        assert most - before < MEMORY_BYTES, f"{(most - before) / MIB:.0f} MiB"


# the disk


def mounting(folder, size):
    """Words that run a program with a file system of that size at `folder`, seen by itself alone."""
    mount = "mount -t tmpfs -o size={size},mode=700{owner} tmpfs {folder} && exec {back}\"$@\""
    if place.is_root():
        entry = pwd.getpwnam(place.run_user())
        text = mount.format(size=size, folder=folder, owner=f",uid={entry.pw_uid},gid={entry.pw_gid}", back="")
        return ["unshare", "--mount", "sh", "-c", text, "mounting"]
    back = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()} "
    text = mount.format(size=size, folder=folder, owner="", back=back)
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", text, "mounting"]


def fill(folder, left=0):
    """Leaves so many bytes of the disk."""
    path = os.path.join(folder, "filler")
    with open(path, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(MIB))
        file.truncate(max(0, file.tell() - left))


@pytest.fixture
def small_disk(simulator, postgres):
    """(daemon, folder): its spool is on a disk of 140 MiB, whose folder is to be seen there."""
    home = place.make_folder("test")
    folder = os.path.join(home, "state", "spool")
    os.makedirs(folder)
    for path in (os.path.dirname(folder), folder):
        place.give_to_run_user(path)
    ini = ini_on(postgres.database(), spool=LIMIT)
    with big_answers(simulator), running(simulator, ini, folder=home, wrapper=mounting(folder, "140m")) as daemon:
        yield daemon, f"/proc/{daemon.process.pid}/root{folder}"
    place.remove_folder(home)


def test_a_full_disk_loses_nothing_is_said_and_left_behind(small_disk, simulator):
    daemon, folder = small_disk
    run = start_refused(daemon, simulator, PROBES, 20)
    fill(folder)
    hold(simulator, False)
    wait_spooled(daemon, unwritten=1)
    assert "No space left on device" in wait_note(daemon, "nothing new is started: the spool in ")
    told = daemon.ctl("spool")
    assert told["state"] == "full" and "No space left on device" in told["trouble"] and not told["poisoned"]
    assert "No space left on device" in daemon.proctorctl("spool").stdout
    daemon.wait_log(r"spool\.trouble .*No space left on device")
    place.wait_until(lambda: simulator.get("/_sim/stats")["in_flight"] == 0, 15, "what is under way to end")
    asked = simulator.get("/_sim/stats")["providers"]["openai"]["bought"]
    assert 20 <= asked < PROBES, "nothing new is begun"
    os.unlink(os.path.join(folder, "filler"))
    place.wait_until(lambda: spool(daemon)["unwritten"] == 0, 10, "what was in memory to be written")
    allow(daemon)
    daemon.wait_log(r"spool\.well", 30)
    check_all(daemon, simulator, run, PROBES)


def test_a_full_disk_makes_room_by_itself_once_the_database_takes_what_waits(small_disk, simulator):
    daemon, folder = small_disk
    run = start_refused(daemon, simulator, PROBES, 20)
    fill(folder, left=40 * MIB)  # room for a second segment, and no third
    hold(simulator, False)
    assert "No space left on device" in wait_note(daemon, "nothing new is started: the spool in ", 20)
    allow(daemon)
    check_all(daemon, simulator, run, PROBES)
