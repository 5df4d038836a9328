"""Crash records: what they hold, where they are shown, and how long events are kept."""

import os
import re
import signal

import pytest

from harness import place
from harness.control import ControlError
from harness.postgres import Postgres

from fake_pool import GREETING, WORKING


def crashes(daemon, **args):
    return daemon.call("crashes", **args)["items"]


def wait_database(daemon):
    place.wait_until(lambda: daemon.call("status")["database"]["ready"], 10, "the database")


def wait_crashes(daemon, **args):
    wait_database(daemon)
    return place.wait_until(lambda: crashes(daemon, **args), 10, "a crash")


def test_a_crash_is_listed_with_its_end_and_shown_with_its_last_words(make_daemon, make_fake, start_run):
    crash = [["stderr", "out of cheese"], ["exit", 3]]
    fake = make_fake([*GREETING, ["serve", {"at": {"one": crash}}]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    row, = wait_crashes(daemon)
    assert (row["kind"], row["name"], row["exit"], row["held"], row["blame"], row["hasStack"]) == (
        "worker", "probe/1", "exit=3", 1, "jobs", False)
    assert "stderr" not in row
    shown = daemon.call("crashes.show", id=row["id"])
    assert shown["stderr"].endswith("out of cheese\n")
    assert [(job["runId"], job["modelId"], job["scenarioKey"]) for job in shown["jobs"]] == [(run, "gpt-4", "s1")]
    assert daemon.call("workers.show", worker="probe/1")["crash"] == shown
    daemon.wait_run(run)


def test_a_record_keeps_the_last_64_kib_of_stderr_and_lists_a_part_of_it(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["stderr", "x" * 100000], ["stderr", "the end"], ["exit", 1]], WORKING)
    daemon = make_daemon(fake.ini())
    row, = wait_crashes(daemon)
    stderr = daemon.call("crashes.show", id=row["id"])["stderr"]
    assert 60000 < len(stderr) <= 65536 and stderr.endswith("the end\n")
    listed = daemon.wait_event("worker.exit")["data"]["stderr"]
    assert len(listed) == 4000 and listed.endswith("the end\n")


def test_the_stack_of_a_hung_worker_is_in_its_record(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["hang"]], WORKING)
    daemon = make_daemon(fake.ini())
    row, = wait_crashes(daemon)
    assert row["hasStack"] and row["reason"].startswith("no pong")
    assert "in step_hang" in daemon.call("crashes.show", id=row["id"])["stack"]


def test_ends_that_were_asked_for_are_no_crashes(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    daemon.call("workers.restart", worker="probe/1")
    daemon.wait_event("worker.exit", subject="probe/1")
    assert crashes(daemon) == []
    assert daemon.call("workers.show", worker="probe/1")["crash"] is None
    os.kill(daemon.workers()[1]["pid"], signal.SIGKILL)
    assert [(row["name"], row["blame"]) for row in wait_crashes(daemon)] == [("probe/2", "outside")]
    assert crashes(daemon, worker="probe/1") == []
    assert len(crashes(daemon, worker="probe")) == 1


def test_a_service_that_crashes_is_listed_too(make_daemon, make_fake, services):
    daemon = make_daemon({**make_fake(WORKING).ini(), **services.service("brief", "exit=3", type="temporary")})
    row, = wait_crashes(daemon, worker="brief")
    assert (row["kind"], row["name"], row["exit"]) == ("service", "brief", "exit=3")
    assert daemon.call("crashes.show", id=row["id"])["jobs"] == []


def test_people_see_crashes_as_tables_and_text(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["stderr", "bell\a of doom"], ["hang"]], WORKING)
    daemon = make_daemon(fake.ini())
    wait_database(daemon)
    assert daemon.proctorctl("crashes").stdout == "No crashes are recorded.\n"
    row, = wait_crashes(daemon)
    listed = daemon.proctorctl("crashes", "--worker", "probe/1").stdout.splitlines()
    assert re.match(r"ID +WHEN +NAME +EXIT", listed[0])
    assert re.match(rf"{row['id']} .*probe/1 .*yes .*no pong to 2 pings", listed[1])
    for words in (("crashes", "show", row["id"]), ("workers", "show", "probe/1")):
        shown = daemon.proctorctl(*words)
        assert shown.returncode == 0, shown.stderr
        assert re.search(r"^Stack\n(.*\n)+?.*in step_hang", shown.stdout, re.MULTILINE)
        assert "\nLast words on stderr\nbell? of doom\n" in shown.stdout


def test_a_crash_that_is_not_there_is_refused(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    with pytest.raises(ControlError, match="NOT_FOUND: there is no crash 4711"):
        daemon.call("crashes.show", id=4711)


def test_a_crash_while_the_database_is_away_is_known_all_the_same(make_daemon, make_fake):
    fake = make_fake(WORKING, [*GREETING, ["serve", {}]])
    with Postgres() as server:
        daemon = make_daemon({**fake.ini(), "database": {"url": server.database()}}).wait_ready()
        server.stop()
        place.wait_until(lambda: not daemon.call("status")["database"]["ready"], 10, "the loss of the database")
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)
        crash = place.wait_until(lambda: daemon.call("workers.show", worker="probe/1")["crash"], 10, "the record")
        assert (crash["name"], crash["exit"], crash["blame"], crash["jobs"]) == ("probe/1", "signal=9", "outside", [])
        with pytest.raises(ControlError, match="UNAVAILABLE"):
            daemon.call("crashes")


# Retention.

def test_a_shorter_retention_takes_effect_at_a_reload_and_spares_what_is_young(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "retention": {"events": "30d"}}).wait_ready()
    daemon.rows("""INSERT INTO events (level, kind, at)
        SELECT 'info', 'test.old', now() - interval '2 hours' FROM generate_series(1, 2500)""")
    daemon.rows("INSERT INTO events (level, kind, at) VALUES ('info', 'test.young', now() - interval '30 minutes')")
    daemon.write_ini({"retention": {"events": "1h"}})
    daemon.call("reload")
    daemon.wait_log(r"store\.pruned events=2500 contents=0 outcomes=0$")
    assert daemon.rows("SELECT DISTINCT kind FROM events WHERE kind LIKE 'test.%%'") == [("test.young",)]


def test_nothing_is_pruned_at_a_start_or_when_events_are_kept_for_ever(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "retention": {"events": "1h"}}).wait_ready()
    daemon.rows("INSERT INTO events (level, kind, at) VALUES ('info', 'test.old', now() - interval '1 year')")
    for retention in ("1h", "0", "3650d"):
        daemon.write_ini({"retention": {"events": retention}})
        daemon.call("reload")
        # Asked on the connection that prunes, and so behind it.
        assert "test.old" in {event["kind"] for event in daemon.call("events")["items"]}, retention
