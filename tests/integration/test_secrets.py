"""Planted secrets are found where they belong, and nowhere else."""

import os
import re
import stat
import subprocess

import pytest

from fake_pool import WORKING
from harness import place
from harness.control import ControlError
from harness.proctor import KEY_VARIABLES
from harness.simulator import PROVIDERS
from harness.terminal import Terminal
from scrape import free_port, get, listening

PASSWORD = "planted-password-7f3a"
MODELS = dict(zip(PROVIDERS, ("gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat",
                              "mistral-large")))
KEYS = {variable: f"bad-planted-{variable.lower().replace('_api_key', '')}-5e1c" for variable in KEY_VARIABLES}
HOOK_PATH = "planted-hook-path-88c2"
HOOK = {"HOOK_SECRET": "planted-hook-secret-41d0", "HOOK_URL": f"http://127.0.0.1:9/{HOOK_PATH}"}
SECRETS = [PASSWORD, HOOK_PATH, HOOK["HOOK_SECRET"], *KEYS.values()]
COMMAND_ROWS = os.path.join(os.path.dirname(__file__), "..", "..", "supervisor", "io", "command_rows.c")


def assert_clean(text, where):
    found = [secret for secret in SECRETS if secret in text]
    assert found == [], f"{where} tells {found}"


@pytest.fixture
def loaded(make_daemon, databases, simulator, start_run):
    """A daemon that has seen every secret, every provider's refusal of its key, a run of failures, and a webhook that
    nobody answers."""
    url = databases.take().replace("proctor@", f"proctor:{PASSWORD}@")
    port = free_port()
    daemon = make_daemon({**simulator.ini(requests_per_minute=0), "database": {"url": url}, **listening(port),
                          "alert:ops": {"url_env": "HOOK_URL", "secret_env": "HOOK_SECRET"},
                          "pool:probe": {"size": 2, "ping_interval": "100ms"}}, keys={**KEYS, **HOOK}).wait_ready()
    daemon.port = port
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


def commands():
    """The names of all, as the table has them."""
    with open(COMMAND_ROWS, encoding="utf-8") as rows:
        return re.findall(r"\[COMMAND_\w+\] = \{\s+\.name = \"([a-z.-]+)\"", rows.read())


def words_of_all(daemon):
    """{command: [words of a command line of it, and more of them]}, in an order in which each has something to do."""
    run = daemon.run_id
    job = daemon.ctl("jobs", run, "--state", "failed", "--limit", 1)["items"][0]["jobId"]
    worker = "probe/1"
    os.kill(daemon.worker_pids()[0], 9)
    daemon.wait_log("worker.exit")
    crash = place.wait_until(lambda: daemon.ctl("crashes")["items"], 15, "a crash to be recorded")[0]["id"]
    definition = os.path.join(daemon.folder, "definition.yaml")
    with open(definition, "w", encoding="utf-8") as file:
        file.write("name: another\nscenarios:\n  - prompt: Say yes.\n")
    return {
        "version": [], "help": [], "completion": ["bash"], "status": [], "tree": [], "metrics": [], "spool": [],
        "health": ["--now"], "alerts": [], "alerts.test": ["ops"], "log-level": ["debug"],
        "workers.list": [], "workers.show": [worker], "crashes": [], "crashes.show": [crash],
        "providers.list": [], "providers.show": ["openai"], "providers.pause": ["openai", "--reason", "lunch"],
        "providers.resume": ["openai"], "services.stop": ["probe"], "services.start": ["probe"],
        "definition.import": [definition], "definition.list": [], "definition.show": ["another"],
        "run.start": ["another", "--models", "gpt-4"], "run.list": [], "run.show": [run], "run.watch": [run],
        "run.pause": ["latest"], "run.resume": ["latest"], "run.retry": [run], "run.cancel": [run],
        "transcripts.list": [run], "transcripts.show": [job], "transcripts.export": [run], "jobs": [run],
        "events": ["--limit", "1000"], "config.show": [], "config.check": [daemon.ini_path],
        "psql": ["--", "-c", "SELECT * FROM outcomes"], "backup": [os.path.join(daemon.folder, "backup")],
        "restore": [os.path.join(daemon.folder, "backup"), "--yes"], "workers.restart": [worker],
        "workers.scale": ["3"], "run.delete": [run, "--force"], "reload": [], "upgrade": [], "shutdown": [],
    }


def test_no_command_tells_a_secret_in_any_form(loaded):
    """Each of the table, as text and as JSON: what it prints, and what it complains of."""
    words = words_of_all(loaded)
    elsewhere = {"top", "definition.append", "database.hold", "config.database"}
    assert sorted([*words, *elsewhere]) == sorted(commands()), "every command of the table is asked here"
    with Terminal(f"{loaded.root}/bin/proctorctl", "--socket", loaded.socket_path, "top") as terminal:
        terminal.wait("gpt-4|openai")
        assert_clean(terminal.text(), "top")
    for command in ("definition.append", "database.hold"):
        with pytest.raises(ControlError) as refused:
            loaded.call(command)
        assert_clean(str(refused.value), command)
    for command, args in words.items():
        for form in ([], ["--json"]):
            done = loaded.proctorctl(*form, *command.split("."), *args)
            assert done.returncode != 2, f"the command line is right: {command}: {done.stderr}"
            assert_clean(done.stdout + done.stderr, f"{command} {form}")
    loaded.process.wait(20)
    for name in everything_below(loaded.folder):
        with open(name, "rb") as file:
            assert_clean(file.read().decode("latin-1"), name)


def everything_below(folder):
    """Files but for those that secrets are kept in."""
    found = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    kept = {os.path.join(folder, name) for name in ("proctor.ini", "keys.env")}
    return [name for name in found if name not in kept and stat.S_ISREG(os.lstat(name).st_mode)]


def test_what_connects_to_the_database_is_for_admins_alone():
    """The only command whose answer has a password in it: psql and pg_dump need it."""
    with open(COMMAND_ROWS, encoding="utf-8") as rows:
        assert re.search(r'\.name = "config\.database",\s+\.role = COMMAND_ADMIN', rows.read())


def test_metrics_over_http_hold_no_secret(loaded):
    for path in ("/metrics", "/healthz", "/readyz"):
        assert_clean(str(get(loaded.port, path)), path)


def test_the_log_holds_no_secret_at_any_level(loaded):
    loaded.write_keys({**KEYS, **HOOK, "OPENAI_API_KEY": KEYS["OPENAI_API_KEY"] + "-new"})
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


def test_what_is_kept_is_for_its_owner_alone(make_daemon, simulator, start_run):
    """Whatever the umask is. The sockets of the daemon and of Postgres are what others are let in by."""
    before = os.umask(0)
    try:
        daemon = make_daemon({**simulator.ini(requests_per_minute=0), "database": {"url": "embedded"},
                              "alert:ops": {"url_env": "HOOK_URL"}}, keys={**KEYS, **HOOK}).wait_ready()
    finally:
        os.umask(before)
    daemon.wait_run(start_run(daemon, ["one"]), "FAILED")
    daemon.ctl("upgrade")
    daemon.ctl("backup", os.path.join(daemon.folder, "state", "backup"))
    modes = {}
    for top in ("state", "run"):
        for parent, folders, names in os.walk(os.path.join(daemon.folder, top)):
            for path in [os.path.join(parent, name) for name in folders + names] + [parent]:
                modes[os.path.relpath(path, daemon.folder)] = os.lstat(path).st_mode
    assert len(modes) > 1000 and any(name.startswith("state/spool/") for name in modes), sorted(modes)
    assert stat.S_IMODE(modes.pop("run")) == 0o755, "the way to the control socket"
    open_to_others = {name: oct(mode) for name, mode in modes.items()
                      if stat.S_IMODE(mode) & 0o077 and not stat.S_ISSOCK(mode) and not stat.S_ISLNK(mode)}
    assert open_to_others == {}


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
