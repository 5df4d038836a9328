"""Tests whose claim is about time are judged on a machine that ran.

A test marked `timed` that fails while the machine stood still (harness.stalls sees that from outside) has shown
nothing, and is run again once the machine is quiet, RUNS times at most, with a warning that says so. One that fails on
a machine that ran has failed."""

import time

import pytest
from _pytest.runner import runtestprotocol

from harness.place import wait_until
from harness.stalls import LATE_S, StallWatch

RUNS = 3
QUIET_S = 5
WAIT_S = 120

_watch = StallWatch()


def pytest_configure(config):
    config.addinivalue_line("markers", "timed: its claim holds on a machine that lets processes run")


def pytest_sessionstart():
    _watch.start()


def pytest_sessionfinish():
    _watch.stop()


def _wait_quiet():
    begun = time.monotonic()

    def quiet():
        now = time.monotonic()
        return now - begun >= QUIET_S and not _watch.between(now - QUIET_S, now)

    wait_until(quiet, WAIT_S, f"{QUIET_S} s in which the machine never stood still for {LATE_S} s")


def _judge(item, nextitem):
    begun = time.monotonic()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    failed = any(report.failed for report in reports)
    return reports, _watch.between(begun, time.monotonic()) if failed else []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.get_closest_marker("timed") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(RUNS)):
        reports, stalls = _judge(item, nextitem)
        if not stalls or left == 0:
            break
        item.warn(pytest.PytestWarning(f"failed while the machine stood still for {max(stalls):.2f} s; run again"))
        _wait_quiet()
        item.stash = pytest.Stash()
        item.funcargs = {}
        item._initrequest()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
