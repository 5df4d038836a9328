"""What systemd hears of a daemon by the notify protocol, and the keys that it hands over as a credential."""

import os
import signal
import socket
import threading

import pytest

from harness import place
from harness.control import ControlError
from harness.proctor import Daemon

WATCHDOG_S = 0.4


class Manager:
    """Listens at $NOTIFY_SOCKET. told: every datagram in its order, as a list of its lines."""

    def __init__(self):
        self.folder = place.make_folder("notify")
        self.path = os.path.join(self.folder, "socket")
        self.told = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while True:
            text = self._socket.recv(4096).decode()
            if text == "end":
                return
            self.told.append(text.splitlines())

    def lines(self, since=0):
        return [line for lines in self.told[since:] for line in lines]

    def hear(self, start, since=0):
        """Waits for a line that starts so; returns it."""
        return place.wait_until(lambda: next((line for line in self.lines(since) if line.startswith(start)), None), 20,
                                f"{start} among {self.lines()[-20:]}")

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", self.path)
        self._thread.join(10)
        self._socket.close()
        place.remove_folder(self.folder)


@pytest.fixture(name="manager")
def fixture_manager():
    manager = Manager()
    yield manager
    manager.close()


@pytest.fixture(name="watched")
def fixture_watched(manager, simulator):
    """A daemon that the manager watches. Without $WATCHDOG_PID, which would be that of the test's own shell."""
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))}
    with Daemon({**simulator.ini(), "database": {"url": "postgresql://127.0.0.1:9/none"}}, {"OPENAI_API_KEY": "k"},
                environment) as daemon:
        yield daemon


def test_the_manager_is_told_what_the_daemon_does_and_that_its_loop_turns(manager, watched):
    assert manager.told[0] == ["READY=1"]
    assert manager.hear("STATUS=Running: 0 conversations, 1 of 1 workers ready; database: ")
    watched.call("providers.pause", provider="xai", reason="a test")
    assert "; parked: xai" in manager.hear("STATUS=Running: 0 conversations, 1 of 1 workers ready; parked")
    heard = len(manager.told)
    place.wait_until(lambda: manager.lines(heard).count("WATCHDOG=1") >= 5, 20, "five signs of life")


def test_a_stopped_loop_gives_no_sign_of_life(manager, watched):
    manager.hear("WATCHDOG=1")
    watched.process.send_signal(signal.SIGSTOP)
    try:
        heard = place.wait_until(lambda: silent_since(manager), 20, "silence")
    finally:
        watched.process.send_signal(signal.SIGCONT)
    manager.hear("WATCHDOG=1", since=heard)


def silent_since(manager):
    """How much was heard, if nothing more came within twice the time that the watchdog allows."""
    heard = len(manager.told)
    waited = threading.Event()
    waited.wait(2 * WATCHDOG_S)
    return heard if len(manager.told) == heard else None


def test_a_reload_is_told_with_its_time_and_ends_also_when_it_is_refused(manager, watched):
    manager.hear("STATUS=Running")
    for spoil in ({}, {"pool:probe": {"size": "none"}}):
        heard = len(manager.told)
        watched.write_ini(spoil)
        try:
            watched.call("reload")
        except ControlError:
            assert spoil
        manager.hear("READY=1", since=heard)
        told = next(lines for lines in manager.told[heard:] if lines[0] != "WATCHDOG=1")
        assert told[0] == "RELOADING=1" and told[1].startswith("MONOTONIC_USEC=")


def test_a_stop_is_told_and_asks_for_time(manager, watched):
    watched.process.send_signal(signal.SIGTERM)
    assert watched.wait_exit() == 0
    lines = manager.lines()
    stopping = lines.index("STOPPING=1")
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in lines[stopping:])


def test_keys_come_as_a_credential(make_daemon):
    folder = place.make_folder("credentials")
    path = os.path.join(folder, "keys.env")
    with open(path, "w", encoding="utf-8") as file:
        file.write("OPENAI_API_KEY=from-a-credential\n")
    place.give_to_run_user(path)
    # As it looks when an access list lets the service's user read it.
    os.chmod(path, 0o440)
    daemon = make_daemon({}, environment={"CREDENTIALS_DIRECTORY": folder})
    keys = {row["provider"]: row["keySet"] for row in daemon.call("providers.list")["items"]}
    assert keys["openai"] is True and keys["xai"] is False
    pid = place.wait_until(daemon.worker_pids, 20, "a worker")[0]
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
    assert b"OPENAI_API_KEY" in names and b"CREDENTIALS_DIRECTORY" not in names
    place.remove_folder(folder)
