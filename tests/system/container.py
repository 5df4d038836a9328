"""A Debian with systemd as its process 1, in a container of systemd-nspawn, on the network of this machine."""

import glob
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITE = "bookworm"
# What the package depends on, and the simulator's aiohttp, are installed beforehand: what is tested then needs no
# network.
FIRST = ("systemd", "systemd-sysv", "dbus")
THEN = ("ca-certificates", "debconf", "postgresql", "python3", "python3-pycurl", "python3-aiohttp", "libcurl4",
        "libev4", "libinih1", "libisal2", "libjansson4", "libmicrohttpd12", "libpq5", "libyaml-0-2")
BOOT_S = 90


class CannotRun(Exception):
    """This machine does not let us have a container; the text says what it refused."""


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def mirror():
    """The one that this machine's own packages come from."""
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        try:
            with open(path, encoding="utf-8") as file:
                words = file.read().split()
        except FileNotFoundError:
            continue
        found = [word.rstrip("/") for word in words if word.startswith("http") and word.rstrip("/").endswith("/debian")]
        if found:
            return found[0]
    return "http://deb.debian.org/debian"


def need_namespaces():
    if os.geteuid() != 0:
        raise CannotRun("namespaces: only root may make a container; run it as root or by sudo")
    tried = subprocess.run(["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"], capture_output=True,
                           text=True, check=False)
    if tried.returncode != 0:
        raise CannotRun(f"namespaces: this machine does not allow them: {tried.stderr.strip()}")


def base(tell):
    """The folder of a Debian with all that is needed but Proctor; made once, then kept below build/."""
    name = hashlib.sha256(" ".join((SUITE, *FIRST, *THEN)).encode()).hexdigest()[:12]
    target = os.path.join(REPOSITORY, "build", "system", name)
    if os.path.isdir(target):
        return target
    unfinished = target + ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    tell(f"making a Debian in {target}, which takes two minutes")
    run("debootstrap", "--variant=minbase", f"--include={','.join(FIRST)}", SUITE, unfinished, mirror())
    with open(os.path.join(unfinished, "etc/apt/apt.conf.d/90test"), "w", encoding="utf-8") as file:
        file.write('APT::Install-Recommends "false";\nAcquire::Retries "3";\n')
    # No cluster of its own: the daemon keeps one.
    os.makedirs(os.path.join(unfinished, "etc/postgresql-common"), exist_ok=True)
    with open(os.path.join(unfinished, "etc/postgresql-common/createcluster.conf"), "w", encoding="utf-8") as file:
        file.write("create_main_cluster = false\n")
    run("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "-D", unfinished,
        "--setenv=DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q",
        "-o", "Dpkg::Options::=--force-confold", *THEN)
    os.rename(unfinished, target)
    return target


class Container:
    """A copy of base(), booted. root: its folder as seen from outside."""

    def __init__(self, tell):
        need_namespaces()
        self.root = tempfile.mkdtemp(prefix="proctor-system-", dir="/var/tmp")
        self._tell = tell
        self._process = None
        self._leader = None

    def __enter__(self):
        run("cp", "-a", "--reflink=auto", f"{base(self._tell)}/.", self.root)
        self._log = open(self.path("boot.log"), "wb")
        self._process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe", "-D", self.root,
             "systemd.show_status=no"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self._leader = self.wait(self._find_leader, BOOT_S, "process 1 of the container")
            self.wait(self._is_up, BOOT_S, "the container to have booted")
        except AssertionError as error:
            self._end()
            raise CannotRun(f"namespaces: the container does not boot: {error}\n{self._boot_log()}") from error
        return self

    def __exit__(self, *_):
        self._end()
        shutil.rmtree(self.root, ignore_errors=True)

    def _end(self):
        if self._leader:
            os.kill(self._leader, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _boot_log(self):
        with open(self.path("boot.log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]

    def _find_leader(self):
        assert self._process.poll() is None, f"systemd-nspawn ended with {self._process.returncode}"
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def _is_up(self):
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def path(self, inside):
        return os.path.join(self.root, inside.lstrip("/"))

    def write(self, inside, text, mode=0o644):
        with open(self.path(inside), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(inside), mode)

    def read(self, inside):
        with open(self.path(inside), encoding="utf-8") as file:
            return file.read()

    def spawn(self, *words, user="root"):
        """A process in it. PATH is that of a login."""
        command = ["nsenter", "--target", str(self._leader), "--all", "runuser", "-u", user, "--", "env", "-i",
                   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                   "DEBIAN_FRONTEND=noninteractive", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def run(self, *words, user="root", check=True, deadline=180):
        process = self.spawn(*words, user=user)
        try:
            out, err = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise AssertionError(f"{' '.join(words)} did not end within {deadline} s") from error
        done = subprocess.CompletedProcess(words, process.returncode, out, err)
        assert not check or done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}\n{out}{err}"
        return done

    def wait(self, claim, deadline, what):
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            found = claim()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {deadline} s")
