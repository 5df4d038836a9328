"""A scripted provider on loopback, and a worker process to talk to."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow; that is no fault of what is tested.
settings.register_profile("workers", deadline=None, max_examples=50,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("workers")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORKERS = os.path.join(ROOT, "workers")
PROBE = os.path.join(WORKERS, "probe.py")
PYTHON = "/usr/bin/python3"
sys.path.insert(0, WORKERS)

# How long any single event may take before a test fails; none is expected to come near it.
DEADLINE_S = 15
# Planted in every worker's environment; no output may hold it.
KEY = "sk-planted-3f9c1b7e55aa40d2"
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY",
    "xai": "XAI_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "mistral": "MISTRAL_API_KEY",
}


def chat_answer(text="An answer.", **changes):
    """A success document in the chat completions format."""
    doc = {"id": "c1", "object": "chat.completion", "model": "gpt-4-0613",
           "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                        "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}}
    doc.update(changes)
    return doc


class Reply:
    """One scripted response.

    status, body (bytes, str or a document) and headers; gate: an Event to wait for before answering;
    drop: close the connection without a word; cut: announce more bytes than are sent, then close;
    endless: send the body again and again, of no announced length, until the worker hangs up.
    """

    def __init__(self, body="", status=200, headers=(), gate=None, drop=False, cut=False, endless=False):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        self.body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        self.status = status
        self.headers = list(dict(headers).items())
        self.gate = gate
        self.drop = drop
        self.cut = cut
        self.endless = endless
        self.hung_up = threading.Event()


class Request:
    """What a call brought: path, headers (lower case names), doc."""

    def __init__(self, handler, data):
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.peer = handler.client_address
        self.data = data

    @property
    def doc(self):
        return json.loads(self.data)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        provider = self.server.provider
        provider.requests.put(Request(self, data))
        reply = provider.next_reply()
        if reply.gate is not None:
            assert reply.gate.wait(DEADLINE_S)
        if reply.drop:
            self.close_connection = True
            return
        self._answer(reply)

    def _answer(self, reply):
        self.send_response(reply.status)
        names = {name.lower() for name, _ in reply.headers}
        if reply.endless:
            self.close_connection = True
        elif "content-length" not in names:
            self.send_header("Content-Length", str(len(reply.body) + (1000 if reply.cut else 0)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(reply.body)
            while reply.endless:
                self.wfile.write(reply.body)
        except OSError:
            reply.hung_up.set()
        self.close_connection = self.close_connection or reply.cut

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class Provider:
    """The scripted provider: replies in order, then `default` for ever; requests as they came."""

    def __init__(self):
        self.default = Reply(chat_answer())
        self.replies = queue.SimpleQueue()
        self.requests = queue.Queue()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.provider = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def script(self, *replies):
        for reply in replies:
            self.replies.put(reply if isinstance(reply, Reply) else Reply(reply))

    def next_reply(self):
        try:
            return self.replies.get_nowait()
        except queue.Empty:
            return self.default

    def request(self):
        """The next request, waited for."""
        return self.requests.get(timeout=DEADLINE_S)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def provider():
    scripted = Provider()
    yield scripted
    scripted.close()


def environment(base_url=None, keys=tuple(KEY_VARIABLES), **more):
    """A worker's environment: all providers at base_url/NAME, the planted key for each of `keys`."""
    variables = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    if base_url:
        variables["PROCTOR_PROVIDERS"] = json.dumps(
            {name: {"base_url": f"{base_url}/{name}"} for name in KEY_VARIABLES})
    variables.update({KEY_VARIABLES[name]: KEY for name in keys})
    variables.update(more)
    return {name: value for name, value in variables.items() if value is not None}


def probe_input(model="gpt-4", prompt="What ought one do?", followups=(), preamble=None, **config):
    """The seed's worker input."""
    return {"runId": "run-1", "scenarioId": "scenario-1", "modelId": model, "sampleIndex": 0,
            "scenario": {"preamble": preamble, "prompt": prompt, "followups": list(followups)},
            "config": config}


class ServeWorker:
    """A worker in serve mode. `read` gives its messages in order; a turn carries its body line as "body"."""

    def __init__(self, environ, command=(PYTHON, PROBE, "--serve")):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environ)
        self.raw = []
        self.stderr = b""
        self._messages = queue.Queue()
        self._threads = [threading.Thread(target=self._pump_out, daemon=True),
                         threading.Thread(target=self._pump_err, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _pump_out(self):
        for line in self.process.stdout:
            self.raw.append(line)
            message = json.loads(line)
            if message["type"] == "turn":
                body = self.process.stdout.readline()
                self.raw.append(body)
                message["body"] = body.rstrip(b"\n")
            self._messages.put(message)
        self._messages.put(None)

    def _pump_err(self):
        for line in self.process.stderr:
            self.stderr += line

    def send(self, *messages):
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
                 for message in messages]
        self.process.stdin.write(b"".join(lines))
        self.process.stdin.flush()

    def read(self, wanted=None):
        """The next message, of type `wanted` if given; None at the end of output."""
        message = self._messages.get(timeout=DEADLINE_S)
        if wanted is not None:
            assert message is not None and message["type"] == wanted, (message, self.stderr.decode())
        return message

    def job(self, id=1, attempt=1, turns=(), digest="", deadline_ms=DEADLINE_S * 1000, **more):
        self.send({"type": "job", "id": id, "attempt": attempt, "deadline_ms": deadline_ms,
                   "turns": list(turns), "digest": digest, "input": more.pop("input", None)
                   or probe_input(**more)})

    def result(self):
        """The next message that is a result, turns before it left out."""
        while True:
            message = self.read()
            assert message is not None, self.stderr.decode()
            if message["type"] == "result":
                return message

    def wait(self):
        """Waits for the end; returns (exit code, messages not yet read)."""
        code = self.process.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        rest = []
        while (message := self._messages.get(timeout=DEADLINE_S)) is not None:
            rest.append(message)
        return code, rest

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass


@pytest.fixture
def start_worker(provider):
    """start_worker(**environment) -> a ServeWorker that is ready; all are ended after the test, and none
    of them may have shown the planted key."""
    started = []

    def start(ready=True, command=(PYTHON, PROBE, "--serve"), **more):
        worker = ServeWorker(environment(provider.url, **more), command)
        started.append(worker)
        if ready:
            worker.read("hello")
            worker.read("ready")
        return worker

    yield start
    for worker in started:
        worker.close()
    for worker in started:
        assert KEY.encode() not in b"".join(worker.raw) + worker.stderr


@pytest.fixture
def worker(start_worker):
    return start_worker()


def run_one_shot(document, environ, arguments=()):
    """(exit code, decoded stdout, stderr) of one-shot probe.py."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    done = subprocess.run([PYTHON, PROBE, *arguments], input=data, env=environ, capture_output=True,
                          timeout=DEADLINE_S)
    assert KEY.encode() not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr
