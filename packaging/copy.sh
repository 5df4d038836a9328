#!/bin/bash
# Copies a folder for installation: caches left out, modes 644 and 755 whatever the umask.
#
#   packaging/copy.sh FROM TO
set -euo pipefail

umask 022
from=$(realpath "$1")
to=$(realpath -m "$2")
cd "$from"
find . -name __pycache__ -prune -o -type d -print0 |
	while IFS= read -r -d '' folder; do
		install -d -m 755 "$to/$folder"
		find "$folder" -maxdepth 1 -type f ! -name '*.pyc' -executable -exec install -m 755 -t "$to/$folder" {} +
		find "$folder" -maxdepth 1 -type f ! -name '*.pyc' ! -executable -exec install -m 644 -t "$to/$folder" {} +
	done
