"""Money: every turn is counted once, whatever is repeated, failed or asked again; budgets pause runs and are raised."""

from decimal import Decimal

import psycopg2
import pytest

from queue_calls import end, body

DAY = 20000     # 2024-10-04
KEEP = """SELECT place FROM keep_turns(%s, %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[],
    %s::text[])"""
FINISH = """SELECT * FROM finish_jobs(%s, %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[],
    %s::text[], '{v1}', '{10}', '{20}', '{0}', '{100}', %s::bigint[], %s::text[], %s::bigint[], '{1}', '{0}', '{0}',
    '{0}', %s::text[])"""


def bill(*costs):
    """One turn for each cost: 10 tokens in, 20 out."""
    return "{" + ",".join(f"{DAY},10,20,{'NULL' if cost is None else cost}" for cost in costs) + "}"


def keep(queue, job, number, cost):
    queue.rows(KEEP, queue.node, [job["job_id"]], [job["attempt"]], [number], [f"d{number - 1}" if number > 1 else ""],
               [f"d{number}"], [body(number)], [bill(cost)])


def finish(queue, job, fate, costs, whole, base=0, delay=0):
    """The end of an attempt that carries a turn for each of `costs`, behind `base` others; all of it cost `whole`."""
    numbers = range(base + 1, base + 1 + len(costs))
    error = None if fate == "COMPLETED" else '{"code": "SERVER_ERROR", "message": "no"}'
    queue.rows(FINISH, queue.node, [job["job_id"]], [job["attempt"]], [fate],
               ["[" + ",".join(body(number) for number in numbers) + "]"], [",".join(f"d{n}" for n in numbers)], [base],
               [f"d{base}" if base else ""], [whole], [error], [delay], [bill(*costs)])


def spent(queue):
    return queue.value("SELECT spent_usd FROM runs")


def spending(queue):
    return [tuple(row.values()) for row in queue.rows(
        "SELECT day::text, lane, model_id, calls, unpriced_calls, input_tokens, output_tokens, cost_usd FROM spending")]


@pytest.fixture
def job(queue):
    return queue.claim(queue.start(scenarios=1)["run_id"])[0]


def test_a_conversation_is_counted_turn_by_turn_and_once(queue, job):
    for _ in range(2):
        keep(queue, job, 1, 3 * 10**9)
    assert spent(queue) == Decimal("0.3")
    for _ in range(2):
        finish(queue, job, "COMPLETED", [3 * 10**9, 10**9], 4 * 10**9)
    assert spent(queue) == Decimal("0.4")
    assert spending(queue) == [("2024-10-04", "openai", "gpt-4", 2, 0, 20, 40, Decimal("0.4"))]
    assert queue.value("SELECT cost_usd FROM transcripts") == Decimal("0.4")


def test_turns_that_come_again_behind_their_end_are_not_counted(queue, job):
    finish(queue, job, "COMPLETED", [10**9], 10**9)
    keep(queue, job, 1, 10**9)
    assert spent(queue) == Decimal("0.1")


@pytest.mark.parametrize("fate", ["FAILED", "CANCELLED", "REFUSED"])
def test_what_failed_has_cost_too(queue, job, fate):
    for _ in range(2):
        finish(queue, job, fate, [10**9, 10**9], 2 * 10**9)
    assert spent(queue) == Decimal("0.2")
    assert queue.value("SELECT cost_usd FROM outcomes") == Decimal("0.2")


def test_a_retry_of_what_failed_is_paid_for_again(queue, job):
    finish(queue, job, "FAILED", [10**9], 10**9)
    queue.rows("SELECT * FROM retry_failed(%s)", job["run_id"])
    again, = queue.claim(job["run_id"])
    keep(queue, job, 1, 10**9)      # of the attempt that failed: void
    finish(queue, again, "COMPLETED", [10**9], 10**9)
    assert spent(queue) == Decimal("0.2")


def test_an_attempt_to_be_repeated_leaves_its_cost_with_its_turns(queue, job):
    for _ in range(2):
        finish(queue, job, "LATER", [10**9, 2 * 10**9], 3 * 10**9)
    again, = queue.claim(job["run_id"])
    assert (again["turn_count"], again["cost_e10"]) == (2, 3 * 10**9)
    assert spent(queue) == Decimal("0.3")
    queue.rows("SELECT api_run_cancel(%s)", job["run_id"])
    finish(queue, again, "RETURNED", [], None, base=2)
    assert queue.value("SELECT cost_usd FROM outcomes WHERE status = 'CANCELLED'") == Decimal("0.3")
    assert spent(queue) == Decimal("0.3")


def test_an_unknown_cost_is_never_nothing(queue, job):
    keep(queue, job, 1, None)
    queue.rows("SELECT take_back_earlier(0, '')")
    finish(queue, job, "LATER", [], None, base=1)
    again, = queue.claim(job["run_id"])
    assert again["cost_e10"] is None
    finish(queue, again, "FAILED", [], None, base=1)
    assert queue.value("SELECT cost_usd FROM outcomes") is None
    assert spending(queue) == [("2024-10-04", "openai", "gpt-4", 1, 1, 10, 20, None)]
    assert queue.value("SELECT api_run_show(%s, 0, true)::text", job["run_id"]).count('""costUsd"": null') == 1


def test_a_daemon_without_bills_still_has_its_calls_counted(queue, job):
    queue.finish(end(job))
    assert [row[3:5] for row in spending(queue)] == [(1, 1)]
    assert spent(queue) == 0


def test_the_spending_of_a_day_outlives_its_run(queue, job):
    queue.rows(KEEP, queue.node, [job["job_id"]], [1], [1], [""], ["d1"], [body(1)], [f"{{0,10,20,{10**9}}}"])
    finish(queue, job, "COMPLETED", [], 10**9, base=1)
    queue.rows("SELECT delete_run(%s)", job["run_id"])
    day = queue.value("SELECT ((now() AT TIME ZONE 'UTC')::date - date '1970-01-01')::bigint")
    assert queue.rows("SELECT * FROM spent_today()") == [
        {"day": day, "lane": "openai", "model_id": "gpt-4", "calls": 1, "cost_e10": 10**9}]


# ---- budgets ----

@pytest.fixture
def budgeted(queue, job):
    queue.rows("UPDATE runs SET budget_usd = 5")
    return job["run_id"]


def pause(queue, run, seen=5 * 10**10):
    return queue.value("SELECT pause_over_budget(%s, %s, %s, 'the budget of $5.00 is used up')", queue.node, run, seen)


def test_pairs_tell_budget_and_spending(queue, job, budgeted):
    keep(queue, job, 1, 10**9)
    pair, = queue.rows("SELECT * FROM active_pairs()")
    assert (pair["budget_e10"], pair["spent_e10"]) == (5 * 10**10, 10**9)


def test_a_run_is_paused_once(queue, budgeted):
    assert [pause(queue, budgeted), pause(queue, budgeted)] == [True, False]
    assert queue.value("SELECT status || ': ' || pause_reason FROM runs") == "PAUSED: the budget of $5.00 is used up"
    assert queue.value("SELECT count(*) FROM events WHERE kind = 'run.over_budget'") == 1


def test_a_budget_raised_meanwhile_is_not_over(queue, budgeted):
    assert not pause(queue, budgeted, seen=4 * 10**10)
    assert queue.value("SELECT status FROM runs") == "RUNNING"


@pytest.mark.parametrize("budget", [None, "5", "4.99"])
def test_a_used_up_budget_has_to_be_raised(queue, budgeted, budget):
    pause(queue, budgeted)
    with pytest.raises(psycopg2.Error, match="the budget of .5.00 is used up; raise the budget with --budget-usd"):
        queue.rows("SELECT api_run_resume(%s, NULL, %s)", budgeted, budget)
    queue.rows("SELECT api_run_resume(%s, NULL, '5.01')", budgeted)
    assert queue.rows("SELECT status, budget_usd FROM runs") == [{"status": "RUNNING", "budget_usd": Decimal("5.01")}]


def test_what_an_operator_paused_needs_no_larger_budget(queue, budgeted):
    queue.rows("SELECT api_run_pause(%s, NULL, NULL)", budgeted)
    queue.rows("SELECT api_run_resume(%s, NULL, NULL)", budgeted)
    assert queue.value("SELECT status FROM runs") == "RUNNING"
