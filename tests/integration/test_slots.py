"""One place of a pool that only crashes: it is given up on, and costs the others nothing."""

import os
import signal

from fake_pool import GREETING, WORKING
from harness import place

SIZE = 6
CRASHING = [*GREETING, ["stderr", "no such module: frobnicate"], ["exit", 3]]


def serving(daemon):
    return daemon.call("status")["pools"][0]["serving"]


def make_sick(make_daemon, make_fake, **keys):
    """(fake, daemon, worker): every later life of that worker crashes, while the five others serve."""
    fake = make_fake(*[WORKING] * SIZE, CRASHING)
    daemon = make_daemon({**fake.ini(size=SIZE, restart_delay="1ms", restart_delay_max="5ms", **keys),
                          "group:root": {"intensity": 2, "period": "30s"}})
    place.wait_until(lambda: serving(daemon) == SIZE, 15, "all workers")
    victim = daemon.workers()[3]
    os.kill(victim["pid"], signal.SIGKILL)
    return fake, daemon, victim["worker"]


def test_one_place_that_only_crashes_is_given_up_on_and_the_others_go_on(make_daemon, make_fake, start_run):
    fake, daemon, sick = make_sick(make_daemon, make_fake)
    daemon.wait_log(f'worker.given_up worker={sick} reason="exit=3"')
    place.wait_until(lambda: next(worker for worker in daemon.workers() if worker["worker"] == sick)["state"] ==
                     "parked", 5, "its place to be parked")
    # The restarts that are borne, and the one that was too many; half of the pool would have been one more.
    assert len(fake.journal("born")) == SIZE + 3
    status = daemon.call("status")
    assert (status["state"], status["pools"][0]["degraded"]) == ("degraded", None)
    assert status["notes"] == [f"{sick} is given up on, and tried again every few minutes: exit=3"]
    assert daemon.wait_event("worker.given_up")["subject"] == sick
    probe = next(child for child in daemon.call("tree")["children"] if child["name"] == "probe")
    place_of_it = next(child for child in probe["children"] if child["name"] == sick)
    assert 200_000 < place_of_it["nextStartMs"] <= 300_000
    assert (place_of_it["state"], place_of_it["why"], probe["nextStartMs"]) == ("parked", "exit=3", None)
    daemon.wait_run(start_run(daemon, [f"question {number}" for number in range(20)]))
    assert serving(daemon) == SIZE - 1 and len(fake.journal("born")) == SIZE + 3
    # Mended, and wanted by an operator.
    fake.script(WORKING)
    daemon.call("workers.restart", worker=sick)
    place.wait_until(lambda: serving(daemon) == SIZE, 10, "all workers again")
    assert daemon.call("status")["notes"] == []


def test_a_place_stays_given_up_on_through_an_upgrade(make_daemon, make_fake):
    fake, daemon, sick = make_sick(make_daemon, make_fake)
    daemon.wait_log(f"worker.given_up worker={sick}")
    place.wait_until(lambda: daemon.workers()[3]["state"] == "parked", 5, "its place to be parked")

    def standing():
        probe = next(node for node in daemon.call("tree")["children"] if node["name"] == "probe")
        node = next(child for child in probe["children"] if child["name"] == sick)
        notes = daemon.call("status")["notes"]
        return node["state"], node["why"], notes, probe["restartsInWindow"], node["nextStartMs"]
    before = standing()
    daemon.call("upgrade")
    after = standing()
    assert after[:4] == before[:4]
    assert before[4] - 20_000 < after[4] <= before[4], "the time of its next try"
    assert len(fake.journal("born")) == SIZE + 3


def test_a_place_that_was_given_up_on_starts_over_with_its_pool(make_daemon, make_fake):
    fake, daemon, sick = make_sick(make_daemon, make_fake)
    daemon.wait_log(f"worker.given_up worker={sick} ")
    fake.script(WORKING)
    daemon.call("services.stop", name="probe")
    daemon.wait_log("tree.state node=probe state=down")
    daemon.call("services.start", name="probe")
    place.wait_until(lambda: serving(daemon) == SIZE, 10, "all workers again")
    assert daemon.call("status")["notes"] == []
