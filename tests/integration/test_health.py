"""Health: of the workers by ping and pong, of their Python environment by a check at start and ever again."""

import os

import pytest

from fake_pool import WORKING
from harness import place
from harness.proctor import KEY_VARIABLES

# Stands before the real pycurl, which it is as long as the file `broken` is not there.
SHIM = """
import os, sys
folder = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(folder, "broken")
if os.path.exists(path):
    with open(path) as file:
        exec(file.read())
sys.path.remove(folder)
del sys.modules["pycurl"]
import pycurl
"""
MISSING = "raise ImportError('No module named frobnicate')"


class Environment:
    """A Python environment for the health check that can be broken and mended."""

    def __init__(self):
        self.folder = place.make_folder("env")
        with open(f"{self.folder}/pycurl.py", "w", encoding="ascii") as file:
            file.write(SHIM)
        os.chmod(f"{self.folder}/pycurl.py", 0o644)
        self.variable = f"PYTHONPATH={self.folder}"

    def break_it(self, code=MISSING):
        with open(f"{self.folder}/broken.new", "w", encoding="ascii") as file:
            file.write(code)
        os.chmod(f"{self.folder}/broken.new", 0o644)
        os.rename(f"{self.folder}/broken.new", f"{self.folder}/broken")

    def mend(self):
        os.unlink(f"{self.folder}/broken")


@pytest.fixture
def environment():
    made = Environment()
    yield made
    place.remove_folder(made.folder)


def checked(daemon, healthy):
    """Waits for a verdict of that kind; returns what status tells of the environment."""
    def found():
        told = daemon.call("status")["environment"]
        return told if told["known"] and told["healthy"] is healthy else None
    return place.wait_until(found, 10, f"an environment that is healthy: {healthy}")


def test_the_environment_is_checked_at_start(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini(), keys={"OPENAI_API_KEY": "sk-1", "XAI_API_KEY": "xai-1"}).wait_ready()
    told = checked(daemon, True)
    assert told["reason"] == ""
    assert told["report"]["success"] is True
    assert told["report"]["packages"]["pycurl"]
    assert told["report"]["python_version"].startswith("3.")
    assert told["report"]["api_keys"] == {"openai": True, "anthropic": False, "google": False, "xai": True,
                                          "deepseek": False, "mistral": False}
    health = daemon.call("health")
    assert health["healthy"] is True
    assert health["environment"]["report"] == told["report"]


def test_no_key_at_all_is_a_warning_and_no_failure(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    told = checked(daemon, True)
    assert len(told["report"]["warnings"]) == 1
    assert all(variable in told["report"]["warnings"][0] for variable in KEY_VARIABLES)


def test_the_check_is_repeated_every_health_interval(make_daemon, make_fake, environment):
    daemon = make_daemon(make_fake(WORKING).ini(health_interval="200ms", environment=environment.variable)).wait_ready()
    checked(daemon, True)
    place.wait_until(lambda: daemon.call("status")["state"] == "ready", 5, "the state ready")

    environment.break_it()
    told = checked(daemon, False)
    assert told["reason"] == ("pycurl is missing (No module named frobnicate; it calls the providers): "
                              "apt-get install python3-pycurl")
    status = daemon.call("status")
    assert status["state"] == "degraded"
    assert f"the Python environment is not healthy: {told['reason']}" in status["notes"]
    assert daemon.call("health")["healthy"] is False
    daemon.wait_log('health.bad reason="pycurl is missing')
    event = daemon.wait_event("health.bad")
    assert event["level"] == "error"

    environment.mend()
    checked(daemon, True)
    place.wait_until(lambda: daemon.call("status")["state"] == "ready", 5, "the state ready")
    assert daemon.workers()[0]["restarts"] == 0, "the check of the environment restarts nobody"


def test_health_now_checks_before_it_answers(make_daemon, make_fake, environment):
    daemon = make_daemon(make_fake(WORKING).ini(environment=environment.variable)).wait_ready()
    checked(daemon, True)
    environment.break_it()
    assert daemon.call("health")["environment"]["healthy"] is True, "the last verdict"
    assert daemon.call("health", now=True)["environment"]["healthy"] is False
    assert daemon.call("health")["environment"]["healthy"] is False


def test_a_check_that_talks_nonsense_is_a_bad_verdict(make_daemon, make_fake, environment):
    environment.break_it("print('what?'); sys.stderr.write('oh dear'); os._exit(3)")
    daemon = make_daemon(make_fake(WORKING).ini(environment=environment.variable)).wait_ready()
    told = checked(daemon, False)
    assert told["reason"] == "the health check gave no JSON object (exit=3): oh dear"


def test_a_check_whose_text_is_not_utf8_is_a_bad_verdict(make_daemon, make_fake, environment):
    environment.break_it("os.write(2, b'\\xff\\xfe bytes'); os._exit(3)")
    daemon = make_daemon(make_fake(WORKING).ini(environment=environment.variable)).wait_ready()
    assert checked(daemon, False)["reason"] == "the health check gave no JSON object (exit=3): ?? bytes"


def test_who_asks_for_a_check_and_leaves_disturbs_nobody(make_daemon, make_fake, environment):
    environment.break_it("import time; time.sleep(0.5)")
    daemon = make_daemon(make_fake(WORKING).ini(environment=environment.variable)).wait_ready()
    for _ in range(5):
        with daemon.connect() as control:
            control.send("health", {"now": True})
    assert daemon.call("health", now=True)["environment"]["healthy"] is True


def test_require_healthy_refuses_to_start_with_the_reason(make_daemon, make_fake, environment):
    environment.break_it()
    fake = make_fake(WORKING)
    daemon = make_daemon({**fake.ini(require_healthy=True, environment=environment.variable),
                          "database": {"url": "embedded"}}, start=False)
    assert daemon.spawn().wait_exit() == 78
    refusal = [line for line in daemon.log_lines() if "daemon.refused" in line]
    assert len(refusal) == 1
    assert 'reason="pycurl is missing (No module named frobnicate' in refusal[0]
    assert 'rule="[pool:probe] require_healthy = yes"' in refusal[0]
    assert fake.journal("born") == [], "a worker was started all the same"
    assert not os.path.exists(daemon.socket_path)
    assert not os.path.exists(f"{daemon.folder}/state/postgres"), "a database was made for nothing"


def test_require_healthy_starts_what_is_healthy(make_daemon, make_fake, environment):
    daemon = make_daemon(make_fake(WORKING).ini(require_healthy=True, environment=environment.variable)).wait_ready()
    assert daemon.call("status")["environment"]["healthy"] is True


def test_require_healthy_is_about_the_start_only(make_daemon, make_fake, environment):
    daemon = make_daemon(make_fake(WORKING).ini(require_healthy=True, health_interval="200ms",
                                                environment=environment.variable)).wait_ready()
    environment.break_it()
    checked(daemon, False)
    assert daemon.workers()[0]["state"] == "ready"


def test_without_require_healthy_an_unhealthy_environment_is_said_and_started(make_daemon, make_fake, environment):
    environment.break_it()
    daemon = make_daemon(make_fake(WORKING).ini(environment=environment.variable)).wait_ready()
    checked(daemon, False)
    assert daemon.call("status")["state"] == "degraded"


def test_workers_are_pinged_and_tell_their_memory(make_daemon):
    daemon = make_daemon({"pool:probe": {"size": 2, "ping_interval": "100ms"}}).wait_ready()

    def pinged():
        workers = daemon.workers()
        return workers if all(worker["lastPongMs"] is not None for worker in workers) else None

    for worker in place.wait_until(pinged, 10, "pongs of all workers"):
        assert worker["late"] is False
        with open(f"/proc/{worker['pid']}/status", encoding="ascii") as status:
            resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        assert abs(worker["rssKb"] - resident_kb) < 8192
