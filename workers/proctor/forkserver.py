"""The prepared parent of a pool: has everything imported, and forks a worker when asked.

A fork of it is ready in milliseconds where an interpreter with its imports takes a hundred, and shares
the parent's memory. It speaks on descriptor 3, a SOCK_SEQPACKET socket, one JSON object a message:

  to us    {"type": "fork", "seq": 7} with three descriptors: the worker's stdin, stdout and stderr
  from us  {"type": "prepared", "pid": 812, "python": "3.11.2"}
           {"type": "forked", "seq": 7, "pid": 901}
           {"type": "failed", "seq": 7, "reason": "..."}

A fork costs milliseconds itself. So once no request has come for a moment, workers are forked in advance:
standbys, which have all that a worker has but its descriptors, and wait for them. Requests are answered with
these; one that finds none left, as in a burst, waits for a fork of its own. Standbys end when we do, by the
end of the socket that they wait on.

A worker is no child of ours but of the supervisor, which is the subreaper: a child in between forks it
and ends. So it outlives us, is reaped by whom it serves, and dies with him (PR_SET_PDEATHSIG, which is set
after the change of parents, because that change resets nothing but names the wrong parent before it).
It is named in `forked` no sooner than it is the supervisor's.
"""

import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys

from . import log

CHANNEL_FD = 3
MAX_MESSAGE_BYTES = 4096
PR_SET_PDEATHSIG = 1
EXIT_ORPHAN = 75
# A worker's death seldom comes alone, and each of them takes 3 MB of memory.
STANDBYS = 2
# Without a request for so long, there is time to fork in advance.
QUIET_S = 0.005
# To the next try after a standby that ended unused, or could not be forked: its cause may last.
RETRY_S = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


class Standby:
    """A worker that waits for its descriptors; `line` is our end of the socket that it waits on."""

    def __init__(self, pid, line):
        self.pid = pid
        self.line = line

    def tell(self, word, descriptors=()):
        """Returns whether it lives."""
        try:
            socket.send_fds(self.line, [word], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def equip(self, descriptors):
        """Gives it stdin, stdout and stderr, on which it serves then; returns whether it lives."""
        with self.line:
            return self.tell(b"serve", descriptors)


class ForkServer:
    """prepare: called in each new process, does all that can be done without descriptors. It returns a
    function, which is called with the worker's descriptors at 0, 1 and 2 and returns its exit code."""

    def __init__(self, prepare):
        self._prepare = prepare
        self._supervisor = os.getppid()
        self._channel = socket.socket(fileno=CHANNEL_FD)
        os.set_inheritable(CHANNEL_FD, False)
        self._standbys = []
        self._descriptors = []  # of the request in hand
        self._pause_s = QUIET_S

    def run(self):
        """Forks as told until the supervisor closes the channel; returns the exit code."""
        # Collected once and never walked again: the pages stay shared.
        gc.collect()
        gc.freeze()
        self._send({"type": "prepared", "pid": os.getpid(), "python": ".".join(map(str, sys.version_info[:3]))})
        while True:
            self._await_request()
            message, self._descriptors, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE_BYTES, 3)
            if not message:
                return 0
            self._handle(json.loads(message))
            self._drop_descriptors()

    # Standbys.

    def _await_request(self):
        """Returns when there is one, or the channel's end; meanwhile sees to the standbys."""
        while True:
            lines = [standby.line for standby in self._standbys]
            pause_s = self._pause_s if len(lines) < STANDBYS else None
            readable, _, _ = select.select([self._channel, *lines], [], [], pause_s)
            # They never speak: what can be read is their end.
            for standby in [standby for standby in self._standbys if standby.line in readable]:
                self._drop_standby(standby)
            if self._channel in readable:
                return
            if not readable:
                self._add_standby()

    def _add_standby(self):
        try:
            self._standbys.append(self._fork())
        except OSError as fault:
            log.warning("standby.failed", reason=str(fault))
            self._pause_s = RETRY_S

    def _drop_standby(self, standby):
        log.warning("standby.ended", pid=standby.pid)
        self._standbys.remove(standby)
        standby.line.close()
        self._pause_s = RETRY_S

    # Requests.

    def _handle(self, request):
        answer = {"seq": request["seq"]}
        try:
            if len(self._descriptors) != 3:
                raise OSError(f"{len(self._descriptors)} descriptors came with the request")
            answer.update(type="forked", pid=self._start_worker())
        except OSError as fault:
            answer.update(type="failed", reason=str(fault))
        self._send(answer)
        self._pause_s = QUIET_S

    def _start_worker(self):
        """Has a worker serve on the request's descriptors; returns its pid."""
        while self._standbys:
            standby = self._standbys.pop(0)
            if standby.equip(self._descriptors):
                return standby.pid
            log.warning("standby.ended", pid=standby.pid)
        worker = self._fork()
        # One that was killed in the meantime is named all the same: its end is the supervisor's to judge.
        worker.equip(self._descriptors)
        return worker.pid

    def _drop_descriptors(self):
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    # Forking.

    def _fork(self):
        """A new standby, which is the supervisor's child by now. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            between = os.fork()
            if between == 0:
                self._fork_worker(ours, theirs)
        _, status = os.waitpid(between, 0)
        error = os.waitstatus_to_exitcode(status)
        if error:
            ours.close()
            raise OSError(error, os.strerror(error) if error > 0 else f"ended by signal {-error}")
        standby = Standby(int(ours.recv(16)), ours)
        standby.tell(b"adopted")
        return standby

    def _fork_worker(self, ours, theirs):
        """In the process in between: forks the worker, names it, and ends; its status is an errno."""
        status = errno.ENOMEM
        try:
            worker = os.fork()
            if worker == 0:
                ours.close()
                self._become_worker(theirs)
            theirs.send(str(worker).encode())
            status = 0
        except OSError as fault:
            status = fault.errno
        finally:
            os._exit(status)

    def _become_worker(self, line):
        """In the worker: prepares itself once it is the supervisor's, and serves once it is equipped."""
        status = 1
        try:
            os.setpgid(0, 0)
            self._channel.close()
            self._drop_descriptors()
            for standby in self._standbys:
                standby.line.close()  # else it would not see our parent's end
            line.recv(16)  # "adopted": the process in between has ended
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            # He may have ended before that took effect.
            if os.getppid() != self._supervisor:
                os._exit(EXIT_ORPHAN)
            serve = self._prepare()
            _, descriptors, _, _ = socket.recv_fds(line, 16, 3)
            if not descriptors:
                os._exit(0)  # our parent ended
            line.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            status = serve()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _send(self, message):
        self._channel.send(json.dumps(message).encode())
