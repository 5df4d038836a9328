"""health_check.py: the seed's object, under any Python."""

import json
import os
import subprocess
import sys

import pytest

from conftest import KEY, KEY_VARIABLES, PYTHON, WORKERS, environment

HEALTH_CHECK = os.path.join(WORKERS, "health_check.py")


def check(environ=None, python=PYTHON, script=HEALTH_CHECK):
    done = subprocess.run([python, script], input=b"{}\n", capture_output=True,
                          env=environment() if environ is None else environ)
    assert done.returncode == 0, done.stderr
    assert KEY.encode() not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_healthy_environment():
    verdict = check(environment(keys=("openai", "google")))
    assert verdict["success"] is True and verdict["errors"] == [] and verdict["warnings"] == []
    assert verdict["python_version"].startswith("3.") and verdict["packages"]["pycurl"].startswith("7.")
    assert verdict["api_keys"] == {name: name in ("openai", "google") for name in KEY_VARIABLES}


def test_no_key_at_all_is_only_a_warning():
    verdict = check(environment(keys=()))
    assert verdict["success"] is True and not any(verdict["api_keys"].values())
    assert "OPENAI_API_KEY" in verdict["warnings"][0] and "key_file" in verdict["warnings"][0]


def test_a_blank_key_is_no_key():
    assert check(environment(keys=(), OPENAI_API_KEY=" "))["api_keys"]["openai"] is False


def test_key_variables_of_ones_own_are_honoured():
    named = '{"openai":{"key_env":"MY_KEY"}}'
    assert check(environment(keys=("openai",), PROCTOR_PROVIDERS=named))["api_keys"]["openai"] is False
    verdict = check(environment(keys=(), PROCTOR_PROVIDERS=named, MY_KEY=KEY))
    assert verdict["api_keys"]["openai"] is True
    assert "MY_KEY" in check(environment(keys=(), PROCTOR_PROVIDERS=named))["warnings"][0]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The python of a venv without packages."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python3")


def test_a_missing_package_is_told_with_the_command_that_mends_it(bare_python):
    verdict = check(python=bare_python)
    assert verdict["success"] is False and verdict["packages"] == {"pycurl": None}
    assert f"{bare_python} -m pip install -r {WORKERS}/requirements.txt" in verdict["errors"][0]


def test_a_worker_without_its_package_ends_with_a_reason(bare_python):
    done = subprocess.run([bare_python, os.path.join(WORKERS, "probe.py"), "--serve"], capture_output=True,
                          stdin=subprocess.DEVNULL, env=environment())
    assert done.returncode == 78 and json.loads(done.stdout)["type"] == "hello"
    assert b"pycurl" in done.stderr and b"health_check.py" in done.stderr
    done = subprocess.run([bare_python, os.path.join(WORKERS, "probe.py")], capture_output=True,
                          input=b"{}", env=environment())
    assert done.returncode == 0 and "health_check.py" in json.loads(done.stdout)["error"]["message"]


def run_with(prelude):
    """The verdict of a health check whose interpreter was changed first."""
    program = (f"import sys, runpy\n{prelude}\nsys.argv = ['health_check.py']\n"
               f"runpy.run_path({HEALTH_CHECK!r}, run_name='__main__')")
    done = subprocess.run([PYTHON, "-c", program], capture_output=True, env=environment())
    return json.loads(done.stdout)


def test_without_a_venv_the_debian_package_is_named():
    verdict = run_with("sys.modules['pycurl'] = None; sys.executable = '/usr/bin/python3'")
    assert verdict["success"] is False and "apt-get install python3-pycurl" in verdict["errors"][0]


def test_an_old_python_is_an_error():
    verdict = run_with("sys.version_info = (3, 9, 2)")
    assert verdict["success"] is False and "3.10 or newer" in verdict["errors"][0]


def test_a_bad_models_file_or_environment_is_an_error(tmp_path):
    bad = tmp_path / "models.ini"
    bad.write_text("[prefixes]\nopnai = x\n")
    for more, words in ((dict(PROCTOR_MODELS=str(bad)), "opnai"),
                        (dict(PROCTOR_CAPACITY="x"), "PROCTOR_CAPACITY"),
                        (dict(PROCTOR_PROVIDERS="{"), "PROCTOR_PROVIDERS"),
                        (dict(PROCTOR_PROVIDERS="[1]"), "PROCTOR_PROVIDERS")):
        verdict = check(environment(**more))
        assert verdict["success"] is False and words in verdict["errors"][0]


def test_only_the_standard_library_is_imported_at_its_top():
    program = (f"import sys; sys.path.insert(0, {WORKERS!r}); import health_check\n"
               "print('pycurl' in sys.modules or 'proctor' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_help_and_usage():
    shown = subprocess.run([PYTHON, HEALTH_CHECK, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "usage: health_check.py" in shown.stdout
    assert subprocess.run([PYTHON, HEALTH_CHECK, "x"], capture_output=True).returncode == 64
