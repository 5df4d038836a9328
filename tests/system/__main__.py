"""`make check-system`: the package as a stranger meets it, in a container whose process 1 is systemd.

Installs it, starts the service on its embedded Postgres under the full sandbox, runs probes as a member of the
socket's group, reloads, kills, upgrades with conversations under way, removes and purges. Exit status 1 when anything
is wrong; 3 when this machine does not allow a container, and the word `namespaces` then says so.

    python3 tests/system
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from system.container import REPOSITORY, CannotRun, Container, run  # noqa: E402  (needs the path above)

CANNOT_RUN = 3
EXPOSURE = 1.5
MODELS = "gpt-4,claude-3-sonnet,gemini-1.5-pro,grok-2,deepseek-chat,mistral-large"
PROVIDERS = ("openai", "anthropic", "google", "xai", "deepseek", "mistral")
PORT = 18123
SIMULATOR = "/usr/bin/python3 /usr/lib/proctor/workers/simulator"
SCENARIOS = 14       # of the demo
TURNS = 3
STOP_S = 30          # of an idle daemon; systemd would wait for 90
UNIT = "proctord.service"
STATE = "/var/lib/proctor"


def tell(text):
    print(f"check-system: {text}", file=sys.stderr, flush=True)


def packages():
    """Paths of the package, and of the same one with a higher revision."""
    older = run("packaging/deb.sh", cwd=REPOSITORY).strip().splitlines()[-1]
    version = os.path.basename(older).split("_")[1]
    newer = run("packaging/deb.sh", f"{version}.1", cwd=REPOSITORY).strip().splitlines()[-1]
    return [os.path.join(REPOSITORY, path) for path in (older, newer)]


class Machine:
    """The container, with the words that the tests below are made of."""

    def __init__(self, container):
        self.container = container

    def install(self, deb):
        name = os.path.basename(deb)
        run("cp", deb, self.container.path(f"/root/{name}"))
        return self.container.run("dpkg", "-i", f"/root/{name}")

    def ctl(self, *words, user="alice", check=True):
        return self.container.run("proctorctl", *words, user=user, check=check)

    def json(self, *words):
        return json.loads(self.ctl("--json", *words).stdout)

    def show(self, name):
        return self.container.run("systemctl", "show", "-P", name, UNIT).stdout.strip()

    def wait_ready(self):
        self.container.wait(self.is_ready, 60, f"the daemon to be ready\n{self.journal()}")

    def is_ready(self):
        done = self.ctl("--json", "status", check=False)
        return done.returncode == 0 and json.loads(done.stdout)["state"] == "ready"

    def journal(self):
        return self.container.run("journalctl", "--no-pager", "-n", "60", "-u", UNIT, check=False).stdout

    def exists(self, path):
        return os.path.lexists(self.container.path(path))

    def configure(self, more=""):
        """Every provider is the simulator, which the daemon itself keeps running."""
        lanes = "".join(f"""
[provider:{name}]
base_url = http://127.0.0.1:{PORT}/{name}
requests_per_minute = 0
tokens_per_minute = 0
input_tokens_per_minute = 0
output_tokens_per_minute = 0
ramp_up = 0s
concurrency = 6
""" for name in PROVIDERS)
        self.container.write("/etc/proctor/proctor.ini", f"""[daemon]
key_file = /etc/proctor/keys.env

[pool:probe]
size = 2

[service:simulator]
command = {SIMULATOR} --port {PORT} --ready-fd 3 --latency 0.3
ready = fd
{lanes}{more}""")

    def start_run(self):
        return self.json("run", "start", "everyday-dilemmas", "--models", MODELS)["id"]

    def progress(self, run_id):
        return self.json("run", "show", run_id)["progress"]

    def wait_under_way(self, run_id):
        self.container.wait(lambda: 0 < self.progress(run_id)["completed"] < 6 * SCENARIOS, 60, "some answers")

    def await_complete(self, run_id):
        done = self.ctl("run", "watch", run_id)
        progress = self.progress(run_id)
        assert progress["completed"] == progress["total"] == 6 * SCENARIOS, f"{progress}\n{done.stdout}"

    def transcripts(self, run_id):
        """(transcripts, turns in them), as the database has them."""
        sql = f"SELECT count(*), sum(turn_count) FROM transcripts WHERE run_id = '{run_id}'"
        said = self.ctl("psql", "--", "-At", "-c", sql, user="root").stdout
        return tuple(int(word) for word in said.strip().split("|"))


def test_the_unit_is_well_closed(machine):
    path = os.path.join(REPOSITORY, "packaging/systemd", UNIT)
    said = run("systemd-analyze", "security", "--offline=yes", "--no-pager", path)
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", said).group(1))
    tell(f"exposure {exposure}")
    assert exposure <= EXPOSURE, said
    complaints = machine.container.run("systemd-analyze", "verify", "--man=no", UNIT, check=False)
    assert complaints.stderr.strip() == "", complaints.stderr


def test_the_service_runs_once_it_is_installed(machine):
    assert machine.container.run("systemctl", "is-active", UNIT).stdout.strip() == "active"
    assert machine.container.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    modes = machine.container.run("stat", "-c", "%a %U", STATE, "/etc/proctor/keys.env").stdout.split("\n")
    assert modes[:2] == ["700 proctor", "600 proctor"], modes


def test_a_member_of_the_group_runs_probes(machine):
    machine.container.write("/etc/proctor/keys.env", "".join(
        f"{name.upper()}_API_KEY=simulator\n" for name in PROVIDERS), mode=0o600)
    machine.container.run("chown", "proctor:", "/etc/proctor/keys.env")
    machine.configure()
    machine.container.run("systemctl", "restart", UNIT)
    machine.wait_ready()
    machine.ctl("definition", "import", "/usr/share/doc/proctor/examples/demo.yaml")
    run_id = machine.start_run()
    machine.await_complete(run_id)
    assert machine.transcripts(run_id) == (6 * SCENARIOS, 6 * SCENARIOS * TURNS)
    status = machine.show("StatusText")
    assert status.startswith("Running: "), status


def test_a_stranger_is_told_which_group_he_needs(machine):
    done = machine.ctl("status", user="bob", check=False)
    assert done.returncode == 3 and "proctor" in done.stderr and "group" in done.stderr, done.stderr


def test_a_reload_that_is_refused_fails_and_leaves_all_as_it_was(machine):
    pid = machine.show("MainPID")
    machine.configure("\n[retry]\nmax_tries = 5\n")
    machine.container.run("systemctl", "reload", UNIT)
    assert tries(machine) == "5"
    machine.configure("\n[retry]\nmax_tries = many\n")
    assert machine.container.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert tries(machine) == "5"
    machine.configure()
    machine.container.run("systemctl", "reload", UNIT)
    assert machine.show("ActiveState") == "active" and machine.show("MainPID") == pid


def tries(machine):
    return next(item["value"] for item in machine.json("config", "show", "retry")["items"]
                if item["key"] == "max_tries")


def test_a_killed_daemon_is_started_again_and_loses_nothing(machine):
    run_id = machine.start_run()
    machine.wait_under_way(run_id)
    pid = machine.show("MainPID")
    machine.container.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT)
    machine.container.wait(lambda: machine.show("MainPID") not in ("0", pid), 30, "systemd to start it again")
    machine.wait_ready()
    machine.await_complete(run_id)
    assert machine.transcripts(run_id) == (6 * SCENARIOS, 6 * SCENARIOS * TURNS)
    assert machine.show("NRestarts") == "1"


def test_an_upgrade_of_the_package_costs_no_conversation(machine, newer):
    pid, sold = machine.show("MainPID"), calls_sold(machine)
    run_id = machine.start_run()
    machine.wait_under_way(run_id)
    said = machine.install(newer)
    assert machine.show("MainPID") == pid, said.stdout + said.stderr
    assert machine.json("status")["upgraded"]["count"] == 1
    machine.await_complete(run_id)
    assert machine.transcripts(run_id) == (6 * SCENARIOS, 6 * SCENARIOS * TURNS)
    # The simulator has lived on, and counts what it was asked: nothing twice.
    assert calls_sold(machine) - sold == 6 * SCENARIOS * TURNS


def calls_sold(machine):
    """What the simulator has answered since it was started."""
    said = machine.container.run("/usr/bin/python3", "-c", "import sys, urllib.request; "
                                 f"sys.stdout.write(urllib.request.urlopen('http://127.0.0.1:{PORT}/_sim/stats')"
                                 ".read().decode())").stdout
    return sum(provider["asked"] for provider in json.loads(said)["providers"].values())


def test_a_stop_is_clean_and_quick(machine):
    for _ in range(5):
        begun = time.monotonic()
        machine.container.run("systemctl", "stop", UNIT)
        assert machine.show("Result") == "success" and machine.show("ActiveState") == "inactive"
        assert time.monotonic() - begun < STOP_S
        machine.container.run("systemctl", "start", UNIT)
        machine.wait_ready()


def test_what_was_removed_can_come_back(machine, newer):
    machine.container.run("apt-get", "remove", "-y", "-q", "proctor")
    assert not machine.exists("/usr/sbin/proctord")
    assert machine.container.run("systemctl", "is-active", UNIT, check=False).stdout.strip() != "active"
    assert machine.exists(STATE + "/postgres") or os.listdir(machine.container.path(STATE))
    assert machine.exists("/etc/proctor/keys.env") and machine.exists("/etc/proctor/proctor.ini")
    machine.install(newer)
    machine.wait_ready()
    assert len(machine.json("run", "list")["items"]) == 3


def test_a_purge_asks_before_it_deletes_what_was_paid_for(machine, newer):
    machine.container.run("apt-get", "purge", "-y", "-q", "proctor")
    assert os.listdir(machine.container.path(STATE)), "deleted without a yes"
    assert not machine.exists("/etc/proctor")
    machine.install(newer)
    answer = "proctor proctor/purge_state boolean true"
    machine.container.write("/root/answer", answer + "\n")
    machine.container.run("debconf-set-selections", "/root/answer")
    machine.container.run("apt-get", "purge", "-y", "-q", "proctor")
    assert not machine.exists(STATE)
    assert not machine.exists(f"/lib/systemd/system/{UNIT}")


def main(argv=None):
    argparse.ArgumentParser(prog="tests/system", description=__doc__.partition("\n")[0]).parse_args(argv)
    begun = time.monotonic()
    older, newer = packages()
    tell(f"packages are built, after {time.monotonic() - begun:.0f} s")
    try:
        with Container(tell) as container:
            machine = Machine(container)
            for user in ("alice", "bob"):
                container.run("useradd", "--create-home", user)
            tell(f"booted, after {time.monotonic() - begun:.0f} s")
            machine.install(older)
            container.run("usermod", "-aG", "proctor", "alice")
            tests = [test for name, test in globals().items() if name.startswith("test_")]
            for test in tests:
                take(test, machine, newer)
                tell(f"ok      {test.__name__}, after {time.monotonic() - begun:.0f} s")
    except CannotRun as error:
        tell(f"not run: {error}")
        return CANNOT_RUN
    except AssertionError as error:
        tell(f"FAILED  {error}")
        return 1
    tell(f"passed: {len(tests)} tests, {time.monotonic() - begun:.0f} s in all")
    return 0


def take(test, machine, newer):
    words = [machine, newer][:test.__code__.co_argcount]
    try:
        test(*words)
    except AssertionError as error:
        raise AssertionError(f"{test.__name__}: {error}\n{machine.journal()}") from error
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{test.__name__}: {error}: {error.stderr}") from error


if __name__ == "__main__":
    sys.exit(main())
