"""What providers say corrects a lane: limits told, what is left, waits, and refusals that teach; kept by an upgrade."""

import pytest

from harness import place
from harness.proctor import merge_ini
from probing import lane, ledger, script, show, start, wait_asked, wait_end

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed


@pytest.fixture
def make_lane(make_proctor):
    def make(ini=None, **keys):
        return make_proctor(merge_ini({"provider:openai": {"ramp_up": "0", **keys}}, ini))
    return make


def enforce(simulator, *limits):
    simulator.post("/_sim/config", {"limits": list(limits)})


def arrivals(simulator):
    return sorted(entry["arrived"] for entry in ledger(simulator))


def limit_of(daemon, unit="requests/min", scope=""):
    row, = [row for row in lane(daemon)["limits"] if (row["scope"], row["unit"]) == (scope, unit)]
    return row


@pytest.mark.parametrize("theirs, rate", [(6000, 6000), (60000, 12000)], ids=["lower", "higher"])
def test_a_limit_that_is_told_lowers_what_an_operator_gave_and_never_raises_it(simulator, make_lane, theirs, rate):
    enforce(simulator, f"openai:sliding={theirs}/60")
    with make_lane(requests_per_minute=12000) as daemon:
        run = start(daemon, 5)
        wait_end(daemon, run)
        row = place.wait_until(lambda: limit_of(daemon) if limit_of(daemon)["told"] else None, 5, "the limit told")
        assert (row["configured"], row["told"], row["limit"]) == (12000, theirs, rate)


def test_a_refusal_pauses_the_models_of_its_own_limit_and_no_other(simulator, make_lane):
    script(simulator, ("ratelimit=5", {"model": "gpt-4"}, 1))
    with make_lane({"limit:openai/gpt-4*": {"concurrency": 1}}) as daemon:
        slow = start(daemon, 4, ["gpt-4"])
        place.wait_until(lambda: show(daemon, slow)["waiting"], 5, "the wait")
        quick = start(daemon, 20, ["gpt-3.5-turbo"])
        assert wait_end(daemon, quick, deadline=4)["progress"]["completed"] == 20
        assert len(ledger(simulator, status=429)) == 1
        assert show(daemon, slow)["progress"]["completed"] == 0
        assert wait_end(daemon, slow)["progress"]["completed"] == 4


def test_an_upgrade_keeps_what_was_told_the_pause_and_the_days_count(simulator, make_lane):
    enforce(simulator, "openai:sliding=6000/60")
    with make_lane(requests_per_minute=12000, requests_per_day=1000) as daemon:
        wait_end(daemon, start(daemon, 5))
        script(simulator, ("ratelimit=20", {}, 1))
        run = start(daemon, 3)
        place.wait_until(lambda: lane(daemon)["state"] == "paused", 5, "the pause")
        before = lane(daemon)
        day = limit_of(daemon, "requests/day")["used"]
        daemon.call("upgrade")
        daemon.wait_ready()
        after = lane(daemon)
        assert (after["state"], after["why"]) == ("paused", before["why"])
        assert abs(after["untilMs"] - before["untilMs"]) <= 1000
        assert limit_of(daemon)["told"] == 6000
        assert limit_of(daemon, "requests/day")["used"] == day
        daemon.call("run.delete", run=run, force=True)


def test_an_upgrade_keeps_a_lane_parked_with_the_providers_words(simulator, make_lane):
    script(simulator, ("quota", {"provider": "openai"}))
    with make_lane(health_interval="0") as daemon:
        run = start(daemon, 3)
        place.wait_until(lambda: lane(daemon)["state"] == "parked", 5, "openai to be parked")
        why = lane(daemon)["why"]
        daemon.call("upgrade")
        daemon.wait_ready()
        assert (lane(daemon)["state"], lane(daemon)["why"]) == ("parked", why)
        script(simulator)
        daemon.call("providers.resume", provider="openai")
        assert wait_end(daemon, run)["progress"]["completed"] == 3


def test_a_limit_set_ten_times_too_high_is_found_used_kept_by_an_upgrade_and_left_again(simulator, make_lane):
    enforce(simulator, "openai:sliding=20/1")
    with make_lane(requests_per_minute=12000, requests_window="1s") as daemon:
        run = start(daemon, 2000)
        found = place.wait_until(lambda: limit_of(daemon) if 0 < limit_of(daemon)["learned"] <= 22 else None, 15,
                                 "the true limit to be found")
        assert (found["configured"], found["told"], found["limit"]) == (200, 0, found["learned"])
        assert found["learned"] >= 15
        shown = daemon.proctorctl("providers", "show", "openai").stdout
        assert "LEARNED" in shown and f" {found['learned']}" in shown
        refused, asked = len(ledger(simulator, status=429)), len(arrivals(simulator))
        assert refused <= 40, "waves that were under way together teach once"
        wait_asked(simulator, asked + 60)
        came = arrivals(simulator)[asked:]
        assert (len(came) - 1) / (came[-1] - came[0]) >= 0.8 * 20
        assert len(ledger(simulator, status=429)) <= refused + 2

        # It was lower for a while only: what was learned is left step by step, over an upgrade too.
        enforce(simulator)
        before = limit_of(daemon)["learned"]
        daemon.call("upgrade")
        daemon.wait_ready()
        assert before <= limit_of(daemon)["learned"] < 2 * before
        place.wait_until(lambda: limit_of(daemon)["learned"] > found["learned"], 15, "what was learned to recover")
        assert show(daemon, run)["progress"]["failed"] == 0
        daemon.call("run.delete", run=run, force=True)
