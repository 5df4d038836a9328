"""Steps of the tests of database trouble and of the spool, and what must hold at the end of each."""

import contextlib

from harness import place
from harness.books import check_books
from harness.control import ControlError
from probing import connect, ledger, show, sql, wait_end

KEPT = "synchronous_commit = on"  # a commit that was acknowledged outlives the server's processes


def ini_on(url, **sections):
    """Without limits but 20 calls at once to OpenAI; further sections as keywords, `_` for `:`."""
    return {"database": {"url": url}, "provider:openai": {"concurrency": 20},
            **{name.replace("_", ":"): keys for name, keys in sections.items()}}


# what it says


def database(daemon):
    return daemon.call("status")["database"]


def wait_away(daemon, deadline=10):
    place.wait_until(lambda: not database(daemon)["ready"], deadline, "the daemon to notice")


def wait_back(daemon, deadline=30):
    place.wait_until(lambda: database(daemon)["ready"], deadline, "the store to be ready again")


def wait_note(daemon, words, deadline=10):
    """Waits until `proctorctl status` says these words to people and programs; returns the whole sentence."""
    def told():
        return next((note for note in daemon.call("status")["notes"] if words in note), None)
    note = place.wait_until(told, deadline, f"status to say {words!r}")
    shown = daemon.proctorctl("status")
    assert shown.returncode == 0 and words in " ".join(shown.stdout.split()), shown.stdout
    return note


def wait_well(daemon, deadline=15):
    """Waits until the daemon has nothing to complain of."""
    def told():
        return not daemon.call("status")["notes"] and daemon.call("status")["state"] == "ready"
    place.wait_until(told, deadline, "the daemon to be well again")


def spool(daemon):
    return daemon.call("spool")


def wait_spooled(daemon, deadline=15, **least):
    """Waits until the figures of `spool` are at least these; returns them all."""
    def reached():
        told = spool(daemon)
        return told if all(told[key] >= value for key, value in least.items()) else None
    return place.wait_until(reached, deadline, f"the spool to have {least}")


def wait_sent(daemon, deadline=20):
    """Waits until the database has all that the spool had."""
    place.wait_until(lambda: spool(daemon)["depth"] == 0, deadline, "the spool to be empty")


def completed(daemon, run):
    """Of the run's probes; -1 while the database is away."""
    try:
        return show(daemon, run, brief=True)["progress"]["completed"]
    except ControlError as refused:
        assert refused.code == "UNAVAILABLE", refused
        return -1


def wait_end_later(daemon, run, total, deadline=30):
    """As wait_end, while the database may still be away."""
    place.wait_until(lambda: completed(daemon, run) == total, deadline, f"all {total} to be completed")
    return wait_end(daemon, run, deadline)


# what must hold


def bought(simulator):
    return [(entry["model"], entry["conversation"], entry["turn"]) for entry in ledger(simulator) if entry["bought"]]


def check_all(daemon, simulator, run, total, turns=1):
    """The run's every probe completed, each of its calls bought once, the books in order, nothing left to say."""
    shown = wait_end_later(daemon, run, total)
    assert shown["status"] == "COMPLETED"
    assert shown["progress"] == {"total": total, "completed": total, "failed": 0, "cancelled": 0}
    calls = bought(simulator)
    assert len(calls) == len(set(calls)) == total * turns, "each call is bought once"
    check_settled(daemon)


def check_settled(daemon):
    """The spool is empty, the daemon well, and the database's books are in order."""
    wait_sent(daemon)
    wait_well(daemon)
    with contextlib.closing(connect(daemon)) as connection:
        assert check_books(connection) == []


# databases with a will of their own


def refuse(daemon, table, state, message, condition=None):
    """Inserts into the table raise that SQLSTATE until allow(): all, or those of rows that meet the condition. State
    and condition are SQL; a condition is about NEW."""
    sql(daemon, f"CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF {condition or 'true'} THEN RAISE EXCEPTION '{message}' USING ERRCODE = ({state}); END IF; "
                "RETURN NEW; END $$")
    each = "ROW" if condition else "STATEMENT"
    sql(daemon, f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH {each} EXECUTE FUNCTION refuse_{table}()")


def allow(daemon):
    """Forgets all refusals."""
    for name, in sql(daemon, "SELECT proname FROM pg_proc WHERE proname LIKE 'refuse!_%' ESCAPE '!'"):
        sql(daemon, f"DROP FUNCTION {name} CASCADE")
