"""Three daemons on one Postgres, `shared = yes`; in the middle its standby takes over, behind by what it never got."""

from collections import Counter

from . import plan
from .rage import play as play_part
from .servers import Pair
from .single import check_counts

NODES = 3
LEASE_S = 15.0
LONG_CHANCE = 0.25
MIDDLE = 0.5
LAG_S = (0.2, 2.0)  # what the primary commits before its end, and its standby never gets


def _stay_away(dice):
    """Mostly back at once, sometimes not before the others have taken its work over."""
    return dice.uniform(LEASE_S + 1, LEASE_S + 8) if dice.random() < LONG_CHANCE else 0.0


AWAY = {"postgres": lambda dice: dice.uniform(0, 3), "daemon": _stay_away}


def play(dice, probes, runs, kills, tell):
    """Gives (verdict, blows that fell by kind)."""
    if kills["upgrade"]:
        tell("no upgrades with several daemons: none is done")
        kills = {**kills, "upgrade": 0}
    blows = sorted([*plan.draw(dice, kills, AWAY), plan.Blow(MIDDLE, 0.0, "failover", 0.0, dice.uniform(*LAG_S))])
    verdict, fell = play_part(Pair(), NODES, probes, runs, blows, tell)
    check_counts(verdict, probes, Counter(fell), {**kills, "failover": 1})
    return verdict, fell
