"""Alerts: what webhooks are told, by whom it is signed, and what becomes of it when they or the database are away."""

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import threading

import pytest

from harness import place
from probing import KEYS, running, start, wait_end

pytest_plugins = ["probe_fixtures", "trouble_fixtures"]

SECRET = "whsec-planted-5f1c"
PATH_SECRET = "planted-path-77aa"


class Hook:
    """A webhook that answers with `status`; None is silence until it is closed. `got` are the messages it took."""

    def __init__(self):
        self.status, self.got, self.refused = 200, [], 0
        self.closed = threading.Event()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.status
                if status is None:
                    hook.closed.wait()
                    return
                if status == 200:
                    hook.got.append((self.path, dict(self.headers), body))
                else:
                    hook.refused += 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        self.closed.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def messages(self):
        return [json.loads(body) for path, _, body in self.got if path == "/ops"]

    def wait(self, count, deadline=20):
        place.wait_until(lambda: len(self.messages()) >= count, deadline, f"{count} messages")
        return self.messages()


@pytest.fixture
def hook():
    with contextlib.closing(Hook()) as made:
        yield made


def alerting(hook, url, **sections):
    return {"database": {"url": url}, "pool:probe": {"size": 1},
            "alert:ops": {"url": f"{hook.url}/ops", "secret_env": "HOOK_SECRET"}, **sections}


def keys(hook):
    return {**KEYS, "HOOK_SECRET": SECRET, "CHAT_URL": f"{hook.url}/{PATH_SECRET}"}


def target(daemon, name="ops"):
    return next(found for found in daemon.ctl("alerts")["targets"] if found["name"] == name)


def is_signed(headers, body):
    stamp, mac = (part.split("=", 1)[1] for part in headers["X-Proctor-Signature"].split(","))
    return hmac.compare_digest(mac, hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest())


def test_a_webhook_that_fails_and_hangs_gets_it_signed_in_the_end(simulator, postgres, hook):
    chat = {"alert:chat": {"url_env": "CHAT_URL", "format": "slack", "kinds": "run.finished"}}
    with running(simulator, alerting(hook, postgres.database(), **chat), keys=keys(hook)) as daemon:
        hook.status = 503
        run = start(daemon, 1)
        wait_end(daemon, run)
        place.wait_until(lambda: target(daemon)["failures"] >= 2, 15, "it to be tried again")
        assert target(daemon)["lastError"] == "answered 503" and target(daemon)["owed"] == 1
        refused = daemon.proctorctl("alerts", "test", "ops")
        assert refused.returncode != 0 and "answered 503" in refused.stderr
        hook.status = 200
        message = hook.wait(1)[0]
        assert (message["type"], message["kind"], message["subject"]) == ("notice", "run.finished", run)
        assert message["text"] == "COMPLETED"
        said = place.wait_until(lambda: [body for path, _, body in hook.got if path == f"/{PATH_SECRET}"], 20, "chat")
        assert f"run.finished: {run}: COMPLETED" in json.loads(said[0])["text"]
        place.wait_until(lambda: target(daemon)["owed"] == 0, 10, "nothing to be owed")
        assert daemon.proctorctl("alerts", "test", "ops").returncode == 0
        assert hook.messages()[1]["type"] == "test" and len(hook.messages()) == 2 and len(said) == 1
        assert all(is_signed(headers, body) for path, headers, body in hook.got if path == "/ops")
        missing = daemon.proctorctl("alerts", "test", "nobody")
        assert missing.returncode != 0 and "[alert:nobody]" in missing.stderr
        place.wait_until(lambda: daemon.ctl("alerts")["items"] == [], 10, "what was told to be forgotten")
        assert "Nothing is wrong." in daemon.proctorctl("alerts").stdout
        # Silence holds up nothing else.
        hook.status = None
        wait_end(daemon, start(daemon, 1))
        place.wait_until(lambda: target(daemon)["state"] == "sending", 10, "a message to be under way")
        shown = json.dumps(daemon.ctl("config", "show")) + daemon.log(10000)
        assert SECRET not in shown and PATH_SECRET not in shown
        # Workers are given the keys of providers, and nothing that is the webhooks'.
        seen = [environment_of(pid) for pid in daemon.worker_pids()]
        assert all("OPENAI_API_KEY=" in text and SECRET not in text and PATH_SECRET not in text for text in seen)


def environment_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().decode(errors="replace")


def test_an_outage_of_the_database_is_told_during_it_and_its_end_once_by_another_life(simulator, server, hook):
    with running(simulator, alerting(hook, server.database()), keys=keys(hook)) as daemon:
        server.stop()
        first = hook.wait(1)[0]
        assert (first["type"], first["kind"], first["severity"]) == ("raised", "database.away", "error")
        kept = os.path.join(daemon.folder, "state", "alerts")

        def is_kept():
            with contextlib.suppress(FileNotFoundError), open(kept, encoding="utf-8") as file:
                return '"told":"ops,"' in file.read()
        place.wait_until(is_kept, 10, "it to be kept")
        assert os.stat(kept).st_mode & 0o777 == 0o600
        daemon.kill()
        daemon.start()
        item = place.wait_until(lambda: daemon.ctl("alerts")["items"], 10, "the condition to be known")[0]
        assert item["id"] == first["id"] and item["state"] == "active"
        hook.status = 503
        server.start()
        place.wait_until(lambda: hook.refused, 20, "the end to be told to one who does not listen")
        daemon.stop()
        hook.status = 200
        daemon.start()
        messages = hook.wait(2)
        assert [(message["type"], message["id"]) for message in messages] == [("raised", first["id"]),
                                                                             ("resolved", first["id"])]
        place.wait_until(lambda: daemon.ctl("alerts")["items"] == [], 10, "nothing to be left")


@pytest.mark.parametrize("keys_given, words", [
    ("url = http://192.0.2.1/x", "allow_insecure = yes"),
    ("url = http://127.0.0.1@192.0.2.1/x", "allow_insecure = yes"),
    ("kinds = run.finished", "url_env"),
    ("url = https://a/x\nurl_env = B", "remove one"),
    ("url = https://a/x\nkinds = run.finised", "run.finished"),
], ids=["plain", "user", "none", "both", "kind"])
def test_a_bad_section_is_refused_with_its_place(tmp_path, keys_given, words):
    ini = tmp_path / "proctor.ini"
    ini.write_text(f"[alert:ops]\n{keys_given}\n", encoding="utf-8")
    program = os.environ.get("PROCTORD", os.path.join(os.path.dirname(__file__), "../../build/proctord"))
    done = subprocess.run([program, "--config", str(ini), "--check-config"], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 78 and "[alert:ops]" in done.stderr and words in done.stderr
