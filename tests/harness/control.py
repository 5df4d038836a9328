"""A client of the control socket: one JSON object a line each way."""

import json
import select
import socket
import struct


class ControlError(Exception):
    """The daemon's refusal of a command."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Control:
    """One connection. Raw bytes can be sent and lines read apart, for tests of bad input."""

    def __init__(self, path, timeout=30.0):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Not settimeout(): a connect that need not wait fails at once while the daemon has yet to accept others.
        seconds = int(timeout)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                                struct.pack("ll", seconds, int((timeout - seconds) * 1e6)))
        self._buffer = b""
        self._last_id = 0
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def is_open(self):
        """Whether the daemon still holds its end; meant for a connection on which no answer is due."""
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
            return not readable or bool(self._socket.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):
            return False

    def fileno(self):
        return self._socket.fileno()

    def send_bytes(self, data):
        self._socket.sendall(data)

    def read_line(self):
        """The next line without its newline; b"" once the daemon has closed the connection."""
        while b"\n" not in self._buffer:
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                line, self._buffer = self._buffer, b""
                return line
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def send(self, command, args=None):
        """Sends a request and returns its id; read_answer() gets what comes back."""
        self._last_id += 1
        request = {"id": self._last_id, "cmd": command, "args": args or {}}
        self.send_bytes(json.dumps(request).encode() + b"\n")
        return self._last_id

    def read_answer(self):
        """The next answer as it came. ConnectionError once the daemon has closed."""
        line = self.read_line()
        if not line:
            raise ConnectionError("the daemon closed the control connection")
        return json.loads(line)

    def call(self, command, **args):
        """Runs one command and returns its data. ControlError when the daemon refuses it."""
        wanted = self.send(command, args)
        answer = self.read_answer()
        assert answer["id"] == wanted, f"answer to another request: {answer}"
        if not answer["ok"]:
            raise ControlError(answer["error"]["code"], answer["error"]["message"])
        return answer["data"]
