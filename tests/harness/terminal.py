"""A program on a real terminal, by tmux: what its screen shows, keys, and another size in mid-course.

    with Terminal("proctorctl", "top", columns=80, lines=24) as terminal:
        terminal.wait("workers")
        terminal.keys("q")
        assert terminal.wait_exit() == 0
"""

import os
import re
import shlex
import subprocess

from . import place

END = "exit status "


class Terminal:
    """words: the program. Below it stands, once it has ended, its exit status."""

    def __init__(self, *words, columns=80, lines=24, environment=None):
        self.folder = place.make_folder("term")
        self._server = ["tmux", "-S", os.path.join(self.folder, "tmux"), "-f", "/dev/null"]
        self.columns = columns
        # The shell is the terminal's first process and outlives the program: the screen can be read behind its end.
        line = f"{shlex.join(map(str, words))}; echo '{END}'$?; exec cat"
        kept = {name: value for name, value in os.environ.items()
                if name not in ("TMUX", "NO_COLOR", "PAGER", "LESS", "PROCTOR_SOCKET")}
        subprocess.run([*self._server, "new-session", "-d", "-x", str(columns), "-y", str(lines), "sh", "-c", line],
                       env={**kept, "LC_ALL": "C.UTF-8", **(environment or {})}, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ask("kill-server", check=False)
        place.remove_folder(self.folder)

    def _ask(self, *words, check=True):
        return subprocess.run([*self._server, *words], capture_output=True, text=True, check=check).stdout

    def screen(self):
        """The lines of the screen, without spaces at their ends."""
        return [line.rstrip() for line in self._ask("capture-pane", "-p").split("\n")[:-1]]

    def text(self):
        return "\n".join(self.screen())

    def wait(self, pattern, deadline=20.0):
        """Waits until the regular expression is found on the screen, which is returned."""
        wanted = re.compile(pattern, re.MULTILINE)

        def found():
            text = self.text()
            return text if wanted.search(text) else None
        try:
            return place.wait_until(found, deadline, f"{pattern!r} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen is\n{self.text()}") from None

    def wait_exit(self, deadline=20.0):
        """The program's exit status."""
        return int(re.search(END + r"(\d+)", self.wait(END + r"\d", deadline)).group(1))

    def keys(self, *keys):
        """Names of tmux ("Up", "C-z", "Tab") or characters."""
        self._ask("send-keys", *keys)

    def type(self, text):
        self._ask("send-keys", "-l", text)

    def resize(self, columns, lines):
        self.columns = columns
        self._ask("resize-window", "-x", str(columns), "-y", str(lines))

    def is_raw(self):
        """Whether a program has taken the terminal over: another page, or no cursor."""
        return self._ask("display-message", "-p", "#{alternate_on}#{?cursor_flag,0,1}").strip() != "00"

    def modes(self):
        """What stty tells of it."""
        device = self._ask("display-message", "-p", "#{pane_tty}").strip()
        return subprocess.run(["stty", "-a", "-F", device], capture_output=True, text=True, check=True).stdout

    def program_pid(self, name):
        """The process that runs the program of this name below the terminal's shell."""
        shell = int(self._ask("display-message", "-p", "#{pane_pid}"))
        for pid in place.descendants(shell):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                    if file.read().strip() == name:
                        return pid
            except FileNotFoundError:
                continue
        return None
