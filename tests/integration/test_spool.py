"""The spool of a real daemon: what it tells, what it refuses, and what damage to its files costs."""

import datetime
import json
import os
import signal
import struct
import subprocess

import pytest

from harness import place
from harness.proctor import Daemon
from probing import KEYS, hold, script, start, wait_asked, wait_end
from scrape import scrape
from trouble import (bought, check_all, check_settled, database, spool, wait_away, wait_note, wait_sent,
                     wait_spooled)

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]

SEGMENT_HEADER, RECORD_HEADER = 64, 48
TURN, END = 1, 2


def folder_of(daemon):
    return os.path.join(daemon.folder, "state", "spool")


def segments(daemon):
    folder = folder_of(daemon)
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".spool")]


def records(path):
    """[(byte, bytes, kind, job, meta)] of a segment, as supervisor/README.md draws it."""
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], SEGMENT_HEADER
    while True:
        length, _, _, _, _, job, _, kind = struct.unpack_from("<IIQQqqII", data, at)
        if length == 0:
            return found
        payload = data[at + RECORD_HEADER:at + RECORD_HEADER + length]
        found.append((at, RECORD_HEADER + length, kind, job, json.loads(payload.partition(b"\n")[0])))
        at += RECORD_HEADER + length


def spoil(path, record):
    """Changes one byte in the middle of a record."""
    byte = record[0] + record[1] // 2
    with open(path, "r+b") as file:
        file.seek(byte)
        was = file.read(1)
        file.seek(byte)
        file.write(bytes([was[0] ^ 0x20]))


def dump(path):
    done = subprocess.run([os.path.join(place.installation(), "sbin", "proctord"), "--spool-dump", path],
                          capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def cut_off(on_server, server, simulator):
    """cut_off(run's total, turns) starts such a run, has it asked while the server is away, and gives its id."""
    def make(total, turns=2, **options):
        hold(simulator)
        run = start(on_server, total, followups=turns - 1, **options)
        wait_asked(simulator, total)
        server.stop(signal.SIGKILL)
        hold(simulator, False)
        wait_away(on_server)
        return run
    return make


# what it tells


def test_the_spool_tells_depth_age_and_what_its_records_wait_for(on_server, server, simulator, cut_off):
    assert spool(on_server)["depth"] == 0 and spool(on_server)["waitsFor"] is None
    run = cut_off(10)
    wait_spooled(on_server, depth=30, oldestAgeMs=200)
    told = on_server.ctl("spool")
    assert told["state"] == "well" and told["trouble"] is None and not told["poisoned"]
    assert told["depth"] == 30 == told["written"] - told["acked"]
    assert 30 * 100 < told["depthBytes"] < told["bytes"] <= told["maxBytes"] and told["depthPercent"] == 0
    assert 200 <= told["oldestAgeMs"] < 60_000
    assert told["database"] and told["folder"] == folder_of(on_server)
    shown = on_server.proctorctl("spool")
    assert shown.returncode == 0
    for words in ("Records waiting", "30", "Oldest waits", "Results wait", "the database is not ready",
                  folder_of(on_server)):
        assert words in shown.stdout, shown.stdout
    assert "30" in on_server.proctorctl("status").stdout
    server.start()
    check_all(on_server, simulator, run, 10, turns=2)
    told = on_server.ctl("spool")
    assert (told["depth"], told["oldestAgeMs"], told["waitsFor"], told["unsynced"]) == (0, None, None, 0)
    measured = scrape(on_server)
    assert (measured("proctor_spool_records"), measured("proctor_spool_oldest_seconds")) == (0, 0)
    assert measured("proctor_record_delay_seconds_count") == 10
    assert measured("proctor_record_delay_seconds_sum") >= 10 * 0.2
    assert "Oldest waits" not in on_server.proctorctl("spool").stdout


def test_a_segment_of_a_killed_daemon_can_be_read_offline(on_server, server, simulator, cut_off):
    run = cut_off(5)
    wait_spooled(on_server, depth=15)
    on_server.kill()
    path, = [path for path in segments(on_server) if records(path)]
    lines = [line for line in dump(path) if "seq" in line]
    assert [line["seq"] for line in lines] == list(range(1, 16))
    prompts = [line["body"]["probePrompt"][:4] for line in lines if line["kind"] == "turn"]
    assert sorted(prompts) == ["And "] * 5 + ["Case"] * 5
    assert {line["meta"]["fate"] for line in lines if line["kind"] == "end"} == {0}
    assert not any(secret in json.dumps(lines) for secret in KEYS.values())
    newest = max(datetime.datetime.fromisoformat(line["at"]) for line in lines)
    waited = (datetime.datetime.now(datetime.timezone.utc) - newest).total_seconds()
    restart(on_server, server)
    check_all(on_server, simulator, run, 5, turns=2)
    # From the spool's own time: what was written by an earlier life has waited since then.
    assert scrape(on_server)("proctor_record_delay_seconds_sum") >= 5 * waited


# what it refuses


def test_a_spool_of_another_database_is_kept_for_it_and_the_remedy_is_said(on_server, server, simulator, cut_off):
    run = cut_off(5)
    wait_spooled(on_server, depth=15)
    on_server.kill()
    server.start()
    right = on_server.sections["database"]["url"]
    on_server.write_ini({"database": {"url": server.database()}})
    on_server.start()
    why = wait_note(on_server, "holds 15 records for another database")
    assert folder_of(on_server) in why and "connect to that one, or move the folder away" in why
    assert spool(on_server)["depth"] == 15 and not database(on_server)["ready"]
    on_server.stop()
    on_server.write_ini({"database": {"url": right}})
    on_server.start()
    check_all(on_server, simulator, run, 5, turns=2)


def test_an_empty_spool_goes_with_its_daemon_to_another_database(on_server, server, simulator):
    wait_end(on_server, start(on_server, 3))
    wait_sent(on_server)
    before = spool(on_server)["database"]
    on_server.stop()
    on_server.write_ini({"database": {"url": server.database()}})
    on_server.start()
    on_server.wait_ready()
    simulator.post("/_sim/reset", {})
    check_all(on_server, simulator, start(on_server, 3), 3)
    assert spool(on_server)["database"] != before


def test_a_spool_folder_that_cannot_be_written_ends_the_start_with_the_reason(simulator):
    daemon = Daemon(simulator.ini(), KEYS)
    try:
        os.makedirs(folder_of(daemon))
        place.give_to_run_user(os.path.dirname(folder_of(daemon)))
        os.chmod(folder_of(daemon), 0o500)  # whoever owns it
        daemon.spawn()
        assert daemon.wait_exit(10) == 1
        told, = [line for line in daemon.log_lines() if "daemon.failed" in line]
        assert folder_of(daemon) in told and "Permission denied" in told and "spool" in told
    finally:
        daemon.remove()


def test_a_second_daemon_on_the_folder_is_refused_and_the_first_goes_on(on_server, simulator):
    daemon = {**on_server.sections["daemon"], "run_dir": on_server.folder + "/run2"}
    other = Daemon({**on_server.sections, "daemon": daemon}, KEYS)
    try:
        other.spawn()
        assert other.wait_exit(10) == 1
        told, = [line for line in other.log_lines() if "daemon.failed" in line]
        assert os.path.dirname(folder_of(on_server)) in told and "another" in told
    finally:
        other.remove()
    check_all(on_server, simulator, start(on_server, 3), 3)


# damage


def answer_first_turns(daemon, simulator, total):
    """Has the first turn of each answered, one after the other, and the second under way, then kills the daemon."""
    script(simulator, ("hang", {"turn": 2}))
    wait_spooled(daemon, depth=total)
    wait_asked(simulator, 2 * total)
    daemon.kill()
    script(simulator)
    path, = [path for path in segments(daemon) if records(path)]
    found = records(path)
    assert [kind for _, _, kind, _, _ in found] == [TURN] * total
    return path, found


def restart(daemon, server):
    server.start()
    daemon.start()
    daemon.wait_ready()


@pytest.mark.parametrize("damage", ["changed", "cut off"])
@pytest.mark.parametrize("place_", [4, 2], ids=["last", "middle"])
def test_damage_costs_the_answers_from_there_on_and_no_other(on_server, server, simulator, cut_off, damage, place_):
    script(simulator, ("hang", {"turn": 2}))
    run = cut_off(5)
    path, found = answer_first_turns(on_server, simulator, 5)
    if damage == "changed":
        spoil(path, found[place_])
        assert [line for line in dump(path) if "damage" in line]
    else:
        os.truncate(path, found[place_][0] + 100)
    restart(on_server, server)
    on_server.wait_log(rf"spool\.cut file={path} byte={found[place_][0]} .*what follows is cut off")
    assert wait_end(on_server, run)["progress"]["completed"] == 5
    first = [conversation for _, conversation, turn in bought(simulator) if turn == 1]
    assert (len(first), len(set(first))) == (5 + 5 - place_, 5), "what is lost is bought again, nothing else"
    check_settled(on_server)
