"""A server of a test's own, and a daemon on it. A test module has these fixtures by naming this one in pytest_plugins."""

import pytest

from harness.postgres import Postgres
from probing import running
from trouble import KEPT, ini_on


@pytest.fixture
def server():
    """To be ended and started again; a commit that it has acknowledged is kept."""
    with Postgres(settings=KEPT) as own:
        yield own


@pytest.fixture
def on_server(simulator, server):
    """A ready daemon on that server."""
    with running(simulator, ini_on(server.database())) as daemon:
        yield daemon
