"""A program that cannot take over, or does not want to, leaves the daemon as it was, and the reason is told."""

import os
import signal
import subprocess

import pytest

from fake_pool import WORKING
from harness import place
from harness.control import ControlError
from probing import KEYS
from upgrading import Programs, descriptors


@pytest.fixture(scope="module")
def programs():
    made = Programs()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def daemon(make_module_daemon, make_module_fake):
    """One for all that is refused: none of it may change anything."""
    return settled(make_module_daemon(make_module_fake(WORKING).ini(size=2), keys=KEYS))


def settled(daemon):
    """With nothing under way of what a start does."""
    daemon.wait_ready()
    place.wait_until(lambda: daemon.call("health")["environment"]["known"], 20, "the first health check")
    return daemon


def standing(daemon):
    """What no refusal may change."""
    status = daemon.call("status")
    return (daemon.process.pid, daemon.worker_pids(), status["version"], status["state"], status["upgraded"],
            status["clients"], descriptors(daemon.process.pid))


def refused(daemon, path):
    """The reason, after a look that nothing has changed."""
    place.wait_until(lambda: daemon.call("status")["clients"] == 1, 5, "the ends of the connections of before")
    before = standing(daemon)
    done = daemon.proctorctl("upgrade", path)
    assert done.returncode == 5, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    place.wait_until(lambda: standing(daemon) == before, 5, f"all to be as before, {before}")
    return done.stderr.strip()


def not_taken(programs, name):
    """A path of each sort that cannot be run, by name."""
    made = {
        "missing": lambda: programs.path("missing"),
        "relative": lambda: "sbin/proctord",
        "folder": lambda: programs.folder,
        "not executable": lambda: programs.copy_without_mode(),
        "empty": lambda: programs.file(b"", "empty"),
        "garbage": lambda: programs.file(b"\x7fELF but nothing behind it" * 40, "garbage"),
        "foreign": lambda: programs.foreign(),
        "true": lambda: "/bin/true",
        "false": lambda: "/bin/false",
        "chatter": lambda: programs.script("print('it takes over, surely')\nsys.exit(0)\n", "chatter"),
        "liar": lambda: programs.script("print('{\"takesOver\":true}')\nsys.exit(3)\n", "liar"),
        "killed": lambda: programs.script("os.kill(os.getpid(), 9)\n", "killed"),
        "flood": lambda: programs.script("while True:\n    os.write(1, b'x' * 65536)\n", "flood"),
        "older": lambda: programs.script("sys.exit(\"proctord: unrecognized option '--check-upgrade'\")\n", "older"),
    }
    return made[name]()


@pytest.mark.parametrize("name, said", [
    ("missing", "No such file or directory"),
    ("relative", "give the whole path"),
    ("folder", "is no file that could be run"),
    ("not executable", "may not be run by uid"),
    ("empty", "Exec format error"),
    ("garbage", "Exec format error"),
    ("foreign", "Exec format error"),
    ("true", "does not say that it takes over (exit=0)"),
    ("false", "does not say that it takes over (exit=1)"),
    ("chatter", "does not say that it takes over (exit=0)"),
    ("liar", "does not say that it takes over (exit=3)"),
    ("killed", "does not say that it takes over (signal=9)"),
    ("flood", "gave no verdict within 10 s"),
    ("older", "unrecognized option '--check-upgrade'"),
])
def test_a_program_that_does_not_take_over_is_refused(daemon, programs, name, said):
    assert said in refused(daemon, not_taken(programs, name))


def test_one_that_hangs_is_given_up_on(daemon, programs):
    path = programs.script("time.sleep(3600)\n", "hangs")
    assert "gave no verdict within 10 s" in refused(daemon, path)
    place.wait_until(lambda: b"hangs" not in b"".join(map(command_line, daemon.all_pids())), 5, "its end")


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_second_upgrade_meanwhile_is_refused(daemon, programs):
    path = programs.script("time.sleep(3600)\n", "hangs")
    with daemon.connect() as first:
        position = daemon.log_position()
        first.send("upgrade", {"program": path})
        daemon.wait_log(r"daemon\.upgrading .*hangs", since=position)
        with pytest.raises(ControlError, match="an upgrade is under way already"):
            daemon.call("upgrade")
        with pytest.raises(ControlError, match="an upgrade is under way"):
            daemon.call("reload")
        assert daemon.call("status")["state"] == "ready"
        for pid in place.descendants(daemon.process.pid):
            if b"hangs" in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        assert "signal=9" in first.read_answer()["error"]["message"]


def test_state_of_another_format_is_refused(daemon, programs):
    """The script tells the program that it starts that the daemon's state is of format 9."""
    path = programs.script("""
def doctored():
    size = os.fstat(3).st_size
    text = os.pread(3, size, 0)
    name, number, rest = text.split(b" ", 2)
    file = os.memfd_create("state", 0)
    os.write(file, b" ".join([name, b"9", rest]))
    return file
if CHECK:
    os.dup2(doctored(), 3)
go_on()
""", "format")
    assert "its state has format 9, this program takes over format 1" in refused(daemon, path)


@pytest.mark.parametrize("change, said", [
    ("text.replace(b'\"attempt\"', b'\"effort\"').replace(b'\"phase\"', b'\"phrase\"')", "phase is missing"),
    ("text.replace(b'\"phase\":1', b'\"phase\":7')", "phase is 7, out of range"),
    ("text[:len(text) // 2]", "no state of a daemon"),
    ("b''", "cannot be read"),
])
def test_state_that_makes_no_sense_is_refused(daemon, programs, change, said):
    path = programs.script(f"""
if CHECK:
    text = os.pread(3, os.fstat(3).st_size, 0)
    text = {change}
    head, _, rest = text.partition(b"\\n")
    if {"replace" in change}:
        words = head.split(b" ")
        words[2] = str(len(rest) - int(words[3])).encode()
        text = b" ".join(words) + b"\\n" + rest
    file = os.memfd_create("state", 0)
    os.write(file, text)
    os.dup2(file, 3)
go_on()
""", "doctored")
    assert said in refused(daemon, path)


def test_a_file_that_is_replaced_behind_the_check_is_refused(daemon, programs):
    path = programs.script("""
if CHECK:
    path = HERE + "/sbin/replaced"
    os.rename(path, path + ".old")
    with open(path, "w") as file:
        file.write("#!/bin/sh\\nexit 0\\n")
    os.chmod(path, 0o755)
go_on()
""", "replaced")
    os.chmod(os.path.dirname(path), 0o777)
    assert "replaced while it was being checked" in refused(daemon, path)


def test_when_the_system_refuses_at_last_all_goes_on(daemon, programs):
    path = programs.script("""
if CHECK:
    os.chmod(HERE + "/sbin/forbidden", 0o644)
go_on()
""", "forbidden")
    assert "cannot be run: Permission denied" in refused(daemon, path)
    # Also signals, and what was held back.
    position = daemon.log_position()
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_log(r"config\.reloaded", since=position)


def test_refusals_are_recorded(daemon):
    refused(daemon, "/bin/echo")

    def recorded():
        events = daemon.call("events", limit=1000)["items"]
        return [event["data"]["reason"] for event in events if event["kind"] == "daemon.upgrade_refused"
                and event["data"]["program"] == "/bin/echo"]
    reasons = place.wait_until(recorded, 10, "the event")
    assert len(reasons) == 1 and "does not say that it takes over" in reasons[0]


# Configuration


@pytest.fixture
def own_daemon(make_daemon, make_fake):
    return settled(make_daemon(make_fake(WORKING).ini(size=2), keys=KEYS))


@pytest.mark.parametrize("change, said", [
    ({"pool:probe": {"size": 3}}, "[pool:probe] size has changed since it was read"),
    ({"service:new": {"command": "/bin/sleep 9"}}, "[service:new] command has changed since it was read"),
    ({"control": {"mode": "0600"}}, "[control] mode has changed since it was read"),
    ({"daemon": {"no_such_key": "1"}}, "no_such_key"),
    ({"retry": {"max_tries": "many"}}, "[retry] max_tries"),
])
def test_a_configuration_that_is_another_by_now_is_refused(own_daemon, change, said):
    own_daemon.write_ini(change)
    assert said in refused(own_daemon, own_program(own_daemon))


def own_program(daemon):
    return os.path.join(daemon.root, "sbin", "proctord")


def test_a_key_that_is_another_by_now_is_refused_until_the_reload(own_daemon):
    own_daemon.write_keys({**KEYS, "OPENAI_API_KEY": "another"})
    reason = refused(own_daemon, own_program(own_daemon))
    assert "a provider's key has changed since it was read" in reason and "another" not in reason
    before = set(own_daemon.worker_pids())
    own_daemon.call("reload")
    place.wait_until(lambda: not before & set(own_daemon.worker_pids()), 10, "workers with the new key")
    assert own_daemon.call("upgrade")["workers"] == 2


def test_what_is_handed_over_holds_no_secret(own_daemon, programs):
    path = programs.script("""
if CHECK:
    with open(HERE + "/state", "wb") as file:
        file.write(os.pread(3, os.fstat(3).st_size, 0))
go_on()
""", "curious")
    os.chmod(programs.folder, 0o777)
    assert own_daemon.call("upgrade", program=path)["workers"] == 2
    with open(os.path.join(programs.folder, "state"), "rb") as file:
        state = file.read()
    assert state.startswith(b"proctor-handover 1 ")
    assert b'"probe"' in state
    for key in KEYS.values():
        assert key.encode() not in state


# Who may


def test_only_administrators_name_a_program(own_daemon, programs):
    """Without root's rights there is nobody else to try it as: then all are administrators."""
    path = programs.script("go_on()\n", "other")
    os.chmod(own_daemon.socket_path, 0o666)
    words = [os.path.join(own_daemon.root, "bin", "proctorctl"), "--socket", own_daemon.socket_path, "upgrade"]
    peer = {"user": 12345, "group": 12345, "extra_groups": []} if place.is_root() else {}
    done = subprocess.run([*words, path], capture_output=True, text=True, check=False, **peer)
    assert ("needs the role admin" in done.stderr, done.returncode) == ((True, 5) if peer else (False, 0))
    done = subprocess.run(words, capture_output=True, text=True, check=False, **peer)
    assert done.returncode == 0, done.stderr
