#!/bin/bash
# All checks, in the order build, lint, unit, fuzz, workers, integration, with a summary at the end. A stage that
# fails does not stop those after it, but for a build that fails.
#
#   packaging/check.sh [STAGE …]        all of them when none is named
#
# PROCTORD and PROCTORCTL name other binaries for the integration tests, such as those of `make asan`.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-/usr/bin/python3}
jobs=$(nproc)
all=(build lint unit fuzz workers integration)
fuzz_seconds=10
begun=$SECONDS
passed=()
failed=()

stage_build() {
	make --no-print-directory -j "$jobs" all clang
}

stage_lint() {
	packaging/lint/run.sh
}

# One program: silent when it passes.
run_unit() {
	local output

	if output=$(timeout 120 "$1" 2>&1); then
		echo "  ok      ${1##*/}"
	else
		printf '%s\n  FAILED  %s\n' "$output" "${1##*/}"
		return 1
	fi
}
export -f run_unit

stage_unit() {
	make --no-print-directory -j "$jobs" tests || return 1
	# By the sources, not by what build/ holds: a program whose source is gone stays there.
	find tests/unit -maxdepth 1 -name 'test_*.c' -printf '%f\n' | sort | sed 's/\.c$//' |
		UBSAN_OPTIONS=print_stacktrace=1 xargs -P "$jobs" -I{} bash -c 'run_unit build/asan/tests/{}'
}

# Each fuzzer for a moment, with what earlier findings have left in its seeds.
stage_fuzz() {
	make --no-print-directory fuzz TIME="$fuzz_seconds"
}

# Tests wait more than they compute, so one a core leaves room for what they start. A file's tests stay together,
# for what they share.
run_pytest() {
	"$python" -B -m pytest -q -p no:cacheprovider --durations=5 -n "$jobs" --dist loadfile "$@"
}

stage_workers() {
	run_pytest tests/workers
}

stage_integration() {
	make --no-print-directory -j "$jobs" all build/crash/proctord && run_pytest tests/integration
}

run_stage() {
	local start=$SECONDS

	printf '\n== %s\n' "$1"
	if "stage_$1"; then
		passed+=("$1 ($((SECONDS - start)) s)")
	else
		failed+=("$1")
		return 1
	fi
}

stages=("$@")
[[ ${#stages[@]} -gt 0 ]] || stages=("${all[@]}")
for stage in "${stages[@]}"; do
	if [[ " ${all[*]} " != *" $stage "* ]]; then
		echo "check: no stage is called $stage; there are ${all[*]}" >&2
		exit 2
	fi
done
for stage in "${stages[@]}"; do
	run_stage "$stage" || [[ $stage != build ]] || break
done

join() {
	local joined

	printf -v joined '%s, ' "$@"
	echo "${joined%, }"
}

echo
if [[ ${#failed[@]} -gt 0 ]]; then
	[[ ${#passed[@]} -eq 0 ]] || echo "passed: $(join "${passed[@]}")"
	echo "make check: FAILED: $(join "${failed[@]}"), after $((SECONDS - begun)) s"
	exit 1
fi
echo "make check: passed: $(join "${passed[@]}"), $((SECONDS - begun)) s in all"
