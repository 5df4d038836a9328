"""Services and groups of the tests' own, and a daemon over them that needs no database."""

import json
import os
import shutil
import signal

from harness import place
from harness.proctor import Daemon

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "service_program.py")
PYTHON = "/usr/bin/python3 -S -E"

# Nobody listens there: the daemon lives on without its database.
NO_DATABASE = {"database": {"url": "postgresql://127.0.0.1:9/none"}}

# A worker that only greets, and goes when it is told to: it costs next to nothing.
WORKER = """#!/bin/sh
echo '{"type":"hello","protocol":1,"kind":"probe","version":"0","python":"0","pid":1,"capacity":9,"providers":[]}'
echo '{"type":"ready"}'
while read -r line; do
    case $line in *shutdown*) exit 0 ;; esac
done
"""

# So that what takes minutes in earnest takes parts of a second here.
QUICK = {"restart_delay": "20ms", "restart_delay_max": "100ms", "stable_after": "1m", "ready": "fd",
         "ready_timeout": "10s", "shutdown_timeout": "5s"}


class Services:
    def __init__(self):
        self.folder = place.make_folder("services")
        shutil.copy(PROGRAM, self.folder)
        os.chmod(os.path.join(self.folder, "service_program.py"), 0o644)
        worker = os.path.join(self.folder, "worker")
        with open(worker, "w", encoding="utf-8") as file:
            file.write(WORKER)
        os.chmod(worker, 0o755)

    def remove(self):
        place.remove_folder(self.folder)

    def pool(self, **keys):
        return {"pool:probe": {"size": 1, "command": os.path.join(self.folder, "worker"), "ping_interval": "1h",
                               "health_interval": "1d", **keys}}

    def service(self, name, *words, **keys):
        """The section of a service that does what these words say; see service_program.py."""
        command = " ".join([PYTHON, os.path.join(self.folder, "service_program.py"), self.folder, name, *words])
        return {f"service:{name}": {"command": command, **QUICK, **keys}}

    def group(self, name, strategy, *children, **keys):
        """Sections of a group and of its children, which are sections themselves."""
        sections = {f"group:{name}": {"strategy": strategy, "intensity": 100, "period": "10s", **keys}}
        for child in children:
            first = next(iter(child))
            sections.update({**child, first: {"group": name, **child[first]}})
        return sections

    def say(self, name, *words):
        """What its next life does, in place of what its section says."""
        path = os.path.join(self.folder, f"{name}.words")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(" ".join(words))
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def allow(self, name):
        """Lets the word wait=NAME end."""
        with open(os.path.join(self.folder, name), "w", encoding="ascii"):
            pass

    def journal(self, what=None, **fields):
        """What happened, oldest first: the entries that have these values."""
        try:
            with open(os.path.join(self.folder, "journal"), encoding="utf-8") as file:
                entries = [json.loads(line) for line in file]
        except FileNotFoundError:
            return []
        return [entry for entry in entries if (what is None or entry["what"] == what)
                and all(entry.get(name) == value for name, value in fields.items())]

    def names(self, what):
        """Of those to whom it happened, in order."""
        return [entry["name"] for entry in self.journal(what)]

    def wait(self, what, name, count=1, deadline=15.0):
        """Waits for the count-th such entry and returns it."""
        return place.wait_until(lambda: self.journal(what, name=name)[count - 1:count], deadline,
                                f"{name} {what}, number {count}, in {self.journal()[-20:]}")[0]

    def pids(self):
        """Of all that ever lived, grandchildren too."""
        return {entry["pid"] for entry in self.journal()} | {entry["child"] for entry in self.journal("grandchild")}

    def living(self):
        return sorted(pid for pid in self.pids() if place.process_is_alive(pid))


def sections(*parts):
    """One ini of several."""
    return {name: keys for part in parts for name, keys in part.items()}


class Tree(Daemon):
    """A daemon, and questions about its tree."""

    def node(self, name):
        """What `tree` tells of the node; None when there is none."""
        def find(node):
            found = [node] if node["name"] == name else []
            for child in node.get("children", ()):
                found += find(child)
            return found
        return next(iter(find(self.call("tree"))), None)

    def wait_node(self, name, deadline=15.0, **fields):
        """Waits until the node has these values; returns it."""
        def has():
            node = self.node(name)
            return node if node and all(node[field] == value for field, value in fields.items()) else None
        return place.wait_until(has, deadline, f"{name} to be {fields}; it is {self.node(name)}")

    def wait_up(self, *names, deadline=15.0):
        return [self.wait_node(name, deadline, state="up") for name in names]

    def pids_of(self, *names):
        return {name: self.node(name)["pid"] for name in names}

    def kill_node(self, name, signo=signal.SIGKILL):
        """Returns the pid that was killed."""
        pid = self.node(name)["pid"]
        os.kill(pid, signo)
        return pid
