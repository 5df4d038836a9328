"""The simulator of the six providers, on a free port of the loopback interface."""

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request

from . import place

PROVIDERS = ("openai", "anthropic", "google", "xai", "deepseek", "mistral")


class Simulator:
    """options: further words of its command line, such as "--latency", "0.05"."""

    def __init__(self, *options):
        self.folder = place.make_folder("sim")
        self._options = options
        self.process = None
        self.port = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def start(self):
        port_file = os.path.join(self.folder, "port")
        if os.path.exists(port_file):
            os.unlink(port_file)
        program = os.path.join(place.installation(), "lib", "proctor", "workers", "simulator")
        command = [sys.executable, program, "--port", str(self.port or 0), "--port-file", port_file,
                   *map(str, self._options)]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd="/", start_new_session=True, **place.as_run_user())
        self.port = place.wait_until(lambda: self._told_port(port_file), 20, "the simulator's port")
        return self

    def _told_port(self, port_file):
        assert self.process.poll() is None, f"the simulator ended at its start\n{self.log()}"
        try:
            with open(port_file, encoding="ascii") as file:
                text = file.read().strip()
        except FileNotFoundError:
            return None
        return int(text) if text else None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ini(self, *providers, **keys):
        """Sections that send these providers (all by default) here; keys go into each of them."""
        return {f"provider:{name}": {"base_url": f"{self.url}/{name}", **keys}
                for name in providers or PROVIDERS}

    def get(self, path, **query):
        """JSON of one of its own pages, such as get("/_sim/ledger", provider="openai")."""
        target = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        with urllib.request.urlopen(target, timeout=20) as answer:
            return json.load(answer)

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self):
        """At once: by SIGTERM it would wait for the answers under way."""
        place.end_process(self.process, signal.SIGKILL)

    def remove(self):
        if self.process is not None:
            self.stop()
        place.remove_folder(self.folder)
