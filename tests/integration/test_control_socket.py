"""The control socket: whatever a client sends, or does not read, harms nobody else."""

import json
import os
import socket
import stat
import subprocess
import time

import pytest

from fake_pool import WORKING
from harness import place
from harness.control import Control, ControlError

QUICK_SECONDS = 0.5


@pytest.fixture(scope="module")
def daemon(make_module_daemon, make_module_fake):
    """One for all: none of these tests may disturb it."""
    return make_module_daemon({**make_module_fake(WORKING).ini(), "control": {"max_clients": 24}}).wait_ready()


@pytest.fixture(autouse=True)
def unharmed(daemon):
    """It is the same process behind each test, and answers as quickly as before."""
    yield
    assert daemon.process.poll() is None
    place.wait_until(lambda: daemon.call("status")["clients"] == 1, 10, "all clients but this one to be forgotten")
    with daemon.connect() as control:
        assert status_ms(control) < QUICK_SECONDS * 1000


def status_ms(control):
    start = time.monotonic()
    control.call("status")
    return (time.monotonic() - start) * 1000


def refused(control, line):
    """The error object that a raw line gets."""
    control.send_bytes(line + b"\n")
    answer = control.read_answer()
    assert answer["ok"] is False
    return answer["id"], answer["error"]


@pytest.mark.parametrize("line, id, code, said", [
    (b"hello", None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b"", None, "BAD_REQUEST", "not JSON"),
    (b"[]", None, "BAD_REQUEST", "a request is a JSON object on one line"),
    (b"42", None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b'{"id":1,"cmd":"status"', None, "BAD_REQUEST", "not JSON"),
    (b'{"id":1,"cmd":"status"} {}', None, "BAD_REQUEST", "not JSON"),
    (b'{"id":1,"id":2,"cmd":"status"}', None, "BAD_REQUEST", "duplicate"),
    (b'{"id":1,"cmd":"st\xff\xfetus"}', None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b'{"id":1,"cmd":"st\\ud83dtus"}', None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b'{"id":1,"cmd":"st\\u0000tus"}', None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b"\x00\x01\x02", None, "BAD_REQUEST", "not JSON in UTF-8"),
    (b"[" * 100_000, None, "BAD_REQUEST", "not JSON"),
    (b'{"cmd":"status"}', None, "BAD_REQUEST", 'a request needs an "id"'),
    (b'{"id":{},"cmd":"status"}', None, "BAD_REQUEST", 'a request needs an "id"'),
    (b'{"id":"' + b"x" * 101 + b'","cmd":"status"}', None, "BAD_REQUEST", 'the "id" is over 100 bytes'),
    (b'{"id":1}', 1, "BAD_REQUEST", 'a request needs a "cmd"'),
    (b'{"id":1,"cmd":7}', 1, "BAD_REQUEST", 'a request needs a "cmd"'),
    (b'{"id":1,"cmd":"status","args":[]}', 1, "BAD_REQUEST", '"args" must be an object'),
    (b'{"id":"a","cmd":"make.coffee"}', "a", "UNKNOWN_COMMAND", 'there is no command "make.coffee"'),
    (b'{"id":1,"cmd":"psql"}', 1, "UNKNOWN_COMMAND", "there is no command"),
    (b'{"id":1,"cmd":"' + b"x" * 100_000 + b'"}', 1, "UNKNOWN_COMMAND", "there is no command"),
    (b'{"id":1,"cmd":"workers.show"}', 1, "BAD_ARGUMENT", "worker"),
    (b'{"id":1,"cmd":"workers.show","args":{"worker":7}}', 1, "BAD_ARGUMENT", "worker"),
    (b'{"id":1,"cmd":"workers.scale","args":{"size":"two"}}', 1, "BAD_ARGUMENT", "size"),
    (b'{"id":1,"cmd":"workers.scale","args":{"size":2.5}}', 1, "BAD_ARGUMENT", "size"),
    (b'{"id":1,"cmd":"workers.scale","args":{"size":0}}', 1, "BAD_ARGUMENT", "size"),
    (b'{"id":1,"cmd":"workers.scale","args":{"size":1e400}}', None, "BAD_REQUEST", "not JSON"),
    (b'{"id":1,"cmd":"workers.scale","args":{"size":99999999999999999999}}', None, "BAD_REQUEST", "not JSON"),
    (b'{"id":1,"cmd":"status","args":{"colour":"red"}}', 1, "BAD_ARGUMENT", "colour"),
    (b'{"id":1,"cmd":"log-level","args":{"level":"chatty"}}', 1, "BAD_ARGUMENT", "level"),
    (b'{"id":1,"cmd":"run.start","args":{"definition":"x","models":"gpt-4"}}', 1, "BAD_ARGUMENT", "models"),
    (b'{"id":1,"cmd":"run.start","args":{"definition":"x","models":[1]}}', 1, "BAD_ARGUMENT", "models"),
    (b'{"id":1,"cmd":"run.show","args":{"run":"' + b"r" * 2000 + b'"}}', 1, "BAD_ARGUMENT", "run"),
], ids=lambda value: value[:40].decode("ascii", "replace") if isinstance(value, bytes) else "")
def test_a_bad_request_is_answered_with_its_fault_and_the_connection_goes_on(daemon, line, id, code, said):
    with daemon.connect() as control:
        got_id, error = refused(control, line)
        assert (got_id, error["code"]) == (id, code)
        assert said in error["message"]
        assert len(error["message"]) < 1000
        control.call("status")


def test_half_a_line_is_waited_for_without_holding_up_others(daemon):
    with daemon.connect() as slow, daemon.connect() as other:
        slow.send_bytes(b'{"id":1,"cmd":')
        assert status_ms(other) < QUICK_SECONDS * 1000
        slow.send_bytes(b'"version"}\n')
        assert slow.read_answer()["ok"] is True


def test_half_a_line_and_then_nothing_is_forgotten(daemon):
    with daemon.connect() as control:
        control.send_bytes(b'{"id":1,"cmd":"shutdown"}')


def test_a_line_of_100_MB_is_refused_and_its_sender_dropped(daemon):
    with daemon.connect() as sender, daemon.connect() as other:
        chunk = b"x" * (1 << 20)
        with pytest.raises(OSError):
            for _ in range(100):
                sender.send_bytes(chunk)
                assert status_ms(other) < QUICK_SECONDS * 1000
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident_kb < 64 << 10


def test_who_sends_a_line_over_the_cap_is_told_the_cap(daemon):
    with daemon.connect() as sender:
        sender.send_bytes(b"x" * ((8 << 20) + 1))
        error = sender.read_answer()["error"]
        assert error == {"code": "TOO_LARGE", "message": "the line is longer than 8388608 bytes"}
        assert sender.read_line() == b"", "the connection is closed"


def test_a_line_just_below_the_cap_is_taken(daemon):
    with daemon.connect() as control:
        padding = b" " * ((8 << 20) - 30)
        control.send_bytes(b'{"id":1,' + padding + b'"cmd":"version"}\n')
        assert control.read_answer()["ok"] is True


def test_many_requests_in_one_packet_are_answered_in_full(daemon):
    with daemon.connect() as control:
        control.send_bytes(b"".join(b'{"id":%d,"cmd":"version"}\n' % number for number in range(500)))
        assert [control.read_answer()["id"] for _ in range(500)] == list(range(500))


def test_one_byte_at_a_time_is_a_request_too(daemon):
    with daemon.connect() as control:
        for byte in b'{"id":1,"cmd":"version"}\n':
            control.send_bytes(bytes([byte]))
        assert control.read_answer()["ok"] is True


def test_a_client_that_ends_its_side_still_gets_its_answers(daemon):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(daemon.socket_path)
        client.sendall(b'{"id":1,"cmd":"jobs"}\n{"id":2,"cmd":"version"}\n')
        client.shutdown(socket.SHUT_WR)
        client.settimeout(10)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    assert {json.loads(line)["id"] for line in received.splitlines()} == {1, 2}


def test_a_client_that_never_reads_costs_neither_memory_nor_others_time(daemon):
    request = b'{"id":1,"cmd":"status"}\n'
    with daemon.connect(timeout=1.0) as deaf, daemon.connect() as other:
        with pytest.raises(socket.timeout):
            while True:  # until our own buffer is full: the daemon reads no more requests than it can answer
                deaf.send_bytes(request * 1000)
        for _ in range(20):
            assert status_ms(other) < QUICK_SECONDS * 1000
        with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
            resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        assert resident_kb < 64 << 10


def test_clients_that_go_away_in_the_middle_are_forgotten(daemon):
    for _ in range(10):
        clients = [daemon.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            whole, half = b'{"id":1,"cmd":"events","args":{"follow":true}}\n', b'{"id":1,"cmd":"heal'
            client.send_bytes(whole if number % 2 else half)
        for client in clients:
            client.close()
        place.wait_until(lambda: daemon.call("status")["clients"] == 1, 10, "all clients but this one to be forgotten")


def test_too_many_clients_are_told_so_and_the_others_served_on(daemon):
    clients = []
    try:
        with daemon.connect() as first:
            while len(clients) < 40:
                clients.append(daemon.connect())
            answers = [client.read_answer() for client in clients[24:]]
            assert {answer["error"]["code"] for answer in answers} == {"UNAVAILABLE"}
            assert answers[0]["error"]["message"] == "already 24 clients are connected: [control] max_clients"
            assert clients[30].read_line() == b""
            assert status_ms(first) < QUICK_SECONDS * 1000
            clients[0].call("version")
    finally:
        for client in clients:
            client.close()


def test_a_reader_of_events_gets_what_happens(daemon):
    with daemon.connect() as reader:
        wanted = reader.send("events", {"follow": True})
        daemon.call("workers.scale", size=1)
        while True:
            answer = reader.read_answer()
            assert (answer["id"], answer["ok"], answer["more"]) == (wanted, True, True)
            if any(event["kind"] == "pool.resized" for event in events_of(answer)):
                break


def events_of(answer):
    data = answer["data"]
    return data if isinstance(data, list) else data.get("items", [data])


def test_answers_carry_the_id_of_their_request(daemon):
    with daemon.connect() as control:
        control.send_bytes(b'{"id":"slow","cmd":"jobs"}\n{"id":9223372036854775807,"cmd":"version"}\n')
        assert {control.read_answer()["id"] for _ in range(2)} == {"slow", 9223372036854775807}


def test_the_socket_is_for_its_owner_and_group(daemon):
    mode = os.stat(daemon.socket_path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_who_may_not_open_the_socket_cannot_connect(daemon):
    """As a stranger, where the test may become one; else by its mode, which binds its owner too."""
    stranger = []
    if place.is_root():
        stranger = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    else:
        os.chmod(daemon.socket_path, 0)
    program = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run([*stranger, "/usr/bin/python3", "-c", program, daemon.socket_path], capture_output=True,
                          text=True, check=False)
    os.chmod(daemon.socket_path, 0o660)
    assert "PermissionError" in done.stderr


def test_log_level_changes_at_once_and_is_told(daemon):
    assert daemon.call("log-level")["level"] == "debug"
    since = daemon.log_position()
    assert daemon.call("log-level", level="warning") == {"level": "warning", "before": "debug", "subsystems": {}}
    assert daemon.call("log-level")["level"] == "warning"
    daemon.call("workers.scale", size=1)
    daemon.call("log-level", level="debug")
    with daemon.connect():
        daemon.wait_log("control.open", since=since)
    quiet = [line for line in daemon.log_lines()[since:] if "pool.resized" in line]
    assert quiet == []


def test_errors_of_the_database_name_no_internals(daemon):
    with pytest.raises(ControlError) as caught:
        daemon.call("run.show", run="run_nothing")
    assert caught.value.code == "NOT_FOUND"
    assert "run_nothing" in caught.value.message


def test_a_second_daemon_on_the_same_socket_is_refused(daemon, make_daemon, make_fake):
    other = make_daemon({**make_fake(WORKING).ini(), "control": {"socket": daemon.socket_path}}, start=False)
    assert other.spawn().wait_exit() == 1
    assert f"another daemon already serves {daemon.socket_path}; stop it, or give this one" in other.log()
    daemon.call("version")


def test_a_second_daemon_on_the_same_state_is_refused(daemon, make_daemon, make_fake):
    other = make_daemon({**make_fake(WORKING).ini(), "daemon": {"state_dir": f"{daemon.folder}/state"}}, start=False)
    assert other.spawn().wait_exit() == 1
    assert f"another proctord runs on {daemon.folder}/state" in other.log()
    daemon.call("version")


def test_what_is_no_socket_is_not_removed(make_daemon, make_fake):
    other = make_daemon(make_fake(WORKING).ini(), start=False)
    path = f"{other.folder}/precious"
    with open(path, "w", encoding="ascii") as file:
        file.write("data")
    other.write_ini({"control": {"socket": path}})
    assert other.spawn().wait_exit() == 1
    assert "is there and is no socket; remove it or choose another path" in other.log()
    assert open(path, encoding="ascii").read() == "data"


def test_the_socket_of_a_dead_daemon_is_taken_over(make_daemon, make_fake):
    other = make_daemon(make_fake(WORKING).ini())
    other.kill()
    assert os.path.exists(other.socket_path), "kill -9 leaves it"
    other.start()
    other.call("version")


def test_the_harness_itself_reports_a_closed_connection(daemon):
    with Control(daemon.socket_path) as control:
        control.send_bytes(b"y" * ((8 << 20) + 1))
        control.read_answer()
        with pytest.raises(ConnectionError):
            control.read_answer()
