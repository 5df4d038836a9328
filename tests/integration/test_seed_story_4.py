"""User story 4 of the walk: the workers' Python environment is checked."""

import json
import platform
import subprocess

import pytest

from probing import KEYS, run_program, worker_program

pytest_plugins = ["probe_fixtures"]

PROGRAM = "health_check.py"


def check(environment=None, python=("/usr/bin/python3",)):
    done = run_program(worker_program(PROGRAM), "{}", environment, python)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter that sees none of Debian's packages."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python3")


def test_story_4_health_check_tells_python_packages_and_keys():
    found = check({"OPENAI_API_KEY": "k", "GOOGLE_API_KEY": "k"})
    assert found["success"] is True
    assert found["python_version"] == subprocess.run(
        ["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"],
        capture_output=True, text=True, check=True).stdout.strip()
    assert found["packages"]["pycurl"][0].isdigit()
    assert {name: found["api_keys"][name] for name in ("openai", "anthropic", "google")} == \
        {"openai": True, "anthropic": False, "google": True}


def test_story_4_health_check_shows_no_key():
    done = run_program(worker_program(PROGRAM), "{}", KEYS)
    assert not any(key in done.stdout + done.stderr for key in KEYS.values())
    assert set(json.loads(done.stdout)["api_keys"].values()) == {True}


def test_story_4_no_key_at_all_is_a_warning_not_a_failure():
    found = check()
    assert found["success"] is True
    assert set(found["api_keys"].values()) == {False}
    assert any("_API_KEY" in warning for warning in found["warnings"])


def test_story_4_missing_package_is_reported_with_the_install_command(bare_python):
    found = check(python=[bare_python])
    assert found["success"] is False
    assert found["python_version"].startswith(platform.python_version().rpartition(".")[0][:2])
    text = json.dumps(found)
    assert "pycurl" in text
    assert f"{bare_python} -m pip install -r {worker_program('requirements.txt')}" in text


def test_story_4_missing_package_of_debians_python_is_told_with_apts_command():
    found = check(python=["/usr/bin/python3", "-S"])
    assert found["success"] is False and found["packages"]["pycurl"] is None
    assert "apt-get install python3-pycurl" in json.dumps(found)


def test_story_4_the_daemon_tells_the_last_verdict(proctor):
    told = proctor.ctl("health", "--now")
    assert told["environment"]["known"] and told["environment"]["healthy"], told
    assert proctor.ctl("status")["environment"]["healthy"]


def test_story_4_the_daemon_tells_which_keys_are_set(make_proctor):
    with make_proctor(keys={"OPENAI_API_KEY": "k"}) as proctor:
        told = proctor.ctl("health", "--now")
        report = told["environment"]["report"]
        assert report["api_keys"]["openai"] is True and report["api_keys"]["mistral"] is False
