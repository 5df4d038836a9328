"""What happens on the wire: connections, caps, time-outs, proxies and certificates."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import (DEADLINE_S, KEY, PROBE, PYTHON, Provider, Reply, chat_answer, environment, probe_input,
                      run_one_shot)
from proctor import config, errors, transport

MIB = 1024 * 1024


def run(worker, id, **more):
    worker.job(id=id, **more)
    return worker.result()


def test_connections_are_used_again(worker, provider):
    for id in range(5):
        assert run(worker, id)["success"]
    assert len({provider.request().peer for _ in range(5)}) == 1


def test_a_call_is_never_sent_twice_when_a_used_connection_dies(worker, provider):
    provider.script(chat_answer(), Reply(drop=True))
    assert run(worker, 1)["success"]
    error = run(worker, 2)["error"]
    assert error["code"] == "NETWORK_ERROR" and error["retryable"]
    assert "closed before the answer" in error["message"]
    assert provider.requests.qsize() == 2
    assert run(worker, 3)["success"] and provider.requests.qsize() == 3


def test_an_answer_cut_off_is_a_network_error(worker, provider):
    provider.script(Reply(chat_answer(), cut=True), Reply(drop=True))
    for id in (1, 2):
        assert run(worker, id)["error"]["code"] == "NETWORK_ERROR"
    assert provider.requests.qsize() == 2


def test_an_answer_over_the_cap_is_refused_with_its_size(worker, provider):
    provider.script(chat_answer("x" * (5 * MIB)))
    error = run(worker, 1)["error"]
    assert error["code"] == "INVALID_RESPONSE" and error["details"]["bytes"] > 5 * MIB
    assert str(error["details"]["bytes"]) in error["message"] and str(4 * MIB) in error["message"]
    assert run(worker, 2)["success"]


def test_an_endless_answer_is_ended_while_it_streams(worker, provider):
    endless = Reply(b"x" * MIB, endless=True)
    provider.script(endless)
    error = run(worker, 1)["error"]
    assert error["code"] == "INVALID_RESPONSE" and error["details"]["bytes"] < 5 * MIB
    assert endless.hung_up.wait(DEADLINE_S)


def test_an_answer_just_under_the_cap_passes(worker, provider):
    text = "x" * (4 * MIB - 1000)
    provider.script(chat_answer(text))
    worker.job(id=1)
    assert json.loads(worker.read("turn")["body"])["targetResponse"] == text


def test_a_flood_of_headers_is_refused(worker, provider):
    provider.script(Reply(chat_answer(), headers={f"x-{n}": "y" * 4000 for n in range(90)}))
    assert run(worker, 1)["error"]["code"] == "INVALID_RESPONSE"


def test_a_call_over_its_deadline_is_a_timeout(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate))
    error = run(worker, 1, deadline_ms=150)["error"]
    gate.set()
    assert error["code"] == "TIMEOUT" and error["retryable"]
    assert error["details"]["deadlineMs"] == 150 and error["details"]["elapsedMs"] >= 150


def test_each_call_has_its_own_deadline(worker, provider):
    gate = threading.Event()
    provider.script(Reply(chat_answer(), gate=gate), chat_answer())
    worker.job(id=1, deadline_ms=150)
    provider.request()
    worker.job(id=2, deadline_ms=60_000)
    results = {result["id"]: result["success"] for result in (worker.result(), worker.result())}
    gate.set()
    assert results == {1: False, 2: True}


def test_nobody_listening_is_a_network_error(start_worker):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        worker = start_worker(PROCTOR_PROVIDERS=json.dumps({"openai": {"base_url": url}}))
        error = run(worker, 1)["error"]
    assert error["code"] == "NETWORK_ERROR" and error["retryable"] and error["details"]["curl"] == 7


def test_a_connection_that_never_comes_about_is_a_network_error(monkeypatch):
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_MS", 100)
    silent = socket.create_server(("127.0.0.1", 0))
    ended = []
    line = transport.Transport(config.Settings({}), lambda exchange, error: ended.append(error))
    provider = type("Named", (), {"name": "n", "headers": lambda self: []})()
    line.start("owner", provider, f"https://127.0.0.1:{silent.getsockname()[1]}/", b"{}", 60_000)
    deadline = time.monotonic() + DEADLINE_S
    while not ended and time.monotonic() < deadline:
        line.wait(100)
    assert isinstance(ended[0], errors.NetworkError) and "no connection within 100 ms" in ended[0].message
    silent.close()


def test_a_base_url_that_is_none_is_a_validation_error(start_worker):
    worker = start_worker(PROCTOR_PROVIDERS='{"openai":{"base_url":"http://[x"}}')
    error = run(worker, 1)["error"]
    assert error["code"] == "VALIDATION_ERROR" and "base_url" in error["message"]


def test_a_redirect_is_not_followed(worker, provider):
    provider.script(Reply("", status=302, headers={"Location": provider.url + "/elsewhere"}))
    error = run(worker, 1)["error"]
    assert error["code"] == "INVALID_RESPONSE" and error["statusCode"] == 302
    assert provider.requests.qsize() == 1


def test_one_handle_serves_providers_in_turn(start_worker, provider):
    worker = start_worker(PROCTOR_CAPACITY="1")
    claude = {"content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    provider.script(chat_answer(), claude, chat_answer())
    for id, model in enumerate(("gpt-4", "claude-3-sonnet", "grok-2")):
        assert run(worker, id, model=model)["success"]
    first, second, third = (provider.request().headers for _ in range(3))
    assert first["authorization"] == third["authorization"] == f"Bearer {KEY}"
    assert second["x-api-key"] == KEY and "authorization" not in second
    assert "x-api-key" not in third


def test_a_large_prompt_is_sent_whole(worker, provider):
    prompt = "Weigh. " * 300_000
    assert run(worker, 1, prompt=prompt)["success"]
    request = provider.request()
    assert request.doc["messages"][0]["content"] == prompt and "expect" not in request.headers


# Proxies.

def test_a_proxy_of_the_environment_is_used(start_worker, provider):
    target = json.dumps({"openai": {"base_url": "http://provider.test"}})
    worker = start_worker(PROCTOR_PROVIDERS=target, http_proxy=provider.url)
    assert run(worker, 1)["success"]
    request = provider.request()
    assert request.path == "http://provider.test/v1/chat/completions"


def test_no_proxy_is_honoured(start_worker, provider):
    worker = start_worker(http_proxy="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
    assert run(worker, 1)["success"]
    assert provider.request().path == "/openai/v1/chat/completions"


class Tunnel(threading.Thread):
    """An HTTP proxy that knows CONNECT alone; remembers what it was asked for."""

    def __init__(self, refusal=None):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:pass-word@127.0.0.1:{self.listener.getsockname()[1]}"
        self.heads = []
        self.refusal = refusal
        self.start()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(4096)
            self.heads.append(head)
            if self.refusal:
                peer.sendall(self.refusal)
                peer.close()
                continue
            host, port = head.split()[1].decode().rsplit(":", 1)
            target = socket.create_connection((host, int(port)))
            peer.sendall(b"HTTP/1.1 200 Connection established\r\nX-RateLimit-Limit-Requests: 1\r\n\r\n")
            for source, sink in ((peer, target), (target, peer)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of a server at 127.0.0.1 that no public CA signed."""
    folder = tmp_path_factory.mktemp("tls")
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1",
                    "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@pytest.fixture
def tls_provider(certificate):
    scripted = Provider()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    scripted.server.socket = context.wrap_socket(scripted.server.socket, server_side=True)
    scripted.url = scripted.url.replace("http:", "https:")
    yield scripted
    scripted.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_ca_bundle_of_ones_own_is_trusted(tls_provider, certificate, variable):
    code, answer, _ = run_one_shot(probe_input(), environment(tls_provider.url, **{variable: certificate[0]}))
    assert code == 0 and answer["success"], answer


def test_a_ca_folder_of_ones_own_is_trusted(tls_provider, certificate, tmp_path):
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", certificate[0]], check=True,
                          capture_output=True, text=True).stdout.strip()
    shutil.copy(certificate[0], tmp_path / f"{name}.0")
    _, answer, _ = run_one_shot(probe_input(), environment(tls_provider.url, SSL_CERT_DIR=str(tmp_path)))
    assert answer["success"], answer


def test_a_stranger_is_not_trusted(tls_provider):
    _, answer, _ = run_one_shot(probe_input(), environment(tls_provider.url))
    assert answer["error"]["code"] == "NETWORK_ERROR" and "SSL_CERT_FILE" in answer["error"]["message"]
    assert tls_provider.requests.empty()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_https_goes_through_a_tunnel(tls_provider, certificate, variable):
    tunnel = Tunnel()
    environ = environment(tls_provider.url, SSL_CERT_FILE=certificate[0], **{variable: tunnel.url})
    code, answer, _ = run_one_shot(probe_input(), environ)
    tunnel.listener.close()
    assert code == 0 and answer["success"], answer
    assert tunnel.heads[0].startswith(b"CONNECT 127.0.0.1:") and KEY.encode() not in tunnel.heads[0]
    assert tls_provider.request().path == "/openai/v1/chat/completions"


def test_a_tunnel_that_is_refused_is_a_network_error_without_the_proxys_password(tls_provider, certificate):
    tunnel = Tunnel(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    environ = environment(tls_provider.url, SSL_CERT_FILE=certificate[0], HTTPS_PROXY=tunnel.url)
    _, answer, stderr = run_one_shot(probe_input(), environ)
    tunnel.listener.close()
    assert answer["error"]["code"] == "NETWORK_ERROR"
    assert "pass-word" not in json.dumps(answer) and b"pass-word" not in stderr


def test_many_calls_leave_no_descriptor_behind(start_worker, provider):
    worker = start_worker(PROCTOR_CAPACITY="50")
    folder = f"/proc/{worker.process.pid}/fd"
    counts = []
    for round in range(4):
        for id in range(50):
            worker.job(id=id)
        assert all(worker.result()["success"] for _ in range(50))
        counts.append(len(os.listdir(folder)))
    assert counts[3] <= counts[0] + 5 and counts[3] < 75


def test_the_limit_of_open_files_fits_the_capacity(start_worker):
    worker = start_worker(PROCTOR_CAPACITY="3000",
                          command=("/bin/sh", "-c", f"ulimit -S -n 256; exec {PYTHON} {PROBE} --serve"))
    with open(f"/proc/{worker.process.pid}/limits") as file:
        soft, hard = next(line for line in file if line.startswith("Max open files")).split()[3:5]
    assert int(soft) == min(6064, int(hard))
