"""Serve mode as a supervisor sees it: protocol version 1 over pipes with a real process."""

import hashlib
import json
import os
import signal
import subprocess
import threading

from conftest import (DEADLINE_S, KEY, PROBE, PYTHON, WORKERS, Reply, chat_answer, environment,
                      probe_input)

FOLLOWUPS = [{"label": "why", "prompt": "Why?"}, {"prompt": "And if not?"}]


def chain(previous, body):
    return hashlib.blake2b(previous.encode() + body, digest_size=16).hexdigest()


def test_hello_is_first_and_names_the_protocol(start_worker):
    worker = start_worker(ready=False, PROCTOR_CAPACITY="7")
    hello = worker.read("hello")
    assert hello["protocol"] == 1 and hello["kind"] == "probe" and hello["capacity"] == 7
    assert hello["pid"] == worker.process.pid
    assert hello["providers"] == ["openai", "anthropic", "google", "xai", "deepseek", "mistral"]
    assert worker.read() == {"type": "ready"}


def test_a_one_turn_job_gives_turn_body_and_result(worker, provider):
    provider.script(chat_answer("Ponder.", system_fingerprint="fp_1"))
    worker.job(id=17, attempt=3)
    turn = worker.read("turn")
    body = json.loads(turn["body"])
    assert turn["bytes"] == len(turn["body"])
    assert (turn["id"], turn["attempt"], turn["number"], turn["last"], turn["prev"]) == (17, 3, 1, True, "")
    assert turn["usage"] == {"input": 12, "output": 5, "reasoning": 0}
    assert turn["digest"] == chain("", turn["body"])
    assert turn["latency_ms"] == body["durationMs"] > 0
    assert body["turnNumber"] == 1 and body["promptLabel"] == "scenario_prompt"
    assert body["probePrompt"] == "What ought one do?" and body["targetResponse"] == "Ponder."
    assert body["finishReason"] == "stop" and body["modelVersion"] == "gpt-4-0613"
    assert body["systemFingerprint"] == "fp_1"
    result = worker.read("result")
    assert result["success"] is True and result["modelVersion"] == "gpt-4-0613"
    assert result["totals"]["turns"] == 1 and result["totals"]["inputTokens"] == 12
    assert result["totals"]["startedAt"] <= result["totals"]["completedAt"]


def test_each_further_turn_waits_for_go_and_extends_the_chain(worker, provider):
    provider.script(chat_answer("one"), chat_answer("two"), chat_answer("three"))
    worker.job(id=5, followups=FOLLOWUPS, preamble="Be brief.")
    previous, labels = "", []
    for number in (1, 2, 3):
        turn = worker.read("turn")
        assert turn["number"] == number and turn["prev"] == previous
        previous = turn["digest"]
        assert previous == chain(turn["prev"], turn["body"])
        labels.append(json.loads(turn["body"])["promptLabel"])
        if number < 3:
            assert not turn["last"]
            worker.send({"type": "ping", "seq": number})
            assert worker.read("pong")["inflight"] == 1
            assert provider.requests.qsize() == 1
            provider.request()
            worker.send({"type": "go", "id": 5})
    assert turn["last"] and labels == ["scenario_prompt", "why", "followup_2"]
    totals = worker.read("result")["totals"]
    assert (totals["turns"], totals["inputTokens"], totals["outputTokens"]) == (3, 36, 15)
    assert provider.request().doc["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What ought one do?"}, {"role": "assistant", "content": "one"},
        {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "two"},
        {"role": "user", "content": "And if not?"}]


def test_a_resumed_conversation_asks_only_what_is_left(worker, provider):
    provider.script(chat_answer("one"), chat_answer("two"))
    worker.job(id=1, followups=FOLLOWUPS[:1])
    first = worker.read("turn")
    worker.send({"type": "cancel", "id": 1})
    assert worker.read("result")["error"]["code"] == "CANCELLED"
    worker.job(id=1, attempt=2, followups=FOLLOWUPS[:1], turns=[json.loads(first["body"])],
               digest=first["digest"])
    second = worker.read("turn")
    assert second["number"] == 2 and second["last"] and second["prev"] == first["digest"]
    assert second["digest"] == chain(first["digest"], second["body"])
    totals = worker.read("result")["totals"]
    assert totals["turns"] == 2 and totals["inputTokens"] == 24
    assert totals["startedAt"] == json.loads(first["body"])["startedAt"]
    provider.request()
    assert [message["content"] for message in provider.request().doc["messages"]] == [
        "What ought one do?", "one", "Why?"]
    assert provider.requests.empty()


def test_a_conversation_resumed_at_its_end_is_a_success_without_a_call(worker, provider):
    worker.job(id=1)
    turn = worker.read("turn")
    worker.read("result")
    provider.request()
    worker.job(id=1, attempt=2, turns=[json.loads(turn["body"])], digest=turn["digest"])
    result = worker.read("result")
    assert result["success"] and result["attempt"] == 2 and result["totals"]["outputTokens"] == 5
    assert provider.requests.empty()


def test_turns_that_are_no_bodies_are_refused(worker):
    for turns, digest in ([["x"], "0" * 32], [[{"turnNumber": 2}], ""], [[], "zz"], ["text", ""]):
        worker.send({"type": "job", "id": 1, "attempt": 1, "turns": turns, "digest": digest,
                     "input": probe_input()})
        assert worker.read("result")["error"]["code"] == "VALIDATION_ERROR"


def test_cancel_ends_a_call_under_way(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate))
    worker.job(id=9)
    provider.request()
    worker.send({"type": "cancel", "id": 9}, {"type": "ping", "seq": 1})
    error = worker.read("result")["error"]
    assert error["code"] == "CANCELLED" and error["retryable"] is False
    assert worker.read("pong")["inflight"] == 0
    gate.set()
    worker.job(id=10)
    assert worker.result()["id"] == 10


def test_unknown_ids_in_go_and_cancel_are_ignored(start_worker):
    worker = start_worker(PROCTOR_LOG_LEVEL="debug")
    worker.send({"type": "go", "id": 4}, {"type": "cancel", "id": 4}, {"type": "ping", "seq": 1})
    assert worker.read("pong")["seq"] == 1
    worker.process.stdin.close()
    assert worker.wait()[0] == 0
    assert b'"event":"go.ignored"' in worker.stderr and b'"event":"cancel.ignored"' in worker.stderr


def test_ping_is_answered_while_calls_are_under_way(worker, provider):
    gate = threading.Event()
    provider.script(*[Reply(chat_answer(), gate=gate) for _ in range(20)])
    for id in range(20):
        worker.job(id=id)
    for _ in range(20):
        provider.request()
    worker.send({"type": "ping", "seq": 77})
    pong = worker.read("pong")
    assert pong["seq"] == 77 and pong["inflight"] == 20 and 5_000 < pong["rss_kb"] < 100_000
    gate.set()
    assert sorted(worker.result()["id"] for _ in range(20)) == list(range(20))


def test_shutdown_lets_calls_finish_and_gives_back_what_waits(worker, provider):
    gate = threading.Event()
    provider.script(chat_answer("one"), Reply(chat_answer("late"), gate=gate))
    worker.job(id=1, followups=FOLLOWUPS)
    worker.read("turn")
    worker.job(id=2, followups=FOLLOWUPS)
    provider.request()
    provider.request()
    worker.send({"type": "shutdown", "grace_ms": 10_000})
    waiting = worker.read("result")
    assert waiting["id"] == 1 and waiting["error"]["code"] == "CANCELLED"
    assert waiting["error"]["details"] == {"givenBack": True}
    worker.job(id=3)
    assert worker.read("result")["error"]["details"] == {"givenBack": True}
    gate.set()
    paid = worker.read("turn")
    assert paid["id"] == 2 and json.loads(paid["body"])["targetResponse"] == "late"
    assert worker.read("result")["error"]["details"] == {"givenBack": True}
    assert worker.wait() == (0, [])


def test_shutdown_ends_at_its_grace(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate))
    worker.job(id=2)
    provider.request()
    worker.send({"type": "shutdown", "grace_ms": 50})
    code, rest = worker.wait()
    gate.set()
    assert code == 0 and rest[0]["id"] == 2 and rest[0]["error"]["details"] == {"givenBack": True}


def test_end_of_stdin_gives_everything_back(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate))
    worker.job(id=2)
    provider.request()
    worker.process.stdin.close()
    code, rest = worker.wait()
    gate.set()
    assert code == 0 and [message["error"]["code"] for message in rest] == ["CANCELLED"]


def test_sigterm_is_a_shutdown_and_sigint_is_ignored(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer("in time"), gate=gate))
    worker.job(id=2)
    provider.request()
    worker.process.send_signal(signal.SIGINT)
    worker.send({"type": "ping", "seq": 1})
    assert worker.read("pong")["inflight"] == 1
    worker.process.send_signal(signal.SIGTERM)
    gate.set()
    code, rest = worker.wait()
    assert code == 0 and [message["type"] for message in rest] == ["turn", "result"]
    assert rest[1]["success"]


def test_sigusr1_writes_the_stack_to_stderr(worker):
    worker.process.send_signal(signal.SIGUSR1)
    worker.send({"type": "ping", "seq": 1})
    worker.read("pong")
    worker.process.stdin.close()
    assert worker.wait()[0] == 0
    assert b"proctor/serve.py" in worker.stderr and b" in run\n" in worker.stderr


def test_a_reader_that_is_gone_ends_the_worker():
    with subprocess.Popen([PYTHON, PROBE, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment()) as process:
        assert b'"hello"' in process.stdout.readline()
        assert process.stdout.readline() == b'{"type":"ready"}\n'
        process.stdout.close()
        process.stdin.write(b'{"type":"ping","seq":1}\n')
        process.stdin.flush()
        assert process.wait(DEADLINE_S) == 74


def assert_protocol_fault(worker, line):
    worker.send(line)
    code, _ = worker.wait()
    assert code == 65
    log = json.loads(worker.stderr.splitlines()[-1])
    assert log["level"] == "error" and log["event"] == "worker.protocol_fault"
    return log["reason"]


def test_a_line_that_is_no_json_ends_the_worker(worker):
    assert "no message" in assert_protocol_fault(worker, b"{nonsense\n")


def test_a_line_that_is_no_utf8_ends_the_worker(worker):
    assert "no message" in assert_protocol_fault(worker, b'{"type":"\xff"}\n')


def test_hostile_nesting_ends_the_worker(worker):
    assert "RecursionError" in assert_protocol_fault(worker, b"[" * 100_000 + b"\n")


def test_an_unknown_type_ends_the_worker(worker):
    assert "'dance'" in assert_protocol_fault(worker, {"type": "dance"})


def test_a_job_without_an_id_ends_the_worker(worker):
    assert "'id'" in assert_protocol_fault(worker, {"type": "job", "id": "7", "attempt": 1})


def test_a_line_over_the_cap_ends_the_worker(worker):
    try:
        worker.send(b"x" * (64 * 1024 * 1024 + 70_000))
    except BrokenPipeError:
        pass
    assert worker.wait()[0] == 65
    assert b"a line over 67108864 bytes" in worker.stderr


def test_a_conversation_over_the_cap_is_refused(worker):
    worker.job(id=1, prompt="x" * (32 * 1024 * 1024))
    error = worker.read("result")["error"]
    assert error["code"] == "VALIDATION_ERROR" and "33554432" in error["message"]


def test_a_stray_print_is_a_log_line_and_no_answer(start_worker):
    program = (f"import sys; sys.path.insert(0, {WORKERS!r}); import probe\n"
               "from proctor import clock\n"
               "old = clock.iso_now\n"
               "def noisy():\n"
               "    print('stray words'); import os; os.write(1, b'raw words\\n'); return old()\n"
               "clock.iso_now = noisy\n"
               "sys.exit(probe.main(['--serve']))")
    worker = start_worker(command=(PYTHON, "-c", program))
    worker.job(id=1)
    assert worker.read("turn")["number"] == 1
    assert worker.read("result")["success"]
    worker.process.stdin.close()
    assert worker.wait()[0] == 0
    assert b"stray words\n" in worker.stderr and b"raw words\n" in worker.stderr


def test_an_inner_fault_costs_one_job_and_no_worker(start_worker, provider):
    program = (f"import sys; sys.path.insert(0, {WORKERS!r}); import probe\n"
               "from proctor.providers import openai\n"
               "old = openai.OpenAI.answer\n"
               "def broken(self, doc):\n"
               "    if doc['model'] == 'bad': raise KeyError('inner')\n"
               "    return old(self, doc)\n"
               "openai.OpenAI.answer = broken\n"
               "sys.exit(probe.main(['--serve']))")
    worker = start_worker(command=(PYTHON, "-c", program))
    provider.script(chat_answer(model="bad"))
    worker.job(id=1)
    error = worker.read("result")["error"]
    assert error["code"] == "UNKNOWN" and error["retryable"] and "KeyError" in error["message"]
    worker.job(id=2)
    assert worker.result()["success"]


def test_a_job_beyond_the_capacity_is_given_back(start_worker, provider):
    worker = start_worker(PROCTOR_CAPACITY="2")
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate), Reply(chat_answer(), gate=gate))
    for id in (1, 2, 3):
        worker.job(id=id)
    refused = worker.read("result")
    assert refused["id"] == 3 and refused["error"]["details"] == {"givenBack": True}
    gate.set()
    assert {worker.result()["id"], worker.result()["id"]} == {1, 2}


def test_a_newer_attempt_replaces_the_older_one(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer("old"), gate=gate), chat_answer("new"))
    worker.job(id=1, attempt=1)
    provider.request()
    worker.job(id=1, attempt=1)
    worker.job(id=1, attempt=2)
    turn = worker.read("turn")
    gate.set()
    assert turn["attempt"] == 2 and json.loads(turn["body"])["targetResponse"] == "new"
    assert worker.read("result")["attempt"] == 2


def test_a_flood_of_jobs_with_a_slow_reader_loses_nothing(start_worker, provider):
    worker = start_worker(PROCTOR_CAPACITY="400")
    provider.default = Reply(chat_answer("x" * 60_000))
    for id in range(300):
        worker.job(id=id)
    results = [worker.result() for _ in range(300)]
    assert all(result["success"] for result in results)
    assert {result["id"] for result in results} == set(range(300))


def test_jobs_from_a_regular_file_are_read(start_worker, tmp_path):
    script = tmp_path / "jobs"
    script.write_text('{"type":"ping","seq":1}\n{"type":"shutdown","grace_ms":100}\n')
    command = ("/bin/sh", "-c", f"exec {PYTHON} {WORKERS}/probe.py --serve < {script}")
    worker = start_worker(command=command)
    assert worker.read("pong")["seq"] == 1
    assert worker.wait() == (0, [])


def test_fail_model_id_is_a_simulated_rate_limit_without_a_call(start_worker, provider):
    worker = start_worker(FAIL_MODEL_ID="rate-limit-test")
    worker.job(id=1, model="rate-limit-test")
    error = worker.read("result")["error"]
    assert (error["code"], error["statusCode"], error["retryable"]) == ("RATE_LIMIT", 429, True)
    assert error["details"] == {"provider": "simulated"}
    assert provider.requests.empty()


def test_a_missing_key_names_the_variable_and_how_to_set_it(start_worker, provider):
    worker = start_worker(keys=())
    worker.job(id=1)
    error = worker.read("result")["error"]
    assert error["code"] == "MISSING_API_KEY" and error["retryable"] is False
    assert error["message"].startswith("OPENAI_API_KEY is not set: ")
    assert "environment" in error["message"] and "key_file" in error["message"]
    assert provider.requests.empty()


def test_a_key_of_another_name_is_used_and_named(start_worker, provider):
    named = json.dumps({"openai": {"base_url": provider.url, "key_env": "MY_KEY"}})
    worker = start_worker(keys=(), PROCTOR_PROVIDERS=named)
    worker.job(id=1)
    assert worker.read("result")["error"]["message"].startswith("MY_KEY is not set: ")
    worker = start_worker(keys=(), PROCTOR_PROVIDERS=named, MY_KEY=KEY)
    worker.job(id=1)
    assert worker.result()["success"]
    assert provider.request().headers["authorization"] == f"Bearer {KEY}"


def test_a_key_echoed_by_a_provider_is_shown_nowhere(worker, provider):
    provider.script(Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status=401),
                    Reply(f"<html>{KEY}</html>", status=502), Reply(chat_answer(f"Your key is {KEY}.")))
    for id, code in ((1, "AUTH_ERROR"), (2, "SERVER_ERROR")):
        worker.job(id=id)
        error = worker.read("result")["error"]
        assert error["code"] == code and "[key removed]" in json.dumps(error)
    worker.job(id=3)
    assert json.loads(worker.read("turn")["body"])["targetResponse"] == "Your key is [key removed]."


def test_an_environment_that_cannot_be_used_ends_the_worker_with_its_reason(start_worker):
    for more, word in ((dict(PROCTOR_CAPACITY="many"), b"PROCTOR_CAPACITY"),
                       (dict(PROCTOR_MODELS="/nowhere/models.ini"), b"/nowhere/models.ini"),
                       (dict(PROCTOR_PROVIDERS='{"opnai":{}}'), b"opnai"),
                       (dict(SSL_CERT_FILE="/nowhere.pem"), b"SSL_CERT_FILE")):
        worker = start_worker(ready=False, **more)
        assert worker.wait()[0] == 78
        assert word in worker.stderr.splitlines()[-1]


def test_a_strange_answer_is_recorded_fit_for_jsonb(worker, provider):
    provider.script(Reply('{"model":"m","choices":[{"message":{"content":"a\\u0000b\\ud800c \\ud83d\\ude00"},'
                          '"finish_reason":"st\\u0000op"}],"usage":{"prompt_tokens":1e400,'
                          '"completion_tokens":99999999999999999999}}'))
    worker.job(id=1)
    turn = worker.read("turn")
    body = json.loads(turn["body"].decode())
    assert body["targetResponse"] == "a\ufffdb\ufffdc \U0001f600"
    assert body["finishReason"] == "st\ufffdop"
    raw = __import__("base64").b64decode(body["targetResponseRaw"]).decode("utf-8", "surrogatepass")
    assert raw == "a\x00b\ud800c \U0001f600"
    assert body["inputTokens"] == 0 and body["outputTokens"] == 0
    assert "input" in body["usageNote"] and "output" in body["usageNote"]
    assert turn["usage"] == {"input": 0, "output": 0, "reasoning": 0}
    assert b"\\u0000" not in turn["body"]


def test_unicode_and_a_megabyte_pass_unharmed(worker, provider):
    text = ("Grüße, 世界 \U0001f30d \u202e\u2028 \\u0000 \"quoted\" \t\n" * 30_000)
    provider.script(chat_answer(text))
    worker.job(id=1, prompt="Grüße \\u0000 \U0001f30d")
    body = json.loads(worker.read("turn")["body"])
    assert body["targetResponse"] == text and "targetResponseRaw" not in body
    assert body["probePrompt"] == "Grüße \\u0000 \U0001f30d"
    assert provider.request().doc["messages"][0]["content"] == "Grüße \\u0000 \U0001f30d"


def test_limits_of_the_headers_travel_with_the_turn(worker, provider):
    provider.script(Reply(chat_answer(), headers={
        "x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms"}))
    worker.job(id=1)
    assert worker.read("turn")["limits"] == {"requests": {"limit": 500, "remaining": 499, "reset_ms": 120}}


def test_the_protocol_descriptors_are_not_inherited(worker):
    folder = f"/proc/{worker.process.pid}"
    pipes = [fd for fd in os.listdir(f"{folder}/fd")
             if int(fd) > 2 and os.readlink(f"{folder}/fd/{fd}").startswith("pipe:")]
    assert len(pipes) >= 2
    for fd in pipes:
        with open(f"{folder}/fdinfo/{fd}") as file:
            flags = next(line for line in file if line.startswith("flags:")).split()[1]
        assert int(flags, 8) & os.O_CLOEXEC
