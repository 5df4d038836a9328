"""Limits by tokens, by model and by day: charged as the provider charges, from all or from none, and over restarts."""

import pytest

from harness import place
from harness.proctor import merge_ini
from probing import figures, hold, lane, ledger, show, start, wait_asked, wait_end, wait_progress

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed

GPT_4 = "limit:openai/gpt-4*"


@pytest.fixture
def limited(make_proctor):
    """limited(provider, ini, **keys) makes a daemon that keeps these limits with that provider."""
    def make(provider="openai", ini=None, **keys):
        return make_proctor(merge_ini({f"provider:{provider}": {"ramp_up": "0", **keys}}, ini))
    return make


def enforce(simulator, *limits):
    simulator.post("/_sim/config", {"limits": list(limits)})


def meters(simulator):
    return simulator.get("/_sim/stats")["limits"]


def limit_of(daemon, unit, scope="", provider="openai"):
    row, = [row for row in lane(daemon, provider)["limits"] if (row["scope"], row["unit"]) == (scope, unit)]
    return row


# tokens


@pytest.mark.parametrize("provider, model, unit, key", [
    ("openai", "gpt-4", "tokens", "tokens_per_minute"),
    ("anthropic", "claude-3-sonnet", "output_tokens", "output_tokens_per_minute"),
    ("anthropic", "claude-3-sonnet", "input_tokens", "input_tokens_per_minute"),
], ids=["openai", "output", "input"])
def test_tokens_a_minute_are_never_exceeded_while_histories_grow(simulator, limited, provider, model, unit, key):
    limit = 120_000
    enforce(simulator, {"provider": provider, "kind": "sliding", "unit": unit, "limit": limit, "window_s": 60})
    with limited(provider, **{"input_tokens_per_minute": 0, "output_tokens_per_minute": 0, key: limit}) as daemon:
        run = start(daemon, 4, [model], followups=2, maxTokens=300)
        assert wait_end(daemon, run)["progress"]["completed"] == 4
        meter, = meters(simulator)
        assert (meter["refused"], meter["admitted"]) == (0, 12)
        told = limit_of(daemon, unit.replace("_", " ") + "/min", provider=provider)
        assert told["configured"] == limit and lane(daemon, provider)["limited"] == 0


def test_anthropic_is_charged_what_its_answers_hold_not_what_they_could(simulator, limited):
    enforce(simulator, {"provider": "anthropic", "kind": "sliding", "unit": "output_tokens", "limit": 10**6,
                        "window_s": 60})
    with limited("anthropic", output_tokens_per_minute=600_000, input_tokens_per_minute=0) as daemon:
        run = start(daemon, 5, ["claude-3-sonnet"], maxTokens=2000)
        wait_end(daemon, run)
        used = limit_of(daemon, "output tokens/min", provider="anthropic")
        meter, = meters(simulator)
        assert used["used"] == meter["admitted_cost"] < 5 * 2000


# families of models


def test_a_limit_of_a_family_holds_its_models_together_and_nobody_else(simulator, limited):
    enforce(simulator, "openai/gpt-4*:sliding=14/1")
    with limited(ini={GPT_4: {"requests_per_minute": 600, "burst": 1}}) as daemon:
        run = start(daemon, 10, ["gpt-4", "gpt-4-turbo"])
        other = start(daemon, 20, ["gpt-3.5-turbo"])
        assert wait_end(daemon, other)["progress"]["completed"] == 20
        assert show(daemon, run)["status"] == "RUNNING", "20 calls at 10 a second take two seconds"
        assert wait_end(daemon, run)["progress"]["completed"] == 20
        meter, = meters(simulator)
        assert (meter["admitted"], meter["refused"]) == (20, 0)
        took = meter["last_s"] - meter["first_s"]
        assert took >= 19 * 0.1 * 0.95, f"both models together are held to 10 a second: {took:.2f} s"


def test_a_call_that_one_limit_refuses_takes_nothing_from_the_others(simulator, limited):
    hold(simulator)
    with limited(requests_per_minute=60000, concurrency=2, requests_per_day=1000) as daemon:
        run = start(daemon, 10)
        wait_asked(simulator, 2)
        place.wait_until(lambda: lane(daemon)["why"] == "concurrency", 5, "the lane to wait for a slot")
        assert limit_of(daemon, "requests/day")["used"] == 2
        assert limit_of(daemon, "concurrency")["used"] == 2
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 10
        assert (limit_of(daemon, "requests/day")["used"], limit_of(daemon, "requests/day")["left"]) == (10, 990)
        assert limit_of(daemon, "concurrency")["used"] == 0


# a day


def test_requests_a_day_stop_at_their_number_and_outlive_a_kill(simulator, limited):
    with limited(requests_per_day=7) as daemon:
        run = start(daemon, 12)
        wait_progress(daemon, run, completed=7)
        place.wait_until(lambda: lane(daemon)["why"] == "requests/day", 5, "the day to be told")
        told, = show(daemon, run)["waiting"]
        assert told["why"] == "requests/day" and told["untilMs"] > 0
        daemon.kill()
        daemon.start()
        daemon.wait_ready()
        place.wait_until(lambda: lane(daemon)["why"] == "requests/day", 15, "the day to be told again")
        assert limit_of(daemon, "requests/day")["used"] == 7
        assert figures(simulator)["asked"] == 7
        assert show(daemon, run)["progress"]["completed"] == 7


# reload


def test_a_reload_adds_and_removes_a_limit_amid_conversations(simulator, limited):
    hold(simulator)
    with limited() as daemon:
        run = start(daemon, 6, ["gpt-4", "gpt-3.5-turbo"], followups=1)
        wait_asked(simulator, 12)
        daemon.write_ini({GPT_4: {"concurrency": 2}})
        daemon.call("reload")
        assert limit_of(daemon, "concurrency", "gpt-4*")["configured"] == 2
        # It is taken out again while its calls are under way and others wait for it.
        daemon.write_ini({GPT_4: None})
        told = daemon.call("reload")
        assert any("gpt-4*" in key for key in told["applied"]) and told["needsRestart"] == []
        assert [row for row in lane(daemon)["limits"] if row["scope"]] == []
        assert lane(daemon)["inFlight"] == 12
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 12
        assert lane(daemon)["inFlight"] == 0
        assert len(ledger(simulator, status=200)) == 24, "nothing was asked twice"
