"""The short form of `make chaos`: all kinds of kills, a handful each, in some hundred probes."""

import random

import pytest

from chaos import plan, single

PROBES = 400
RUNS = 4
KILLS = "workers=12,daemon=4,postgres=3,stop=1,upgrade=1"


@pytest.fixture
def seed():
    """Of all kills; pytest shows what is printed when the test fails."""
    drawn = random.SystemRandom().randrange(1 << 32)
    print(f"to see it again: tests/chaos --probes {PROBES} --runs {RUNS} --kills {KILLS} --seed {drawn}")
    return drawn


def test_kills_at_random_instants_lose_nothing_and_buy_nothing_twice_but_what_they_hit(seed):
    verdict, _ = single.play(random.Random(seed), PROBES, RUNS, plan.parse_kills(KILLS), print)
    assert verdict.faults == []
    assert verdict.counts["succeeded"] == PROBES and verdict.counts["lost"] == verdict.counts["duplicates"] == 0
    assert verdict.counts["asked_again"] == verdict.explained["killed"] > 0, "no kill hit a call"
