"""Definitions and runs for the measurements."""

import time

PAGE = 500
PROMPT_BYTES = 600
SENTENCE = "You find a wallet on a bench, and nobody has seen that you picked it up. "


def prompt(number):
    """A prompt of PROMPT_BYTES that no other number has."""
    text = f"Case {number}. " + SENTENCE * (PROMPT_BYTES // len(SENTENCE) + 1)
    return text[:PROMPT_BYTES - 1] + "?"


def import_definition(daemon, name, scenarios, followups=0):
    """Imports that many scenarios of one prompt each; followups are asked of each of them."""
    items = [{"key": f"case_{number}", "name": f"Case {number}", "prompt": prompt(number)}
             for number in range(scenarios)]
    asked = [{"label": f"more_{number}", "prompt": prompt(number)} for number in range(followups)]
    with daemon.connect(timeout=120) as control:
        pages = [items[start:start + PAGE] for start in range(0, scenarios, PAGE)]
        made = control.call("definition.import", name=name, followups=asked, scenarios=pages[0],
                            more=len(pages) > 1)
        for number, page in enumerate(pages[1:], 2):
            control.call("definition.append", id=made["id"], scenarios=page, more=number < len(pages))
    return made["id"]


def start_run(daemon, definition, samples):
    with daemon.connect(timeout=120) as control:
        return control.call("run.start", definition=definition, models=["gpt-4"], samples=samples)["id"]


def await_run(daemon, run, deadline):
    """Waits for its end by asking seldom, so that asking costs nothing that is measured."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        shown = daemon.call("run.show", run=run, brief=True)
        if shown["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
            return shown
        time.sleep(0.25)
    raise AssertionError(f"run {run} has not ended after {deadline} s: {shown}\n{daemon.log()}")


def check_recorded(daemon, run, count):
    """Fails unless each of the run's probes has one good outcome and one transcript with an answer."""
    found = daemon.rows("""
        SELECT (SELECT count(*) FROM jobs WHERE run_id = %s),
               (SELECT count(*) FROM jobs JOIN outcomes ON job_id = id
                WHERE run_id = %s AND status = 'COMPLETED'),
               (SELECT count(DISTINCT (scenario_id, model_id, sample_index)) FROM transcripts
                WHERE run_id = %s AND turn_count = jsonb_array_length(content->'turns')
                AND content->'turns'->0->>'targetResponse' <> ''),
               (SELECT (progress->>'completed')::bigint FROM runs WHERE id = %s)""", run, run, run, run)
    assert found == [(count,) * 4], f"jobs, outcomes, transcripts, progress: {found}, not {count} each"


def run_seconds(daemon, run):
    """From the first claim of the run to its last outcome."""
    sql = "SELECT extract(epoch FROM finished_at - started_at)::float8 FROM runs WHERE id = %s"
    return daemon.rows(sql, run)[0][0]
