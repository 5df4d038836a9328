"""The three books as they stand at the end: what was asked (the simulator's), what was spooled (the daemons'), and what
is recorded (the database's). Each is read by itself; proof.py compares."""

import calendar
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

from harness import place

sys.path.insert(0, os.path.join(place.REPOSITORY, "workers"))

from simulator.formats.base import messages_digest  # noqa: E402  (needs the path above)

SEGMENT = re.compile(r"[0-9a-f]{16}\.spool")  # others are made ready, or given up
SIGNATURE = re.compile(r"\[(sim\d+)\] ")


def signature(text):
    """The id of the ask that a text answers; None when it bears none."""
    found = SIGNATURE.match(text)
    return found and found.group(1)


@dataclass(frozen=True)
class Ask:
    """One call that the provider answered with 200. digest: of the messages it held, the whole conversation so far."""

    id: str
    model: str
    conversation: str
    turn: int
    digest: str
    port: int
    arrived: float
    ended: float
    bought: bool


@dataclass(frozen=True)
class Spooled:
    """One turn in a spool. node: whose; at: wall clock; id: of the ask that it answers."""

    node: int
    at: float
    job: int
    attempt: int
    number: int
    id: str
    body: dict


@dataclass(frozen=True)
class Job:
    """One probe as the database has it. error: of one that failed. transcripts: the turns of each that it has."""

    id: int
    model: str
    preamble: str
    prompt: str
    status: str
    error: dict
    transcripts: list

    @property
    def conversation(self):
        return messages_digest([("system", self.preamble), ("user", self.prompt)])

    def asked_digest(self, turns, number):
        """Digest of the messages that lead to the turn of that number, were `turns` what was said before."""
        messages = [("system", self.preamble)]
        for turn in turns[:number - 1]:
            messages += [("user", turn["probePrompt"]), ("assistant", turn["targetResponse"])]
        return messages_digest([*messages, ("user", turns[number - 1]["probePrompt"])])


def asks_of(ledger):
    """The answered asks of a ledger; whoever was refused or failed was not paid."""
    return [Ask(entry["id"], entry["model"], entry["conversation"], entry["turn"], entry["digest"], entry["port"],
                entry["arrived_unix"], entry["ended_unix"], entry["bought"])
            for entry in ledger if entry["status"] == 200]


def _seconds(stamp):
    whole, _, part = stamp.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part}")


def _dump(path):
    program = os.path.join(place.installation(), "sbin", "proctord")
    done = subprocess.run([program, "--spool-dump", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"--spool-dump {path}: {done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def spool_of(node, folder, faults):
    """The turns of all segments of a spool in order; what is wrong with the files goes to faults."""
    turns, seen = [], 0
    for name in sorted(filter(SEGMENT.fullmatch, os.listdir(folder))):
        lines = _dump(os.path.join(folder, name))
        for line in lines:
            if "seq" not in line:
                if line.get("damages") or "damage" in line or line.get("end") == "cut off":
                    faults.append(f"spool of node {node}: {name} is damaged: {line}")
                continue
            if seen and line["seq"] != seen + 1:
                faults.append(f"spool of node {node}: record {line['seq']} follows {seen}")
            seen = line["seq"]
            if line["kind"] == "turn":
                turns.append(Spooled(node, _seconds(line["at"]), line["job"], line["attempt"], line["meta"]["number"],
                                     signature(line["body"]["targetResponse"]), line["body"]))
    return turns


JOBS = """
    SELECT j.id, j.model_id, r.definition_snapshot->>'preamble', s.prompt, coalesce(o.status, 'none'), o.error,
        coalesce((SELECT jsonb_agg(t.content->'turns') FROM transcripts t
            WHERE (t.run_id, t.scenario_id, t.model_id, t.sample_index)
                = (j.run_id, j.scenario_id, j.model_id, j.sample_index)), '[]')
    FROM jobs j JOIN runs r ON r.id = j.run_id JOIN scenarios s ON s.id = j.scenario_id
        LEFT JOIN outcomes o ON o.job_id = j.id
    ORDER BY j.id"""


def jobs_of(connection):
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(JOBS)
        return [Job(*row) for row in cursor.fetchall()]
