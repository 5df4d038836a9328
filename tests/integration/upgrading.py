"""Programs that a daemon is told to upgrade to: proctord of another version, and scripts that misbehave."""

import os
import re
import shutil

from harness import place

SCRIPT = """#!/usr/bin/python3 -S
import os, sys, time
CHECK = "--check-upgrade" in sys.argv
REAL = {real!r}
HERE = {folder!r}
def go_on():
    os.execv(REAL, [REAL] + sys.argv[1:])
"""


class Programs:
    """In a folder laid out as an installation: what is made here finds the same workers as the daemon's own."""

    def __init__(self):
        self.folder = place.make_folder("programs")
        self.root = place.installation()
        os.mkdir(os.path.join(self.folder, "sbin"))
        os.symlink(os.path.join(self.root, "lib"), os.path.join(self.folder, "lib"))
        os.symlink(os.path.join(self.root, "bin"), os.path.join(self.folder, "bin"))

    def path(self, name):
        return os.path.join(self.folder, "sbin", name)

    def _finish(self, path, mode):
        os.chmod(path, mode)
        place.give_to_run_user(path)
        return path

    def copy(self, name="proctord"):
        """The daemon's program once more."""
        return self._finish(shutil.copy(os.path.join(self.root, "sbin", "proctord"), self.path(name)), 0o755)

    def copy_without_mode(self):
        path = self.copy("plain")
        os.chmod(path, 0o644)
        return path

    def foreign(self):
        """The same program, by its header for another machine."""
        path = self.copy("foreign")
        with open(path, "r+b") as file:
            file.seek(18)
            file.write(b"\x16\x00")  # IBM S/390
        return path

    def version(self, name="proctord-next"):
        """(path, version) of the same program that says it is of another version, of as many letters."""
        with open(os.path.join(self.root, "sbin", "proctord"), "rb") as file:
            program = file.read()
        own = re.search(rb"proctord (\d[0-9.]*)\0", program).group(1)
        other = re.sub(rb"\d", b"9", own)
        assert other != own
        with open(self.path(name), "wb") as file:
            file.write(program.replace(own + b"\0", other + b"\0"))
        return self._finish(self.path(name), 0o755), other.decode()

    def script(self, text, name="script", mode=0o755):
        """A program in Python. It knows CHECK (it is only tried), REAL, HERE, and go_on(): be proctord after all."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(SCRIPT.format(real=os.path.join(self.root, "sbin", "proctord"), folder=self.folder) + text)
        return self._finish(self.path(name), mode)

    def file(self, content, name="file", mode=0o755):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self._finish(self.path(name), mode)

    def remove(self):
        place.remove_folder(self.folder)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
