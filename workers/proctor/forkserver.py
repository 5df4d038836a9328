"""The prepared parent of a pool: has everything imported, and forks a worker when asked.

A fork of it is ready in milliseconds where an interpreter with its imports takes a hundred, and shares
the parent's memory. It speaks on descriptor 3, a SOCK_SEQPACKET socket, one JSON object a message:

  to us    {"type": "fork", "seq": 7} with three descriptors: the worker's stdin, stdout and stderr
  from us  {"type": "prepared", "pid": 812, "python": "3.11.2"}
           {"type": "forked", "seq": 7, "pid": 901}
           {"type": "failed", "seq": 7, "reason": "..."}

The worker is no child of ours but of the supervisor, which is the subreaper: a child in between forks it
and ends. So it outlives us, is reaped by whom it serves, and dies with him (PR_SET_PDEATHSIG, which is set
after the change of parents, because that change resets nothing but names the wrong parent before it).
"""

import ctypes
import gc
import json
import os
import signal
import socket
import sys

CHANNEL_FD = 3
MAX_MESSAGE_BYTES = 4096
PR_SET_PDEATHSIG = 1
EXIT_ORPHAN = 75

_libc = ctypes.CDLL(None, use_errno=True)


class ForkServer:
    """serve: called in the new process with its descriptors at 0, 1 and 2; returns its exit code."""

    def __init__(self, serve):
        self._serve = serve
        self._supervisor = os.getppid()
        self._channel = socket.socket(fileno=CHANNEL_FD)
        os.set_inheritable(CHANNEL_FD, False)

    def run(self):
        """Forks as told until the supervisor closes the channel; returns the exit code."""
        # Collected once and never walked again: the pages stay shared.
        gc.collect()
        gc.freeze()
        self._send({"type": "prepared", "pid": os.getpid(), "python": ".".join(map(str, sys.version_info[:3]))})
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE_BYTES, 3)
            if not message:
                return 0
            self._handle(json.loads(message), descriptors)

    def _handle(self, request, descriptors):
        seq = request["seq"]
        try:
            if len(descriptors) != 3:
                raise OSError(f"{len(descriptors)} descriptors came with the request")
            between = os.fork()
            if between == 0:
                self._fork_worker(seq, descriptors)
            os.waitpid(between, 0)
        except OSError as fault:
            self._send({"type": "failed", "seq": seq, "reason": str(fault)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork_worker(self, seq, descriptors):
        """In the process in between: forks the worker, names it, and ends."""
        gate, release = os.pipe()
        between = os.getpid()
        try:
            worker = os.fork()
        except OSError as fault:
            self._send({"type": "failed", "seq": seq, "reason": str(fault)})
            os._exit(0)
        if worker == 0:
            os.close(release)
            self._become_worker(descriptors, gate, between)
        self._send({"type": "forked", "seq": seq, "pid": worker})
        os._exit(0)

    def _become_worker(self, descriptors, gate, between):
        """In the worker: waits until it belongs to the supervisor, then serves."""
        status = 1
        try:
            os.setpgid(0, 0)
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            self._channel.close()
            os.read(gate, 1)  # end of file: the process in between is ending
            os.close(gate)
            # Its files are closed a moment before its children change hands.
            while os.getppid() == between:
                os.sched_yield()
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            # He may have ended before that took effect.
            if os.getppid() != self._supervisor:
                os._exit(EXIT_ORPHAN)
            status = self._serve()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _send(self, message):
        self._channel.send(json.dumps(message).encode())
