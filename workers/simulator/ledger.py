"""What was asked, answered and delivered: in memory, and as JSON lines in a file.

A line is written with one write() as its ask ends, so that a kill can lose only
what was delivered in that very instant.  `n` counts ended asks and is the order of
the lines; `arrived` gives the order of arrival.
"""

from __future__ import annotations

import json
import os
from collections import deque
from itertools import islice

_dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
MEMORY = 200_000  # entries kept for queries; older ones are in the file only


class Ledger:
    def __init__(self, path: str | None = None, memory: int = MEMORY):
        """Raises OSError when the file cannot be opened for appending."""
        self.n = 0
        self._entries: deque[dict] = deque(maxlen=memory)
        self._fd = -1
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, entry: dict) -> None:
        """Numbers the entry, which becomes the ledger's own, and writes it out.  Raises OSError (a full disk)."""
        self.n += 1
        entry["n"] = self.n
        self._entries.append(entry)
        if self._fd >= 0:
            _write_all(self._fd, _dump(entry).encode("ascii") + b"\n")

    def query(self, since: int = 0, limit: int = 1000, **wanted: str) -> list[dict]:
        """Up to `limit` entries with n > since, oldest first, whose fields equal `wanted`, as JSON spells them."""
        found: list[dict] = []
        for entry in self._from(since):
            if len(found) == limit:
                break
            if all(_spelled(entry.get(key)) == value for key, value in wanted.items()):
                found.append(entry)
        return found

    def _from(self, since: int):
        first = self._entries[0]["n"] if self._entries else 1
        return islice(self._entries, max(0, since + 1 - first), None)

    def forget(self) -> None:
        """Empties the memory; the file and the numbering go on."""
        self._entries.clear()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else _dump(value)


def _write_all(fd: int, line: bytes) -> None:
    while line:
        line = line[os.write(fd, line):]
