"""A server to be ended and started again, and a daemon on it. A test module has these fixtures by naming this one in
pytest_plugins."""

import pytest

from harness.postgres import Postgres
from probing import running
from trouble import KEPT, ini_on


@pytest.fixture(scope="module")
def module_server():
    with Postgres(settings=KEPT) as server:
        yield server


@pytest.fixture
def server(module_server):
    """The module's server; a commit that it has acknowledged is kept. It runs again behind each test."""
    yield module_server
    if module_server.process.poll() is None:
        module_server.thaw()
    else:
        module_server.start()


@pytest.fixture
def own_server():
    """A server whose own files the test may change."""
    with Postgres(settings=KEPT) as server:
        yield server


@pytest.fixture
def on_server(simulator, server):
    """A ready daemon on a database of the module's server."""
    with running(simulator, ini_on(server.database())) as daemon:
        yield daemon
