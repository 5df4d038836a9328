"""An upgrade replaces the daemon's program; workers, conversations, services and clients live through it."""

import os
import signal
import socket
import subprocess
import threading

import pytest

from fake_pool import GREETING, WORKING
from harness import place
from harness.control import ControlError
from harness.postgres import Postgres
from harness.proctor import merge_ini
from probing import figures, hold, outcome_rows, renew, running, start, turns_of, wait_asked, wait_progress
from upgrading import Programs, descriptors

pytest_plugins = ["probe_fixtures"]


@pytest.fixture
def programs():
    made = Programs()
    yield made
    made.remove()


def check_bought_once(daemon, simulator, run, probes, turns):
    """Every probe has its transcript, and no call was made twice."""
    assert outcome_rows(daemon, run) == {"completed": probes, "failed": 0, "cancelled": 0}
    assert figures(simulator)["asked"] == figures(simulator)["bought"] == probes * turns
    assert [len(answers) for _, answers in turns_of(daemon, run)] == [turns] * probes


# What lives on


def test_workers_and_the_embedded_postgres_keep_their_processes(simulator, programs, services):
    path, version = programs.version()
    ini = merge_ini({"database": {"url": "embedded"}, "pool:probe": {"size": 2}}, services.service("aside"))
    with running(simulator, ini) as daemon:
        services.wait("ready", "aside")

        def state():
            nodes = {node["name"]: (node["state"], node["pid"], node["restarts"])
                     for node in daemon.call("tree")["children"] if node["kind"] == "service"}
            return daemon.worker_pids(), nodes
        before, was = state(), daemon.call("status")
        postgres_pid = before[1]["postgres"][1]
        answer = daemon.call("upgrade", program=path)
        assert (answer["from"], answer["to"], answer["workers"]) == (was["version"], version, 2)
        status = daemon.call("status")
        assert (status["version"], status["pid"], status["startedMs"]) == (version, was["pid"], was["startedMs"])
        assert (was["upgraded"], status["upgraded"]["from"], status["upgraded"]["count"]) == (None, was["version"], 1)
        assert state() == before
        event = daemon.wait_event("daemon.upgraded")
        assert (event["data"]["from"], event["data"]["to"]) == (was["version"], version)
        run = start(daemon, 3)
        assert daemon.wait_run(run)["progress"]["completed"] == 3
        daemon.stop()
        assert not place.process_is_alive(postgres_pid)
    renew(simulator)


def test_without_a_path_it_is_what_took_the_place_of_the_file(make_daemon, make_fake, programs):
    programs.copy()
    daemon = make_daemon(make_fake(WORKING).ini(size=2), start=False)
    daemon.root = programs.folder
    daemon.start().wait_ready()
    pids = daemon.worker_pids()
    # As a package manager does it.
    path, version = programs.version("proctord.new")
    os.rename(path, programs.path("proctord"))
    done = daemon.proctorctl("upgrade")
    assert done.returncode == 0, done.stderr
    assert f"to {version}" in done.stdout
    assert daemon.call("status")["version"] == version
    assert daemon.worker_pids() == pids


def test_conversations_in_flight_go_on_and_no_call_is_bought_again(make_proctor, simulator):
    with make_proctor({"pool:probe": {"size": 3}}) as daemon:
        hold(simulator)
        run = start(daemon, 12, followups=1)
        wait_asked(simulator, 12)
        pids, node = daemon.worker_pids(), daemon.call("status")["database"]["nodeId"]
        assert daemon.call("upgrade")["probes"] == 12
        simulator.post("/_sim/config", {"hold": False, "latency": {"*": "1"}})
        wait_asked(simulator, 24)
        assert daemon.call("upgrade")["probes"] == 12
        assert (daemon.worker_pids(), daemon.call("status")["database"]["nodeId"]) == (pids, node)
        daemon.wait_run(run)
        check_bought_once(daemon, simulator, run, 12, 2)
        assert daemon.call("status")["probes"]["completed"] == 12


def test_probes_that_wait_in_their_lane_keep_waiting_there(make_proctor, simulator):
    with make_proctor({"pool:probe": {"size": 1}, "provider:openai": {"concurrency": 1}}) as daemon:
        hold(simulator)
        run = start(daemon, 8, followups=1)
        wait_asked(simulator, 1)
        daemon.call("upgrade")
        lane = daemon.call("providers.show", provider="openai")
        assert lane["inFlight"] == 1
        hold(simulator, False)
        daemon.wait_run(run)
        assert figures(simulator)["peak_in_flight"] == 1
        check_bought_once(daemon, simulator, run, 8, 2)


def test_five_upgrades_under_load_lose_and_repeat_nothing(make_proctor, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    with make_proctor({"pool:probe": {"size": 2}, "provider:openai": {"concurrency": 16}}) as daemon:
        pids = daemon.worker_pids()
        run = start(daemon, 400, followups=1)
        for number in range(1, 6):
            wait_progress(daemon, run, completed=40 * number)
            daemon.call("upgrade")
        progress = daemon.wait_run(run)["progress"]
        assert progress == {"total": 400, "completed": 400, "failed": 0, "cancelled": 0}
        check_bought_once(daemon, simulator, run, 400, 2)
        assert figures(simulator)["peak_in_flight"] <= 16
        assert daemon.worker_pids() == pids
        assert daemon.call("status")["upgraded"]["count"] == 5


def test_what_a_worker_had_said_in_part_is_heard_whole(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["wait_job"], ["turn_in_parts", "rest"], ["serve"]])
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"], followups=0)
    fake.wait("half_said")
    daemon.call("upgrade")
    fake.allow("rest")
    daemon.wait_run(run)
    assert len(fake.journal("born")) == 1


def test_what_operators_have_set_stays_set(make_daemon, make_fake, services):
    daemon = make_daemon(merge_ini(make_fake(WORKING).ini(size=2), services.service("held"))).wait_ready()
    services.wait("ready", "held")
    daemon.call("services.stop", name="held")
    place.wait_until(lambda: not services.living(), 10, "its end")
    daemon.call("providers.pause", provider="google", reason="tests")
    daemon.call("workers.scale", size=3)
    place.wait_until(lambda: daemon.call("status")["pools"][0]["serving"] == 3, 10, "three workers")
    daemon.call("log-level", level="info")
    os.kill(daemon.worker_pids()[0], signal.SIGKILL)
    place.wait_until(lambda: daemon.workers()[0]["restarts"] == 1 and daemon.workers()[0]["state"] == "ready", 10,
                     "the replacement")
    before = daemon.workers()
    daemon.call("upgrade")
    assert daemon.call("log-level")["level"] == "info"
    lane = daemon.call("providers.show", provider="google")
    assert (lane["state"], lane["why"]) == ("parked", "tests")
    held = next(node for node in daemon.call("tree")["children"] if node["name"] == "held")
    assert held["state"] == "stopped"
    facts = ("worker", "pid", "state", "restarts", "capacity", "lastDeath", "bootMs")
    assert [[worker[fact] for fact in facts] for worker in daemon.workers()] == \
        [[worker[fact] for fact in facts] for worker in before]
    assert daemon.call("status")["uptimeMs"] >= before[0]["upMs"]


def test_a_pool_that_is_being_replaced_is_replaced_to_its_end(make_daemon, make_fake):
    daemon = make_daemon(make_fake([*GREETING, ["serve", {"deaf": ["shutdown"]}]], WORKING).ini(size=4)).wait_ready()
    before = set(daemon.worker_pids())
    daemon.call("workers.restart")
    daemon.call("upgrade")
    daemon.call("upgrade")
    place.wait_until(lambda: not before & set(daemon.worker_pids()), 20, "the end of the roll")
    workers = daemon.wait_ready().workers()
    assert [worker["worker"] for worker in workers] == ["probe/1", "probe/2", "probe/3", "probe/4"]


def test_upgrades_amid_the_start_do_not_disturb_it(make_proctor):
    with make_proctor({"pool:probe": {"size": 6}}, ready=False) as daemon:
        for _ in range(5):
            daemon.call("upgrade")
        daemon.wait_ready()
        assert [worker["restarts"] for worker in daemon.workers()] == [0] * 6
        place.wait_until(lambda: len(daemon.all_pids()) == 11, 10,
                         "daemon, guard, six workers, and one prepared parent with two spare ones")
        run = start(daemon, 6)
        daemon.wait_run(run)


# Clients


def test_run_watch_lives_through(make_proctor, simulator):
    with make_proctor() as daemon:
        hold(simulator)
        run = start(daemon, 4)
        wait_asked(simulator, 4)
        watch = subprocess.Popen([os.path.join(daemon.root, "bin", "proctorctl"), "--socket", daemon.socket_path,
                                  "run", "watch", run, "--interval", "50ms"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout.readline().startswith("RUNNING")
        for _ in range(3):
            daemon.call("upgrade")
            assert watch.stdout.readline().startswith("RUNNING")
        hold(simulator, False)
        output, errors = watch.communicate(timeout=30)
        assert (watch.returncode, errors) == (0, "")
        assert "COMPLETED 4/4" in output


def test_a_stream_of_events_goes_on_with_nothing_twice(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    with daemon.connect() as follower:
        follower.send("events", {"follow": True, "limit": 1000})
        seen = []

        def wait_for(kind):
            while not seen or seen[-1]["kind"] != kind:
                answer = follower.read_answer()
                assert answer["ok"] and answer["more"], answer
                seen.extend(answer["data"]["items"])
                if any(event["kind"] == kind for event in answer["data"]["items"]):
                    return
        wait_for("worker.ready")
        daemon.call("upgrade")
        wait_for("daemon.upgraded")
        ids = [event["id"] for event in seen]
        assert len(ids) == len(set(ids))
        recorded = [event["id"] for event in daemon.call("events", limit=1000)["items"]]
        assert set(recorded) <= set(ids)


def test_half_a_request_is_answered_when_the_rest_has_come(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    with daemon.connect() as client:
        client.send_bytes(b'{"id":7,"cmd":"sta')
        daemon.call("upgrade")
        client.send_bytes(b'tus"}\n')
        answer = client.read_answer()
        assert (answer["id"], answer["ok"]) == (7, True)


def test_a_call_whose_answer_is_lost_is_told_so(make_daemon, make_fake):
    """`health --now` waits for a program, and the upgrade does not wait for one that takes for ever."""
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    place.wait_until(lambda: daemon.call("health")["environment"]["known"], 20, "the first health check")
    with daemon.connect() as client:
        wanted = client.send("health", {"now": True})
        child = place.wait_until(lambda: find_child(daemon, "health_check.py"), 5, "the health check")
        os.kill(child, signal.SIGSTOP)
        daemon.call("upgrade")
        answer = client.read_answer()
        assert (answer["id"], answer["ok"], answer["error"]["code"]) == (wanted, False, "UNAVAILABLE")
        assert "look before you repeat it" in answer["error"]["message"]
    place.wait_until(lambda: not place.process_is_alive(child), 5, "the end of the former health check")
    place.wait_until(lambda: daemon.call("health")["environment"]["checkedAgoMs"] < 5000, 20, "one of its own")


def find_child(daemon, word):
    for pid in place.descendants(daemon.process.pid):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                if word in file.read():
                    return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


# The moment itself


def test_a_worker_that_dies_in_the_moment_is_noticed(make_proctor, simulator, programs):
    with make_proctor({"pool:probe": {"size": 2}}) as daemon:
        hold(simulator)
        run = start(daemon, 6, followups=1)
        wait_asked(simulator, 6)
        first, second = daemon.worker_pids()
        killer = programs.script(f"""
if not CHECK:
    os.kill({first}, 9)
go_on()
""")
        simulator.post("/_sim/config", {"hold": False, "latency": {"*": "0.5"}})
        daemon.call("upgrade", program=killer)
        daemon.wait_log(r"worker\.exit .*signal=9", since=0)
        daemon.wait_run(run)
        assert outcome_rows(daemon, run) == {"completed": 6, "failed": 0, "cancelled": 0}
        now = daemon.worker_pids()
        assert first not in now and second in now


@pytest.mark.parametrize("signo, happens", [(signal.SIGTERM, r"daemon\.stopped"), (signal.SIGHUP, r"config\.reloaded")])
def test_a_signal_in_the_moment_is_heeded_behind_it(make_daemon, make_fake, programs, signo, happens):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    signaller = programs.script(f"""
if not CHECK:
    os.kill(os.getpid(), {int(signo)})
go_on()
""")
    with daemon.connect() as client:
        client.send("upgrade", {"program": signaller})
        daemon.wait_log(r"daemon\.upgraded")
        daemon.wait_log(happens)
    if signo == signal.SIGTERM:
        assert daemon.wait_exit() == 0


def test_the_service_manager_hears_of_it(make_daemon, make_fake, programs):
    folder = place.make_folder("notify")
    path = os.path.join(folder, "socket")
    told = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        server.settimeout(20)

        def hear(word):
            while not told or word not in told[-1]:
                told.append(server.recv(4096).decode())
        daemon = make_daemon(make_fake(WORKING).ini(), environment={"NOTIFY_SOCKET": path}).wait_ready()
        hear("STATUS=Running")
        for _ in range(2):
            daemon.call("upgrade")
            hear("RELOADING=1")
            assert "MONOTONIC_USEC=" in told[-1]
            hear("READY=1")
        assert not any("MAINPID" in text for text in told)
    place.remove_folder(folder)


def test_a_database_that_is_away_is_no_hindrance_while_nothing_waits_for_it(make_daemon, make_fake):
    daemon = make_daemon({**make_fake(WORKING).ini(), "database": {"url": "postgresql://127.0.0.1:9/none"}})
    place.wait_until(lambda: daemon.call("status")["pools"][0]["serving"] == 1, 15, "a worker")
    pids = daemon.worker_pids()
    daemon.call("upgrade")
    assert daemon.worker_pids() == pids
    status = daemon.call("status")
    assert status["database"]["ready"] is False


def test_results_that_wait_for_the_database_wait_on(simulator):
    with Postgres() as server, running(simulator, {"database": {"url": server.database()}}) as daemon:
        hold(simulator)
        run = start(daemon, 4, followups=1)
        wait_asked(simulator, 4)
        server.freeze()
        hold(simulator, False)
        wait_asked(simulator, 8)
        # Two turns and an end of each.
        place.wait_until(lambda: daemon.call("status")["database"]["backlogRecords"] == 12, 10, "the results")
        daemon.call("upgrade")
        assert daemon.call("status")["database"]["backlogRecords"] == 12
        server.thaw()
        daemon.wait_ready().wait_run(run)
        check_bought_once(daemon, simulator, run, 4, 2)
    renew(simulator)


# What it leaves behind


def test_a_daemon_killed_after_an_upgrade_leaves_nobody(make_daemon, make_fake):
    daemon = make_daemon({**make_fake([*GREETING, ["fork_grandchild"], ["serve"]]).ini(size=2),
                          "database": {"url": "embedded"}}).wait_ready()
    daemon.call("upgrade")
    daemon.call("upgrade")
    pids = daemon.all_pids()
    assert len(pids) > 6
    daemon.kill()
    place.wait_until(lambda: not any(map(place.process_is_alive, pids)), 2, "the end of everything")
    daemon.start()
    daemon.wait_ready()


def test_twenty_upgrades_leave_nothing_behind(make_daemon, make_fake, services):
    daemon = make_daemon(merge_ini(make_fake(WORKING).ini(size=3), services.service("aside"))).wait_ready()
    services.wait("ready", "aside")
    place.wait_until(lambda: daemon.call("health")["environment"]["known"], 20, "the first health check")

    def has():
        assert daemon.call("status")["database"]["ready"]
        return descriptors(daemon.process.pid), sorted(daemon.all_pids())
    before = has()
    for _ in range(21):
        daemon.call("upgrade")
    place.wait_until(lambda: has() == before, 10, f"descriptors and processes to be as before, {before}")
    assert daemon.call("status")["upgraded"]["count"] == 21
    killed = daemon.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    place.wait_until(lambda: killed not in daemon.worker_pids() and len(daemon.worker_pids()) == 3, 10, "another")
    with open(f"/proc/{daemon.worker_pids()[0]}/environ", "rb") as file:
        assert b"PROCTOR_HANDOVER" not in file.read()


def test_clients_of_all_sorts_are_served_during_many_upgrades(make_daemon, make_fake):
    """Threads that ask without pause see no error but that of a call whose fate is not known."""
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    over, failures, answers = threading.Event(), [], []

    def ask():
        with daemon.connect() as control:
            while not over.is_set():
                try:
                    answers.append(control.call("events", limit=1))
                except ControlError as error:
                    if "upgraded while it worked on this" not in error.message:
                        failures.append(error)
                except OSError as error:
                    failures.append(error)
                    return
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        daemon.call("upgrade")
    over.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert len(answers) > 10
