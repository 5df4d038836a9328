"""What runs cost: priced turn by turn, kept with every end, and estimated before a run starts.

Answers of a lane that names the simulator have no price. Here the address ends in a slash, which makes it one that is
not known as the simulator's: as a user's own gateway would be.
"""

from decimal import Decimal

import pytest

from harness.control import ControlError
from probing import running, script, sql, start, wait_end

pytest_plugins = ["probe_fixtures"]

PRICES = {"gpt-4o": (Decimal("2.5"), Decimal(10))}     # USD per million tokens


@pytest.fixture(scope="module")
def module_daemon(module_simulator):
    ini = {"provider:openai": {"base_url": f"{module_simulator.url}/openai/", "requests_per_minute": "600"}}
    with running(module_simulator, ini) as daemon:
        yield daemon


def price(model, tokens_in, tokens_out):
    per_in, per_out = PRICES[model]
    return (per_in * tokens_in + per_out * tokens_out) / 1000000


def test_each_transcript_costs_its_tokens_and_the_run_their_sum(proctor):
    run = start(proctor, 3, ["gpt-4o"], followups=2)
    shown = wait_end(proctor, run)
    rows = sql(proctor, "SELECT input_tokens, output_tokens, cost_usd FROM transcripts WHERE run_id = %s", run)
    assert [row[2] for row in rows] == [price("gpt-4o", row[0], row[1]) for row in rows] and len(rows) == 3
    assert sql(proctor, "SELECT spent_usd FROM runs WHERE id = %s", run) == [(sum(row[2] for row in rows),)]
    assert Decimal(str(shown["costUsd"])) == sum(row[2] for row in rows)


def test_what_failed_half_way_keeps_its_cost(proctor, simulator):
    script(simulator, ("status=400", {"turn": 2}))
    run = start(proctor, 1, ["gpt-4o"], followups=1)
    shown = wait_end(proctor, run)
    assert shown["progress"]["failed"] == 1, shown
    (failed,), = sql(proctor, """SELECT o.cost_usd FROM outcomes o JOIN jobs j ON j.id = o.job_id
        WHERE j.run_id = %s""", run)
    assert failed > 0
    assert Decimal(str(shown["costUsd"])) == Decimal(str(shown["models"][0]["costUsd"])) == failed


def test_a_simulated_run_has_no_cost(proctor):
    shown = wait_end(proctor, start(proctor, 1, ["grok-2"]))
    assert shown["costUsd"] is None and shown["models"][0]["costUsd"] is None


def test_spending_counts_every_call(proctor):
    def calls():
        return sum(row[0] for row in sql(proctor, "SELECT calls FROM spending WHERE model_id = 'gpt-4o'"))
    before = calls()
    wait_end(proctor, start(proctor, 4, ["gpt-4o"], followups=2))
    assert calls() == before + 12
    assert sql(proctor, "SELECT unpriced_calls FROM spending WHERE model_id = 'gpt-4o'") == [(0,)]


def test_an_estimate_refuses_what_a_start_refuses(proctor):
    with pytest.raises(ControlError, match="there is no definition"):
        proctor.call("run.start", definition="nothing", models=["gpt-4o"], estimate=True)


@pytest.mark.parametrize("budget", [0, -1, 0.00001])
def test_a_budget_is_exact_and_more_than_nothing(proctor, budget):
    with pytest.raises(ControlError, match="budgetUsd"):
        start(proctor, 1, ["gpt-4o"], budgetUsd=budget)


def test_a_budget_is_kept_with_the_run(proctor):
    run = start(proctor, 1, ["gpt-4o"], budgetUsd=12.3456)
    assert wait_end(proctor, run)["budgetUsd"] == 12.3456
    assert sql(proctor, "SELECT budget_usd FROM runs WHERE id = %s", run) == [(Decimal("12.3456"),)]
