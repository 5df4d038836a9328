-- How workers and services ended: crash records, kept as events, and how long events are kept.
--
-- A record is the `data` of an event of kind 'worker.exit' or 'service.exit', whose subject is the worker's or service's
-- name: {"exit", "reason", "blame", "upMs", "held", "planned", "next", "delayMs", "failures", "stack", "stderr", "jobs"}.
-- An end that nobody had asked for has level 'warning'; such an end is called a crash here.

CREATE INDEX events_crash ON events (id)
	WHERE kind IN ('worker.exit', 'service.exit') AND level <> 'info';
CREATE INDEX events_crash_of ON events (subject, id)
	WHERE kind IN ('worker.exit', 'service.exit') AND level <> 'info';

-- The stderr of a crash loop repeats itself.
ALTER TABLE events ALTER COLUMN data SET COMPRESSION lz4;

-- Lists show the end of stderr and the beginning of the stack: a record holds up to 64 KiB of either.
CREATE OR REPLACE FUNCTION api_event(e events) RETURNS json
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('id', e.id, 'at', api_time(e.at), 'level', e.level, 'kind', e.kind, 'nodeId', e.node_id,
		'runId', e.run_id, 'jobId', e.job_id, 'subject', e.subject,
		'data', CASE WHEN e.kind IN ('worker.exit', 'service.exit')
			THEN e.data || jsonb_strip_nulls(jsonb_build_object('stderr', right(e.data->>'stderr', 4000),
				'stack', left(e.data->>'stack', 4000)))
			ELSE e.data END)
$$;

-- The last `most` crashes, newest first. `whose` is a worker's or service's name, or a pool's: that of all its workers.
CREATE FUNCTION api_crashes(whose text, since_ms bigint, most bigint) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT json_build_object('items', coalesce(json_agg(json_build_object('id', c.id, 'at', api_time(c.at),
			'kind', split_part(c.kind, '.', 1), 'name', c.subject, 'nodeId', c.node_id, 'exit', c.data->'exit',
			'reason', c.data->'reason', 'blame', c.data->'blame', 'upMs', c.data->'upMs', 'held', c.data->'held',
			'next', c.data->'next', 'delayMs', c.data->'delayMs', 'failures', c.data->'failures',
			'hasStack', coalesce(c.data->>'stack', '') <> '') ORDER BY c.id DESC), '[]'))::text
	FROM (SELECT e.* FROM events e
		WHERE e.kind IN ('worker.exit', 'service.exit') AND e.level <> 'info'
			AND (whose IS NULL OR e.subject = whose OR starts_with(e.subject, whose || '/'))
			AND (since_ms IS NULL OR e.at >= now() - since_ms * interval '1 millisecond')
		ORDER BY e.id DESC LIMIT most) c
$$;

-- The whole record of one end, planned or not. Of each job held, up to 100 of them, it tells what is still known.
CREATE FUNCTION crash_record(e events) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
	SELECT jsonb_build_object('id', e.id, 'at', api_time(e.at), 'kind', split_part(e.kind, '.', 1), 'name', e.subject,
			'nodeId', e.node_id)
		|| e.data
		|| jsonb_build_object('jobs', (SELECT coalesce(jsonb_agg(jsonb_build_object('jobId', h.id, 'runId', j.run_id,
				'modelId', j.model_id, 'scenarioKey', s.key) ORDER BY h.place), '[]')
			FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(e.data->'jobs') = 'array' THEN e.data->'jobs'
					ELSE '[]' END) WITH ORDINALITY AS held (id, place)
				CROSS JOIN LATERAL (SELECT held.id::bigint AS id, held.place) h
				LEFT JOIN jobs j ON j.id = h.id LEFT JOIN scenarios s ON s.id = j.scenario_id))
$$;

CREATE FUNCTION api_crash(of_event bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	answer text;
BEGIN
	SELECT crash_record(e)::text INTO answer FROM events e
		WHERE e.id = of_event AND e.kind IN ('worker.exit', 'service.exit');
	IF answer IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PR404',
			MESSAGE = format('there is no crash %s (any more); `crashes` lists them', of_event);
	END IF;
	RETURN answer;
END
$$;

-- The newest crash of a worker or service: NULL when there is none. The name comes back with it.
CREATE FUNCTION api_last_crash(whose text) RETURNS TABLE (name text, crash text)
LANGUAGE sql STABLE
AS $$
	SELECT whose, (SELECT crash_record(e)::text FROM events e
		WHERE e.subject = whose AND e.kind IN ('worker.exit', 'service.exit') AND e.level <> 'info'
		ORDER BY e.id DESC LIMIT 1)
$$;

-- Removes the oldest events beyond `keep_ms`, at most `most` of them, and returns how many. Any node may, at any time: what
-- another is removing is passed over.
CREATE FUNCTION prune_events(keep_ms bigint, most bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	removed bigint;
BEGIN
	DELETE FROM events WHERE id = ANY (ARRAY(
		SELECT e.id FROM events e WHERE e.at < now() - keep_ms * interval '1 millisecond'
		ORDER BY e.at LIMIT most FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS removed = ROW_COUNT;
	RETURN removed;
END
$$;
