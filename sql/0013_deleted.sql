-- What became of the probes of deleted runs, without any content; and filters of events.

-- ---- deleted runs ----

-- Neither prompts nor answers nor words of errors: what was asked how often, how it ended, and what it took.
CREATE TABLE deleted_runs (
	id text PRIMARY KEY,
	deleted_at timestamptz NOT NULL DEFAULT now(),
	definition_id text NOT NULL,
	definition_name text,
	status text NOT NULL,                       -- when it was deleted
	progress jsonb NOT NULL,
	priority integer NOT NULL,
	models jsonb NOT NULL,                      -- [{"modelId", "lane", "total"}, …]
	spent_usd numeric NOT NULL,
	created_at timestamptz NOT NULL,
	started_at timestamptz,
	finished_at timestamptz
);
CREATE INDEX deleted_runs_deleted ON deleted_runs (deleted_at);

-- One row for each probe that had its outcome. References nothing: a check of each of 50,000 rows takes its time, and
-- keep_deleted() and prune() are all that writes here.
CREATE TABLE deleted_outcomes (
	run_id text NOT NULL,                       -- of deleted_runs
	scenario_id text NOT NULL,
	model_id text NOT NULL,
	sample_index integer NOT NULL,
	scenario_key text NOT NULL,
	job_id bigint NOT NULL,                     -- as log lines and crash records name it
	status text NOT NULL,
	error_code text,                            -- NULL when COMPLETED
	attempt integer NOT NULL,
	turn_count integer,                         -- this and what follows: NULL when there is no transcript
	token_count bigint,
	input_tokens bigint,
	output_tokens bigint,
	reasoning_tokens bigint,
	duration_ms bigint,
	cost_usd numeric(20, 10),                   -- NULL where it is not known
	finished_at timestamptz NOT NULL,
	PRIMARY KEY (run_id, scenario_id, model_id, sample_index)
);

-- However a run is deleted. The run is locked by then, so that no outcome comes in behind this. Transcripts are put beside
-- their jobs by a sort: a join would, by bad statistics, read all of the run's transcripts for each job.
CREATE FUNCTION keep_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
	-- An id that was given anew by hand: a deletion never fails for what is kept of it.
	DELETE FROM deleted_outcomes WHERE run_id = OLD.id;
	DELETE FROM deleted_runs WHERE id = OLD.id;
	INSERT INTO deleted_runs (id, definition_id, definition_name, status, progress, priority, models, spent_usd,
			created_at, started_at, finished_at)
		SELECT OLD.id, OLD.definition_id, OLD.definition_snapshot->>'name', OLD.status, OLD.progress, OLD.priority,
			(SELECT coalesce(jsonb_agg(jsonb_build_object('modelId', m.model_id, 'lane', m.lane, 'total', m.total)
				ORDER BY m.model_id), '[]') FROM run_models m WHERE m.run_id = OLD.id),
			OLD.spent_usd, OLD.created_at, OLD.started_at, OLD.finished_at;
	INSERT INTO deleted_outcomes (run_id, scenario_id, model_id, sample_index, scenario_key, job_id, status, error_code,
			attempt, turn_count, token_count, input_tokens, output_tokens, reasoning_tokens, duration_ms, cost_usd,
			finished_at)
		SELECT OLD.id, p.scenario_id, p.model_id, p.sample_index, s.key, p.job_id, p.status, p.error_code, p.attempt,
			p.turn_count, p.token_count, p.input_tokens, p.output_tokens, p.reasoning_tokens, p.duration_ms,
			p.cost_usd, p.finished_at
		FROM (SELECT x.scenario_id, x.model_id, x.sample_index, max(x.job_id) AS job_id, max(x.status) AS status,
				max(x.error_code) AS error_code, max(x.attempt) AS attempt, max(x.turn_count) AS turn_count,
				max(x.token_count) AS token_count, max(x.input_tokens) AS input_tokens,
				max(x.output_tokens) AS output_tokens, max(x.reasoning_tokens) AS reasoning_tokens,
				max(x.duration_ms) AS duration_ms, max(x.cost_usd) AS cost_usd, max(x.finished_at) AS finished_at
			FROM (SELECT j.scenario_id, j.model_id, j.sample_index, j.id, o.status,
					-- A code is a word: what else stands there may be anything.
					CASE WHEN o.status <> 'COMPLETED' THEN
						coalesce(substring(o.error->>'code' FROM '^[A-Z][A-Z0-9_]{0,39}$'), 'UNKNOWN') END,
					o.attempt, NULL::integer, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
					NULL::bigint, o.cost_usd, o.finished_at
				FROM jobs j JOIN outcomes o ON o.job_id = j.id WHERE j.run_id = OLD.id
				UNION ALL
				SELECT t.scenario_id, t.model_id, t.sample_index, NULL, NULL, NULL, NULL, t.turn_count, t.token_count,
					t.input_tokens, t.output_tokens, t.reasoning_tokens, t.duration_ms, t.cost_usd, NULL
				FROM transcripts t WHERE t.run_id = OLD.id) AS x (scenario_id, model_id, sample_index, job_id, status,
					error_code, attempt, turn_count, token_count, input_tokens, output_tokens, reasoning_tokens,
					duration_ms, cost_usd, finished_at)
			GROUP BY 1, 2, 3) p
		JOIN scenarios s ON s.id = p.scenario_id
		WHERE p.status IS NOT NULL;
	RETURN OLD;
END
$$;

-- Who may delete runs needs no other rights than before; and whose words they are is not up to who calls.
DO $$
BEGIN
	EXECUTE format('ALTER FUNCTION keep_deleted() SET search_path = %I, pg_temp', current_schema());
END
$$;

CREATE TRIGGER keep_deleted BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION keep_deleted();

CREATE FUNCTION api_deleted_summary(d deleted_runs) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object('id', d.id, 'status', d.status, 'definitionId', d.definition_id,
		'definitionName', d.definition_name, 'progress', d.progress, 'priority', d.priority,
		'costUsd', trim_scale(nullif(d.spent_usd, 0)), 'createdAt', api_time(d.created_at),
		'startedAt', api_time(d.started_at), 'finishedAt', api_time(d.finished_at),
		'deletedAt', api_time(d.deleted_at))
$$;

-- Newest first. `of_definition` is a name or an id, of a definition that may be gone too.
CREATE FUNCTION api_deleted_runs(of_status text, most bigint, of_definition text, of_model text, since_ms bigint) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(api_deleted_summary(x.d) || jsonb_build_object('models',
			jsonb_path_query_array((x.d).models, '$[*].modelId'))
		ORDER BY (x.d).deleted_at DESC, (x.d).id DESC), '[]'))::text
	FROM (SELECT d FROM deleted_runs d
		WHERE (of_status IS NULL OR d.status = of_status)
			AND (of_definition IS NULL OR of_definition IN (d.definition_name, d.definition_id))
			AND (of_model IS NULL OR d.models @> jsonb_build_array(jsonb_build_object('modelId', of_model)))
			AND (since_ms IS NULL OR d.deleted_at >= now() - since_ms * interval '1 millisecond')
		ORDER BY d.deleted_at DESC, d.id DESC LIMIT most) x
$$;

-- What `run show` tells of a deleted run; NULL when none has that id, or begins with it.
CREATE FUNCTION api_deleted_run(ref text) RETURNS jsonb
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	d deleted_runs%ROWTYPE;
	told text[];
BEGIN
	SELECT * INTO d FROM deleted_runs WHERE id = ref;
	IF NOT FOUND AND length(ref) >= 4 THEN
		SELECT array_agg(concat_ws('  ', r.id, 'deleted', api_time(r.deleted_at), r.definition_name) ORDER BY r.id DESC)
			INTO told FROM (SELECT * FROM deleted_runs WHERE id LIKE api_prefix(ref) ORDER BY id DESC LIMIT 11) r;
		IF cardinality(told) > 1 THEN
			PERFORM api_refuse_ambiguous('run', ref, told);
		END IF;
		SELECT * INTO d FROM deleted_runs WHERE id LIKE api_prefix(ref);
	END IF;
	IF d.id IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN api_deleted_summary(d) || jsonb_build_object(
		'models', (SELECT coalesce(jsonb_agg(jsonb_build_object('modelId', m."modelId", 'lane', m.lane, 'total', m.total,
				'completed', coalesce(o.completed, 0), 'failed', coalesce(o.failed, 0),
				'cancelled', coalesce(o.cancelled, 0), 'inputTokens', coalesce(o.input_tokens, 0),
				'outputTokens', coalesce(o.output_tokens, 0), 'tokenCount', coalesce(o.token_count, 0),
				'medianMs', o.median_ms, 'costUsd', trim_scale(nullif(o.cost_usd, 0))) ORDER BY m."modelId"), '[]')
			FROM jsonb_to_recordset(d.models) AS m ("modelId" text, lane text, total bigint)
				LEFT JOIN (SELECT model_id, count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
						count(*) FILTER (WHERE status = 'FAILED') AS failed,
						count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
						sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
						sum(token_count) AS token_count, sum(cost_usd) AS cost_usd,
						round(percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)) AS median_ms
					FROM deleted_outcomes WHERE run_id = d.id GROUP BY 1) o ON o.model_id = m."modelId"),
		'errors', (SELECT coalesce(jsonb_agg(jsonb_build_object('code', e.error_code, 'modelId', e.model_id,
				'count', e.count) ORDER BY e.count DESC, e.error_code, e.model_id), '[]')
			FROM (SELECT error_code, model_id, count(*) AS count FROM deleted_outcomes
				WHERE run_id = d.id AND status = 'FAILED' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50) e));
END
$$;

-- As in 0003_api.sql, but that a deleted run is told too, with `deletedAt`: to who looks, not to who watches.
CREATE OR REPLACE FUNCTION api_run_show(ref text, transcripts_wanted bigint, brief boolean)
RETURNS TABLE (answer text, lanes text)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
	of_run text;
	r runs%ROWTYPE;
	shown jsonb;
BEGIN
	BEGIN
		of_run := api_run_id(ref);
	EXCEPTION WHEN SQLSTATE 'PR404' THEN
		shown := CASE WHEN NOT brief THEN api_deleted_run(ref) END;
		IF shown IS NULL THEN
			RAISE;
		END IF;
		RETURN QUERY SELECT shown::text, NULL::text;
		RETURN;
	END;
	SELECT * INTO r FROM runs WHERE id = of_run;
	shown := api_run_summary(r);
	IF NOT brief THEN
		shown := shown || jsonb_build_object('config', r.config, 'models', api_run_models(r.id),
			'errors', api_run_errors(r.id));
	END IF;
	IF transcripts_wanted > 0 THEN
		shown := shown || jsonb_build_object('transcripts',
			api_transcript_page(r.id, NULL, transcripts_wanted, NULL)->'items');
	END IF;
	RETURN QUERY SELECT shown::text,
		(SELECT string_agg(DISTINCT m.lane, ',') FROM run_models m WHERE m.run_id = r.id AND r.finished_at IS NULL);
END
$$;

-- What looks a row up by `id = api_run_id(ref)` leaves the refusal of an unknown `ref` to the scan: one that reads an empty
-- table from end to end never asks, and finds nothing where an error was due. One by the index asks first.
ALTER FUNCTION api_definition_show(text, bigint) SET enable_seqscan = off;
ALTER FUNCTION api_lock_active_run(text, text) SET enable_seqscan = off;
ALTER FUNCTION api_run_estimate(text, text[], text[], text, bigint, bigint, text) SET enable_seqscan = off;

DROP FUNCTION prune(bigint, bigint, bigint);

-- As in 0011_keeping.sql; and what became of the probes of runs that were deleted longer than `keep_outcomes_ms` ago, the
-- run itself going with the last of them.
CREATE FUNCTION prune(keep_events_ms bigint, keep_content_ms bigint, keep_outcomes_ms bigint, most bigint)
RETURNS TABLE (events_removed bigint, contents_removed bigint, outcomes_removed bigint, more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	runs_removed bigint := 0;
BEGIN
	events_removed := 0;
	contents_removed := 0;
	outcomes_removed := 0;
	IF keep_events_ms > 0 THEN
		DELETE FROM events WHERE id = ANY (ARRAY(
			SELECT e.id FROM events e WHERE e.at < now() - keep_events_ms * interval '1 millisecond'
			ORDER BY e.at LIMIT most FOR UPDATE SKIP LOCKED));
		GET DIAGNOSTICS events_removed = ROW_COUNT;
	END IF;
	IF keep_content_ms > 0 THEN
		UPDATE transcripts SET content_removed_at = now(), content = jsonb_build_object('schemaVersion', 1,
			'turns', '[]'::jsonb, 'removedAt', api_time(now()))
		WHERE id = ANY (ARRAY(
			SELECT t.id FROM transcripts t
			WHERE t.content_removed_at IS NULL AND t.created_at < now() - keep_content_ms * interval '1 millisecond'
			ORDER BY t.created_at LIMIT most / 5 FOR UPDATE SKIP LOCKED));
		GET DIAGNOSTICS contents_removed = ROW_COUNT;
	END IF;
	IF keep_outcomes_ms > 0 THEN
		DELETE FROM deleted_outcomes WHERE ctid = ANY (ARRAY(
			SELECT o.ctid FROM deleted_runs d JOIN deleted_outcomes o ON o.run_id = d.id
			WHERE d.deleted_at < now() - keep_outcomes_ms * interval '1 millisecond'
			ORDER BY d.deleted_at LIMIT most FOR UPDATE OF o SKIP LOCKED));
		GET DIAGNOSTICS outcomes_removed = ROW_COUNT;
		DELETE FROM deleted_runs WHERE id = ANY (ARRAY(
			SELECT d.id FROM deleted_runs d
			WHERE d.deleted_at < now() - keep_outcomes_ms * interval '1 millisecond'
				AND NOT EXISTS (SELECT FROM deleted_outcomes o WHERE o.run_id = d.id)
			ORDER BY d.deleted_at LIMIT most FOR UPDATE SKIP LOCKED));
		GET DIAGNOSTICS runs_removed = ROW_COUNT;
	END IF;
	more := events_removed = most OR contents_removed = most / 5 OR outcomes_removed = most OR runs_removed = most;
	RETURN NEXT;
END
$$;

-- ---- events ----

-- The conditions of a list of events: each holds when it is NULL. Levels are `of_level` and what is worse; kinds begin with
-- `of_kind`; `whose` is a subject, or a pool: then that of all its workers.
CREATE FUNCTION event_is_wanted(e events, of_run text, of_kind text, of_level text, whose text) RETURNS boolean
LANGUAGE sql STABLE
AS $$
	SELECT (of_run IS NULL OR e.run_id = of_run) AND (of_kind IS NULL OR starts_with(e.kind, of_kind))
		AND (of_level IS NULL OR array_position('{debug,info,warning,error}'::text[], e.level)
			>= array_position('{debug,info,warning,error}'::text[], of_level))
		AND (whose IS NULL OR e.subject = whose OR starts_with(e.subject, whose || '/'))
$$;

DROP FUNCTION api_events(bigint, text, bigint);

CREATE FUNCTION api_events(since_ms bigint, ref text, most bigint, of_kind text DEFAULT NULL, of_level text DEFAULT NULL,
	whose text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	RETURN (SELECT json_build_object('items', coalesce(json_agg(api_event(x.e) ORDER BY (x.e).id), '[]'))::text
	FROM (SELECT e FROM events e
		WHERE event_is_wanted(e, of_run, of_kind, of_level, whose)
			AND (since_ms IS NULL OR e.at >= now() - since_ms * interval '1 millisecond')
		ORDER BY e.id DESC LIMIT most) x);
END
$$;

DROP FUNCTION api_events_start(bigint, text, bigint);

CREATE FUNCTION api_events_start(since_ms bigint, ref text, most bigint, of_kind text, of_level text, whose text)
RETURNS TABLE (cursor bigint, run_id text)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	RETURN QUERY
	SELECT coalesce(min(x.id) - 1, (SELECT coalesce(max(e.id), 0) FROM events e)), of_run
	FROM (SELECT e.id FROM events e
		WHERE event_is_wanted(e, of_run, of_kind, of_level, whose)
			AND (since_ms IS NULL OR e.at >= now() - since_ms * interval '1 millisecond')
		ORDER BY e.id DESC LIMIT most) x;
END
$$;

DROP FUNCTION api_events_after(bigint, bigint[], text, bigint);

CREATE FUNCTION api_events_after(after_id bigint, seen bigint[], of_run text, most bigint, of_kind text, of_level text, whose text)
RETURNS TABLE (answer text, ids text, cursor bigint)
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(api_event(x.e) ORDER BY (x.e).id), '[]'))::text,
		coalesce(string_agg((x.e).id::text, ',' ORDER BY (x.e).id), ''),
		-- A full page may have more behind it that nobody has seen yet.
		least(coalesce((SELECT max(o.id) FROM events o WHERE o.id > after_id AND o.at < now() - interval '10 seconds'),
			after_id), CASE WHEN count(*) >= most THEN max((x.e).id) END)
	FROM (SELECT e FROM events e
		WHERE e.id > after_id AND e.id <> ALL (seen) AND event_is_wanted(e, of_run, of_kind, of_level, whose)
		ORDER BY e.id LIMIT most) x
$$;
