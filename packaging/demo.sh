#!/bin/bash
# `make demo`: Proctor's whole job on one machine, in a folder of its own, in less than a minute.
#
# Installs the build into a temporary folder, so that it also works from a clone that only root can read; starts
# proctord with an embedded Postgres and, in place of every provider whose key is not in the environment, the
# simulator; runs conf/demo.yaml over six models; shows what came of it; stops and removes all.
#
#   KEEP=1    leaves it running and tells how to talk to it
set -euo pipefail

cd "$(dirname "$0")/.."
models=gpt-4,claude-3-sonnet,gemini-1.5-pro,grok-2,deepseek-chat,mistral-large
key_of='openai=OPENAI_API_KEY anthropic=ANTHROPIC_API_KEY google=GOOGLE_API_KEY xai=XAI_API_KEY
	deepseek=DEEPSEEK_API_KEY mistral=MISTRAL_API_KEY'
start_deadline=60
python=${PYTHON:-/usr/bin/python3}
keep=${KEEP:-}
[[ $keep != 0 && $keep != no ]] || keep=

folder=
daemon=

say() {
	printf '%s\n' "$*"
}

headline() {
	if [[ -t 1 ]]; then
		printf '\n\033[1m%s\033[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

stop_daemon() {
	local tries=0

	[[ -n $daemon ]] || return 0
	kill -TERM "$daemon" 2>/dev/null || true
	while kill -0 "$daemon" 2>/dev/null && ((tries++ < 150)); do
		sleep 0.1
	done
	kill -KILL "$daemon" 2>/dev/null || true
	wait "$daemon" 2>/dev/null || true
	daemon=
}

clean_up() {
	trap - EXIT
	# Whoever presses Ctrl-C twice wants nothing to be left either.
	trap '' INT TERM
	stop_daemon
	[[ -z $folder ]] || rm -rf "$folder"
}

fail() {
	say "demo: $*" >&2
	if [[ -n $folder && -s $folder/proctord.log ]]; then
		say "The daemon's log ends with:" >&2
		tail -n 25 "$folder/proctord.log" | sed 's/^/  /' >&2
	fi
	exit 1
}

make_folder() {
	# Short, since a Unix socket's path is limited; reachable for the user that the daemon becomes.
	folder=$(mktemp -d /var/tmp/proctor-demo-XXXXXX)
	chmod 755 "$folder"
	say "Preparing $folder"
	make --no-print-directory --silent install DESTDIR="$folder/install" PREFIX=/usr SYSCONFDIR=/etc \
		>"$folder/install.log" 2>&1 || {
		cat "$folder/install.log" >&2
		fail "make install failed"
	}
	programs=$folder/install/usr
	# Made here: the daemon that root starts is `nobody` before it could make them beside it.
	mkdir -m 755 "$folder/state" "$folder/run"
}

free_port() {
	"$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

sort_providers() {
	local pair variable

	simulated=()
	real=()
	for pair in $key_of; do
		variable=${pair#*=}
		if [[ -n ${!variable:-} ]]; then
			real+=("${pair%%=*}")
		else
			simulated+=("${pair%%=*}")
		fi
	done
}

tell_providers() {
	if [[ ${#real[@]} -gt 0 ]]; then
		say "  REAL       ${real[*]}: the key is set, calls cost money"
	fi
	if [[ ${#simulated[@]} -gt 0 ]]; then
		say "  SIMULATED  ${simulated[*]}: no key is set, answers are made up on this machine"
	fi
}

write_ini() {
	local provider pair

	cat >"$folder/proctor.ini" <<-END
		[daemon]
		state_dir = $folder/state
		run_dir = $folder/run
		key_file = $folder/keys.env
	END
	[[ $(id -u) != 0 ]] || echo 'user = nobody' >>"$folder/proctor.ini"
	cat >>"$folder/proctor.ini" <<-END

		[database]
		url = embedded

		[pool:probe]
		size = 2
		require_healthy = yes
	END
	(umask 077 && : >"$folder/keys.env")
	# Fourteen calls need not be spread over a minute: what a real provider tells of its limits is kept all the same.
	for provider in "${real[@]}"; do
		cat >>"$folder/proctor.ini" <<-END

			[provider:$provider]
			tokens_per_minute = 0
			input_tokens_per_minute = 0
			output_tokens_per_minute = 0
			ramp_up = 0s
		END
	done
	[[ ${#simulated[@]} -gt 0 ]] || return 0
	cat >>"$folder/proctor.ini" <<-END

		[service:simulator]
		command = $python $programs/lib/proctor/workers/simulator --port $port --ready-fd 3 --latency lognormal:0.4:0.4:2
		ready = fd
	END
	for provider in "${simulated[@]}"; do
		# The limits are the simulator's own: none. Few calls at once, so that there is something to watch.
		cat >>"$folder/proctor.ini" <<-END

			[provider:$provider]
			base_url = http://127.0.0.1:$port/$provider
			requests_per_minute = 0
			tokens_per_minute = 0
			input_tokens_per_minute = 0
			output_tokens_per_minute = 0
			ramp_up = 0s
			concurrency = 6
		END
	done
	for pair in $key_of; do
		[[ " ${simulated[*]} " != *" ${pair%%=*} "* ]] || echo "${pair#*=}=simulator" >>"$folder/keys.env"
	done
}

start_daemon() {
	# A proxy for the world's providers is none for this machine's own port.
	export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1" NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1"
	if [[ $(id -u) = 0 ]]; then
		chown -R nobody: "$folder/state" "$folder/run" "$folder/keys.env"
	fi
	setsid "$programs/sbin/proctord" --config "$folder/proctor.ini" </dev/null >"$folder/proctord.log" 2>&1 &
	daemon=$!
}

ctl() {
	"$programs/bin/proctorctl" "$@"
}

# Reads JSON; prints what is found at a path such as items.0.id
pick() {
	"$python" -c '
import json, sys
found = json.load(sys.stdin)
for step in sys.argv[1].split("."):
    found = found[int(step) if step.isdigit() else step]
print(found)' "$1"
}

is_ready() {
	local status

	if [[ ${#simulated[@]} -gt 0 ]] && ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		return 1
	fi
	status=$(ctl --json status 2>/dev/null) || return 1
	[[ $(pick state <<<"$status") = ready ]]
}

await_ready() {
	local start=$SECONDS

	until is_ready; do
		kill -0 "$daemon" 2>/dev/null || fail "proctord ended at its start"
		((SECONDS - start < start_deadline)) || fail "proctord is not ready after $start_deadline s"
		sleep 0.1
	done
}

tell_next() {
	headline 'What to try next'
	if [[ -n $keep ]]; then
		say "  export PROCTOR_SOCKET=$PROCTOR_SOCKET PATH=$programs/bin:\$PATH"
	else
		say '  make demo KEEP=1                        leaves all of this running, for:'
	fi
	cat <<-END
		  proctorctl status                       what everything is doing
		  proctorctl run show latest              progress, models, errors
		  proctorctl transcripts list latest      what was answered
		  proctorctl transcripts export latest --format csv --output turns.csv
		  proctorctl run start everyday-dilemmas --models gpt-4 --sample-percentage 10 --watch
		  proctorctl psql                         the tables, in SQL
		  proctorctl help                         everything else
	END
	if [[ -z $keep ]]; then
		say '  OPENAI_API_KEY=… make demo              the same with real answers of a provider'
	fi
}

main() {
	local status=0 run transcript

	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM

	sort_providers
	headline 'Providers of this demo'
	tell_providers

	headline 'Starting proctord'
	make_folder
	port=$(free_port)
	write_ini
	start_daemon
	export PROCTOR_SOCKET=$folder/run/proctor.sock
	await_ready
	say "proctord is ready: embedded Postgres, 2 workers"

	headline 'Importing conf/demo.yaml'
	ctl definition import conf/demo.yaml || fail "the import failed"

	headline "Running it over six models"
	# What it warns of, the simulated answers, has been said above.
	run=$(ctl --json run start everyday-dilemmas --models "$models" 2>"$folder/start.err" | pick id) || {
		cat "$folder/start.err" >&2
		fail "the run could not be started"
	}
	ctl run watch "$run" || status=$?

	headline 'One transcript, whole'
	transcript=$(ctl --json transcripts list "$run" --limit 1 | pick items.0.id) ||
		fail "the run left no transcript"
	ctl transcripts show "$transcript"

	headline 'Whose answers these were'
	tell_providers
	tell_next

	if [[ -n $keep ]]; then
		trap - EXIT
		say
		say "It is left running (process $daemon, log $folder/proctord.log). To stop and remove it:"
		say "  $programs/bin/proctorctl --socket $PROCTOR_SOCKET shutdown && rm -rf $folder"
	else
		headline 'Stopping'
		clean_up
		say 'All that the demo started is stopped, and its folder is removed.'
	fi
	[[ $status = 0 ]] || say "demo: the run did not complete (status $status)" >&2
	exit "$status"
}

main
