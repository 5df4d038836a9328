"""A server that another takes over from, and a server behind a pooler."""

import signal

import pytest

from chaos.servers import Pair
from harness import place
from pooler import Pooler
from probing import define, hold, running, show, sql, start, turns_of, wait_asked, wait_end, wait_progress
from trouble import (bought, check_all, check_settled, completed, database, ini_on, wait_away, wait_note, wait_sent,
                     wait_spooled)

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]


# a standby that takes over


@pytest.fixture
def pair():
    """A primary and its asynchronous standby."""
    servers = Pair()
    yield servers
    servers.remove()


def wait_caught_up(pair):
    """Until the standby has all that the primary has committed so far."""
    lsn = pair.primary.execute("SELECT pg_current_wal_lsn()")
    place.wait_until(lambda: pair.standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", 10,
                     "the standby to have what the primary has")


def test_a_standby_that_lags_and_is_promoted_gets_all_that_it_has_lost(pair, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    with running(simulator, ini_on(pair.url)) as daemon:
        run = start(daemon, 150, followups=1)
        wait_progress(daemon, run, completed=20)
        wait_caught_up(pair)
        pair.standby.part()
        lost = wait_progress(daemon, run, completed=completed(daemon, run) + 30)["completed"]
        pair.primary.stop(signal.SIGKILL)
        wait_away(daemon)
        # Both hosts are named: the one is gone, the other takes no writes yet.
        wait_note(daemon, "the database is not ready: ")
        assert not database(daemon)["ready"]
        pair.standby.promote()
        daemon.wait_log(r"spool\.timeline was=00000001 now=00000002", 20)
        daemon.wait_log(r"store\.replayed", 20)
        check_all(daemon, simulator, run, 150, turns=2)
        assert lost >= 50


def test_a_run_that_the_standby_never_got_leaves_nothing_in_another(pair, simulator):
    """The standby gives its ids to others: an answer to the old run's question is none to the new one's."""
    with running(simulator, ini_on(pair.url)) as daemon:
        hold(simulator)
        definition = define(daemon, [f"A riddle, number {number}" for number in range(80)], followups=1, name="old")
        check = define(daemon, [f"A sum, number {number}" for number in range(80)], followups=1, name="new")
        wait_caught_up(pair)
        pair.standby.part()
        daemon.call("run.start", definition=definition, models=["gpt-4"])
        wait_asked(simulator, 20)
        pair.primary.stop(signal.SIGKILL)
        wait_away(daemon)
        pair.standby.promote()
        place.wait_until(lambda: database(daemon)["ready"], 20, "the new server")
        run = daemon.call("run.start", definition=check, models=["gpt-4"])["id"]
        hold(simulator, False)
        shown = wait_end(daemon, run)
        assert shown["progress"] == {"total": 80, "completed": 80, "failed": 0, "cancelled": 0}
        prompts = [turns[0]["probePrompt"] for _, turns in turns_of(daemon, run)]
        assert sorted(prompts) == sorted(f"A sum, number {number}" for number in range(80))
        calls = bought(simulator)
        assert len(calls) == len(set(calls))
        check_settled(daemon)


# behind a pooler


@pytest.fixture
def pooler(server):
    with Pooler(server) as own:
        yield own


def test_a_run_completes_through_a_pooler_in_transaction_mode(server, pooler, simulator):
    with running(simulator, ini_on(pooler.url(server.database()))) as daemon:
        run = start(daemon, 60, followups=1)
        check_all(daemon, simulator, run, 60, turns=2)
        assert sql(daemon, "SELECT count(*) FROM pg_prepared_statements") == [(0,)]
        assert daemon.ctl("run", "show", run)["status"] == "COMPLETED"


def test_a_pooler_that_is_killed_in_the_middle_loses_nothing(server, pooler, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    with running(simulator, ini_on(pooler.url(server.database()))) as daemon:
        run = start(daemon, 100, followups=1)
        wait_progress(daemon, run, completed=10)
        pooler.kill()
        wait_away(daemon)
        wait_note(daemon, pooler.folder)
        place.wait_until(lambda: daemon.call("status")["probes"]["held"] == 0, 10, "the held probes to end")
        wait_spooled(daemon, depth=1)
        pooler.start()
        check_all(daemon, simulator, run, 100, turns=2)


def test_a_server_that_is_gone_behind_its_pooler_is_said(server, pooler, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    with running(simulator, ini_on(pooler.url(server.database()))) as daemon:
        run = start(daemon, 60, followups=1)
        wait_progress(daemon, run, completed=5)
        server.stop(signal.SIGKILL)
        wait_away(daemon)
        wait_note(daemon, "the database is not ready: ")
        server.start()
        check_all(daemon, simulator, run, 60, turns=2)
        assert show(daemon, run)["status"] == "COMPLETED"
        wait_sent(daemon)
