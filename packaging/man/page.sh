#!/bin/bash
# Writes a manual page, made from Markdown, to stdout.
#
#   packaging/man/page.sh packaging/man/NAME.SECTION.md VERSION DATE
#
# What a table of the program tells comes from the program: a line @ini@ stands for the keys of proctor.ini, @commands@
# for the commands of proctorctl, @metrics@ for what is measured, @worker-protocol@ for workers/PROTOCOL.md without its
# recorded conversation. Takes the programs from build/.
set -euo pipefail

source=$1
version=$2
date=$3
page=$(basename "$source" .md)
name=${page%.*}
section=${page##*.}

# A chapter of another document becomes one of this page's.
worker_protocol() {
	sed -n '1,2d; /^## A recorded conversation/q; s/^##/#/; p' workers/PROTOCOL.md
}

expand() {
	local line

	while IFS= read -r line; do
		case $line in
		@ini@) build/proctord --config-reference ;;
		@metrics@) build/proctord --metrics-reference ;;
		@commands@) build/proctorctl help --reference ;;
		@worker-protocol@) worker_protocol ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$source"
}

# A table becomes a list, which fits every width: of the first column, defined by the last, with what is between behind
# it. Its head is dropped.
lists() {
	awk '
		/^\|---/ { head = ""; next }
		head != "" { emit(head); head = "" }
		/^\| / && !inside { inside = 1; head = $0; next }
		!/^\| / { inside = 0; print; next }
		{ emit($0) }
		function emit(row, cells, count, at, between) {
			sub(/^\| /, "", row); sub(/ \|$/, "", row)
			gsub(/ \| \| /, " | ", row)
			count = split(row, cells, " \\| ")
			between = ""
			for (at = 2; at < count; at++)
				between = between (between == "" ? " (" : ", ") cells[at]
			printf "%s\n\n: %s%s\n\n", cells[1], cells[count], between == "" ? "" : between ")"
		}'
}

# Manual pages set what one types in bold; lines are neither stretched nor words broken, for names are to be found.
expand | lists | lowdown -s -Tman --out-no-smarty --parse-no-intraemph \
	-M title="${name^^}" -M section="$section" -M source="Proctor $version" -M volume='Proctor' -M date="$date" |
	sed -e 's/\\fC/\\fB/g' -e '/^\.TH/a .ad l\n.nh'
