"""Daemons that ask the simulator. A test module has these fixtures by naming this one in pytest_plugins."""

import pytest

from harness.proctor import merge_ini
from probing import renew, running


@pytest.fixture(scope="module")
def module_daemon(module_simulator):
    """A daemon for all tests of a module, with a Postgres of its own."""
    with running(module_simulator) as daemon:
        yield daemon


@pytest.fixture
def proctor(module_daemon, simulator):
    """The module's daemon, all providers open, whatever the test before it made of them."""
    for found in module_daemon.call("providers.list")["items"]:
        module_daemon.call("providers.resume", provider=found["provider"])
    yield module_daemon
    renew(simulator)


@pytest.fixture
def make_proctor(simulator, postgres):
    """make_proctor(ini, …) is a context with a daemon of the test's own, on a database of the shared server."""
    def make(ini=None, **options):
        return running(simulator, merge_ini({"database": {"url": postgres.database()}}, ini), **options)
    yield make
    renew(simulator)
