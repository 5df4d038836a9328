-- Keeping data: a backup that takes the place of the database.
--
-- It has the id of the database that it was made of, and is another history of it: what was committed after it is gone,
-- and spools may know more than it does. So it is told apart like a standby that took over: spools are sent again as far
-- as they go back, and ids begin behind those that the lost part can have given out.

ALTER TABLE installation ADD COLUMN restored text NOT NULL DEFAULT '';  -- 11 hex digits of the clock in ms; '' = never

-- 8 hex digits of the server's timeline, and behind a '-' when a backup was put back last. Not in recovery.
CREATE FUNCTION present_history() RETURNS text
LANGUAGE sql
AS $$
	SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || CASE WHEN restored = '' THEN '' ELSE '-' || restored END
	FROM installation WHERE single
$$;

CREATE OR REPLACE FUNCTION skip_lost_ids() RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	present text := present_history();
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

CREATE OR REPLACE FUNCTION server_identity() RETURNS TABLE (database_id text, timeline text, read_only boolean)
LANGUAGE sql
AS $$
	SELECT (SELECT id::text FROM installation), CASE WHEN pg_is_in_recovery() THEN '' ELSE present_history() END,
		pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean
$$;

-- To be called once in a database that a backup was put into, before any daemon connects to it. Nobody works on what was
-- leased when the backup was made: it goes back into the queue. Answers to it that a spool has still count.
CREATE FUNCTION begin_history() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
	UPDATE installation SET restored = lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 11, '0');
	PERFORM take_back(ARRAY(SELECT job_id FROM leases), ARRAY(SELECT DISTINCT node_id FROM leases));
	DELETE FROM nodes;
	INSERT INTO events (level, kind, subject) VALUES ('warning', 'database.restored', 'database');
END
$$;

-- ---- how long things are kept ----

ALTER TABLE transcripts ADD COLUMN content_removed_at timestamptz;  -- NULL while it has its content
CREATE INDEX transcripts_with_content ON transcripts (created_at) WHERE content_removed_at IS NULL;

DROP FUNCTION prune_events(bigint, bigint);

-- Removes events older than `keep_events_ms`, and the content of transcripts older than `keep_content_ms`, 0 being for ever:
-- the oldest first, at most `most` events and a fifth of that of contents, which are large. Tells how many, and whether
-- there may be more. Any node may, at any time: what another is removing is passed over.
--
-- A transcript without its content still says who answered what, when, in how many turns and tokens, and for how much; its
-- content says since when there are no turns.
CREATE FUNCTION prune(keep_events_ms bigint, keep_content_ms bigint, most bigint)
RETURNS TABLE (events_removed bigint, contents_removed bigint, more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
	events_removed := 0;
	contents_removed := 0;
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
	more := events_removed = most OR contents_removed = most / 5;
	RETURN NEXT;
END
$$;
