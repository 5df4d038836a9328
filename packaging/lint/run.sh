#!/bin/bash
# All that is checked without running anything. Every check runs; the exit status tells if all passed.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-/usr/bin/python3}
failed=no

check() {
	local name=$1 start=$SECONDS

	shift
	if "$@"; then
		echo "  ok      $name ($((SECONDS - start)) s)"
	else
		echo "  FAILED  $name"
		failed=yes
	fi
}

mapfile -t c_files < <(find supervisor tests/unit tests/fuzz -name '*.[ch]' | sort)
mapfile -t python_files < <(find workers tests packaging -name '*.py' -not -path '*/__pycache__/*' | sort)
mapfile -t scripts < <(find packaging .ci tests -type f \( -name '*.sh' -o -path '.ci/run' \) | sort)

# Version 14 where there is one: others break lines elsewhere.
formatter=$(command -v clang-format-14 || command -v clang-format)

run_format() {
	local faults

	faults=$("$formatter" --dry-run "${c_files[@]}" 2>&1 | sed -n 's/^\([^ :]*\):[0-9].*clang-format.*/\1/p' | sort -u)
	[[ -n $faults ]] || return 0
	while read -r file; do
		echo "$file: is not in the format of .clang-format; make format mends it"
	done <<<"$faults"
	return 1
}

# Cppcheck knows neither what the compiler's own headers say nor the loops behind macros; what it cannot judge is
# named here once.
run_cppcheck() {
	mkdir -p build/cppcheck
	cppcheck --quiet --std=c11 -j "$(nproc)" --error-exitcode=1 --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=unknownMacro \
		--cppcheck-build-dir=build/cppcheck -I supervisor -D_GNU_SOURCE -DPROCTOR_VERSION='"0"' \
		-DPROCTOR_SYSCONFDIR='"/etc"' supervisor
}

# Pyflakes knows no exceptions; a line that says `noqa` and why is one.
run_pyflakes() {
	local file line rest faults=0

	while IFS=: read -r file line rest; do
		[[ $(sed -n "${line}p" "$file") != *'# noqa'* ]] || continue
		echo "$file:$line:$rest"
		faults=$((faults + 1))
	done < <(pyflakes3 "${python_files[@]}" 2>&1)
	[[ $faults = 0 ]]
}

run_pycodestyle() {
	pycodestyle --max-line-length=120 --ignore=E101,E121,E123,E126,E127,E128,E129,E226,W191,W503,W504 "${python_files[@]}"
}

check 'format (clang-format)' run_format
check 'layers and header guards' "$python" packaging/lint/layers.py
check 'C (cppcheck)' run_cppcheck
check 'Python (pyflakes)' run_pyflakes
check 'Python (pycodestyle)' run_pycodestyle
check 'scripts (shellcheck)' shellcheck -x "${scripts[@]}"

[[ $failed = no ]]
