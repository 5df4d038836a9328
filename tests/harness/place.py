"""Folders, users and processes that the harness works with.

Everything runs as an ordinary user. When the tests are started by root, the daemon is started as root (it
drops to `nobody` itself) and the other servers are started as `nobody`; so folders must be reachable by
others, which the temporary folders of pytest are not.
"""

import atexit
import compileall
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNPRIVILEGED = "nobody"
POLL_SECONDS = (0.005, 0.1)  # the first look again, and the longest time between two


def is_root():
    return os.geteuid() == 0


def run_user():
    """Name of the user that servers end up as."""
    return UNPRIVILEGED if is_root() else pwd.getpwuid(os.geteuid()).pw_name


def as_run_user():
    """Keyword arguments for subprocess that start a program as run_user()."""
    if not is_root():
        return {}
    entry = pwd.getpwnam(UNPRIVILEGED)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to_run_user(path):
    if is_root():
        entry = pwd.getpwnam(UNPRIVILEGED)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def make_folder(name):
    """A new folder of run_user()'s, with a path short enough for sockets. The caller removes it."""
    path = tempfile.mkdtemp(prefix=f"proctor-{name}-", dir=os.environ.get("PROCTOR_TEST_DIR", "/var/tmp"))
    os.chmod(path, 0o755)
    give_to_run_user(path)
    return path


def remove_folder(path):
    shutil.rmtree(path, ignore_errors=True)


def wait_until(claim, deadline=10.0, what="the awaited state"):
    """Calls claim() until it returns something true, which it returns. AssertionError after `deadline` s."""
    end = time.monotonic() + deadline
    pause, longest = POLL_SECONDS
    while True:
        found = claim()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline} s in vain for {what}; last seen: {found!r}")
        time.sleep(pause)
        pause = min(longest, pause * 1.5)


def process_is_alive(pid):
    """False for zombies too: they hold nothing any more."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid):
    """Process ids of all children, grandchildren and so on, as of now."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(entry))
    found, frontier = [], [pid]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def end_process(process, signo=signal.SIGTERM, deadline=10.0):
    """Ends a subprocess.Popen: `signo`, then SIGKILL after `deadline` s. Returns its exit status."""
    if process.poll() is None:
        process.send_signal(signo)
    try:
        return process.wait(deadline)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(deadline)


@functools.lru_cache(maxsize=None)
def installation():
    """Root of a copy of Proctor, laid out as `make install PREFIX=root` does and readable by every user.

    The binaries come from build/, or from $PROCTORD and $PROCTORCTL (a sanitizer build, say).
    """
    root = make_folder("home")
    os.chmod(root, 0o755)
    atexit.register(remove_folder, root)
    for folder, variable, name in (("sbin", "PROCTORD", "proctord"), ("bin", "PROCTORCTL", "proctorctl")):
        os.mkdir(os.path.join(root, folder), 0o755)
        source = os.environ.get(variable) or os.path.join(REPOSITORY, "build", name)
        shutil.copy(source, os.path.join(root, folder, name))
        os.chmod(os.path.join(root, folder, name), 0o755)
    home = os.path.join(root, "lib", "proctor")
    for part in ("workers", "sql", "conf"):
        shutil.copytree(os.path.join(REPOSITORY, part), os.path.join(home, part),
                        ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o755)
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o755 if os.access(path, os.X_OK) else 0o644)
    compileall.compile_dir(os.path.join(home, "workers"), quiet=1)
    return root
