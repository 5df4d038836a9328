-- Ids by a beginning of them, with the candidates told where it has several; and filters of lists.
--
-- A further class of refusals, beside those of 0003_api.sql: PR300 = a shortened id stands for several.

-- Refuses a beginning that several have. `candidates` are lines that tell them: the detail has the first ten.
CREATE FUNCTION api_refuse_ambiguous(what text, ref text, candidates text[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'PR300',
		MESSAGE = format('more than one %s begins with "%s"; give more of the id', what, ref),
		DETAIL = '  ' || array_to_string(candidates[1:10], E'\n  ')
			|| CASE WHEN cardinality(candidates) > 10 THEN E'\n  …' ELSE '' END;
END
$$;

CREATE OR REPLACE FUNCTION api_run_id(ref text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found text[];
	told text[];
BEGIN
	IF ref = 'latest' THEN
		SELECT array_agg(id) INTO found FROM (SELECT id FROM runs ORDER BY created_at DESC, id DESC LIMIT 1) r;
	ELSE
		SELECT array_agg(id) INTO found FROM runs WHERE id = ref;
	END IF;
	IF found IS NULL AND length(ref) >= 4 THEN
		SELECT array_agg(r.id ORDER BY r.id DESC),
			array_agg(concat_ws('  ', r.id, r.status, api_time(r.created_at), r.name) ORDER BY r.id DESC)
			INTO found, told
			FROM (SELECT id, status, created_at, definition_snapshot->>'name' AS name FROM runs
				WHERE id LIKE api_prefix(ref) ORDER BY id DESC LIMIT 11) r;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404', MESSAGE = CASE ref
			WHEN 'latest' THEN 'there is no run yet; start one with `run start`'
			ELSE format('there is no run "%s"; `run list` shows them', ref) END;
	ELSIF cardinality(found) > 1 THEN
		PERFORM api_refuse_ambiguous('run', ref, told);
	END IF;
	RETURN found[1];
END
$$;

CREATE OR REPLACE FUNCTION api_definition_id(ref text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found text[];
	told text[];
BEGIN
	SELECT array_agg(id) INTO found FROM definitions WHERE id = ref AND complete;
	IF found IS NULL THEN
		SELECT array_agg(id) INTO found
			FROM (SELECT id FROM definitions WHERE name = ref AND complete ORDER BY version DESC LIMIT 1) d;
	END IF;
	IF found IS NULL AND length(ref) >= 4 THEN
		SELECT array_agg(d.id ORDER BY d.id DESC),
			array_agg(format('%s  %s, version %s', d.id, d.name, d.version) ORDER BY d.id DESC) INTO found, told
			FROM (SELECT id, name, version FROM definitions WHERE id LIKE api_prefix(ref) AND complete
				ORDER BY id DESC LIMIT 11) d;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('there is no definition "%s"; `definition list` shows them', ref);
	ELSIF cardinality(found) > 1 THEN
		PERFORM api_refuse_ambiguous('definition', ref, told);
	END IF;
	RETURN found[1];
END
$$;

-- There may be millions: the index of the key finds where they begin, in whatever collation, as ids are small letters and
-- digits.
CREATE FUNCTION api_transcript_id(ref text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	found text[];
	told text[];
BEGIN
	SELECT array_agg(id) INTO found FROM transcripts WHERE id = ref;
	IF found IS NULL AND length(ref) >= 4 THEN
		SELECT array_agg(t.id ORDER BY t.id), array_agg(concat_ws('  ', t.id, t.model_id, s.key) ORDER BY t.id)
			INTO found, told
			FROM (SELECT id, model_id, scenario_id FROM transcripts WHERE id >= ref ORDER BY id LIMIT 11) t
				JOIN scenarios s ON s.id = t.scenario_id
			WHERE starts_with(t.id, ref);
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('there is no transcript "%s"; `transcripts list RUN` shows them', ref);
	ELSIF cardinality(found) > 1 THEN
		PERFORM api_refuse_ambiguous('transcript', ref, told);
	END IF;
	RETURN found[1];
END
$$;

CREATE OR REPLACE FUNCTION api_transcripts_show(of_id text) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT t.whole FROM api_transcripts t WHERE t.id = api_transcript_id(of_id)
$$;

-- ---- filters ----

DROP FUNCTION api_run_list(text, boolean, bigint);

-- `of_definition` is a name, which all its versions have, an id, or a beginning of one.
CREATE FUNCTION api_run_list(of_status text, active boolean, most bigint, of_definition text, of_model text, since_ms bigint)
RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_definitions text[];
BEGIN
	IF of_definition IS NOT NULL THEN
		SELECT array_agg(d.id) INTO of_definitions FROM definitions d WHERE d.name = of_definition;
		of_definitions := coalesce(of_definitions, ARRAY[api_definition_id(of_definition)]);
	END IF;
	RETURN (SELECT json_build_object('items', coalesce(json_agg(api_run_summary(x.r) || jsonb_build_object('models',
			(SELECT coalesce(jsonb_agg(m.model_id ORDER BY m.model_id), '[]') FROM run_models m
				WHERE m.run_id = (x.r).id))
		ORDER BY (x.r).created_at DESC, (x.r).id DESC), '[]'))::text
	FROM (SELECT r FROM runs r
		WHERE (of_status IS NULL OR r.status = of_status)
			AND (NOT active OR r.status IN ('PENDING', 'RUNNING', 'PAUSED'))
			AND (of_definitions IS NULL OR r.definition_id = ANY (of_definitions))
			AND (of_model IS NULL
				OR EXISTS (SELECT FROM run_models m WHERE m.run_id = r.id AND m.model_id = of_model))
			AND (since_ms IS NULL OR r.created_at >= now() - since_ms * interval '1 millisecond')
		ORDER BY r.created_at DESC, r.id DESC LIMIT most) x);
END
$$;

DROP FUNCTION api_transcript_page(text, text, bigint, text);

-- One item more than asked for tells whether a page follows.
CREATE FUNCTION api_transcript_page(of_run text, of_model text, most bigint, after_id text, of_scenario text DEFAULT NULL)
RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object(
		'items', coalesce(jsonb_agg(p.summary ORDER BY p.place) FILTER (WHERE p.place <= most), '[]'),
		'next', CASE WHEN count(*) > most THEN max(p.id) FILTER (WHERE p.place = most) END)
	FROM (
		SELECT t.id, t.summary, row_number() OVER (ORDER BY t.id) AS place FROM api_transcripts t
		WHERE t.run_id = of_run AND (of_model IS NULL OR t.model_id = of_model) AND t.id > coalesce(after_id, '')
			AND (of_scenario IS NULL OR t.summary->>'scenarioKey' = of_scenario)
		ORDER BY t.id LIMIT most + 1) p
$$;

DROP FUNCTION api_transcripts_list(text, text, bigint, text);

CREATE FUNCTION api_transcripts_list(ref text, of_model text, most bigint, after_id text, of_scenario text) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT api_transcript_page(api_run_id(ref), of_model, most, after_id, of_scenario)::text
$$;

DROP FUNCTION api_jobs(text, text, bigint);
DROP FUNCTION api_jobs_list(text, text, bigint);

CREATE FUNCTION api_jobs_list(of_run text, of_state text, most bigint, of_model text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	items json;
BEGIN
	WITH found AS (
		(SELECT q.job_id, q.attempt, NULL::timestamptz AS at, NULL::text AS reason, NULL::bigint AS node_id, q.seq AS place
			FROM ready q WHERE of_state = 'ready' AND (of_run IS NULL OR q.run_id = of_run)
				AND (of_model IS NULL OR q.model_id = of_model)
			ORDER BY q.seq LIMIT most)
		UNION ALL
		(SELECT d.job_id, d.attempt, d.run_at, d.reason, NULL, row_number() OVER (ORDER BY d.run_at)
			FROM delayed d JOIN jobs j ON j.id = d.job_id
			WHERE of_state = 'delayed' AND (of_run IS NULL OR j.run_id = of_run)
				AND (of_model IS NULL OR j.model_id = of_model) ORDER BY d.run_at LIMIT most)
		UNION ALL
		(SELECT l.job_id, l.attempt, l.leased_at, NULL, l.node_id, row_number() OVER (ORDER BY l.leased_at)
			FROM leases l JOIN jobs j ON j.id = l.job_id
			WHERE of_state = 'leased' AND (of_run IS NULL OR j.run_id = of_run)
				AND (of_model IS NULL OR j.model_id = of_model) ORDER BY l.leased_at LIMIT most)
		UNION ALL
		(SELECT j.id, o.attempt, o.finished_at, o.error->>'code', NULL, j.id
			FROM jobs j JOIN outcomes o ON o.job_id = j.id
			WHERE of_state = 'failed' AND o.status = 'FAILED' AND j.run_id = of_run
				AND (of_model IS NULL OR j.model_id = of_model) ORDER BY j.id LIMIT most)
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

CREATE FUNCTION api_jobs(ref text, of_state text, most bigint, of_model text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	of_run text := CASE WHEN ref IS NOT NULL THEN api_run_id(ref) END;
BEGIN
	IF of_state = 'failed' AND of_run IS NULL THEN
		PERFORM api_refuse_argument('run is missing: failed probes are listed for one run');
	END IF;
	IF of_state IS NULL AND of_model IS NOT NULL THEN
		PERFORM api_refuse_argument('state is missing: the probes of a model are listed by their state; '
			'without it, `jobs RUN` counts each model');
	END IF;
	RETURN CASE WHEN of_state IS NULL THEN api_jobs_counts(of_run)
		ELSE api_jobs_list(of_run, of_state, most, of_model) END;
END
$$;
