"""`run start --estimate`: what a run would cost, told before anything is spent."""

import os

import pytest

from harness import place
from harness.control import ControlError
from probing import connect, define, hold, running, show, sql, start, wait_end, wait_progress

pytest_plugins = ["probe_fixtures"]

DAY_MS = 86_400_000
PRICES = """
[prefixes]
openai = gpt-

[model:priced-*]
input_usd_per_mtok = 2
output_usd_per_mtok = 8
prices_as_of = 2026-01-15
"""
# No call is made to it: a provider that is not the simulator.
PAID = {"base_url": "http://127.0.0.2:9/openai", "health_interval": "0", "concurrency": 4, "requests_per_minute": 6,
        "tokens_per_minute": 0, "requests_per_day": 100}
SECTIONS = {"provider:openai": PAID, "limit:openai/priced-*": {"tokens_per_minute": 2000},
            "provider:mistral": {"requests_per_minute": 60, "requests_window": "1s", "requests_per_day": 10}}
PROMPTS = ["p" * 160] * 4
NOTHING = {"low": 0, "likely": 0, "high": 0}


@pytest.fixture(scope="module")
def told(module_simulator):
    """A daemon with a provider that costs money, and the definition `cases`: 200 bytes, then 40."""
    folder = place.make_folder("models")
    path = os.path.join(folder, "models.ini")
    with open(path, "w", encoding="ascii") as file:
        file.write(PRICES)
    place.give_to_run_user(path)
    with running(module_simulator, {"daemon": {"models": path}, **SECTIONS}) as daemon:
        with daemon.connect() as control:
            control.call("definition.import", name="cases", preamble="s" * 40, followups=[
                {"label": "more", "prompt": "f" * 40}], scenarios=[
                {"key": f"case_{number}", "name": "Case", "prompt": text} for number, text in enumerate(PROMPTS)])
        yield daemon
    place.remove_folder(folder)


def estimate(daemon, *models, definition="cases", **args):
    return daemon.call("run.start", definition=definition, models=list(models), estimate=True, **args)


def limits_of(answer):
    return {(limit["lane"], limit["scope"], limit["unit"]): limit for limit in answer["limits"]}


def test_calls_tokens_and_cost_are_those_reckoned_by_hand(told):
    answer = estimate(told, "openai:priced-one", samples=3)
    assert (answer["scenarios"], answer["probes"], answer["turns"], answer["calls"]) == (4, 12, 2, 24)
    # 12 conversations of 50 tokens, then those again with the answer and 10 more; 37 and 7, or 63 and 13 at the edges.
    assert answer["inputTokens"] == {"low": 12 * (37 + 37 + 100 + 7), "likely": 12 * (50 + 50 + 500 + 10),
                                     "high": 12 * (63 + 63 + 1000 + 13)}
    assert answer["outputTokens"] == {"low": 2400, "likely": 12000, "high": 24000}
    assert answer["costUsd"] == pytest.approx({"low": 0.023544, "likely": 0.11064, "high": 0.219336}, abs=1e-9)
    assert answer["costKnown"] is True
    model, = answer["models"]
    assert model["costUsd"] == answer["costUsd"]
    assert model["price"] == {"inputUsdPerMillion": 2, "outputUsdPerMillion": 8, "asOf": "2026-01-15"}
    assert (model["answers"], model["latencyMs"], model["simulated"]) == ("assumed", None, False)


def test_every_limit_tells_how_long_it_takes(told):
    answer = estimate(told, "openai:priced-one", samples=3)
    limits = limits_of(answer)
    assert set(limits) == {("openai", "", "requests/min"), ("openai", "priced-*", "tokens/min"),
                           ("openai", "", "requests/day"), ("openai", "", "concurrency")}
    requests = limits["openai", "", "requests/min"]
    assert (requests["limit"], requests["spanMs"], requests["source"]) == (6, 60_000, "configured")
    assert requests["ms"] == {"low": 240_000, "likely": 240_000, "high": 240_000}
    tokens = limits["openai", "priced-*", "tokens/min"]
    assert tokens["needs"] == {"low": 4572, "likely": 19320, "high": 37668}
    assert tokens["ms"] == {"low": 137_160, "likely": 579_600, "high": 1_130_040}
    assert limits["openai", "", "requests/day"]["ms"] == NOTHING
    # Nobody knows yet how long a call takes.
    assert limits["openai", "", "concurrency"]["ms"] is None
    assert answer["limitMs"] == {"low": 240_000, "likely": 579_600, "high": 1_130_040}
    assert answer["lanes"] == [{"lane": "openai", "limitMs": answer["limitMs"], "ahead": 0}]


def test_models_under_one_limit_take_from_it_together(told):
    answer = estimate(told, "openai:priced-one", "openai:priced-two", "openai:other")
    limits = limits_of(answer)
    assert limits["openai", "", "requests/min"]["needs"]["likely"] == 24
    assert limits["openai", "priced-*", "tokens/min"]["needs"]["likely"] == 2 * 4 * (610 + 1000)


def test_the_slowest_lane_tells_how_long_the_run_takes(told):
    answer = estimate(told, "openai:priced-one", "mistral:one")
    limits = limits_of(answer)
    assert limits["mistral", "", "requests/min"]["spanMs"] == 1000
    assert limits["mistral", "", "requests/min"]["ms"]["likely"] == 8000
    assert answer["limitMs"] == limits["openai", "priced-*", "tokens/min"]["ms"] | {"low": 80_000}
    # 40 calls, 10 a day: three days begin before the last has its turn.
    long = estimate(told, "mistral:one", samples=5)["limitMs"]["likely"]
    assert 2 * DAY_MS < long <= 3 * DAY_MS


def test_maximum_tokens_and_turns_of_the_run_count(told):
    answer = estimate(told, "openai:priced-one", maxTokens=300, maxTurns=1, samplePercentage=50)
    assert (answer["probes"], answer["turns"], answer["calls"]) == (2, 1, 2)
    assert answer["outputTokens"] == {"low": 200, "likely": 600, "high": 600}
    # openai's limit is charged the longest answer.
    assert limits_of(answer)["openai", "priced-*", "tokens/min"]["needs"]["likely"] == 600


def test_a_call_larger_than_its_limit_is_told(told):
    answer = estimate(told, "openai:priced-one", maxTokens=3000)
    assert any("larger than the limit of tokens/min" in text for text in answer["warnings"])
    assert not any("larger" in text for text in estimate(told, "openai:priced-one")["warnings"])


def test_an_unknown_price_is_said_and_not_taken_for_nothing(told):
    alone = estimate(told, "openai:other")
    assert (alone["costUsd"], alone["costKnown"], alone["models"][0]["price"]) == (None, False, None)
    both = estimate(told, "openai:other", "openai:priced-one")
    assert both["costKnown"] is False
    assert both["costUsd"] == estimate(told, "openai:priced-one")["costUsd"]
    assert [text for text in both["warnings"] if "price" in text] == [
        'the price of "openai:other" is not known: its cost is not in the sum, and no budget holds it back; '
        'models.ini may have it']
    shown = told.proctorctl("run", "start", "cases", "--models", "openai:other,openai:priced-one", "--estimate")
    assert "and what has no known price" in shown.stdout


def test_a_start_warns_of_what_has_no_price_as_its_estimate_does(told):
    def of_prices(answer):
        return [text for text in answer["warnings"] if "price" in text]
    asked = {"definition": "cases", "models": ["openai:other", "openai:priced-one", "anthropic:unpriced"]}
    estimated = told.call("run.start", **asked, estimate=True)
    # Nothing of it is to be asked: its provider is nobody.
    told.call("providers.pause", provider="openai")
    started = told.call("run.start", **asked)
    told.call("run.delete", run=started["id"], force=True)
    told.call("providers.resume", provider="openai")
    assert of_prices(started) == of_prices(estimated)
    text, = of_prices(started)
    assert text.startswith('the price of "openai:other" is not known')


@pytest.mark.parametrize("budget, said", [
    (0.1, "likely to cost $0.1106, more than its budget of $0.1000"), (0.15, "up to $0.2193, more than its budget"),
    (0.25, None), (None, None)], ids=["less", "perhaps", "enough", "none"])
def test_an_estimate_is_compared_with_the_runs_budget(told, budget, said):
    args = {} if budget is None else {"budgetUsd": budget}
    answer = estimate(told, "openai:priced-one", samples=3, **args)
    assert answer["budgetUsd"] == budget
    of_budget = [text for text in answer["warnings"] if "than its budget" in text]
    assert [said in text for text in of_budget] == [True] * (said is not None)
    shown = told.proctorctl("run", "start", "cases", "--models", "openai:priced-one", "--samples", "3", "--estimate",
                            *([] if budget is None else ["--budget-usd", budget]))
    assert ("Budget       $" in shown.stdout) == (budget is not None)
    assert shown.stderr.count("than its budget") == len(of_budget)


def test_a_simulated_model_costs_nothing_and_says_so(told):
    answer = estimate(told, "anthropic:priced-one")
    model, = answer["models"]
    assert (model["simulated"], model["costUsd"], model["price"]) == (True, None, None)
    assert (answer["costUsd"], answer["costKnown"]) == (None, True)
    assert any("simulated" in text for text in answer["warnings"])
    assert not any("price" in text for text in answer["warnings"])
    shown = told.proctorctl("run", "start", "cases", "--models", "anthropic:priced-one", "--estimate")
    assert "nothing: simulated" in shown.stdout


def test_a_model_that_nobody_claims_takes_no_calls(told):
    answer = estimate(told, "nobody-has-this", "openai:priced-one")
    unclaimed = answer["models"][0]
    assert (unclaimed["lane"], unclaimed["probes"], unclaimed["calls"]) == ("unsupported", 4, 0)
    assert (answer["probes"], answer["calls"]) == (8, 8)
    assert any("no provider claims" in text for text in answer["warnings"])


def test_an_estimate_writes_nothing(told):
    def counts():
        tables = [name for name, in sql(told, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND "
                                              "tablename NOT IN ('nodes', 'events')")]
        found = {name: sql(told, f"SELECT count(*) FROM {name}")[0][0] for name in sorted(tables)}
        return found, sql(told, "SELECT count(*) FROM events WHERE kind LIKE 'run.%%'"), sql(
            told, "SELECT last_value FROM ready_seq")
    before = counts()
    assert estimate(told, "openai:priced-one", "nobody-has-this", "mistral:one")["calls"] == 16
    assert counts() == before
    assert told.call("run.list")["items"] == []


@pytest.mark.parametrize("args", [
    {"definition": "no-such"}, {"models": ["gpt-4", "gpt-4"]}, {"models": []}, {"samplePercentage": 0},
    {"maxTokens": 0}, {"models": [f"model-{number}" for number in range(1000)], "samples": 1000 * 2},
    {"models": [f"model-{number}" for number in range(1000)] + ["one"], "samples": 1000},
    {"models": [f"model-{number}" for number in range(1000)], "samples": 1000, "definition": "many"}],
    ids=["definition", "twice", "none", "percentage", "tokens", "samples", "models", "probes"])
def test_what_run_start_refuses_an_estimate_refuses_alike(told, args):
    if args.get("definition") == "many":
        define(told, 6, name="many")
    asked = {"definition": "cases", "models": ["openai:priced-one"], **args}
    refusals = []
    for more in ({}, {"estimate": True}):
        with pytest.raises(ControlError) as refused:
            told.call("run.start", **asked, **more)
        refusals.append((refused.value.code, refused.value.message))
    assert refusals[0] == refusals[1]


def test_people_and_programs_are_told_the_same(told):
    words = ("run", "start", "cases", "--models", "openai:priced-one", "--samples", "3", "--estimate")
    answer = told.ctl(*words)
    assert answer == estimate(told, "openai:priced-one", samples=3)
    shown = told.proctorctl(*words)
    assert shown.returncode == 0, shown.stderr
    for text in ("Nothing was started", "$0.024–$0.219", "4m00s–18m50s", "2,000 a minute", "6 a minute", "4 at once"):
        assert text in shown.stdout, shown.stdout


def test_the_real_run_lies_within_the_estimate(make_proctor):
    with make_proctor() as daemon:
        definition = define(daemon, 5, 2)
        before = estimate(daemon, "gpt-4", definition=definition)
        run = daemon.call("run.start", definition=definition, models=["gpt-4"])["id"]
        spent = wait_end(daemon, run)["models"][0]
        assert spent["completed"] == 5
        for tokens in ("inputTokens", "outputTokens"):
            assert before[tokens]["low"] <= spent[tokens] <= before[tokens]["high"]

        after = estimate(daemon, "gpt-4", definition=definition)
        assert after["models"][0]["answers"] == "measured"
        assert after["outputTokens"]["likely"] == pytest.approx(spent["outputTokens"], rel=0.02)
        assert after["inputTokens"]["likely"] == pytest.approx(spent["inputTokens"], rel=0.1)

        daemon.stop()
        daemon.start().wait_ready()
        again = estimate(daemon, "gpt-4", definition=definition)
        assert again["models"][0]["answers"] == "transcripts"
        assert again["outputTokens"]["likely"] == pytest.approx(spent["outputTokens"], rel=0.02)


def test_a_simulators_transcripts_say_nothing_of_the_provider(make_proctor):
    with make_proctor() as daemon:
        definition = define(daemon, 5)
        run = daemon.call("run.start", definition=definition, models=["gpt-4"])["id"]
        wait_end(daemon, run)
        with connect(daemon) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE transcripts SET model_version = 'gpt-4-0613'")
        daemon.stop()
        daemon.start().wait_ready()
        assert estimate(daemon, "gpt-4", definition=definition)["models"][0]["answers"] == "assumed"


def test_what_other_runs_have_queued_is_told(proctor, simulator):
    hold(simulator)
    run = start(proctor, 3, models=("gpt-4", "claude-3-sonnet"))
    answer = estimate(proctor, "gpt-4", "mistral-large", definition=define(proctor, 2))
    assert {lane["lane"]: lane["ahead"] for lane in answer["lanes"]} == {"openai": 3, "mistral": 0}
    shown = proctor.proctorctl("run", "start", "cases", "--models", "gpt-4", "--estimate")
    assert "Other runs have 3 probes of openai under way or queued" in shown.stdout
    proctor.call("run.pause", run=run)
    assert estimate(proctor, "gpt-4")["lanes"][0]["ahead"] == 0
    proctor.call("run.resume", run=run)
    hold(simulator, False)
    wait_progress(proctor, run, completed=6)
    assert show(proctor, run)["status"] == "COMPLETED"
    assert estimate(proctor, "gpt-4")["lanes"][0]["ahead"] == 0
