"""A running simulator for tests: the real process, and requests as each provider's clients send them."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORKERS = os.path.join(ROOT, "workers")
if WORKERS not in sys.path:
    sys.path.insert(0, WORKERS)

PROVIDERS = ("openai", "anthropic", "google", "xai", "deepseek", "mistral")
MODELS = {"openai": "gpt-4", "anthropic": "claude-3-sonnet", "google": "gemini-1.5-pro", "xai": "grok-2",
          "deepseek": "deepseek-chat", "mistral": "mistral-large"}
DEADLINE_S = 20
DEFAULTS = {"seed": 0, "words": [80, 150], "latency": {}, "reasoning": {}, "limits": [], "script": [], "hold": False,
            "keep_text": False, "sign": False, "balance": 100.0, "silent_limits": False,
            "max_request_bytes": 32 << 20}


class Answer:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def json(self):
        return json.loads(self.raw)


def ask_path(provider, model):
    return {"anthropic": "/v1/messages", "google": f"/v1beta/models/{model}:generateContent",
            "deepseek": "/chat/completions"}.get(provider, "/v1/chat/completions")


def auth(provider, key="test-key"):
    if provider == "anthropic":
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"x-goog-api-key": key} if provider == "google" else {"Authorization": f"Bearer {key}"}


def request_body(provider, texts, model, system=None, **more):
    """texts: user, assistant, user, …"""
    if provider == "google":
        body = {"contents": [{"role": ("user", "model")[i % 2], "parts": [{"text": t}]} for i, t in enumerate(texts)]}
        return {**body, **({"systemInstruction": {"parts": [{"text": system}]}} if system else {}), **more}
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]
    if provider == "anthropic":
        first = {"system": system} if system else {}
        return {"model": model, "max_tokens": 4096, "messages": messages, **first, **more}
    first = [{"role": "system", "content": system}] if system else []
    return {"model": model, "messages": first + messages, **more}


def text_of(provider, body):
    """The answer's text as a client reads it; None when there is none."""
    if provider == "google":
        parts = body.get("candidates", [{}])[0].get("content", {}).get("parts")
        return None if parts is None else "".join(p["text"] for p in parts if not p.get("thought"))
    if provider == "anthropic":
        return "".join(c["text"] for c in body["content"] if c["type"] == "text")
    content = body["choices"][0]["message"]["content"]
    return content if not isinstance(content, list) else "".join(c["text"] for c in content if c["type"] == "text")


def usage_of(provider, body):
    """(input, output with reasoning, reasoning or None) by the rule of each provider's page."""
    if provider == "google":
        u = body["usageMetadata"]
        thoughts = u.get("thoughtsTokenCount", 0)
        return u["promptTokenCount"], u["candidatesTokenCount"] + thoughts, thoughts
    u = body["usage"]
    if provider == "anthropic":
        return u["input_tokens"], u["output_tokens"], u.get("output_tokens_details", {}).get("thinking_tokens", 0)
    reasoning = u.get("completion_tokens_details", {}).get("reasoning_tokens")
    output = u["total_tokens"] - u["prompt_tokens"]
    return u["prompt_tokens"], output, reasoning


class Simulator:
    """The real process.  Leaving the block ends it with SIGTERM."""

    def __init__(self, *options, program=("simulator",), cwd=WORKERS):
        ready_read, ready_write = os.pipe()
        self.process = subprocess.Popen(
            ["/usr/bin/python3", *(["-m"] if program == ("simulator",) else []), *program, "--port", "0",
             "--ready-fd", str(ready_write), *map(str, options)],
            cwd=cwd, pass_fds=[ready_write], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(ready_write)
        ready, _, _ = select.select([ready_read], [], [], DEADLINE_S)
        self.ready_bytes = os.read(ready_read, 10) if ready else None
        os.close(ready_read)
        if self.ready_bytes != b"\n":
            self.process.kill()
            raise AssertionError(f"not ready: {self.process.communicate()}")
        self.first_line = json.loads(self.process.stdout.readline())
        self.port = self.first_line["port"]
        self._connection = None
        self._ended_before = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()

    def end(self, number=signal.SIGTERM):
        """(exit status, rest of stdout, stderr)"""
        if self._connection:
            self._connection.close()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out.decode(), err.decode()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def request(self, method, path, body=None, headers=None):
        """One call on the kept connection, which is opened again after a broken one."""
        if self._connection is None:
            self._connection = self.connect()
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            self._connection.request(method, path, raw, headers or {})
            response = self._connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            self._connection = None
            raise

    def ask(self, provider, *texts, model=None, key="test-key", headers=None, **more):
        model = model or MODELS[provider]
        body = request_body(provider, texts, model, **more)
        return self.request("POST", f"/{provider}{ask_path(provider, model)}", body,
                            {**auth(provider, key), **(headers or {})})

    def sent(self, provider, *texts, **more):
        """A connection on which the ask was sent and nothing read."""
        connection = self.connect()
        model = MODELS[provider]
        connection.request("POST", f"/{provider}{ask_path(provider, model)}",
                           json.dumps(request_body(provider, texts, model, **more)), auth(provider))
        return connection

    def get(self, path):
        answer = self.request("GET", path)
        assert answer.status == 200, answer.raw
        return answer.json

    def post(self, path, body, status=200):
        answer = self.request("POST", path, body)
        assert answer.status == status, answer.raw
        return answer.json

    def entries(self, **query):
        return self.get("/_sim/ledger?limit=100000&" + "&".join(f"{k}={v}" for k, v in query.items()))["entries"]

    def wait(self, ledger=None, **wanted):
        """Until so many asks have ended since default(), or in_flight or asked have reached their number."""
        if ledger is not None:
            wanted["ledger"] = self._ended_before + ledger
        query = "&".join(f"{k}={v}" for k, v in wanted.items())
        answer = self.get(f"/_sim/wait?timeout={DEADLINE_S}&{query}")
        assert answer["met"], answer
        return answer

    def default(self):
        self.post("/_sim/config", DEFAULTS)
        self.post("/_sim/reset", {})
        self._ended_before = self.get("/_sim/stats")["ledger"]
