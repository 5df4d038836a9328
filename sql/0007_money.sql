-- What runs and providers cost. For plans and locks see 0002_queue.sql.
--
-- A turn is priced once, by the daemon, when it comes. Its money is counted once, in the transaction that first stores the
-- turn, be it by itself or with the end of its attempt: runs.spent_usd and `spending` are always what is stored, however
-- often a spool is sent again. NULL is a cost that is not known: no price, or a simulated answer. It is never 0.

ALTER TABLE outcomes ADD COLUMN cost_usd numeric(20, 10);       -- of what FAILED or CANCELLED; else see transcripts
ALTER TABLE checkpoints ADD COLUMN cost_usd numeric(20, 10);
ALTER TABLE runs ADD COLUMN budget_usd numeric CHECK (budget_usd > 0);  -- NULL = none
ALTER TABLE runs ADD COLUMN spent_usd numeric NOT NULL DEFAULT 0;       -- what is known of it; also for what was asked again
ALTER TABLE runs ADD COLUMN over_budget boolean NOT NULL DEFAULT false; -- PAUSED because the budget is used up

-- What was answered on a day (UTC), also for runs deleted since.
CREATE TABLE spending (
	day date NOT NULL,
	lane text NOT NULL,
	model_id text NOT NULL,
	calls bigint NOT NULL,                      -- those answered
	unpriced_calls bigint NOT NULL,             -- those of them that cost_usd does not contain
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	cost_usd numeric,                           -- NULL = of none of them a price is known
	PRIMARY KEY (day, lane, model_id)
);

UPDATE runs r SET spent_usd = t.cost
	FROM (SELECT run_id, sum(cost_usd) AS cost FROM transcripts GROUP BY run_id) t
	WHERE t.run_id = r.id AND t.cost IS NOT NULL;
INSERT INTO spending
	SELECT (t.created_at AT TIME ZONE 'UTC')::date, m.lane, t.model_id, sum(t.turn_count),
		coalesce(sum(t.turn_count) FILTER (WHERE t.cost_usd IS NULL), 0), sum(t.input_tokens), sum(t.output_tokens),
		sum(t.cost_usd)
	FROM transcripts t JOIN run_models m ON m.run_id = t.run_id AND m.model_id = t.model_id
	GROUP BY 1, 2, 3;

-- ---- counting ----

-- A bill has four numbers for each turn: its day, counted from 1970-01-01, tokens in and out, and its cost in 10^-10 USD,
-- which may be NULL. A turn without a bill comes from a daemon that did not know of money yet.

-- The four numbers of the nth turn.
CREATE FUNCTION bill_of(bills text, nth bigint) RETURNS bigint[]
LANGUAGE sql IMMUTABLE
AS $$
	SELECT ARRAY[b.n[4 * nth - 3], b.n[4 * nth - 2], b.n[4 * nth - 1], b.n[4 * nth]] FROM (SELECT bills::bigint[] AS n) b
$$;

CREATE FUNCTION bill_cost(bills text, nth bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE
AS $$
	SELECT (bills::bigint[])[4 * nth]::numeric / 10000000000
$$;

-- What the stored turns of a job have cost; NULL when there are none, or one whose price is not known.
CREATE FUNCTION stored_cost(of_job bigint) RETURNS numeric
LANGUAGE sql STABLE
AS $$
	SELECT CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END FROM checkpoints WHERE job_id = of_job
$$;

-- Counts turns: bills[i], four numbers, is that of a turn of job_ids[i]. The caller has locked the runs. Called once in a
-- transaction, so that rows of `spending` are always locked in one order.
CREATE FUNCTION spend(job_ids bigint[], bills bigint[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
	WITH bought AS MATERIALIZED (
		SELECT j.run_id, j.lane, j.model_id, bills[k.place][4]::numeric / 10000000000 AS cost,
			CASE WHEN bills[k.place][1] BETWEEN 1 AND 100000 THEN date '1970-01-01' + bills[k.place][1]::integer
				ELSE (now() AT TIME ZONE 'UTC')::date END AS day,
			least(greatest(coalesce(bills[k.place][2], 0), 0), 1000000000000) AS input_tokens,
			least(greatest(coalesce(bills[k.place][3], 0), 0), 1000000000000) AS output_tokens
		FROM unnest(job_ids) WITH ORDINALITY AS k (job_id, place)
			CROSS JOIN LATERAL (SELECT run_id, lane, model_id FROM jobs WHERE id = k.job_id OFFSET 0) j
	), paid AS (
		UPDATE runs r SET spent_usd = r.spent_usd + (SELECT sum(b.cost) FROM bought b WHERE b.run_id = r.id)
		WHERE r.id = ANY (ARRAY(SELECT b.run_id FROM bought b WHERE b.cost IS NOT NULL))
	)
	INSERT INTO spending AS s (day, lane, model_id, calls, unpriced_calls, input_tokens, output_tokens, cost_usd)
	SELECT b.day, b.lane, b.model_id, count(*), count(*) - count(b.cost), sum(b.input_tokens), sum(b.output_tokens),
		sum(b.cost)
	FROM bought b GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
	ON CONFLICT (day, lane, model_id) DO UPDATE SET calls = s.calls + excluded.calls,
		unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
		input_tokens = s.input_tokens + excluded.input_tokens, output_tokens = s.output_tokens + excluded.output_tokens,
		cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN s.cost_usd
			ELSE coalesce(s.cost_usd, 0) + excluded.cost_usd END;
END
$$;

DROP FUNCTION keep_turns(bigint, bigint[], bigint[], bigint[], text[], text[], text[]);

-- As in 0006_spool.sql, but that what is kept is counted: bills[i] is that of one turn.
CREATE FUNCTION keep_turns(by_node bigint, job_ids bigint[], attempts bigint[], numbers bigint[], before_digests text[],
	digests text[], bodies text[], bills text[] DEFAULT NULL)
RETURNS TABLE (place bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
	i bigint;
	kept bigint[] := '{}';
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
		INSERT INTO checkpoints (job_id, turn_number, attempt, digest, body, cost_usd)
		SELECT job_ids[i], numbers[i], attempts[i], digests[i], bodies[i]::jsonb, bill_cost(bills[i], 1)
		WHERE numbers[i] = 1 OR before_digests[i] = (
			SELECT c.digest FROM checkpoints c WHERE c.job_id = job_ids[i] AND c.turn_number = numbers[i] - 1)
		ON CONFLICT (job_id, turn_number) DO NOTHING;
		IF FOUND THEN
			kept := kept || i;
		ELSIF digests[i] IS DISTINCT FROM (
				SELECT c.digest FROM checkpoints c WHERE c.job_id = job_ids[i] AND c.turn_number = numbers[i]) THEN
			place := i;
			RETURN NEXT;
		END IF;
	END LOOP;
	PERFORM spend(ARRAY(SELECT job_ids[k] FROM unnest(kept) k), ARRAY(SELECT bill_of(bills[k], 1) FROM unnest(kept) k));
END
$$;

DROP FUNCTION finish_jobs(bigint, bigint[], bigint[], text[], text[], text[], bigint[], text[], text[], bigint[],
	bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[]);

-- As in 0006_spool.sql, but that what failed or was cancelled has its cost too, and that turns are counted which were not
-- stored before. bills[i] is that of all turns that digests[i] names, in their order; costs_e10[i] is of the whole
-- conversation.
CREATE FUNCTION finish_jobs(by_node bigint, job_ids bigint[], attempts bigint[], fates text[], turns text[],
	digests text[], base_numbers bigint[], base_digests text[], model_versions text[], input_tokens bigint[],
	output_tokens bigint[], reasoning_tokens bigint[], durations_ms bigint[], costs_e10 bigint[], errors text[],
	delays_ms bigint[], fails bigint[], deaths bigint[], solo_deaths bigint[], limited_for_ms bigint[],
	bills text[] DEFAULT NULL)
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
		INSERT INTO outcomes (job_id, attempt, status, error, cost_usd)
		SELECT w.job_id, w.attempt, w.status, CASE w.fate
			WHEN 'COMPLETED' THEN NULL
			WHEN 'STOPPED' THEN '{"code": "CANCELLED", "message": "the run was cancelled"}'
			WHEN 'REFUSED' THEN jsonb_build_object('code', 'INVALID_RESPONSE',
				'message', 'the database did not accept the answer: ' || errors[w.place])
			ELSE errors[w.place]::jsonb END,
			CASE WHEN w.fate = 'COMPLETED' THEN NULL
				WHEN w.fate = 'STOPPED' AND digests[w.place] = '' THEN stored_cost(w.job_id)
				ELSE costs_e10[w.place]::numeric / 10000000000 END
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
		INSERT INTO checkpoints (job_id, turn_number, attempt, digest, body, cost_usd)
		SELECT a.job_id, t.number, a.attempt, t.digest, t.body,
			bill_cost(bills[a.place], t.number - base_numbers[a.place])
		FROM again a CROSS JOIN LATERAL turns_to_keep(a.job_id, base_numbers[a.place], base_digests[a.place],
			turns[a.place]::jsonb, string_to_array(digests[a.place], ',')) t
		WHERE turns[a.place] <> '[]'
	), bought AS MATERIALIZED (
		-- What came with an end that counts, and has not been stored, and counted, by itself before.
		SELECT x.job_id, bill_of(bills[x.place], t.nth) AS bill
		FROM (SELECT job_id, place FROM won UNION ALL SELECT job_id, place FROM again) x
			CROSS JOIN LATERAL unnest(string_to_array(digests[x.place], ',')) WITH ORDINALITY AS t (digest, nth)
		WHERE t.digest IS DISTINCT FROM (SELECT c.digest FROM checkpoints c
			WHERE c.job_id = x.job_id AND c.turn_number = base_numbers[x.place] + t.nth)
	)
	SELECT w.run_id, count(*) FILTER (WHERE w.status = 'COMPLETED') AS completed,
		count(*) FILTER (WHERE w.status = 'FAILED') AS failed,
		count(*) FILTER (WHERE w.status = 'CANCELLED') AS cancelled,
		coalesce(array_agg(w.job_id) FILTER (WHERE NOT w.held), '{}') AS late,
		NULL::bigint[] AS bought_by, NULL::bigint[] AS bills
	FROM won w GROUP BY w.run_id
	UNION ALL
	SELECT NULL, 0, 0, 0, '{}', array_agg(b.job_id), array_agg(b.bill) FROM bought b HAVING count(*) > 0
	ORDER BY run_id NULLS LAST
	LOOP
		IF moved.bought_by IS NOT NULL THEN
			PERFORM spend(moved.bought_by, moved.bills);
			CONTINUE;
		END IF;
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

DROP FUNCTION claim_jobs(bigint, text[], text[], bigint[], bigint[]);

-- As in 0006_spool.sql, but for cost_e10: what the turns that come with the job have cost, NULL when there are none, or one
-- whose price is not known.
CREATE FUNCTION claim_jobs(by_node bigint, run_ids text[], model_ids text[], counts bigint[],
	after_seqs bigint[])
RETURNS TABLE (want bigint, job_id bigint, attempt integer, run_id text, model_id text, lane text, seq bigint,
	input text, turns text, turn_count bigint, digest text, input_tokens bigint, output_tokens bigint,
	reasoning_tokens bigint, duration_ms bigint, fails integer, deaths integer, solo_deaths integer,
	limited_for_ms bigint, cost_e10 bigint)
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
			ELSE greatest(1, extract(epoch FROM now() - y.limited_since) * 1000)::bigint END,
		c.cost_e10
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
				coalesce(sum(turn_count_of(k.body, 'durationMs')), 0)::bigint AS duration_ms,
				CASE WHEN count(*) = count(k.cost_usd)
					THEN least(sum(k.cost_usd) * 10000000000, 9223372036854775807)::bigint END AS cost_e10
			FROM checkpoints k WHERE k.job_id = t.job_id OFFSET 0) c
	ORDER BY t.want, t.seq;
END
$$;

-- As in 0002_queue.sql, but that what was paid for stays known.
CREATE OR REPLACE FUNCTION cancel_chunk(by_node bigint, of_run text, most bigint)
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
		INSERT INTO outcomes (job_id, attempt, status, error, cost_usd)
		SELECT t, 0, 'CANCELLED', '{"code": "CANCELLED", "message": "the run was cancelled"}', stored_cost(t)
		FROM unnest(taken) t
		ON CONFLICT DO NOTHING
		RETURNING job_id
	)
	SELECT count(*) INTO ended FROM recorded;
	RETURN QUERY SELECT ended, cardinality(taken) >= most, move_progress(by_node, of_run, 0, 0, ended);
END
$$;

-- What was answered today (UTC), by all nodes: what the limits of a day begin with. `cost_e10` has what is known of it.
CREATE FUNCTION spent_today() RETURNS TABLE (day bigint, lane text, model_id text, calls bigint, cost_e10 bigint)
LANGUAGE sql STABLE
AS $$
	SELECT (s.day - date '1970-01-01')::bigint, s.lane, s.model_id, s.calls,
		least(coalesce(s.cost_usd, 0) * 10000000000, 9223372036854775807)::bigint
	FROM spending s WHERE s.day = (now() AT TIME ZONE 'UTC')::date
	ORDER BY s.lane, s.model_id
$$;

-- ---- budgets ----

DROP FUNCTION active_pairs();

-- As in 0002_queue.sql, and the run's money in 10^-10 USD: budget_e10 is NULL when it has none.
CREATE FUNCTION active_pairs()
RETURNS TABLE (run_id text, model_id text, lane text, priority integer, paused boolean, cancelling boolean,
	run_status text, budget_e10 bigint, spent_e10 bigint)
LANGUAGE sql STABLE
AS $$
	SELECT r.id, m.model_id, m.lane, r.priority, r.status = 'PAUSED' OR m.paused, r.cancel_requested_at IS NOT NULL,
		r.status, least(r.budget_usd * 10000000000, 9223372036854775807)::bigint,
		least(r.spent_usd * 10000000000, 9223372036854775807)::bigint
	FROM runs r JOIN run_models m ON m.run_id = r.id
	WHERE r.status IN ('PENDING', 'RUNNING', 'PAUSED') AND m.lane <> 'unsupported'
	ORDER BY r.id, m.model_id
$$;

-- Pauses a run whose next call would pass its budget, which was `seen_e10` for who found that out. False when it is paused,
-- over or being cancelled already, or has another budget by now.
CREATE FUNCTION pause_over_budget(by_node bigint, of_run text, seen_e10 bigint, reason text) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	r runs%ROWTYPE;
BEGIN
	UPDATE runs SET status = 'PAUSED', pause_reason = reason, over_budget = true
		WHERE id = of_run AND status IN ('PENDING', 'RUNNING') AND cancel_requested_at IS NULL
			AND budget_usd * 10000000000 = seen_e10
		RETURNING * INTO r;
	IF r.id IS NULL THEN
		RETURN false;
	END IF;
	INSERT INTO events (level, kind, node_id, run_id, data)
		VALUES ('warning', 'run.over_budget', by_node, of_run, jsonb_build_object('reason', reason,
			'budgetUsd', trim_scale(r.budget_usd), 'spentUsd', trim_scale(r.spent_usd)));
	RETURN true;
END
$$;

-- ---- commands ----

-- As in 0003_api.sql, with the run's money: costUsd is null as long as nothing is known of it.
CREATE OR REPLACE FUNCTION api_run_summary(r runs) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object('id', r.id, 'status', r.status, 'definitionId', r.definition_id,
		'definitionName', r.definition_snapshot->>'name', 'progress', r.progress, 'priority', r.priority,
		'budgetUsd', trim_scale(r.budget_usd), 'costUsd', trim_scale(nullif(r.spent_usd, 0)),
		'pauseReason', r.pause_reason, 'cancelling', r.cancel_requested_at IS NOT NULL AND r.finished_at IS NULL,
		'createdAt', api_time(r.created_at), 'startedAt', api_time(r.started_at),
		'finishedAt', api_time(r.finished_at))
$$;

-- As in 0003_api.sql, but that a model's cost has that of probes that failed or were cancelled.
CREATE OR REPLACE FUNCTION api_run_models(of_run text) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('modelId', m.model_id, 'lane', m.lane, 'paused', m.paused,
		'total', m.total, 'completed', coalesce(o.completed, 0), 'failed', coalesce(o.failed, 0),
		'cancelled', coalesce(o.cancelled, 0), 'inputTokens', coalesce(t.input_tokens, 0),
		'outputTokens', coalesce(t.output_tokens, 0), 'tokenCount', coalesce(t.token_count, 0),
		'medianMs', t.median_ms, 'costUsd', trim_scale(nullif(coalesce(t.cost_usd, 0) + coalesce(o.cost_usd, 0), 0)), 'modelVersions', coalesce(t.versions, '[]'),
		'simulated', m.lane = 'simulated' OR coalesce(t.simulated, false)) ORDER BY m.model_id), '[]')
	FROM run_models m
		LEFT JOIN (
			SELECT model_id, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
				sum(token_count) AS token_count, sum(cost_usd) AS cost_usd,
				round(percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)) AS median_ms,
				jsonb_agg(DISTINCT model_version) FILTER (WHERE model_version IS NOT NULL) AS versions,
				bool_or(model_version LIKE 'simulator%') AS simulated
			FROM transcripts WHERE run_id = of_run GROUP BY model_id) t ON t.model_id = m.model_id
		LEFT JOIN (
			SELECT j.model_id, count(*) FILTER (WHERE x.status = 'COMPLETED') AS completed,
				count(*) FILTER (WHERE x.status = 'FAILED') AS failed,
				count(*) FILTER (WHERE x.status = 'CANCELLED') AS cancelled, sum(x.cost_usd) AS cost_usd
			FROM jobs j JOIN outcomes x ON x.job_id = j.id
			WHERE j.run_id = of_run GROUP BY j.model_id) o ON o.model_id = m.model_id
	WHERE m.run_id = of_run
$$;

-- As in 0003_api.sql, but that what an operator pauses needs no larger budget to go on.
CREATE OR REPLACE FUNCTION api_run_pause(ref text, of_model text, reason text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	r runs%ROWTYPE := api_lock_active_run(ref, 'pause');
BEGIN
	IF of_model IS NOT NULL THEN
		RETURN api_run_model_pause(r, of_model, true);
	END IF;
	UPDATE runs SET status = 'PAUSED', pause_reason = coalesce(reason, 'paused by an operator'),
			over_budget = over_budget AND status = 'PAUSED'
		WHERE id = r.id
		RETURNING * INTO r;
	INSERT INTO events (level, kind, run_id, data)
		VALUES ('info', 'run.paused', r.id, jsonb_build_object('reason', r.pause_reason));
	RETURN api_run_summary(r)::text;
END
$$;

DROP FUNCTION api_run_resume(text, text);

-- `budget` is a new budget in USD, or NULL. A run whose budget is used up goes on with a larger one only.
CREATE FUNCTION api_run_resume(ref text, of_model text, budget text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	r runs%ROWTYPE := api_lock_active_run(ref, 'resume');
	wanted numeric := budget::numeric;
BEGIN
	IF of_model IS NOT NULL THEN
		IF wanted IS NOT NULL THEN
			PERFORM api_refuse_argument('budgetUsd is a run''s, not that of one of its models');
		END IF;
		RETURN api_run_model_pause(r, of_model, false);
	END IF;
	IF r.status <> 'PAUSED' THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409', MESSAGE = format('run %s is not paused: it is %s', r.id, r.status);
	END IF;
	IF r.over_budget AND coalesce(wanted, r.budget_usd) <= r.budget_usd THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409', MESSAGE = format('run %s cannot go on: %s; raise the budget with '
			'--budget-usd', r.id, r.pause_reason);
	END IF;
	IF wanted <= r.spent_usd THEN
		RAISE EXCEPTION USING ERRCODE = 'PR400', MESSAGE = format('budgetUsd: run %s has spent $%s already', r.id,
			trim_scale(round(r.spent_usd, 4)));
	END IF;
	UPDATE runs SET status = CASE WHEN started_at IS NULL THEN 'PENDING' ELSE 'RUNNING' END, pause_reason = NULL,
			over_budget = false, budget_usd = coalesce(wanted, budget_usd)
		WHERE id = r.id RETURNING * INTO r;
	INSERT INTO events (level, kind, run_id, data)
		VALUES ('info', 'run.resumed', r.id, jsonb_strip_nulls(jsonb_build_object('budgetUsd', wanted)));
	RETURN api_run_summary(r)::text;
END
$$;

-- The definition that people mean, and how many scenarios of it a run takes. Refuses what cannot be started.
CREATE FUNCTION api_run_size(ref text, models bigint, percentage text, samples bigint)
RETURNS TABLE (definition text, scenarios bigint)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found_in bigint;
BEGIN
	definition := api_definition_id(ref);
	SELECT count(*) INTO found_in FROM scenarios s WHERE s.definition_id = definition;
	IF found_in = 0 THEN
		PERFORM api_refuse_argument(format('definition: "%s" has no scenarios', ref));
	END IF;
	scenarios := ceil(found_in * percentage::numeric / 100);
	IF scenarios::numeric * models * samples > 5000000 THEN
		PERFORM api_refuse_argument(format('the run would have %s probes, 5000000 at most; '
			'lower samples, samplePercentage or the number of models', scenarios::numeric * models * samples));
	END IF;
	RETURN NEXT;
END
$$;

DROP FUNCTION api_run_start(text, text[], text[], text, bigint, bigint, bigint, text);

-- `answer` lacks the warnings, which the daemon knows. `budget` is in USD, or NULL.
CREATE FUNCTION api_run_start(ref text, of_models text[], of_lanes text[], percentage text, sample_seed bigint,
	samples bigint, priority bigint, config text, budget text)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	size record;
	started record;
BEGIN
	SELECT * INTO size FROM api_run_size(ref, cardinality(of_models), percentage, samples);
	SELECT * INTO started FROM start_run(size.definition, of_lanes, of_models, percentage::numeric, sample_seed, samples,
		priority, config::jsonb);
	UPDATE runs SET budget_usd = budget::numeric WHERE id = started.run_id AND budget IS NOT NULL;
	RETURN (SELECT json_build_object('id', r.id, 'status', r.status, 'definitionId', r.definition_id,
			'definitionName', r.definition_snapshot->>'name', 'progress', r.progress,
			'budgetUsd', trim_scale(r.budget_usd),
			'models', (SELECT json_agg(json_build_object('modelId', m.model_id, 'lane', m.lane, 'total', m.total)
				ORDER BY array_position(of_models, m.model_id)) FROM run_models m WHERE m.run_id = r.id))::text
		FROM runs r WHERE r.id = started.run_id);
END
$$;
