"""Runs share a provider: a small one is not held up by a big one, nor anybody by what is paused."""

import time

import pytest

from harness import place
from probing import define, figures, ledger, show, sql, start, wait_end, wait_progress

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed

PER_MINUTE = 1200
SMALL = 10


@pytest.fixture
def limited(make_proctor):
    """A daemon that may call openai PER_MINUTE times a minute."""
    with make_proctor({"provider:openai": {"requests_per_minute": PER_MINUTE, "burst": 1}}) as daemon:
        yield daemon


def seconds_of(daemon, run):
    """From its start to its end."""
    return sql(daemon, "SELECT extract(epoch FROM finished_at - created_at)::float8 FROM runs WHERE id = %s", run)[0][0]


def transcripts(daemon, run, model):
    return sql(daemon, "SELECT count(*) FROM transcripts WHERE run_id = %s AND model_id = %s", run, model)[0][0]


def take(daemon, definition, **options):
    """Seconds that a run of the definition takes."""
    run = daemon.call("run.start", definition=definition, models=["gpt-4"], **options)["id"]
    assert wait_end(daemon, run)["progress"]["completed"] == SMALL
    return seconds_of(daemon, run)


def start_big(daemon):
    """20,000 probes of the same model, under way."""
    run = start(daemon, 1000, samples=20)
    wait_progress(daemon, run, completed=20)
    return run


def test_ten_probes_beside_twenty_thousand_take_about_their_own_time(limited):
    small = define(limited, SMALL)
    alone = max(take(limited, small) for _ in range(2))
    big = start_big(limited)
    beside = take(limited, small)
    assert beside <= 2.5 * alone + 1, f"{alone:.2f} s alone, {beside:.2f} s beside the big run"
    assert show(limited, big)["status"] == "RUNNING"
    limited.call("run.delete", run=big, force=True)


def test_a_small_run_of_low_priority_is_done_long_before_the_big_one(limited):
    small = define(limited, SMALL)
    big = start(limited, 1000, samples=20, priority=1)
    wait_progress(limited, big, completed=20)
    # One turn of five is its own: its probes are done within fifty calls and what was in line before.
    assert take(limited, small) <= (5 * SMALL + 128) * 60 / PER_MINUTE * 1.2
    assert show(limited, big)["status"] == "RUNNING"
    limited.call("run.delete", run=big, force=True)


@pytest.mark.parametrize("paused", ["run", "model"])
def test_what_is_paused_does_not_block_its_provider(limited, simulator, paused):
    definition = define(limited, 400)
    big = limited.call("run.start", definition=definition, models=["gpt-4", "gpt-3.5-turbo"])["id"]
    wait_progress(limited, big, completed=20)
    limited.call("run.pause", run=big, **({"model": "gpt-4"} if paused == "model" else {}))
    other = start(limited, 40)
    begun, asked = time.monotonic(), figures(simulator)["asked"]
    assert wait_end(limited, other)["progress"]["completed"] == 40
    # The provider is used as before: by the other run alone, or by it and what is left of the paused one.
    could = (time.monotonic() - begun) * PER_MINUTE / 60
    assert figures(simulator)["asked"] - asked >= 0.6 * could
    assert show(limited, big)["status"] == ("PAUSED" if paused == "run" else "RUNNING")
    limited.call("run.delete", run=big, force=True)


def test_a_paused_model_is_asked_no_more_while_the_run_goes_on(limited, simulator):
    run = start(limited, 60, ["gpt-4", "gpt-3.5-turbo"])
    wait_progress(limited, run, completed=10)
    limited.call("run.pause", run=run, model="gpt-4")
    place.wait_until(lambda: transcripts(limited, run, "gpt-3.5-turbo") == 60, 20, "the other model's probes")
    assert len(ledger(simulator, model="gpt-4")) < 30
    limited.call("run.resume", run=run, model="gpt-4")
    assert wait_end(limited, run)["progress"]["completed"] == 120
