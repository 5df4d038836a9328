"""Workers that end, hang, or never come up are replaced; what they held goes on elsewhere."""

import os
import signal

import pytest

import probing
from fake_pool import GREETING, WORKING
from harness import place


def wait_serving(daemon, count, deadline=15):
    place.wait_until(lambda: daemon.call("status")["pools"][0]["serving"] == count, deadline,
                     f"{count} serving workers")


def completed(daemon, run, deadline=30):
    """Waits until the run has ended with every probe completed."""
    progress = daemon.wait_run(run, deadline=deadline)["progress"]
    assert progress["completed"] == progress["total"], progress


def bought_twice(simulator):
    """Answers that were delivered more than once for the same messages."""
    seen, twice = set(), []
    for entry in simulator.get("/_sim/ledger", limit=100_000, bought="true")["entries"]:
        if entry["digest"] in seen:
            twice.append(entry)
        seen.add(entry["digest"])
    return twice


# Ends.

@pytest.mark.parametrize("end, text", [
    (["exit", 1], "exit=1"),
    (["exit", 0], "exit=0"),
    (["signal", int(signal.SIGSEGV)], "signal=11"),
    (["signal", int(signal.SIGKILL)], "signal=9"),
    (["signal", int(signal.SIGTERM)], "signal=15"),
], ids=["exit_1", "exit_0", "SIGSEGV", "SIGKILL", "SIGTERM"])
def test_a_worker_that_ends_is_replaced_and_its_jobs_go_on_where_they_were(make_daemon, make_fake, start_run,
                                                                           end, text):
    fake = make_fake([*GREETING, ["serve", {"at": {"one": [end]}, "at_turn": 2}]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    completed(daemon, start_run(daemon, ["one"]))
    assert [number for _, number in fake.calls("one")] == [1, 2, 2, 3]
    event = daemon.wait_event("worker.exit", subject="probe/1")
    assert event["data"]["exit"].startswith(text)
    assert event["data"]["held"] == 1
    assert daemon.workers()[0]["lastDeath"].startswith(text)


def test_a_crash_record_keeps_the_last_lines_of_stderr(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["stderr", "out of cheese"], ["exit", 3]], WORKING)
    daemon = make_daemon(fake.ini())
    event = daemon.wait_event("worker.exit")
    assert event["data"]["stderr"].endswith("out of cheese\n")
    assert event["level"] == "warning"


def test_the_first_restart_after_a_healthy_life_is_immediate(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon(fake.ini(restart_delay="10s", restart_delay_max="10s")).wait_ready()
    place.wait_until(lambda: daemon.workers()[0]["lastPongMs"] is not None, 10, "a pong: proven work")
    os.kill(daemon.worker_pids()[0], signal.SIGKILL)
    fake.wait("born", 2, deadline=3)
    daemon.wait_log("worker.restart worker=probe/1 next=now")


def test_a_restart_without_proven_work_waits_out_the_back_off(make_daemon, make_fake):
    fake = make_fake([["exit", 1]], WORKING)
    daemon = make_daemon(fake.ini(restart_delay="1s", restart_delay_max="2s"))
    born = [fake.wait("born", number)["at"] for number in (1, 2)]
    assert 0.5 <= born[1] - born[0] < 3
    daemon.wait_log(r"worker\.restart worker=probe/1 next=after delay_ms=\d+ failures=1")


def test_a_killed_worker_loses_no_probe_and_no_answer_that_came_is_bought_again(make_daemon, simulator, start_run):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0),
                          "pool:probe": {"size": 2, "restart_delay": "20ms"}}, keys={"OPENAI_API_KEY": "k"})
    daemon.wait_ready()
    run = start_run(daemon, [f"question {number}" for number in range(60)])
    killed = set()
    for least in (30, 70, 110):
        assert simulator.get("/_sim/wait", asked=least, timeout=15)["met"]
        pid = place.wait_until(lambda: next((worker["pid"] for worker in daemon.workers() if worker["held"]), None), 10,
                               "a worker with something to lose")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    completed(daemon, run)
    shown = daemon.call("run.show", run=run)
    assert shown["progress"]["completed"] == 60
    assert len(killed) == 3
    # Only the calls under way at a kill may be repeated: an answer that was permitted and not received.
    held = [int(line.split("held=")[1].split()[0]) for line in daemon.log_lines() if "worker.exit" in line]
    assert len(bought_twice(simulator)) <= sum(held[:3])


def test_a_turn_that_was_received_is_never_bought_twice(make_daemon, simulator, start_run):
    """All conversations wait for their second call when their worker dies: no first call is repeated."""
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0),
                          "pool:probe": {"size": 2, "restart_delay": "20ms"}},
                         keys={"OPENAI_API_KEY": "k"}).wait_ready()
    simulator.post("/_sim/script", {"rules": [{"do": "hang", "match": {"turn": 2}, "times": 10}]})
    run = start_run(daemon, [f"question {number}" for number in range(10)])
    assert simulator.get("/_sim/wait", asked=20, timeout=15)["met"]
    # Both at one stroke: what the first one held must not be with the other when that dies too.
    pids = daemon.worker_pids()
    for signo in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, signo)
    completed(daemon, run)
    assert bought_twice(simulator) == []
    assert simulator.get("/_sim/stats")["providers"]["openai"]["bought"] == 30


# Boot.

@pytest.mark.parametrize("life", [[["hang"]], [["hello"], ["hang"]], [["hello"], ["ignore_term"], ["hang"]]],
                         ids=["no_hello", "no_ready", "deaf_to_TERM"])
def test_a_worker_that_misses_its_boot_time_is_replaced(make_daemon, make_fake, life):
    fake = make_fake(life, WORKING)
    daemon = make_daemon(fake.ini(boot_timeout="400ms"))
    daemon.wait_log(r"worker\.fault .*not ready 400 ms after its start \(boot_timeout\)")
    wait_serving(daemon, 1)
    assert not place.process_is_alive(fake.journal("born")[0]["pid"])


def test_a_slow_boot_within_its_time_is_no_fault(make_daemon, make_fake):
    fake = make_fake([["hello"], ["pause", 0.7], ["ready"], ["serve"]])
    daemon = make_daemon(fake.ini(boot_timeout="10s")).wait_ready()
    assert daemon.workers()[0]["restarts"] == 0
    assert daemon.workers()[0]["bootMs"] >= 700


def test_a_program_that_is_not_there_is_said_so(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon(fake.ini(command="/nowhere/worker"))
    daemon.wait_log("/nowhere/worker cannot be started: No such file or directory")
    place.wait_until(lambda: "No such file" in (daemon.workers()[0]["lastDeath"] or ""), 5,
                     "the reason in workers.list")
    place.wait_until(lambda: daemon.call("status")["state"] == "degraded", 15, "a degraded state")
    assert any("/nowhere/worker cannot be started" in note for note in daemon.call("status")["notes"])


@pytest.mark.parametrize("code", [77, 78, 125])
def test_a_broken_install_is_parked_and_not_tried_for_ever(make_daemon, make_fake, code):
    fake = make_fake([["exit", code]], WORKING)
    daemon = make_daemon(fake.ini())
    daemon.wait_log(rf'worker\.parked worker=probe/1 reason="exit={code}" remedy=')
    place.wait_until(lambda: daemon.workers()[0]["state"] == "parked", 5, "a parked worker")
    assert len(fake.journal("born")) == 1
    daemon.call("workers.restart", worker="probe/1")
    wait_serving(daemon, 1)


# Hangs.

@pytest.mark.parametrize("illness", [["hang"], ["deadlock"], ["serve", {"deaf": ["ping"]}]],
                         ids=["hang", "deadlock_with_a_heartbeat", "answers_no_ping"])
def test_a_worker_that_does_not_answer_is_replaced(make_daemon, make_fake, start_run, illness):
    fake = make_fake([*GREETING, ["serve", {"at": {"one": [illness]}, "at_turn": 2}]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    completed(daemon, start_run(daemon, ["one"]))
    daemon.wait_log(r"worker\.fault .*no pong to 2 pings: ")
    assert [number for _, number in fake.calls("one")] == [1, 2, 2, 3]
    assert not place.process_is_alive(fake.journal("born", life=1)[0]["pid"])


def test_a_hung_worker_leaves_its_stack_in_the_crash_record(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["hang"]], WORKING)
    daemon = make_daemon(fake.ini())
    event = daemon.wait_event("worker.exit", deadline=15)
    assert "in step_hang" in event["data"]["stderr"]
    assert event["data"]["reason"].startswith("no pong to 2 pings")


def test_a_hung_worker_that_ignores_TERM_is_killed(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["ignore_term"], ["hang"]], WORKING)
    daemon = make_daemon(fake.ini())
    event = daemon.wait_event("worker.exit", deadline=15)
    assert event["data"]["exit"].startswith("signal=9")
    assert len(fake.journal("term")) == 1, "it was asked first"
    wait_serving(daemon, 1)


def test_a_call_that_never_ends_is_given_up(make_daemon, make_fake, start_run):
    """Pings are answered, the call is not: its own deadline ends it."""
    fake = make_fake([*GREETING, ["wait_job"], ["serve"]], WORKING)
    daemon = make_daemon(fake.ini(job_timeout="100ms")).wait_ready()
    run = start_run(daemon, ["one"])
    daemon.wait_log(r"worker\.fault .*job 1 had no answer \d+ ms after its call was permitted", 20)
    completed(daemon, run)


def test_a_pool_that_somebody_stopped_is_continued_and_not_killed(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon(fake.ini(size=3)).wait_ready()
    pids = daemon.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    event = daemon.wait_event("worker.suspect")
    assert event["data"]["verdict"] == "stopped"
    place.wait_until(lambda: not any(worker["late"] for worker in daemon.workers()), 15, "pongs of all")
    assert sorted(daemon.worker_pids()) == sorted(pids)


# Many.

def test_jobs_go_to_the_least_loaded_worker(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 30}]])
    daemon = make_daemon(fake.ini(size=4)).wait_ready()
    start_run(daemon, [f"job {number}" for number in range(42)])
    place.wait_until(lambda: daemon.call("status")["pools"][0]["held"] == 42, 10, "42 jobs in hand")
    assert sorted(worker["held"] for worker in daemon.workers()) == [10, 10, 11, 11]
    daemon.kill()


def test_no_worker_holds_more_than_its_capacity(make_daemon, make_fake, start_run):
    fake = make_fake([["hello", {"capacity": 3}], ["ready"], ["serve", {"delay": 30}]])
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    start_run(daemon, [f"job {number}" for number in range(20)])
    place.wait_until(lambda: daemon.call("status")["pools"][0]["freeSlots"] == 0, 10, "full workers")
    assert [worker["held"] for worker in daemon.workers()] == [3, 3]
    assert daemon.call("providers.show", provider="openai")["why"] == "all workers are full"
    daemon.kill()


def test_a_sick_worker_costs_the_others_nothing(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["wait_job"], ["line", "nonsense"], ["hang"]], WORKING)
    daemon = make_daemon(fake.ini(size=3)).wait_ready()
    healthy = set(daemon.worker_pids()) - {fake.journal("born", life=1)[0]["pid"]}
    completed(daemon, start_run(daemon, [f"job {number}" for number in range(30)]))
    wait_serving(daemon, 3)
    assert healthy < set(daemon.worker_pids())


# Giving up.

def test_a_pool_that_only_crashes_is_given_up_and_the_daemon_lives(make_daemon, make_fake, start_run):
    fake = make_fake([["stderr", "no such module: frobnicate"], ["exit", 1]])
    daemon = make_daemon({**fake.ini(restart_delay="1ms", restart_delay_max="5ms", size=2),
                          "group:root": {"intensity": 3, "period": "30s"}})
    daemon.wait_log(r"pool\.degraded pool=probe reason=.4 restarts without proven work within 30 s; newest: exit=1")
    place.wait_until(lambda: all(worker["state"] == "parked" for worker in daemon.workers()), 5, "a parked pool")
    born = len(fake.journal("born"))
    assert born <= 6
    status = daemon.call("status")
    assert status["state"] == "degraded"
    assert "4 restarts without proven work" in status["pools"][0]["degraded"]
    probe = next(child for child in daemon.call("tree")["children"] if child["name"] == "probe")
    assert probe["state"] == "degraded" and 200_000 < probe["nextStartMs"] <= 300_000, "the canary"
    assert any("the worker pool probe is degraded" in note for note in status["notes"])
    assert daemon.call("health")["healthy"] is False
    daemon.wait_event("pool.degraded")
    run = start_run(daemon, ["one"])
    assert daemon.call("providers.show", provider="openai")["why"] == "the worker pool is degraded"
    assert len(fake.journal("born")) == born, "it went on trying"

    fake.script(WORKING)
    daemon.call("workers.restart")
    wait_serving(daemon, 2)
    completed(daemon, run)
    place.wait_until(lambda: daemon.call("status")["state"] == "ready", 10, "the state ready")


def test_kills_from_outside_never_degrade_a_pool_that_works(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon({**fake.ini(stable_after="10ms", ping_interval="20ms"),
                          "group:root": {"intensity": 2, "period": "1m"}})
    for number in range(1, 7):
        fake.wait("born", number)
        place.wait_until(lambda: daemon.workers()[0]["lastPongMs"] is not None, 10, "a pong")
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)
    wait_serving(daemon, 1)
    assert daemon.call("status")["pools"][0]["degraded"] is None


def test_an_operators_restarts_are_no_failures(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon({**fake.ini(restart_delay="10s", restart_delay_max="10s"),
                          "group:root": {"intensity": 1, "period": "1m"}}).wait_ready()
    for number in range(2, 6):
        daemon.call("workers.restart", worker="probe/1")
        fake.wait("born", number, deadline=5)
        wait_serving(daemon, 1)
    assert daemon.call("status")["pools"][0]["degraded"] is None


def test_a_worker_told_to_restart_that_ignores_TERM_is_killed_after_its_shutdown_timeout(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["ignore_term"], ["hang"]], WORKING)
    daemon = make_daemon({**fake.ini(shutdown_timeout="300ms", ping_interval="30s"),
                          "daemon": {"drain_timeout": "100ms"}}).wait_ready()
    daemon.call("workers.restart", worker="probe/1")
    fake.wait("term")
    event = daemon.wait_event("worker.exit")
    assert event["data"]["exit"].startswith("signal=9")
    assert event["data"]["planned"] is True
    assert event["level"] == "info"


def test_a_call_under_way_at_a_restart_may_finish_within_the_drain_timeout(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 1.5}]], WORKING)
    daemon = make_daemon(fake.ini(shutdown_timeout="200ms")).wait_ready()
    run = start_run(daemon, ["one"])
    fake.wait("call")
    daemon.call("workers.restart")
    completed(daemon, run)
    assert [(entry["life"], entry["number"]) for entry in fake.journal("call")] == [(1, 1), (2, 2), (2, 3)]


# Poison.

def test_a_job_that_kills_its_worker_becomes_poison_and_its_neighbours_succeed(make_daemon, make_fake, start_run):
    crash = [["stderr", "the poison works"], ["signal", int(signal.SIGSEGV)]]
    fake = make_fake([*GREETING, ["serve", {"at": {"poison": crash}, "delay": 0.02}]])
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    run = start_run(daemon, ["poison", *(f"job {number}" for number in range(19))])
    progress = daemon.wait_run(run)["progress"]
    assert progress == {"total": 20, "completed": 19, "failed": 1, "cancelled": 0}
    failed = daemon.call("jobs", run=run, state="failed")["items"]
    assert len(failed) == 1
    assert failed[0]["error"]["code"] == "POISON"
    assert "killed its worker 2 times" in failed[0]["error"]["message"]
    assert "the poison works" in failed[0]["error"]["details"]["stderr"]
    assert 3 <= len(fake.calls("poison")) <= 4
    assert daemon.call("status")["pools"][0]["degraded"] is None
    # An operator who knows better may have it run all the same; the workers of now still die of it, their heirs not.
    fake.script(WORKING)
    assert daemon.call("run.retry", run=run, codes=["POISON"])["retried"] == 1
    assert daemon.wait_run(run)["progress"]["completed"] == 20


def test_kills_from_outside_never_make_poison(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"at": {"one": [["wait_file", "never"]]}}]])
    daemon = make_daemon(fake.ini(ping_interval="30s")).wait_ready()
    run = start_run(daemon, ["one"])
    for number in range(1, 7):
        os.kill(fake.wait("call", number)["pid"], signal.SIGKILL)
    fake.script(WORKING)
    os.kill(fake.wait("call", 7)["pid"], signal.SIGKILL)
    completed(daemon, run)


# By hand.

def test_an_operator_restarts_one_worker(make_daemon, make_fake):
    fake = make_fake(WORKING)
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    before = {worker["worker"]: worker["pid"] for worker in daemon.workers()}
    daemon.call("workers.restart", worker="probe/1")
    place.wait_until(lambda: before["probe/1"] not in daemon.worker_pids(), 10, "the end of the old worker")
    after = {worker["worker"]: worker["pid"] for worker in daemon.workers()}
    assert after.keys() == before.keys()
    assert after["probe/2"] == before["probe/2"]
    wait_serving(daemon, 2)
    daemon.wait_event("worker.restart_requested", subject="probe/1")


def test_an_operator_restarts_all_workers_one_after_the_other(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 0.05}]])
    daemon = make_daemon(fake.ini(size=3)).wait_ready()
    before = set(daemon.worker_pids())
    run = start_run(daemon, [f"job {number}" for number in range(60)])
    fake.wait("call", 20)
    daemon.call("workers.restart")
    fewest = 3
    while not any("pool.rolled" in line for line in daemon.log_lines()):
        fewest = min(fewest, daemon.call("status")["pools"][0]["serving"])
    assert fewest == 3, "one was down before its heir was ready"
    place.wait_until(lambda: not before & set(daemon.worker_pids()), 15, "the elders to go")
    completed(daemon, run)
    assert len(fake.calls()) == 180, "a call was repeated"


def test_restarting_a_worker_that_is_not_there_is_refused(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini())
    with pytest.raises(Exception, match='NOT_FOUND: there is no worker "probe/9"; `workers list` shows them'):
        daemon.call("workers.restart", worker="probe/9")


def test_the_pool_grows_and_shrinks_under_load(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 0.05}]])
    daemon = make_daemon(fake.ini(size=2)).wait_ready()
    kept = set(daemon.worker_pids())
    run = start_run(daemon, [f"job {number}" for number in range(120)])
    daemon.call("workers.scale", size=5)
    wait_serving(daemon, 5)
    assert kept < set(daemon.worker_pids())
    daemon.call("workers.scale", size=1)
    place.wait_until(lambda: len(daemon.workers()) == 1, 15, "one worker")
    completed(daemon, run)
    assert len(fake.calls()) == 360, "a call was repeated"
    assert daemon.call("status")["pools"][0]["size"] == 1


def test_growing_again_while_shrinking_gives_the_wanted_number(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 0.3}]])
    daemon = make_daemon(fake.ini(size=4)).wait_ready()
    start_run(daemon, [f"job {number}" for number in range(8)])
    place.wait_until(lambda: all(worker["held"] for worker in daemon.workers()), 10, "work in every worker")
    daemon.call("workers.scale", size=2)
    daemon.call("workers.scale", size=4)
    place.wait_until(lambda: [worker["state"] for worker in daemon.workers()] == ["ready"] * 4, 10,
                     "four ready workers")


def test_a_job_that_comes_back_while_it_is_held_goes_on_and_is_not_asked_again(make_daemon, make_fake, start_run):
    """As after a database that was away for longer than a lease: ours was taken from us, and given to us again."""
    fake = make_fake([*GREETING, ["serve", {"delay": 1}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    fake.wait("call")
    probing.sql(daemon, "WITH lost AS (DELETE FROM leases RETURNING job_id) "
                        "INSERT INTO ready (run_id, model_id, job_id, attempt) "
                        "SELECT j.run_id, j.model_id, j.id, 2 FROM lost JOIN jobs j ON j.id = lost.job_id")
    daemon.wait_log(r"dispatch\.claimed_again run=\S+ job=1 model=\S+ worker=\S+ attempt=2")
    completed(daemon, run)
    assert [number for _, number in fake.calls("one")] == [1, 2, 3]
    place.wait_until(lambda: not probing.sql(daemon, "SELECT FROM leases"), 10, "no lease to be left")
