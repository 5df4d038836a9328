-- What runs wait for, and when they last got on: the database's part of it. Whether a limit holds up a model only the nodes
-- know, who hold the limits.

-- Every model with unfinished probes of a run, or of all active runs, and the most hopeful state of its probes: 'ready',
-- 'leased', or 'delayed' with the error that the next of them waits out, and until when. Of delayed probes the next 2,000 are
-- looked at, so that a run of many failures costs no more than others.
CREATE FUNCTION run_waits(of_run text)
RETURNS TABLE (run_id text, model_id text, lane text, paused boolean, run_status text, pause_reason text, state text, code text,
	run_at timestamptz)
LANGUAGE sql STABLE
AS $$
	WITH held AS MATERIALIZED (
		SELECT DISTINCT j.run_id, j.model_id FROM leases l JOIN jobs j ON j.id = l.job_id
	), soonest AS MATERIALIZED (
		SELECT DISTINCT ON (j.run_id, j.model_id) j.run_id, j.model_id, d.reason, d.run_at
		FROM (SELECT job_id, reason, run_at FROM delayed ORDER BY run_at LIMIT 2000) d JOIN jobs j ON j.id = d.job_id
		ORDER BY j.run_id, j.model_id, d.run_at
	)
	SELECT r.id, m.model_id, m.lane, m.paused, r.status, r.pause_reason, x.state, s.reason, s.run_at
	FROM runs r JOIN run_models m ON m.run_id = r.id
		CROSS JOIN LATERAL (SELECT CASE
			WHEN EXISTS (SELECT FROM ready q WHERE q.run_id = r.id AND q.model_id = m.model_id) THEN 'ready'
			WHEN EXISTS (SELECT FROM held h WHERE h.run_id = r.id AND h.model_id = m.model_id) THEN 'leased'
			ELSE 'delayed' END AS state) x
		LEFT JOIN soonest s ON x.state = 'delayed' AND s.run_id = r.id AND s.model_id = m.model_id
	WHERE r.status IN ('PENDING', 'RUNNING', 'PAUSED') AND (of_run IS NULL OR r.id = of_run)
		AND m.lane <> 'unsupported' AND (x.state <> 'delayed' OR s.reason IS NOT NULL)
$$;

CREATE FUNCTION api_run_waits(of_run text) RETURNS text
LANGUAGE sql STABLE
AS $$
	SELECT coalesce(json_agg(json_build_object('runId', w.run_id, 'modelId', w.model_id, 'lane', w.lane, 'paused', w.paused,
		'runStatus', w.run_status, 'pauseReason', w.pause_reason, 'state', w.state, 'code', w.code,
		'untilMs', (extract(epoch FROM w.run_at) * 1000)::bigint) ORDER BY w.run_id, w.model_id), '[]')::text
	FROM run_waits(of_run) w
$$;

-- How long ago each run last got on: a transcript, its start, or an operator's word. `told` is whether its being stalled was
-- said since. `retrying` is the error that all its unfinished probes wait out, NULL when some do not.
CREATE FUNCTION run_successes(run_ids text[])
RETURNS TABLE (run_id text, ago_ms bigint, told boolean, retrying text)
LANGUAGE sql STABLE
AS $$
	SELECT r.id, (extract(epoch FROM now() - greatest(coalesce(r.started_at, r.created_at), t.created_at, e.at)) * 1000)::bigint,
		coalesce((SELECT v.kind = 'run.stalled' FROM events v
			WHERE v.run_id = r.id AND v.kind IN ('run.stalled', 'run.moving', 'run.resumed', 'run.retried')
			ORDER BY v.id DESC LIMIT 1), false),
		(SELECT min(w.code) FROM run_waits(r.id) w HAVING bool_and(w.state = 'delayed'))
	FROM runs r
		LEFT JOIN LATERAL (SELECT x.created_at FROM transcripts x WHERE x.run_id = r.id ORDER BY x.id DESC LIMIT 1) t ON true
		LEFT JOIN LATERAL (SELECT v.at FROM events v WHERE v.run_id = r.id AND v.kind IN ('run.resumed', 'run.retried')
			ORDER BY v.id DESC LIMIT 1) e ON true
	WHERE r.id = ANY (run_ids)
$$;
