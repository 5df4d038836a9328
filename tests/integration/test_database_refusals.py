"""A Postgres that is there and does not do what it is asked: frozen, read-only, full, slow, choosy. Nothing is lost by
it, the daemon says what is wrong, and goes on by itself."""

import contextlib

import psycopg2
import pytest

from harness import place
from probing import failures, hold, renew, running, script, sql, start, wait_asked, wait_end, wait_progress
from trouble import (allow, bought, check_all, check_settled, database, ini_on, refuse, spool, wait_away, wait_note,
                     wait_spooled, wait_well)

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]

# A heartbeat waits so long for its answer, after the time between two; and there is a busy machine.
SILENCE_S = 5 + 5 + 5


@pytest.fixture(scope="module")
def module_daemon(module_simulator, postgres):
    with running(module_simulator, ini_on(postgres.database())) as daemon:
        yield daemon


@pytest.fixture
def choosy(module_daemon, simulator):
    """The module's daemon; what its database is taught to refuse is forgotten behind the test."""
    yield module_daemon
    allow(module_daemon)
    renew(simulator)


# frozen


def test_a_frozen_server_is_noticed_and_work_goes_on_from_the_spool(on_server, server, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.1"}})
    run = start(on_server, 100, followups=1)
    wait_progress(on_server, run, completed=5)
    server.freeze()
    try:
        wait_away(on_server, SILENCE_S)
        assert "has not answered the heartbeat" in wait_note(on_server, "the database is not ready: ")
        assert on_server.call("status")["loopLagMs"] < 1000
        place.wait_until(lambda: on_server.call("status")["probes"]["held"] == 0, 10, "the held probes to end")
        assert spool(on_server)["depth"] > 0 and "heartbeat" in on_server.ctl("spool")["waitsFor"]
    finally:
        server.thaw()
    check_all(on_server, simulator, run, 100, turns=2)


def test_a_server_that_is_frozen_when_the_daemon_starts_is_said_and_waited_for(simulator, server):
    url = server.database() + "&connect_timeout=2"
    server.freeze()
    try:
        with running(simulator, ini_on(url), ready=False) as daemon:
            place.wait_until(lambda: "no answer within 2000 ms" in database(daemon)["why"], 10, "the reason")
            assert "no answer within 2000 ms" in wait_note(daemon, "the database is not ready: ")
            server.thaw()
            daemon.wait_ready()
            run = start(daemon, 2)
            check_all(daemon, simulator, run, 2)
    finally:
        server.thaw()


# read-only


def test_a_server_that_becomes_read_only_is_said_and_waited_for(on_server, server, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    run = start(on_server, 100, followups=1)
    wait_progress(on_server, run, completed=5)
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    try:
        wait_away(on_server)
        wait_note(on_server, "the server takes no writes")
        place.wait_until(lambda: on_server.call("status")["probes"]["held"] == 0, 10, "the held probes to end")
        assert spool(on_server)["depth"] > 0
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.execute("SELECT pg_reload_conf()")
    check_all(on_server, simulator, run, 100, turns=2)


# no room for a connection


def take_all_connections(server):
    """Connections, until the server has no more of them."""
    taken = []
    with contextlib.suppress(psycopg2.OperationalError):
        while True:
            taken.append(psycopg2.connect(server.url("postgres")))
    return taken


def test_a_server_without_a_free_connection_is_said_and_waited_for(on_server, server, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.02"}})
    run = start(on_server, 60, followups=1)
    wait_progress(on_server, run, completed=5)
    taken = take_all_connections(server)
    try:
        with taken[0] as one, one.cursor() as cursor:
            cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                           "WHERE application_name LIKE 'proctord %'")
            assert cursor.fetchone() == (3,)
        taken += take_all_connections(server)
        wait_note(on_server, "too many clients")
    finally:
        for connection in taken:
            connection.close()
    check_all(on_server, simulator, run, 60, turns=2)


# statements that fail for a while, or take their time


def test_refusals_that_pass_are_said_and_cost_nothing(choosy, simulator):
    # A sequence counts what is rolled back, too.
    sql(choosy, "CREATE SEQUENCE moods")
    mood = "(ARRAY['40P01', '40001', '55P03', '53100', '57014'])[1 + nextval('moods') % 5]"
    hold(simulator)
    run = start(choosy, 30, followups=1)
    wait_asked(simulator, 20)
    for table in ("outcomes", "checkpoints"):
        refuse(choosy, table, mood, "the weather is bad")
    hold(simulator, False)
    note = wait_note(choosy, "the database refuses results for now, and gets them again: ")
    assert "the weather is bad (SQLSTATE " in note
    assert "the weather is bad" in choosy.ctl("spool")["waitsFor"]
    place.wait_until(lambda: sql(choosy, "SELECT last_value FROM moods") >= [(5,)], 15, "each refusal to be met")
    wait_spooled(choosy, depth=60)
    allow(choosy)
    check_all(choosy, simulator, run, 30, turns=2)


def test_a_claim_that_is_refused_is_said_and_tried_again(choosy, simulator):
    refuse(choosy, "leases", "'55P03'", "closed for today")
    run = start(choosy, 10)
    assert "closed for today (SQLSTATE 55P03)" in wait_note(choosy, "the database hands out no work: ")
    assert not bought(simulator)
    allow(choosy)
    check_all(choosy, simulator, run, 10)


def test_a_table_that_somebody_locks_delays_results_and_is_said(choosy, simulator):
    hold(simulator)
    run = start(choosy, 20)
    wait_asked(simulator, 20)
    with contextlib.closing(psycopg2.connect(database(choosy)["url"])) as other:
        other.cursor().execute("LOCK TABLE outcomes IN EXCLUSIVE MODE")
        hold(simulator, False)
        wait_spooled(choosy, depth=20)
        wait_note(choosy, "the database has not answered on results for ", 15)
        assert database(choosy)["ready"], "the server lives: its heartbeat says so"
        assert "has not answered on results" in choosy.ctl("spool")["waitsFor"]
    check_all(choosy, simulator, run, 20)


def test_a_batch_that_takes_longer_than_the_statement_timeout_goes_in_halves(simulator, postgres):
    with running(simulator, ini_on(postgres.database())) as daemon:
        sql(daemon, "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END $$")
        sql(daemon, "CREATE TRIGGER dawdle BEFORE INSERT ON transcripts FOR EACH ROW EXECUTE FUNCTION dawdle()")
        hold(simulator)
        run = start(daemon, 20)
        wait_asked(simulator, 20)
        sql(daemon, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = %L', current_database(), "
                    "'600ms'); END $$")
        sql(daemon, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'proctord queue' AND datname = current_database()")
        daemon.wait_log(r"store\.down")
        wait_well(daemon)
        hold(simulator, False)
        daemon.wait_log(r"store\.finish_refused sqlstate=57014", 15)
        check_all(daemon, simulator, run, 20)


# rows that the server does not take


@pytest.mark.parametrize("turns", [1, 2])
def test_rows_that_the_database_refuses_fail_alone(choosy, simulator, turns):
    refused = {3: "22023", 7: "23514", 11: "54000", 15: "P0001"}
    prompt = "NEW.content->'turns'->0->>'probePrompt'"
    cases = (f"WHEN {prompt} LIKE 'Case {case}:%' THEN '{code}'" for case, code in refused.items())
    state = f"CASE {' '.join(cases)} END"
    refuse(choosy, "transcripts", state, "not one of these", f"({state}) IS NOT NULL")
    hold(simulator)
    run = start(choosy, 20, followups=turns - 1)
    wait_asked(simulator, 20)
    hold(simulator, False)
    shown = wait_end(choosy, run)
    assert shown["progress"] == {"total": 20, "completed": 16, "failed": 4, "cancelled": 0}
    errors = failures(choosy, run)
    assert {error["code"] for error in errors} == {"INVALID_RESPONSE"}
    assert sorted(error["message"][-40:] for error in errors) == sorted(
        f"answer: not one of these (SQLSTATE {code})"[-40:] for code in refused.values())
    choosy.wait_log(r"store\.row_refused .*sqlstate=23514 why=\"not one of these\"")
    calls = bought(simulator)
    assert len(calls) == len(set(calls)) == 20 * turns
    check_settled(choosy)


def test_a_turn_that_the_database_refuses_to_keep_does_not_lose_its_conversation(choosy, simulator):
    refuse(choosy, "checkpoints", "'23514'", "no third case", "NEW.body->>'probePrompt' LIKE 'Case 3:%'")
    script(simulator, ("latency=0.5", {"turn": 2}))
    run = start(choosy, 10, followups=1)
    choosy.wait_log(r"store\.row_refused .*no third case")
    check_all(choosy, simulator, run, 10, turns=2)


def test_a_constraint_of_the_owners_fails_its_row_alone(choosy):
    sql(choosy, "ALTER TABLE transcripts ADD CONSTRAINT no_seven CHECK (content->'turns'->0->>'probePrompt' "
                "NOT LIKE 'Case 7:%') NOT VALID")
    run = start(choosy, 30)
    shown = wait_end(choosy, run)
    sql(choosy, "ALTER TABLE transcripts DROP CONSTRAINT no_seven")
    assert shown["progress"] == {"total": 30, "completed": 29, "failed": 1, "cancelled": 0}
    error, = failures(choosy, run)
    assert "no_seven" in error["message"]
    check_settled(choosy)


def test_an_answer_whose_stored_turns_are_gone_is_asked_for_anew(choosy, simulator):
    """As after a fail-over, when nobody is left who could send them again."""
    script(simulator, ("latency=1", {"turn": 2}))
    run = start(choosy, 3, followups=1)
    place.wait_until(lambda: sql(choosy, "SELECT count(*) FROM checkpoints") == [(3,)], 10, "the first turns")
    sql(choosy, "DELETE FROM checkpoints")
    choosy.wait_log(r"store\.row_refused .*sqlstate=22X01 .*next=again")
    shown = wait_end(choosy, run)
    assert shown["progress"] == {"total": 3, "completed": 3, "failed": 0, "cancelled": 0}
    assert sql(choosy, "SELECT DISTINCT turn_count FROM transcripts WHERE run_id = %s", run) == [(2,)]
    check_settled(choosy)
