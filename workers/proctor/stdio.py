"""Taking the protocol's descriptors away from the rest of the process.

After `claim` fd 1 is stderr and fd 0 is empty: a stray print, from whatever library, is a log line and
never a broken protocol.
"""

import os
import sys


def claim():
    """(in, out): private duplicates of stdin and stdout, not inherited by children."""
    fd_in, fd_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # A stray line shows when it is printed, not when the buffer fills.
    sys.stdout.reconfigure(line_buffering=True)
    return fd_in, fd_out


def write_all(fd, data):
    """Writes everything to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
