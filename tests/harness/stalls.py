"""Tells when the machine itself stood still.

A claim about time (a limit of so many calls in two seconds, an answer within 50 ms) holds on a machine that lets
processes run. A virtual machine may be frozen by its host, or have its processors taken away, for seconds. That is seen
here from outside of everything under test: a process of its own that does nothing but wake every 10 ms writes down
whenever it woke late."""

import os
import select
import subprocess
import sys
import time

LATE_S = 0.05  # what a lane keeps in store against delays, BUCKET_LATE_MS
_WAKE_S = 0.01


class StallWatch:
    """From start() to stop()."""

    def __init__(self):
        self._process = None
        self._rest = b""
        self._stalls = []

    def start(self):
        self._process = subprocess.Popen([sys.executable, "-B", "-S", __file__], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, cwd="/")
        self._process.stdout.readline()  # it watches
        os.set_blocking(self._process.stdout.fileno(), False)
        return self

    def stop(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def between(self, begin, end):
        """Lengths in seconds, above LATE_S, of the stalls that began in this time of the monotonic clock."""
        while True:
            read = self._process.stdout.read(65536)
            if not read:
                break
            *lines, self._rest = (self._rest + read).split(b"\n")
            self._stalls += [tuple(map(float, line.split())) for line in lines]
        return [length for at, length in self._stalls if begin <= at < end]


def main():
    """Writes an empty line, then `instant length` of each stall, until its standard input ends."""
    os.write(1, b"\n")
    while True:
        due = time.monotonic() + _WAKE_S
        if select.select([0], [], [], _WAKE_S)[0]:
            return
        late = time.monotonic() - due
        if late > LATE_S:
            os.write(1, f"{due:.3f} {late:.3f}\n".encode())


if __name__ == "__main__":
    main()
