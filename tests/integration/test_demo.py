"""`make demo`, as a newcomer sees it. The script is run without make's look for packages."""

import glob
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest
import yaml

from harness import place
from harness.proctor import KEY_VARIABLES

MODELS = ("gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat", "mistral-large")
DEADLINE = 60


def environment(**more):
    return {**{name: value for name, value in os.environ.items() if name not in KEY_VARIABLES}, **more}


def left_behind():
    """Folders of demos, and command lines of processes that run from one."""
    found = set(glob.glob("/var/tmp/proctor-demo-*"))
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "/var/tmp/proctor-demo-" in line:
            found.add(line)
    return found


@pytest.fixture
def nothing_left():
    """Fails the test that leaves a folder or a process of a demo."""
    before = left_behind()
    yield
    place.wait_until(lambda: left_behind() <= before, 10, "the demo's folders and processes to go")


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository with its build, in a folder that only its owner can read."""
    target = tmp_path / "clone"
    target.mkdir(mode=0o700)
    for name in ("Makefile", "build", "conf", "packaging", "sql", "supervisor", "workers"):
        source = os.path.join(place.REPOSITORY, name)
        if os.path.isdir(source):
            shutil.copytree(source, target / name, symlinks=True)
        else:
            shutil.copy2(source, target / name)
    return target


def run_demo(folder, **arguments):
    return subprocess.run([os.path.join(folder, "packaging/demo.sh")], capture_output=True, text=True,
                          timeout=DEADLINE, check=False, stdin=subprocess.DEVNULL, **arguments)


def test_demo_shows_runs_of_six_models_and_says_that_they_are_simulated(clone, nothing_left):
    done = run_demo(clone, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("Running it over six models")
    for part in (before, after):
        assert re.search(r"SIMULATED +openai anthropic google xai deepseek mistral", part)
    for model in MODELS:
        assert re.search(rf"^{re.escape(model)} .* 14 +14 +0 ", after, re.MULTILINE), after
    assert re.search(r"^Turn 3 ", after, re.MULTILINE)
    assert "make demo KEEP=1" in after


def test_demo_uses_a_key_of_the_environment_for_real_and_never_shows_it(clone, nothing_left):
    # The way to the real provider is closed, so that no call leaves this machine.
    done = run_demo(clone, env=environment(OPENAI_API_KEY="sk-demo-secret", https_proxy="http://127.0.0.1:9"))
    assert "REAL       openai" in done.stdout
    assert re.search(r"SIMULATED +anthropic google xai deepseek mistral", done.stdout)
    assert "sk-demo-secret" not in done.stdout + done.stderr


def test_demo_interrupted_in_mid_run_leaves_nothing(clone, nothing_left):
    # So many scenarios that the run cannot be over before the signal comes.
    definition = clone / "conf/demo.yaml"
    content = yaml.safe_load(definition.read_text())
    content["scenarios"] = {f"case_{number}": {"prompt": f"Case {number}"} for number in range(2000)}
    definition.write_text(yaml.safe_dump(content))
    # As at a terminal: a shell's job in the background would hand down that the signal is ignored.
    demo = subprocess.Popen(["env", "--default-signal=INT", clone / "packaging/demo.sh"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env=environment(), stdin=subprocess.DEVNULL,
                            start_new_session=True)
    watchdog = threading.Timer(DEADLINE, demo.kill)
    watchdog.start()
    for line in demo.stdout:
        if "Running it over six models" in line:
            os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait() == 130
    watchdog.cancel()


def test_demo_kept_answers_until_it_is_told_to_stop(clone, nothing_left):
    done = run_demo(clone, env=environment(KEEP="1"))
    assert done.returncode == 0, done.stdout + done.stderr
    stop = re.search(r"^ +\S+proctorctl --socket .* shutdown && rm -rf (\S+)$", done.stdout, re.MULTILINE)
    folder = stop.group(1)
    socket = os.path.join(folder, "run/proctor.sock")
    client = os.path.join(folder, "install/usr/bin/proctorctl")
    listed = subprocess.run([client, "--socket", socket, "run", "list"], capture_output=True, text=True,
                            check=True)
    assert "COMPLETED" in listed.stdout
    subprocess.run([client, "--socket", socket, "shutdown"], check=True, capture_output=True)
    place.wait_until(lambda: not any(folder in line for line in left_behind() - {folder}), 30,
                     "all of its processes to end")
    shutil.rmtree(folder)


def test_demo_that_cannot_start_shows_the_daemons_reason(clone, nothing_left):
    (clone / "conf/models.ini").write_text("[prefixes\n")
    done = run_demo(clone, env=environment())
    assert done.returncode == 1
    assert "proctord ended at its start" in done.stderr
    assert "models.ini:1" in done.stderr


def test_demo_works_for_an_ordinary_user(clone, nothing_left):
    home = place.make_folder("clone")
    try:
        shutil.copytree(clone, os.path.join(home, "clone"), symlinks=True)
        subprocess.run(["chown", "-R", place.run_user(), home], check=True)
        done = run_demo(os.path.join(home, "clone"), env=environment(HOME=home), cwd=home,
                        **place.as_run_user())
    finally:
        place.remove_folder(home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "COMPLETED" in done.stdout
