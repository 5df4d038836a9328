"""`top` and `run watch` on a real terminal: their layout at 80 and 200 columns, keys, sizes, and every way to end."""

import os
import re
import signal
import socket

import pytest

from harness import place
from harness.terminal import Terminal
from probing import show

pytest_plugins = ["client_fixtures"]

FOOT = "q quit  1 all 2 providers 3 workers 4 runs 5 events"

# Bars stand as they are; of a number only where it ends counts, of an id nothing.
TOP_80 = """\

PROVIDER   STATE      FILL           CALLS/MIN  BUSY  QUEUED  WAITS FOR
openai     simulated  ░░░░░░░░   #%          #     #       #
anthropic  parked     ░░░░░░░░   #%          #     #       #  held for the pict…
google     simulated  ░░░░░░░░   #%          #     #       #
xai        simulated  ░░░░░░░░   #%          #     #       #
deepseek   simulated  ░░░░░░░░   #%          #     #       #
mistral    simulated  ░░░░░░░░   #%          #     #       #

RUN                       STATUS   PROGRESS       LEFT  ETA  WAITS FOR
run_********************  PENDING  ░░░░░░░░   #%     #       anthropic: held fo…
"""

TOP_200 = """\

PROVIDER   STATE      FILL                       OF           CALLS/MIN  BUSY  QUEUED  FAILED  WAITS FOR
openai     simulated  ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #
anthropic  parked     ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #  held for the picture
google     simulated  ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #
xai        simulated  ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #
deepseek   simulated  ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #
mistral    simulated  ░░░░░░░░░░░░░░░░░░░░   #%  concurrency          #     #       #       #

RUN                       STATUS   PROGRESS                   LEFT  FAILED  PER MIN  ETA  \
WAITS FOR                        DEFINITION
run_********************  PENDING  ░░░░░░░░░░░░░░░░░░░░   #%     #       #        #       \
anthropic: held for the picture  dilemmas
"""

# Below them, where widths change with the time, and with them what has room.
BELOW = ["WORKER STATE LOAD HELD DONE RESTARTS UP AILS", "WHEN LEVEL EVENT OF WHAT"]
AS_THERE_IS_ROOM = ("DONE/MIN", "KB")

WATCH_80 = """\
PENDING  run_********************  dilemmas · # tokens
[░░░░░░░░░░░░░░░░░░░░░░░░]   #% #/##
  claude-3-opus    [░░░░░░░░░░░░]   #% #/##
  claude-3-sonnet  [░░░░░░░░░░░░]   #% #/##
waiting: anthropic held for the picture
"""

WATCH_200 = """\
PENDING  run_********************  dilemmas · # tokens
[░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░]   #% #/##
  claude-3-opus    [░░░░░░░░░░░░░░░░░░░░░░░░]   #% #/##
  claude-3-sonnet  [░░░░░░░░░░░░░░░░░░░░░░░░]   #% #/##
waiting: anthropic held for the picture
"""


def masked(text):
    """Every figure of a number is #, but for names of models; numbers that stand to the right are one #."""
    text = re.sub(r"run_[0-9a-f]{20}", "run_" + "*" * 20, text)
    text = re.sub(r"(?<= )\d[\d.,]*(?=%| |$)", lambda found: "#".rjust(len(found[0])), text, flags=re.MULTILINE)
    return re.sub(r"(?<![\w-])\d+", lambda found: "#" * len(found[0]), text)


def words(lines):
    return [" ".join(re.sub(r"\d[\d.,:a-z]*", "#", line).split()) for line in lines]


@pytest.fixture
def top(shown):
    """top(*words, columns=80, lines=24): it runs, and has looked twice, so that rates are known."""
    terminals = []

    def start(*more, columns=80, lines=24):
        terminals.append(Terminal(*shown.words("top", "--interval", "200ms", *more), columns=columns, lines=lines))
        terminals[-1].wait("^proctord [0-9.]+  ready")
        return terminals[-1]
    yield start
    for terminal in terminals:
        terminal.__exit__()


# layout


@pytest.mark.parametrize("columns, above, numbers", [(80, TOP_80, 3), (200, TOP_200, 4)], ids=["80", "200"])
def test_top_lays_out_providers_runs_workers_and_trouble(top, columns, above, numbers):
    terminal = top(columns=columns, lines=30)
    terminal.wait(r"^openai [^%]*% [^0-9]*" + " +".join("0" * numbers) + "$")
    lines = terminal.screen()
    assert words(lines[:2]) == ["proctord # ready up # workers #/#",
                                "probes # done, # failed, # held spool # waiting database ready"]
    size = len(above.splitlines())
    assert masked("\n".join(lines[2:2 + size])) + "\n" == above
    assert lines[2 + size] == lines[5 + size] == ""
    titles = [word for word in lines[3 + size].split(" ") if word and word not in AS_THERE_IS_ROOM]
    assert [" ".join(titles), " ".join(lines[6 + size].split())] == BELOW
    assert re.match(r"probe/1  ready  ░+   0%     0     3 ", lines[4 + size])
    assert re.match(r"\S.*warning +run.finished +run_\w+ +\{\"status\":\"FAILED\",\"prog", lines[7 + size])
    assert lines[-1] == FOOT
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns, want", [(80, WATCH_80), (200, WATCH_200)], ids=["80", "200"])
def test_run_watch_lays_out_bars_and_what_is_waited_for(shown, columns, want):
    with Terminal(*shown.words("run", "watch", shown.queued, "--interval", "100ms"), columns=columns) as terminal:
        terminal.wait("waiting: ")
        # A second picture stands where the first one stood.
        terminal.keys("C-l")
        terminal.wait(r"waiting: ")
        lines = terminal.screen()
        assert masked("\n".join(lines[:5])) + "\n" == want
        assert set(lines[5:]) <= {"", "^L"}


def test_run_watch_draws_anew_in_place_when_the_terminal_is_another_size(shown):
    with Terminal(*shown.words("run", "watch", shown.queued, "--interval", "100ms"), columns=80) as terminal:
        terminal.wait("waiting: anthropic held for the picture$")
        terminal.resize(40, 24)
        text = terminal.wait(r"^\[░{24}\]   0% 0/80$\n  claude-3-opus    \[░{12}\]   0%$")
        assert text.count("PENDING") == 1
        assert terminal.wait("^waiting: anthropic held for the picture$").count("waiting") == 1


def test_run_watch_leaves_its_last_picture_and_the_table_behind(shown):
    with Terminal(*shown.words("run", "watch", shown.done)) as terminal:
        assert terminal.wait_exit() == 0
        lines = terminal.screen()
    assert re.match(r"COMPLETED  run_\w{20}  cases · \d+ tokens · simulated$", lines[0])
    assert lines[1] == "[" + "█" * 24 + "] 100% 3/3"
    assert lines[3].split() == ["MODEL", "LANE", "PROBES", "DONE", "FAILED", "TOKENS", "MEDIAN", "SIMULATED"]


def test_run_watch_is_ended_by_an_interrupt_and_the_run_goes_on(shown):
    with Terminal(*shown.words("run", "watch", shown.queued)) as terminal:
        terminal.wait("waiting: ")
        os.kill(terminal.program_pid("proctorctl"), signal.SIGINT)
        assert terminal.wait_exit() == 130
    assert show(shown.daemon, shown.queued, brief=True)["status"] == "PENDING"


@pytest.mark.parametrize("columns, lines", [(40, 12), (20, 5), (10, 2), (1, 1)])
def test_top_makes_do_with_little_room(top, shown, columns, lines):
    terminal = top()
    terminal.resize(columns, lines)
    terminal.wait(f"^{re.escape(FOOT[:columns].rstrip())}$")
    assert len(terminal.screen()) == lines
    terminal.resize(80, 24)
    terminal.wait(r"^RUN .*\n^run_")
    terminal.keys("q")
    assert terminal.wait_exit() == 0


# keys


def test_keys_choose_what_is_seen_and_how_it_is_sorted(top):
    terminal = top(lines=30)
    terminal.keys("2")
    terminal.wait(r"2 providers .*s sort +↓  r turn")
    names = re.findall(r"^(\w+) +(?:simulated|parked)", terminal.text(), re.MULTILINE)
    assert names == ["openai", "anthropic", "google", "xai", "deepseek", "mistral"]
    terminal.keys("s")
    names = re.findall(r"^(\w+) +(?:simulated|parked)", terminal.wait("s sort PROVIDER ↓"), re.MULTILINE)
    assert names == sorted(names) and len(names) == 6
    terminal.keys("r")
    names = re.findall(r"^(\w+) +(?:simulated|parked)", terminal.wait("s sort PROVIDER ↑"), re.MULTILINE)
    assert names == sorted(names, reverse=True)
    terminal.keys("j", "Down")
    names = re.findall(r"^(\w+) +(?:simulated|parked)", terminal.wait(r"^PROVIDER.*\n^mistral|^PROVIDER.*\n^google"),
                       re.MULTILINE)
    terminal.keys("Tab")
    terminal.wait(r"^WORKER .*\n^probe/1 ")
    terminal.keys("5")
    terminal.wait(r"^WHEN .*\n(?:.*\n)*.* info +run.created +run_")
    terminal.keys("1")
    terminal.wait(FOOT + "$")


def test_the_first_view_is_an_option(top):
    assert "WORKER" not in top("--view", "runs").wait(r"^RUN .*\n^run_")


# ways to end


@pytest.fixture(scope="module")
def untouched():
    with Terminal("true") as terminal:
        terminal.wait_exit()
        return terminal.modes()


@pytest.mark.parametrize("number, status", [
    (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGINT, 0),
    (signal.SIGSEGV, 139), (signal.SIGABRT, 134)], ids=lambda value: getattr(value, "name", None))
def test_the_terminal_is_given_back_whatever_signal_ends_top(top, untouched, number, status):
    terminal = top()
    assert terminal.is_raw()
    assert "-icanon" in terminal.modes()
    os.kill(terminal.program_pid("proctorctl"), number)
    assert terminal.wait_exit() == status
    assert not terminal.is_raw()
    assert terminal.modes() == untouched


def test_top_stops_and_goes_on_as_job_control_asks(top, untouched):
    terminal = top()
    pid = terminal.program_pid("proctorctl")
    os.kill(pid, signal.SIGTSTP)

    def stopped():
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    place.wait_until(stopped, 10, "top to stop")
    assert not terminal.is_raw()
    assert terminal.modes() == untouched
    os.kill(pid, signal.SIGCONT)
    terminal.wait("^PROVIDER ")
    assert terminal.is_raw()
    terminal.keys("q")
    assert terminal.wait_exit() == 0
    assert terminal.modes() == untouched


def test_q_ends_top_while_the_daemon_hangs(top, shown):
    terminal = top()
    os.kill(shown.daemon.process.pid, signal.SIGSTOP)
    try:
        terminal.keys("2")
        terminal.wait("2 providers .*s sort")
        terminal.keys("q")
        assert terminal.wait_exit(8) == 0
    finally:
        os.kill(shown.daemon.process.pid, signal.SIGCONT)


def test_top_waits_for_a_daemon_that_is_away(shown):
    folder = place.make_folder("away")
    path = os.path.join(folder, "sock")
    try:
        with Terminal(shown.client, "--socket", path, "top", "--interval", "100ms", columns=120) as terminal:
            terminal.wait("^! trying again: no daemon has a socket at ")
            os.symlink(shown.daemon.socket_path, path)
            assert "trying again" not in terminal.wait("^proctord [0-9.]+  ready")
    finally:
        place.remove_folder(folder)


def test_top_tells_what_the_database_alone_knows_is_missing(shown, top):
    """What the daemon itself knows goes on when an answer is refused."""
    folder = place.make_folder("refusing")
    path = os.path.join(folder, "sock")
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(path)
        server.listen()
        place.give_to_run_user(path)
        with Terminal(shown.client, "--socket", path, "top", columns=100) as terminal:
            client, _ = server.accept()
            with client, client.makefile("rw", encoding="utf-8") as stream:
                for answer in ('"ok":true,"data":{"state":"degraded","version":"1","pid":1,"uptimeMs":5,'
                               '"notes":["the database is away: gone","more"],"providers":[]}',
                               '"ok":true,"data":{"items":[]}',
                               *['"ok":false,"error":{"code":"UNAVAILABLE","message":"the database is away"}'] * 2):
                    stream.readline()
                    stream.write('{"id":1,' + answer + "}\n")
                    stream.flush()
                text = terminal.wait("^events: the database is away")
                assert re.search(r"^! \(and 1 more\) the database is away: gone$", text, re.MULTILINE)
                assert re.search("^runs: the database is away$", text, re.MULTILINE)
                assert re.search("^There are no workers.$", text, re.MULTILINE)
    finally:
        server.close()
        place.remove_folder(folder)


def test_top_without_a_terminal_says_what_to_do(shown):
    done = shown.run("top")
    assert done.returncode == 2
    assert done.stderr == "proctorctl: `top` needs a terminal; `proctorctl top --once` prints one picture\n"


def test_top_once_prints_one_picture_and_its_parts_as_json(shown):
    lines = shown.lines("top", "--once")
    assert [line for line in lines if line.startswith("anthropic ")][0].endswith("held for the picture")
    assert not any("q quit" in line for line in lines)
    parts = shown.daemon.ctl("top")
    assert list(parts) == ["status", "workers", "runs", "events"]
    assert [run["id"] for run in parts["runs"]["items"]] == [shown.queued]
    assert parts["workers"]["items"][0]["worker"] == "probe/1"
