"""What people type: shortened ids, filters, columns, completion by Tab, a pager, and help when no daemon answers."""

import contextlib
import os
import re
import socket
import stat
import subprocess

import pytest

from harness import place
from harness.control import ControlError
from harness.terminal import Terminal
from probing import sql

pytest_plugins = ["client_fixtures"]


def common_beginning(ids):
    return os.path.commonprefix(sorted(ids))


def shortest(wanted, ids):
    """The shortest beginning that no other of the ids has."""
    others = [other for other in ids if other != wanted]
    return next(wanted[:size] for size in range(4, len(wanted) + 1)
                if not any(other.startswith(wanted[:size]) for other in others))


@pytest.fixture(scope="module")
def transcripts(shown):
    return [item["id"] for item in shown.daemon.ctl("transcripts", "list", shown.done)["items"]]


# ids


def test_the_shortest_beginning_that_no_other_has_is_an_id(shown, transcripts):
    runs = [shown.done, shown.failed, shown.queued]
    for run in runs:
        assert shown.daemon.ctl("run", "show", shortest(run, runs))["id"] == run
    definitions = [item["id"] for item in shown.daemon.ctl("definition", "list")["items"]]
    assert shown.daemon.ctl("definition", "show", shortest(shown.definition, definitions))["id"] == shown.definition
    for transcript in transcripts:
        assert shown.daemon.ctl("transcripts", "show", shortest(transcript, transcripts))["id"] == transcript


@pytest.mark.parametrize("words, what", [(("run", "show"), "run"), (("run", "delete"), "run"),
                                         (("definition", "show"), "definition"),
                                         (("transcripts", "show"), "transcript")],
                         ids=["run", "delete", "definition", "transcript"])
def test_a_beginning_that_several_have_lists_them_and_does_nothing(shown, transcripts, words, what):
    found = {"run": [shown.done, shown.failed, shown.queued], "transcript": transcripts,
             "definition": [item["id"] for item in shown.daemon.ctl("definition", "list")["items"]]}[what]
    beginning = common_beginning(found)
    refused = shown.run(*words, beginning)
    assert refused.returncode == 2
    first, *candidates = refused.stderr.splitlines()
    assert first == f"proctorctl: more than one {what} begins with '{beginning}'; give more of the id:"
    assert sorted(line.split()[0] for line in candidates) == sorted(found)
    assert refused.stdout == ""
    with pytest.raises(ControlError, match="AMBIGUOUS"):
        shown.daemon.call(".".join(words), **{what: beginning})
    assert len(shown.daemon.ctl("run", "list")["items"]) == 3


def test_more_candidates_than_ten_are_told_as_more(shown):
    """Names are shown as they are, but cannot drive the terminal."""
    made = [f"def_ambiguous{number:02}" for number in range(12)]
    for identity in made:
        sql(shown.daemon, "INSERT INTO definitions (id, name, version, complete) VALUES (%s, E'a\x1b[2Jb', %s, true)",
            identity, made.index(identity) + 1)
    try:
        refused = shown.run("run", "start", "def_ambig", "--models", "gpt-4")
        assert refused.returncode == 2
        lines = refused.stderr.splitlines()
        assert lines[1] == "  def_ambiguous11  a?[2Jb, version 12"
        assert len(lines) == 12 and lines[-1] == "  …"
    finally:
        sql(shown.daemon, "DELETE FROM definitions WHERE id LIKE %s", "def!_ambig%".replace("!", "\\"))


@pytest.mark.parametrize("words", [("run", "show", "run"), ("run", "show", "run%"), ("run", "show", "run_zzzz"),
                                   ("transcripts", "show", "trn_zzzz"), ("transcripts", "show", "t%__")],
                         ids=["too-short", "pattern", "none", "no-transcript", "transcript-pattern"])
def test_what_is_the_beginning_of_nothing_is_not_found(shown, words):
    refused = shown.run(*words)
    assert refused.returncode == 5
    assert "there is no " in refused.stderr


# filters and columns


@pytest.mark.parametrize("words, want", [
    (("--model", "gpt-4"), ["done"]), (("--model", "claude-3-opus"), ["queued"]), (("--active",), ["queued"]),
    (("--definition", "dilemmas"), ["queued"]), (("--definition", "cases"), ["failed", "done"]),
    (("--definition", "cases", "--status", "FAILED"), ["failed"]), (("--since", "1h", "--limit", "2"),
                                                                     ["queued", "failed"]),
    (("--since", "0"), []), (("--model", "nobody-asks-it"), [])],
    ids=["model", "other-model", "active", "definition", "versions", "both", "since", "now", "none"])
def test_runs_are_filtered(shown, words, want):
    names = {shown.done: "done", shown.failed: "failed", shown.queued: "queued"}
    assert [names[run["id"]] for run in shown.daemon.ctl("run", "list", *words)["items"]] == want


def test_a_filter_by_an_unknown_definition_or_pool_is_refused(shown):
    assert "there is no definition 'nothing'" in shown.run("run", "list", "--definition", "nothing").stderr
    assert 'there is no pool "nothing"' in shown.run("workers", "list", "--pool", "nothing").stderr
    assert "state is missing" in shown.run("jobs", "--model", "gpt-4").stderr


def test_other_lists_are_filtered_too(shown):
    def items(*words):
        return shown.daemon.ctl(*words)["items"]
    (found,) = items("transcripts", "list", shown.done, "--scenario", "case_1")
    assert found["scenarioKey"] == "case_1"
    assert items("transcripts", "list", shown.done, "--scenario", "case_9") == []
    found = items("jobs", "--state", "ready", "--model", "claude-3-opus")
    assert {item["modelId"] for item in found} == {"claude-3-opus"}
    assert items("jobs", "--state", "ready", "--model", "gpt-4") == []
    assert [item["worker"] for item in items("workers", "list", "--state", "ready", "--pool", "probe")] == ["probe/1"]
    assert items("workers", "list", "--state", "parked") == []
    assert [item["provider"] for item in items("providers", "list", "--state", "parked")] == ["anthropic"]
    assert [item["provider"] for item in items("providers", "list", "--waiting")] == ["anthropic"]


def test_events_are_filtered(shown):
    def kinds(*words):
        return [item["kind"] for item in shown.daemon.ctl("events", "--limit", "1000", *words)["items"]]
    assert {kind.partition(".")[0] for kind in kinds("--kind", "run.")} == {"run"}
    assert kinds("--kind", "run.finished", "--run", shown.failed) == ["run.finished"]
    assert kinds("--kind", "lane.paused", "--subject", "anthropic") == ["lane.paused"]
    assert kinds("--kind", "lane.paused", "--subject", "openai") == []
    of_pool = kinds("--subject", "probe")
    assert kinds("--subject", "probe/1") == [kind for kind in of_pool if kind.startswith("worker.")] != []
    assert kinds("--level", "error") == [] and kinds("--level", "info") == kinds("--level", "debug") == kinds()
    assert shown.lines("events", "--level", "error") == ["No such events."]
    refused = shown.run("events", "--level", "loud")
    assert refused.returncode == 2 and "debug" in refused.stderr
    refused = shown.run("events", "--follow", "--columns", "at")
    assert refused.returncode == 2


def test_followed_events_are_filtered_too(shown):
    with shown.daemon.connect() as reader:
        # With those of the hour: what is recorded before the reader is known is no other's.
        reader.send("events", {"follow": True, "kind": "pool.", "since": 3600000})
        shown.daemon.call("providers.pause", provider="xai", reason="nothing to do with it")
        shown.daemon.call("workers.scale", size=1)
        data = reader.read_answer()["data"]
        events = data if isinstance(data, list) else data.get("items", [data])
        assert {event["kind"] for event in events} == {"pool.resized"}
    shown.daemon.call("providers.resume", provider="xai")


LISTS = {
    "run list": ("status,id,finished", ["STATUS", "ID", "FINISHED"], 4),
    "run list --active": ("waitsFor,total", ["WAITING FOR", "TOTAL"], 2),
    "workers list": ("worker,memory-kb,python", ["WORKER", "MEMORY KB", "PYTHON"], 2),
    "providers list": ("provider,rate-limited,base-url", ["PROVIDER", "RATE LIMITED", "BASE URL"], 7),
    "definition list": ("name,version", ["NAME", "VERSION"], 4),
    "transcripts list latest": ("scenario", ["SCENARIO"], None),
    "jobs": ("ready,run", ["READY", "RUN"], None),
    "jobs --state ready --limit 2": ("lane,job", ["LANE", "JOB"], 3),
    "crashes": ("id,node", ["ID", "NODE"], None),
    "events --kind lane.paused --subject anthropic": ("kind,level,node", ["KIND", "LEVEL", "NODE"], 2),
    "config show database": ("key,value", ["KEY", "VALUE"], None),
}


@pytest.mark.parametrize("line", LISTS, ids=lambda line: line.replace(" ", "-"))
def test_columns_of_a_list_are_chosen_by_name(shown, line):
    names, titles, count = LISTS[line]
    lines = shown.lines(*line.split(), "--columns", names)
    if len(lines) == 1 and "  " not in lines[0]:
        assert line in ("transcripts list latest", "crashes")
        return
    assert re.split(" {2,}", lines[0].strip()) == titles
    assert count in (None, len(lines))


@pytest.mark.parametrize("line", LISTS, ids=lambda line: line.replace(" ", "-"))
def test_a_wrong_column_tells_those_that_there_are(shown, line):
    names, _, _ = LISTS[line]
    refused = shown.run(*line.split(), "--columns", "nonsense")
    assert refused.returncode == 2
    told = refused.stderr.partition("; there are ")[2].strip().split(", ")
    assert 'has no column "nonsense"' in refused.stderr
    assert {name for name in names.split(",") if name != "waitsFor"} <= set(told)
    # And every one of them is taken.
    assert shown.run(*line.split(), "--columns", ",".join(told)).returncode == 0


def test_columns_without_a_table_are_refused(shown):
    for words, said in ((("run", "list", "--json"), "--json has everything"), (("status",), "shows no list"),
                        (("run", "cancel", shown.queued), "shows no list")):
        refused = shown.run(*words, "--columns", "id")
        assert refused.returncode == 2
        assert said in refused.stderr
    assert not shown.daemon.ctl("run", "show", shown.queued)["cancelling"]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal(shown, columns):
    for words in (("run", "list"), ("providers", "list"), ("workers", "list"), ("jobs",), ("definition", "list"),
                  ("transcripts", "list", shown.done)):
        with Terminal(*shown.words(*words), columns=columns, lines=40) as terminal:
            assert terminal.wait_exit() == 0
            lines = terminal.screen()
        wanted = shown.lines(*words)
        # None is broken in two.
        assert len([line for line in lines if line]) == len([line for line in wanted if line]) + 1, lines
        assert lines[0].split()[0] == wanted[0].split()[0]


# completion


@contextlib.contextmanager
def interactive(shell, shown):
    """A shell as a person uses it, with completion set up."""
    begin = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    setting_up = {"bash": "eval \"$(proctorctl completion bash)\"",
                  "zsh": "autoload -U compinit; compinit -u -D; eval \"$(proctorctl completion zsh)\""}[shell]
    with Terminal(*begin, columns=120, environment={"PROCTOR_SOCKET": shown.daemon.socket_path}) as terminal:
        terminal.type(f"PATH={os.path.dirname(shown.client)}:$PATH; PS1='READY '; {setting_up}; clear; echo SET\n")
        terminal.wait("^SET\nREADY")
        yield terminal


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_commands_options_choices_and_ids(shown, shell):
    with interactive(shell, shown) as terminal:
        for line, want in (("run wat", "run watch"),
                           ("run list --stat", "run list --status"),
                           ("run list --status=PA", "run list --status=PAUSED"),
                           ("run start dil", "run start dilemmas"),
                           ("run start d --models gpt-4,no-", "run start d --models gpt-4,no-such-model"),
                           ("config show pool:", "config show pool:probe"),
                           ("workers show pro", "workers show probe/1"),
                           ("--socket /etc/host", "--socket /etc/host"),
                           (f"run show {shown.queued[:-1]}", f"run show {shown.queued}")):
            terminal.type(f"proctorctl {line}")
            terminal.wait(f"^READY proctorctl {re.escape(line)}$")
            terminal.keys("Tab")
            terminal.wait(f"^READY proctorctl {re.escape(want)}")
            terminal.keys("C-u")
            terminal.wait("^READY$")


def fish_completes(shown, line, environment=None):
    script = f"source (proctorctl completion fish | psub); complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": f"{os.path.dirname(shown.client)}:{os.environ['PATH']}",
                               "PROCTOR_SOCKET": shown.daemon.socket_path, **(environment or {})})
    assert done.stderr == ""
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def test_fish_completes_and_says_what_each_is(shown):
    assert fish_completes(shown, "proctorctl run wat") == [("watch", "Follow a run's progress until it ends")]
    assert fish_completes(shown, "proctorctl run list --status PA") == [("PAUSED",)]
    assert dict(fish_completes(shown, "proctorctl run show run_")) == {
        shown.queued: "dilemmas", shown.failed: "cases", shown.done: "cases"}
    assert ("/etc/",) in {found[:1] for found in fish_completes(shown, "proctorctl --socket /et")}


@pytest.mark.parametrize("socket_path", ["/nonexistent/sock", "/etc/passwd"])
def test_without_a_daemon_there_are_just_no_ids(shown, socket_path):
    done = subprocess.run([shown.client, "completion", "bash", "--", "run", "show", "r"], capture_output=True,
                          text=True, check=False, env={**os.environ, "PROCTOR_SOCKET": socket_path})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_daemon_that_hangs_holds_completion_up_for_less_than_a_few_seconds(shown):
    folder = place.make_folder("hang")
    path = os.path.join(folder, "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        done = subprocess.run([shown.client, "completion", "fish", "--", "--socket", path, "run", "show", ""],
                              capture_output=True, text=True, check=False, timeout=10)
    place.remove_folder(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# pager


def paged(shown, transcripts, pager, *words, **more):
    environment = {} if pager is None else {"PAGER": pager}
    with Terminal(*shown.words("transcripts", "show", transcripts[0], *words), lines=50,
                  environment={**environment, **more}) as terminal:
        assert terminal.wait_exit() == 0
        return [line for line in terminal.screen() if line][:-1]


def test_a_transcript_is_shown_by_the_pager_that_the_user_wants(shown, transcripts):
    plain = [line for line in shown.lines("transcripts", "show", transcripts[0]) if line]
    assert plain[0].startswith("Transcript ")
    lines = paged(shown, transcripts, "sed s/^/PAGED:/", "--color", "never")
    assert lines[0] == "PAGED:" + plain[0]
    for pager, words in (("cat", ()), ("", ()), ("/nonexistent/pager --x", ()), ("sed s/^/PAGED:/", ("--no-pager",))):
        assert paged(shown, transcripts, pager, *words, "--color", "never")[0] == plain[0], pager


def test_no_shell_has_a_part_in_paging(shown, transcripts):
    made = os.path.join(place.make_folder("pager"), "made-by-a-shell")
    paged(shown, transcripts, f"cat;touch {made}")
    paged(shown, transcripts, f"sed -n $(touch {made})")
    assert not os.path.exists(made)
    place.remove_folder(os.path.dirname(made))


def test_less_shows_what_is_longer_than_the_screen_and_ends_with_it(shown, transcripts):
    with Terminal(*shown.words("transcripts", "show", transcripts[0]), lines=8) as terminal:
        assert terminal.wait("^Transcript ").splitlines()[-1].startswith(":")
        terminal.keys("q")
        assert terminal.wait_exit() == 0


# first aid


def refused(path, words=("status",), **more):
    client = os.path.join(place.installation(), "bin", "proctorctl")
    done = subprocess.run([client, "--socket", path, *words], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 3
    assert done.stdout == ""
    return done.stderr


def test_without_a_socket_the_service_and_another_socket_are_named():
    said = refused("/nonexistent/proctor.sock")
    assert said.startswith("proctorctl: no daemon has a socket at /nonexistent/proctor.sock.\n")
    assert "systemctl status proctord" in said and "sudo systemctl start proctord" in said
    assert "--socket PATH" in said and "PROCTOR_SOCKET=PATH" in said


def test_a_socket_whose_daemon_is_gone_points_to_the_journal():
    folder = place.make_folder("gone")
    path = os.path.join(folder, "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    said = refused(path)
    place.remove_folder(folder)
    assert "is left over: its daemon is gone" in said
    assert "journalctl -u proctord" in said and "sudo systemctl start proctord" in said


def test_a_file_that_is_no_socket_is_told():
    assert "/etc/passwd" in refused("/etc/passwd")


def test_who_is_not_in_the_group_is_told_which_and_how_to_join(shown):
    """The user may not even look into the folder; then it is the folder's group that counts."""
    folder = place.make_folder("closed")
    path = os.path.join(folder, "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        os.chmod(path, 0o660)
        os.chown(path, -1, 4)
        if not place.is_root():
            os.chmod(path, stat.S_IRUSR)
        said = refused(path, **({"user": 1, "group": 1, "extra_groups": []} if place.is_root() else {}))
    place.remove_folder(folder)
    assert said.startswith(f"proctorctl: you may not use {path}: it is for root, its owner and the group adm.\n")
    assert "sudo usermod -aG adm " in said and "newgrp adm" in said
    assert "[control] group in proctor.ini" in said
