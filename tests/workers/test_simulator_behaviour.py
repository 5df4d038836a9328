"""Directives, latency, ledger and control API."""

import http.client
import json
import random
import socket
import threading
import time

import pytest
from simulator_fixtures import (DEADLINE_S, MODELS, PROVIDERS, Simulator, ask_path, auth, request_body, text_of,
                                usage_of)

from simulator.formats.base import messages_digest
from simulator.latency import parse_latency
from simulator.prose import compose
from simulator.settings import Settings, latency_for


@pytest.fixture(scope="module")
def process():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(process):
    process.default()
    return process


# --- directives


def test_fault_for_the_first_asks_lets_the_retry_succeed(sim):
    asks = [sim.ask("openai", "Try me. [[sim:status=500,times=2]]").status for _ in range(3)]
    assert asks == [500, 500, 200]
    assert sim.ask("openai", "Try me. [[sim:status=500,times=2]]", model="gpt-4o").status == 500
    assert sim.ask("openai", "And me. [[sim:status=500,times=2]]").status == 500


def test_directives_combine_and_the_later_bracket_wins(sim):
    prompt = "[[sim:status=500,header=x-a:1]] [[sim:status=503,header=x-b:2]]"
    answer = sim.ask("xai", prompt, system="[[sim:keepalive=2]]")
    assert (answer.status, answer.headers["x-b"]) == (503, "2")
    assert answer.raw.startswith(b"\n\n{")


def test_directive_of_an_earlier_turn_is_history(sim):
    assert sim.ask("openai", "One. [[sim:status=500]]", "Answer.", "Two.").status == 200
    assert sim.ask("openai", "One.", "Answer [[sim:status=500]]", "Two.").status == 200
    system = "[[sim:status=502,turn=2]]"
    asked = [["One."], ["One.", "A.", "Two."]]
    assert [sim.ask("openai", *turns, system=system).status for turns in asked] == [200, 502]


def test_chance_is_drawn_from_the_ask_and_so_repeats(sim):
    def draws():
        return [sim.ask("openai", f"Ask {i}. [[sim:status=500,chance=0.5]]").status for i in range(40)]
    first = draws()
    assert 8 < first.count(500) < 32
    sim.default()
    assert draws() == first


@pytest.mark.parametrize("provider", PROVIDERS)
def test_texts_that_break_careless_clients(sim, provider):
    def text(directive):
        answer = sim.ask(provider, f"Go. [[sim:{directive}]]")
        assert answer.status == 200
        return text_of(provider, answer.json), answer.raw
    assert text("empty")[0] == ""
    assert text("text=Exactly this")[0] == "Exactly this"
    assert "\x00" in text("nul")[0]
    assert "\ud83d" in text("surrogate")[0] and b"\\ud83d" in text("surrogate")[1]
    unicode_text, raw = text("unicode")
    assert "👩🏽‍🚀" in unicode_text and "𐍈".encode() in raw
    huge, raw = text("huge=1048576")
    assert (len(huge), len(raw) > 1 << 20) == (1 << 20, True)
    assert 280 <= len(text("words=300")[0].split()) <= 330


def test_echo_returns_a_megabyte_of_unicode_unharmed(sim):
    prompt = "Grüße 你好 👩🏽‍🚀 \x00 \"\\ " * 40_000
    assert text_of("openai", sim.ask("openai", prompt + "[[sim:echo]]").json) == prompt.strip()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_numbers_beyond_any_integer_are_sent_raw(sim, provider):
    field = {"anthropic": "output_tokens", "google": "candidatesTokenCount"}.get(provider, "completion_tokens")
    for raw in ("1e400", "NaN", "-5", "99999999999999999999", '"many"'):
        assert f'"{field}": {raw}' in sim.ask(provider, f"[[sim:usage={raw}]]").raw.decode()
    assert f'"{field}": 1e400' in sim.ask(provider, "[[sim:1e400]]").raw.decode()


def test_finish_version_and_html_can_be_set(sim):
    assert sim.ask("openai", "[[sim:finish=length]]").json["choices"][0]["finish_reason"] == "length"
    assert sim.ask("anthropic", "[[sim:finish=length]]").json["stop_reason"] == "max_tokens"
    assert sim.ask("anthropic", "[[sim:finish=pause_turn]]").json["stop_reason"] == "pause_turn"
    assert sim.ask("google", "[[sim:finish=RECITATION]]").json["candidates"][0]["finishReason"] == "RECITATION"
    assert sim.ask("openai", "[[sim:version=gpt-4-0613]]").json["model"] == "gpt-4-0613"
    assert "model" not in sim.ask("mistral", "[[sim:version=none]]").json
    assert sim.ask("openai", "[[sim:html]]").raw.startswith(b"<html>")


def test_broken_json_has_a_fitting_length(sim):
    answer = sim.ask("openai", "[[sim:badjson]]")
    assert int(answer.headers["Content-Length"]) == len(answer.raw)
    with pytest.raises(ValueError):
        json.loads(answer.raw)


@pytest.mark.parametrize("where, error", [("start", http.client.RemoteDisconnected),
                                          ("headers", http.client.IncompleteRead),
                                          ("middle", http.client.IncompleteRead)])
def test_hangup_breaks_the_answer_and_is_not_bought(sim, where, error):
    with pytest.raises(error) as caught:
        sim.ask("openai", f"[[sim:hangup={where}]]")
    if where == "middle":
        assert caught.value.partial and caught.value.expected > 0
    sim.wait(ledger=1)
    entry = sim.entries()[-1]
    assert (entry["status"], entry["delivered"], entry["bought"]) == (200, False, False)


@pytest.mark.parametrize("where", ["start", "middle"])
def test_hang_lasts_until_the_client_leaves(sim, where):
    connection = sim.sent("mistral", f"[[sim:hang={where}]]")
    sim.wait(in_flight=1)
    connection.close()
    sim.wait(ledger=1)
    stats = sim.get("/_sim/stats")["providers"]["mistral"]
    assert (stats["undelivered"], stats["bought"], stats["in_flight"]) == (1, 0, 0)


def test_unknown_or_malformed_directive_is_refused_by_name(sim):
    for inner, told in (("stauts=500", "stauts"), ("status=9", "400..599"), ("latency=soon", "latency"),
                        ("nul=3", "no value"), ("status", "needs a value"), ("error=xai.nope", "nope"),
                        ("refuse=rudely", "rudely"), ("error=google.per_day", "google.per_day")):
        answer = sim.ask("openai", f"[[sim:{inner}]]")
        assert (answer.status, told in answer.json["error"]["message"]) == (400, True), answer.raw


# --- latency


def test_latency_is_kept_per_provider_and_model(sim):
    sim.post("/_sim/config", {"latency": {"*": 0, "openai": "fixed:0.05", "openai/gpt-4*": "uniform:0.1:0.12"}})

    def took(provider, model=None):
        sim.ask(provider, "Hello", model=model)
        entry = sim.entries()[-1]
        return entry["ended"] - entry["arrived"]
    assert took("openai", "o3") >= 0.05
    assert took("openai", "gpt-4o") >= 0.1
    sim.ask("xai", "[[sim:latency=0.08,status=500]]")
    entry = sim.entries()[-1]
    assert entry["ended"] - entry["arrived"] >= 0.08


@pytest.mark.parametrize("provider, model, spec", [("xai", "grok-2", "0"), ("openai", "o3", "fixed:0.05"),
                                                   ("openai", "gpt-4o", "uniform:0.1:0.12"), ("google", "g", "0")])
def test_most_specific_latency_counts(provider, model, spec):
    table = {"openai/gpt-4*": "uniform:0.1:0.12", "*": "0", "openai": "fixed:0.05", "xai/grok-4": "9"}
    assert latency_for(Settings(latency=table), provider, model) == parse_latency(spec)


def test_lognormal_latency_has_its_median_and_a_heavy_tail():
    latency, rng = parse_latency("lognormal:0.8:1:30"), random.Random(1)
    draws = sorted(latency.draw(rng) for _ in range(4001))
    assert 0.75 < draws[2000] < 0.85
    assert draws[-40] > 5 and draws[-1] <= 30


@pytest.mark.parametrize("text", ["soon", "fixed", "fixed:-1", "uniform:2:1", "lognormal:1", "fixed:nan", "gauss:1:2",
                                  "1:2"])
def test_bad_latency_is_refused(text):
    with pytest.raises(ValueError):
        parse_latency(text)


def test_slow_body_arrives_whole(sim):
    answer = sim.ask("openai", "[[sim:slow=0.1]]")
    entry = sim.entries()[-1]
    assert text_of("openai", answer.json) and entry["bought"] and entry["ended"] - entry["arrived"] >= 0.09


@pytest.mark.parametrize("number", range(50))
def test_prose_keeps_to_its_length(number):
    turn = 1 + number % 3
    text = compose((0, "m", turn, str(number), None), "m", turn, "May a city ban old cars?", (80, 150))
    assert 80 <= len(text.split()) <= 150


# --- ledger and control


def test_ledger_proves_what_was_bought_and_when(sim):
    start = (time.monotonic(), time.time())
    first = sim.ask("anthropic", "One?", system="Be kind.")
    sim.ask("anthropic", "One?", "Yes.", "Two?", system="Be kind.")
    sim.ask("anthropic", "[[sim:quota]]")
    end = (time.monotonic(), time.time())
    one, two, three = sim.entries()
    assert start[0] <= one["arrived"] <= one["ended"] <= two["arrived"] <= end[0]
    assert start[1] <= one["arrived_unix"] <= one["ended_unix"] <= end[1]
    assert (one["turn"], two["turn"]) == (1, 2)
    assert one["conversation"] == two["conversation"] != three["conversation"]
    assert one["digest"] == messages_digest([("system", "Be kind."), ("user", "One?")]) != two["digest"]
    assert (one["input_tokens"], one["output_tokens"], one["reasoning_tokens"]) == usage_of("anthropic", first.json)
    assert one["bytes"] == len(first.raw)
    assert [(e["status"], e["bought"], e["error"]) for e in (one, two, three)] == [
        (200, True, None), (200, True, None), (402, False, "anthropic.billing_error")]
    assert sim.entries(since=two["n"]) == [three]
    assert sim.entries(bought="true") == [one, two]
    assert "kind" not in json.dumps([one, two, three])


def test_ledger_keeps_texts_only_when_told_to(sim):
    sim.post("/_sim/config", {"keep_text": True})
    answer = sim.ask("xai", "Remember me.")
    entry = sim.entries()[-1]
    assert (entry["messages"], entry["answer"]) == ([["user", "Remember me."]], text_of("xai", answer.json))


def test_signed_answers_to_the_same_ask_are_told_apart_by_the_ledger(sim):
    sim.post("/_sim/config", {"sign": True})
    texts = [text_of("mistral", sim.ask("mistral", "The same again.").json) for _ in range(2)]
    ids = [entry["id"] for entry in sim.entries()]
    assert ids[0] != ids[1] and [text.partition(" ")[0] for text in texts] == [f"[{id_}]" for id_ in ids]
    assert texts[0].partition(" ")[2] == texts[1].partition(" ")[2]


def test_ledger_tells_the_port_that_a_call_came_from(sim):
    connection = sim.sent("openai", "Who asks?")
    port = connection.sock.getsockname()[1]
    connection.getresponse().read()
    sim.wait(ledger=1)
    assert sim.entries()[-1]["port"] == port


def test_answer_to_a_client_that_left_is_not_bought(sim):
    sim.post("/_sim/config", {"hold": True})
    connection = sim.sent("google", "Wait for it")
    sim.wait(in_flight=1)
    connection.close()
    sim.wait(ledger=1)
    entry = sim.entries()[-1]
    assert (entry["status"], entry["delivered"], entry["bought"]) == (200, False, False)


def test_huge_answer_is_bought_only_once_it_is_read(sim):
    connection = sim.sent("openai", "[[sim:huge=16777216]]")
    sim.wait(in_flight=1)
    assert sim.entries() == []
    response = connection.getresponse()
    assert len(json.loads(response.read())["choices"][0]["message"]["content"]) == 16777216
    connection.close()
    sim.wait(ledger=1)
    assert sim.entries()[-1]["bought"] is True


def test_script_rules_apply_in_order_and_wear_off(sim):
    sim.post("/_sim/script", {"rules": [
        {"do": "status=500", "times": 1, "match": {"provider": "openai"}},
        {"do": "ratelimit=3", "times": 1, "match": {"model": "gpt-*", "contains": "please"}},
        {"do": "refuse", "match": {"turn": 2}}]})
    assert [sim.ask("openai", "please").status for _ in range(3)] == [500, 429, 200]
    assert sim.ask("anthropic", "a", "b", "c").json["stop_reason"] == "refusal"
    assert sim.ask("anthropic", "a", "b", "c [[sim:status=503]]").status == 503
    assert [r["used"] for r in sim.get("/_sim/config")["script"]] == [1, 1, 2]
    assert sim.post("/_sim/script", {"rules": [{"do": "boom"}]}, status=400)["error"].startswith("rules[0].do")


BAD_PATCHES = [
    ({"sed": 1}, "sed"), ({"seed": "x"}, "seed"), ({"words": [5, 1]}, "words"), ({"latency": {"azure": 1}}, "azure"),
    ({"latency": {"*": "x"}}, "latency.*"), ({"limits": ["openai:weekly=1"]}, "limits[0]"),
    ({"limits": [{"provider": "openai", "kind": "fixed", "limit": 0}]}, "limits[0].limit"),
    ({"script": [{}]}, "script[0]"), ([], "object")]


@pytest.mark.parametrize("patch, told", BAD_PATCHES)
def test_bad_configuration_is_refused_by_key_and_changes_nothing(sim, patch, told):
    before = sim.get("/_sim/config")
    assert told in sim.post("/_sim/config", patch, status=400)["error"]
    if isinstance(patch, dict):
        sim.post("/_sim/config", {"balance": 3, **patch}, status=400)
    assert sim.get("/_sim/config") == before


def test_configuration_shown_can_be_set_again(sim):
    sim.post("/_sim/config", {"limits": ["openai/gpt-4*:bucket:tokens=300/30+50"]})
    sim.post("/_sim/script", {"rules": [{"do": "status=500,times=2", "match": {"turn": 1}}]})
    shown = sim.get("/_sim/config")
    sim.default()
    assert sim.get("/_sim/config") != shown
    sim.post("/_sim/config", shown)
    assert sim.get("/_sim/config") == shown


def test_control_mistakes_are_answered_in_words(sim):
    assert "wait" in sim.request("GET", "/_sim/wait").json["error"]
    assert "since" in sim.request("GET", "/_sim/ledger?since=x").json["error"]
    assert sim.request("POST", "/_sim/config", b"{").status == 400
    assert sim.request("GET", "/_sim/nothing").status == 404
    assert sim.request("GET", "/azure/v1/models").status == 404
    assert {d["name"] for d in sim.get("/_sim/directives")["directives"]} >= {"status", "error", "hang"}


def test_hundred_clients_at_once_are_all_answered_and_counted(sim):
    statuses = []

    def client(number):
        connection = sim.connect()
        for turn in range(5):
            body = request_body("openai", [f"Client {number}, ask {turn}"], MODELS["openai"])
            connection.request("POST", "/openai" + ask_path("openai", ""), json.dumps(body), auth("openai"))
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert statuses == [200] * 500
    sim.wait(ledger=500)
    assert sim.get("/_sim/stats")["providers"]["openai"]["bought"] == 500
    assert len({e["digest"] for e in sim.entries()}) == 500


def test_keepalive_lines_leave_the_json_readable(sim):
    answer = sim.ask("deepseek", "[[sim:keepalive=5]]")
    assert answer.raw.startswith(b"\n" * 5 + b"{") and text_of("deepseek", answer.json)


def test_large_request_is_told_to_continue(sim):
    body = json.dumps(request_body("openai", ["x" * 2000], "gpt-4")).encode()
    head = ("POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
            f"Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n")
    with socket.create_connection(("127.0.0.1", sim.port), DEADLINE_S) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


def test_what_is_held_is_told_from_what_is_still_answered(sim):
    sim.post("/_sim/config", {"latency": {"*": 60}})
    answered = sim.sent("openai", "Asked before")
    sim.wait(in_flight=1)
    sim.post("/_sim/config", {"hold": True})
    held = [sim.sent("openai", f"Asked after, {number}") for number in range(2)]
    sim.wait(held=2)
    stats = sim.get("/_sim/stats")
    assert (stats["in_flight"], stats["held"]) == (3, 2)
    held[0].close()
    sim.wait(ledger=1)
    assert sim.get("/_sim/stats")["held"] == 1
    sim.post("/_sim/config", {"hold": False})
    sim.wait(in_flight=2)
    for connection in (answered, held[1]):
        connection.close()
    sim.wait(ledger=3)
    assert sim.get("/_sim/stats")["held"] == 0


def test_reset_keeps_counting_what_is_under_way(sim):
    sim.post("/_sim/config", {"hold": True})
    connection = sim.sent("openai", "Held over a reset")
    sim.wait(in_flight=1)
    sim.post("/_sim/reset", {})
    assert sim.get("/_sim/stats")["in_flight"] == 1
    sim.post("/_sim/config", {"hold": False})
    assert connection.getresponse().status == 200
    connection.close()
    assert sim.get("/_sim/stats")["in_flight"] == 0


def test_reasoning_is_configured_by_the_most_specific_scope(sim):
    sim.post("/_sim/config", {"reasoning": {"*": 1, "openai": 2, "openai/o*": 3, "openai/o3*": 4}})
    told = [usage_of("openai", sim.ask("openai", "Hm", model=m).json)[2] for m in ("gpt-4", "o1", "o3-mini")]
    assert told == [2, 3, 4]
    assert usage_of("xai", sim.ask("xai", "Hm").json)[2] == 1
