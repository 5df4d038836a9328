"""A reload applies what is live, names what needs a restart, and refuses a file with a mistake as a whole."""

import os
import signal

import pytest

from fake_pool import GREETING, WORKING
from harness import place
from harness.control import ControlError


def shown(daemon, section, key):
    return next(item["value"] for item in daemon.call("config.show", section=section)["items"] if item["key"] == key)


def serving(daemon):
    return daemon.call("status")["pools"][0]["serving"]


def replaced(daemon, before):
    """Waits until none of these processes is a worker any more."""
    place.wait_until(lambda: not before & set(daemon.worker_pids()), 10, "the end of the old workers")


def test_live_keys_take_effect_and_untouched_workers_stay(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini(size=2)).wait_ready()
    before = daemon.worker_pids()
    daemon.write_ini({"pool:probe": {"size": 3}, "provider:openai": {"concurrency": 7}, "daemon": {"log_level": "info"},
                      "retry": {"max_tries": 9}})
    answer = daemon.call("reload")
    assert sorted(answer["applied"]) == ["[daemon] log_level", "[pool:probe] size", "[provider:openai] concurrency",
                                         "[retry] max_tries"]
    assert answer["needsRestart"] == []
    assert answer["workersRestarted"] is False
    place.wait_until(lambda: serving(daemon) == 3, 10, "three workers")
    assert daemon.worker_pids()[:2] == before
    assert daemon.call("providers.show", provider="openai")["concurrency"] == 7
    assert daemon.call("log-level")["level"] == "info"
    assert shown(daemon, "retry", "max_tries") == "9"


def test_limits_of_models_come_change_and_go_by_a_reload(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    section = "limit:openai/gpt-4*"
    for keys, applied in [({"requests_per_minute": 60}, [f"[{section}]"]),
                          ({"requests_per_minute": 90, "concurrency": 2},
                           [f"[{section}] concurrency", f"[{section}] requests_per_minute"])]:
        daemon.write_ini({section: keys})
        answer = daemon.call("reload")
        assert (sorted(answer["applied"]), answer["needsRestart"]) == (applied, [])
    assert shown(daemon, section, "requests_per_minute") == "90"
    assert shown(daemon, section, "tokens_per_minute") == "inherit"
    daemon.write_ini({section: None, "provider:openai": {"budget_usd_per_day": "2.5"}})
    assert sorted(daemon.call("reload")["applied"]) == [f"[{section}]", "[provider:openai] budget_usd_per_day"]
    assert shown(daemon, "provider:openai", "budget_usd_per_day") == "2.50"


def test_what_needs_a_restart_is_named_and_not_applied(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    daemon.write_ini({"daemon": {"run_dir": "/var/tmp/elsewhere"}, "control": {"mode": "0600"}})
    answer = daemon.call("reload")
    assert sorted(answer["needsRestart"]) == ["[control] mode", "[daemon] run_dir"]
    assert answer["applied"] == []
    daemon.wait_log(r"config\.needs_restart section=control key=mode")
    assert os.stat(daemon.socket_path).st_mode & 0o777 == 0o660


def test_a_reload_of_the_same_file_changes_nothing(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini(), keys={"OPENAI_API_KEY": "k"}).wait_ready()
    before = daemon.worker_pids()
    assert daemon.call("reload") == {"applied": [], "needsRestart": [], "workersRestarted": False}
    assert daemon.worker_pids() == before


def test_a_file_with_a_mistake_is_refused_as_a_whole(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    daemon.write_ini({"pool:probe": {"size": 2}, "retry": {"max_tries": "lots"}})
    with pytest.raises(ControlError) as refused:
        daemon.call("reload")
    assert refused.value.code == "BAD_ARGUMENT"
    assert "not reloaded, nothing has changed: " in refused.value.message
    assert f"{daemon.ini_path}:" in refused.value.message
    assert "[retry] max_tries: 'lots' is not a whole number from 1 to 100" in refused.value.message
    assert len(daemon.workers()) == 1
    assert shown(daemon, "pool:probe", "size") == "1"
    daemon.wait_log("config.refused reason=")


@pytest.mark.parametrize("spoil", [
    lambda daemon: os.unlink(daemon.key_path),
    lambda daemon: os.chmod(daemon.key_path, 0o644),
    lambda daemon: daemon.write_keys({"NOT A NAME": "x"}),
    lambda daemon: os.unlink(daemon.ini_path),
], ids=["key_file_gone", "key_file_open_to_all", "key_file_malformed", "ini_gone"])
def test_a_reload_with_an_unusable_file_keeps_the_old_state(make_daemon, make_fake, spoil):
    daemon = make_daemon(make_fake(WORKING).ini(), keys={"OPENAI_API_KEY": "k"}).wait_ready()
    before = daemon.worker_pids()
    spoil(daemon)
    with pytest.raises(ControlError, match="BAD_ARGUMENT: not reloaded, nothing has changed"):
        daemon.call("reload")
    assert daemon.worker_pids() == before
    assert daemon.call("providers.show", provider="openai")["keySet"] is True


def test_SIGHUP_reloads(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    daemon.write_ini({"pool:probe": {"size": 2}})
    os.kill(daemon.process.pid, signal.SIGHUP)
    place.wait_until(lambda: serving(daemon) == 2, 10, "two workers")
    daemon.wait_log(r"config\.applied section=pool:probe key=size")


def test_SIGHUP_with_a_bad_file_changes_nothing_and_says_so(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    daemon.write_ini({"pool:probe": {"size": "many"}})
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_log(r"config\.refused reason=.*'many' is not a whole number.* effect=.nothing has changed.")
    assert serving(daemon) == 1


def test_a_reload_takes_back_a_scaling(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    daemon.call("workers.scale", size=3)
    place.wait_until(lambda: serving(daemon) == 3, 10, "three workers")
    daemon.call("reload")
    place.wait_until(lambda: len(daemon.workers()) == 1, 10, "one worker")


def test_a_changed_key_rolls_the_workers_without_losing_or_repeating_a_call(make_daemon, simulator, start_run):
    simulator.post("/_sim/config", {"latency": {"*": "0.1"}})
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0, concurrency=20), "pool:probe": {"size": 2}},
                         keys={"OPENAI_API_KEY": "key-one"}).wait_ready()
    before = set(daemon.worker_pids())
    run = start_run(daemon, [f"question {number}" for number in range(80)])
    assert simulator.get("/_sim/wait", asked=30, timeout=15)["met"]
    daemon.write_keys({"OPENAI_API_KEY": "key-two"})
    answer = daemon.call("reload")
    assert answer["workersRestarted"] is True
    daemon.wait_log("pool.rolled", 20)
    replaced(daemon, before)
    progress = daemon.wait_run(run)["progress"]
    assert progress == {"total": 80, "completed": 80, "failed": 0, "cancelled": 0}
    bought = simulator.get("/_sim/ledger", limit=10_000, bought="true")["entries"]
    assert len(bought) == len({entry["digest"] for entry in bought}) == 240
    for pid in daemon.worker_pids():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            variables = environment.read().split(b"\0")
        assert b"OPENAI_API_KEY=key-two" in variables


def test_a_key_that_comes_with_a_reload_is_used(make_daemon, simulator, start_run):
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0)}, keys={}).wait_ready()
    run = start_run(daemon, ["one"])
    assert daemon.wait_run(run, "FAILED")["errors"][0]["code"] == "MISSING_API_KEY"
    daemon.write_keys({"OPENAI_API_KEY": "k"})
    assert daemon.call("reload")["workersRestarted"] is True
    daemon.wait_log("pool.rolled")
    assert daemon.call("providers.show", provider="openai")["keySet"] is True
    daemon.call("run.retry", run=run)
    assert daemon.wait_run(run)["progress"]["completed"] == 1


def test_two_reloads_in_a_row_end_with_the_newest_key_everywhere(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["serve"]])
    daemon = make_daemon(fake.ini(size=3), keys={"OPENAI_API_KEY": "one"}).wait_ready()
    for key in ("two", "three"):
        daemon.write_keys({"OPENAI_API_KEY": key})
        daemon.call("reload")

    def all_new():
        pids = [worker["pid"] for worker in daemon.workers() if worker["state"] == "ready"]
        return len(pids) == 3 and all(key_of(pid) == b"three" for pid in pids)

    place.wait_until(all_new, 15, "the newest key in every worker")


def key_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            return dict(item.partition(b"=")[::2] for item in environment.read().split(b"\0")).get(b"OPENAI_API_KEY")
    except FileNotFoundError:
        return None


def test_a_reload_while_stopping_is_refused(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["serve", {"delay": 3}]])
    daemon = make_daemon(fake.ini()).wait_ready()
    start_run(daemon, ["one"])
    fake.wait("call")
    os.kill(daemon.process.pid, signal.SIGTERM)
    daemon.wait_log("daemon.stopping")
    with pytest.raises(ControlError, match="the daemon is stopping"):
        daemon.call("reload")
