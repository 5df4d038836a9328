"""Alerts: what webhooks are told, by whom it is signed, and what becomes of it when they or the database are away."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import threading

import pytest

from harness import place
from fake_pool import WORKING
from probing import KEYS, hold, running, script, show, start, wait_end
from scrape import scrape

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


def of_the_manual():
    """The examples of proctord(8), section ALERTS: a message, and how its signature is checked."""
    with open(os.path.join(place.REPOSITORY, "packaging/man/proctord.8.md"), encoding="utf-8") as page:
        section = re.search(r"^# ALERTS$(.*?)^# ", page.read(), re.DOTALL | re.MULTILINE).group(1)
    message, code = re.findall(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    names = {}
    exec(code, names)
    return json.loads(message), names["is_from_proctor"]


def is_signed(headers, body, secret=SECRET):
    return of_the_manual()[1](headers["X-Proctor-Signature"], body, secret.encode())


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
        ours = [(headers, body) for path, headers, body in hook.got if path == "/ops"]
        assert all(is_signed(*one) for one in ours)
        assert not any(is_signed(headers, body + b" ") or is_signed(headers, body, "another") for headers, body in ours)
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


# each condition, from its beginning to its end

CONDITIONS = "pool.degraded provider.parked run.stalled run.over_budget spool.high database.away"


def conditions(hook, url, **sections):
    return alerting(hook, url, **{"alert:ops": {"url": f"{hook.url}/ops", "kinds": CONDITIONS}, **sections})


def wait_raised(hook, daemon, kind, subject, severity):
    """The one message so far, and what commands and metrics say of it."""
    place.wait_until(hook.messages, 20, f"{kind} to be told")
    message, = hook.messages()
    assert (message["type"], message["kind"], message["subject"], message["severity"]) == (
        "raised", kind, subject, severity)
    assert message["sinceMs"] > 0 and message["endedMs"] == 0
    example = of_the_manual()[0]
    assert {key: type(value) for key, value in message.items()} == {key: type(value) for key, value in example.items()}
    item, = daemon.ctl("alerts")["items"]
    assert (item["id"], item["kind"], item["state"], item["text"]) == (message["id"], kind, "active", message["text"])
    assert scrape(daemon)("proctor_alerts_active", kind=kind) == 1
    return message


def wait_resolved(hook, daemon, raised):
    """Nothing but its end is told, once."""
    place.wait_until(lambda: len(hook.messages()) > 1, 20, "the end to be told")
    _, message = hook.messages()
    assert message["endedMs"] >= message["sinceMs"] and message == {
        **raised, "type": "resolved", "endedMs": message["endedMs"]}
    place.wait_until(lambda: daemon.ctl("alerts")["items"] == [], 10, "nothing to be left")
    assert scrape(daemon)("proctor_alerts_active", kind=raised["kind"]) == 0


def test_a_provider_that_parks_is_told_once_over_an_upgrade_until_it_is_opened(simulator, postgres, hook):
    ini = conditions(hook, postgres.database(), **{"provider:openai": {"health_interval": "0"}})
    with running(simulator, ini, keys=keys(hook)) as daemon:
        script(simulator, ("quota", {"provider": "openai"}))
        run = start(daemon, 4)
        raised = wait_raised(hook, daemon, "provider.parked", "openai", "error")
        assert "quota" in raised["text"]
        daemon.call("upgrade")
        place.wait_until(lambda: scrape(daemon)("proctor_upgrades_total") == 1, 20, "the upgrade")
        script(simulator)
        daemon.call("providers.resume", provider="openai")
        assert wait_end(daemon, run)["progress"]["completed"] == 4
        wait_resolved(hook, daemon, raised)


def test_a_run_that_stalls_is_told_until_it_moves_and_what_an_operator_paused_is_not(simulator, postgres, hook):
    ini = conditions(hook, postgres.database(), daemon={"stalled_after": "1s"})
    with running(simulator, ini, keys=keys(hook)) as daemon:
        daemon.call("providers.pause", provider="openai", reason="invoice unpaid")
        run = start(daemon, 2)
        raised = wait_raised(hook, daemon, "run.stalled", run, "warning")
        daemon.call("providers.resume", provider="openai")
        wait_end(daemon, run)
        wait_resolved(hook, daemon, raised)


def test_a_run_over_its_budget_is_told_until_it_may_go_on(simulator, postgres, hook):
    # An address that ends in a slash: what it answers has a price.
    ini = conditions(hook, postgres.database(), **{"provider:openai": {"base_url": f"{simulator.url}/openai/"}})
    with running(simulator, ini, keys=keys(hook)) as daemon:
        hold(simulator)
        run = start(daemon, 3, ["gpt-4o"], budgetUsd=0.0001)
        raised = wait_raised(hook, daemon, "run.over_budget", run, "warning")
        assert "$0.0001" in raised["text"] and show(daemon, run)["status"] == "PAUSED"
        hold(simulator, False)
        daemon.call("run.resume", run=run, budgetUsd=50)
        assert wait_end(daemon, run)["progress"]["completed"] == 3
        wait_resolved(hook, daemon, raised)


def test_a_pool_that_is_given_up_is_told_until_it_works(make_daemon, make_fake, hook):
    fake = make_fake([["stderr", "no such module: frobnicate"], ["exit", 1]])
    ini = {**fake.ini(restart_delay="1ms", restart_delay_max="5ms"), "group:root": {"intensity": 3, "period": "30s"},
           "alert:ops": {"url": f"{hook.url}/ops", "kinds": CONDITIONS}}
    daemon = make_daemon(ini)
    raised = wait_raised(hook, daemon, "pool.degraded", "probe", "error")
    assert "4 restarts without proven work" in raised["text"]
    fake.script(WORKING)
    daemon.call("workers.restart")
    wait_resolved(hook, daemon, raised)


def test_what_a_webhook_is_owed_is_measured(simulator, postgres, hook):
    with running(simulator, alerting(hook, postgres.database()), keys=keys(hook)) as daemon:
        assert scrape(daemon)("proctor_alert_messages_owed", target="ops") == 0
        hook.status = 503
        wait_end(daemon, start(daemon, 1))
        place.wait_until(lambda: scrape(daemon)("proctor_alert_failed_deliveries", target="ops") >= 1, 10, "a failure")
        assert scrape(daemon)("proctor_alert_messages_owed", target="ops") == 1
        hook.status = 200
        hook.wait(1)
        place.wait_until(lambda: scrape(daemon)("proctor_alert_messages_owed", target="ops") == 0, 10, "its delivery")
        assert scrape(daemon)("proctor_alert_failed_deliveries", target="ops") == 0


# sections


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
