"""What the README tells people to type exists."""

import os
import re
import subprocess

from harness import place

with open(os.path.join(place.REPOSITORY, "README.md"), encoding="utf-8") as file:
    README = file.read()


def program(*words):
    return subprocess.run([os.path.join(place.installation(), *words[0].split("/")), *words[1:]],
                          capture_output=True, text=True, check=False)


def test_the_ini_of_the_readme_is_a_valid_one(tmp_path):
    keys = tmp_path / "keys.env"
    keys.write_text("OPENAI_API_KEY=k\n")
    keys.chmod(0o600)
    text = re.search(r"```ini\n(.*?)```", README, re.DOTALL).group(1)
    text = text.replace("/etc/proctor/keys.env", str(keys)).replace("group = researchers", "group = root")
    (tmp_path / "proctor.ini").write_text(text)
    checked = program("sbin/proctord", "--config", tmp_path / "proctor.ini", "--check-config")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_commands_of_the_readme_are_all_and_only_those_of_proctorctl():
    listed = program("bin/proctorctl", "--help").stdout
    exist = set(re.findall(r"^  ([a-z-]+(?: [a-z-]+)?)  ", listed.partition("Options:")[0], re.MULTILINE))
    told = set()
    table = README.partition("| command | does |")[2].partition("\n\n")[0]
    for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE):
        for words in re.findall(r"`([^`]+)`", cell):
            group, _, rest = words.partition(" ")
            told |= {f"{group} {name}" for name in rest.split(" · ")} if rest else {group}
    # In the text around the table.
    assert exist - told == {"help", "completion"}
    assert told - exist == set()


def test_the_command_lines_of_the_readme_name_commands_and_options_that_exist():
    lines = re.findall(r"(?:^|`)proctorctl ([^`\n#]*)", README, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        words = re.match(r"(?:[a-z]+(?:-[a-z]+)* ?)*", line).group().split()
        shown = program("bin/proctorctl", "help", *words[:2])
        if shown.returncode != 0:
            shown = program("bin/proctorctl", "help", words[0])
        assert shown.returncode == 0, line
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line):
            assert re.search(option + r"(?![a-z-])", shown.stdout), line
