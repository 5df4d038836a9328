"""server_identity(): by which a daemon sees that it talks to another database, or to another history of the same."""

import os
import re
import uuid

import psycopg2
import pytest

from harness.postgres import Postgres
from queue_calls import Queue, apply_by_hand, migration_files


def identity(queue):
    row, = queue.rows("SELECT * FROM server_identity()")
    return row["database_id"], row["timeline"], row["read_only"]


def test_identity_stays_over_connections(queue, connect):
    database, timeline, read_only = identity(queue)
    assert str(uuid.UUID(database)) == database
    assert (timeline, read_only) == ("00000001", False)
    assert identity(connect()) == (database, timeline, read_only)


def test_every_installation_is_another(postgres):
    ids = set()
    for _ in range(2):
        url = postgres.database()
        apply_by_hand(url, migration_files())
        queue = Queue(url)
        ids.add(identity(queue)[0])
        queue.close()
    assert len(ids) == 2


def test_installation_has_one_row_for_ever(queue):
    with pytest.raises(psycopg2.errors.UniqueViolation):
        queue.rows("INSERT INTO installation DEFAULT VALUES")
    with pytest.raises(psycopg2.errors.CheckViolation):
        queue.rows("INSERT INTO installation (single) VALUES (false)")


def test_server_that_only_reads_is_told(queue):
    queue.rows("SET default_transaction_read_only = on")
    assert identity(queue)[2] is True
    queue.rows("SET default_transaction_read_only = off")


def test_standby_is_told_and_its_promotion_begins_another_timeline():
    with Postgres() as server:
        url = server.database()
        apply_by_hand(url, migration_files())
        queue = Queue(url)
        database, timeline, _ = identity(queue)
        queue.close()
        server.stop()
        # In recovery without a server to follow: what is there can be read, and nothing else.
        with open(os.path.join(server.data, "standby.signal"), "w", encoding="utf-8"):
            server.start()
        queue = Queue(url)
        assert identity(queue) == (database, "", True)
        assert queue.value("SELECT pg_promote(true, 30)") is True
        promoted = identity(queue)
        queue.close()
    assert promoted[0] == database
    assert re.fullmatch("[0-9A-F]{8}", promoted[1]) and promoted[1] > timeline
    assert promoted[2] is False
