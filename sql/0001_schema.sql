-- Proctor's tables. What researchers query (definitions .. transcripts) comes first, the queue's narrow
-- tables after. README.md beside this file draws them.
--
-- Ids of people's objects are text, sortable by time of birth: see new_id(). Ids of queue rows are bigint.

CREATE TABLE schema_migrations (
	version integer PRIMARY KEY,
	name text NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT now()
);

-- prefix + '_' + 11 hex digits of the clock in ms + 9 random hex digits.
CREATE FUNCTION new_id(prefix text) RETURNS text
LANGUAGE sql VOLATILE
AS $$
	SELECT prefix || '_'
		|| lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 11, '0')
		|| substr(replace(gen_random_uuid()::text, '-', ''), 1, 9)
$$;

CREATE TABLE definitions (
	id text PRIMARY KEY DEFAULT new_id('def'),
	name text NOT NULL,
	version integer NOT NULL DEFAULT 1,
	preamble text,
	followups jsonb NOT NULL DEFAULT '[]',      -- [{"label": …, "prompt": …}, …]
	metadata jsonb NOT NULL DEFAULT '{}',       -- every other key of the file, kept as it was
	complete boolean NOT NULL DEFAULT false,    -- false while an import's pages still arrive; unseen until then
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (name, version)
);

CREATE TABLE scenarios (
	id text PRIMARY KEY DEFAULT new_id('scn'),
	definition_id text NOT NULL REFERENCES definitions ON DELETE CASCADE,
	position integer NOT NULL,                  -- order in the file, from 0
	key text NOT NULL,                          -- the id that the file gives it, else scenario_<position + 1>
	name text NOT NULL,
	prompt text NOT NULL,
	metadata jsonb NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (definition_id, position),
	UNIQUE (definition_id, key)
);

CREATE TABLE runs (
	id text PRIMARY KEY DEFAULT new_id('run'),
	definition_id text NOT NULL REFERENCES definitions,
	status text NOT NULL DEFAULT 'PENDING'
		CHECK (status IN ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
	config jsonb NOT NULL,                      -- what run.start was asked: models, samplePercentage, …, camelCase
	progress jsonb NOT NULL,                    -- {"total": n, "completed": n, "failed": n, "cancelled": n}
	priority integer NOT NULL DEFAULT 0,        -- higher goes first
	definition_snapshot jsonb NOT NULL,         -- the definition as it was at the start, without its scenarios
	pause_reason text,                          -- set while PAUSED
	cancel_requested_at timestamptz,
	created_at timestamptz NOT NULL DEFAULT now(),
	started_at timestamptz,
	finished_at timestamptz
);
CREATE INDEX runs_active ON runs (id) WHERE status IN ('PENDING', 'RUNNING', 'PAUSED');
CREATE INDEX runs_created ON runs (created_at DESC, id DESC);
CREATE INDEX runs_definition ON runs (definition_id);

CREATE TABLE run_scenario_selections (
	run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
	scenario_id text NOT NULL REFERENCES scenarios,
	PRIMARY KEY (run_id, scenario_id)
);
CREATE INDEX run_scenario_selections_scenario ON run_scenario_selections (scenario_id);

-- One row per model of a run: what the scheduler chooses between.
CREATE TABLE run_models (
	run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
	model_id text NOT NULL,
	lane text NOT NULL,                         -- provider name, 'simulated', or 'unsupported'
	total integer NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	PRIMARY KEY (run_id, model_id)
);

CREATE TABLE transcripts (
	id text PRIMARY KEY DEFAULT new_id('trn'),
	run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
	scenario_id text NOT NULL REFERENCES scenarios,
	model_id text NOT NULL,
	sample_index integer NOT NULL DEFAULT 0,
	model_version text,                         -- NULL where the provider does not tell
	turn_count integer NOT NULL,
	token_count bigint NOT NULL,                -- input + output, reasoning counted once
	input_tokens bigint NOT NULL,
	output_tokens bigint NOT NULL,
	reasoning_tokens bigint NOT NULL DEFAULT 0, -- the part of output_tokens that was reasoning
	duration_ms bigint NOT NULL,                -- sum of the calls, waits for limits not counted
	cost_usd numeric(20, 10),                   -- NULL where no price is known
	definition_snapshot jsonb NOT NULL,
	content jsonb NOT NULL,                     -- {"schemaVersion": 1, "turns": [...]}
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (run_id, scenario_id, model_id, sample_index)
);
CREATE INDEX transcripts_scenario ON transcripts (scenario_id);
CREATE INDEX transcripts_created ON transcripts (created_at DESC, id DESC);
CREATE INDEX transcripts_run_id ON transcripts (run_id, id);
ALTER TABLE transcripts ALTER COLUMN content SET COMPRESSION lz4;

-- The queue. A job is in exactly one of: ready, delayed, leases, outcomes.

CREATE TABLE jobs (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
	scenario_id text NOT NULL REFERENCES scenarios,
	model_id text NOT NULL,
	sample_index integer NOT NULL DEFAULT 0,
	lane text NOT NULL
);
CREATE INDEX jobs_run ON jobs (run_id, id);
CREATE INDEX jobs_scenario ON jobs (scenario_id);

CREATE SEQUENCE ready_seq;

CREATE TABLE ready (
	run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
	model_id text NOT NULL,
	seq bigint NOT NULL DEFAULT nextval('ready_seq'),   -- fresh at every enqueue
	job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
	attempt integer NOT NULL,                           -- the attempt that the claim will run, from 1
	PRIMARY KEY (run_id, model_id, seq)
);
CREATE INDEX ready_job ON ready (job_id);

CREATE TABLE delayed (
	job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
	run_at timestamptz NOT NULL,
	attempt integer NOT NULL,
	reason text NOT NULL                                -- the code of the error that it waits out
);
CREATE INDEX delayed_due ON delayed (run_at);

CREATE TABLE nodes (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- a new one at every boot, never reused
	name text NOT NULL,
	state_id text NOT NULL,                             -- of the state folder and machine: who may take back at boot
	booted_at timestamptz NOT NULL DEFAULT now(),
	beat_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
	job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
	attempt integer NOT NULL,
	node_id bigint NOT NULL,
	leased_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX leases_node ON leases (node_id);

-- Counters of jobs that had trouble; a job without a row had none.
CREATE TABLE tries (
	job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
	fails integer NOT NULL DEFAULT 0,                   -- transient failures: the budget of [retry] max_tries
	deaths integer NOT NULL DEFAULT 0,                  -- worker deaths at which it was held
	solo_deaths integer NOT NULL DEFAULT 0,             -- worker deaths while alone: two make POISON
	limited_since timestamptz,                          -- first 429 of the present wait; NULL when none
	last_error jsonb
);

-- Turns paid for of conversations not finished yet.
CREATE TABLE checkpoints (
	job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
	turn_number integer NOT NULL,
	attempt integer NOT NULL,
	digest text NOT NULL,
	body jsonb NOT NULL,
	PRIMARY KEY (job_id, turn_number)
);

CREATE TABLE outcomes (
	job_id bigint PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
	attempt integer NOT NULL,
	status text NOT NULL CHECK (status IN ('COMPLETED', 'FAILED', 'CANCELLED')),
	error jsonb,                                        -- {"code", "message", "statusCode", "details"}; NULL when COMPLETED
	finished_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE events (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(),
	level text NOT NULL CHECK (level IN ('debug', 'info', 'warning', 'error')),
	kind text NOT NULL,                                 -- 'run.finished', 'worker.exit', …
	node_id bigint,
	run_id text REFERENCES runs ON DELETE CASCADE,
	job_id bigint,
	subject text,                                       -- worker or lane name, where the event has one
	data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_run ON events (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX events_at ON events (at);

-- Queue tables churn: the default thresholds, meant for tables that mostly grow, lag behind them.
ALTER TABLE ready SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_cost_delay = 1);
ALTER TABLE leases SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000,
	autovacuum_vacuum_cost_delay = 1);
ALTER TABLE delayed SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE runs SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
