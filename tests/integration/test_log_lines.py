"""What the daemon writes to stderr: how much of which subsystem, and in which form."""

import json
import os
import re
import signal
import subprocess

import pytest

from fake_pool import WORKING
from harness import place


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
