"""The simulator as a process: its start, its end, and what a kill leaves behind."""

import json
import signal
import socket
import subprocess
import time

import pytest
from simulator_fixtures import DEADLINE_S, ROOT, WORKERS, Simulator, request_body


def test_process_tells_its_port_in_every_way_and_ends_clean(tmp_path):
    ledger, port_file = tmp_path / "ledger", tmp_path / "port"
    sim = Simulator("--ledger", ledger, "--port-file", port_file, program=(ROOT + "/workers/simulator",), cwd="/")
    assert sim.first_line["event"] == "listening"
    assert int(port_file.read_text()) == sim.port
    assert sim.ask("openai", "One", key="key-Zq9").status == 200
    sim.post("/_sim/config", {"hold": True})
    held = sim.sent("openai", "Two")
    sim.wait(in_flight=1)
    started = time.monotonic()
    status, out, err = sim.end()
    held.close()
    assert (status, out) == (0, "")
    assert time.monotonic() - started < 2
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["listening", "stopping"]
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(e["n"], e["bought"]) for e in entries] == [(1, True), (2, False)]
    assert "Zq9" not in err + ledger.read_text()


def test_ledger_survives_a_kill(tmp_path):
    ledger = tmp_path / "ledger"
    with Simulator("--ledger", ledger, program=(ROOT + "/workers/simulator/main.py",), cwd="/") as sim:
        for i in range(20):
            sim.ask("deepseek", f"Ask {i}")
        sim.wait(ledger=20)
        sim.end(signal.SIGKILL)
    assert [json.loads(line)["bought"] for line in ledger.read_text().splitlines()] == [True] * 20


def _unread(sim, sizes):
    """{size: connection} on which an answer of that size was asked for, and nothing read."""
    connections = {}
    for size in sizes:
        connection = connections[size] = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(DEADLINE_S)
        connection.connect(("127.0.0.1", sim.port))
        body = json.dumps(request_body("openai", [f"[[sim:huge={size}]]"], "gpt-4"))
        connection.sendall(f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    sim.wait(asked=len(connections))
    return connections


def _read_all(connection):
    """Everything that still comes, headers included."""
    parts = []
    with connection:
        try:
            while part := connection.recv(1 << 20):
                parts.append(part)
        except ConnectionError:
            pass
    return b"".join(parts)


def test_bought_answer_no_longer_needs_the_simulator(tmp_path):
    with Simulator() as sim:
        connection = _unread(sim, [32 << 20])[32 << 20]
        sim.end(signal.SIGKILL)
        held_by_kernel = len(_read_all(connection))
    ledger = tmp_path / "ledger"
    with Simulator("--ledger", ledger) as sim:
        unread = _unread(sim, range(held_by_kernel - 200_000, held_by_kernel + 200_000, 40_000))
        sim.end(signal.SIGKILL)
    bought = {e["bytes"] for e in map(json.loads, ledger.read_text().splitlines()) if e["bought"]}
    assert 0 < len(bought) < len(unread)
    assert bought <= {len(_read_all(c).partition(b"\r\n\r\n")[2]) for c in unread.values()}


def test_options_and_file_configure_it(tmp_path):
    config = tmp_path / "sim.json"
    config.write_text(json.dumps({"words": [20, 30], "latency": {"openai": 5}, "seed": 1}))
    with Simulator("--config", config, "--latency", "openai=0", "--latency", "xai/grok-*=uniform:0:0.001",
                   "--seed", 9, "--limit", "mistral:fixed:requests=1/1", "--set", "keep_text=true") as sim:
        shown = sim.get("/_sim/config")
    assert (shown["words"], shown["seed"], shown["keep_text"]) == ([20, 30], 9, True)
    assert shown["latency"] == {"openai": "0", "xai/grok-*": "uniform:0:0.001"}
    assert [(s["kind"], s["limit"], s["window_s"]) for s in shown["limits"]] == [("fixed", 1, 1.0)]


@pytest.mark.parametrize("options, told", [(["--host", "0.0.0.0"], "loopback"), (["--host", "box"], "box"),
                                           (["--latency", "soon"], "soon"), (["--limit", "x"], "limits[0]"),
                                           (["--set", "colour=1"], "colour"),
                                           (["--ledger", "/nowhere/x"], "/nowhere/x"),
                                           (["--config", "/nowhere.json"], "/nowhere.json")])
def test_bad_start_is_one_line_and_exit_78(options, told):
    done = subprocess.run(["/usr/bin/python3", "-m", "simulator", *options], cwd=WORKERS, capture_output=True,
                          text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    assert told in done.stderr and done.stderr.count("\n") == 1
