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
	FROM installation
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
