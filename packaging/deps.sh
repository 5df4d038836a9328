#!/bin/bash
# Installs what is missing from Debian's packages.
#
#   packaging/deps.sh build|run|demo|check|package|system|bench …
#
# Says what it installs; with nothing missing it says nothing and calls no apt. Installs as root, or by sudo.
# Leaves no service behind: no Postgres cluster is created and nothing that it installs is started.
set -euo pipefail

# A line is PACKAGE, or PACKAGE=FILE where that file (a pattern) may also have come from elsewhere.
set_build() {
	cat <<-'END'
		gcc=/usr/bin/gcc
		libc6-dev
		make=/usr/bin/make
		pkg-config=/usr/bin/pkg-config
		libcurl4-openssl-dev
		libssl-dev
		libev-dev
		libinih-dev
		libisal-dev
		libjansson-dev
		libmicrohttpd-dev
		libpq-dev
		libyaml-dev
		lowdown=/usr/bin/lowdown
	END
}

set_run() {
	cat <<-'END'
		ca-certificates
		libcurl4
		libssl3
		libmicrohttpd12
		postgresql=/usr/lib/postgresql/*/bin/initdb
		python3=/usr/bin/python3
		python3-pycurl
	END
}

set_demo() {
	set_build
	set_run
	echo python3-aiohttp
}

set_check() {
	set_demo
	cat <<-'END'
		clang=/usr/bin/clang
		clang-format=/usr/bin/clang-format
		cppcheck=/usr/bin/cppcheck
		libclang-rt-dev=/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
		fish=/usr/bin/fish
		less=/usr/bin/less
		libcmocka-dev
		libasan8
		libubsan1
		man-db=/usr/bin/man
		pgbouncer=/usr/sbin/pgbouncer
		prometheus=/usr/bin/promtool
		pycodestyle=/usr/bin/pycodestyle
		pyflakes3=/usr/bin/pyflakes3
		python3-hypothesis
		python3-psycopg2
		python3-pytest
		python3-pytest-xdist
		python3-venv
		python3-yaml
		shellcheck=/usr/bin/shellcheck
		tmux=/usr/bin/tmux
		zsh=/usr/bin/zsh
	END
}

set_package() {
	set_build
	cat <<-'END'
		debhelper
		dh-python
		dpkg-dev
		fakeroot
		lintian=/usr/bin/lintian
		po-debconf
	END
}

set_system() {
	cat <<-'END'
		debootstrap=/usr/sbin/debootstrap
		systemd-container=/usr/bin/systemd-nspawn
	END
}

set_bench() {
	set_demo
	echo nginx-light=/usr/sbin/nginx
	echo python3-psycopg2
}

# Reads lines of the sets; writes the names of the packages that are missing.
missing() {
	local line package file wanted=() installed

	while read -r line; do
		package=${line%%=*}
		file=${line#"$package"}
		file=${file#=}
		if [[ -z $file ]] || ! compgen -G "$file" >/dev/null; then
			wanted+=("$package")
		fi
	done
	[[ ${#wanted[@]} -gt 0 ]] || return 0
	# shellcheck disable=SC2016  # dpkg-query expands these itself
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null |
		awk '$2 == "installed" {print $1}' || true)
	for package in "${wanted[@]}"; do
		grep -qxF -- "$package" <<<"$installed" || echo "$package"
	done
}

# Everything below runs as root.

policy=/usr/sbin/policy-rc.d
cluster_dir=/etc/postgresql-common/createcluster.d
made_policy=no
made_cluster_dir=no

# While packages are set up, no service starts and no Postgres cluster is made.
hold_services() {
	if [[ ! -e $policy ]]; then
		made_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	if [[ ! -d $cluster_dir ]]; then
		made_cluster_dir=yes
		mkdir -p "$cluster_dir"
	fi
	echo 'create_main_cluster = false' >"$cluster_dir/zz-proctor-install.conf"
}

release_services() {
	rm -f "$cluster_dir/zz-proctor-install.conf"
	[[ $made_cluster_dir = no ]] || rmdir --ignore-fail-on-non-empty "$cluster_dir"
	[[ $made_policy = no ]] || rm -f "$policy"
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"
}

install_packages() {
	local round name

	log=$(mktemp)
	trap 'release_services; rm -f "$log"' EXIT
	hold_services
	if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
		apt update >"$log" 2>&1 || true
	fi
	for round in 1 2 3; do
		if apt install --no-install-recommends "$@" >"$log" 2>&1; then
			break
		fi
		if [[ $round = 3 ]]; then
			tail -n 20 "$log" >&2
			echo "deps: apt-get could not install: $*" >&2
			exit 1
		fi
		# Lists that are out of date name packages that the mirror has no more.
		apt update >"$log" 2>&1 || true
	done
	# Packages enable their services, which would start at the next boot: only their programs are wanted.
	for name in nginx prometheus; do
		if [[ " $* " = *" $name"* ]] && command -v systemctl >/dev/null; then
			systemctl disable --quiet --now "$name" 2>/dev/null || true
		fi
	done
}

if [[ ${1:-} = --install ]]; then
	shift
	install_packages "$@"
	exit 0
fi

if [[ $# -eq 0 ]]; then
	echo "usage: packaging/deps.sh build|run|demo|check|package|system|bench …" >&2
	exit 2
fi
for name in "$@"; do
	if ! declare -F "set_$name" >/dev/null; then
		echo "deps: no set is called $name; there are build, run, demo, check, package, system, bench" >&2
		exit 2
	fi
done
list=$(for name in "$@"; do "set_$name"; done | sort -u | missing)
[[ -n $list ]] || exit 0
mapfile -t packages <<<"$list"

# A terminal may be asked for a password; a script is refused at once.
become_root=()
if [[ $(id -u) != 0 ]]; then
	become_root=(sudo)
	[[ -t 0 ]] || become_root+=(-n)
	if ! command -v sudo >/dev/null || ! "${become_root[@]}" true 2>/dev/null; then
		echo "deps: missing packages, which only root may install: apt-get install ${packages[*]}" >&2
		exit 1
	fi
fi
echo "deps: installing ${packages[*]}"
"${become_root[@]}" /bin/bash "$0" --install "${packages[@]}"
