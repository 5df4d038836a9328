"""Workers that are replaced though they do well: the other is there first, and nothing is lost, repeated or late."""

import re

import pytest

from fake_pool import GREETING, WORKING
from harness import place
from harness.control import ControlError
from scrape import scrape
from test_supervision import bought_twice, completed, wait_serving


def recycled(daemon):
    """[(worker, pid, why, jobs)] as the log tells."""
    pattern = re.compile(r" worker\.recycle worker=(\S+) pid=(\d+) why=(\S+) jobs=(\d+)")
    found = filter(None, map(pattern.search, daemon.log_lines()))
    return [(name, int(pid), why, int(jobs)) for name, pid, why, jobs in (match.groups() for match in found)]


def assert_heirs_came_first(daemon):
    """Behind every `worker.recycle` the heir's `worker.ready` comes before the elder's `worker.exit`."""
    waiting = {}
    for line in daemon.log_lines():
        found = re.search(r" worker\.(recycle|ready|exit) worker=(\S+)", line)
        if not found:
            continue
        what, name = found.groups()
        if what == "recycle":
            waiting[name] = "heir"
        elif what == "ready" and waiting.get(name) == "heir":
            waiting[name] = "end"
        elif what == "exit" and name in waiting:
            assert waiting.pop(name) == "end", f"the elder went first: {line}"


def fewest_serving(daemon, until):
    """The least number of serving workers that `status` told until the claim came true."""
    fewest = None

    def look():
        nonlocal fewest
        serving = daemon.call("status")["pools"][0]["serving"]
        fewest = serving if fewest is None else min(fewest, serving)
        return until()
    place.wait_until(look, 30, "the end of what is watched")
    return fewest


def ended(daemon, run):
    return daemon.call("run.show", run=run, brief=True)["status"] == "COMPLETED"


# By age, jobs and memory.

def test_workers_are_recycled_by_jobs_each_at_its_own_number(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"turns": 1, "delay": 0.03}]])
    daemon = make_daemon(fake.ini(size=2, capacity=2, max_jobs=20)).wait_ready()
    run = start_run(daemon, [f"job {number}" for number in range(400)], followups=0)
    assert fewest_serving(daemon, lambda: ended(daemon, run)) == 2
    completed(daemon, run)
    assert len(fake.calls()) == 400, "a call was repeated"
    jobs = [jobs for _, _, why, jobs in recycled(daemon) if why == "max_jobs"]
    assert len(jobs) >= 8
    assert all(18 <= count <= 20 for count in jobs), jobs
    assert len(set(jobs)) > 1, "without jitter all workers go together"
    assert_heirs_came_first(daemon)


def test_workers_are_recycled_by_age_while_they_work(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 0.02}]])
    daemon = make_daemon(fake.ini(size=2, capacity=4, max_age="1s", ping_interval="50ms")).wait_ready()
    run = start_run(daemon, [f"job {number}" for number in range(240)])
    assert fewest_serving(daemon, lambda: ended(daemon, run)) == 2
    completed(daemon, run)
    assert len(fake.calls()) == 720, "a call was repeated"
    assert {why for _, _, why, _ in recycled(daemon)} == {"max_age"}
    assert_heirs_came_first(daemon)
    ages = [int(age) for age in re.findall(r"worker\.exit .* up_ms=(\d+) .*planned=yes", daemon.log(10_000))]
    assert len(ages) >= 2 and min(ages) >= 900, ages


def test_a_worker_that_has_grown_is_recycled_and_its_heir_stays(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["serve", {"rss_kb": 300_000}]], WORKING)
    daemon = make_daemon(fake.ini(max_rss="256M")).wait_ready()
    elder = fake.wait("born")["pid"]
    place.wait_until(lambda: not place.process_is_alive(elder), 10, "the elder to go")
    assert [(name, why) for name, _, why, _ in recycled(daemon)] == [("probe/1", "max_rss")]
    heir = fake.journal("born", life=2)[0]["pid"]
    place.wait_until(lambda: daemon.worker_pids() == [heir] and daemon.workers()[0]["lastPongMs"] is not None, 10,
                     "the heir, at work")
    assert_heirs_came_first(daemon)
    event = daemon.wait_event("worker.exit", subject="probe/1")
    assert event["data"]["planned"] is True and event["level"] == "info"


def test_an_heir_that_never_gets_ready_costs_nothing(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"rss_kb": 300_000}]], [["exit", 1]])
    daemon = make_daemon(fake.ini(max_rss="256M", restart_delay="50ms")).wait_ready()
    elder = daemon.worker_pids()[0]
    fake.wait("born", 3)
    run = start_run(daemon, ["one"])
    completed(daemon, run)
    assert fake.journal("call")[0]["pid"] == elder
    assert place.process_is_alive(elder)
    fake.script(WORKING)
    place.wait_until(lambda: not place.process_is_alive(elder), 10, "the elder to go")
    wait_serving(daemon, 1)


# By hand.

def test_a_rolling_restart_of_real_workers_loses_nothing_and_delays_nothing(make_daemon, simulator, start_run):
    simulator.post("/_sim/config", {"latency": {"*": "0.03"}})
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0, concurrency=10), "pool:probe": {"size": 3}},
                         keys={"OPENAI_API_KEY": "k"}).wait_ready()
    before = set(daemon.worker_pids())
    run = start_run(daemon, [f"question {number}" for number in range(100)])
    assert simulator.get("/_sim/wait", ledger=20, timeout=15)["met"]
    daemon.call("workers.restart")
    assert fewest_serving(daemon, lambda: any(" pool.rolled " in line for line in daemon.log_lines())) == 3
    completed(daemon, run)
    assert bought_twice(simulator) == []
    assert simulator.get("/_sim/stats")["providers"]["openai"]["bought"] == 300
    place.wait_until(lambda: not before & set(daemon.worker_pids()), 10, "the elders to go")
    arrivals = sorted(entry["arrived"] for entry in simulator.get("/_sim/ledger", limit=1000)["entries"])
    assert max(later - earlier for earlier, later in zip(arrivals, arrivals[1:])) < 1.0, "calls stood still"


# By the file.

def test_a_reload_of_pools_and_services_touches_only_what_changed(make_tree, services):
    tree = make_tree(services.pool(providers="openai"), services.group("web", "one_for_one", services.service("kept"),
                                                                       services.service("gone")),
                     {"pool:spare": services.pool()["pool:probe"]}, services.service("changed"))
    tree.wait_up("kept", "gone", "changed", "probe", "spare")
    kept = tree.pids_of("kept", "probe/1")
    was, spare = tree.pids_of("gone", "changed"), tree.node("spare/1")["pid"]
    tree.write_ini({"service:gone": None, **services.service("changed", shutdown_timeout="4s"),
                    "service:added": {**services.service("added")["service:added"], "group": "web"},
                    "pool:spare": None, "pool:other": services.pool()["pool:probe"]})
    tree.call("reload")
    tree.wait_up("kept", "added", "changed", "probe", "other")
    place.wait_until(lambda: tree.node("gone") is None and tree.node("spare") is None, 10, "removed nodes to go")
    assert tree.pids_of("kept", "probe/1") == kept
    assert tree.node("changed")["pid"] != was["changed"]
    assert not any(place.process_is_alive(pid) for pid in (*was.values(), spare))


@pytest.mark.parametrize("broken, said", [
    ({"service:bad": {"type": "permanent"}}, r"\[service:bad\] command"),
    ({"service:bad": {"command": "/bin/true", "group": "nowhere"}}, "nowhere"),
    ({"pool:bad": {"providers": "openai"}}, "openai"),
    ({"group:web": {"intensity": "0"}}, "intensity"),
], ids=["no_command", "unknown_group", "provider_of_two_pools", "intensity_0"])
def test_a_bad_file_is_refused_whole(make_tree, services, broken, said):
    tree = make_tree(services.pool(providers="openai"), services.group("web", "one_for_one", services.service("kept")),
                     {"pool:rest": services.pool()["pool:probe"]})
    tree.wait_up("kept", "probe", "rest")
    before = (tree.pids_of("kept", "probe/1", "rest/1"), sorted(services.names("start")))
    tree.write_ini({**services.service("added"), "pool:probe": {"size": 3}})
    tree.write_ini(broken)
    with pytest.raises(ControlError, match=said):
        tree.call("reload")
    assert tree.node("added") is None and len(tree.workers()) == 2
    assert (tree.pids_of("kept", "probe/1", "rest/1"), sorted(services.names("start"))) == before


# Side by side.

def test_a_pool_that_crash_loops_does_not_disturb_another(make_daemon, make_fake, start_run):
    healthy, sick = make_fake([*GREETING, ["serve", {"delay": 0.02}]]), make_fake([*GREETING, ["exit", 1]])
    daemon = make_daemon({**healthy.ini(providers="openai", size=2),
                          "pool:sick": sick.ini(restart_delay="1ms", restart_delay_max="5ms", size=2)["pool:probe"],
                          "provider:anthropic": {"requests_per_minute": 0, "concurrency": 0},
                          "group:root": {"intensity": 5, "period": "30s"}})
    daemon.wait_log(r"pool\.degraded pool=sick ")
    pids = [worker["pid"] for worker in daemon.workers() if worker["worker"].startswith("probe/")]
    run = start_run(daemon, [f"job {number}" for number in range(60)], models=("gpt-4", "claude-3-sonnet"))
    place.wait_until(lambda: daemon.call("run.show", run=run)["progress"]["completed"] == 60, 15, "one half of the run")
    assert len(healthy.calls()) == 180, "a call was repeated"
    assert [worker["pid"] for worker in daemon.workers() if worker["worker"].startswith("probe/")] == pids
    pools = {pool["pool"]: pool for pool in daemon.call("status")["pools"]}
    assert pools["probe"]["degraded"] is None and pools["probe"]["restartsInWindow"] == 0
    assert pools["sick"]["degraded"]
    told = scrape(daemon)
    assert [told("proctor_pool_degraded", pool=pool) for pool in ("sick", "probe")] == [1, 0]
    assert told("proctor_worker_exits_total", pool="sick", cause="exit") == told.sum("proctor_worker_exits_total") > 5
    assert daemon.call("providers.show", provider="anthropic")["why"] == "the worker pool is degraded"
