"""A configuration with a mistake is refused with file, line, key and what is allowed; nothing has begun then."""

import os
import pwd
import subprocess

import pytest

from fake_pool import WORKING
from harness import place

EXIT_CONFIG = 78


class Place:
    """A folder with an ini, and proctord to read it."""

    def __init__(self):
        self.folder = place.make_folder("config")
        self.path = f"{self.folder}/proctor.ini"

    def write(self, text, mode=0o644):
        with open(self.path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(self.path, mode)
        return self

    def proctord(self, *words, environment=None):
        return subprocess.run([f"{place.installation()}/sbin/proctord", "--config", self.path, *words], text=True,
                              capture_output=True, check=False, timeout=20, cwd="/",
                              env={"PATH": "/usr/bin:/bin", **(environment or {})})


@pytest.fixture
def ini():
    made = Place()
    yield made
    place.remove_folder(made.folder)


def assert_refused(done, *said):
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for text in said:
        assert text in done.stderr


@pytest.mark.parametrize("text, line, said", [
    ("[demon]\n", 1, "[demon]: unknown section; allowed are [daemon], [database]"),
    ("[demon]\n", 1, "the nearest: daemon"),
    ("[provider:opnai]\n", 1, "[provider:opnai]: unknown provider; allowed are openai, anthropic"),
    ("[pool:Probe]\n", 1, "a name has 1 to 32 of a-z"),
    ("[daemon:x]\n", 1, "[daemon:x]: unknown section"),
    ("[daemon]\ncolour = red\n", 2, "[daemon] colour: unknown key; allowed are state_dir, run_dir"),
    ("; a comment\n\n[pool:probe]\nsise = 2\n", 4,
     "[pool:probe] sise: unknown key; allowed are group, providers, command, size"),
    ("; a comment\n\n[pool:probe]\nsise = 2\n", 4, "the nearest: size"),
    ("[pool:probe]\nsize = two\n", 2, "[pool:probe] size: 'two' is not a whole number from 1 to 1024"),
    ("[pool:probe]\nsize = 2.5\n", 2, "[pool:probe] size: '2.5' is not a whole number"),
    ("[pool:probe]\nsize = 0\n", 2, "[pool:probe] size: '0' is not a whole number from 1 to 1024"),
    ("[pool:probe]\nsize = 1025\n", 2, "[pool:probe] size: '1025' is not a whole number from 1 to 1024"),
    ("[pool:probe]\nsize = 99999999999999999999\n", 2, "is not a whole number from 1 to 1024"),
    ("[pool:probe]\nsize =\n", 2, "[pool:probe] size: empty; allowed is a whole number"),
    ("[pool:probe]\nrequire_healthy = maybe\n", 2, "'maybe' is not yes or no"),
    ("[pool:probe]\nboot_timeout = 30\n", 2, "'30' is not a duration from 10ms to 1h, as 500ms"),
    ("[pool:probe]\nboot_timeout = 2h\n", 2, "'2h' is not a duration from 10ms to 1h"),
    ("[pool:probe]\nboot_timeout = -1s\n", 2, "'-1s' is not a duration"),
    ("[pool:probe]\nrestart_delay = 2m\n", 2,
     "restart_delay is 2m and restart_delay_max is 1m; the first may not be above"),
    ("[pool:probe]\nenvironment = OPENAI_API_KEY=sk-secret\n", 2, "no API key"),
    ("[pool:probe]\ncommand = python3 'unclosed\n", 2, "[pool:probe] command: not usable; allowed is a program"),
    ("[daemon]\nlog_level = chatty\n", 2, "'chatty' is not one of error, warning, info, debug"),
    ("[daemon]\nstate_dir = relative/path\n", 2, "'relative/path' is not an absolute path"),
    ("[daemon]\nrun_dir = /" + "x" * 105 + "\n", 2, "too long for a socket in it"),
    ("[control]\nmode = 0999\n", 2, "'0999' is not an octal mode such as 0660"),
    ("[database]\nurl = mysql://x\n", 2, "[database] url: not usable; allowed is embedded, postgresql://"),
    ("[database]\nshared = yes\n", 2, "yes needs a server that all nodes reach"),
    ("[service:db]\ntype = permanent\n", 1, "[service:db] command: empty; a service must have a program to run"),
    ("[provider:openai]\nbase_url = ftp://x\n", 2, "[provider:openai] base_url: not usable; allowed is http://HOST"),
    ("[provider:openai]\nconcurrency = many\n", 2, "'many' is not a whole number"),
    ("[provider:openai]\ntokens_per_minute = 30k\n", 2,
     "[provider:openai] tokens_per_minute: '30k' is not a whole number"),
    ("[provider:openai]\nbudget_usd_per_day = $5\n", 2, "'$5' is not US dollars from 0 to 1000000"),
    ("[provider:mistral]\nrequests_window = 5m\n", 2, "'5m' is not a duration from 1s to 1m"),
    ("[limit:opnai/gpt-4*]\nburst = 1\n", 1, "[limit:opnai/gpt-4*]: unknown provider; allowed are openai"),
    ("[limit:openai]\nburst = 1\n", 1, "is no glob of models; allowed is text with * and ?"),
    ("[limit:openai/gpt-4*]\n", 1, "[limit:openai/gpt-4*]: it sets nothing"),
    ("[limit:openai/gpt*]\nconcurrency = 1\n[limit:openai/gpt-4*]\nconcurrency = 2\n", 4,
     "[limit:openai/gpt-4*] concurrency: [limit:openai/gpt*] above matches all these models"),
    ("[retry]\nmax_tries = 0\n", 2, "'0' is not a whole number from 1 to 100"),
    ("[retry]\nbase_delay = 2h\n", 2, "is not a duration"),
    ("[daemon]\nlog_level = info\n[daemon]\nlog_level = debug\n", None, "[daemon]"),
    ("[daemon]\nlog_level = info\nlog_level = debug\n", 3, "log_level"),
    ("size = 2\n", 1, "section"),
    ("[daemon\n", 1, ""),
    ("[daemon]\nno equals sign\n", 2, ""),
    ("[daemon]\nkey_file = /" + "k" * 20_000 + "\n", 2, "bytes"),
    ("[" + "s" * 5000 + "]\n", 1, ""),
    (b"[daemon]\nuser = \xff\xfe\n", 2, "UTF-8"),
    (b"[daemon]\nuser = a\x00b\n", 2, "NUL"),
], ids=lambda value: repr(value[:50]) if isinstance(value, (str, bytes)) and len(str(value)) > 3 else "")
def test_a_mistake_is_named_by_file_line_key_and_what_is_allowed(ini, text, line, said):
    done = ini.write(text).proctord()
    assert_refused(done, f"{ini.path}:{line}: " if line else ini.path, said)


def test_only_the_first_bytes_of_a_wrong_value_are_quoted(ini):
    done = ini.write("[daemon]\nlog_level = " + "x" * 4000 + "\n").proctord()
    assert_refused(done, "[daemon] log_level: 'xxx")
    assert len(done.stderr) < 500


def test_a_mistake_leaves_nothing_behind(ini):
    ini.write(f"[daemon]\nstate_dir = {ini.folder}/state\nrun_dir = {ini.folder}/run\n[pool:probe]\nsize = 0\n")
    assert_refused(ini.proctord(), "size")
    assert os.listdir(ini.folder) == ["proctor.ini"]


@pytest.mark.parametrize("words, status", [(["--check-config"], EXIT_CONFIG), (["--print-config"], EXIT_CONFIG)])
def test_check_config_says_the_same_without_starting(ini, words, status):
    done = ini.write("[pool:probe]\nsize = none\n").proctord(*words)
    assert done.returncode == status
    assert f"{ini.path}:2: [pool:probe] size: 'none' is not a whole number from 1 to 1024" in done.stderr


def test_check_config_passes_a_good_file_and_starts_nothing(ini):
    ini.write(f"[daemon]\nstate_dir = {ini.folder}/state\nrun_dir = {ini.folder}/run\n")
    done = ini.proctord("--check-config")
    assert (done.returncode, done.stdout) == (0, f"{ini.path}: good\n")
    assert os.listdir(ini.folder) == ["proctor.ini"]


def test_the_sample_is_a_good_configuration_and_changes_no_default(ini):
    sample = ini.proctord("--sample-config").stdout
    assert ini.write(sample).proctord("--check-config").returncode == 0
    shown = ini.proctord("--print-config").stdout
    assert shown.replace(ini.path, "") == ini.write("").proctord("--print-config").stdout.replace(ini.path, "")


def test_what_print_config_writes_is_a_good_configuration(ini):
    shown = ini.write("[pool:probe]\nsize = 7\nenvironment = A=1 'B=two words'\n").proctord("--print-config").stdout
    assert "size = 7" in shown
    assert ini.write(shown).proctord("--check-config").returncode == 0
    assert without_origin(ini.proctord("--print-config").stdout) == without_origin(shown)


def without_origin(shown):
    return [line.partition(" ; ")[0] for line in shown.splitlines()]


def test_a_file_that_is_not_there_is_named(ini):
    assert_refused(ini.proctord(), f"{ini.path}: ", "No such file or directory")


def test_long_values_are_taken_whole(ini):
    words = " ".join(f"V{number}={'x' * 50}" for number in range(60))
    shown = ini.write(f"[pool:probe]\nenvironment = {words}\n").proctord("--print-config")
    assert shown.returncode == 0, shown.stderr
    assert words in shown.stdout


def test_a_value_goes_on_in_indented_lines(ini):
    shown = ini.write("[pool:probe]\nenvironment = A=1\n    B=2\n    C=3\n").proctord("--print-config").stdout
    assert "environment = A=1 B=2 C=3" in shown


def with_keys(ini, text, mode):
    path = f"{ini.folder}/keys.env"
    with open(path, "wb") as file:
        file.write(text)
    os.chmod(path, mode)
    ini.write(f"[daemon]\nkey_file = {path}\n")
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_file_that_others_may_read_is_refused_with_the_remedy(ini, mode):
    path = with_keys(ini, b"OPENAI_API_KEY=sk-hidden\n", mode)
    done = ini.proctord("--check-config")
    assert_refused(done, f"{path}: others may read the keys in it (mode {mode:04o}); run: chmod 600 {path}")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_key_file_is_taken(ini, mode):
    with_keys(ini, b"# my keys\nexport OPENAI_API_KEY='sk-1'\n\nGOOGLE_API_KEY=\"a b\"  # comment\n", mode)
    assert ini.proctord("--check-config").returncode == 0


@pytest.mark.parametrize("text, line, said", [
    (b"OPENAI_API_KEY\n", 1, "not NAME=value"),
    (b"A=1\n2B=sk-hidden\n", 2, "not NAME=value"),
    (b"A=1\n\nB='sk-hidden\n", 3, "B: the quote is not closed"),
    (b"A=\"sk-hidden\" more\n", 1, "A: text behind the closing quote"),
    (b"A=" + b"s" * 100_000 + b"\n", 1, "a line has at most"),
])
def test_a_mistake_in_the_key_file_is_named_without_its_value(ini, text, line, said):
    path = with_keys(ini, text, 0o600)
    done = ini.proctord("--check-config")
    assert_refused(done, f"{path}:{line}: ", said)
    assert "sk-hidden" not in done.stderr


def test_a_key_file_that_is_not_there_is_named(ini):
    ini.write("[daemon]\nkey_file = /nowhere/keys.env\n")
    assert_refused(ini.proctord("--check-config"), "/nowhere/keys.env: cannot be read: No such file or directory")


@pytest.mark.parametrize("words, said", [
    (["--frobnicate"], "Try 'proctord --help'"),
    (["stray"], 'unexpected argument "stray"'),
])
def test_bad_usage_is_told_and_ends_with_2(ini, words, said):
    done = ini.write("").proctord(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_help_and_version_need_no_configuration(ini):
    assert "Usage: proctord" in ini.proctord("--help").stdout
    assert ini.proctord("--version").stdout.startswith("proctord 0.")


# Beyond the file: what the configuration names must be usable.

def start_and_fail(make_daemon, make_fake, **daemon):
    process = make_daemon({**make_fake(WORKING).ini(), "daemon": daemon}, start=False)
    assert process.spawn().wait_exit() == 1
    lines = [line for line in process.log_lines() if "daemon.failed" in line]
    assert len(lines) == 1, process.log()
    return lines[0]


def test_a_state_folder_that_cannot_be_made_is_told_with_the_remedy(make_daemon, make_fake):
    line = start_and_fail(make_daemon, make_fake, state_dir="/proc/version/state")
    assert "[daemon] state_dir: /proc/version/state cannot be made: Not a directory; make it, or choose" in line


def test_a_state_folder_that_is_not_writable_is_told_and_left_alone(make_daemon, make_fake):
    folder = place.make_folder("theirs")
    os.chown(folder, os.geteuid(), -1)
    os.chmod(folder, 0o555)
    line = start_and_fail(make_daemon, make_fake, state_dir=folder)
    assert f"[daemon] state_dir: {folder} is not writable by uid" in line
    assert "chown it to that user, or choose another folder" in line
    assert os.stat(folder).st_uid == os.geteuid(), "its owner was changed"
    assert os.listdir(folder) == []
    place.remove_folder(folder)


def test_a_user_that_is_not_there_matters_to_root_alone(make_daemon, make_fake):
    if not place.is_root():
        make_daemon({**make_fake(WORKING).ini(), "daemon": {"user": "nosuchuser"}}).wait_ready()
        return
    line = start_and_fail(make_daemon, make_fake, user="nosuchuser")
    assert 'there is no user "nosuchuser" on this system; make it (useradd --system nosuchuser)' in line


def test_it_runs_as_the_user_and_never_as_root(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    wanted = str(pwd.getpwnam(place.run_user()).pw_uid)
    for pid in daemon.all_pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            ids = next(line.split()[1:] for line in status if line.startswith("Uid:"))
        assert ids == [wanted] * 4


def test_config_show_tells_values_and_where_they_come_from(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini(boot_timeout="7s")).wait_ready()
    shown = {(item["section"], item["key"]): item for item in daemon.call("config.show")["items"]}
    boot = shown["pool:probe", "boot_timeout"]
    assert (boot["value"], boot["source"], boot["live"]) == ("7s", "file", True)
    with open(daemon.ini_path, encoding="utf-8") as file:
        assert file.read().splitlines()[boot["line"] - 1] == "boot_timeout = 7s"
    assert shown["retry", "max_tries"]["source"] == "default"
    only = daemon.call("config.show", section="retry")["items"]
    assert {item["section"] for item in only} == {"retry"}


def test_config_check_by_the_socket_names_the_mistake_and_the_changes(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    answer = daemon.call("config.check", name="new.ini", text="[pool:probe]\nsize = 0\n")
    assert answer["valid"] is False
    assert answer["error"].startswith("new.ini:2: [pool:probe] size: '0' is not")
    daemon.write_ini({"pool:probe": {"size": 2}, "control": {"max_clients": 70}})
    answer = daemon.call("config.check")
    assert answer["valid"] is True
    assert sorted((change["section"], change["key"], change["live"]) for change in answer["changes"]) == [
        ("control", "max_clients", False), ("pool:probe", "size", True)]
    assert len(daemon.workers()) == 1, "checking changed something"
