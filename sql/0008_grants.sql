-- Limits of providers that hold over all nodes together: leave to spend, granted in small portions.
--
-- A node spends what it was granted on its own and asks again a few times a second, never once per call. What is
-- granted counts from the moment of the grant, in a log of the provider's whole span, widened by as long as a grant may
-- be spent and calls may be delayed: whatever the nodes do, also die, the provider never sees more than the limit in any
-- span. A node that asks tells what it has not spent; that counts from this moment then, or goes back to the others.
-- The database's clock is the only one. A grant whose answer is lost is spent.
--
-- A row is locked by whoever takes from it, in the order of the keys: two rounds never deadlock.

-- One limit of one scope: lane, glob of its models ('' = the provider) and unit.
CREATE TABLE limit_grants (
	lane text COLLATE "C",
	scope text COLLATE "C",
	unit text COLLATE "C",
	timeline text NOT NULL DEFAULT '',            -- of the server when it was touched last
	-- of a limit in a span of time
	touched_at double precision NOT NULL DEFAULT 0, -- seconds since 1970, with all their fractions
	available double precision NOT NULL DEFAULT 0, -- earned and not granted; negative while in debt
	slot_ms double precision NOT NULL DEFAULT 0,  -- 0 = never touched
	slot bigint NOT NULL DEFAULT 0,               -- the newest of the log, counted since 1970
	log real[] NOT NULL DEFAULT '{}',             -- granted by slot; a ring
	-- of a limit of a calendar day (UTC)
	day date,
	used double precision NOT NULL DEFAULT 0,     -- granted on that day, and not given back
	PRIMARY KEY (lane, scope, unit)
);

-- What a node has of it and asks for.
CREATE TABLE limit_shares (
	lane text COLLATE "C",
	scope text COLLATE "C",
	unit text COLLATE "C",
	node_id bigint NOT NULL REFERENCES nodes ON DELETE CASCADE,
	asked_at double precision NOT NULL,
	rate bigint NOT NULL,                         -- the limit as this node knows it
	window_ms bigint NOT NULL,
	slot bigint NOT NULL DEFAULT 0,               -- where the log has what the node has not spent
	held bigint NOT NULL DEFAULT 0,               -- slots of a concurrency, which live as long as the node
	day date,                                     -- that its portion is of
	lacks bigint NOT NULL DEFAULT 0,              -- for its next call; 0 = it has what it wants
	waits_since double precision,                 -- NULL = it has what it wants
	due_at double precision NOT NULL DEFAULT 0,   -- when it was told to ask again
	PRIMARY KEY (lane, scope, unit, node_id),
	FOREIGN KEY (lane, scope, unit) REFERENCES limit_grants ON DELETE CASCADE
);

CREATE INDEX limit_shares_node ON limit_shares (node_id);

-- Both are written some times a second; the log stays in its row.
ALTER TABLE limit_grants ALTER COLUMN log SET STORAGE PLAIN;
ALTER TABLE limit_grants SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 1);
ALTER TABLE limit_shares SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500,
	autovacuum_vacuum_cost_delay = 1);

-- One line of a round. All amounts are in whole units.
CREATE TYPE grant_ask AS (
	place bigint,
	lane text,
	scope text,
	unit text,
	rate bigint,      -- the limit: units in a span, a day, or at once
	window_ms bigint, -- the span, widened; 0 = a calendar day, -1 = at once
	life_ms bigint,   -- for so long may a grant be spent
	rest bigint,      -- what the node has and keeps; negative: what it spent too much
	gives bigint,     -- what it does not keep; negative as above
	needs bigint,     -- its next call's: less is of no use
	wants bigint      -- to have, at most; 0 = nothing waits
);

CREATE TYPE grant_answer AS (
	granted bigint, -- beside what the node keeps; negative: so much less may it keep
	wait_ms bigint, -- when to ask again for the rest of it; 0 = there is none
	others bigint   -- nodes that want some too
);

-- ---- in a span ----

-- The log with `amount` taken out of it, newest first from slot `at` on: what was granted there and not spent, or came
-- back from calls that cost less than was reserved.
CREATE FUNCTION grant_log_return(log real[], newest bigint, at bigint, amount double precision) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
	slots CONSTANT integer := cardinality(log);
	k bigint := least(at, newest);
	part real;
BEGIN
	WHILE amount > 0 AND newest - k < slots LOOP
		part := least(log[k % slots + 1], amount);
		log[k % slots + 1] := log[k % slots + 1] - part;
		amount := amount - part;
		k := k - 1;
	END LOOP;
	RETURN log;
END
$$;

-- In how many slots so much has left the log.
CREATE FUNCTION grant_log_wait(log real[], newest bigint, amount double precision) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
	slots CONSTANT integer := cardinality(log);
	k bigint := 0;
BEGIN
	WHILE amount > 0 AND k < slots LOOP
		k := k + 1;
		amount := amount - log[(newest + k) % slots + 1];
	END LOOP;
	RETURN k;
END
$$;

-- Those before us in the queue of the limit are let pass, unless they do not come when they were told to. In proportion to
-- the nodes that want some, each takes its part of what is there, so that a quick one does not take all.
CREATE FUNCTION take_in_span(by_node bigint, ask grant_ask) RETURNS grant_answer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	slots CONSTANT integer := 244;
	g limit_grants%ROWTYPE;
	mine limit_shares%ROWTYPE;
	ring real[];                -- g.log, as a variable of its own: written in place
	at double precision;        -- now, in seconds
	present text := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
	rate double precision;
	window_ms double precision;
	pace double precision;      -- units a second
	others bigint;
	most_lacked double precision;
	ahead double precision;
	fits double precision;      -- into the log
	usable double precision;
	had bigint := greatest(ask.rest, 0);
	debt bigint := greatest(-ask.rest, 0);
	lacks double precision;
	part double precision := 0;
	wait_ms double precision := 0;
	k bigint;
BEGIN
	SELECT * INTO g FROM limit_grants x WHERE x.lane = ask.lane AND x.scope = ask.scope AND x.unit = ask.unit;
	-- A clock that was set back a little stands still.
	at := extract(epoch FROM clock_timestamp());
	at := CASE WHEN g.touched_at BETWEEN at AND at + 1 THEN g.touched_at ELSE at END;
	SELECT * INTO mine FROM limit_shares s
		WHERE s.lane = ask.lane AND s.scope = ask.scope AND s.unit = ask.unit AND s.node_id = by_node;
	-- The lowest limit that any of those who spend knows of holds for all.
	SELECT least(ask.rate, min(s.rate) FILTER (WHERE s.asked_at > at - 10)),
			greatest(ask.window_ms, max(s.window_ms) FILTER (WHERE s.asked_at > at - 10)),
			count(*) FILTER (WHERE s.lacks > 0),
			coalesce(max(s.lacks), 0),
			coalesce(sum(s.lacks) FILTER (WHERE s.waits_since < coalesce(mine.waits_since, at)), 0)
		INTO rate, window_ms, others, most_lacked, ahead
		FROM (SELECT r.asked_at, r.rate, r.window_ms, r.waits_since,
				CASE WHEN r.due_at + ask.life_ms / 1000.0 > at THEN r.lacks ELSE 0 END AS lacks
			FROM limit_shares r
			WHERE r.lane = ask.lane AND r.scope = ask.scope AND r.unit = ask.unit AND r.node_id <> by_node) s;
	pace := rate * 1000 / window_ms;

	-- One that is new, or of another history, or counted otherwise: as if its span had been used in full.
	IF g.timeline <> present OR g.slot_ms <> window_ms / (slots - 1) OR g.touched_at > at THEN
		g.slot_ms := window_ms / (slots - 1);
		g.slot := floor(at * 1000 / g.slot_ms);
		g.available := 0;
		g.touched_at := at;
		ring := array_fill((rate / slots)::real, ARRAY[slots]);
	ELSE
		ring := g.log;
	END IF;
	k := floor(at * 1000 / g.slot_ms);
	FOR i IN 1 .. least(k - g.slot, slots)::integer LOOP
		ring[(g.slot + i) % slots + 1] := 0;
	END LOOP;
	g.slot := greatest(g.slot, k);

	-- What comes back, and what was spent too much.
	ring := grant_log_return(ring, g.slot, coalesce(mine.slot, g.slot), had + greatest(ask.gives, 0));
	debt := debt + greatest(-ask.gives, 0);
	ring[g.slot % slots + 1] := ring[g.slot % slots + 1] + had + debt;

	lacks := least(greatest(ask.needs - had, 1), rate);
	IF ask.wants <= had THEN
		lacks := 0;
	END IF;
	g.available := least(g.available + greatest(ask.gives, 0) - debt + (at - g.touched_at) * pace,
		greatest(most_lacked, lacks, 1) + 2 * pace * ask.life_ms / 1000);
	fits := rate - (SELECT sum(x::double precision) FROM unnest(ring) x);
	usable := least(g.available, fits) - ahead;
	IF lacks > 0 AND usable >= lacks THEN
		part := floor(least(ask.wants - had, usable, greatest(lacks, usable / (others + 1))));
		g.available := g.available - part;
		ring[g.slot % slots + 1] := ring[g.slot % slots + 1] + part;
		fits := fits - part;
		mine.waits_since := NULL;
		lacks := CASE WHEN had + part < ask.wants THEN 1 ELSE 0 END; -- what its next call costs it will say
	END IF;
	IF lacks > 0 THEN
		-- Who has just got some comes again when there will be more than a crumb.
		wait_ms := least(60000, greatest(ask.life_ms * CASE WHEN part > 0 THEN 0.6 ELSE 0.1 END,
			ceil((ahead + lacks - g.available) / greatest(pace, 1e-9) * 1000),
			ceil((g.slot + grant_log_wait(ring, g.slot, ahead + lacks - fits)) * g.slot_ms - at * 1000)));
	END IF;

	UPDATE limit_grants x SET timeline = present, touched_at = at, available = g.available, slot_ms = g.slot_ms,
			slot = g.slot, log = ring
		WHERE x.lane = ask.lane AND x.scope = ask.scope AND x.unit = ask.unit;
	PERFORM keep_share(by_node, ask, at, g.slot, 0, NULL, lacks::bigint,
		CASE WHEN lacks > 0 THEN coalesce(mine.waits_since, at) END, wait_ms);
	RETURN ROW(part + greatest(-ask.rest, 0), wait_ms, others)::grant_answer;
END
$$;

CREATE FUNCTION keep_share(by_node bigint, ask grant_ask, at double precision, slot bigint, held bigint, day date,
	lacks bigint, waits_since double precision, wait_ms double precision)
RETURNS void
LANGUAGE sql
AS $$
	INSERT INTO limit_shares AS s (lane, scope, unit, node_id, asked_at, rate, window_ms, slot, held, day, lacks,
			waits_since, due_at)
	VALUES (ask.lane, ask.scope, ask.unit, by_node, at, ask.rate, ask.window_ms, slot, held, day, lacks, waits_since,
		at + wait_ms / 1000)
	ON CONFLICT (lane, scope, unit, node_id) DO UPDATE SET asked_at = excluded.asked_at, rate = excluded.rate,
		window_ms = excluded.window_ms, slot = excluded.slot, held = excluded.held, day = excluded.day,
		lacks = excluded.lacks, waits_since = excluded.waits_since, due_at = excluded.due_at
$$;

-- ---- in a day ----

-- In portions of a hundredth, so that little is lost with a node that dies.
CREATE FUNCTION take_in_day(by_node bigint, ask grant_ask) RETURNS grant_answer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	g limit_grants%ROWTYPE;
	at timestamptz := clock_timestamp();
	today date := (at AT TIME ZONE 'UTC')::date;
	portion_of date;    -- day of what the node has
	rate bigint;
	others bigint;
	had bigint := 0;
	room bigint;
	part bigint := 0;
	debt bigint := 0;
	wait_ms double precision := 0;
BEGIN
	SELECT * INTO g FROM limit_grants x WHERE x.lane = ask.lane AND x.scope = ask.scope AND x.unit = ask.unit;
	SELECT least(ask.rate, min(s.rate) FILTER (WHERE s.node_id <> by_node AND s.asked_at > extract(epoch FROM at) - 10)),
			count(*) FILTER (WHERE s.node_id <> by_node AND s.lacks > 0),
			max(s.day) FILTER (WHERE s.node_id = by_node)
		INTO rate, others, portion_of
		FROM limit_shares s WHERE s.lane = ask.lane AND s.scope = ask.scope AND s.unit = ask.unit;
	IF g.day IS DISTINCT FROM today THEN
		g.used := 0;
	END IF;
	-- What is left of another day's portion is nothing; what was spent too much is spent.
	IF portion_of = today THEN
		had := greatest(ask.rest, 0);
		g.used := g.used - greatest(ask.gives, 0);
	END IF;
	debt := greatest(-ask.rest, 0);
	g.used := greatest(g.used + debt + greatest(-ask.gives, 0), 0);
	room := greatest(rate - g.used, 0);
	IF ask.wants > had AND room >= ask.needs - had THEN
		part := least(ask.wants - had, room, greatest(rate / 100, least(10, rate / 10), ask.needs - had));
		g.used := g.used + part;
	ELSIF ask.wants > had THEN
		-- Others may give some back.
		wait_ms := least(extract(epoch FROM date_trunc('day', at AT TIME ZONE 'UTC') + interval '1 day'
			- at AT TIME ZONE 'UTC') * 1000 + 1, 10000);
	END IF;
	UPDATE limit_grants x SET timeline = '', day = today, used = g.used
		WHERE x.lane = ask.lane AND x.scope = ask.scope AND x.unit = ask.unit;
	PERFORM keep_share(by_node, ask, extract(epoch FROM at), 0, 0, today,
		CASE WHEN wait_ms > 0 THEN greatest(ask.needs, 1) ELSE 0 END, NULL, wait_ms);
	-- What the node believes to have of another day is not its own: it begins anew with the portion.
	RETURN ROW(part + debt - (greatest(ask.rest, 0) - had), wait_ms, others)::grant_answer;
END
$$;

-- ---- at once ----

-- Slots are the node's until it gives them back, or its leases are lost. `rest` is at least what is under way.
CREATE FUNCTION take_at_once(by_node bigint, ask grant_ask) RETURNS grant_answer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
	lease CONSTANT double precision := 15;
	at double precision := extract(epoch FROM clock_timestamp());
	rate bigint;
	others bigint;
	taken bigint;
	target bigint;
	part bigint;
	lacks bigint;
	wait_ms double precision := 0;
BEGIN
	SELECT least(ask.rate, min(s.rate) FILTER (WHERE s.held > 0 OR s.asked_at > at - 10)),
			count(*) FILTER (WHERE s.held > 0 OR s.lacks > 0),
			coalesce(sum(s.held), 0)
		INTO rate, others, taken
		FROM (SELECT r.asked_at, r.rate, r.held, CASE WHEN r.due_at + 1 > at THEN r.lacks ELSE 0 END AS lacks
			FROM limit_shares r
				CROSS JOIN LATERAL (SELECT n.beat_at FROM nodes n WHERE n.id = r.node_id OFFSET 0) n
			WHERE r.lane = ask.lane AND r.scope = ask.scope AND r.unit = ask.unit AND r.node_id <> by_node
				AND extract(epoch FROM n.beat_at) > at - lease) s;
	-- With nobody else waiting all that is free may be had; else an even part, also by those that have more now.
	target := least(ask.wants, rate);
	IF EXISTS (SELECT FROM limit_shares r WHERE r.lane = ask.lane AND r.scope = ask.scope AND r.unit = ask.unit
			AND r.node_id <> by_node AND r.lacks > 0 AND r.due_at + 1 > at) THEN
		target := least(target, (rate + others) / (others + 1));
	END IF;
	part := least(target - ask.rest, greatest(rate - taken - ask.rest, least(target - ask.rest, 0)));
	lacks := greatest(least(ask.wants, rate) - ask.rest - greatest(part, 0), 0);
	IF lacks > 0 THEN
		wait_ms := ask.life_ms;
	END IF;
	PERFORM keep_share(by_node, ask, at, 0, ask.rest + greatest(part, 0), NULL, lacks, NULL, wait_ms);
	RETURN ROW(part, wait_ms, others)::grant_answer;
END
$$;

-- ---- a round ----

-- One node's round over all that it wants, has, or gives back; element i of every array is one line, at most one for each
-- limit. Lines come back in any order, by their place from 1. A node that is not registered is refused.
CREATE FUNCTION take_grants(by_node bigint, lanes text[], scopes text[], units text[], rates bigint[],
	windows_ms bigint[], lives_ms bigint[], rests bigint[], gives bigint[], needs bigint[], wants bigint[])
RETURNS TABLE (place bigint, granted bigint, wait_ms bigint, others bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	ask grant_ask;
	answer grant_answer;
BEGIN
	FOR ask IN
		SELECT a.place, a.lane, a.scope, a.unit, a.rate, a.window_ms, a.life_ms, a.rest, a.gives, a.needs, a.wants
		FROM unnest(lanes, scopes, units, rates, windows_ms, lives_ms, rests, gives, needs, wants) WITH ORDINALITY
			AS a (lane, scope, unit, rate, window_ms, life_ms, rest, gives, needs, wants, place)
		ORDER BY a.lane COLLATE "C", a.scope COLLATE "C", a.unit COLLATE "C"
	LOOP
		PERFORM 1 FROM limit_grants g
			WHERE g.lane = ask.lane AND g.scope = ask.scope AND g.unit = ask.unit FOR NO KEY UPDATE;
		IF NOT FOUND THEN
			-- Whoever makes it first has it locked; the other waits for that here.
			INSERT INTO limit_grants (lane, scope, unit) VALUES (ask.lane, ask.scope, ask.unit)
				ON CONFLICT DO NOTHING;
			PERFORM 1 FROM limit_grants g
				WHERE g.lane = ask.lane AND g.scope = ask.scope AND g.unit = ask.unit FOR NO KEY UPDATE;
		END IF;
		answer := CASE WHEN ask.window_ms > 0 THEN take_in_span(by_node, ask)
			WHEN ask.window_ms = 0 THEN take_in_day(by_node, ask)
			ELSE take_at_once(by_node, ask) END;
		place := ask.place;
		granted := answer.granted;
		wait_ms := answer.wait_ms;
		others := answer.others;
		RETURN NEXT;
	END LOOP;
END
$$;
