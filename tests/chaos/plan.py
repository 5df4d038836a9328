"""What is killed, and when: drawn from a seed before anything runs."""

from dataclasses import dataclass

KINDS = ("workers", "daemon", "postgres", "stop", "upgrade")
# Shares of all answers between which blows fall: before, nothing is under way; after, too little is left.
FIRST, LAST = 0.005, 0.96
NEAR_S, FAR_S = 0.3, 4.0  # most blows fall so soon after their share is reached; some fall late, into another's wake
FAR_CHANCE = 0.2


@dataclass(order=True)
class Blow:
    """at: the share of all answers that must have been bought. pick: in [0, 1), says which of several it hits.

    down_s: how long a killed daemon or server stays away; how far behind the standby is that takes over.
    """

    at: float
    delay_s: float
    kind: str
    pick: float
    down_s: float = 0.0


def draw(dice, kills, away=None):
    """Blows in order of `at`. kills: {kind: how many}; away: {kind: function of the dice that gives down_s}."""
    blows = []
    for kind, count in sorted(kills.items()):
        for _ in range(count):
            far = dice.random() < FAR_CHANCE
            delay = dice.uniform(0, FAR_S if far else NEAR_S)
            stay = (away or {}).get(kind)
            blows.append(Blow(dice.uniform(FIRST, LAST), delay, kind, dice.random(), stay(dice) if stay else 0.0))
    return sorted(blows)


def split(dice, kills, share):
    """Two dictionaries of kills: the second gets about that share of each kind, by the dice."""
    second = {kind: sum(dice.random() < share for _ in range(count)) for kind, count in kills.items()}
    return {kind: count - second[kind] for kind, count in kills.items()}, second


def parse_kills(text):
    """`workers=500,daemon=30` -> {kind: count}; what is not named is 0. ValueError with what is wrong."""
    kills = dict.fromkeys(KINDS, 0)
    for item in filter(None, text.split(",")):
        kind, _, count = item.partition("=")
        if kind not in KINDS or not count.isdigit():
            raise ValueError(f"{item!r} is not KIND=COUNT; kinds: {', '.join(KINDS)}")
        kills[kind] = int(count)
    return kills
