"""One daemon, `shared = no`: on a server of its own for most of the runs, on the embedded one for the rest."""

from collections import Counter

from . import plan
from .proof import Verdict
from .rage import knows_upgrade, play as play_part
from .servers import Embedded, Server

EMBEDDED_SHARE = 0.25  # of runs, probes and kills
AWAY = {"postgres": lambda dice: dice.uniform(0, 3)}


def play(dice, probes, runs, kills, tell):
    """Gives (verdict, blows that fell by kind)."""
    if kills["upgrade"] and not knows_upgrade():
        tell("this proctorctl has no command upgrade: none is done")
        kills = {**kills, "upgrade": 0}
    embedded_runs = round(runs * EMBEDDED_SHARE)
    embedded_probes = probes * embedded_runs // runs // 2 * 2
    on_server, on_embedded = plan.split(dice, kills, EMBEDDED_SHARE) if embedded_runs else (kills, {})
    verdict, fell = Verdict(), Counter()
    for name, server, part_probes, part_runs, part_kills in (
            ("server", Server, probes - embedded_probes, runs - embedded_runs, on_server),
            ("embedded", Embedded, embedded_probes, embedded_runs, on_embedded)):
        if part_runs:
            tell(f"{name}: {part_probes} probes in {part_runs} runs, kills {part_kills}")
            part, counts = play_part(server(), 1, part_probes, part_runs, plan.draw(dice, part_kills, AWAY), tell)
            verdict.add(part)
            fell.update(counts)
    check_counts(verdict, probes, fell, kills)
    return verdict, fell


def check_counts(verdict, probes, fell, kills):
    """All that was asked for was done."""
    for name in ("probes", "outcomes", "succeeded"):
        if verdict.counts[name] != probes:
            verdict.faults.append(f"{name}: {verdict.counts[name]}, not {probes}")
    for kind, count in kills.items():
        if fell[kind] != count:
            verdict.faults.append(f"kills of {kind}: {fell[kind]}, not {count}")
