"""Fixtures of the tests of sql/: a database with all migrations, and connections to it."""

from urllib.parse import urlsplit

import pytest

from queue_calls import Queue, apply_by_hand, migration_files


@pytest.fixture(scope="session")
def template(postgres):
    """A database with all migrations, which others are copied from."""
    url = postgres.database()
    apply_by_hand(url, migration_files())
    return urlsplit(url).path[1:]


@pytest.fixture
def url(postgres, template):
    return postgres.database(template)


@pytest.fixture
def connect(url):
    """connect() gives one more registered Queue on the test's database."""
    made = []

    def make(state_id=None):
        queue = Queue(url)
        made.append(queue)
        queue.register(state_id)
        return queue

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def queue(connect):
    one = connect()
    yield one
    one.check()
