-- What `run start --estimate` asks of the database. Nothing here writes.

-- Answers of models to this day, as far as the last 10,000 transcripts tell: turns, tokens of an answer and milliseconds
-- of a call. A simulator's answers say nothing of a provider's: they are told apart.
CREATE FUNCTION api_answers_seen(of_models text[])
RETURNS TABLE (model_id text, simulated boolean, turns bigint, output_mean double precision,
	output_deviation double precision, latency_ms double precision)
LANGUAGE sql STABLE
AS $$
	WITH newest AS (
		SELECT t.model_id, coalesce(t.model_version LIKE 'simulator%', false) AS simulated, t.turn_count,
			t.output_tokens, t.duration_ms
		FROM transcripts t ORDER BY t.created_at DESC, t.id DESC LIMIT 10000
	)
	SELECT n.model_id, n.simulated, sum(n.turn_count), sum(n.output_tokens)::double precision / sum(n.turn_count),
		coalesce(stddev_pop(n.output_tokens::double precision / n.turn_count), 0),
		sum(n.duration_ms)::double precision / sum(n.turn_count)
	FROM newest n WHERE n.model_id = ANY (of_models) AND n.turn_count > 0
	GROUP BY 1, 2
$$;

-- Probes of active runs that are not done yet, by lane; those of paused runs wait for somebody else.
CREATE FUNCTION api_lanes_ahead(of_lanes text[]) RETURNS TABLE (lane text, probes bigint)
LANGUAGE sql STABLE
AS $$
	WITH active AS (
		SELECT m.run_id, m.model_id, m.lane FROM runs r JOIN run_models m ON m.run_id = r.id
		WHERE r.status IN ('PENDING', 'RUNNING') AND NOT m.paused AND m.lane = ANY (of_lanes)
	), queued AS (
		SELECT q.run_id, q.model_id FROM ready q
		UNION ALL SELECT j.run_id, j.model_id FROM delayed d JOIN jobs j ON j.id = d.job_id
		UNION ALL SELECT j.run_id, j.model_id FROM leases l JOIN jobs j ON j.id = l.job_id
	)
	SELECT a.lane, count(*) FROM active a JOIN queued q USING (run_id, model_id) GROUP BY a.lane
$$;

-- Takes what api_run_start() takes and refuses what that refuses, in the same words. The daemon adds what it knows of
-- prices and limits. `firstBytes` are preamble and prompt, of all chosen scenarios together.
CREATE FUNCTION api_run_estimate(ref text, of_models text[], of_lanes text[], percentage text, sample_seed bigint,
	samples bigint, config text)
RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	d definitions%ROWTYPE;
	scenarios_found bigint;
	chosen bigint;
	first_bytes bigint;
BEGIN
	SELECT * INTO d FROM definitions WHERE id = api_definition_id(ref);
	SELECT count(*) INTO scenarios_found FROM scenarios WHERE definition_id = d.id;
	IF scenarios_found = 0 THEN
		PERFORM api_refuse_argument(format('definition: "%s" has no scenarios', ref));
	END IF;
	chosen := ceil(scenarios_found * percentage::numeric / 100);
	IF chosen * cardinality(of_models) * samples > 5000000 THEN
		PERFORM api_refuse_argument(format('the run would have %s probes, 5000000 at most; '
			'lower samples, samplePercentage or the number of models', chosen * cardinality(of_models) * samples));
	END IF;
	IF cardinality(of_models) = 0 THEN
		PERFORM api_refuse_argument(format('the run would have no probes: %s scenarios, %s models, %s samples', chosen,
			0, samples));
	END IF;
	-- The same scenarios as start_run() chooses.
	SELECT sum(octet_length(s.prompt) + octet_length(coalesce(d.preamble, ''))) INTO first_bytes
		FROM (SELECT prompt FROM scenarios WHERE definition_id = d.id
			ORDER BY md5(coalesce(sample_seed, 0)::text || ':' || key), key LIMIT chosen) s;
	RETURN json_build_object('definitionId', d.id, 'definitionName', d.name, 'definitionVersion', d.version,
		'scenarios', chosen, 'samples', samples, 'config', config::json, 'firstBytes', first_bytes,
		'followupBytes', (SELECT coalesce(json_agg(octet_length(f.followup->>'prompt') ORDER BY f.place), '[]')
			FROM jsonb_array_elements(d.followups) WITH ORDINALITY AS f (followup, place)),
		'models', (SELECT json_agg(json_build_object('modelId', m.model, 'lane', m.lane, 'seen', x.seen) ORDER BY m.place)
			FROM unnest(of_models, of_lanes) WITH ORDINALITY AS m (model, lane, place)
				LEFT JOIN (SELECT a.model_id, json_agg(json_build_object('simulated', a.simulated, 'turns', a.turns,
						'outputMean', a.output_mean, 'outputDeviation', a.output_deviation, 'latencyMs', a.latency_ms)) AS seen
					FROM api_answers_seen(of_models) a GROUP BY a.model_id) x ON x.model_id = m.model),
		'ahead', (SELECT coalesce(json_object_agg(a.lane, a.probes), '{}') FROM api_lanes_ahead(of_lanes) a))::text;
END
$$;
