"""What the daemon writes to stderr: how much of which subsystem, and in which form."""

import json
import os
import re
import signal
import subprocess

import pytest

from fake_pool import WORKING
from harness import place
from probing import script, start, wait_end

pytest_plugins = ["probe_fixtures"]


def levels(daemon):
    return {(line.split()[1], line.split()[2].partition(".")[0]) for line in daemon.log_lines()}


def debugged(daemon):
    return {subsystem for level, subsystem in levels(daemon) if level == "debug"}


def quiet(make_fake, **more):
    return {**make_fake(WORKING).ini(), "daemon": {"log_level": "info", **more}}


def test_a_subsystem_has_a_level_of_its_own_live_and_through_an_upgrade(make_daemon, make_fake):
    daemon = make_daemon(quiet(make_fake)).wait_ready()
    daemon.ctl("version")
    assert debugged(daemon) == set()
    daemon.ctl("log-level", "debug", "control")
    daemon.ctl("version")
    daemon.wait_log(r"debug +control\.open")
    daemon.call("upgrade")
    shown = daemon.call("log-level")
    assert shown["level"] == "info" and shown["subsystems"] == {"control": "debug"}
    behind = daemon.log_position()
    daemon.ctl("version")
    daemon.wait_log(r"debug +control\.open", since=behind)
    assert debugged(daemon) == {"control"}
    daemon.ctl("log-level", "info")
    assert daemon.call("log-level")["subsystems"] == {}


def test_the_configuration_gives_levels_and_a_reload_takes_them_back(make_daemon, make_fake):
    daemon = make_daemon(quiet(make_fake, log_levels="control=debug store=error")).wait_ready()
    daemon.wait_log(r"debug +control\.open")
    assert debugged(daemon) == {"control"} and ("info", "store") not in levels(daemon)
    daemon.ctl("log-level", "debug", "pool")
    daemon.call("reload")
    assert daemon.call("log-level")["subsystems"] == {"control": "debug", "store": "error"}


def test_json_lines_are_objects_from_the_first_to_the_last(make_daemon, make_fake):
    daemon = make_daemon(quiet(make_fake, log_format="json")).wait_ready()
    assert daemon.kill(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in daemon.log_lines()]
    assert {"daemon.start", "worker.ready", "daemon.stopped"} <= {line["event"] for line in lines}
    ready = next(line for line in lines if line["event"] == "worker.ready")
    assert ready["level"] == "info" and ready["data"]["worker"] == "probe/1" and ready["data"]["pid"].isdigit()


@pytest.mark.parametrize("is_journal", [True, False], ids=["journal", "file"])
def test_a_priority_stands_in_front_only_where_stderr_is_the_journal(make_daemon, make_fake, tmp_path, is_journal):
    daemon = make_daemon(quiet(make_fake), start=False)
    path = tmp_path / "log"
    with open(path, "wb") as file:
        status = os.fstat(file.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if is_journal else "1:2"
        process = subprocess.Popen([os.path.join(daemon.root, "sbin", "proctord"), "--config", daemon.ini_path],
                                   stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
                                   env={**os.environ, "JOURNAL_STREAM": stream})
        try:
            place.wait_until(lambda: "daemon.start" in path.read_text(), 20, "the first lines")
        finally:
            place.end_process(process)
    text = path.read_text()
    assert bool(re.search(r"^<6>daemon\.start ", text, re.MULTILINE)) == is_journal
    assert bool(re.search(r"^\S+Z info +daemon\.start ", text, re.MULTILINE)) != is_journal


def test_every_line_of_a_probe_names_its_run_job_model_and_worker(make_proctor, simulator):
    """A kind for each way that a call can end, a crash of the worker, and what the database refuses."""
    quick = {"retry": {"base_delay": "20ms", "max_delay": "50ms"}, "pool:probe": {"size": 1}}
    with make_proctor(quick) as daemon:
        script(simulator, ("ratelimit=0.1", {}, 1), ("status=500", {}, 1), ("status=400", {"contains": "Case 1:"}))
        run = start(daemon, 4)
        assert wait_end(daemon, run)["progress"]["failed"] == 1
        script(simulator, ("quota", {}, 1))
        parked = start(daemon, 1)
        daemon.wait_log(r"lane\.parked")
        daemon.call("providers.resume", provider="openai")
        wait_end(daemon, parked)
        script(simulator)
        daemon.rows("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE check_violation USING MESSAGE = 'not these'; END $$")
        daemon.rows("CREATE TRIGGER refuse BEFORE INSERT ON transcripts FOR EACH ROW EXECUTE FUNCTION refuse()")
        refused = start(daemon, 1)
        assert wait_end(daemon, refused)["progress"]["failed"] == 1
        lines = [line for line in daemon.log_lines() if re.search(r"\b(run|job)=", line)]
    kinds = {line.split()[2] for line in lines}
    assert {"probe.failed", "probe.retry", "lane.limited", "lane.parked", "store.row_refused", "run.finished"} <= kinds
    of_probes = [line for line in lines if re.search(r"\bjob=", line)]
    for line in of_probes:
        assert re.search(r"\brun=run_[0-9a-f]+\b", line) and re.search(r"\bjob=\d+\b", line), line
        assert re.search(r"\bmodel=gpt-4\b", line), line
        assert "store." in line or re.search(r"\bworker=probe/1\b", line), line
