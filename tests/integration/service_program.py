"""A service that behaves as it is told, to see what the supervisor makes of it.

    service_program.py FOLDER NAME [WORD…]

WORDs are what it does, in this order; FOLDER/NAME.words, where it exists, replaces them, so that a test can change
what the next life does. What happens goes to FOLDER/journal, one JSON object a line.

    pause=S          before it is ready
    exit=CODE        end before it is ready
    wait=FILE        be ready no sooner than FOLDER/FILE is there
    unready          never be ready
    grandchild       a child of its own, in its process group, that holds its pipes and is deaf to TERM
    escaped          the same in a session of its own
    deaf             be deaf to TERM
    slow=S           need so long to stop after TERM
    mute             close stdout and stderr
    flood            write to stderr as much as it takes
    live=S           end after so long, with exit status `status`
    status=CODE      of an end by live=, or after TERM (0)

Only the standard library, so that a life begins fast.
"""

import json
import os
import signal
import sys
import threading
import time

READY_FD = 3


class Service:
    def __init__(self, folder, name, words):
        self.folder = folder
        self.name = name
        self.status = 0
        self.slow = 0.0
        self.deaf = False
        self.ready = True
        self.lives = None
        path = os.path.join(folder, f"{name}.words")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                words = file.read().split()
        self.words = [word.partition("=")[::2] for word in words]

    def note(self, what, **fields):
        line = json.dumps({"name": self.name, "what": what, "pid": os.getpid(), "at": time.monotonic(), **fields})
        descriptor = os.open(os.path.join(self.folder, "journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, line.encode() + b"\n")
        os.close(descriptor)

    def on_term(self, signo, frame):
        self.note("term")
        if self.deaf:
            return
        time.sleep(self.slow)
        self.end()

    def end(self):
        self.note("end")
        os._exit(self.status)

    def run(self):
        signal.signal(signal.SIGTERM, self.on_term)
        self.note("born")
        for word, value in self.words:
            getattr(self, f"do_{word}")(value)
        if self.ready:
            self.note("ready")
            self.say_ready()
        if self.lives is not None:
            time.sleep(self.lives)
            self.end()
        while True:
            signal.pause()

    def say_ready(self):
        try:
            os.write(READY_FD, b"\n")
        except OSError:
            pass  # nobody asked

    def do_pause(self, value):
        time.sleep(float(value))

    def do_exit(self, value):
        self.note("end")
        os._exit(int(value))

    def do_wait(self, value):
        while not os.path.exists(os.path.join(self.folder, value)):
            time.sleep(0.005)

    def do_unready(self, value):
        self.ready = False

    def fork(self, alone):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if alone:
                os.setsid()
            while True:
                signal.pause()
        self.note("grandchild", child=pid)

    def do_grandchild(self, value):
        self.fork(False)

    def do_escaped(self, value):
        self.fork(True)

    def do_deaf(self, value):
        self.deaf = True

    def do_slow(self, value):
        self.slow = float(value)

    def do_mute(self, value):
        os.close(1)
        os.close(2)

    def do_flood(self, value):
        def flood():
            chunk = (b"e" * 99 + b"\n") * 5000
            while True:
                os.write(2, chunk)
        threading.Thread(target=flood, daemon=True).start()

    def do_live(self, value):
        self.lives = float(value)

    def do_status(self, value):
        self.status = int(value)


if __name__ == "__main__":
    Service(sys.argv[1], sys.argv[2], sys.argv[3:]).run()
