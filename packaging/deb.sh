#!/bin/bash
# `make deb`: builds proctor_VERSION_ARCH.deb below build/, of what `make` has built, and has lintian look at it.
#
#   packaging/deb.sh [VERSION]      another version than the changelog's, for tests of upgrades
#
# The Debian tools want debian/ at the top, so the tree is copied to a stage first. Objects are copied along: they are
# of the same flags.
set -euo pipefail

cd "$(dirname "$0")/.."
version=${1:-$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)}
arch=$(dpkg --print-architecture)
stage=build/deb/proctor

rm -rf build/deb
mkdir -p "$stage"
cp -a LICENSE Makefile README.md conf packaging sql supervisor workers "$stage"
mkdir "$stage/build"
cp -a build/release build/man build/proctord build/proctorctl "$stage/build"
mv "$stage/packaging/debian" "$stage/debian"
# Where the Makefile looks for the version and its day.
mkdir "$stage/packaging/debian"
ln -s ../../debian/changelog "$stage/packaging/debian/changelog"
find "$stage" -name __pycache__ -prune -exec rm -r {} +
if [[ $# -gt 0 ]]; then
	sed -i "1s/(.*)/($version)/" "$stage/debian/changelog"
fi

log=build/deb/log
if ! (cd "$stage" && DEB_BUILD_OPTIONS="noautodbgsym parallel=$(nproc)" dpkg-buildpackage -us -uc -b) >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "deb: dpkg-buildpackage failed; all it said is in $log" >&2
	exit 1
fi
mv "build/deb/proctor_${version}_$arch.deb" build/
lintian --allow-root --fail-on error,warning "build/proctor_${version}_$arch.deb"
echo "build/proctor_${version}_$arch.deb"
