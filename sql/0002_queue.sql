-- The queue's operations, each one statement for its caller: a network round trip, and a transaction of its own.
--
-- Plans. The queue's tables are empty one minute and hold 100,000 rows the next, so their statistics are always
-- wrong, and a plan that was cached while a table was empty would read all of it later. So every access to a table names
-- its keys (= ANY (…), a subquery that depends on the row, LATERAL … OFFSET 0, which the planner may not turn
-- around), and the SET clauses leave only an index for it; they also hold for the checks of foreign keys that
-- run inside. jit is off because the prices that these settings add to a plan would turn it on.
--
-- Locks. Whoever moves jobs locks their runs first, in the order of run ids. To end or free a lease, or to record or
-- undo an outcome, it is FOR NO KEY UPDATE: under it, leases and outcomes of the run hold still. Otherwise FOR KEY SHARE,
-- which lets those go on. Two batches over the same runs then never deadlock, and a DELETE FROM runs (which locks
-- the run before it cascades) either waits for them or is waited for.

-- Moves a run's progress, and ends the run with its last outcome. The caller has locked the run.
-- Returns the final status when this ended the run, else NULL.
CREATE FUNCTION move_progress(by_node bigint, of_run text, add_completed bigint, add_failed bigint, add_cancelled bigint)
RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	unfinished bigint;
	final text;
	reached jsonb;
BEGIN
	UPDATE runs SET progress = jsonb_build_object(
			'total', (progress->>'total')::bigint,
			'completed', (progress->>'completed')::bigint + add_completed,
			'failed', (progress->>'failed')::bigint + add_failed,
			'cancelled', (progress->>'cancelled')::bigint + add_cancelled)
		WHERE id = of_run
		RETURNING progress INTO reached;
	unfinished := (reached->>'total')::bigint - (reached->>'completed')::bigint - (reached->>'failed')::bigint
		- (reached->>'cancelled')::bigint;
	IF reached IS NULL OR unfinished > 0 THEN
		RETURN NULL;
	END IF;
	final := CASE WHEN (reached->>'cancelled')::bigint > 0 THEN 'CANCELLED'
		WHEN (reached->>'completed')::bigint > 0 THEN 'COMPLETED'
		ELSE 'FAILED' END;
	UPDATE runs SET status = final, finished_at = now(), started_at = coalesce(started_at, now()), pause_reason = NULL
		WHERE id = of_run;
	INSERT INTO events (level, kind, node_id, run_id, data)
		VALUES (CASE final WHEN 'FAILED' THEN 'warning' ELSE 'info' END, 'run.finished', by_node, of_run,
			jsonb_build_object('status', final, 'progress', reached));
	RETURN final;
END
$$;

-- Starts a run: models[i] belongs to lanes[i], 'unsupported' where no provider claims the id. A given seed chooses
-- the same scenarios each time, ceil(n * percentage / 100) of them. Jobs are queued scenario by scenario over all
-- models. Probes of an unsupported model are failed here, in the same transaction.
CREATE FUNCTION start_run(of_definition text, lanes text[], models text[], sample_percentage numeric,
	sample_seed bigint, samples bigint, run_priority bigint, run_config jsonb)
RETURNS TABLE (run_id text, total bigint, failed bigint, status text)
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	d definitions%ROWTYPE;
	new_run text := new_id('run');
	chosen text[];
	all_jobs bigint;
	unsupported bigint;
BEGIN
	SELECT * INTO d FROM definitions WHERE id = of_definition AND complete FOR KEY SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no definition has the id "%"', of_definition USING ERRCODE = 'no_data_found';
	END IF;
	SELECT array_agg(s.id ORDER BY s.position) INTO chosen
		FROM (SELECT id, position FROM scenarios WHERE definition_id = d.id
			ORDER BY md5(coalesce(sample_seed, 0)::text || ':' || key), key
			LIMIT (SELECT ceil(count(*) * sample_percentage / 100)::bigint FROM scenarios
				WHERE definition_id = d.id)) s;
	all_jobs := coalesce(cardinality(chosen), 0) * cardinality(models) * samples;
	IF all_jobs < 1 THEN
		RAISE EXCEPTION 'the run would have no probes: % scenarios, % models, % samples',
			coalesce(cardinality(chosen), 0), cardinality(models), samples
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	INSERT INTO runs (id, definition_id, config, progress, priority, definition_snapshot)
		VALUES (new_run, d.id, run_config,
			jsonb_build_object('total', all_jobs, 'completed', 0, 'failed', 0, 'cancelled', 0),
			run_priority::integer,
			jsonb_build_object('id', d.id, 'name', d.name, 'version', d.version, 'preamble', d.preamble,
				'followups', d.followups, 'metadata', d.metadata));
	INSERT INTO run_scenario_selections (run_id, scenario_id) SELECT new_run, unnest(chosen);
	INSERT INTO run_models (run_id, model_id, lane, total)
		SELECT new_run, m.model, m.lane, (cardinality(chosen) * samples)::integer
		FROM unnest(models, lanes) AS m (model, lane);
	INSERT INTO events (level, kind, run_id, data)
		VALUES ('info', 'run.created', new_run, jsonb_build_object('total', all_jobs, 'models', models));

	WITH made AS (
		INSERT INTO jobs (run_id, scenario_id, model_id, sample_index, lane)
		SELECT new_run, s.id, m.model, k, m.lane
		FROM generate_series(0, samples::integer - 1) k
			CROSS JOIN unnest(chosen) WITH ORDINALITY AS s (id, place)
			CROSS JOIN unnest(models, lanes) WITH ORDINALITY AS m (model, lane, place)
		ORDER BY k, s.place, m.place
		RETURNING id, model_id, lane
	), queued AS (
		INSERT INTO ready (run_id, model_id, job_id, attempt)
		SELECT new_run, model_id, id, 1 FROM made WHERE lane <> 'unsupported' ORDER BY id
	), refused AS (
		INSERT INTO outcomes (job_id, attempt, status, error)
		SELECT id, 0, 'FAILED', jsonb_build_object('code', 'UNSUPPORTED_PROVIDER', 'message', format(
			'no provider claims the model id "%s": name it as provider:model (for example openai:%1$s), '
			'or add its prefix to models.ini', model_id))
		FROM made WHERE lane = 'unsupported'
		RETURNING job_id
	)
	SELECT count(*) INTO unsupported FROM refused;
	IF unsupported > 0 THEN
		PERFORM move_progress(NULL, new_run, 0, unsupported, 0);
	END IF;
	RETURN QUERY SELECT new_run, all_jobs, unsupported, r.status FROM runs r WHERE r.id = new_run;
END
$$;

-- Puts the failed probes of a run (those with one of `codes`; NULL = all) back into the queue, their counters
-- reset. Probes of unsupported models stay failed. A run that had ended runs again.
CREATE FUNCTION retry_failed(of_run text, codes text[] DEFAULT NULL)
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

-- Deletes a run and all that belongs to it; false when there is none. Work of it under way is superseded.
CREATE FUNCTION delete_run(of_run text) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
	DELETE FROM runs WHERE id = of_run;
	RETURN FOUND;
END
$$;

-- Gives up to `most` queued jobs of a run that was told to cancel their CANCELLED outcome. `more` tells that some are
-- left; jobs under way are ended by who holds them. `final` is the run's status when this ended it, else NULL.
CREATE FUNCTION cancel_chunk(by_node bigint, of_run text, most bigint)
RETURNS TABLE (cancelled bigint, more boolean, final text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	taken bigint[];
	waiting bigint[];
	ended bigint;
BEGIN
	PERFORM 1 FROM runs WHERE id = of_run AND cancel_requested_at IS NOT NULL AND finished_at IS NULL
		FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RETURN QUERY SELECT 0::bigint, false, NULL::text;
		RETURN;
	END IF;
	WITH picked AS MATERIALIZED (
		SELECT ctid AS at, job_id FROM ready WHERE run_id = of_run LIMIT most FOR UPDATE SKIP LOCKED
	), gone AS (
		DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT at FROM picked))
	)
	SELECT coalesce(array_agg(job_id), '{}') INTO taken FROM picked;
	IF cardinality(taken) < most THEN
		WITH picked AS MATERIALIZED (
			SELECT d.ctid AS at, d.job_id FROM delayed d
			WHERE (SELECT j.run_id FROM jobs j WHERE j.id = d.job_id) = of_run
			LIMIT most - cardinality(taken) FOR UPDATE SKIP LOCKED
		), gone AS (
			DELETE FROM delayed WHERE ctid = ANY (ARRAY(SELECT at FROM picked))
		)
		SELECT coalesce(array_agg(job_id), '{}') INTO waiting FROM picked;
		taken := taken || waiting;
	END IF;
	WITH cleared AS (
		DELETE FROM checkpoints WHERE job_id = ANY (taken)
	), forgotten AS (
		DELETE FROM tries WHERE job_id = ANY (taken)
	), recorded AS (
		INSERT INTO outcomes (job_id, attempt, status, error)
		SELECT t, 0, 'CANCELLED', '{"code": "CANCELLED", "message": "the run was cancelled"}' FROM unnest(taken) t
		ON CONFLICT DO NOTHING
		RETURNING job_id
	)
	SELECT count(*) INTO ended FROM recorded;
	RETURN QUERY SELECT ended, cardinality(taken) >= most, move_progress(by_node, of_run, 0, 0, ended);
END
$$;

-- The (run, model) pairs that a scheduler chooses between.
CREATE FUNCTION active_pairs()
RETURNS TABLE (run_id text, model_id text, lane text, priority integer, paused boolean, cancelling boolean,
	run_status text)
LANGUAGE sql STABLE
AS $$
	SELECT r.id, m.model_id, m.lane, r.priority, r.status = 'PAUSED' OR m.paused, r.cancel_requested_at IS NOT NULL,
		r.status
	FROM runs r JOIN run_models m ON m.run_id = r.id
	WHERE r.status IN ('PENDING', 'RUNNING', 'PAUSED') AND m.lane <> 'unsupported'
	ORDER BY r.id, m.model_id
$$;

-- Moves up to `most` due jobs to `ready`. `next_ms` is how long until the next one is due: 0 when more are due now, NULL
-- when none waits.
CREATE FUNCTION promote_delayed(most bigint)
RETURNS TABLE (moved bigint, next_ms bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	due bigint[] := ARRAY(SELECT d.job_id FROM delayed d WHERE d.run_at <= now() ORDER BY d.run_at LIMIT most);
	promoted bigint := 0;
BEGIN
	IF cardinality(due) > 0 THEN
		PERFORM 1 FROM runs WHERE id = ANY (ARRAY(SELECT j.run_id FROM jobs j WHERE j.id = ANY (due)))
			ORDER BY id FOR KEY SHARE;
		WITH picked AS MATERIALIZED (
			SELECT d.ctid AS at, d.job_id, d.attempt, d.run_at FROM delayed d WHERE d.job_id = ANY (due)
			FOR UPDATE SKIP LOCKED
		), gone AS (
			DELETE FROM delayed WHERE ctid = ANY (ARRAY(SELECT at FROM picked))
		), queued AS (
			INSERT INTO ready (run_id, model_id, job_id, attempt)
			SELECT j.run_id, j.model_id, p.job_id, p.attempt
			FROM picked p CROSS JOIN LATERAL (
				SELECT run_id, model_id FROM jobs WHERE id = p.job_id OFFSET 0) j
			WHERE (SELECT o.status FROM outcomes o WHERE o.job_id = p.job_id) IS NULL
			ORDER BY p.run_at
			RETURNING job_id
		)
		SELECT count(*) INTO promoted FROM queued;
	END IF;
	RETURN QUERY SELECT promoted,
		(SELECT greatest(0, ceil(extract(epoch FROM d.run_at - clock_timestamp()) * 1000))::bigint
			FROM delayed d ORDER BY d.run_at LIMIT 1);
END
$$;

-- Leases up to counts[i] ready jobs of the pair (run_ids[i], model_ids[i]) with seq > after_seqs[i] to a node, for every i.
-- `want` is i, from 0. Paused, cancelled and ended runs give none. `input` is the worker protocol's INPUT, `turns` the
-- JSON array of bodies that earlier attempts paid for, `digest` that of the last of them.
CREATE FUNCTION claim_jobs(by_node bigint, run_ids text[], model_ids text[], counts bigint[], after_seqs bigint[])
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
				coalesce(sum((k.body->>'inputTokens')::bigint), 0)::bigint AS input_tokens,
				coalesce(sum((k.body->>'outputTokens')::bigint), 0)::bigint AS output_tokens,
				coalesce(sum((k.body->>'reasoningTokens')::bigint), 0)::bigint AS reasoning_tokens,
				coalesce(sum((k.body->>'durationMs')::bigint), 0)::bigint AS duration_ms
			FROM checkpoints k WHERE k.job_id = t.job_id OFFSET 0) c
	ORDER BY t.want, t.seq;
END
$$;

-- The content of a transcript: the turns that earlier attempts left, up to where `turns` goes on, then `turns`. Refuses
-- what does not make up one conversation, numbered from 1.
CREATE FUNCTION conversation(of_job bigint, turns jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	before bigint := (turns #>> '{0,turnNumber}')::bigint - 1;   -- NULL without new turns: all was there before
	whole jsonb;
BEGIN
	SELECT coalesce(jsonb_agg(c.body ORDER BY c.turn_number), '[]') || turns INTO whole
		FROM checkpoints c WHERE c.job_id = of_job AND (turns = '[]' OR c.turn_number <= before);
	IF whole #>> '{-1,turnNumber}' IS DISTINCT FROM jsonb_array_length(whole)::text
			OR jsonb_array_length(whole) <> coalesce(before, 0) + jsonb_array_length(turns) AND turns <> '[]' THEN
		RAISE EXCEPTION 'the turns do not go on from the stored conversation: of % in all, the first new one is number %',
			jsonb_array_length(whole), coalesce(before + 1, 0) USING ERRCODE = 'data_exception';
	END IF;
	RETURN jsonb_build_object('schemaVersion', 1, 'turns', whole);
END
$$;

-- Takes over how attempts ended; element i of every array belongs to job_ids[i]. Harmless when repeated.
--   fates    COMPLETED, FAILED, CANCELLED: the outcome. REFUSED: FAILED with INVALID_RESPONSE, errors[i] being the plain
--            text of why the server did not take the answer. LATER: again after delays_ms[i], with its turns kept and
--            its counters set. RETURNED: again at once, counters untouched, blaming nobody.
--   turns    JSON array of this attempt's bodies; digests: theirs, comma separated (LATER only).
--   errors   JSON object, or NULL.    costs_e10   in 10^-10 USD, NULL when not known.
-- The first outcome stays. An answer (COMPLETED) counts even when its lease is gone; every other fate only from who
-- still holds the lease of that very attempt. Jobs that exist no more are ignored. Work of a run that was told to
-- cancel does not go back to the queue: it ends CANCELLED. Returns the runs that this ended.
CREATE FUNCTION finish_jobs(by_node bigint, job_ids bigint[], attempts bigint[], fates text[], turns text[],
	digests text[], model_versions text[], input_tokens bigint[], output_tokens bigint[], reasoning_tokens bigint[],
	durations_ms bigint[], costs_e10 bigint[], errors text[], delays_ms bigint[], fails bigint[], deaths bigint[],
	solo_deaths bigint[], limited_for_ms bigint[])
RETURNS TABLE (run_id text, status text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	moved record;
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
			jsonb_array_length(c.content->'turns'), input_tokens[w.place] + output_tokens[w.place],
			input_tokens[w.place], output_tokens[w.place], reasoning_tokens[w.place], durations_ms[w.place],
			costs_e10[w.place]::numeric / 10000000000, w.definition_snapshot, c.content
		FROM won w CROSS JOIN LATERAL (
			SELECT CASE WHEN t.turns #>> '{0,turnNumber}' = '1'
					AND t.turns #>> '{-1,turnNumber}' = jsonb_array_length(t.turns)::text
				THEN jsonb_build_object('schemaVersion', 1, 'turns', t.turns)
				ELSE conversation(w.job_id, t.turns) END AS content
			FROM (SELECT turns[w.place]::jsonb AS turns OFFSET 0) t OFFSET 0) c
		WHERE w.status = 'COMPLETED'
		ON CONFLICT DO NOTHING
	), unready AS (
		-- A late answer: the next attempt is queued already.
		DELETE FROM ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM won WHERE NOT held))
	), undelayed AS (
		DELETE FROM delayed WHERE job_id = ANY (ARRAY(SELECT job_id FROM won WHERE NOT held))
	), cleared AS (
		DELETE FROM checkpoints WHERE job_id = ANY (ARRAY(SELECT job_id FROM won))
	), forgotten AS (
		DELETE FROM tries WHERE job_id = ANY (ARRAY(SELECT job_id FROM won))
	), again AS MATERIALIZED (
		SELECT b.* FROM batch b
		WHERE b.held AND NOT b.over AND b.fate IN ('LATER', 'RETURNED')
			AND b.job_id <> ALL (ARRAY(SELECT job_id FROM won))
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
		-- Only turns that go on from the stored ones: two attempts never make up one conversation.
		INSERT INTO checkpoints (job_id, turn_number, attempt, digest, body)
		SELECT a.job_id, s.stored + t.place, a.attempt, (string_to_array(digests[a.place], ','))[t.place], t.body
		FROM again a
			CROSS JOIN LATERAL (
				SELECT count(*) AS stored FROM checkpoints c WHERE c.job_id = a.job_id OFFSET 0) s
			CROSS JOIN LATERAL jsonb_array_elements(turns[a.place]::jsonb) WITH ORDINALITY AS t (body, place)
		WHERE (turns[a.place]::jsonb #>> '{0,turnNumber}')::bigint = s.stored + 1
	)
	SELECT w.run_id, count(*) FILTER (WHERE w.status = 'COMPLETED') AS completed,
		count(*) FILTER (WHERE w.status = 'FAILED') AS failed,
		count(*) FILTER (WHERE w.status = 'CANCELLED') AS cancelled
	FROM won w GROUP BY w.run_id ORDER BY w.run_id
	LOOP
		run_id := moved.run_id;
		status := move_progress(by_node, moved.run_id, moved.completed, moved.failed, moved.cancelled);
		IF status IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
