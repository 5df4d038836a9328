"""The manual pages: they render cleanly, and tell of every key, command and option that there is."""

import json
import os
import re
import socket
import subprocess

import pytest

from harness import place

from fake_pool import WORKING

PAGES = ("proctord.8", "proctorctl.1", "proctor.ini.5", "proctor-protocol.7")
BUILT = os.path.join(place.REPOSITORY, "build/man")


@pytest.fixture(scope="module", autouse=True)
def pages():
    subprocess.run(["make", "--silent", "-C", place.REPOSITORY, "man"], check=True, capture_output=True)


def rendered(page, width=80):
    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", os.path.join(BUILT, page)],
                           env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "GROFF_NO_SGR": "1"},
                           capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    return re.sub(".\b", "", shown.stdout)


def program(*words):
    return subprocess.run([os.path.join(place.installation(), *words[0].split("/")), *words[1:]],
                          capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("width", (60, 80, 200))
@pytest.mark.parametrize("page", PAGES)
def test_a_page_renders_without_a_warning_at_every_width(page, width):
    text = rendered(page, width)
    for heading in ("NAME", "DESCRIPTION" if page != "proctor-protocol.7" else "CONTROL SOCKET", "SEE ALSO"):
        assert re.search(f"^{heading}$", text, re.MULTILINE), heading
    name = page.rpartition(".")[0]
    assert re.search(rf"^ +{re.escape(name)} - ", text, re.MULTILINE)
    assert not re.search(r"^ *@[a-z-]+@$", text, re.MULTILINE), "a table was not put in"


def test_the_page_of_the_configuration_has_every_section_and_key():
    text = rendered("proctor.ini.5")
    sample = program("sbin/proctord", "--sample-config")
    keys = set(re.findall(r"^;?([a-z_]+) =", sample, re.MULTILINE))
    assert len(keys) > 50
    assert keys - set(re.findall(r"^ {7}([a-z_]+)$", text, re.MULTILINE)) == set()
    for kind in set(re.findall(r"^;?\[([a-z]+)", sample, re.MULTILINE)):
        assert re.search(rf"^ +\[{kind}[:\]]", text, re.MULTILINE), kind


def test_the_page_of_the_client_has_every_command_and_option():
    text = rendered("proctorctl.1")
    commands = re.findall(r"^  ([a-z-]+(?: [a-z-]+)?)  ", program("bin/proctorctl", "--help").partition("Options:")[0],
                          re.MULTILINE)
    assert len(commands) > 40
    for command in commands:
        assert re.search(rf"^ +{command}$", text, re.MULTILINE), command
        for option in re.findall(r"^  (--[a-z-]+)", program("bin/proctorctl", "help", *command.split()), re.MULTILINE):
            assert re.search(rf"^ +{option}\b", text, re.MULTILINE), f"{command} {option}"


def test_the_page_of_the_daemon_has_every_option():
    text = rendered("proctord.8")
    options = re.findall(r"(--[a-z-]+)", program("sbin/proctord", "--help"))
    assert len(options) > 6
    assert [option for option in options if option not in text] == []


def test_the_ini_of_the_page_is_a_valid_one(tmp_path):
    with open(os.path.join(place.REPOSITORY, "packaging/man/proctor.ini.5.md"), encoding="utf-8") as file:
        text = re.search(r"# EXAMPLE\n\n```\n(.*?)```", file.read(), re.DOTALL).group(1)
    keys = tmp_path / "keys.env"
    keys.write_text("OPENAI_API_KEY=k\n")
    keys.chmod(0o600)
    text = text.replace("/etc/proctor/keys.env", str(keys)).replace("group = researchers", "group = root")
    (tmp_path / "proctor.ini").write_text(text)
    checked = subprocess.run([os.path.join(place.installation(), "sbin/proctord"), "--config",
                              tmp_path / "proctor.ini", "--check-config"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def page_source(name):
    with open(os.path.join(place.REPOSITORY, "packaging/man", name), encoding="utf-8") as file:
        return file.read()


# Of the table LIMITS OF INPUT: the names in the code, in the order of their numbers there.
CAPS = {
    "`proctor.ini`, `models.ini`": ["INI_FILE_MAX", "INI_LINE_MAX", "INI_NAME_MAX"],
    "key file": ["KEYFILE_MAX", "KEYFILE_LINE_MAX"],
    "line on the control socket": ["CONTROL_LINE_MAX", "COMMAND_TEXT_MAX", "CONTROL_IN_FLIGHT_MAX"],
    "definition file": ["DEFINITION_FILE_MAX", "DEFINITION_PROMPT_MAX", "FOLLOWUPS_MAX", "YAML_DEPTH_MAX",
                        "VALUES_MAX"],
    "answer of a provider": ["MAX_RESPONSE_BYTES", "MAX_HEADER_BYTES"],
    "conversation": ["MAX_CONVERSATION_BYTES"],
    "line of a worker": ["MSG_MAX_LINE"],
    "words of an error": ["MAX_MESSAGE_CHARS", "MAX_DETAILS_BYTES"],
    "record of the spool": ["SPOOL_PAYLOAD_MAX"],
    "request for metrics": ["HTTPSERVER_CONNECTIONS", "HTTPSERVER_MEMORY", "HTTPSERVER_SILENCE_S"],
    "answer of a webhook": ["HTTP_BODY_MAX"],
}
UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


def constants():
    """The values that each name has in the code, of those that are products of numbers."""
    found = {}
    for folder, ends in (("supervisor", (".c", ".h")), ("workers/proctor", (".py",))):
        for parent, _, names in os.walk(os.path.join(place.REPOSITORY, folder)):
            for name in (name for name in names if name.endswith(ends)):
                with open(os.path.join(parent, name), encoding="utf-8") as file:
                    text = file.read()
                for key, value in re.findall(r"\b([A-Z][A-Z_]+)\s*(?:=|\s)\s*\(?(\d+u?(?:\s\*\s*\d+u?)*)", text):
                    product = 1
                    for factor in re.findall(r"\d+", value):
                        product *= int(factor)
                    found.setdefault(key, set()).add(product)
    return found


def test_the_limits_of_input_are_those_of_the_code():
    section = re.search(r"^# LIMITS OF INPUT$(.*?)^# ", page_source("proctord.8.md"), re.DOTALL | re.MULTILINE).group(1)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE))
    assert set(rows) - {"input"} == set(CAPS)
    known = constants()
    for row, names in CAPS.items():
        told = [int(number) * UNITS.get(unit, 1) for number, unit in re.findall(r"(\d+) ?([KM]iB)?", rows[row])]
        assert [{number} for number in told] == [known[name] for name in names], row


def test_requests_and_answers_of_the_protocol_are_as_its_page_has_them(make_daemon, make_fake):
    daemon = make_daemon(make_fake(WORKING).ini()).wait_ready()
    example = re.search(r"^```\n(.*?)^```$", page_source("proctor-protocol.7.md"), re.DOTALL | re.MULTILINE).group(1)
    request, good, refused = example.splitlines()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(daemon.socket_path)
        answers = client.makefile("r", encoding="utf-8")
        client.sendall(request.encode() + b"\n")
        assert json.loads(answers.readline()) == {**json.loads(refused), "id": 1}
        client.sendall(b'{"id":1,"cmd":"status"}\n')
        assert {**json.loads(answers.readline()), "data": {}} == json.loads(good)
