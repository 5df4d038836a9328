"""One part of the chaos from its start to its verdict."""

import contextlib
import os
import subprocess

from harness import place
from harness.books import check_books

from . import books
from .killer import Killer
from .proof import Proof
from .site import Site


def _spools(site, faults):
    """Every turn of every node's spool; the daemons are stopped by then."""
    turns = []
    for number, node in enumerate(site.nodes):
        folder = os.path.join(node.daemon.sections["daemon"]["state_dir"], "spool")
        turns += books.spool_of(number, folder, faults)
    return turns


def _judge(site, killer):
    with contextlib.closing(site.connect()) as connection:
        wrong = [f"database: {sentence}" for sentence in check_books(connection)]
        jobs = books.jobs_of(connection)
    for node in site.nodes:
        node.daemon.stop()
    proof = Proof(jobs, books.asks_of(site.ledger()), _spools(site, wrong), [node.deaths for node in site.nodes],
                  [node.outages for node in site.nodes], site.failed_over)
    verdict = proof.judge()
    verdict.faults += wrong
    return verdict


def play(server, nodes, probes, runs, blows, tell):
    """Does so many probes on that database while the blows fall. Gives (verdict, blows that fell by kind)."""
    with Site(server, nodes) as site:
        answers = site.start_runs(probes, runs)
        killer = Killer(site, blows, answers, tell)
        killer.rage()
        site.wait_end(answers)
        tell(f"all runs are over; blows: {killer.counts}; now the books")
        return _judge(site, killer), killer.counts


def knows_upgrade():
    """Whether this build can be upgraded in place."""
    done = subprocess.run([os.path.join(place.installation(), "bin", "proctorctl"), "--help"], capture_output=True,
                          text=True, check=True)
    return any(line.split()[:1] == ["upgrade"] for line in done.stdout.splitlines())
