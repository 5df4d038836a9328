"""join_node(), take_back_earlier(), held_leases(), beat(), rescue_jobs(), take_back_unknown(), record_events()."""

import json

from queue_calls import body, end, turn


def test_next_boot_takes_back_at_once_what_the_last_one_held(connect):
    dead = connect("folder")
    run = dead.start(scenarios=3)["run_id"]
    first, second, third = dead.claim(run)
    dead.finish(end(first), end(second, "LATER", [body(1)]))
    held, = dead.claim(run, count=1)
    assert held["turn_count"] == 1
    reborn = connect("other")
    assert reborn.register("folder") == 2
    assert reborn.node > dead.node
    jobs = {job["job_id"]: job for job in reborn.claim(run)}
    assert jobs[third["job_id"]]["attempt"] == 2
    assert (jobs[held["job_id"]]["attempt"], jobs[held["job_id"]]["turn_count"]) == (3, 1)
    assert reborn.count("nodes", f"id = {dead.node}") == 0
    reborn.check()


def test_boot_joins_first_and_takes_back_when_asked(connect):
    """Between the two a spool is replayed: what it ends is not run again, and the turns it has are gone on from."""
    dead, reborn = connect("folder"), connect("other")
    run = dead.start(scenarios=4)["run_id"]
    done, failed, begun, untouched = dead.claim(run)
    reborn.node = reborn.value("SELECT join_node('again', 'folder')")
    assert reborn.count("leases", f"node_id = {dead.node}") == 4
    reborn.keep(turn(begun, 1, "a"))
    reborn.finish(end(done), end(failed, "FAILED"))
    assert reborn.value("SELECT take_back_earlier(%s, 'folder')", reborn.node) == 2
    assert [(job["job_id"], job["turn_count"]) for job in reborn.claim(run)] == [
        (begun["job_id"], 1), (untouched["job_id"], 0)]
    assert reborn.value("SELECT take_back_earlier(%s, 'folder')", reborn.node) == 0
    events = reborn.rows("SELECT kind, node_id, subject, data FROM events WHERE kind LIKE 'node.%%' ORDER BY id")[-2:]
    assert events == [
        {"kind": "node.started", "node_id": reborn.node, "subject": "again", "data": {}},
        {"kind": "node.took_back", "node_id": reborn.node, "subject": "again", "data": {"takenBack": 2}}]
    reborn.check()


def test_boot_takes_nothing_back_from_a_later_one(connect):
    earlier, later = connect("folder"), connect("other")
    later.node = later.value("SELECT join_node('later', 'folder')")
    later.claim(later.start()["run_id"])
    assert later.value("SELECT take_back_earlier(%s, 'folder')", earlier.node) == 0
    assert later.count("leases") == 4
    assert later.count("nodes", f"id = {later.node}") == 1


def test_held_leases_are_those_of_this_node_and_attempt(queue, connect):
    run = queue.start(scenarios=4)["run_id"]
    kept, given_back, done = queue.claim(run, count=3)
    other, = connect().claim(run)
    queue.finish(end(given_back, "RETURNED"), end(done))
    again, = queue.claim(run)
    asked = [kept, given_back, done, again, other, {"job_id": 10**6, "attempt": 1}]
    assert [row["place"] for row in queue.rows(
        "SELECT place FROM held_leases(%s, %s::bigint[], %s::bigint[])", queue.node,
        [job["job_id"] for job in asked], [job["attempt"] for job in asked])] == [1, 4]


def test_boot_leaves_other_folders_alone(connect):
    other = connect("theirs")
    run = other.start()["run_id"]
    other.claim(run)
    assert connect("ours").register("ours") == 0
    assert other.count("leases") == 4


def test_taken_back_job_with_an_outcome_is_not_queued(connect):
    dead = connect("folder")
    run = dead.start(scenarios=1)["run_id"]
    first, = dead.claim(run)
    dead.finish(end(first, "RETURNED"))
    dead.finish(end(first))
    dead.rows("INSERT INTO leases (job_id, attempt, node_id) VALUES (%s, 2, %s)", first["job_id"], dead.node)
    reborn = connect("folder")
    assert (reborn.count("leases"), reborn.count("ready")) == (0, 0)
    reborn.check()


def test_beat_tells_a_node_that_it_is_not_known_any_more(queue):
    assert queue.value("SELECT beat(%s)", queue.node) is True
    assert queue.value("SELECT beat(%s)", queue.node + 1000) is False


def test_rescue_takes_from_the_dead_only(queue, connect):
    dead, alive = connect(), connect()
    run = queue.start(scenarios=6)["run_id"]
    for node in (dead, alive, queue):
        assert len(node.claim(run, count=2)) == 2
    queue.rows("UPDATE nodes SET beat_at = now() - interval '16 seconds' WHERE id IN (%s, %s)", dead.node, queue.node)
    assert queue.value("SELECT rescue_jobs(%s, 15000)", queue.node) == 2
    assert queue.rows("SELECT node_id, count(*) FROM leases GROUP BY 1 ORDER BY 1") == [
        {"node_id": queue.node, "count": 2}, {"node_id": alive.node, "count": 2}]


def test_rescue_takes_from_nodes_that_are_not_even_listed(queue, connect):
    dead = connect()
    run = queue.start(scenarios=1)["run_id"]
    dead.claim(run)
    queue.rows("DELETE FROM nodes WHERE id = %s", dead.node)
    assert queue.value("SELECT rescue_jobs(%s, 15000)", queue.node) == 1


def test_lease_of_a_lost_claim_is_found_and_taken_back(queue):
    run = queue.start(scenarios=3)["run_id"]
    known, *lost = queue.claim(run)
    assert queue.value("SELECT take_back_unknown(%s, %s)", queue.node, [known["job_id"]]) == 2
    assert queue.value("SELECT take_back_unknown(%s, %s)", queue.node, [known["job_id"]]) == 0
    assert {job["job_id"] for job in queue.claim(run)} == {job["job_id"] for job in lost}


def test_events_are_recorded_in_order_and_outlive_their_run(queue):
    run = queue.start()["run_id"]
    queue.rows("SELECT record_events(%s, %s, %s, %s, %s::bigint[], %s, %s)", queue.node, ["info", "warning"],
               ["worker.started", "worker.exit"], [run, "run_deleted"], [0, 7], ["probe/1", None],
               [None, json.dumps({"signal": 9})])
    rows = queue.rows("SELECT * FROM events WHERE kind LIKE 'worker.%%' ORDER BY id")
    assert [(row["kind"], row["run_id"], row["job_id"], row["subject"], row["data"]) for row in rows] == [
        ("worker.started", run, None, "probe/1", {}), ("worker.exit", None, 7, None, {"signal": 9})]
