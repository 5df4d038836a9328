"""The functions of sql/ as Python calls, as a store makes them."""

import glob
import itertools
import json
import os
import subprocess

import psycopg2
import psycopg2.extras

from harness.books import check_books

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[".."] * 3, "sql")

FINISH = """SELECT * FROM finish_jobs(%(node)s, %(ids)s::bigint[], %(attempts)s::bigint[], %(fates)s::text[],
    %(turns)s::text[], %(digests)s::text[], %(bases)s::bigint[], %(base_digests)s::text[], %(versions)s::text[],
    %(input)s::bigint[], %(output)s::bigint[], %(reasoning)s::bigint[], %(durations)s::bigint[], %(costs)s::bigint[],
    %(errors)s::text[], %(delays)s::bigint[], %(fails)s::bigint[], %(deaths)s::bigint[], %(solo)s::bigint[],
    %(limited)s::bigint[])"""

KEEP = """SELECT place FROM keep_turns(%(node)s, %(ids)s::bigint[], %(attempts)s::bigint[], %(numbers)s::bigint[],
    %(befores)s::text[], %(digests)s::text[], %(bodies)s::text[])"""

_states = itertools.count()


def migration_files():
    return sorted(glob.glob(os.path.join(SQL, "[0-9]*.sql")))


def apply_by_hand(url, files):
    """As README.md in sql/ says it."""
    for path in files:
        version, name = os.path.basename(path)[:-4].split("_", 1)
        record = f"INSERT INTO schema_migrations (version, name) VALUES ({int(version)}, '{name}')"
        subprocess.run(["psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", path, "-c", record, url], check=True)


def body(number, text="answer", **more):
    return json.dumps({"turnNumber": number, "promptLabel": "scenario_prompt", "targetResponse": text,
                       "inputTokens": 10, "outputTokens": 20, "reasoningTokens": 5, "durationMs": 100, **more})


def turn(job, number, digest, before="", text="answer", **more):
    """One answer as it comes in; `job` is a claimed row."""
    return {"job": job, "number": number, "digest": digest, "before": before, "body": body(number, text), **more}


def end(job, fate="COMPLETED", turns=None, **more):
    """How an attempt ended; `job` is a claimed row. Its turns begin behind those that came with the claim."""
    if turns is None:
        turns = [body(job["turn_count"] + 1)] if fate == "COMPLETED" else []
    error = None if fate == "COMPLETED" else json.dumps({"code": "SERVER_ERROR", "message": "no"})
    return {"job": job, "fate": fate, "turns": turns, "error": error, "delay": 0, "fails": 0, "deaths": 0, "solo": 0,
            "limited": 0, "cost": None, "version": "v1", "base": job["turn_count"], "base_digest": job["digest"],
            "digests": [f"d{n}" for n, _ in enumerate(turns, job["turn_count"] + 1)], **more}


class Queue:
    """One connection, autocommit: what a store does."""

    def __init__(self, url):
        self.url = url
        # The tests' own queries, over tables without statistics, would be compiled one by one.
        self.connection = psycopg2.connect(url, options="-c jit=off")
        self.connection.autocommit = True
        self.node = None

    def close(self):
        self.connection.close()

    def rows(self, sql, *values):
        with self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(sql, values or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def value(self, sql, *values):
        return next(iter(self.rows(sql, *values)[0].values()))

    def register(self, state_id=None):
        """A new boot; how many jobs came back from earlier ones."""
        state_id = state_id or f"state{next(_states)}"
        self.node = self.value("SELECT join_node('test', %s)", state_id)
        return self.value("SELECT take_back_earlier(%s, %s)", self.node, state_id)

    def define(self, scenarios=4, followups=()):
        definition = self.value("""INSERT INTO definitions (name, preamble, followups, complete)
            VALUES (%s, 'Be kind', %s, true) RETURNING id""", f"definition{next(_states)}", json.dumps(list(followups)))
        self.rows("""INSERT INTO scenarios (definition_id, position, key, name, prompt)
            SELECT %s, i, 'k' || i, 'n' || i, 'prompt ' || i FROM generate_series(0, %s - 1) i""",
                  definition, scenarios)
        return definition

    def start(self, models=("gpt-4",), scenarios=4, definition=None, percentage=100, seed=1, samples=1, lanes=None,
              config=None):
        return self.rows("SELECT * FROM start_run(%s, %s, %s, %s, %s, %s, 0, %s)",
                         definition or self.define(scenarios), lanes or ["openai"] * len(models), list(models),
                         percentage, seed, samples, json.dumps(config or {}))[0]

    def claim(self, run, model="gpt-4", count=50, after=0):
        return self.rows("SELECT * FROM claim_jobs(%s, %s, %s, %s::bigint[], %s::bigint[])",
                         self.node, [run], [model], [count], [after])

    def keep(self, *turns):
        """The places of those that were not kept."""
        values = {"node": self.node, "ids": [one["job"]["job_id"] for one in turns],
                  "attempts": [one["job"]["attempt"] for one in turns], "numbers": [one["number"] for one in turns],
                  "befores": [one["before"] for one in turns], "digests": [one["digest"] for one in turns],
                  "bodies": [one["body"] for one in turns]}
        with self.connection.cursor() as cursor:
            cursor.execute(KEEP, values)
            return [place for place, in cursor.fetchall()]

    def finish(self, *ends):
        def column(key):
            return [one[key] for one in ends]
        tokens = [10 * (one["job"]["turn_count"] + len(one["turns"])) for one in ends]
        values = {
            "node": self.node, "ids": [one["job"]["job_id"] for one in ends],
            "attempts": [one["job"]["attempt"] for one in ends], "fates": column("fate"),
            "turns": ["[" + ",".join(one["turns"]) + "]" for one in ends],
            "digests": [",".join(one["digests"]) for one in ends], "bases": column("base"),
            "base_digests": column("base_digest"), "versions": column("version"),
            "input": tokens, "output": [2 * t for t in tokens], "reasoning": [0] * len(ends),
            "durations": [100] * len(ends), "costs": column("cost"), "errors": column("error"),
            "delays": column("delay"), "fails": column("fails"), "deaths": column("deaths"), "solo": column("solo"),
            "limited": column("limited")}
        with self.connection.cursor() as cursor:
            cursor.execute(FINISH, values)
            return cursor.fetchall()

    def run(self, run_id):
        return self.rows("SELECT * FROM runs WHERE id = %s", run_id)[0]

    def count(self, table, where="true"):
        return self.value(f"SELECT count(*) FROM {table} WHERE {where}")

    def check(self):
        wrong = check_books(self.connection)
        assert not wrong, "\n".join(wrong)
