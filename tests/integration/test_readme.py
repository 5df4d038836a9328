"""What README and manual tell people to type works as it stands there."""

import contextlib
import http.server
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading

import pytest

from harness import place
from harness.postgres import Postgres
from harness.proctor import KEY_VARIABLES, Daemon, merge_ini
from harness.simulator import Simulator
from harness.terminal import Terminal

with open(os.path.join(place.REPOSITORY, "README.md"), encoding="utf-8") as file:
    README = file.read()

# Needs root, the network, or minutes. What these do has tests of its own.
ELSEWHERE = ("make ", "sudo ", "echo 'OPENAI_API_KEY=", "printf ", "apt-get install ")


def client(*words):
    return subprocess.run([os.path.join(place.installation(), "bin/proctorctl"), *words],
                          capture_output=True, text=True, check=False)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def examples():
    """Lines of code of the README and of proctorctl's manual, in their order, without comments."""
    with open(os.path.join(place.REPOSITORY, "packaging/man/proctorctl.1.md"), encoding="utf-8") as page:
        written = page.read()
    text = [*blocks(README, "sh"), *blocks(client("help", "--reference").stdout, ""), *blocks(written, "")]
    lines = [re.sub(r" +# .*", "", line) for block in text for line in block.splitlines()]
    return [line for line in dict.fromkeys(lines) if not line.startswith(ELSEWHERE)]


class Taker(http.server.BaseHTTPRequestHandler):
    """Takes whatever it is told."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def webhook():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def daemon():
    with Simulator("--latency", "0.01") as simulator, Postgres() as postgres, webhook() as url:
        ini = merge_ini(simulator.ini(requests_per_minute=0), {
            "database": {"url": postgres.database()},
            "alert:ops": {"url": url},
            "service:simulator": {"command": "/bin/sleep 100000", "ready": "none"},
        })
        with Daemon(ini, {variable: "k" for variable in KEY_VARIABLES}) as one:
            one.wait_ready()
            yield one


@pytest.fixture(scope="module")
def desk(daemon, tmp_path_factory):
    """A folder with what the examples name, an environment to type them in, and the id of a crash."""
    folder = tmp_path_factory.mktemp("desk")
    os.symlink(os.path.join(place.REPOSITORY, "conf"), folder / "conf")
    shutil.copy(os.path.join(place.REPOSITORY, "conf/demo.yaml"), folder / "dilemmas.yaml")
    text = (folder / "dilemmas.yaml").read_text().replace("everyday-dilemmas", "dilemmas")
    (folder / "dilemmas.yaml").write_text(text)
    daemon.call("definition.import", name="dilemmas", scenarios=[
        {"key": f"case_{number}", "name": f"Case {number}", "prompt": "What do you do?"} for number in range(10)])
    os.kill(daemon.worker_pids()[0], signal.SIGKILL)
    crash = place.wait_until(lambda: daemon.call("crashes")["items"], 10, "the crash to be recorded")[0]["id"]
    daemon.wait_ready()
    path = os.path.join(place.installation(), "bin")
    return {"folder": folder, "crash": str(crash), "environment": {
        **os.environ, "PROCTOR_SOCKET": daemon.socket_path, "PATH": f"{path}:{os.environ['PATH']}",
        "OPENAI_API_KEY": "k", "https_proxy": "http://127.0.0.1:9"}}


def type_in(desk, line):
    # Ids are not the same everywhere, nor is the place where Proctor is installed.
    line = re.sub(r"\b4711\b", desk["crash"], line)
    line = line.replace("/usr/lib/proctor", os.path.join(place.installation(), "lib/proctor"))
    line = line.replace("apt-get install proctor && ", "")
    return subprocess.Popen(["bash", "-c", line], cwd=desk["folder"], env=desk["environment"], text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True)


def test_every_example_works(desk):
    lines = examples()
    assert len(lines) > 30
    for line in lines:
        if line.startswith("proctorctl top") and "--once" not in line:
            # Takes the terminal over until q is pressed.
            with Terminal("bash", "-c", line, environment=desk["environment"]) as terminal:
                terminal.wait("q quit")
                terminal.keys("q")
                assert terminal.wait_exit() == 0
            continue
        process = type_in(desk, line)
        if "--follow" in shlex.split(line):
            # Goes on until it is told to stop.
            assert process.stdout.readline(), line
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)
            continue
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{line}\n{said}"


def test_commands_in_the_text_exist_with_their_options():
    lines = re.findall(r"`proctorctl ([^`\n#]*)", README)
    assert lines
    for line in lines:
        words = re.match(r"(?:[a-z]+(?:-[a-z]+)* ?)*", line).group().split()
        shown = client("help", *words[:2])
        if shown.returncode != 0:
            shown = client("help", words[0])
        assert shown.returncode == 0, line
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line):
            assert re.search(option + r"(?![a-z-])", shown.stdout), line


def test_files_and_targets_that_are_named_exist():
    with open(os.path.join(place.REPOSITORY, "Makefile"), encoding="utf-8") as file:
        targets = set(re.findall(r"^([a-z-]+):", file.read(), re.MULTILINE))
    for part in (".", "packaging", "sql", "supervisor", "tests", "workers"):
        folder = os.path.join(place.REPOSITORY, part)
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
            text = file.read()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert os.path.exists(os.path.join(folder, target)), f"{part}: {target}"
        typed = re.findall(r"^make ([a-z-]+)", "\n".join(blocks(text, "sh")), re.MULTILINE)
        named = {*typed, *re.findall(r"`make ([a-z-]+)(?![a-z/-])", text)}
        assert named <= targets, f"{part}: {named - targets}"


def test_places_to_touch_exist():
    with open(os.path.join(place.REPOSITORY, "supervisor/README.md"), encoding="utf-8") as file:
        text = file.read()
    how = text.partition("## How to add")[2].partition("\n## ")[0]
    paths = re.findall(r"`((?:\.\./)?[a-z_./*-]+\.(?:c|h|sql|md)|\.\./[a-z/]+)`", how)
    assert len(paths) > 12
    for path in paths:
        found = subprocess.run(["bash", "-c", f"compgen -G supervisor/{path}"], cwd=place.REPOSITORY,
                               capture_output=True, check=False)
        assert found.returncode == 0, path
