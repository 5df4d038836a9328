"""What the harness takes a stalled machine to excuse: a claim about time, and only while it stood still."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

CONFTEST = """
import sys
sys.path[:0] = {paths!r}
import stalled_machine
from stalled_machine import pytest_configure, pytest_runtest_protocol, pytest_sessionfinish, pytest_sessionstart
stalled_machine.QUIET_S = 0.3
"""

# The watch is what sees a stall, so one is made by stopping the watch alone.
TESTS = """
import os, signal, time
import pytest
import stalled_machine
from harness.place import wait_until

runs = []

@pytest.fixture
def whole():
    runs.append("set up")
    yield
    runs.append("torn down")

def stand_still():
    process, begun = stalled_machine._watch._process, time.monotonic()
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: stalled_machine._watch.between(begun, time.monotonic()), 10)

{timed}
def test_it(whole):
    if len(runs) < 2 * {fails}:
        {first}
        pytest.fail("the claim is false")

def test_how_often():
    assert runs == ["set up", "torn down"] * {expected}
"""


@pytest.fixture
def judged(tmp_path):
    """judged(timed, stalls, fails, expected): what pytest tells of a test whose first `fails` runs fail, and of a
    second one: that the first was run `expected` times, each time with its fixture made anew."""
    def judge(timed, stalls, fails, expected):
        (tmp_path / "conftest.py").write_text(CONFTEST.format(paths=[str(HERE), str(HERE.parent)]))
        (tmp_path / "test_claim.py").write_text(TESTS.format(
            timed="@pytest.mark.timed" if timed else "", first="stand_still()" if stalls else "pass", fails=fails,
            expected=expected))
        return subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
                              cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False).stdout
    return judge


def test_a_claim_about_time_is_judged_again_when_the_machine_stood_still(judged):
    told = judged(timed=True, stalls=True, fails=1, expected=2)
    assert "2 passed" in told and "the machine stood still for 0." in told, told


def test_it_fails_at_once_when_the_machine_ran(judged):
    told = judged(timed=True, stalls=False, fails=1, expected=1)
    assert "1 failed, 1 passed" in told, told


def test_any_other_claim_fails_at_once(judged):
    told = judged(timed=False, stalls=True, fails=1, expected=1)
    assert "1 failed, 1 passed" in told, told


def test_one_that_never_holds_fails_in_the_end(judged):
    told = judged(timed=True, stalls=True, fails=99, expected=3)
    assert "1 failed, 1 passed" in told, told
