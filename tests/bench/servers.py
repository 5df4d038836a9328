"""The two servers that stand in for a provider: nginx for speed, a delaying one for calls in flight."""

import json
import os
import subprocess
import sys
import urllib.request

from harness import place

ANSWER_BYTES = 600

NGINX = """
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


def completion():
    """A chat completion as OpenAI's format has it, with ANSWER_BYTES of text."""
    text = "I would hand it in, since honesty weighs more for me than the money does. "
    text = (text * (ANSWER_BYTES // len(text) + 1))[:ANSWER_BYTES]
    return json.dumps({
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "gpt-4-bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 140, "completion_tokens": 130, "total_tokens": 270},
    })


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process on a port of its own; subclasses give its command."""

    def __init__(self):
        self.folder = place.make_folder("bench")
        self.port = free_port()
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd="/", start_new_session=True, **place.as_run_user())
        place.wait_until(self._answers, 10, f"{type(self).__name__} on port {self.port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        place.end_process(self.process)
        place.remove_folder(self.folder)

    def command(self):
        raise NotImplementedError

    def _answers(self):
        assert self.process.poll() is None, f"{self.command()[0]} ended at its start: {self.log()}"
        try:
            self.get("/count")
        except OSError:
            return False
        return True

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def ini(self):
        """The section that sends OpenAI's calls here, without limits."""
        return {"provider:openai": {"base_url": f"http://127.0.0.1:{self.port}", "requests_per_minute": 0,
                                    "concurrency": 0}}


class Nginx(Server):
    """Answers everything at once with the same completion."""

    def command(self):
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(NGINX.format(folder=self.folder, port=self.port, answer=completion()))
        return ["/usr/sbin/nginx", "-e", "stderr", "-p", self.folder, "-c", path]


class Delaying(Server):
    """Answers each call after `delay_s`; tells how many it holds."""

    def __init__(self, delay_s):
        self._delay_s = delay_s
        super().__init__()

    def command(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delaying_server.py")
        path = os.path.join(self.folder, "delaying_server.py")
        with open(source, encoding="utf-8") as original, open(path, "w", encoding="utf-8") as copy:
            copy.write(original.read())
        answer = os.path.join(self.folder, "answer")
        with open(answer, "w", encoding="utf-8") as file:
            file.write(completion())
        return [sys.executable, path, str(self.port), str(self._delay_s), answer]

    def count(self):
        """{"in_flight": now, "most": ever, "served": calls answered}"""
        return self.get("/count")
