"""A worker that does what a script says, to see what the supervisor makes of it.

    fake_worker.py FOLDER

FOLDER/script.json is a list of lives: the first process lives by the first, the next by the second, and
all later ones by the last. A life is a list of steps, each ["name", argument…]; see the functions that are
called step_NAME. What happens goes to FOLDER/journal, one JSON object a line, with life and pid.

Only the standard library, so that a life begins fast.
"""

import faulthandler
import fcntl
import hashlib
import json
import os
import select
import signal
import sys
import threading
import time

STDIN, STDOUT, STDERR = 0, 1, 2


class Life:
    def __init__(self, folder):
        self.folder = folder
        self.number = self._take_number()
        self.pending = b""
        self.last_message = None
        self.rss_kb = 1000
        with open(os.path.join(folder, "script.json"), encoding="utf-8") as file:
            lives = json.load(file)
        self.steps = lives[min(self.number, len(lives)) - 1]

    def _take_number(self):
        with open(os.path.join(self.folder, "lives"), "a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("x")
            return file.tell()

    def note(self, what, **fields):
        line = json.dumps({"life": self.number, "pid": os.getpid(), "what": what, "at": time.monotonic(), **fields})
        descriptor = os.open(os.path.join(self.folder, "journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, line.encode() + b"\n")
        os.close(descriptor)

    def run(self, steps):
        for name, *arguments in steps:
            self.note("step", name=name)
            getattr(self, f"step_{name}")(*arguments)

    def send(self, message):
        write(STDOUT, json.dumps(message).encode() + b"\n")

    def read_message(self, timeout=None):
        """The next line from the supervisor; None at its end or when none came in time."""
        while b"\n" not in self.pending:
            if not select.select([STDIN], [], [], timeout)[0]:
                return None
            chunk = os.read(STDIN, 1 << 16)
            if not chunk:
                self.note("eof")
                sys.exit(0)
            self.pending += chunk
        line, _, self.pending = self.pending.partition(b"\n")
        message = json.loads(line)
        self.note("got", **{key: message[key] for key in ("type", "id", "seq", "attempt") if key in message},
                  turns=len(message.get("turns", ())))
        return message

    # Words of the protocol.

    def step_hello(self, changes=None):
        self.send({"type": "hello", "protocol": 1, "kind": "probe", "version": "0", "python": "0", "pid": os.getpid(),
                   "capacity": 500, "providers": [], **(changes or {})})

    def step_ready(self):
        self.send({"type": "ready"})

    def step_line(self, text):
        write(STDOUT, text.encode() + b"\n")

    def step_latin1(self, text):
        write(STDOUT, text.encode("latin-1") + b"\n")

    def step_endless_line(self, count):
        """So many bytes, and no newline; it gives up when nobody reads any more."""
        chunk = b"x" * (1 << 20)
        try:
            for _ in range(count >> 20):
                write(STDOUT, chunk)
        except BrokenPipeError:
            self.note("pipe_broken")

    def step_turn(self, changes, body=None):
        """The first turn of the last job got, its header with these changes, and this body in place of a good one."""
        good = body_of(1)
        self.send(turn_of(self.last_message, 1, "", good, False) | changes)
        self.step_line(good.decode() if body is None else body)

    def step_turn_in_parts(self, name):
        """A job's one turn, of which the latter half is said when the file is there; then its end."""
        good = body_of(1)
        whole = json.dumps(turn_of(self.last_message, 1, "", good, True)).encode() + b"\n" + good + b"\n"
        middle = len(whole) - len(good) // 2
        write(STDOUT, whole[:middle])
        self.note("half_said")
        self.step_wait_file(name)
        write(STDOUT, whole[middle:])
        self.step_result({})

    def step_result(self, changes):
        """The end of the last job got, with these changes."""
        self.send({"type": "result", "id": self.last_message["id"], "attempt": self.last_message["attempt"],
                   "success": True, "modelVersion": None, "totals": {}} | changes)

    def pong(self, message, inflight=0):
        self.send({"type": "pong", "seq": message["seq"], "inflight": inflight, "rss_kb": self.rss_kb})

    # Waiting.

    def step_wait_job(self):
        """Pings are answered meanwhile."""
        while True:
            message = self.read_message()
            if message["type"] == "ping":
                self.pong(message)
            elif message["type"] == "job":
                self.last_message = message
                return

    def step_wait_file(self, name):
        while not os.path.exists(os.path.join(self.folder, name)):
            time.sleep(0.005)

    def step_pause(self, seconds):
        time.sleep(seconds)

    def step_serve(self, options=None):
        Conversations(self, options or {}).serve()

    # Ends.

    def step_exit(self, code):
        self.note("end")
        os._exit(code)

    def step_signal(self, number):
        """Kills (or stops) itself."""
        self.note("end")
        os.kill(os.getpid(), number)

    # Illness.

    def step_hang(self):
        threading.Event().wait()

    def step_deadlock(self):
        """The main thread waits for itself, while a helper thread says that all is well."""
        threading.Thread(target=self._beat, daemon=True).start()
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def _beat(self):
        while True:
            write(STDERR, b"the helper thread is alive\n")
            time.sleep(0.05)

    def step_spin(self):
        while True:
            pass

    def step_vfork(self, name):
        """Waits, in the kernel, for a child that does not come to its exec until somebody opens the FIFO to write."""
        fifo = os.path.join(self.folder, name)
        os.mkfifo(fifo)
        self.note("vfork")
        os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 9, fifo, os.O_RDONLY, 0)])

    def step_allocate(self, count):
        self.held = bytearray(count)

    def step_ignore_term(self):
        signal.signal(signal.SIGTERM, lambda number, frame: self.note("term"))

    def step_close_stdout(self):
        os.close(STDOUT)

    def step_stderr(self, text):
        write(STDERR, text.encode() + b"\n")

    def step_flood_stderr(self, seconds):
        """As much as the reader takes, in lines of 100 bytes, from a thread of its own."""
        def flood():
            chunk = (b"e" * 99 + b"\n") * 5000
            written, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                written += write(STDERR, chunk)
            self.note("flooded", bytes=written)
        threading.Thread(target=flood, daemon=True).start()

    def step_fork_grandchild(self):
        """A child that holds the same pipes and outlives us, if nobody ends it."""
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()
        self.note("grandchild", child=pid)


class Conversations:
    """Answers jobs as a worker does. Options:

    delay         seconds before each answer
    turns         of each conversation (3)
    at            {"PROMPT": [steps]}: done when a call of a conversation with this in its prompt is permitted
    at_turn       the turn of which that holds (any)
    deaf          ["ping", "shutdown", …]: messages that are not heard
    rss_kb        resident memory that its pongs tell (1000)
    """

    def __init__(self, life, options):
        self.life = life
        self.delay = options.get("delay", 0)
        self.turns = options.get("turns", 3)
        self.at = options.get("at", {})
        self.at_turn = options.get("at_turn")
        self.deaf = options.get("deaf", [])
        life.rss_kb = options.get("rss_kb", life.rss_kb)
        self.jobs = {}
        self.due = []
        self.ending = False

    def serve(self):
        while not (self.ending and not self.due):
            wait = max(0, self.due[0][0] - time.monotonic()) if self.due else None
            message = self.life.read_message(wait)
            if message is not None and message["type"] not in self.deaf:
                getattr(self, f"on_{message['type']}")(message)
            while self.due and self.due[0][0] <= time.monotonic():
                self.answer(self.due.pop(0)[1])
        sys.exit(0)

    def on_job(self, message):
        self.jobs[message["id"]] = message | {"done": len(message["turns"])}
        self.permit(message["id"])

    def on_go(self, message):
        if message["id"] in self.jobs:
            self.permit(message["id"])

    def permit(self, job_id):
        job = self.jobs[job_id]
        number = job["done"] + 1
        self.life.last_message = job
        self.life.note("call", id=job_id, number=number, prompt=job["input"]["scenario"]["prompt"])
        for prompt, steps in self.at.items():
            if prompt in job["input"]["scenario"]["prompt"] and self.at_turn in (None, number):
                self.life.run(steps)
        self.due.append((time.monotonic() + self.delay, job_id))

    def answer(self, job_id):
        job = self.jobs.get(job_id)
        if job is None:
            return
        job["done"] += 1
        body = body_of(job["done"])
        header = turn_of(job, job["done"], job["digest"], body, job["done"] == self.turns)
        job["digest"] = header["digest"]
        write(STDOUT, json.dumps(header).encode() + b"\n" + body + b"\n")
        if header["last"]:
            self.finish(job_id, {"success": True, "modelVersion": "fake-1", "totals": {}})
        elif self.ending:
            self.give_back(job_id)

    def finish(self, job_id, fields):
        job = self.jobs.pop(job_id)
        self.life.send({"type": "result", "id": job_id, "attempt": job["attempt"]} | fields)

    def give_back(self, job_id):
        self.finish(job_id, {"success": False, "error": {"message": "shutting down", "code": "CANCELLED",
                                                         "retryable": True, "details": {"givenBack": True}}})

    def on_cancel(self, message):
        if message["id"] in self.jobs:
            self.finish(message["id"], {"success": False, "error": {"message": "cancelled", "code": "CANCELLED",
                                                                    "retryable": False}})

    def on_ping(self, message):
        self.life.pong(message, len(self.jobs))

    def on_shutdown(self, message):
        self.ending = True
        calling = {job_id for _, job_id in self.due}
        for job_id in [job_id for job_id in self.jobs if job_id not in calling]:
            self.give_back(job_id)


def body_of(number):
    label = "scenario_prompt" if number == 1 else f"followup_{number - 1}"
    return json.dumps({"turnNumber": number, "promptLabel": label,
                       "probePrompt": "?", "targetResponse": f"answer {number}", "inputTokens": 10, "outputTokens": 20,
                       "reasoningTokens": 0, "durationMs": 5, "finishReason": "stop", "modelVersion": "fake-1",
                       "startedAt": "2025-01-01T00:00:00Z"}).encode()


def turn_of(job, number, previous, body, last):
    digest = hashlib.blake2b(previous.encode() + body, digest_size=16).hexdigest()
    return {"type": "turn", "id": job["id"], "attempt": job["attempt"], "number": number, "last": last,
            "prev": previous,
            "digest": digest, "latency_ms": 5, "usage": {"input": 10, "output": 20, "reasoning": 0}, "bytes": len(body)}


def write(descriptor, data):
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
    return written


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    life = Life(sys.argv[1])
    life.note("born")
    life.run(life.steps)
    life.note("end")
