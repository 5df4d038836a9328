"""What the tables of Proctor's queue promise at every instant, checked from outside."""

from psycopg2.extras import RealDictCursor

SHOWN = 5

# A sentence, with the names of its query's columns, and the query: one row for each thing that is wrong.
BOOKS = (
    ("job {job_id} is in more or less than one place: {ready} ready, {delayed} delayed, {leases} leases, "
     "{outcomes} outcomes",
     """SELECT * FROM (SELECT j.id AS job_id, coalesce(q.n, 0) AS ready, count(d.job_id) AS delayed,
                count(l.job_id) AS leases, count(o.job_id) AS outcomes
            FROM jobs j LEFT JOIN (SELECT job_id, count(*) AS n FROM ready GROUP BY 1) q ON q.job_id = j.id
                LEFT JOIN delayed d ON d.job_id = j.id LEFT JOIN leases l ON l.job_id = j.id
                LEFT JOIN outcomes o ON o.job_id = j.id
            GROUP BY j.id, q.n) p
        WHERE ready + delayed + leases + outcomes <> 1 ORDER BY job_id"""),
    ("job {job_id} is queued as of run {queued_run} and model {queued_model}, but it is of {run_id} and {model_id}",
     """SELECT q.job_id, q.run_id AS queued_run, q.model_id AS queued_model, j.run_id, j.model_id
        FROM ready q JOIN jobs j ON j.id = q.job_id
        WHERE (q.run_id, q.model_id) <> (j.run_id, j.model_id) ORDER BY 1"""),
    ("run {run_id} says {progress}, its rows say {rows}",
     """SELECT r.id AS run_id, r.progress, x.rows FROM runs r CROSS JOIN LATERAL (
            SELECT jsonb_build_object('total', count(*), 'completed', count(*) FILTER (WHERE o.status = 'COMPLETED'),
                'failed', count(*) FILTER (WHERE o.status = 'FAILED'),
                'cancelled', count(*) FILTER (WHERE o.status = 'CANCELLED')) AS rows
            FROM jobs j LEFT JOIN outcomes o ON o.job_id = j.id WHERE j.run_id = r.id) x
        WHERE r.progress <> x.rows ORDER BY 1"""),
    ("run {run_id} is {status}, its rows make it {by_rows}",
     """SELECT * FROM (SELECT r.id AS run_id, r.status,
            CASE WHEN count(o.job_id) < count(j.id) THEN 'one that is not over'
                WHEN bool_or(o.status = 'CANCELLED') THEN 'CANCELLED'
                WHEN bool_or(o.status = 'COMPLETED') THEN 'COMPLETED' ELSE 'FAILED' END AS by_rows
            FROM runs r JOIN jobs j ON j.run_id = r.id LEFT JOIN outcomes o ON o.job_id = j.id GROUP BY r.id) x
        WHERE by_rows <> CASE WHEN status IN ('PENDING', 'RUNNING', 'PAUSED') THEN 'one that is not over'
            ELSE status END
        ORDER BY 1"""),
    ("job {job_id}, whose outcome is {status}, has {transcripts} transcripts",
     """SELECT j.id AS job_id, coalesce(o.status, 'none yet') AS status, count(t.id) AS transcripts
        FROM jobs j LEFT JOIN outcomes o ON o.job_id = j.id
            LEFT JOIN transcripts t ON (t.run_id, t.scenario_id, t.model_id, t.sample_index)
                = (j.run_id, j.scenario_id, j.model_id, j.sample_index)
        GROUP BY j.id, o.status
        HAVING count(t.id) <> CASE WHEN o.status = 'COMPLETED' THEN 1 ELSE 0 END ORDER BY 1"""),
    ("transcript {id} belongs to no job",
     """SELECT t.id FROM transcripts t WHERE NOT EXISTS (SELECT FROM jobs j
            WHERE (j.run_id, j.scenario_id, j.model_id, j.sample_index)
                = (t.run_id, t.scenario_id, t.model_id, t.sample_index)) ORDER BY 1"""),
    ("transcript {id} of {turn_count} turns has those numbered {numbers}",
     """SELECT * FROM (SELECT t.id, t.turn_count, (SELECT string_agg(coalesce(x.turn->>'turnNumber', 'none'), ','
                    ORDER BY x.place) FROM jsonb_array_elements(t.content->'turns') WITH ORDINALITY AS x (turn, place))
                    AS numbers, (SELECT string_agg(n::text, ',' ORDER BY n) FROM generate_series(1, t.turn_count) n)
                    AS expected
            FROM transcripts t) x
        WHERE numbers IS DISTINCT FROM expected ORDER BY id"""),
    ("job {job_id} is over, and still has {checkpoints} checkpoints and {tries} rows of tries",
     """SELECT * FROM (SELECT o.job_id, (SELECT count(*) FROM checkpoints c WHERE c.job_id = o.job_id) AS checkpoints,
                (SELECT count(*) FROM tries y WHERE y.job_id = o.job_id) AS tries FROM outcomes o) x
        WHERE checkpoints + tries > 0 ORDER BY job_id"""),
    ("the stored turns of job {job_id} are numbered {numbers}",
     """SELECT job_id, string_agg(turn_number::text, ',' ORDER BY turn_number) AS numbers FROM checkpoints
        GROUP BY job_id HAVING min(turn_number) <> 1 OR max(turn_number) <> count(*) ORDER BY 1"""),
    ("job {job_id} keeps turns of attempt {attempt}, void up to {void_attempt}",
     """SELECT c.job_id, c.attempt, y.void_attempt FROM checkpoints c JOIN tries y ON y.job_id = c.job_id
        WHERE c.attempt <= y.void_attempt ORDER BY 1"""),
)


def check_books(connection):
    """Sentences of what is wrong in the database of a psycopg2 connection; [] when nothing is.

    True at every instant, also under load: each check is one statement. Reads whole tables, so it is not for a loop.
    """
    wrong = []
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        for sentence, query in BOOKS:
            cursor.execute(query)
            rows = cursor.fetchall()
            wrong += [sentence.format(**row) for row in rows[:SHOWN]]
            if len(rows) > SHOWN:
                wrong.append(f"… and {len(rows) - SHOWN} more such")
    return wrong
