"""The framing of the protocol: lines in, lines out, never blocking."""

import os

# A pipe holds no more, and a larger buffer would be mapped and unmapped at every read.
READ_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024


class LineTooLong(Exception):
    """The peer sent more than MAX_LINE_BYTES without a line end."""


class LineReader:
    """Lines of a non-blocking descriptor; holds at most one line that is not complete."""

    def __init__(self, fd):
        self.fd = fd
        self.eof = False
        self._parts = []
        self._size = 0

    def read(self):
        """One bounded read: the lines (bytes, no line end) that are complete now. Sets eof."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return ()
        if not data:
            self.eof = True
            return ()
        if b"\n" not in data:
            self._keep(data)
            return ()
        lines = data.split(b"\n")
        if self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        rest = lines.pop()
        if rest:
            self._keep(rest)
        return lines

    def _keep(self, data):
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_LINE_BYTES:
            raise LineTooLong


class Outbox:
    """Bytes on their way to a non-blocking descriptor, written together once a loop turn."""

    def __init__(self, fd):
        self.fd = fd
        self.size = 0
        self._head = b""
        self._parts = []

    def put(self, data):
        self._parts.append(data)
        self.size += len(data)

    def flush(self):
        """Writes what fits. Returns whether all is written. Raises OSError when the reader is gone."""
        while self.size:
            if not self._head:
                self._head = memoryview(b"".join(self._parts))
                self._parts.clear()
            try:
                written = os.write(self.fd, self._head)
            except BlockingIOError:
                return False
            self._head = self._head[written:]
            self.size -= written
        return True
