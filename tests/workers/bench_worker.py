#!/usr/bin/python3
"""What a probe costs one worker: CPU per one-turn probe, and memory with many calls in flight.

usage: bench_worker.py cpu [PROBES [WINDOW]]     nginx on loopback answers at once (600 bytes of text)
       bench_worker.py memory [CALLS [LATENCY_S]]  a slow loopback server holds all calls at once
       bench_worker.py start                     exec to `ready`, and the idle memory
Prints one JSON line.
"""

import json
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROBE = os.path.join(ROOT, "workers", "probe.py")
NGINX = "/usr/sbin/nginx"
TEXT = ("I would weigh the duties on both sides before I act here. " * 11)[:600]
ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1730000000, "model": "gpt-4-0613",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 150, "completion_tokens": 120, "total_tokens": 270}})
NGINX_CONF = """daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;
location / {{ return 200 '{answer}'; }} }} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_nginx(folder):
    port = free_port()
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(NGINX_CONF.format(dir=folder, port=port, answer=ANSWER))
    server = subprocess.Popen([NGINX, "-c", path, "-e", folder + "/error.log"])
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except ConnectionRefusedError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            os.sched_yield()


def start_slow_server(latency_s):
    """A thread that answers every request latency_s after its arrival; returns its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    reply = (f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
             + ANSWER).encode()
    threading.Thread(target=_slow_loop, args=(listener, reply, latency_s), daemon=True).start()
    return listener.getsockname()[1]


def _slow_loop(listener, reply, latency_s):
    poll, peers, due = select.epoll(), {}, []
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll(max(0, due[0][0] - time.monotonic()) if due else -1):
            if fd == listener.fileno():
                peer, _ = listener.accept()
                peers[peer.fileno()] = [peer, b""]
                poll.register(peer, select.EPOLLIN)
                continue
            entry = peers[fd]
            entry[1] += entry[0].recv(65536)
            if b"\r\n\r\n" in entry[1] and entry[1].endswith(b"}"):
                entry[1] = b""
                due.append((time.monotonic() + latency_s, entry[0]))
        while due and due[0][0] <= time.monotonic():
            due.pop(0)[1].sendall(reply)


def start_worker(port, capacity):
    providers = {"openai": {"base_url": f"http://127.0.0.1:{port}"}}
    environment = {"PROCTOR_PROVIDERS": json.dumps(providers), "OPENAI_API_KEY": "sk-bench-0123456789",
                   "PROCTOR_CAPACITY": str(capacity), "PATH": os.environ["PATH"]}
    worker = subprocess.Popen(["/usr/bin/python3", PROBE, "--serve"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=environment)
    assert b'"hello"' in worker.stdout.readline()
    assert b'"ready"' in worker.stdout.readline()
    return worker


def job(number):
    return json.dumps({
        "type": "job", "id": number, "attempt": 1, "deadline_ms": 300000, "turns": [], "digest": "",
        "input": {"runId": "run", "scenarioId": f"s{number}", "modelId": "gpt-4", "sampleIndex": 0,
                  "scenario": {"preamble": "You answer with care.", "prompt": "What ought one do? " * 16,
                               "followups": []},
                  "config": {"temperature": 0.7, "maxTokens": 1000, "maxTurns": 10}}}).encode() + b"\n"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def memory_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        rows = dict(line.split(":") for line in file if line.startswith(("Rss", "Pss:")))
    return {name.lower() + "_kb": int(text.split()[0]) for name, text in rows.items()}


class Results:
    """Counts the results that a worker writes, whatever way its output is cut."""

    def __init__(self, worker):
        self.fd = worker.stdout.fileno()
        self.count = 0
        self._tail = b""

    def read(self):
        """One read; returns how many results it completed."""
        *lines, self._tail = (self._tail + os.read(self.fd, 1 << 20)).split(b"\n")
        done = [line for line in lines if line.startswith(b'{"type":"result"')]
        failed = [line for line in done if b'"success":true' not in line]
        assert not failed, failed[0]
        self.count += len(done)
        return len(done)


def drive(worker, probes, window):
    """Keeps `window` probes in flight until all are answered; returns seconds taken."""
    lines = [job(number) for number in range(probes)]
    results = Results(worker)
    started = time.monotonic()
    sent = min(window, probes)
    os.write(worker.stdin.fileno(), b"".join(lines[:sent]))
    while results.count < probes:
        more = lines[sent:sent + results.read()]
        sent += len(more)
        if more:
            os.write(worker.stdin.fileno(), b"".join(more))
    return time.monotonic() - started


def bench_cpu(probes=20_000, window=60, rounds=10):
    """The best round counts: the others shared their core with something else."""
    with tempfile.TemporaryDirectory() as folder:
        nginx, port = start_nginx(folder)
        worker = start_worker(port, 500)
        try:
            drive(worker, 2000, window)
            costs, rates = [], []
            for _ in range(rounds):
                before = cpu_seconds(worker.pid)
                rates.append(probes // rounds / drive(worker, probes // rounds, window))
                costs.append((cpu_seconds(worker.pid) - before) / (probes // rounds) * 1e6)
            return {"figure": "worker_cpu_per_probe", "value": round(min(costs), 1), "unit": "us",
                    "median": round(sorted(costs)[rounds // 2], 1), "worst": round(max(costs), 1),
                    "probes_per_s": round(max(rates)), "window": window, **memory_kb(worker.pid)}
        finally:
            worker.kill()
            nginx.terminate()
            worker.wait()
            nginx.wait()


def bench_memory(calls=1000, latency_s=2):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    worker = start_worker(start_slow_server(latency_s), calls)
    try:
        idle = memory_kb(worker.pid)
        peak = {}
        for line in (job(number) for number in range(calls)):
            os.write(worker.stdin.fileno(), line)
        results = Results(worker)
        while results.count < calls:
            ready, _, _ = select.select([worker.stdout], [], [], 0.2)
            peak = max(peak, memory_kb(worker.pid), key=lambda row: row.get("pss_kb", 0))
            if ready:
                results.read()
        return {"figure": "worker_inflight_pss", "value": round(peak["pss_kb"] / 1024, 1), "unit": "MB",
                "calls": calls, "latency_s": latency_s, "idle": idle, "peak": peak}
    finally:
        worker.kill()
        worker.wait()


def bench_start(times=15):
    spans = []
    for _ in range(times):
        started = time.monotonic()
        worker = start_worker(9, 500)
        spans.append((time.monotonic() - started) * 1000)
        usage = memory_kb(worker.pid)
        worker.kill()
        worker.wait()
    return {"figure": "worker_ready_ms", "value": round(sorted(spans)[times // 2], 1), "unit": "ms",
            "worst": round(max(spans), 1), **usage}


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:] or [""]
    if kind not in ("cpu", "memory", "start"):
        sys.exit(__doc__)
    print(json.dumps(globals()[f"bench_{kind}"](*map(int, numbers))))
