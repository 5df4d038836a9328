"""Planted secrets are found where they belong, and nowhere else."""

import os
import subprocess

import pytest

from fake_pool import WORKING
from harness.proctor import KEY_VARIABLES
from harness.simulator import PROVIDERS

PASSWORD = "planted-password-7f3a"
MODELS = dict(zip(PROVIDERS, ("gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat",
                              "mistral-large")))
KEYS = {variable: f"bad-planted-{variable.lower().replace('_api_key', '')}-5e1c" for variable in KEY_VARIABLES}
SECRETS = [PASSWORD, *KEYS.values()]


def assert_clean(text, where):
    found = [secret for secret in SECRETS if secret in text]
    assert found == [], f"{where} tells {found}"


@pytest.fixture
def loaded(make_daemon, databases, simulator, start_run):
    """A daemon that has seen every secret, every provider's refusal of its key, and a run of failures."""
    url = databases.take().replace("proctor@", f"proctor:{PASSWORD}@")
    daemon = make_daemon({**simulator.ini(requests_per_minute=0), "database": {"url": url},
                          "pool:probe": {"size": 2, "ping_interval": "100ms"}}, keys=KEYS).wait_ready()
    run = start_run(daemon, ["one", "two"], models=list(MODELS.values()))
    daemon.wait_run(run, "FAILED")
    daemon.run_id = run
    yield daemon
    databases.give_back(url)


def test_refused_keys_are_named_by_their_variable_and_never_shown(loaded):
    failed = loaded.call("jobs", run=loaded.run_id, state="failed", limit=100)["items"]
    assert len(failed) == 12
    for job in failed:
        assert job["error"]["code"] == "AUTH_ERROR"
    assert_clean(str(failed), "jobs")
    assert_clean(str(loaded.call("run.show", run=loaded.run_id)), "run.show")


def test_no_answer_of_the_socket_holds_a_secret(loaded):
    for command, args in (("status", {}), ("workers.list", {}), ("providers.list", {}), ("health", {"now": True}),
                          ("config.show", {}), ("config.check", {}), ("events", {"limit": 1000}), ("reload", {}),
                          ("run.list", {}), ("jobs", {})):
        assert_clean(str(loaded.call(command, **args)), command)


def test_the_log_holds_no_secret_at_any_level(loaded):
    loaded.write_keys({**KEYS, "OPENAI_API_KEY": KEYS["OPENAI_API_KEY"] + "-new"})
    loaded.call("reload")
    loaded.wait_log("pool.rolled", 20)
    loaded.stop()
    with open(os.path.join(loaded.folder, "proctord.log"), encoding="utf-8", errors="replace") as log:
        assert_clean(log.read(), "the log")


def test_no_command_line_holds_a_secret(loaded):
    for pid in loaded.all_pids():
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as words:
            assert_clean(words.read(), f"argv of {pid}")


def test_the_database_holds_no_secret(loaded):
    url = loaded.sections["database"]["url"].replace(f":{PASSWORD}@", "@")
    done = subprocess.run(["pg_dump", "--data-only", url], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "AUTH_ERROR" in done.stdout
    assert_clean(done.stdout, "the database")


def test_workers_get_keys_and_no_database_password(loaded):
    for pid in loaded.worker_pids():
        with open(f"/proc/{pid}/environ", encoding="utf-8") as environment:
            text = environment.read()
        assert KEYS["OPENAI_API_KEY"] in text, "this is how they get it"
        assert PASSWORD not in text


def test_print_config_and_check_config_hide_the_password(loaded):
    for word in ("--print-config", "--check-config"):
        done = subprocess.run([f"{loaded.root}/sbin/proctord", "--config", loaded.ini_path, word], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert_clean(done.stdout + done.stderr, word)
    shown = loaded.call("config.show", section="database")["items"]
    assert "proctor:***@" in next(item["value"] for item in shown if item["key"] == "url")


@pytest.mark.parametrize("url", [
    f"postgresql://proctor:{PASSWORD}@127.0.0.1:1/nowhere",
    f"postgresql://proctor:{PASSWORD}@no.such.host.invalid/nowhere",
    f"host=127.0.0.1 port=1 user=proctor password={PASSWORD} dbname=x",
    f"postgresql://127.0.0.1:1/x?user=proctor&password={PASSWORD}",
], ids=["refused", "unknown_host", "conninfo", "in_the_query"])
def test_a_database_that_cannot_be_reached_is_told_without_the_password(make_daemon, make_fake, url):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": url}})
    daemon.wait_log("store.waiting|store.down")
    assert_clean(str(daemon.call("status")) + str(daemon.call("config.show")), "an answer")
    assert_clean(daemon.log(10_000), "the log")


@pytest.mark.parametrize("url", [
    f"postgresql://proctor:{PASSWORD}@[::1/broken",
    f"postgresql://proctor:{PASSWORD}@127.0.0.1:1/x?nonsense={PASSWORD}",
    f"user=proctor password=two {PASSWORD}",
], ids=["address", "parameter", "blank"])
@pytest.mark.parametrize("given", ["ini", "key_file", "environment"])
def test_a_malformed_database_url_is_refused_without_the_password(make_daemon, make_fake, url, given):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": url} if given == "ini" else {}}, start=False,
                         keys={"DATABASE_URL": f'"{url}"'} if given == "key_file" else None,
                         environment={"DATABASE_URL": url} if given == "environment" else None)
    assert daemon.spawn().wait_exit() == 78
    assert len(daemon.log_lines()) == 1
    where = f"{daemon.ini_path}:" if given == "ini" else "DATABASE_URL: "
    assert where in daemon.log()
    assert "libpq cannot read it; allowed is postgresql://USER@HOST/DATABASE" in daemon.log()
    assert_clean(daemon.log(), "the refusal")


def test_a_password_in_the_key_file_stays_there(make_daemon, make_fake, postgres):
    url = postgres.database().replace("proctor@", f"proctor:{PASSWORD}@")
    ini = {**make_fake(WORKING).ini(), "database": {"url": None}}
    daemon = make_daemon(ini, keys={"DATABASE_URL": url}).wait_ready()
    status = daemon.call("status")
    assert status["database"]["ready"] is True
    assert "proctor:***@" in status["database"]["url"], "the database in effect is shown"
    assert_clean(str(status) + str(daemon.call("config.show")) + daemon.log(10_000), "an answer or the log")
    for pid in daemon.worker_pids():
        with open(f"/proc/{pid}/environ", encoding="utf-8") as environment:
            assert_clean(environment.read(), "a worker's environment")


def test_other_children_get_no_keys(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": "embedded"},
                          "service:idle": {"command": "/bin/sleep 1000"}},
                         keys=KEYS, environment={"GOOGLE_API_KEY": KEYS["GOOGLE_API_KEY"]}).wait_ready()
    programs = set()
    for pid in set(daemon.all_pids()) - set(daemon.worker_pids()):
        try:
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as environment:
                text = environment.read()
        except FileNotFoundError:
            continue
        programs.add(program)
        if program != "proctord":  # which has what it was started with
            assert_clean(text, f"the environment of {program}")
    assert {"postgres", "sleep"} <= programs
