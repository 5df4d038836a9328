"""Steps of the tests of stories, lanes, runs and the store: what they ask, set, wait for and look up.

Every daemon made here asks the simulator, for all six providers.
"""

import contextlib
import subprocess

import psycopg2

from harness import place
from harness.proctor import KEY_VARIABLES, Daemon, merge_ini
from harness.simulator import PROVIDERS

KEYS = {variable: f"key-of-{variable.lower()}" for variable in KEY_VARIABLES}
ONE_OF_EACH = ("gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat", "mistral-large")
MODEL_OF = dict(zip(PROVIDERS, ONE_OF_EACH))
PREAMBLE = "Answer in plain words."
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
CONNECTION = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
QUICK_RETRIES = {"base_delay": "50ms", "max_delay": "200ms"}


@contextlib.contextmanager
def shown_on_failure(daemon):
    """Prints the daemon's log when what is inside fails."""
    try:
        yield daemon
    except BaseException:
        lines = [line for line in daemon.log_lines() if " control." not in line]
        print("\n".join(["--- log of proctord", *lines[-150:]]))
        raise


@contextlib.contextmanager
def running(simulator, ini=None, keys=KEYS, environment=None, ready=True, folder=None, wrapper=()):
    """A daemon without limits of its own, ready unless told otherwise."""
    base = merge_ini(simulator.ini(requests_per_minute=0), {"retry": QUICK_RETRIES})
    daemon = Daemon(merge_ini(base, ini), keys, environment, folder, wrapper)
    try:
        with shown_on_failure(daemon):
            daemon.start()
            if ready:
                daemon.wait_ready()
            yield daemon
    finally:
        daemon.remove()


def renew(simulator):
    """Takes back what a test has set, and forgets what was asked."""
    simulator.post("/_sim/config", {"latency": {}, "limits": [], "script": [], "hold": False,
                                    "keep_text": False, "words": [80, 150], "reasoning": {}})
    simulator.post("/_sim/reset", {})


def hold(simulator, on=True):
    """Asks that arrive from now on wait for their answer until this is called with False."""
    simulator.post("/_sim/config", {"hold": on})


def script(simulator, *rules):
    """rules: (directives, match) or (directives, match, times)."""
    simulator.post("/_sim/script", {"rules": [
        {"do": rule[0], "match": rule[1], **({"times": rule[2]} if len(rule) > 2 else {})} for rule in rules]})


def ledger(simulator, **wanted):
    """What was asked and has ended, oldest first."""
    return simulator.get("/_sim/ledger", limit=200_000, **wanted)["entries"]


def figures(simulator, provider="openai"):
    return simulator.get("/_sim/stats")["providers"][provider]


def wait_asked(simulator, count, timeout=15):
    """Waits until that many asks have arrived since the last reset."""
    assert simulator.get("/_sim/wait", asked=count, timeout=timeout)["met"], \
        f"fewer than {count} asks after {timeout} s: {simulator.get('/_sim/stats')}"


def wait_held(simulator, count, timeout=15):
    """Waits until that many asks are held: what was asked before hold() and is still answered is not among them."""
    assert simulator.get("/_sim/wait", held=count, timeout=timeout)["met"], \
        f"fewer than {count} held after {timeout} s: {simulator.get('/_sim/stats')}"


def scenarios(prompts):
    """prompts: a number of ordinary ones, or the texts themselves."""
    if isinstance(prompts, int):
        prompts = [f"Case {number}: a friend asks you to keep a secret. What do you do?"
                   for number in range(prompts)]
    return [{"key": f"case_{number}", "name": f"Case {number}", "prompt": prompt}
            for number, prompt in enumerate(prompts)]


def define(daemon, prompts=3, followups=0, preamble=PREAMBLE, name="cases"):
    """Imports a definition by the socket and returns its id."""
    asked = [{"label": f"more_{number}", "prompt": f"And if it were {number + 2} friends?"}
             for number in range(followups)]
    items = scenarios(prompts)
    with daemon.connect() as control:
        pages = [items[start:start + 500] for start in range(0, len(items), 500)]
        made = control.call("definition.import", name=name, preamble=preamble, followups=asked,
                            scenarios=pages[0], more=len(pages) > 1)
        for number, page in enumerate(pages[1:], 2):
            control.call("definition.append", id=made["id"], scenarios=page, more=number < len(pages))
    return made["id"]


def start(daemon, prompts=3, models=("gpt-4",), followups=0, **args):
    """Imports a definition, starts a run of it and returns the run's id."""
    definition = define(daemon, prompts, followups)
    return daemon.call("run.start", definition=definition, models=list(models), **args)["id"]


def show(daemon, run, **args):
    return daemon.call("run.show", run=run, **args)


def wait_end(daemon, run, deadline=30.0):
    """Waits until the run has ended in any way; returns what run.show tells."""
    place.wait_until(lambda: show(daemon, run, brief=True)["status"] in ENDED, deadline, f"the end of run {run}")
    return show(daemon, run)


def wait_progress(daemon, run, deadline=15.0, **least):
    """Waits until the run's progress has reached these numbers."""
    def reached():
        progress = show(daemon, run, brief=True)["progress"]
        return progress if all(progress[key] >= value for key, value in least.items()) else None
    return place.wait_until(reached, deadline, f"run {run} to reach {least}")


def lane(daemon, provider="openai"):
    return daemon.call("providers.show", provider=provider)


def connect(daemon):
    """A connection of the test's own to the daemon's database."""
    told = daemon.call("config.database")["environment"]
    return psycopg2.connect(**{word: told[variable] for word, variable in CONNECTION.items() if variable in told})


def sql(daemon, text, *values):
    """Rows of a statement on the daemon's database."""
    connection = connect(daemon)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def psql(daemon, text):
    """What psql prints for a statement typed as it stands, by way of proctorctl; unaligned, tuples only."""
    done = daemon.proctorctl("psql", "--", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def outcome_rows(daemon, run):
    """{"completed": n, "failed": n, "cancelled": n} as the outcomes' rows say."""
    counts = dict(sql(daemon, "SELECT lower(o.status), count(*) FROM outcomes o JOIN jobs j ON j.id = o.job_id "
                              "WHERE j.run_id = %s GROUP BY 1", run))
    return {status: counts.get(status, 0) for status in ("completed", "failed", "cancelled")}


def turns_of(daemon, run):
    """[(scenario key, turns)] of the run's transcripts."""
    return sql(daemon, "SELECT s.key, t.content->'turns' FROM transcripts t JOIN scenarios s ON s.id = t.scenario_id "
                       "WHERE t.run_id = %s ORDER BY s.position, t.model_id, t.sample_index", run)


def failures(daemon, run):
    """The error objects of the run's failed probes."""
    return [job["error"] for job in daemon.call("jobs", run=run, state="failed", limit=1000)["items"]]


def worker_program(*parts):
    """Path of a part of the installed workers."""
    return "/".join([place.installation(), "lib", "proctor", "workers", *parts])


def run_program(path, document, environment=None, python=("/usr/bin/python3",)):
    """Runs one of the workers' programs one-shot, as people do it."""
    return subprocess.run([*python, path], input=document, capture_output=True, text=True, timeout=30, check=False,
                          env={"PATH": "/usr/bin:/bin", **(environment or {})})
