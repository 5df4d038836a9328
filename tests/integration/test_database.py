"""Postgres: absent at the start, gone in the middle, killed, moved, guarded by a password; nothing is lost by it."""

import os
import signal

import pytest

from harness import place
from harness.postgres import programs
from harness.proctor import Daemon
from probing import (KEYS, define, hold, outcome_rows, psql, running, script, show, sql, start, wait_asked, wait_end,
                     wait_progress)
from trouble import (bought, check_all, check_settled, completed, database, wait_away, wait_back, wait_note,
                     wait_spooled)

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]


def embedded_pid(daemon):
    with open(os.path.join(daemon.folder, "state", "postgres", "postmaster.pid"), encoding="ascii") as file:
        return int(file.readline())


# absent


def test_a_daemon_waits_for_postgres_says_so_and_serves_status(simulator, server):
    url = server.database()
    server.stop()
    with running(simulator, {"database": {"url": url}}, ready=False) as daemon:
        place.wait_until(lambda: server.folder in database(daemon)["why"], 10, "a reason")
        assert not database(daemon)["ready"]
        place.wait_until(lambda: daemon.call("status")["state"] == "degraded", 10, "the daemon to be degraded")
        assert any("database" in note for note in daemon.ctl("status")["notes"])
        done = daemon.proctorctl("run", "list")
        assert done.returncode == 5 and "database" in done.stderr
        daemon.wait_log(r"store\.waiting why=")
        server.start()
        daemon.wait_ready(20)
        run = start(daemon, 2)
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        assert daemon.ctl("status")["state"] == "ready"


# gone in the middle


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGKILL])
def test_a_server_gone_for_seconds_in_the_middle_loses_nothing(on_server, server, simulator, signo):
    simulator.post("/_sim/config", {"latency": {"*": "0.02"}})
    run = start(on_server, 150, followups=1)
    wait_progress(on_server, run, completed=20)
    server.stop(signo)
    wait_away(on_server)
    # What was claimed goes on without a database, and its results wait.
    held = on_server.call("status")["probes"]["held"]
    place.wait_until(lambda: on_server.call("status")["probes"]["held"] == 0, 10, "the held probes to end")
    wait_spooled(on_server, depth=held - 1)
    assert "the database is not ready" in wait_note(on_server, server.folder)
    assert on_server.call("status")["state"] == "degraded"
    assert "the database is not ready" in on_server.ctl("spool")["waitsFor"]
    on_server.wait_log(r"store\.down why=")
    server.start()
    check_all(on_server, simulator, run, 150, turns=2)
    assert sql(on_server, "SELECT (SELECT count(*) FROM transcripts WHERE run_id = %s), (SELECT count(*) FROM leases), "
                          "(SELECT count(*) FROM ready), (SELECT count(*) FROM delayed)", run) == [(150, 0, 0, 0)]


def test_a_shutdown_in_an_outage_loses_nothing_and_the_next_start_sends_what_waits(on_server, server, simulator):
    hold(simulator)
    run = start(on_server, 30, followups=1)
    wait_asked(simulator, 20)
    server.stop(signal.SIGQUIT)
    hold(simulator, False)
    wait_spooled(on_server, depth=60)
    on_server.stop()
    assert [line for line in on_server.log_lines() if "daemon.unflushed" in line and "the spool keeps them" in line]
    before = bought(simulator)
    assert len(before) >= 40, "conversations under way went on to their end"
    server.start()
    on_server.start()
    on_server.wait_log(r"spool\.backlog records=[6-9]\d")
    on_server.wait_ready()
    on_server.wait_log(r"store\.replayed")
    check_all(on_server, simulator, run, 30, turns=2)


def test_a_backend_that_is_terminated_is_replaced(on_server, simulator):
    run = start(on_server, 100, followups=1)
    for least in (5, 20, 40):
        place.wait_until(lambda: completed(on_server, run) >= least, 15, f"{least} to be completed")
        sql(on_server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE pid <> pg_backend_pid() AND datname = current_database()")
        wait_back(on_server)
    check_all(on_server, simulator, run, 100, turns=2)


def test_a_daemon_killed_while_postgres_is_away_finishes_the_run_after_its_restart(on_server, server, simulator):
    run = start(on_server, 60, followups=1)
    wait_progress(on_server, run, completed=5)
    server.stop(signal.SIGKILL)
    on_server.kill()
    server.start()
    on_server.start()
    on_server.wait_ready()
    assert wait_end(on_server, run)["progress"] == {"total": 60, "completed": 60, "failed": 0, "cancelled": 0}
    assert outcome_rows(on_server, run)["completed"] == 60
    check_settled(on_server)


def test_a_stopped_daemon_gives_its_work_to_the_next(make_proctor, simulator):
    with make_proctor({"daemon": {"drain_timeout": "1s"}, "provider:openai": {"concurrency": 4}}) as daemon:
        script(simulator, ("latency=30", {"turn": 2}))
        run = start(daemon, 12, followups=1)
        wait_asked(simulator, 8)
        daemon.stop()
        simulator.post("/_sim/script", {"rules": []})
        daemon.start()
        daemon.wait_ready()
        assert wait_end(daemon, run)["progress"]["completed"] == 12
        assert len(bought(simulator)) == len(set(bought(simulator))) == 24, "checkpoints were kept over the stop"
        assert sql(daemon, "SELECT coalesce(max(fails), 0) FROM tries") == [(0,)]


# embedded


def test_the_embedded_server_is_found_below_the_state_folder_on_a_socket_alone(proctor):
    assert database(proctor)["url"] == "embedded"
    assert os.path.exists(os.path.join(proctor.folder, "state", "postgres", "PG_VERSION"))
    assert psql(proctor, "SHOW listen_addresses") == ""
    assert int(psql(proctor, "SHOW server_version_num")) >= 140000


def test_an_embedded_server_killed_in_the_middle_of_a_run_is_back_and_nothing_is_lost(proctor, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.02"}})
    run = start(proctor, 150, followups=1)
    wait_progress(proctor, run, completed=10)
    position = proctor.log_position()
    os.kill(embedded_pid(proctor), signal.SIGKILL)
    proctor.wait_log(r"service\.exit service=postgres", 10, since=position)
    proctor.wait_log(r"store\.up", 20, since=position)
    assert wait_end(proctor, run)["progress"] == {"total": 150, "completed": 150, "failed": 0, "cancelled": 0}
    assert outcome_rows(proctor, run)["completed"] == 150
    assert len(bought(simulator)) == len(set(bought(simulator))) == 300


def test_killing_daemon_and_embedded_server_together_loses_nothing(simulator):
    with running(simulator) as daemon:
        simulator.post("/_sim/config", {"latency": {"*": "0.02"}})
        run = start(daemon, 80, followups=1)
        wait_progress(daemon, run, completed=10)
        below = daemon.all_pids()
        os.kill(embedded_pid(daemon), signal.SIGKILL)
        daemon.kill()
        place.wait_until(lambda: not any(map(place.process_is_alive, below)), 10, "all of it to be gone")
        daemon.start()
        daemon.wait_ready()
        assert wait_end(daemon, run)["progress"]["completed"] == 80
        assert outcome_rows(daemon, run)["completed"] == 80
        simulator.post("/_sim/config", {"latency": {}})


def test_an_embedded_folder_of_another_major_version_is_refused_with_the_remedy(simulator):
    with running(simulator) as daemon:
        daemon.stop()
        version = os.path.join(daemon.folder, "state", "postgres", "PG_VERSION")
        with open(version, "w", encoding="ascii") as file:
            file.write("9\n")
        daemon.spawn()
        assert daemon.wait_exit(10) == 78
        told, = [line for line in daemon.log_lines() if "PostgreSQL 9" in line]
        assert "install postgresql-9" in told and "`proctorctl restore`" in told
        assert os.path.exists(version), "nothing was touched"


# a server of the user's own


def test_a_database_password_is_redacted_wherever_the_url_is_shown(simulator, own_server):
    with open(os.path.join(own_server.data, "pg_hba.conf"), "w", encoding="ascii") as file:
        file.write("local all proctor trust\nlocal all guarded scram-sha-256\n")
    name = own_server.database().partition("@/")[2].partition("?")[0]
    own_server.execute("CREATE ROLE guarded LOGIN PASSWORD 'pw-Xyzzy-17'")
    own_server.execute(f"ALTER DATABASE {name} OWNER TO guarded")
    own_server.execute("SELECT pg_reload_conf()")
    url = f"postgresql://guarded:pw-Xyzzy-17@/{name}?host={own_server.folder}"
    with running(simulator, {"database": {"url": url}}) as daemon:
        run = start(daemon, 1)
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        dumped = daemon.proctorctl("backup", os.path.join(daemon.folder, "guarded.dump"))
        assert dumped.returncode == 0, dumped.stderr
        assert "***" in database(daemon)["url"] and "guarded" in database(daemon)["url"]
        told = [daemon.proctorctl(*words).stdout for words in (
            ("status",), ("--json", "status"), ("config", "show"), ("--json", "config", "show"), ("health",),
            ("--json", "events"), ("--json", "run", "show", run))]
        told += daemon.log_lines()
        told += [line.replace("\0", " ") for line in command_lines(daemon)]
        assert not any("Xyzzy" in text for text in told)
        assert psql(daemon, "SELECT current_user") == "guarded", "psql gets the password by another way"


def command_lines(daemon):
    for pid in daemon.all_pids():
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            yield file.read()


def test_a_wrong_password_is_said_without_it_and_mended_by_a_restart(simulator, own_server):
    with open(os.path.join(own_server.data, "pg_hba.conf"), "w", encoding="ascii") as file:
        file.write("local all proctor scram-sha-256\n")
    name = own_server.database().partition("@/")[2].partition("?")[0]
    own_server.execute("SELECT pg_reload_conf()")
    url = f"postgresql://proctor:pw-Plugh-18@/{name}?host={own_server.folder}"
    with running(simulator, {"database": {"url": url}}, ready=False) as daemon:
        daemon.wait_log(r"store\.waiting why=.*password", 10)
        assert "Plugh" not in daemon.log() + str(database(daemon))


def test_a_database_with_a_newer_schema_is_refused_by_name(make_proctor):
    with make_proctor() as daemon:
        sql(daemon, "INSERT INTO schema_migrations (version, name) VALUES (9999, 'later')")
        daemon.stop()
        daemon.start()
        place.wait_until(lambda: "9999" in database(daemon)["why"], 10, "the refusal")
        assert "newer" in database(daemon)["why"]
        assert not database(daemon)["ready"]


def test_migrations_run_once_also_for_two_daemons_at_the_same_time(simulator, server):
    url = server.database()
    daemons = [Daemon({"database": {"url": url}, **simulator.ini(requests_per_minute=0)}, KEYS) for _ in range(2)]
    try:
        for daemon in daemons:
            daemon.spawn()
        for daemon in daemons:
            daemon.wait_log("control.listening", 20)
            daemon.wait_ready()
        files = [name for name in os.listdir(os.path.join(place.REPOSITORY, "sql")) if name[:4].isdigit()]
        assert sql(daemons[0], "SELECT count(*) FROM schema_migrations") == [(len(files),)]
    finally:
        for daemon in daemons:
            daemon.remove()


def test_programs_of_postgres_are_found_beyond_the_path(simulator):
    folder = os.environ["PATH"].split(":")
    if programs() in folder:
        folder.remove(programs())
    with running(simulator, environment={"PATH": ":".join(folder)}) as daemon:
        define(daemon, 1)
        assert show(daemon, start(daemon, 1))["status"] in ("PENDING", "RUNNING", "COMPLETED")
