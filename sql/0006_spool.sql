-- What a daemon with a spool asks for: turns kept as they come in, answers that stand on them, leases looked up again,
-- and which database this is. For plans and locks see 0002_queue.sql.
--
-- A spool is sent again after a kill, so everything here may come twice, late, and from two attempts of one job.

CREATE TABLE installation (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	single boolean NOT NULL DEFAULT true UNIQUE CHECK (single), -- there is one row
	timeline text NOT NULL DEFAULT ''           -- on which ids of jobs and nodes were given out last; see skip_lost_ids()
);
INSERT INTO installation DEFAULT VALUES;

-- A standby that takes over, or a backup that is put back, may not have the last commits of the history before it, and
-- would give out the ids of these again. But spools and daemons know jobs, and rows know nodes, by those ids: an answer to
-- one question would become the answer to another. So in a new history ids begin behind all that the lost part can have had.
CREATE FUNCTION skip_lost_ids() RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	present text := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
	before text;
BEGIN
	IF (SELECT timeline FROM installation WHERE single) = present THEN
		RETURN NULL;
	END IF;
	SELECT timeline INTO before FROM installation WHERE single FOR NO KEY UPDATE;
	IF before NOT IN ('', present) THEN
		PERFORM setval(ids, nextval(ids) + 1000000000)
		FROM (VALUES (pg_get_serial_sequence('jobs', 'id')), (pg_get_serial_sequence('nodes', 'id'))) AS s (ids);
	END IF;
	UPDATE installation SET timeline = present WHERE single;
	RETURN NULL;
END
$$;

CREATE TRIGGER skip_lost_ids BEFORE INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION skip_lost_ids();
CREATE TRIGGER skip_lost_ids BEFORE INSERT ON nodes FOR EACH STATEMENT EXECUTE FUNCTION skip_lost_ids();

-- Which database this is, and of which history. `timeline` is 8 hex digits; '' in recovery, where it may still change.
CREATE FUNCTION server_identity() RETURNS TABLE (database_id text, timeline text, read_only boolean)
LANGUAGE sql
AS $$
	SELECT (SELECT id::text FROM installation),
		CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END,
		pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean
$$;

-- ---- turns ----

-- Attempts up to this one ended with a job that was FAILED and then retried: no turn of theirs is kept any more, so that
-- the retried job begins anew however late they come.
ALTER TABLE tries ADD COLUMN void_attempt integer NOT NULL DEFAULT 0;

-- A count or duration that the body of a turn tells. What is no number from 0 to 10^12 counts 0: a conversation with a
-- strange number in it can be held to its end, and its sums fit.
CREATE FUNCTION turn_count_of(body jsonb, key text) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
	SELECT CASE WHEN jsonb_typeof(body->key) = 'number' THEN
		CASE WHEN (body->key)::numeric BETWEEN 0 AND 1000000000000 THEN trunc((body->key)::numeric)::bigint ELSE 0 END
		ELSE 0 END
$$;

-- Keeps turns as checkpoints; element i of every array belongs to job_ids[i]. Turns of one job may follow each other in a
-- batch. A turn is kept when it is the next one of its job and before_digests[i] is the digest of the one before it. No
-- lease is asked for, nor `by_node` looked at: an answer that was paid for counts from anybody.
-- Returns the places, from 1, of turns that were not kept because the stored conversation is another one: it has another
-- turn there, or before it, or none before it. Turns that are kept already, or whose job is over or gone, or which a
-- retry made void, need nothing more and are not told. Harmless when repeated.
CREATE FUNCTION keep_turns(by_node bigint, job_ids bigint[], attempts bigint[], numbers bigint[], before_digests text[],
	digests text[], bodies text[])
RETURNS TABLE (place bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
	i bigint;
BEGIN
	PERFORM 1 FROM runs
		WHERE id = ANY (ARRAY(SELECT j.run_id FROM jobs j WHERE j.id = ANY (job_ids)))
		ORDER BY id FOR NO KEY UPDATE;

	FOR i IN
		SELECT b.place FROM unnest(job_ids, attempts) WITH ORDINALITY AS b (job_id, attempt, place)
			CROSS JOIN LATERAL (SELECT id FROM jobs WHERE id = b.job_id OFFSET 0) j
		WHERE (SELECT o.status FROM outcomes o WHERE o.job_id = b.job_id) IS NULL
			AND b.attempt > coalesce((SELECT y.void_attempt FROM tries y WHERE y.job_id = b.job_id), 0)
		ORDER BY b.place
	LOOP
		-- Stored turns have no gaps: with one before it and none in its place, this is the next.
		INSERT INTO checkpoints (job_id, turn_number, attempt, digest, body)
		SELECT job_ids[i], numbers[i], attempts[i], digests[i], bodies[i]::jsonb
		WHERE numbers[i] = 1 OR before_digests[i] = (
			SELECT c.digest FROM checkpoints c WHERE c.job_id = job_ids[i] AND c.turn_number = numbers[i] - 1)
		ON CONFLICT (job_id, turn_number) DO NOTHING;
		IF NOT FOUND AND digests[i] IS DISTINCT FROM (
				SELECT c.digest FROM checkpoints c WHERE c.job_id = job_ids[i] AND c.turn_number = numbers[i]) THEN
			place := i;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

-- Those of an attempt's turns that go on from the stored ones: two attempts never make up one conversation. The attempt
-- began behind turn `base_number`, whose digest is `base_digest`; digests[i] is that of the i-th of `turns`.
CREATE FUNCTION turns_to_keep(of_job bigint, base_number bigint, base_digest text, turns jsonb, digests text[])
RETURNS TABLE (number bigint, digest text, body jsonb)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH told AS MATERIALIZED (
		SELECT base_number + t.place AS number, digests[t.place] AS digest, t.body, c.digest AS stored,
			t.body->>'turnNumber' IS DISTINCT FROM (base_number + t.place)::text
				OR digests[t.place] IS NULL OR c.digest <> digests[t.place] AS differs
		FROM jsonb_array_elements(turns) WITH ORDINALITY AS t (body, place)
			LEFT JOIN LATERAL (SELECT k.digest FROM checkpoints k
				WHERE k.job_id = of_job AND k.turn_number = base_number + t.place OFFSET 0) c ON true
	)
	SELECT t.number, t.digest, t.body FROM told t
	WHERE t.stored IS NULL
		AND t.number < coalesce((SELECT min(d.number) FROM told d WHERE d.differs), t.number + 1)
		AND (base_number = 0 OR base_digest = (
			SELECT c.digest FROM checkpoints c WHERE c.job_id = of_job AND c.turn_number = base_number));
END
$$;

-- ---- answers ----

DROP FUNCTION conversation(bigint, jsonb);

-- The content of a transcript: the stored turns up to `base_number`, whose digest is `base_digest`, then `turns`. Refuses
-- what does not make up one conversation, numbered from 1: with SQLSTATE 22X01 when the stored turns are not those, so that
-- it is no fault of the answer's.
CREATE FUNCTION conversation(of_job bigint, base_number bigint, base_digest text, turns jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	stored bigint;
	whole jsonb;
BEGIN
	SELECT count(*), coalesce(jsonb_agg(c.body ORDER BY c.turn_number), '[]') || turns INTO stored, whole
		FROM checkpoints c WHERE c.job_id = of_job AND c.turn_number <= base_number;
	IF stored <> base_number OR base_number > 0 AND base_digest IS DISTINCT FROM (
			SELECT c.digest FROM checkpoints c WHERE c.job_id = of_job AND c.turn_number = base_number) THEN
		RAISE EXCEPTION 'the turns do not go on from the stored conversation: they begin behind turn %, %', base_number,
			CASE WHEN stored < base_number THEN format('of which %s are stored', stored)
				ELSE 'and another one is stored there' END
			USING ERRCODE = '22X01';
	END IF;
	IF whole #>> '{-1,turnNumber}' IS DISTINCT FROM jsonb_array_length(whole)::text
			OR turns <> '[]' AND turns #>> '{0,turnNumber}' IS DISTINCT FROM (base_number + 1)::text THEN
		RAISE EXCEPTION 'the turns do not go on from one to the next: the first of % behind turn % is number %, the last %',
			jsonb_array_length(turns), base_number, coalesce(turns #>> '{0,turnNumber}', 'none'),
			coalesce(whole #>> '{-1,turnNumber}', 'none') USING ERRCODE = 'data_exception';
	END IF;
	RETURN jsonb_build_object('schemaVersion', 1, 'turns', whole);
END
$$;

DROP FUNCTION finish_jobs(bigint, bigint[], bigint[], text[], text[], text[], text[], bigint[], bigint[], bigint[],
	bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[]);

-- Takes over how attempts ended; element i of every array belongs to job_ids[i]. Harmless when repeated.
--   fates    COMPLETED, FAILED, CANCELLED: the outcome. REFUSED: FAILED with INVALID_RESPONSE, errors[i] being the plain
--            text of why the server did not take the answer. LATER: again after delays_ms[i], with its turns kept and
--            its counters set. RETURNED: again at once, counters untouched, blaming nobody.
--   turns    JSON array of bodies, which begin behind turn base_numbers[i] of the stored ones; that has the digest
--            base_digests[i]. With base 0 they are the whole conversation, whatever is stored; with another base they
--            may be none. digests: theirs, comma separated (LATER and RETURNED only).
--   errors   JSON object, or NULL.    costs_e10   in 10^-10 USD, NULL when not known.
-- The first outcome stays. An answer (COMPLETED) counts even when its lease is gone, and takes its job from wherever the
-- queue has it by then, another attempt's lease included; every other fate counts only from who still holds the lease of
-- that very attempt. Of an attempt that gives its job back, those turns are kept that go on from the stored ones. Jobs
-- that exist no more are ignored. Work of a run that was told to cancel does not go back to the queue: it ends CANCELLED.
-- Returns the runs that this ended.
CREATE FUNCTION finish_jobs(by_node bigint, job_ids bigint[], attempts bigint[], fates text[], turns text[],
	digests text[], base_numbers bigint[], base_digests text[], model_versions text[], input_tokens bigint[],
	output_tokens bigint[], reasoning_tokens bigint[], durations_ms bigint[], costs_e10 bigint[], errors text[],
	delays_ms bigint[], fails bigint[], deaths bigint[], solo_deaths bigint[], limited_for_ms bigint[])
RETURNS TABLE (run_id text, status text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	moved record;
	late bigint[] := '{}';
BEGIN
	PERFORM 1 FROM runs
		WHERE id = ANY (ARRAY(SELECT j.run_id FROM jobs j WHERE j.id = ANY (job_ids)))
		ORDER BY id FOR NO KEY UPDATE;

	-- Long texts stay in the arrays until they are needed, by `place`.
	FOR moved IN
	WITH batch AS MATERIALIZED (
		SELECT b.place, b.job_id, b.attempt::integer AS attempt,
			CASE WHEN b.fate IN ('LATER', 'RETURNED') AND r.cancel_requested_at IS NOT NULL THEN 'STOPPED'
				ELSE b.fate END AS fate,
			j.run_id, j.scenario_id, j.model_id, j.sample_index, r.definition_snapshot,
			coalesce((SELECT l.attempt = b.attempt FROM leases l WHERE l.job_id = b.job_id), false) AS held,
			(SELECT true FROM outcomes o WHERE o.job_id = b.job_id) IS NOT NULL AS over
		FROM unnest(job_ids, attempts, fates) WITH ORDINALITY AS b (job_id, attempt, fate, place)
			CROSS JOIN LATERAL (SELECT * FROM jobs WHERE id = b.job_id OFFSET 0) j
			CROSS JOIN LATERAL (
				SELECT cancel_requested_at, definition_snapshot FROM runs WHERE id = j.run_id OFFSET 0) r
	), released AS (
		DELETE FROM leases WHERE job_id = ANY (ARRAY(SELECT job_id FROM batch WHERE held))
	), won AS MATERIALIZED (
		SELECT DISTINCT ON (b.job_id) b.*, CASE b.fate WHEN 'STOPPED' THEN 'CANCELLED' WHEN 'REFUSED' THEN 'FAILED'
			ELSE b.fate END AS status
		FROM batch b
		WHERE NOT b.over AND (b.fate = 'COMPLETED' OR (b.held AND b.fate NOT IN ('LATER', 'RETURNED')))
		ORDER BY b.job_id, b.place
	), ended AS (
		INSERT INTO outcomes (job_id, attempt, status, error)
		SELECT w.job_id, w.attempt, w.status, CASE w.fate
			WHEN 'COMPLETED' THEN NULL
			WHEN 'STOPPED' THEN '{"code": "CANCELLED", "message": "the run was cancelled"}'
			WHEN 'REFUSED' THEN jsonb_build_object('code', 'INVALID_RESPONSE',
				'message', 'the database did not accept the answer: ' || errors[w.place])
			ELSE errors[w.place]::jsonb END
		FROM won w
	), written AS (
		INSERT INTO transcripts (run_id, scenario_id, model_id, sample_index, model_version, turn_count, token_count,
			input_tokens, output_tokens, reasoning_tokens, duration_ms, cost_usd, definition_snapshot, content)
		SELECT w.run_id, w.scenario_id, w.model_id, w.sample_index, model_versions[w.place],
			jsonb_array_length(c.content->'turns'),
			least(input_tokens[w.place]::numeric + output_tokens[w.place], 9223372036854775807)::bigint,
			input_tokens[w.place], output_tokens[w.place], reasoning_tokens[w.place], durations_ms[w.place],
			costs_e10[w.place]::numeric / 10000000000, w.definition_snapshot, c.content
		FROM won w CROSS JOIN LATERAL (
			SELECT CASE WHEN base_numbers[w.place] = 0 AND t.turns #>> '{0,turnNumber}' = '1'
					AND t.turns #>> '{-1,turnNumber}' = jsonb_array_length(t.turns)::text
				THEN jsonb_build_object('schemaVersion', 1, 'turns', t.turns)
				ELSE conversation(w.job_id, base_numbers[w.place], base_digests[w.place], t.turns) END AS content
			FROM (SELECT turns[w.place]::jsonb AS turns OFFSET 0) t OFFSET 0) c
		WHERE w.status = 'COMPLETED'
		ON CONFLICT (run_id, scenario_id, model_id, sample_index) DO NOTHING
	), cleared AS (
		DELETE FROM checkpoints WHERE job_id = ANY (ARRAY(SELECT job_id FROM won))
	), forgotten AS (
		DELETE FROM tries WHERE job_id = ANY (ARRAY(SELECT job_id FROM won))
	), again AS MATERIALIZED (
		SELECT DISTINCT ON (b.job_id) b.* FROM batch b
		WHERE b.held AND NOT b.over AND b.fate IN ('LATER', 'RETURNED')
			AND b.job_id <> ALL (ARRAY(SELECT job_id FROM won))
		ORDER BY b.job_id, b.place
	), queued AS (
		INSERT INTO ready (run_id, model_id, job_id, attempt)
		SELECT a.run_id, a.model_id, a.job_id, a.attempt + 1 FROM again a
		WHERE a.fate = 'RETURNED' OR delays_ms[a.place] <= 0
	), postponed AS (
		INSERT INTO delayed (job_id, run_at, attempt, reason)
		SELECT a.job_id, now() + delays_ms[a.place] * interval '1 millisecond', a.attempt + 1,
			coalesce(errors[a.place]::jsonb->>'code', 'UNKNOWN')
		FROM again a WHERE a.fate = 'LATER' AND delays_ms[a.place] > 0
	), counted AS (
		INSERT INTO tries AS y (job_id, fails, deaths, solo_deaths, limited_since, last_error)
		SELECT a.job_id, fails[a.place], deaths[a.place], solo_deaths[a.place],
			CASE WHEN limited_for_ms[a.place] > 0
				THEN now() - limited_for_ms[a.place] * interval '1 millisecond' END,
			errors[a.place]::jsonb
		FROM again a WHERE a.fate = 'LATER'
		ON CONFLICT (job_id) DO UPDATE SET fails = excluded.fails, deaths = excluded.deaths,
			solo_deaths = excluded.solo_deaths, limited_since = excluded.limited_since,
			last_error = coalesce(excluded.last_error, y.last_error)
	), kept AS (
		INSERT INTO checkpoints (job_id, turn_number, attempt, digest, body)
		SELECT a.job_id, t.number, a.attempt, t.digest, t.body
		FROM again a CROSS JOIN LATERAL turns_to_keep(a.job_id, base_numbers[a.place], base_digests[a.place],
			turns[a.place]::jsonb, string_to_array(digests[a.place], ',')) t
		WHERE turns[a.place] <> '[]'
	)
	SELECT w.run_id, count(*) FILTER (WHERE w.status = 'COMPLETED') AS completed,
		count(*) FILTER (WHERE w.status = 'FAILED') AS failed,
		count(*) FILTER (WHERE w.status = 'CANCELLED') AS cancelled,
		coalesce(array_agg(w.job_id) FILTER (WHERE NOT w.held), '{}') AS late
	FROM won w GROUP BY w.run_id ORDER BY w.run_id
	LOOP
		late := late || moved.late;
		run_id := moved.run_id;
		status := move_progress(by_node, moved.run_id, moved.completed, moved.failed, moved.cancelled);
		IF status IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;

	-- The next attempt of a late answer is queued already, or under way. The order is the queue's own: who is just moving
	-- such a job on is waited for here, and the next statement finds it where it went.
	IF cardinality(late) > 0 THEN
		DELETE FROM delayed WHERE job_id = ANY (late);
		DELETE FROM ready WHERE job_id = ANY (late);
		DELETE FROM leases WHERE job_id = ANY (late);
	END IF;
END
$$;

-- As in 0002_queue.sql, but for numbers of turns that do not fit.
CREATE OR REPLACE FUNCTION claim_jobs(by_node bigint, run_ids text[], model_ids text[], counts bigint[],
	after_seqs bigint[])
RETURNS TABLE (want bigint, job_id bigint, attempt integer, run_id text, model_id text, lane text, seq bigint,
	input text, turns text, turn_count bigint, digest text, input_tokens bigint, output_tokens bigint,
	reasoning_tokens bigint, duration_ms bigint, fails integer, deaths integer, solo_deaths integer,
	limited_for_ms bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH wants AS MATERIALIZED (
		SELECT w.place - 1 AS want, w.run_id, w.model_id, w.most, w.after_seq, r.status, r.config,
			r.definition_snapshot AS snapshot, (
				SELECT m.lane FROM run_models m
				WHERE m.run_id = w.run_id AND m.model_id = w.model_id AND NOT m.paused) AS lane
		FROM unnest(run_ids, model_ids, counts, after_seqs) WITH ORDINALITY
				AS w (run_id, model_id, most, after_seq, place)
			JOIN runs r ON r.id = w.run_id
		WHERE r.id = ANY (run_ids) AND r.status IN ('PENDING', 'RUNNING') AND r.cancel_requested_at IS NULL
		FOR KEY SHARE OF r SKIP LOCKED
	), picked AS MATERIALIZED (
		SELECT w.want, w.run_id, w.model_id, w.lane, w.status, w.config, w.snapshot, p.*
		FROM wants w CROSS JOIN LATERAL (
			SELECT q.ctid AS at, q.seq, q.job_id, q.attempt FROM ready q
			WHERE q.run_id = w.run_id AND q.model_id = w.model_id AND q.seq > w.after_seq
			ORDER BY q.seq LIMIT w.most
			FOR UPDATE SKIP LOCKED) p
		WHERE w.lane IS NOT NULL
	), gone AS (
		DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT at FROM picked))
	), taken AS MATERIALIZED (
		SELECT p.* FROM picked p WHERE (SELECT o.status FROM outcomes o WHERE o.job_id = p.job_id) IS NULL
	), leased AS (
		-- A lease that stands in the way is of an earlier attempt: the queue knows better.
		INSERT INTO leases (job_id, attempt, node_id) SELECT t.job_id, t.attempt, by_node FROM taken t
		ON CONFLICT (job_id) DO UPDATE SET attempt = excluded.attempt, node_id = excluded.node_id, leased_at = now()
	), begun AS (
		UPDATE runs r SET status = 'RUNNING', started_at = coalesce(r.started_at, now())
		WHERE r.id = ANY (ARRAY(SELECT t.run_id FROM taken t WHERE t.status = 'PENDING')) AND r.status = 'PENDING'
		RETURNING r.id
	), told AS (
		INSERT INTO events (level, kind, node_id, run_id) SELECT 'info', 'run.started', by_node, id FROM begun
	)
	SELECT t.want, t.job_id, t.attempt, t.run_id, t.model_id, t.lane, t.seq,
		json_build_object(
			'runId', t.run_id, 'scenarioId', j.scenario_id, 'modelId', t.model_id, 'provider', t.lane,
			'sampleIndex', j.sample_index,
			'scenario', json_build_object('preamble', t.snapshot->'preamble', 'prompt', s.prompt,
				'followups', coalesce(t.snapshot->'followups', '[]')),
			'config', jsonb_strip_nulls(jsonb_build_object('temperature', t.config->'temperature',
				'maxTokens', t.config->'maxTokens', 'maxTurns', t.config->'maxTurns',
				'seed', t.config->'seed')))::text,
		c.turns, c.turn_count, c.digest, c.input_tokens, c.output_tokens, c.reasoning_tokens, c.duration_ms,
		coalesce(y.fails, 0), coalesce(y.deaths, 0), coalesce(y.solo_deaths, 0),
		CASE WHEN y.limited_since IS NULL THEN 0
			ELSE greatest(1, extract(epoch FROM now() - y.limited_since) * 1000)::bigint END
	FROM taken t
		CROSS JOIN LATERAL (SELECT scenario_id, sample_index FROM jobs WHERE id = t.job_id OFFSET 0) j
		CROSS JOIN LATERAL (SELECT prompt FROM scenarios WHERE id = j.scenario_id OFFSET 0) s
		LEFT JOIN LATERAL (SELECT * FROM tries WHERE job_id = t.job_id OFFSET 0) y ON true
		CROSS JOIN LATERAL (
			SELECT '[' || coalesce(string_agg(k.body::text, ',' ORDER BY k.turn_number), '') || ']' AS turns,
				count(*) AS turn_count,
				coalesce((array_agg(k.digest ORDER BY k.turn_number DESC))[1], '') AS digest,
				coalesce(sum(turn_count_of(k.body, 'inputTokens')), 0)::bigint AS input_tokens,
				coalesce(sum(turn_count_of(k.body, 'outputTokens')), 0)::bigint AS output_tokens,
				coalesce(sum(turn_count_of(k.body, 'reasoningTokens')), 0)::bigint AS reasoning_tokens,
				coalesce(sum(turn_count_of(k.body, 'durationMs')), 0)::bigint AS duration_ms
			FROM checkpoints k WHERE k.job_id = t.job_id OFFSET 0) c
	ORDER BY t.want, t.seq;
END
$$;

-- As in 0002_queue.sql, but that the attempts which failed can leave no more turns: see tries.void_attempt.
CREATE OR REPLACE FUNCTION retry_failed(of_run text, codes text[] DEFAULT NULL)
RETURNS TABLE (retried bigint, status text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	r runs%ROWTYPE;
	again bigint;
BEGIN
	SELECT * INTO r FROM runs WHERE id = of_run FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no run has the id "%"', of_run USING ERRCODE = 'no_data_found';
	END IF;
	IF r.cancel_requested_at IS NOT NULL AND r.finished_at IS NULL THEN
		RAISE EXCEPTION 'run "%" is being cancelled', of_run USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	WITH undone AS (
		DELETE FROM outcomes o
		WHERE o.job_id = ANY (ARRAY(SELECT id FROM jobs WHERE run_id = of_run)) AND o.status = 'FAILED'
			AND o.error->>'code' IS DISTINCT FROM 'UNSUPPORTED_PROVIDER'
			AND (codes IS NULL OR o.error->>'code' = ANY (codes))
		RETURNING o.job_id, o.attempt
	), voided AS (
		INSERT INTO tries (job_id, void_attempt) SELECT job_id, attempt FROM undone
	), queued AS (
		INSERT INTO ready (run_id, model_id, job_id, attempt)
		SELECT of_run, (SELECT j.model_id FROM jobs j WHERE j.id = u.job_id), u.job_id, u.attempt + 1
		FROM undone u ORDER BY u.job_id
		RETURNING job_id
	)
	SELECT count(*) INTO again FROM queued;
	IF again > 0 THEN
		PERFORM move_progress(NULL, of_run, 0, -again, 0);
		UPDATE runs SET status = CASE WHEN status = 'PAUSED' THEN 'PAUSED' ELSE 'RUNNING' END,
				finished_at = NULL, cancel_requested_at = NULL
			WHERE id = of_run;
		INSERT INTO events (level, kind, run_id, data)
			VALUES ('info', 'run.retried', of_run, jsonb_build_object('probes', again, 'codes', codes));
	END IF;
	RETURN QUERY SELECT again, x.status FROM runs x WHERE x.id = of_run;
END
$$;

-- ---- nodes and leases ----

DROP FUNCTION register_node(text, text);

-- Registers a boot. What the last boot held stays with it, so that a spool can be sent first: see take_back_earlier().
CREATE FUNCTION join_node(node_name text, node_state_id text) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	born bigint;
BEGIN
	INSERT INTO nodes (name, state_id) VALUES (node_name, node_state_id) RETURNING id INTO born;
	INSERT INTO events (level, kind, node_id, subject) VALUES ('info', 'node.started', born, node_name);
	RETURN born;
END
$$;

-- Takes back at once what earlier boots on the same state folder and machine still hold, and forgets these boots. Returns
-- how many jobs went back into the queue.
CREATE FUNCTION take_back_earlier(of_node bigint, node_state_id text) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	earlier bigint[] := ARRAY(SELECT id FROM nodes WHERE state_id = node_state_id AND id < of_node);
	back bigint;
BEGIN
	back := take_back(ARRAY(SELECT l.job_id FROM leases l WHERE l.node_id = ANY (earlier)), earlier);
	DELETE FROM nodes WHERE id = ANY (earlier);
	IF back > 0 THEN
		INSERT INTO events (level, kind, node_id, subject, data)
			VALUES ('warning', 'node.took_back', of_node, (SELECT name FROM nodes WHERE id = of_node),
				jsonb_build_object('takenBack', back));
	END IF;
	RETURN back;
END
$$;

-- The places, from 1, of those leases that the node still holds; element i of the arrays is one.
CREATE FUNCTION held_leases(of_node bigint, job_ids bigint[], attempts bigint[]) RETURNS TABLE (place bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT k.place FROM unnest(job_ids, attempts) WITH ORDINALITY AS k (job_id, attempt, place)
		CROSS JOIN LATERAL (SELECT attempt, node_id FROM leases WHERE job_id = k.job_id OFFSET 0) l
	WHERE l.attempt = k.attempt AND l.node_id = of_node
	ORDER BY k.place;
END
$$;
