"""A pool of scripted workers: writes their script, reads their journal."""

import json
import os
import shutil

from harness import place

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_worker.py")

GREETING = [["hello"], ["ready"]]
WORKING = [*GREETING, ["serve"]]

# So that what takes minutes in earnest takes parts of a second here.
QUICK = {"restart_delay": "20ms", "restart_delay_max": "100ms", "stable_after": "1s", "boot_timeout": "5s",
         "ping_interval": "200ms", "ping_timeout": "300ms", "shutdown_timeout": "2s", "health_interval": "1h"}


class FakePool:
    """lives: of each process in the order of their starts, the last for all that follow; see fake_worker.py."""

    def __init__(self, *lives):
        self.folder = place.make_folder("fake")
        shutil.copy(PROGRAM, self.folder)
        os.chmod(os.path.join(self.folder, "fake_worker.py"), 0o644)
        self.script(*lives)

    def script(self, *lives):
        path = os.path.join(self.folder, "script.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(lives, file)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def ini(self, **keys):
        """Sections that make it the daemon's pool; keys go into the pool's."""
        command = f"/usr/bin/python3 -S {self.folder}/fake_worker.py {self.folder}"
        return {"pool:probe": {"size": 1, **QUICK, "command": command, **keys},
                "provider:openai": {"requests_per_minute": 0, "concurrency": 0}}

    def allow(self, name):
        """Lets the step ["wait_file", name] end."""
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

    def wait(self, what, count=1, deadline=10.0, **fields):
        """Waits for the count-th such entry and returns it."""
        return place.wait_until(lambda: self.journal(what, **fields)[count - 1:count], deadline,
                                f"{what} {fields} number {count} in the journal: {self.journal()[-20:]}")[0]

    def calls(self, prompt=""):
        """(prompt, number of the turn) of every call that a worker was permitted, in order."""
        return [(entry["prompt"], entry["number"]) for entry in self.journal("call") if prompt in entry["prompt"]]

    def remove(self):
        place.remove_folder(self.folder)
