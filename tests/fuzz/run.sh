#!/bin/bash
# Runs fuzzers side by side, one a core, each for so many seconds.
#
#   tests/fuzz/run.sh SECONDS NAME …
#
# What a fuzzer has learned stays in build/fuzz/corpus/NAME for the next time; tests/fuzz/seeds/NAME is what it
# begins with. A finding is kept as build/fuzz/findings/NAME-…: `build/fuzz/NAME FILE` shows it again. Once it is
# mended, it belongs into the seeds.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 1
seconds=$1
shift
mkdir -p build/fuzz/findings

# One fuzzer: a line when all is well, all of its words otherwise.
run_fuzzer() {
	local name=$1 seconds=$2 corpus=build/fuzz/corpus/$1 log=build/fuzz/$1.log

	mkdir -p "$corpus"
	# Inputs are small: what a large one breaks, a small one does, and more of them can be tried.
	if UBSAN_OPTIONS=print_stacktrace=1 "build/fuzz/$name" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
		-rss_limit_mb=1024 -artifact_prefix="build/fuzz/findings/$name-" -print_final_stats=1 \
		"$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1; then
		printf '  ok      %s: %s inputs\n' "$name" \
			"$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
	else
		tail -n 60 "$log"
		echo "  FAILED  $name"
		return 1
	fi
}
export -f run_fuzzer

printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c "run_fuzzer {} $seconds"
