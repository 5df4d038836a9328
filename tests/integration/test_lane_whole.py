"""How a lane goes with the whole daemon: bursts, ramps, all of a call's limits or none, and what only others knew.

One daemon serves all of these, each on a provider of its own.
"""

import json
import time
import urllib.request

import pytest

from harness import place
from probing import figures, lane, ledger, running, show, start, wait_asked, wait_end

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed

DEFAULT_OF_OPENAI = 500
RAMP_S, RAMPED_PER_S, RAMP_FLOOR = 3, 20, 1 / 5


@pytest.fixture(scope="module")
def module_daemon(module_simulator):
    tokens = {"requests_per_minute": 6000, "requests_per_day": 1000, "output_tokens_per_minute": 60000}
    ini = {"provider:openai": {"requests_per_minute": None}, "provider:anthropic": tokens,
           "provider:google": {"requests_per_minute": 300, "burst": 5},
           "provider:xai": {"requests_per_minute": 120, "burst": 10, "concurrency": 1},
           "provider:mistral": {"ramp_up": f"{RAMP_S}s"}}
    with running(module_simulator, ini) as daemon:
        yield daemon


def limit_of(daemon, provider, unit="requests/min", scope=""):
    row, = [row for row in lane(daemon, provider)["limits"] if (row["scope"], row["unit"]) == (scope, unit)]
    return row


def enforce(simulator, *limits):
    simulator.post("/_sim/config", {"limits": list(limits)})


def arrivals(simulator, provider):
    return sorted(entry["arrived"] for entry in ledger(simulator, provider=provider))


def refused(simulator):
    return ledger(simulator, status=429)


def test_what_is_told_counts_where_the_operator_gave_nothing(proctor, simulator):
    for theirs in (6000, 120):
        enforce(simulator, f"openai:sliding={theirs}/60")
        wait_end(proctor, start(proctor, 1))
        place.wait_until(lambda: limit_of(proctor, "openai")["told"] == theirs, 5, "the limit to be heard")
        row = limit_of(proctor, "openai")
        assert (row["configured"], row["limit"]) == (DEFAULT_OF_OPENAI, theirs)


def test_after_a_lull_a_burst_goes_at_once_and_not_more(proctor, simulator):
    enforce(simulator, "google:bucket=300/60+6")
    place.wait_until(lambda: limit_of(proctor, "google")["left"] == 5, 10, "the burst to be earned")
    run = start(proctor, 12, ["gemini-1.5-pro"])
    assert wait_end(proctor, run)["progress"]["completed"] == 12
    came = arrivals(simulator, "google")
    # Evenly paced, the first five took 800 ms and all of them 2.2 s.
    assert came[4] - came[0] < 0.6 and came[11] - came[0] >= 1.3
    assert refused(simulator) == []


def test_a_new_limit_ramps_up_to_its_rate(proctor, simulator):
    born = time.monotonic()
    proctor.write_ini({"limit:mistral/mistral-large*": {"requests_per_minute": 60 * RAMPED_PER_S, "burst": 1}})
    proctor.call("reload")
    run = start(proctor, 50, ["mistral-large"])
    assert wait_end(proctor, run)["progress"]["completed"] == 50
    came = arrivals(simulator, "mistral")
    for number, at in enumerate(came, 1):
        ramped = min(at - born, RAMP_S)
        rose = RAMP_FLOOR * ramped + (1 - RAMP_FLOOR) * ramped ** 2 / (2 * RAMP_S)
        could = RAMPED_PER_S * (rose + max(0, at - born - RAMP_S))
        assert number <= could + 2, f"call {number} came {at - born:.2f} s after the limit"
    assert came[-1] - came[0] < 50 / (RAMPED_PER_S * RAMP_FLOOR) * 0.8, "it does not stay at a fifth"


def test_a_call_short_of_tokens_takes_no_request(proctor, simulator):
    run = start(proctor, 8, ["claude-3-sonnet"])

    def held_up():
        told = lane(proctor, "anthropic")
        return told if told["why"] == "output tokens/min" and told["inFlight"] == 0 and told["calls"] >= 2 else None
    told = place.wait_until(held_up, 15, "a call that waits for tokens alone")
    used = {row["unit"]: row["used"] for row in told["limits"]}
    left = {row["unit"]: row["left"] for row in told["limits"]}
    assert used["requests/min"] == used["requests/day"] == told["calls"] < 8
    assert left["requests/min"] > 0 and left["output tokens/min"] < 1000
    assert used["concurrency"] == 0 and told["untilMs"] > 0
    assert wait_end(proctor, run)["progress"]["completed"] == 8
    assert limit_of(proctor, "anthropic", "requests/day")["used"] == 8
    spent = sum(entry["output_tokens"] for entry in ledger(simulator, provider="anthropic"))
    assert limit_of(proctor, "anthropic", "output tokens/min")["used"] == spent


def ask(simulator, number):
    """A call of somebody else's with the same account."""
    body = {"model": "grok-2", "messages": [{"role": "user", "content": f"Hello {number}"}]}
    request = urllib.request.Request(f"{simulator.url}/xai/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "Authorization": "Bearer theirs"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_what_another_client_has_used_up_is_not_asked_for(proctor, simulator):
    enforce(simulator, "xai:sliding=120/60")
    place.wait_until(lambda: limit_of(proctor, "xai")["left"] == 10, 10, "a burst to be earned")
    for number in range(119):
        ask(simulator, number)
    run = start(proctor, 20, ["grok-2"])
    wait_asked(simulator, 120)
    place.wait_until(lambda: limit_of(proctor, "xai")["left"] <= 1, 5, "nothing to be left")
    # What was sent before the daemon's start may run out at any time: one may try, and no burst.
    assert lane(proctor, "xai")["calls"] <= 2 and figures(simulator, "xai")["asked"] <= 121
    assert show(proctor, run)["progress"]["failed"] == 0
    proctor.call("run.delete", run=run, force=True)
