"""A worker that talks nonsense, too much, or in the wrong order costs itself, never the daemon."""

import os
import signal
import time

import pytest

from fake_pool import GREETING, WORKING
from harness import place


def replaced(daemon, fake, reason, deadline=15):
    """Waits until the first worker was given up for this reason and the second one serves."""
    line = daemon.wait_log(rf"worker\.fault .*{reason}", deadline)
    place.wait_until(lambda: daemon.workers()[0]["state"] == "ready" and len(fake.journal("born")) >= 2, deadline,
                     "a ready replacement")
    worker = daemon.workers()[0]
    assert worker["restarts"] >= 1
    assert worker["pid"] != fake.journal("born")[0]["pid"]
    assert not place.process_is_alive(fake.journal("born")[0]["pid"])
    return line


GOOD_TURN = '{"type":"turn","id":1,"attempt":1,"number":1,"last":false,"prev":"","digest":"%s","latency_ms":1,' \
            '"usage":{"input":1,"output":1,"reasoning":0},"bytes":2}' % ("0" * 32)


@pytest.mark.parametrize("said, reason", [
    (["line", "I am a stray print"], "that is not the protocol: not a JSON object"),
    (["line", '{"type":"turn",'], "that is not the protocol: not a JSON object"),
    (["line", "[1, 2]"], "not a JSON object: another kind of value"),
    (["line", ""], "a line of 0 bytes that is not the protocol"),
    (["latin1", '{"type":"pong","seq":1,"inflight":0,"rss_kb":0,"x":"\xe9"}'], "that is not the protocol"),
    (["line", '{"type":"gossip"}'], 'no known .type'),
    (["line", '{"seq":1}'], 'no known .type'),
    (["line", '{"type":"pong","seq":"one","inflight":0,"rss_kb":0}'], "pong: .seq. is missing, of a wrong type"),
    (["line", '{"type":"pong","seq":99,"inflight":0,"rss_kb":0}'], "a pong for ping 99, which was not sent"),
    (["line", '{"type":"pong","seq":1e400,"inflight":0,"rss_kb":0}'], "that is not the protocol"),
    (["line", '{"type":"result","id":9223372036854775808,"attempt":1,"success":true}'], "that is not the protocol"),
    (["line", '{"type":"result","id":77,"attempt":1,"success":true,"modelVersion":null}'],
     "a result for job 77 attempt 1, which it does not hold"),
    (["line", GOOD_TURN + "\n{}"], "a turn for job 1 attempt 1, which it does not hold"),
    (["line", GOOD_TURN + "\n{}}"], "the body of a turn of job 1 has 3 bytes, announced were 2"),
    (["hello"], "a second hello"),
    (["ready"], "a second ready"),
], ids=["print", "half_a_message", "list", "empty", "not_utf8", "unknown_type", "no_type", "text_for_number",
        "pong_never_asked", "1e400", "number_too_large", "unknown_id", "turn_of_unknown_id", "body_too_long",
        "second_hello", "second_ready"])
def test_a_worker_that_sends_nonsense_is_replaced(make_daemon, make_fake, said, reason):
    fake = make_fake([*GREETING, said, ["serve"]], WORKING)
    daemon = make_daemon(fake.ini())
    replaced(daemon, fake, reason)
    assert daemon.call("status")["pools"][0]["degraded"] is None


@pytest.mark.parametrize("life, reason", [
    ([["line", "hello?"], ["hang"]], "that is not the protocol"),
    ([["ready"], ["hang"]], "ready before hello"),
    ([["hello", {"protocol": 2}], ["hang"]], "it speaks protocol 2 of kind .probe.; this daemon speaks 1"),
    ([["hello", {"kind": "judge"}], ["hang"]], "it speaks protocol 1 of kind .judge."),
    ([["hello", {"capacity": 0}], ["hang"]], "hello: .capacity. is missing, of a wrong type or out of range"),
    ([["hello", {"version": None}], ["hang"]], "hello: .version. is missing"),
    ([["hello"], ["hello"], ["hang"]], "a second hello"),
], ids=["garbage", "ready_first", "other_protocol", "other_kind", "no_capacity", "no_version", "two_hellos"])
def test_a_worker_that_greets_wrongly_is_replaced(make_daemon, make_fake, life, reason):
    fake = make_fake(life, WORKING)
    daemon = make_daemon(fake.ini())
    replaced(daemon, fake, reason)


def test_a_line_over_the_cap_ends_the_worker_and_not_the_daemon(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["endless_line", 80 << 20], ["hang"]], WORKING)
    daemon = make_daemon(fake.ini(ping_interval="30s"))
    replaced(daemon, fake, "a line over 67108864 bytes")
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident_kb < 64 << 10, "the line's memory was not given back"


def test_a_turn_that_does_not_extend_its_conversation_is_refused(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["wait_job"], ["turn", {"prev": "f" * 32}], ["serve"]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    replaced(daemon, fake, "turn 1 of job 1 does not extend its conversation of 0 turns")
    daemon.wait_run(run)
    assert [turn["targetResponse"] for turn in transcript(daemon, run)["turns"]] == ["answer 1", "answer 2", "answer 3"]


def transcript(daemon, run):
    page = daemon.call("transcripts.list", run=run)
    shown = daemon.call("transcripts.show", transcript=page["items"][0]["id"])
    return shown["content"]


@pytest.mark.parametrize("said, reason", [
    (["turn", {"number": 2}], "turn 2 of job 1 does not extend"),
    (["turn", {"attempt": 7}], "a turn for job 1 attempt 7, which it does not hold"),
    (["turn", {"bytes": 5}], "announced were 5"),
    (["turn", {"digest": "short"}], "turn: .digest. is missing, of a wrong type"),
    (["turn", {"usage": {"input": -1, "output": 1, "reasoning": 0}}], "turn: .input. is missing"),
    (["result", {"attempt": 2}], "a result for job 1 attempt 2"),
    (["result", {}], "success of job 1 without a turn"),
    (["result", {"success": False}], "result: .code. is missing"),
], ids=["number", "attempt", "bytes", "digest", "usage", "result_attempt", "no_turn", "no_error"])
def test_a_wrong_answer_is_refused_and_the_job_runs_again(make_daemon, make_fake, start_run, said, reason):
    fake = make_fake([*GREETING, ["wait_job"], said, ["serve"]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    replaced(daemon, fake, reason)
    assert daemon.wait_run(run)["progress"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}


def test_two_turns_for_one_permission_are_refused(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["wait_job"], ["turn", {}], ["turn", {}], ["serve"]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    replaced(daemon, fake, "turn 1 of job 1 does not extend its conversation of 1 turns")
    daemon.wait_run(run)
    assert fake.calls() == [("one", 2), ("one", 3)], "the first turn was taken, and is not bought again"


NO_JSON = '{"turnNumber":1,'


def assert_only_the_first_was_refused(daemon, run):
    ended = daemon.wait_run(run)
    assert ended["progress"] == {"total": 3, "completed": 2, "failed": 1, "cancelled": 0}
    assert [(error["code"], error["count"]) for error in ended["errors"]] == [("INVALID_RESPONSE", 1)]


def test_a_body_that_is_no_json_fails_its_own_job_and_no_neighbour(make_daemon, make_fake, start_run):
    turn = ["turn", {"bytes": len(NO_JSON), "last": True}, NO_JSON]
    fake = make_fake([*GREETING, ["wait_job"], turn, ["result", {}], ["serve"]])
    daemon = make_daemon(fake.ini()).wait_ready()
    assert_only_the_first_was_refused(daemon, start_run(daemon, ["one", "two", "three"]))


def test_a_body_that_is_no_json_is_not_handed_to_the_next_worker(make_daemon, make_fake, start_run):
    """The conversation would go on elsewhere, from a turn that would break that worker's protocol."""
    fake = make_fake([*GREETING, ["wait_job"], ["turn", {"bytes": len(NO_JSON)}, NO_JSON], ["exit", 1]], WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    assert_only_the_first_was_refused(daemon, start_run(daemon, ["one", "two", "three"]))
    assert len(fake.journal("born")) == 2


def test_a_stray_print_of_the_real_worker_is_a_log_line(make_daemon, simulator, start_run):
    daemon = make_daemon({**simulator.ini("openai", requests_per_minute=0)}, keys={"OPENAI_API_KEY": "k"}, start=False)
    with open(f"{daemon.folder}/sitecustomize.py", "w", encoding="utf-8") as file:
        file.write(STRAY_PRINT)
    daemon.write_ini({"pool:probe": {"environment": f"PYTHONPATH={daemon.folder}"}})
    daemon.start().wait_ready()
    daemon.wait_log("stderr .*a stray print of some library")
    run = start_run(daemon, ["one"])
    assert daemon.wait_run(run)["progress"]["completed"] == 1
    assert daemon.workers()[0]["restarts"] == 0


STRAY_PRINT = """
import os, sys, threading, time

def print_once_serving():
    while "proctor.serve" not in sys.modules or not os.path.sameopenfile(1, 2):
        time.sleep(0.01)
    print("a stray print of some library", flush=True)

if any("probe.py" in word for word in sys.orig_argv):
    threading.Thread(target=print_once_serving, daemon=True).start()
"""


def test_a_worker_that_floods_stderr_disturbs_nobody(make_daemon, make_fake, start_run):
    fake = make_fake([*GREETING, ["flood_stderr", 2.0], ["serve"]])
    daemon = make_daemon(fake.ini())
    daemon.wait_ready()
    slowest = 0.0
    run = start_run(daemon, [f"job {number}" for number in range(20)])
    with daemon.connect() as control:
        while not fake.journal("flooded"):
            before = time.monotonic()
            control.call("status")
            slowest = max(slowest, time.monotonic() - before)
    daemon.wait_run(run)
    assert fake.journal("flooded")[0]["bytes"] > 20 << 20, "that was no flood"
    assert slowest < 0.5
    assert daemon.workers()[0]["restarts"] == 0
    daemon.wait_log(r"stderr\.suppressed worker=probe/1 lines=\d{4,}", 10)
    assert sum(" stderr worker=" in line for line in daemon.log_lines()) < 400


def test_a_worker_that_closes_its_stdout_is_replaced(make_daemon, make_fake):
    fake = make_fake([*GREETING, ["close_stdout"], ["hang"]], WORKING)
    daemon = make_daemon(fake.ini(ping_interval="30s"))
    replaced(daemon, fake, "it closed its stdout")


def test_what_a_worker_said_before_its_end_counts(make_daemon, make_fake, start_run):
    """The daemon is kept from looking until answer and end are both there."""
    fake = make_fake([*GREETING, ["wait_job"], ["wait_file", "stopped"], ["turn", {}], ["signal", int(signal.SIGKILL)]],
                     WORKING)
    daemon = make_daemon(fake.ini()).wait_ready()
    run = start_run(daemon, ["one"])
    pid = fake.wait("step", name="wait_file")["pid"]
    os.kill(daemon.process.pid, signal.SIGSTOP)
    fake.allow("stopped")
    place.wait_until(lambda: not place.process_is_alive(pid), 10, "the worker's end")
    os.kill(daemon.process.pid, signal.SIGCONT)
    daemon.wait_run(run)
    assert fake.calls() == [("one", 2), ("one", 3)]
