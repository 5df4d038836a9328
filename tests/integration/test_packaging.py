"""Installing, linting and looking for packages, as people do it by make."""

import os
import stat
import subprocess
import sys

import pytest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make(target, destination, umask=0o022):
    subprocess.run(["make", "--silent", "-C", REPOSITORY, target, f"DESTDIR={destination}", "PREFIX=/usr"],
                   check=True, capture_output=True, umask=umask)


def files_below(folder):
    return {os.path.relpath(os.path.join(place, name), folder)
            for place, _, names in os.walk(folder) for name in names}


def test_install_lays_out_programs_workers_sql_and_configuration(tmp_path):
    make("install", tmp_path)
    found = files_below(tmp_path)
    assert {"usr/sbin/proctord", "usr/bin/proctorctl", "usr/lib/proctor/workers/probe.py",
            "usr/lib/proctor/workers/health_check.py", "usr/lib/proctor/sql/0001_schema.sql",
            "usr/lib/proctor/conf/models.ini", "usr/lib/proctor/conf/demo.yaml", "etc/proctor/proctor.ini",
            "usr/share/bash-completion/completions/proctorctl", "usr/share/zsh/vendor-completions/_proctorctl",
            "usr/share/fish/vendor_completions.d/proctorctl.fish",
            "usr/share/man/man8/proctord.8",
            "usr/share/man/man1/proctorctl.1", "usr/share/man/man5/proctor.ini.5",
            "usr/share/man/man7/proctor-protocol.7",
            "usr/share/proctor/prometheus/proctor.rules.yml", "usr/share/proctor/grafana/proctor.json"} <= found


def test_install_compiles_python_under_its_final_path(tmp_path):
    make("install", tmp_path)
    compiled = [name for name in files_below(tmp_path) if name.endswith(".pyc")]
    assert compiled
    content = (tmp_path / compiled[0]).read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"/usr/lib/proctor/workers" in content


def test_install_is_readable_by_everyone_whatever_the_umask(tmp_path):
    make("install", tmp_path, umask=0o077)
    closed = [path for path in tmp_path.rglob("*")
              if not path.stat().st_mode & (stat.S_IXOTH if path.is_dir() else stat.S_IROTH)]
    assert closed == []


def test_install_leaves_an_existing_configuration_alone(tmp_path):
    (tmp_path / "etc/proctor").mkdir(parents=True)
    (tmp_path / "etc/proctor/proctor.ini").write_text("; mine\n")
    make("install", tmp_path)
    assert (tmp_path / "etc/proctor/proctor.ini").read_text() == "; mine\n"


def test_uninstall_leaves_nothing_but_the_configuration(tmp_path):
    make("install", tmp_path)
    make("uninstall", tmp_path)
    assert files_below(tmp_path) == {"etc/proctor/proctor.ini"}


def test_help_names_every_target_that_people_use():
    shown = subprocess.run(["make", "-C", REPOSITORY, "help"], check=True, capture_output=True, text=True).stdout
    named = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert {"all", "demo", "check", "bench", "install", "clean", "help"} <= named


@pytest.mark.parametrize("path, text, said", [
    ("policy/a.c", "#include <time.h>\n", "policy is pure and may not include <time.h>"),
    ("policy/a.c", '#include "io/loop.h"\n', 'policy may not include "io/loop.h"'),
    ("io/a.c", '#include "core/pool.h"\n', 'io may not include "core/pool.h"'),
    ("io/a.c", "#include <ev.h>\n", "<ev.h> belongs to io/loop.c"),
    ("core/a.c", "#include <jansson.h>\n", "<jansson.h> belongs to io/ app/ ctl/"),
    ("ctl/a.c", '#include "io/loop.h"\n', 'ctl may not include "io/loop.h"'),
    ("base/a.c", "#include <zlib.h>\n", "does not know"),
    ("base/a.c", '#include "a.h"\n', "is not written as a path"),
    ("base/a.h", "int a(void);\n", "has no guard BASE_A_H"),
    ("misc/a.c", "", "misc/ is not a layer"),
])
def test_lint_refuses_an_include_against_the_layers(tmp_path, path, text, said):
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(text)
    done = subprocess.run([sys.executable, os.path.join(REPOSITORY, "packaging/lint/layers.py"), tmp_path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stdout


def test_lint_lets_core_join_policy_and_io(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core/a.c").write_text('#include <string.h>\n\n#include "io/loop.h"\n#include "policy/gate.h"\n')
    subprocess.run([sys.executable, os.path.join(REPOSITORY, "packaging/lint/layers.py"), tmp_path], check=True)


@pytest.fixture
def ordinary_machine(tmp_path):
    """PATH of a machine without installed packages, where we are neither root nor in sudoers."""
    for name, text in (("dpkg-query", "exit 1"), ("id", "echo 1000"), ("sudo", "exit 1"),
                       ("apt-get", "echo apt-get was called >&2; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_without_rights_one_line_names_the_missing_packages(ordinary_machine):
    done = subprocess.run([os.path.join(REPOSITORY, "packaging/deps.sh"), "demo"], env=ordinary_machine,
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "apt-get install" in done.stderr
    assert {"libev-dev", "libpq-dev", "python3-pycurl", "python3-aiohttp"} <= set(done.stderr.split())


def test_an_unknown_set_of_packages_is_refused():
    done = subprocess.run([os.path.join(REPOSITORY, "packaging/deps.sh"), "everything"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert "no set is called everything" in done.stderr
