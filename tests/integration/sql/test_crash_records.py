"""api_crashes(), api_crash(), api_last_crash(), prune_events()."""

import json
import threading

import psycopg2
import pytest


def record(queue, subject, kind="worker.exit", level="warning", **data):
    """The id of a new event."""
    queue.rows("SELECT record_events(%s, %s, %s, %s, %s::bigint[], %s, %s)", queue.node, [level], [kind], [None], [0],
               [subject], [json.dumps(data)])
    return queue.value("SELECT max(id) FROM events")


def crashes(queue, whose=None, since_ms=None, most=50):
    return json.loads(queue.value("SELECT api_crashes(%s, %s, %s)", whose, since_ms, most))["items"]


def prune(queue, keep_ms, most=1000):
    return queue.value("SELECT events_removed FROM prune(%s, 0, 0, %s)", keep_ms, most)


def grow_old(queue, seconds, where="true"):
    queue.rows(f"UPDATE events SET at = now() - {int(seconds)} * interval '1 second' WHERE {where}")


def test_crashes_are_the_ends_that_nobody_asked_for_newest_first(queue):
    first = record(queue, "probe/1", exit="signal=9", reason="", upMs=5, stack="", held=3)
    record(queue, "probe/1", level="info", exit="exit=0", planned=True)
    record(queue, "probe/1", kind="worker.suspect", verdict="stopped")
    second = record(queue, "sim", kind="service.exit", exit="exit=3")
    rows = crashes(queue)
    assert [(row["id"], row["kind"], row["name"], row["exit"]) for row in rows] == [
        (second, "service", "sim", "exit=3"), (first, "worker", "probe/1", "signal=9")]
    assert (rows[1]["held"], rows[1]["upMs"], rows[1]["hasStack"]) == (3, 5, False)


def test_crashes_of_one_worker_of_a_pool_and_of_the_last_minute(queue):
    ids = {name: record(queue, name, exit="exit=1") for name in ("probe/1", "probe/10", "probe", "prober/1")}
    assert [row["id"] for row in crashes(queue, "probe/1")] == [ids["probe/1"]]
    assert {row["name"] for row in crashes(queue, "probe")} == {"probe/1", "probe/10", "probe"}
    assert [row["name"] for row in crashes(queue, most=1)] == ["prober/1"]
    grow_old(queue, 120, f"id = {ids['probe']}")
    assert {row["name"] for row in crashes(queue, since_ms=60000)} == {"probe/1", "probe/10", "prober/1"}


def test_a_crash_shows_its_whole_record_and_what_it_held(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    stderr = "e" * 65536
    crash = record(queue, "probe/1", exit="exit=1", stack="in main", stderr=stderr, jobs=[job["job_id"], 999999])
    shown = json.loads(queue.value("SELECT api_crash(%s)", crash))
    assert (shown["id"], shown["name"], shown["stderr"], shown["stack"]) == (crash, "probe/1", stderr, "in main")
    assert shown["jobs"] == [
        {"jobId": job["job_id"], "runId": run, "modelId": "gpt-4", "scenarioKey": "k0"},
        {"jobId": 999999, "runId": None, "modelId": None, "scenarioKey": None}]


def test_a_crash_that_is_not_there_is_refused_by_name(queue):
    other = record(queue, "probe/1", kind="worker.ready", level="info")
    for number in (other, 123456789):
        with pytest.raises(psycopg2.Error, match=f"there is no crash {number}") as refusal:
            queue.value("SELECT api_crash(%s)", number)
        assert refusal.value.pgcode == "PR404"


def test_the_last_crash_of_a_worker_is_its_newest(queue):
    assert queue.rows("SELECT * FROM api_last_crash('probe/1')") == [{"name": "probe/1", "crash": None}]
    record(queue, "probe/1", exit="exit=1")
    newest = record(queue, "probe/1", exit="exit=2")
    record(queue, "probe/2", exit="exit=3")
    record(queue, "probe/1", level="info", exit="exit=0")
    assert json.loads(queue.value("SELECT crash FROM api_last_crash('probe/1')"))["id"] == newest


def test_a_list_of_events_shows_the_end_of_a_long_stderr(queue):
    record(queue, "probe/1", exit="exit=1", stderr="x" * 60000 + "the end", stack="top" + "y" * 60000)
    record(queue, "probe", kind="pool.degraded", level="error", stderr="kept")
    whole, other = json.loads(queue.value("SELECT api_events(NULL, NULL, 2)"))["items"]
    assert (len(whole["data"]["stderr"]), len(whole["data"]["stack"])) == (4000, 4000)
    assert whole["data"]["stderr"].endswith("the end") and whole["data"]["stack"].startswith("top")
    assert other["data"] == {"stderr": "kept"}


def test_pruning_removes_the_old_oldest_first_and_in_chunks(queue):
    grow_old(queue, 0)
    old = [record(queue, f"probe/{number}", exit="exit=1") for number in range(5)]
    young = record(queue, "probe/6", exit="exit=1")
    for age, event in enumerate(reversed(old)):
        grow_old(queue, 3600 + age, f"id = {event}")
    assert prune(queue, 3600000, 2) == 2
    assert {row["id"] for row in queue.rows("SELECT id FROM events WHERE id = ANY (%s)", old)} == set(old[2:])
    assert (prune(queue, 3600000, 2), prune(queue, 3600000, 2), prune(queue, 3600000, 2)) == (2, 1, 0)
    assert queue.count("events", f"id = {young}") == 1


def test_two_nodes_prune_at_once_without_waiting_for_each_other(queue, connect):
    events = [record(queue, f"probe/{number}", exit="exit=1") for number in range(4)]
    grow_old(queue, 3600, f"id BETWEEN {events[0]} AND {events[-1]}")
    other = connect()
    other.connection.autocommit = False
    assert prune(other, 60000, 2) == 2
    done = []
    thread = threading.Thread(target=lambda: done.append(prune(queue, 60000)), daemon=True)
    thread.start()
    thread.join(10)
    assert done == [2]
    other.connection.commit()
    assert queue.count("events", f"id BETWEEN {events[0]} AND {events[-1]}") == 0
