"""Why is it waiting: each reason is told by runs, models and jobs, until when; a run that gets nowhere says so once."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time

import pytest

from harness import place
from harness.control import ControlError
from probing import connect, hold, lane, script, show, sql, start, wait_asked, wait_end, wait_progress

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]


def wait_why(daemon, run, why, deadline=10):
    """Waits until the run tells of exactly this one wait; returns it."""
    told = []

    def tells():
        told[:] = show(daemon, run, brief=True)["waiting"]
        return told[0] if [wait["why"] for wait in told] == [why] else None
    try:
        return place.wait_until(tells, deadline, f"the run to wait for {why!r}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it told {told}") from error


def jobs(daemon, run, state):
    return daemon.call("jobs", run=run, state=state)["items"]


def events(daemon, run, kind):
    return sql(daemon, "SELECT level, data->>'reason' FROM events WHERE run_id = %s AND kind = %s ORDER BY id",
               run, kind)


def is_soon(until_ms, most_s=60):
    return 0 < until_ms / 1000 - time.time() <= most_s


def on_terminal(daemon, words, columns=80):
    """What proctorctl shows on a terminal so wide, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = [os.path.join(daemon.root, "bin", "proctorctl"), "--socket", daemon.socket_path, *words]
    shown = b""
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=theirs) as ctl:
        os.close(theirs)
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # so Linux tells the end of a terminal
            pass
        assert ctl.wait(10) == 0
    os.close(ours)
    return re.sub("\x1b[^mK]*[mK]", "", shown.decode())


# limits of a lane


@pytest.mark.parametrize("limits, why", [
    ({"requests_per_minute": 12, "burst": 1}, "requests/min"),
    ({"tokens_per_minute": 6000}, "tokens/min"),
], ids=["requests", "tokens"])
def test_a_limit_is_told_with_its_end_by_run_jobs_and_providers(make_proctor, limits, why):
    with make_proctor({"provider:openai": limits}) as daemon:
        run = start(daemon, 20)
        told = wait_why(daemon, run, why)
        assert (told["lane"], told["models"]) == ("openai", ["gpt-4"]) and is_soon(told["untilMs"])
        place.wait_until(lambda: lane(daemon)["why"] == why, 5, "the lane to tell it")
        for job in jobs(daemon, run, "ready") + jobs(daemon, run, "leased"):
            assert job["why"] in (why, f"queued: {why}", "calling"), job
        summary, = daemon.call("jobs", run=run)["items"]
        assert summary["models"][0]["why"] == why and summary["waitsFor"] == f"openai: {why}"
        assert daemon.call("run.list")["items"][0]["waitsFor"] == f"openai: {why}"
        assert why in daemon.proctorctl("run", "list").stdout
        assert why in daemon.proctorctl("jobs", run).stdout


def test_calls_at_once_are_told_and_each_leased_job_says_what_it_does(make_proctor, simulator):
    hold(simulator)
    with make_proctor({"provider:openai": {"concurrency": 1}}) as daemon:
        run = start(daemon, 4)
        wait_asked(simulator, 1)
        wait_why(daemon, run, "concurrency")
        leased = place.wait_until(lambda: [job["why"] for job in jobs(daemon, run, "leased")], 5, "leased jobs")
        assert leased.count("calling") == 1 and set(leased) <= {"calling", "queued: concurrency"}, leased
        hold(simulator, False)
        assert wait_end(daemon, run)["waiting"] == []


def test_a_limit_of_one_model_is_told_of_that_model_alone(make_proctor, simulator):
    ini = {"provider:openai": {"requests_per_minute": 0},
           "limit:openai/gpt-4*": {"requests_per_minute": 6, "burst": 1}}
    with make_proctor(ini) as daemon:
        run = start(daemon, 10, ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo"])
        wait_progress(daemon, run, completed=10)
        told = wait_why(daemon, run, "requests/min of gpt-4*")
        assert told["models"] == ["gpt-4", "gpt-4-turbo"], "equal waits are told once"
        assert lane(daemon)["why"] == "requests/min of gpt-4*"


# providers


def test_a_pause_that_the_provider_asked_for_is_told(proctor, simulator):
    script(simulator, ("ratelimit=20", {}, 1))
    run = start(proctor, 2)
    assert is_soon(wait_why(proctor, run, "the provider asked to wait")["untilMs"], 21)
    proctor.call("run.delete", run=run, force=True)


def test_a_parked_provider_is_told_with_its_words(proctor, simulator):
    script(simulator, ("quota", {"provider": "openai"}))
    run = start(proctor, 2)
    place.wait_until(lambda: lane(proctor)["state"] == "parked", 5, "openai to be parked")
    told = wait_why(proctor, run, lane(proctor)["why"])
    assert told["why"].startswith("parked: ") and "quota" in told["why"]
    proctor.call("run.delete", run=run, force=True)


def test_an_open_breaker_is_told(make_proctor, simulator):
    with make_proctor({"retry": {"base_delay": "20ms", "max_delay": "20ms", "max_tries": 50}}) as daemon:
        wait_end(daemon, start(daemon, 1))
        script(simulator, ("status=500", {}))
        run = start(daemon, 30)
        place.wait_until(lambda: lane(daemon)["state"] == "failing", 10, "the breaker to open")
        place.wait_until(lambda: any(wait["why"].startswith("the provider fails; a trial call ")
                                     for wait in show(daemon, run)["waiting"]), 10, "the breaker to be told")
        assert lane(daemon)["why"].startswith("the provider fails; a trial call ")


# runs and models


def test_a_paused_run_and_a_paused_model_say_so(proctor, simulator):
    hold(simulator)
    run = start(proctor, 3, ["gpt-4", "grok-2"])
    wait_asked(simulator, 6)
    proctor.call("run.pause", run=run, reason="lunch")
    waits = show(proctor, run)["waiting"]
    assert [(wait["lane"], wait["why"]) for wait in waits] == [
        ("openai", "the run is paused: lunch"), ("xai", "the run is paused: lunch")]
    proctor.call("run.resume", run=run)
    sql(proctor, "UPDATE run_models SET paused = true WHERE run_id = %s AND model_id = 'grok-2'", run)
    assert wait_why(proctor, run, "the model is paused")["models"] == ["grok-2"]
    hold(simulator, False)
    proctor.call("run.resume", run=run, model="grok-2")
    assert wait_end(proctor, run)["progress"]["completed"] == 6


def test_ready_jobs_that_nothing_holds_up_say_how_many_go_before_them(proctor):
    proctor.call("providers.pause", provider="openai")
    run = start(proctor, 3)
    assert [job["why"] for job in jobs(proctor, run, "ready")] == ["paused by an operator"] * 3
    locker = connect(proctor)
    try:
        with locker.cursor() as cursor:
            # Claims pass over what is locked.
            cursor.execute("SELECT FROM ready WHERE run_id = %s FOR UPDATE", (run,))
            proctor.call("providers.resume", provider="openai")
            assert [job["why"] for job in jobs(proctor, run, "ready")] == [
                "its turn; it comes next of its run", "its turn; jobs of the run before it: 1",
                "its turn; jobs of the run before it: 2"]
    finally:
        locker.close()
    assert wait_end(proctor, run)["status"] == "COMPLETED"


def test_full_workers_are_told(make_proctor, simulator):
    hold(simulator)
    with make_proctor({"pool:probe": {"size": 1, "capacity": 2}}) as daemon:
        run = start(daemon, 5)
        wait_asked(simulator, 2)
        assert wait_why(daemon, run, "all workers are full")["untilMs"] is None
        hold(simulator, False)
        assert wait_end(daemon, run)["status"] == "COMPLETED"


def test_a_retry_is_told_with_its_error_and_its_time(make_proctor, simulator):
    script(simulator, ("status=500", {}, 1))
    with make_proctor({"retry": {"base_delay": "40s", "max_delay": "40s"}}) as daemon:
        run = start(daemon, 1)
        told = wait_why(daemon, run, "retrying after SERVER_ERROR")
        assert is_soon(told["untilMs"], 41)
        job, = jobs(daemon, run, "delayed")
        assert job["why"] == "retrying after SERVER_ERROR" and abs(job["untilMs"] - told["untilMs"]) <= 1


# what stands outside


def test_no_worker_is_told(proctor):
    proctor.call("services.stop", name="probe")
    try:
        run = start(proctor, 2)
        wait_why(proctor, run, "no worker is ready")
    finally:
        place.wait_until(lambda: is_started(proctor, "probe"), 15, "the pool to have stopped, and to start")
    assert wait_end(proctor, run)["status"] == "COMPLETED"


def is_started(daemon, name):
    """False while it is still stopping."""
    try:
        daemon.call("services.start", name=name)
    except ControlError as error:
        assert "stopping" in str(error)
        return False
    return True


def test_a_database_that_is_away_is_told_by_the_providers(on_server, server):
    assert lane(on_server)["why"] == ""
    server.stop()
    place.wait_until(lambda: lane(on_server)["why"] == "the database is away", 10, "the outage to be told")


def test_a_job_that_another_node_holds_names_it(proctor, simulator):
    proctor.call("providers.pause", provider="openai")
    run = start(proctor, 1)
    sql(proctor, "WITH taken AS (DELETE FROM ready WHERE run_id = %s RETURNING job_id, attempt) "
                 "INSERT INTO leases (job_id, attempt, node_id) SELECT job_id, attempt, 4711 FROM taken", run)
    assert [job["why"] for job in jobs(proctor, run, "leased")] == ["held by node 4711"]
    proctor.call("run.delete", run=run, force=True)


# stalled


def test_a_run_without_a_success_is_stalled_once_with_its_reason_until_it_moves(make_proctor, simulator):
    with make_proctor({"daemon": {"stalled_after": "1s"}}) as daemon:
        daemon.call("providers.pause", provider="openai", reason="invoice unpaid")
        run = start(daemon, 2)
        assert show(daemon, run)["stalled"] is None
        stalled = place.wait_until(lambda: show(daemon, run)["stalled"], 10, "the run to be stalled")
        assert stalled["why"] == "openai: invoice unpaid"
        assert 1 <= time.time() - stalled["sinceMs"] / 1000 <= 10
        assert daemon.call("run.list")["items"][0]["waitsFor"] == "stalled: openai: invoice unpaid"
        assert "Stalled" in daemon.proctorctl("run", "show", run).stdout
        place.wait_until(lambda: events(daemon, run, "run.stalled"), 10, "the event")
        daemon.call("providers.resume", provider="openai")
        assert wait_end(daemon, run)["stalled"] is None
        place.wait_until(lambda: events(daemon, run, "run.moving"), 10, "the event")
        assert events(daemon, run, "run.stalled") == [("warning", "openai: invoice unpaid")]
        assert len(events(daemon, run, "run.moving")) == 1


def test_an_answer_that_does_not_come_is_a_reason(make_proctor, simulator):
    hold(simulator)
    with make_proctor({"daemon": {"stalled_after": "1s"}}) as daemon:
        run = start(daemon, 1)
        stalled = place.wait_until(lambda: show(daemon, run)["stalled"], 10, "the run to be stalled")
        assert stalled["why"] == "the provider has not answered calls that are under way"
        hold(simulator, False)
        wait_end(daemon, run)


def test_a_stalled_run_is_so_after_a_restart_and_is_not_told_again(make_proctor, simulator):
    hold(simulator)
    with make_proctor({"daemon": {"stalled_after": "1s", "drain_timeout": "100ms"}}) as daemon:
        run = start(daemon, 1)
        since = place.wait_until(lambda: show(daemon, run)["stalled"], 10, "the run to be stalled")["sinceMs"]
        place.wait_until(lambda: events(daemon, run, "run.stalled"), 10, "the event")
        daemon.stop()
        daemon.start()
        daemon.wait_ready()
        again = place.wait_until(lambda: show(daemon, run)["stalled"], 10, "it to be stalled again")["sinceMs"]
        assert abs(again - since) < 1000, "the time without a success goes on over the restart"
        assert len(events(daemon, run, "run.stalled")) == 1
        hold(simulator, False)
        wait_end(daemon, run)
        place.wait_until(lambda: events(daemon, run, "run.moving"), 10, "the event")


def test_a_paused_run_is_not_stalled(make_proctor, simulator):
    hold(simulator)
    with make_proctor({"daemon": {"stalled_after": "1s"}}) as daemon:
        paused = start(daemon, 1)
        daemon.call("run.pause", run=paused)
        other = start(daemon, 1)
        place.wait_until(lambda: show(daemon, other)["stalled"], 10, "the other to be stalled")
        assert show(daemon, paused)["stalled"] is None and events(daemon, paused, "run.stalled") == []
        hold(simulator, False)
        wait_end(daemon, other)


# the tables


def test_tables_of_limits_and_waits_fit_eighty_columns(make_proctor, simulator):
    limits = {"requests_per_minute": 10000, "input_tokens_per_minute": 2000000, "output_tokens_per_minute": 2000000,
              "concurrency": 200}
    with make_proctor({"provider:openai": limits, "limit:openai/gpt-4*": {**limits, "requests_per_minute": 6,
                                                                          "burst": 1}}) as daemon:
        run = start(daemon, 5, ["gpt-4", "gpt-4-turbo"])
        wait_why(daemon, run, "requests/min of gpt-4*")
        for words in (("providers", "show", "openai"), ("run", "show", run), ("jobs", run)):
            shown = on_terminal(daemon, words)
            assert "requests/min" in shown, shown
            assert max(len(line) for line in shown.splitlines()) <= 80, shown
