-- Nodes, what they hold, and what they report. A node is one boot of one daemon; its leases live as long as it beats.
-- For plans and locks see 0002_queue.sql.

-- Puts the jobs of `lease_jobs` that one of `of_nodes` holds back into the queue, attempt + 1, blaming nobody. Their
-- checkpoints stay. Returns how many.
CREATE FUNCTION take_back(lease_jobs bigint[], of_nodes bigint[]) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	taken bigint;
BEGIN
	PERFORM 1 FROM runs
		WHERE id = ANY (ARRAY(SELECT j.run_id FROM jobs j WHERE j.id = ANY (lease_jobs)))
		ORDER BY id FOR NO KEY UPDATE;
	WITH gone AS (
		DELETE FROM leases l WHERE l.job_id = ANY (lease_jobs) AND l.node_id = ANY (of_nodes)
		RETURNING l.job_id, l.attempt
	), queued AS (
		INSERT INTO ready (run_id, model_id, job_id, attempt)
		SELECT j.run_id, j.model_id, g.job_id, g.attempt + 1
		FROM gone g CROSS JOIN LATERAL (SELECT run_id, model_id FROM jobs WHERE id = g.job_id OFFSET 0) j
		WHERE (SELECT o.status FROM outcomes o WHERE o.job_id = g.job_id) IS NULL
		ORDER BY g.job_id
		RETURNING job_id
	)
	SELECT count(*) INTO taken FROM queued;
	RETURN taken;
END
$$;

-- Registers a boot, and takes back at once what earlier boots on the same state folder and machine still held.
CREATE FUNCTION register_node(node_name text, node_state_id text)
RETURNS TABLE (node_id bigint, taken_back bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	earlier bigint[];
	born bigint;
	back bigint;
BEGIN
	SELECT coalesce(array_agg(id), '{}') INTO earlier FROM nodes WHERE state_id = node_state_id;
	INSERT INTO nodes (name, state_id) VALUES (node_name, node_state_id) RETURNING id INTO born;
	back := take_back((SELECT coalesce(array_agg(l.job_id), '{}') FROM leases l WHERE l.node_id = ANY (earlier)), earlier);
	DELETE FROM nodes WHERE id = ANY (earlier);
	INSERT INTO events (level, kind, node_id, subject, data)
		VALUES ('info', 'node.started', born, node_name, jsonb_build_object('takenBack', back));
	RETURN QUERY SELECT born, back;
END
$$;

-- The heartbeat; false when the node is not registered any more.
CREATE FUNCTION beat(of_node bigint) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
	UPDATE nodes SET beat_at = now() WHERE id = of_node;
	RETURN FOUND;
END
$$;

-- Takes back what nodes hold that have not beaten for `lease_ms`, by the database's clock. Only for a node that has itself
-- beaten that long without a break: after an outage of the database everybody looks dead. Rows of nodes long gone are
-- removed.
CREATE FUNCTION rescue_jobs(by_node bigint, lease_ms bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	held bigint[];
	dead bigint[];
BEGIN
	SELECT array_agg(l.job_id), array_agg(DISTINCT l.node_id) INTO held, dead
		FROM leases l LEFT JOIN nodes n ON n.id = l.node_id
		WHERE l.node_id <> by_node
			AND (n.id IS NULL OR n.beat_at < now() - lease_ms * interval '1 millisecond');
	IF held IS NOT NULL THEN
		RETURN take_back(held, dead);
	END IF;
	DELETE FROM nodes WHERE id <> by_node AND beat_at < now() - interval '1 day';
	RETURN 0;
END
$$;

-- Takes back what the node holds by the books but does not know of: a claim whose answer was lost on the way.
CREATE FUNCTION take_back_unknown(of_node bigint, known_jobs bigint[]) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	unknown bigint[];
BEGIN
	SELECT array_agg(l.job_id) INTO unknown FROM leases l
		WHERE l.node_id = of_node AND NOT EXISTS (SELECT FROM unnest(known_jobs) AS k (id) WHERE k.id = l.job_id);
	RETURN CASE WHEN unknown IS NULL THEN 0 ELSE take_back(unknown, ARRAY[of_node]) END;
END
$$;

-- Records events; one that belongs to a run deleted meanwhile is kept without the run.
CREATE FUNCTION record_events(by_node bigint, levels text[], kinds text[], run_ids text[], job_ids bigint[],
	subjects text[], payloads text[])
RETURNS void
LANGUAGE sql
AS $$
	INSERT INTO events (level, kind, node_id, run_id, job_id, subject, data)
	SELECT e.level, e.kind, nullif(by_node, 0), r.id, nullif(e.job_id, 0), e.subject, coalesce(e.payload::jsonb, '{}')
	FROM unnest(levels, kinds, run_ids, job_ids, subjects, payloads) WITH ORDINALITY
			AS e (level, kind, run_id, job_id, subject, payload, place)
		LEFT JOIN runs r ON r.id = e.run_id
	ORDER BY e.place
$$;
