"""Looks at the providers that cost no tokens: when, at whom, what they find, and what follows from it."""

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import threading

import pytest

from harness import place
from harness.proctor import KEY_VARIABLES, merge_ini
from harness.simulator import PROVIDERS
from probing import KEYS, figures, lane, script, show, start, wait_end

pytest_plugins = ["probe_fixtures"]

OFTEN = {f"provider:{name}": {"health_interval": "100ms"} for name in PROVIDERS}
OPENAI_ONLY = {"OPENAI_API_KEY": "sk-planted-openai-1b7d"}


@pytest.fixture
def balance(simulator):
    """Sets what DeepSeek's page tells."""
    yield lambda amount: simulator.post("/_sim/config", {"balance": amount})
    simulator.post("/_sim/config", {"balance": 100.0})


ANSWER = {"id": "c", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}


class Server:
    """Answers looks and calls with its status; None is silence until the server is closed. `asked` counts looks."""

    def __init__(self, status=200, certificate=None):
        self.status = status
        self.asked = 0
        self.headers = None
        self._closed = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked += 1
                server.headers = dict(self.headers)
                if server.status is None:
                    server._closed.wait()
                else:
                    self.send({})

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send(ANSWER)

            def send(self, document):
                body = json.dumps(document).encode()
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # a client that does not trust it leaves
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True,
                                                    do_handshake_on_connect=False)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        self._closed.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def make_server():
    made = []

    def make(*args, **options):
        made.append(Server(*args, **options))
        return made[-1]
    yield make
    for server in made:
        server.close()


def looks(simulator, provider):
    return figures(simulator, provider)["health"]


def wait_looks(simulator, provider, more=3):
    """Waits until the provider was looked at so many times more."""
    wanted = looks(simulator, provider) + more
    place.wait_until(lambda: looks(simulator, provider) >= wanted, 10, f"{more} more looks at {provider}")


def wait_verdict(daemon, provider, verdict, deadline=10):
    def found():
        health = lane(daemon, provider)["health"]
        return health if health and health["verdict"] == verdict else None
    return place.wait_until(found, deadline, f"{provider} to be {verdict}")


def recorded(daemon, provider):
    """(before, verdict) of what was recorded of it, oldest first."""
    items = daemon.call("events", limit=1000)["items"]
    found = [event for event in items if event["kind"] == "provider.health" and event["subject"] == provider]
    found.sort(key=lambda event: event["id"])
    return [(event["data"]["before"], event["data"]["verdict"]) for event in found]


def wait_recorded(daemon, provider, wanted):
    """Events reach the database a moment after what they tell of; more than is wanted is a failure."""
    place.wait_until(lambda: len(recorded(daemon, provider)) >= len(wanted), 10, f"events of {provider}")
    assert recorded(daemon, provider) == wanted


# at whom, and when


def test_providers_whose_key_is_set_are_looked_at_again_and_again_and_no_other(make_proctor, simulator):
    keys = {name: KEYS[name] for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY")}
    with make_proctor(OFTEN, keys=keys) as daemon:
        wait_looks(simulator, "openai", 5)
        wait_looks(simulator, "google", 1)
        assert [looks(simulator, name) for name in ("anthropic", "xai", "deepseek", "mistral")] == [0, 0, 0, 0]
        assert lane(daemon, "anthropic")["health"] is None
        health = lane(daemon)["health"]
        assert (health["verdict"], health["detail"]) == ("ok", "")
        assert 0 <= health["tookMs"] < 5000
        assert recorded(daemon, "openai") == [], "that all is well at a start is no event"


def test_each_provider_is_looked_at_in_its_own_way(make_proctor, simulator):
    with make_proctor(OFTEN) as daemon:
        for name in PROVIDERS:
            wait_verdict(daemon, name, "ok")
        assert all(looks(simulator, name) > 0 for name in PROVIDERS)
        assert figures(simulator, "openai")["asked"] == 0, "it is no call"


def test_an_interval_of_0_means_never_unless_asked(make_proctor, simulator):
    with make_proctor(merge_ini(OFTEN, {"provider:xai": {"health_interval": 0}})) as daemon:
        wait_looks(simulator, "openai", 5)
        assert looks(simulator, "xai") == 0
        assert daemon.call("providers.show", provider="xai", check=True)["health"]["verdict"] == "ok"
        assert looks(simulator, "xai") == 1


def test_a_provider_that_an_operator_has_paused_is_left_alone_unless_asked(make_proctor, simulator):
    with make_proctor(OFTEN) as daemon:
        wait_verdict(daemon, "openai", "ok")
        daemon.call("providers.pause", provider="openai")
        wait_looks(simulator, "google", 2)  # one of openai may have been under way
        before = looks(simulator, "openai")
        wait_looks(simulator, "google", 5)
        assert looks(simulator, "openai") == before
        assert daemon.call("providers.show", provider="openai", check=True)["health"]["verdict"] == "ok"
        assert looks(simulator, "openai") == before + 1
        daemon.call("providers.resume", provider="openai")
        wait_looks(simulator, "openai", 2)


def test_health_now_looks_at_all_before_it_answers(make_proctor, simulator):
    with make_proctor() as daemon:
        assert daemon.call("health")["providers"] == []
        told = daemon.call("health", now=True)["providers"]
        assert [(one["provider"], one["verdict"]) for one in told] == [(name, "ok") for name in PROVIDERS]
        shown = daemon.proctorctl("health")
        assert shown.returncode == 0 and "LOOKED AT" in shown.stdout and "deepseek" in shown.stdout


def test_people_see_it_in_the_list_and_in_all_about_one(make_proctor, simulator):
    with make_proctor() as daemon:
        assert "HEALTH" not in daemon.proctorctl("providers", "list").stdout
        shown = daemon.proctorctl("providers", "show", "openai", "--check")
        assert shown.returncode == 0 and "… answered in" in shown.stdout, shown.stdout + shown.stderr
        assert "HEALTH" in daemon.proctorctl("providers", "list").stdout
        assert daemon.ctl("providers", "show", "simulated", "--check")["health"] is None


def test_a_reload_brings_a_new_key_to_the_test_at_once(make_proctor, simulator):
    ini = {"provider:openai": {"health_interval": "1h"}}
    with make_proctor(ini, keys={"OPENAI_API_KEY": "bad-key"}) as daemon:
        wait_verdict(daemon, "openai", "key refused")
        daemon.write_keys({"OPENAI_API_KEY": "good"})
        daemon.call("reload")
        wait_verdict(daemon, "openai", "ok")
        daemon.write_keys({})
        daemon.call("reload")
        place.wait_until(lambda: lane(daemon)["health"] is None, 10, "nothing to be known without a key")


# what they find


def test_a_refused_key_is_told_once_and_never_shown(make_proctor, simulator):
    keys = {variable: f"bad-planted-{variable.lower()}-93c1" for variable in KEY_VARIABLES}
    with make_proctor(OFTEN, keys=keys) as daemon:
        for name in PROVIDERS:
            assert "answered 40" in wait_verdict(daemon, name, "key refused")["detail"]
        daemon.wait_event("provider.health", level="error", subject="mistral")
        daemon.call("health", now=True)
        wait_recorded(daemon, "xai", [("", "key refused")])
        assert daemon.call("health")["healthy"] is True, "it is not our health"
        told = [str(daemon.call(name)) for name in ("providers.list", "health", "status", "events")]
        told += daemon.log_lines() + [daemon.proctorctl("providers", "list").stdout]
        assert not [text for text in told if "planted" in text]


def test_a_key_with_characters_that_none_has_is_refused_without_a_request(make_proctor, make_server):
    server = make_server()
    ini = {"provider:openai": {"base_url": server.url, "health_interval": "100ms"}}
    with make_proctor(ini, keys={"OPENAI_API_KEY": "two words"}) as daemon:
        health = wait_verdict(daemon, "openai", "key refused")
        assert health["detail"] == "OPENAI_API_KEY holds characters that no API key has"
        assert server.asked == 0


def test_deepseek_without_credit_says_so_and_when_it_is_back(make_proctor, simulator, balance):
    balance(0)
    with make_proctor(OFTEN) as daemon:
        wait_verdict(daemon, "deepseek", "no credit")
        daemon.wait_log('provider.health provider=deepseek verdict="no credit"')
        wait_looks(simulator, "deepseek")
        balance(5)
        wait_verdict(daemon, "deepseek", "ok")
        wait_looks(simulator, "deepseek")
        wait_recorded(daemon, "deepseek", [("", "no credit"), ("no credit", "ok")])


def test_a_failing_provider_opens_the_breaker_and_a_good_look_lets_a_trial_through(make_proctor, make_server):
    server = make_server(500)
    ini = {"provider:openai": {"base_url": server.url, "health_interval": "50ms"}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        assert wait_verdict(daemon, "openai", "failing")["detail"] == "answered 500"
        daemon.wait_event("provider.health", level="warning", subject="openai")
        place.wait_until(lambda: lane(daemon)["breaker"] == "open", 10, "the breaker to open")
        server.status = 200
        wait_verdict(daemon, "openai", "ok")
        place.wait_until(lambda: lane(daemon)["breaker"] == "half-open", 10, "a trial to be let through")
        wait_recorded(daemon, "openai", [("", "failing"), ("failing", "ok")])
        assert server.headers["Authorization"] == f"Bearer {OPENAI_ONLY['OPENAI_API_KEY']}"


@pytest.mark.parametrize("status", [429, 404, 302])
def test_an_answer_that_says_nothing_of_the_key_is_neither_good_nor_bad(make_proctor, make_server, status):
    server = make_server(status)
    ini = {"provider:openai": {"base_url": server.url, "health_interval": "50ms"}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        assert wait_verdict(daemon, "openai", "unclear")["detail"] == f"answered {status}"
        place.wait_until(lambda: server.asked > 15, 10, "more looks than would open a breaker")
        assert lane(daemon)["breaker"] == "closed"


def test_a_server_that_is_not_there_is_failing(make_proctor):
    ini = {"provider:openai": {"base_url": "http://127.0.0.1:9", "health_interval": "100ms"}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        assert "127.0.0.1" in wait_verdict(daemon, "openai", "failing")["detail"]
        assert not [line for line in daemon.log_lines() if "planted" in line]


def test_a_hung_server_holds_nobody_up(make_proctor, simulator, make_server):
    server = make_server(None)
    ini = {"provider:mistral": {"base_url": server.url, "health_interval": "100ms"}}
    with make_proctor(ini) as daemon:
        place.wait_until(lambda: server.asked, 10, "a look at it")
        run = start(daemon, 3, followups=1)
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        assert server.asked == 1, "one look at a time"
        status = daemon.call("status")
        assert status["loopLagMs"] < 1000
        assert lane(daemon, "mistral")["health"] is None, "it is still under way"
        assert "timed out" in wait_verdict(daemon, "mistral", "failing", deadline=25)["detail"]


def test_a_client_that_goes_while_it_waits_for_a_look_is_no_trouble(make_proctor, make_server):
    server = make_server(None)
    ini = {"provider:openai": {"base_url": server.url}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        for words in (["providers", "show", "openai", "--check"], ["health", "--now"]):
            with subprocess.Popen([os.path.join(daemon.root, "bin", "proctorctl"), "--socket", daemon.socket_path,
                                   *words],
                                  stdout=subprocess.DEVNULL) as waiting:
                place.wait_until(lambda: server.asked, 10, "the look")
                waiting.kill()
            assert daemon.call("status")["state"]


# TLS


@pytest.fixture(scope="module")
def certificate():
    """Of 127.0.0.1, signed by nobody but itself."""
    folder = place.make_folder("tls")
    path = os.path.join(folder, "both.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", path, "-out", path + ".crt"], check=True, capture_output=True)
    with open(path, "a", encoding="ascii") as both, open(path + ".crt", encoding="ascii") as public:
        both.write(public.read())
    for name in (path, path + ".crt"):
        os.chmod(name, 0o644)
    os.chmod(folder, 0o755)
    yield path
    place.remove_folder(folder)


def test_a_certificate_that_nobody_vouches_for_gets_no_key(make_proctor, make_server, certificate):
    server = make_server(200, certificate=certificate)
    ini = {"provider:openai": {"base_url": server.url, "health_interval": "100ms"}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        assert "certificate" in wait_verdict(daemon, "openai", "failing")["detail"]
        assert server.asked == 0
    with make_proctor(ini, keys=OPENAI_ONLY, environment={"SSL_CERT_FILE": certificate + ".crt"}) as daemon:
        wait_verdict(daemon, "openai", "ok")


# what follows


def test_a_lane_without_credit_goes_on_when_the_balance_is_back(make_proctor, simulator, balance):
    ini = merge_ini(OFTEN, {"provider:deepseek": {"recheck_interval": "1h"}})
    balance(0)
    script(simulator, ("quota", {"provider": "deepseek"}))
    with make_proctor(ini) as daemon:
        run = start(daemon, 2, models=["deepseek-chat"])
        place.wait_until(lambda: lane(daemon, "deepseek")["state"] == "parked", 10, "the lane to be parked")
        wait_looks(simulator, "deepseek")
        assert lane(daemon, "deepseek")["state"] == "parked"
        assert show(daemon, run)["progress"]["completed"] == 0
        script(simulator)
        balance(5)
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        assert lane(daemon, "deepseek")["state"] != "parked"


def test_a_lane_whose_key_was_refused_goes_on_when_a_look_finds_it_good(make_proctor, make_server):
    server = make_server(401)
    ini = {"provider:openai": {"base_url": server.url, "health_interval": "100ms", "recheck_interval": "1h",
                               "concurrency": 1}}
    with make_proctor(ini, keys=OPENAI_ONLY) as daemon:
        run = start(daemon, 20)
        place.wait_until(lambda: lane(daemon)["state"] == "parked", 10, "the lane to be parked")
        wait_verdict(daemon, "openai", "key refused")
        server.status = 200
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        assert lane(daemon)["state"] == "ready"


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def test_looks_go_on_after_an_upgrade_that_leaves_no_descriptor_behind(make_proctor, simulator):
    with make_proctor({"provider:openai": {"health_interval": "1h"}}) as daemon:
        wait_verdict(daemon, "openai", "ok")
        daemon.ctl("upgrade")
        wait_verdict(daemon, "openai", "ok")
        daemon.call("health", now=True)
        before = descriptors(daemon)
        for _ in range(3):
            daemon.ctl("upgrade")
            daemon.call("health", now=True)
        place.wait_until(lambda: descriptors(daemon) <= before, 10, f"no more than {before} descriptors")
        assert looks(simulator, "openai") >= 5


def test_the_daemon_looks_where_workers_call(monkeypatch):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    monkeypatch.syspath_prepend(os.path.join(root, "workers"))
    with contextlib.suppress(KeyError):
        monkeypatch.delenv("PROCTOR_PROVIDERS")
    from proctor.config import Settings
    from proctor.providers import open_all
    with open(os.path.join(root, "supervisor", "policy", "check.c"), encoding="utf-8") as file:
        source = file.read()
    for provider in open_all(Settings(os.environ)).values():
        assert f'"{provider.base_url}"' in source
        header = provider.auth_headers("KEY")[0].removesuffix("KEY")
        assert f'"{header}"' in source or header == "Authorization: Bearer "
