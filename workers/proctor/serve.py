"""Serve mode: protocol version 1 (workers/PROTOCOL.md) on one loop.

The loop owns everything: it reads job lines, drives all calls on the transport, and writes what came of
them once a turn. It never waits for one conversation, never sleeps on a 429, and never asks a
provider without a permission (`job` or `go`). Its peer is the supervisor; a line from it that is not
the protocol means that it is broken, and the worker exits with EXIT_PROTOCOL.
"""

import gc
import os
import select
import signal
import time

from . import errors, log, sanitize
from .conversation import DEFAULT_DEADLINE_MS, MAX_CONVERSATION_BYTES
from .transport import Transport
from .wire import MAX_LINE_BYTES, LineReader, LineTooLong, Outbox

EXIT_PROTOCOL = 65
EXIT_READER_GONE = 74
TERM_GRACE_MS = 1500
# With this much unwritten, nothing more is read from the supervisor until it has read from us.
OUTBOX_FULL_BYTES = 8 * 1024 * 1024
FLUSH_AT_EXIT_S = 2.0
MAX_DEADLINE_MS = 24 * 3600 * 1000
GIVEN_BACK = {"givenBack": True}


class ProtocolFault(Exception):
    """The supervisor sent something that is not the protocol."""


class Job:
    """A conversation in hand. exchange: the call under way, None while it waits for `go`."""

    __slots__ = ("id", "attempt", "deadline_ms", "conversation", "exchange")

    def __init__(self, id, attempt, deadline_ms, conversation):
        self.id = id
        self.attempt = attempt
        self.deadline_ms = deadline_ms
        self.conversation = conversation
        self.exchange = None


class Worker:
    """One worker process' state: jobs by id, the transport, and, once it runs, the way to the supervisor."""

    def __init__(self, settings, engine):
        self._capacity = settings.capacity
        self._engine = engine
        self._transport = Transport(settings, self._on_done)
        self._reader = None
        self._outbox = None
        self._jobs = {}
        self._end_at = None
        self._reading = None
        self._writing = False
        self._wakeup = None
        self._handlers = {"job": self._on_job, "go": self._on_go, "cancel": self._on_cancel,
                          "ping": self._on_ping, "shutdown": self._on_shutdown}
        # What is loaded now lives for ever: spare the collector the walk through it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    # The loop.

    def run(self, fd_in, fd_out):
        """Serves on these descriptors until told to end; returns the exit code."""
        for fd in (fd_in, fd_out):
            os.set_blocking(fd, False)
        self._reader = LineReader(fd_in)
        self._outbox = Outbox(fd_out)
        self._wakeup = self._catch_term()
        self._reading = self._start_reading()
        self._put({"type": "ready"})
        try:
            while not self._is_over():
                self._turn()
        except (ProtocolFault, LineTooLong) as fault:
            log.error("worker.protocol_fault", reason=str(fault) or f"a line over {MAX_LINE_BYTES} bytes")
            self._flush_at_exit()
            return EXIT_PROTOCOL
        except (BrokenPipeError, ConnectionResetError):
            log.warning("worker.reader_gone", inflight=len(self._jobs))
            return EXIT_READER_GONE
        self._give_back_all()
        self._flush_at_exit()
        return 0

    def _turn(self):
        self._watch_out(not self._outbox.flush())
        self._watch_in(self._outbox.size < OUTBOX_FULL_BYTES)
        fd_in, fd_out = self._reader.fd, self._outbox.fd
        read = self._reading == "always"
        for fd, mask in self._transport.wait(self._timeout_ms(read)):
            if fd == fd_in:
                read = True
            elif fd == fd_out and mask & (select.EPOLLERR | select.EPOLLHUP):
                raise BrokenPipeError
            elif fd == self._wakeup:
                self._on_term()
        if read:
            self._read()

    def _timeout_ms(self, read):
        if read:
            return 0
        if self._end_at is None:
            return None
        return max(0, int((self._end_at - time.monotonic()) * 1000) + 1)

    def _is_over(self):
        return self._end_at is not None and (not self._jobs or time.monotonic() >= self._end_at)

    def _start_reading(self):
        """How stdin is watched: "epoll", or "always" for a regular file, which epoll refuses."""
        try:
            self._transport.register(self._reader.fd, select.EPOLLIN)
        except PermissionError:
            return "always"
        return "epoll"

    def _watch_in(self, wanted):
        """Stops reading while too much is unwritten, and for good at end of file."""
        wanted = wanted and not self._reader.eof
        if self._reading == "epoll" and not wanted:
            self._transport.unregister(self._reader.fd)
            self._reading = "paused"
        elif self._reading == "paused" and wanted:
            self._transport.register(self._reader.fd, select.EPOLLIN)
            self._reading = "epoll"
        elif self._reading == "always" and self._reader.eof:
            self._reading = "paused"

    def _watch_out(self, wanted):
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._transport.register(self._outbox.fd, select.EPOLLOUT)
            else:
                self._transport.unregister(self._outbox.fd)

    def _catch_term(self):
        """SIGTERM wakes the loop through a pipe; returns its reading end."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        self._transport.register(read_end, select.EPOLLIN)
        return read_end

    def _on_term(self):
        if signal.SIGTERM in os.read(self._wakeup, 512):
            log.info("worker.sigterm", inflight=len(self._jobs))
            self._shut_down(TERM_GRACE_MS)

    # From the supervisor.

    def _read(self):
        for line in self._reader.read():
            self._handle_line(line)
        if self._reader.eof:
            log.debug("worker.stdin_closed", inflight=len(self._jobs))
            self._shut_down(0)

    def _handle_line(self, line):
        try:
            message = sanitize.decode(line.decode())
            handler = self._handlers.get(message["type"])
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            kind = type(fault).__name__
            raise ProtocolFault(f"a line of {len(line)} bytes is no message: {kind}") from None
        if handler is None:
            raise ProtocolFault(f"unknown message type {sanitize.text(str(message['type']))[:40]!r}")
        handler(message, len(line))

    def _on_job(self, message, size):
        id, attempt = _whole(message, "id"), _whole(message, "attempt")
        older = self._jobs.get(id)
        if older is not None:
            if attempt <= older.attempt:
                log.warning("job.duplicate", id=id, attempt=attempt, held=older.attempt)
                return
            log.warning("job.superseded", id=id, attempt=attempt, held=older.attempt)
            self._drop(older)
        try:
            job = Job(id, attempt, _deadline(message), self._open(message, size))
            self._jobs[id] = job
            if job.conversation.finished:
                self._succeed(job)
            else:
                self._call(job)
        except errors.ProbeError as error:
            self._fail(id, attempt, error)
        except Exception as fault:
            self._fail(id, attempt, _unforeseen(fault))

    def _open(self, message, size):
        if self._end_at is not None:
            raise errors.Cancelled("the worker is shutting down", GIVEN_BACK)
        if len(self._jobs) >= self._capacity:
            raise errors.Cancelled(f"the worker holds {self._capacity} conversations already", GIVEN_BACK)
        if size > MAX_CONVERSATION_BYTES:
            raise errors.ValidationError(
                f"the conversation has {size} bytes; at most {MAX_CONVERSATION_BYTES} are allowed")
        return self._engine.open_conversation(message.get("input"), message.get("turns", ()),
                                              message.get("digest", ""))

    def _on_go(self, message, size):
        job = self._jobs.get(_whole(message, "id"))
        if job is None or job.exchange is not None:
            log.debug("go.ignored", id=message["id"], known=job is not None)
            return
        try:
            self._call(job)
        except errors.ProbeError as error:
            self._fail(job.id, job.attempt, error)
        except Exception as fault:
            self._fail(job.id, job.attempt, _unforeseen(fault))

    def _on_cancel(self, message, size):
        job = self._jobs.get(_whole(message, "id"))
        if job is None:
            log.debug("cancel.ignored", id=message["id"])
            return
        self._drop(job)
        self._fail(job.id, job.attempt, errors.Cancelled("cancelled"))

    def _on_ping(self, message, size):
        self._put({"type": "pong", "seq": _whole(message, "seq"), "inflight": len(self._jobs),
                   "rss_kb": _rss_kb()})

    def _on_shutdown(self, message, size):
        self._shut_down(_whole(message, "grace_ms"))

    # A job's way.

    def _call(self, job):
        conversation = job.conversation
        job.exchange = self._transport.start(job, conversation.provider, conversation.url,
                                             conversation.request(), job.deadline_ms)

    def _on_done(self, exchange, error):
        job = exchange.owner
        job.exchange = None
        try:
            if error is not None:
                raise error
            turn = job.conversation.take(exchange.status, exchange.headers, exchange.body,
                                         exchange.started_at, exchange.latency_ms)
        except errors.ProbeError as failure:
            self._fail(job.id, job.attempt, failure)
        except Exception as fault:
            self._fail(job.id, job.attempt, _unforeseen(fault))
        else:
            self._put_turn(job, turn)

    def _put_turn(self, job, turn):
        limits = f',"limits":{sanitize.encode(turn.limits)}' if turn.limits else ""
        # All of these are numbers, booleans and hex digests: nothing needs escaping.
        self._outbox.put(
            f'{{"type":"turn","id":{job.id},"attempt":{job.attempt},"number":{turn.number}'
            f',"last":{"true" if turn.last else "false"},"prev":"{turn.previous}","digest":"{turn.digest}"'
            f',"latency_ms":{turn.latency_ms},"usage":{{"input":{turn.input},"output":{turn.output}'
            f',"reasoning":{turn.reasoning}}}{limits},"bytes":{len(turn.body)}}}\n'.encode())
        self._outbox.put(turn.body)
        self._outbox.put(b"\n")
        if turn.last:
            self._succeed(job)
        elif self._end_at is not None:
            self._give_back(job)

    def _succeed(self, job):
        del self._jobs[job.id]
        conversation = job.conversation
        self._put({"type": "result", "id": job.id, "attempt": job.attempt, "success": True,
                   "modelVersion": conversation.model_version, "totals": conversation.totals()})

    def _fail(self, id, attempt, error):
        self._jobs.pop(id, None)
        self._put({"type": "result", "id": id, "attempt": attempt, "success": False,
                   "error": error.to_json()})

    def _drop(self, job):
        """Forgets a job, ending its call."""
        del self._jobs[job.id]
        if job.exchange is not None:
            self._transport.cancel(job.exchange)

    # The end.

    def _shut_down(self, grace_ms):
        """Gives back what waits for `go` and lets calls finish until the grace is over.

        Called again it may shorten the grace, never lengthen it.
        """
        end_at = time.monotonic() + grace_ms / 1000
        if self._end_at is None or end_at < self._end_at:
            self._end_at = end_at
        for job in [job for job in self._jobs.values() if job.exchange is None]:
            self._give_back(job)

    def _give_back(self, job):
        self._fail(job.id, job.attempt, errors.Cancelled("the worker is shutting down", GIVEN_BACK))

    def _give_back_all(self):
        for job in list(self._jobs.values()):
            self._drop(job)
            self._give_back(job)

    def _flush_at_exit(self):
        """Writes what is left, as long as somebody reads."""
        poll = select.poll()
        poll.register(self._outbox.fd, select.POLLOUT)
        deadline = time.monotonic() + FLUSH_AT_EXIT_S
        try:
            while not self._outbox.flush():
                left_ms = (deadline - time.monotonic()) * 1000
                if left_ms <= 0 or not poll.poll(left_ms):
                    log.warning("worker.unread", bytes=self._outbox.size)
                    return
        except OSError:
            log.debug("worker.reader_gone", bytes=self._outbox.size)

    def _put(self, message):
        self._outbox.put(sanitize.encode(message).encode() + b"\n")


def _whole(message, key):
    number = message.get(key)
    if type(number) is not int:
        raise ProtocolFault(f"{message['type']} without a whole number {key!r}")
    return number


def _deadline(message):
    deadline_ms = message.get("deadline_ms", DEFAULT_DEADLINE_MS)
    if type(deadline_ms) is not int or not 0 < deadline_ms <= MAX_DEADLINE_MS:
        raise errors.ValidationError(f"deadline_ms must be a whole number from 1 to {MAX_DEADLINE_MS}")
    return deadline_ms


def _unforeseen(fault):
    """An error of our own making: told to the log with its place, to the supervisor by its kind."""
    import traceback
    log.error("worker.fault", fault=type(fault).__name__, trace=traceback.format_exc(limit=-6))
    return errors.ProbeError(f"the worker failed within itself: {type(fault).__name__}")


def _rss_kb():
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
