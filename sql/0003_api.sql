-- What the control commands ask of the database. Each function returns the answer's JSON as text on one line, in its
-- final camelCase shape: the daemon passes it on unread.
--
-- Refusals carry a class of their own, for people: PR400 = bad argument, PR404 = not found, PR409 = not in this state.

CREATE FUNCTION api_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The text for a LIKE that finds what begins with `beginning`.
CREATE FUNCTION api_prefix(beginning text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
	SELECT regexp_replace(beginning, '([\\%_])', '\\\1', 'g') || '%'
$$;

-- The id that people mean by an id, a beginning of it that is unique, or `latest`.
CREATE FUNCTION api_run_id(ref text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found text[];
BEGIN
	IF ref = 'latest' THEN
		SELECT array_agg(id) INTO found FROM (SELECT id FROM runs ORDER BY created_at DESC, id DESC LIMIT 1) r;
	ELSE
		SELECT array_agg(id) INTO found FROM runs WHERE id = ref;
	END IF;
	IF found IS NULL AND length(ref) >= 4 THEN
		SELECT array_agg(id) INTO found FROM (SELECT id FROM runs WHERE id LIKE api_prefix(ref) LIMIT 2) r;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404', MESSAGE = CASE ref
			WHEN 'latest' THEN 'there is no run yet; start one with `run start`'
			ELSE format('there is no run "%s"; `run list` shows them', ref) END;
	ELSIF cardinality(found) > 1 THEN
		RAISE EXCEPTION USING ERRCODE = 'PR400',
			MESSAGE = format('more than one run begins with "%s"; give more of the id', ref);
	END IF;
	RETURN found[1];
END
$$;

-- The id that people mean by an id, a name (its latest version), or a beginning of an id that is unique.
CREATE FUNCTION api_definition_id(ref text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found text[];
BEGIN
	SELECT array_agg(id) INTO found FROM definitions WHERE id = ref AND complete;
	IF found IS NULL THEN
		SELECT array_agg(id) INTO found
			FROM (SELECT id FROM definitions WHERE name = ref AND complete ORDER BY version DESC LIMIT 1) d;
	END IF;
	IF found IS NULL AND length(ref) >= 4 THEN
		SELECT array_agg(id) INTO found
			FROM (SELECT id FROM definitions WHERE id LIKE api_prefix(ref) AND complete LIMIT 2) d;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('there is no definition "%s"; `definition list` shows them', ref);
	ELSIF cardinality(found) > 1 THEN
		RAISE EXCEPTION USING ERRCODE = 'PR400',
			MESSAGE = format('more than one definition begins with "%s"; give more of the id', ref);
	END IF;
	RETURN found[1];
END
$$;

-- ---- definitions ----

CREATE FUNCTION api_refuse_argument(message text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'PR400', MESSAGE = message;
END
$$;

-- Adds a page to a definition not complete yet; the last page makes it complete and visible.
CREATE FUNCTION api_definition_add(of_definition text, page jsonb, more boolean) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
	already integer;
	bad record;
BEGIN
	IF jsonb_typeof(page) IS DISTINCT FROM 'array' OR jsonb_array_length(page) > 500 THEN
		PERFORM api_refuse_argument('scenarios must be a list of at most 500; send more in pages');
	END IF;
	SELECT count(*) INTO already FROM scenarios WHERE definition_id = of_definition;

	SELECT already + s.place AS number, s.scenario->>'key' AS key INTO bad
		FROM jsonb_array_elements(page) WITH ORDINALITY AS s (scenario, place)
		WHERE jsonb_typeof(s.scenario) <> 'object'
			OR jsonb_typeof(s.scenario->'prompt') IS DISTINCT FROM 'string'
			OR btrim(s.scenario->>'prompt', E' \t\r\n') = ''
		ORDER BY s.place LIMIT 1;
	IF FOUND THEN
		PERFORM api_refuse_argument(format('scenarios: scenario %s%s has no prompt, or an empty one', bad.number,
			coalesce(' ("' || bad.key || '")', '')));
	END IF;

	SELECT already + s.place AS number, e.key INTO bad
		FROM jsonb_array_elements(page) WITH ORDINALITY AS s (scenario, place)
			CROSS JOIN LATERAL jsonb_each(s.scenario) e
		WHERE e.key IN ('key', 'name') AND (jsonb_typeof(e.value) <> 'string' OR e.value = '""')
			OR e.key = 'metadata' AND jsonb_typeof(e.value) <> 'object'
		ORDER BY s.place LIMIT 1;
	IF FOUND THEN
		PERFORM api_refuse_argument(format('scenarios: %s of scenario %s must be %s', bad.key, bad.number,
			CASE bad.key WHEN 'metadata' THEN 'an object' ELSE 'a text that is not empty' END));
	END IF;

	SELECT k.key INTO bad FROM (
			SELECT coalesce(s.scenario->>'key', 'scenario_' || already + s.place) AS key
			FROM jsonb_array_elements(page) WITH ORDINALITY AS s (scenario, place)
		) k
		GROUP BY k.key
		HAVING count(*) > 1 OR EXISTS (SELECT FROM scenarios x WHERE x.definition_id = of_definition AND x.key = k.key)
		LIMIT 1;
	IF FOUND THEN
		PERFORM api_refuse_argument(format('scenarios: the key "%s" is given twice', bad.key));
	END IF;

	INSERT INTO scenarios (definition_id, position, key, name, prompt, metadata)
	SELECT of_definition, already + s.place - 1, k.key, coalesce(s.scenario->>'name', k.key), s.scenario->>'prompt',
		coalesce(s.scenario->'metadata', '{}')
	FROM jsonb_array_elements(page) WITH ORDINALITY AS s (scenario, place)
		CROSS JOIN LATERAL (SELECT coalesce(s.scenario->>'key', 'scenario_' || already + s.place) AS key) k
	ORDER BY s.place;

	IF NOT more THEN
		IF already + jsonb_array_length(page) = 0 THEN
			PERFORM api_refuse_argument('scenarios: a definition needs at least one');
		END IF;
		UPDATE definitions SET complete = true WHERE id = of_definition;
	END IF;
END
$$;

CREATE FUNCTION api_definition_summary(of_definition text) RETURNS json
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('id', d.id, 'name', d.name, 'version', d.version, 'complete', d.complete,
		'scenarioCount', (SELECT count(*) FROM scenarios s WHERE s.definition_id = d.id),
		'followupCount', jsonb_array_length(d.followups), 'createdAt', api_time(d.created_at))
	FROM definitions d WHERE d.id = of_definition
$$;

-- The first page of an import. Imports of clients that have gone, all but those in `under_way`, are removed.
CREATE FUNCTION api_definition_import(of_name text, of_preamble text, of_followups jsonb, of_metadata jsonb, page jsonb,
	more boolean, under_way text[])
RETURNS TABLE (answer text, id text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
	born text;
	bad bigint;
BEGIN
	IF btrim(coalesce(of_name, '')) = '' THEN
		PERFORM api_refuse_argument('name is missing: a definition needs one');
	END IF;
	IF jsonb_typeof(of_metadata) <> 'object' THEN
		PERFORM api_refuse_argument('metadata must be an object');
	END IF;
	IF jsonb_typeof(of_followups) <> 'array' OR jsonb_array_length(of_followups) > 999 THEN
		PERFORM api_refuse_argument('followups must be a list of at most 999 {label, prompt}');
	END IF;
	SELECT f.place INTO bad FROM jsonb_array_elements(of_followups) WITH ORDINALITY AS f (followup, place)
		WHERE jsonb_typeof(f.followup) <> 'object'
			OR jsonb_typeof(f.followup->'prompt') IS DISTINCT FROM 'string'
			OR btrim(f.followup->>'prompt', E' \t\r\n') = ''
		ORDER BY f.place LIMIT 1;
	IF FOUND THEN
		PERFORM api_refuse_argument(format('followups: follow-up %s has no prompt, or an empty one', bad));
	END IF;
	DELETE FROM definitions d WHERE NOT d.complete AND d.id <> ALL (under_way);
	INSERT INTO definitions AS d (name, version, preamble, followups, metadata)
		VALUES (of_name, (SELECT coalesce(max(x.version), 0) + 1 FROM definitions x WHERE x.name = of_name),
			nullif(btrim(of_preamble, E' \t\r\n'), ''), of_followups, of_metadata)
		RETURNING d.id INTO born;
	PERFORM api_definition_add(born, page, more);
	RETURN QUERY SELECT api_definition_summary(born)::text, born;
END
$$;

CREATE FUNCTION api_definition_append(of_definition text, page jsonb, more boolean) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM 1 FROM definitions WHERE id = of_definition AND NOT complete FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('no import "%s" is under way', of_definition);
	END IF;
	PERFORM api_definition_add(of_definition, page, more);
	RETURN api_definition_summary(of_definition)::text;
END
$$;

-- Removes an import that will not be completed.
CREATE FUNCTION api_definition_abandon(of_definition text) RETURNS void
LANGUAGE sql
AS $$
	DELETE FROM definitions WHERE id = of_definition AND NOT complete
$$;

CREATE FUNCTION api_definition_list(of_name text, most bigint) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(api_definition_summary(d.id) ORDER BY d.created_at DESC, d.id DESC),
		'[]'))::text
	FROM (SELECT id, created_at FROM definitions WHERE complete AND (of_name IS NULL OR name = of_name)
		ORDER BY created_at DESC, id DESC LIMIT most) d
$$;

CREATE FUNCTION api_definition_show(ref text, most bigint) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('id', d.id, 'name', d.name, 'version', d.version, 'createdAt', api_time(d.created_at),
		'preamble', d.preamble, 'followups', d.followups, 'metadata', d.metadata,
		'scenarioCount', (SELECT count(*) FROM scenarios s WHERE s.definition_id = d.id),
		'scenarios', (SELECT coalesce(json_agg(json_build_object('id', s.id, 'key', s.key, 'name', s.name,
				'prompt', s.prompt, 'metadata', s.metadata) ORDER BY s.position), '[]')
			FROM (SELECT * FROM scenarios WHERE definition_id = d.id ORDER BY position LIMIT most) s))::text
	FROM definitions d WHERE d.id = api_definition_id(ref)
$$;

-- ---- runs ----

-- `answer` lacks the warnings, which the daemon knows.
CREATE FUNCTION api_run_start(ref text, of_models text[], of_lanes text[], percentage text, sample_seed bigint,
	samples bigint, priority bigint, config text)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	of_definition text := api_definition_id(ref);
	scenarios_found bigint;
	probes numeric;
	started record;
BEGIN
	SELECT count(*) INTO scenarios_found FROM scenarios WHERE definition_id = of_definition;
	IF scenarios_found = 0 THEN
		PERFORM api_refuse_argument(format('definition: "%s" has no scenarios', ref));
	END IF;
	probes := ceil(scenarios_found * percentage::numeric / 100) * cardinality(of_models) * samples;
	IF probes > 5000000 THEN
		PERFORM api_refuse_argument(format('the run would have %s probes, 5000000 at most; '
			'lower samples, samplePercentage or the number of models', probes));
	END IF;
	SELECT * INTO started FROM start_run(of_definition, of_lanes, of_models, percentage::numeric, sample_seed, samples,
		priority, config::jsonb);
	RETURN (SELECT json_build_object('id', r.id, 'status', r.status, 'definitionId', r.definition_id,
			'definitionName', r.definition_snapshot->>'name', 'progress', r.progress,
			'models', (SELECT json_agg(json_build_object('modelId', m.model_id, 'lane', m.lane, 'total', m.total)
				ORDER BY array_position(of_models, m.model_id)) FROM run_models m WHERE m.run_id = r.id))::text
		FROM runs r WHERE r.id = started.run_id);
END
$$;

CREATE FUNCTION api_run_summary(r runs) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object('id', r.id, 'status', r.status, 'definitionId', r.definition_id,
		'definitionName', r.definition_snapshot->>'name', 'progress', r.progress, 'priority', r.priority,
		'pauseReason', r.pause_reason, 'cancelling', r.cancel_requested_at IS NOT NULL AND r.finished_at IS NULL,
		'createdAt', api_time(r.created_at), 'startedAt', api_time(r.started_at),
		'finishedAt', api_time(r.finished_at))
$$;

CREATE FUNCTION api_run_list(of_status text, active boolean, most bigint) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(api_run_summary(x.r) || jsonb_build_object('models',
			(SELECT coalesce(jsonb_agg(m.model_id ORDER BY m.model_id), '[]') FROM run_models m
				WHERE m.run_id = (x.r).id))
		ORDER BY (x.r).created_at DESC, (x.r).id DESC), '[]'))::text
	FROM (SELECT r FROM runs r
		WHERE (of_status IS NULL OR r.status = of_status)
			AND (NOT active OR r.status IN ('PENDING', 'RUNNING', 'PAUSED'))
		ORDER BY r.created_at DESC, r.id DESC LIMIT most) x
$$;

CREATE FUNCTION api_run_models(of_run text) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('modelId', m.model_id, 'lane', m.lane, 'paused', m.paused,
		'total', m.total, 'completed', coalesce(o.completed, 0), 'failed', coalesce(o.failed, 0),
		'cancelled', coalesce(o.cancelled, 0), 'inputTokens', coalesce(t.input_tokens, 0),
		'outputTokens', coalesce(t.output_tokens, 0), 'tokenCount', coalesce(t.token_count, 0),
		'medianMs', t.median_ms, 'costUsd', trim_scale(t.cost_usd), 'modelVersions', coalesce(t.versions, '[]'),
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
				count(*) FILTER (WHERE x.status = 'CANCELLED') AS cancelled
			FROM jobs j JOIN outcomes x ON x.job_id = j.id
			WHERE j.run_id = of_run GROUP BY j.model_id) o ON o.model_id = m.model_id
	WHERE m.run_id = of_run
$$;

CREATE FUNCTION api_run_errors(of_run text) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('code', e.code, 'modelId', e.model_id, 'count', e.count,
		'example', e.example) ORDER BY e.count DESC, e.code, e.model_id), '[]')
	FROM (
		SELECT o.error->>'code' AS code, j.model_id, count(*) AS count, min(o.error->>'message') AS example
		FROM jobs j JOIN outcomes o ON o.job_id = j.id
		WHERE j.run_id = of_run AND o.status = 'FAILED'
		GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50) e
$$;

-- Transcripts as they are shown: `summary` without their content, `whole` with it. A view and no function of the row:
-- passing a row on would read its content, megabytes perhaps, even for a summary.
CREATE VIEW api_transcripts AS
	SELECT t.id, t.run_id, t.model_id, x.summary,
		-- The content is put behind the rest as text, not copied through jsonb.
		left((x.summary || jsonb_build_object('definitionId', t.definition_snapshot->'id',
			'definitionName', t.definition_snapshot->'name', 'definitionVersion', t.definition_snapshot->'version',
			'preamble', t.definition_snapshot->'preamble'))::text, -1) || ', "content": ' || t.content::text || '}'
			AS whole
	FROM transcripts t JOIN scenarios s ON s.id = t.scenario_id
		CROSS JOIN LATERAL (SELECT jsonb_build_object('id', t.id, 'runId', t.run_id, 'scenarioId', t.scenario_id,
			'scenarioKey', s.key, 'scenarioName', s.name, 'modelId', t.model_id, 'modelVersion', t.model_version,
			'sampleIndex', t.sample_index, 'turnCount', t.turn_count, 'tokenCount', t.token_count,
			'inputTokens', t.input_tokens, 'outputTokens', t.output_tokens, 'reasoningTokens', t.reasoning_tokens,
			'durationMs', t.duration_ms, 'costUsd', trim_scale(t.cost_usd),
			'createdAt', api_time(t.created_at)) AS summary) x;

-- One item more than asked for tells whether a page follows.
CREATE FUNCTION api_transcript_page(of_run text, of_model text, most bigint, after_id text) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object(
		'items', coalesce(jsonb_agg(p.summary ORDER BY p.place) FILTER (WHERE p.place <= most), '[]'),
		'next', CASE WHEN count(*) > most THEN max(p.id) FILTER (WHERE p.place = most) END)
	FROM (
		SELECT t.id, t.summary, row_number() OVER (ORDER BY t.id) AS place FROM api_transcripts t
		WHERE t.run_id = of_run AND (of_model IS NULL OR t.model_id = of_model) AND t.id > coalesce(after_id, '')
		ORDER BY t.id LIMIT most + 1) p
$$;

-- `lanes` are those of the run, comma separated: the daemon adds what they wait for.
CREATE FUNCTION api_run_show(ref text, transcripts_wanted bigint, brief boolean)
RETURNS TABLE (answer text, lanes text)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
	r runs%ROWTYPE;
	shown jsonb;
BEGIN
	SELECT * INTO r FROM runs WHERE id = api_run_id(ref);
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

-- Locks a run that has not ended.
CREATE FUNCTION api_lock_active_run(ref text, deed text) RETURNS runs
LANGUAGE plpgsql
AS $$
DECLARE
	r runs%ROWTYPE;
BEGIN
	SELECT * INTO r FROM runs WHERE id = api_run_id(ref) FOR NO KEY UPDATE;
	IF r.finished_at IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409',
			MESSAGE = format('run %s has ended already (%s): there is nothing to %s', r.id, r.status, deed);
	END IF;
	IF r.cancel_requested_at IS NOT NULL AND deed <> 'cancel' THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409', MESSAGE = format('run %s is being cancelled', r.id);
	END IF;
	RETURN r;
END
$$;

-- Pauses or resumes one model of a run.
CREATE FUNCTION api_run_model_pause(r runs, of_model text, to_paused boolean) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
	UPDATE run_models SET paused = to_paused WHERE run_id = r.id AND model_id = of_model;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404', MESSAGE = format('run %s has no model "%s"', r.id, of_model);
	END IF;
	INSERT INTO events (level, kind, run_id, subject)
		VALUES ('info', CASE WHEN to_paused THEN 'run.model_paused' ELSE 'run.model_resumed' END, r.id, of_model);
	RETURN (api_run_summary(r) || jsonb_build_object('modelId', of_model, 'modelPaused', to_paused))::text;
END
$$;

CREATE FUNCTION api_run_pause(ref text, of_model text, reason text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	r runs%ROWTYPE := api_lock_active_run(ref, 'pause');
BEGIN
	IF of_model IS NOT NULL THEN
		RETURN api_run_model_pause(r, of_model, true);
	END IF;
	UPDATE runs SET status = 'PAUSED', pause_reason = coalesce(reason, 'paused by an operator') WHERE id = r.id
		RETURNING * INTO r;
	INSERT INTO events (level, kind, run_id, data)
		VALUES ('info', 'run.paused', r.id, jsonb_build_object('reason', r.pause_reason));
	RETURN api_run_summary(r)::text;
END
$$;

CREATE FUNCTION api_run_resume(ref text, of_model text) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	r runs%ROWTYPE := api_lock_active_run(ref, 'resume');
BEGIN
	IF of_model IS NOT NULL THEN
		RETURN api_run_model_pause(r, of_model, false);
	END IF;
	IF r.status <> 'PAUSED' THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409', MESSAGE = format('run %s is not paused: it is %s', r.id, r.status);
	END IF;
	UPDATE runs SET status = CASE WHEN started_at IS NULL THEN 'PENDING' ELSE 'RUNNING' END, pause_reason = NULL
		WHERE id = r.id RETURNING * INTO r;
	INSERT INTO events (level, kind, run_id) VALUES ('info', 'run.resumed', r.id);
	RETURN api_run_summary(r)::text;
END
$$;

-- Marks the run; its queued jobs are then cancelled in chunks by the daemon.
CREATE FUNCTION api_run_cancel(ref text) RETURNS TABLE (answer text, id text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
	r runs%ROWTYPE := api_lock_active_run(ref, 'cancel');
BEGIN
	IF r.cancel_requested_at IS NULL THEN
		UPDATE runs SET cancel_requested_at = now() WHERE id = r.id RETURNING * INTO r;
		INSERT INTO events (level, kind, run_id) VALUES ('info', 'run.cancel_requested', r.id);
	END IF;
	RETURN QUERY SELECT api_run_summary(r)::text, r.id;
END
$$;

CREATE FUNCTION api_run_retry(ref text, of_codes text[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	of_run text := api_run_id(ref);
	r runs%ROWTYPE;
	again bigint;
BEGIN
	SELECT * INTO r FROM runs WHERE id = of_run FOR NO KEY UPDATE;
	IF r.cancel_requested_at IS NOT NULL AND r.finished_at IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409', MESSAGE = format('run %s is being cancelled', of_run);
	END IF;
	SELECT f.retried INTO again FROM retry_failed(of_run, of_codes) f;
	SELECT * INTO r FROM runs WHERE id = of_run;
	RETURN (api_run_summary(r) || jsonb_build_object('retried', again))::text;
END
$$;

CREATE FUNCTION api_run_delete(ref text, force boolean) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	of_run text := api_run_id(ref);
	r runs%ROWTYPE;
BEGIN
	SELECT * INTO r FROM runs WHERE id = of_run FOR UPDATE;
	IF r.finished_at IS NULL AND NOT force THEN
		RAISE EXCEPTION USING ERRCODE = 'PR409',
			MESSAGE = format('run %s has not ended (%s); cancel it first, or use --force', of_run, r.status);
	END IF;
	PERFORM delete_run(of_run);
	RETURN json_build_object('id', of_run, 'deleted', true, 'progress', r.progress)::text;
END
$$;

-- ---- transcripts ----

CREATE FUNCTION api_transcripts_list(ref text, of_model text, most bigint, after_id text) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT api_transcript_page(api_run_id(ref), of_model, most, after_id)::text
$$;

CREATE FUNCTION api_transcripts_show(of_id text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found_whole text;
BEGIN
	SELECT t.whole INTO found_whole FROM api_transcripts t WHERE t.id = of_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('there is no transcript "%s"; `transcripts list RUN` shows them', of_id);
	END IF;
	RETURN found_whole;
END
$$;

-- A page of whole transcripts: ends at `most`, or once it has about 4 MB.
CREATE FUNCTION api_transcripts_export(ref text, of_model text, most bigint, after_id text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_run text := api_run_id(ref);
	t record;
	items text[] := '{}';
	bytes bigint := 0;
	last_id text;
	more boolean := false;
BEGIN
	FOR t IN SELECT x.id, x.whole FROM api_transcripts x
		WHERE x.run_id = of_run AND (of_model IS NULL OR x.model_id = of_model) AND x.id > coalesce(after_id, '')
		ORDER BY x.id LIMIT most + 1
	LOOP
		IF cardinality(items) >= most OR bytes >= 4000000 THEN
			more := true;
			EXIT;
		END IF;
		items := items || t.whole;
		bytes := bytes + octet_length(t.whole);
		last_id := t.id;
	END LOOP;
	RETURN '{"items": [' || array_to_string(items, ', ') || '], "next": '
		|| coalesce(to_json(CASE WHEN more THEN last_id END)::text, 'null') || '}';
END
$$;

-- ---- the queue ----

-- Where the jobs are. Of finished runs nothing is counted but what was asked for by name.
CREATE FUNCTION api_jobs_counts(of_run text) RETURNS text
LANGUAGE sql STABLE
AS $$
	WITH chosen AS (
		SELECT * FROM runs WHERE id = of_run OR (of_run IS NULL AND status IN ('PENDING', 'RUNNING', 'PAUSED'))
	), ready_now AS (
		SELECT q.run_id, q.model_id, count(*) AS n FROM ready q JOIN chosen c ON c.id = q.run_id GROUP BY 1, 2
	), delayed_now AS (
		SELECT j.run_id, j.model_id, count(*) AS n, min(d.run_at) AS next_at
		FROM delayed d JOIN jobs j ON j.id = d.job_id JOIN chosen c ON c.id = j.run_id GROUP BY 1, 2
	), leased_now AS (
		SELECT j.run_id, j.model_id, count(*) AS n
		FROM leases l JOIN jobs j ON j.id = l.job_id JOIN chosen c ON c.id = j.run_id GROUP BY 1, 2
	), ended AS (
		SELECT j.run_id, j.model_id, count(*) FILTER (WHERE o.status = 'COMPLETED') AS completed,
			count(*) FILTER (WHERE o.status = 'FAILED') AS failed,
			count(*) FILTER (WHERE o.status = 'CANCELLED') AS cancelled
		FROM jobs j JOIN outcomes o ON o.job_id = j.id WHERE j.run_id = of_run GROUP BY 1, 2
	), lines AS (
		SELECT m.run_id, m.model_id, m.lane, m.total, coalesce(q.n, 0) AS ready, coalesce(d.n, 0) AS delayed,
			d.next_at, coalesce(l.n, 0) AS leased, e.completed, e.failed, e.cancelled
		FROM chosen c JOIN run_models m ON m.run_id = c.id
			LEFT JOIN ready_now q ON q.run_id = m.run_id AND q.model_id = m.model_id
			LEFT JOIN delayed_now d ON d.run_id = m.run_id AND d.model_id = m.model_id
			LEFT JOIN leased_now l ON l.run_id = m.run_id AND l.model_id = m.model_id
			LEFT JOIN ended e ON e.run_id = m.run_id AND e.model_id = m.model_id
	)
	SELECT json_build_object('items', coalesce(json_agg(json_build_object('runId', c.id, 'status', c.status,
		'total', c.progress->'total', 'ready', s.ready, 'delayed', s.delayed, 'leased', s.leased,
		'completed', c.progress->'completed', 'failed', c.progress->'failed', 'cancelled', c.progress->'cancelled',
		'nextAt', api_time(s.next_at), 'models', s.models) ORDER BY c.created_at, c.id), '[]'))::text
	FROM chosen c CROSS JOIN LATERAL (
		SELECT sum(x.ready) AS ready, sum(x.delayed) AS delayed, sum(x.leased) AS leased, min(x.next_at) AS next_at,
			json_agg(json_strip_nulls(json_build_object('modelId', x.model_id, 'lane', x.lane, 'total', x.total,
				'ready', x.ready, 'delayed', x.delayed, 'leased', x.leased,
				'completed', CASE WHEN of_run IS NOT NULL THEN coalesce(x.completed, 0) END,
				'failed', CASE WHEN of_run IS NOT NULL THEN coalesce(x.failed, 0) END,
				'cancelled', CASE WHEN of_run IS NOT NULL THEN coalesce(x.cancelled, 0) END,
				'nextAt', api_time(x.next_at))) ORDER BY x.model_id) AS models
		FROM lines x WHERE x.run_id = c.id) s
$$;

CREATE FUNCTION api_jobs_list(of_run text, of_state text, most bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	items json;
BEGIN
	WITH found AS (
		(SELECT q.job_id, q.attempt, NULL::timestamptz AS at, NULL::text AS reason, NULL::bigint AS node_id, q.seq AS place
			FROM ready q WHERE of_state = 'ready' AND (of_run IS NULL OR q.run_id = of_run)
			ORDER BY q.seq LIMIT most)
		UNION ALL
		(SELECT d.job_id, d.attempt, d.run_at, d.reason, NULL, row_number() OVER (ORDER BY d.run_at)
			FROM delayed d JOIN jobs j ON j.id = d.job_id
			WHERE of_state = 'delayed' AND (of_run IS NULL OR j.run_id = of_run) ORDER BY d.run_at LIMIT most)
		UNION ALL
		(SELECT l.job_id, l.attempt, l.leased_at, NULL, l.node_id, row_number() OVER (ORDER BY l.leased_at)
			FROM leases l JOIN jobs j ON j.id = l.job_id
			WHERE of_state = 'leased' AND (of_run IS NULL OR j.run_id = of_run) ORDER BY l.leased_at LIMIT most)
		UNION ALL
		(SELECT j.id, o.attempt, o.finished_at, o.error->>'code', NULL, j.id
			FROM jobs j JOIN outcomes o ON o.job_id = j.id
			WHERE of_state = 'failed' AND o.status = 'FAILED' AND j.run_id = of_run ORDER BY j.id LIMIT most)
	)
	SELECT json_agg(json_build_object('jobId', f.job_id, 'runId', j.run_id, 'modelId', j.model_id, 'lane', j.lane,
			'scenarioId', j.scenario_id, 'scenarioKey', s.key, 'sampleIndex', j.sample_index, 'state', of_state,
			'attempt', f.attempt, 'at', api_time(f.at), 'reason', f.reason, 'nodeId', f.node_id,
			'fails', coalesce(y.fails, 0),
			'error', CASE of_state WHEN 'failed' THEN (SELECT o.error FROM outcomes o WHERE o.job_id = f.job_id)
				ELSE y.last_error END) ORDER BY f.place)
		INTO items
		FROM found f JOIN jobs j ON j.id = f.job_id JOIN scenarios s ON s.id = j.scenario_id
			LEFT JOIN tries y ON y.job_id = f.job_id;
	RETURN json_build_object('items', coalesce(items, '[]'))::text;
END
$$;

CREATE FUNCTION api_jobs(ref text, of_state text, most bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	IF of_state = 'failed' AND of_run IS NULL THEN
		PERFORM api_refuse_argument('run is missing: failed probes are listed for one run');
	END IF;
	RETURN CASE WHEN of_state IS NULL THEN api_jobs_counts(of_run) ELSE api_jobs_list(of_run, of_state, most) END;
END
$$;

-- ---- events ----

CREATE FUNCTION api_event(e events) RETURNS json
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('id', e.id, 'at', api_time(e.at), 'level', e.level, 'kind', e.kind, 'nodeId', e.node_id,
		'runId', e.run_id, 'jobId', e.job_id, 'subject', e.subject, 'data', e.data)
$$;

-- The last `most` events, oldest first.
CREATE FUNCTION api_events(since_ms bigint, ref text, most bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	RETURN (SELECT json_build_object('items', coalesce(json_agg(api_event(x.e) ORDER BY (x.e).id), '[]'))::text
	FROM (SELECT e FROM events e
		WHERE (of_run IS NULL OR e.run_id = of_run)
			AND (since_ms IS NULL OR e.at >= now() - since_ms * interval '1 millisecond')
		ORDER BY e.id DESC LIMIT most) x);
END
$$;

-- Where following begins: behind `cursor` come the last `most` events.
CREATE FUNCTION api_events_start(since_ms bigint, ref text, most bigint) RETURNS TABLE (cursor bigint, run_id text)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	RETURN QUERY
	SELECT coalesce(min(x.id) - 1, (SELECT coalesce(max(e.id), 0) FROM events e)), of_run
	FROM (SELECT e.id FROM events e
		WHERE (of_run IS NULL OR e.run_id = of_run)
			AND (since_ms IS NULL OR e.at >= now() - since_ms * interval '1 millisecond')
		ORDER BY e.id DESC LIMIT most) x;
END
$$;

-- What came behind `after_id`, oldest first, without those `seen`; `ids` are theirs. Ids are given before they are
-- committed, so that a lower one may appear after a higher: `cursor`, where to go on, is the last of those older than
-- 10 s.
CREATE FUNCTION api_events_after(after_id bigint, seen bigint[], of_run text, most bigint)
RETURNS TABLE (answer text, ids text, cursor bigint)
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(api_event(x.e) ORDER BY (x.e).id), '[]'))::text,
		coalesce(string_agg((x.e).id::text, ',' ORDER BY (x.e).id), ''),
		-- A full page may have more behind it that nobody has seen yet.
		least(coalesce((SELECT max(o.id) FROM events o WHERE o.id > after_id AND o.at < now() - interval '10 seconds'),
			after_id), CASE WHEN count(*) >= most THEN max((x.e).id) END)
	FROM (SELECT e FROM events e
		WHERE e.id > after_id AND e.id <> ALL (seen) AND (of_run IS NULL OR e.run_id = of_run)
		ORDER BY e.id LIMIT most) x
$$;
