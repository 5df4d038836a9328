"""Who may what on the control socket, and what leaves no trace: core files, shells."""

import os
import re
import subprocess

import pytest

from fake_pool import WORKING
from harness import place

STRANGER = 12345
SOURCES = os.path.join(os.path.dirname(__file__), "..", "..")


@pytest.fixture
def ask(make_daemon, make_fake):
    """Runs a command as a stranger, with groups, under the given [control]."""
    if not place.is_root():
        pytest.fail("needs root, to be somebody else")
    daemon = make_daemon({**make_fake(WORKING).ini(), "control": {"operate": "", "mode": "0666"}}).wait_ready()

    def run(*words, groups=()):
        done = subprocess.run([os.path.join(daemon.root, "bin", "proctorctl"), "--socket", daemon.socket_path, *words],
                              capture_output=True, text=True, check=False, user=STRANGER, group=STRANGER,
                              extra_groups=list(groups))
        return done.returncode, done.stderr

    run.daemon = daemon
    return run


def allow(daemon, **access):
    daemon.sections["control"].update(access)
    daemon.write_ini()
    assert daemon.call("reload")["needsRestart"] == []


def test_each_role_opens_its_commands_and_no_more(ask):
    commands = {"read": ["status"], "operate": ["log-level", "debug"], "admin": ["shutdown"]}
    allowed = {"none": (), "read": ("read",), "operate": ("read", "operate"), "admin": ("read", "operate", "admin")}
    for role, access in (("none", {}), ("read", {"read": f"user:{STRANGER}"}),
                         ("operate", {"read": "", "operate": "group:23456"}),
                         ("admin", {"admin": f"user:{STRANGER}"})):
        allow(ask.daemon, **access)
        for needed, words in commands.items():
            status, error = ask(*words, groups=[23456])
            if needed in allowed[role]:
                assert status == 0, error
            else:
                assert status == 5
                assert f"needs the role {needed} (you are uid {STRANGER}, with the role {role})" in error
                assert f"[control] {needed}" in error


@pytest.mark.parametrize("word, told", [("user:nobody-of-this-name", "there is no user"),
                                        ("group:none-of-this-name", "there is no group"),
                                        ("alice", "is not user:NAME, group:NAME or any")],
                         ids=["user", "group", "form"])
def test_a_role_for_nobody_is_refused_by_name(make_daemon, make_fake, word, told):
    daemon = make_daemon({**make_fake(WORKING).ini(), "control": {"admin": word}}, start=False)
    assert daemon.spawn().wait_exit() == 78
    assert "[control] admin: " in daemon.log()
    assert told in daemon.log()


def test_daemon_and_children_leave_no_core(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    for pid in daemon.all_pids():
        with open(f"/proc/{pid}/limits", encoding="ascii") as limits:
            soft, hard = re.search(r"Max core file size\s+(\S+)\s+(\S+)", limits.read()).groups()
        assert {soft, hard} <= {"0", "1"}


def test_no_shell_is_run():
    shell = r"\"/bin/(ba)?sh\""
    in_c = re.compile(r"\b(system|popen|wordexp)\(|" + shell)
    in_python = re.compile(r"shell\s*=\s*True|os\.(system|popen)\b|" + shell)
    looked = 0
    for folder, ending, forbidden in (("supervisor", ".c", in_c), ("workers", ".py", in_python)):
        for where, _, names in os.walk(os.path.join(SOURCES, folder)):
            for name in (name for name in names if name.endswith(ending)):
                with open(os.path.join(where, name), encoding="utf-8") as source:
                    found = forbidden.search(source.read())
                assert not found, f"{where}/{name}: {found.group()}"
                looked += 1
    assert looked > 200


def test_every_event_belongs_to_a_subsystem_that_has_a_level():
    logged = re.compile(r'\blog_(?:error|warning|info|debug|write)\(\s*(?:LOG_LEVEL_\w+,\s*)?"([a-z_]+)')
    base = os.path.join(SOURCES, "supervisor", "base", "log_level.c")
    with open(base, encoding="utf-8") as source:
        table = re.search(r"log_subsystems\[\] = \{(.*?)\}", source.read(), re.S).group(1)
    known, used = set(re.findall(r'"(\w+)"', table)), set()
    for where, _, names in os.walk(os.path.join(SOURCES, "supervisor")):
        for name in (name for name in names if name.endswith(".c")):
            with open(os.path.join(where, name), encoding="utf-8") as source:
                used.update(logged.findall(source.read()))
    assert len(used) > 20
    assert used <= known, f"without a place in log_subsystems[]: {sorted(used - known)}"
