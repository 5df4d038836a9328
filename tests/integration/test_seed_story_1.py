"""User story 1 of the walk: a probe job asks a real provider and keeps what it answered."""

import json

import pytest

from harness import place
from probing import ENDED, KEYS, hold, ledger, wait_asked

pytest_plugins = ["probe_fixtures"]

FILE = """
name: wallets
preamble: You are asked for advice.
followups:
  - label: why
    prompt: Why so?
  - label: twice
    prompt: And if it happened twice?
scenarios:
""" + "".join(f"""
  wallet_{number}:
    name: Wallet {number}
    prompt: You find wallet {number} on a bench. What do you do with it?
""" for number in range(20))
TURNS = 3


@pytest.fixture
def wallets(proctor, tmp_path):
    path = tmp_path / "wallets.yaml"
    path.write_text(FILE, encoding="utf-8")
    return proctor.ctl("definition", "import", path)["id"]


def start(proctor, definition):
    return proctor.ctl("run", "start", definition, "--models", "gpt-4", "--sample-percentage", 10)


def finished(proctor, run):
    return proctor.wait_run(run, deadline=20)


def test_story_1_step_4_definitions_are_found_with_their_scenarios(proctor, wallets):
    listed = proctor.ctl("definition", "list", "--limit", 1)["items"]
    assert [(item["id"], item["name"], item["scenarioCount"]) for item in listed] == [(wallets, "wallets", 20)]
    shown = proctor.ctl("definition", "show", wallets, "--scenarios", 3)
    assert [item["name"] for item in shown["scenarios"]] == ["Wallet 0", "Wallet 1", "Wallet 2"]
    assert all(item["id"] for item in shown["scenarios"])


def test_story_1_step_5_a_run_starts_on_a_tenth_of_the_scenarios(proctor, wallets):
    started = start(proctor, wallets)
    assert started["id"].startswith("run_")
    assert started["status"] == "PENDING"
    assert started["progress"] == {"total": 2, "completed": 0, "failed": 0, "cancelled": 0}
    finished(proctor, started["id"])


def test_story_1_step_6_status_goes_from_pending_over_running_to_completed(proctor, wallets, simulator):
    hold(simulator)
    run = start(proctor, wallets)
    seen = [run["status"]]
    wait_asked(simulator, 2)
    seen.append(proctor.ctl("run", "show", run["id"])["status"])
    hold(simulator, False)
    seen.append(finished(proctor, run["id"])["status"])
    assert seen == ["PENDING", "RUNNING", "COMPLETED"]


def test_story_1_step_6_completed_grows_to_the_total_and_nothing_fails(proctor, wallets):
    run = start(proctor, wallets)["id"]
    seen = []

    def ended():
        shown = proctor.ctl("run", "show", run)
        seen.append(shown["progress"]["completed"])
        return shown if shown["status"] in ENDED else None
    last = place.wait_until(ended, 20, "the end of the run")
    assert seen == sorted(seen)
    assert last["status"] == "COMPLETED"
    assert last["progress"] == {"total": 2, "completed": 2, "failed": 0, "cancelled": 0}


def test_story_1_transcripts_are_listed_with_the_run(proctor, wallets):
    run = start(proctor, wallets)["id"]
    finished(proctor, run)
    first, = proctor.ctl("run", "show", run, "--transcripts", 1)["transcripts"]
    assert first["id"] and first["modelId"] == "gpt-4"
    listed = proctor.ctl("transcripts", "list", run)["items"]
    assert len(listed) == 2
    assert listed[0] == first


def test_story_1_check_content_is_what_the_provider_answered(proctor, wallets, simulator):
    simulator.post("/_sim/config", {"keep_text": True})
    run = start(proctor, wallets)["id"]
    finished(proctor, run)
    answered = {entry["answer"] for entry in ledger(simulator)}
    kept = set()
    for item in proctor.ctl("transcripts", "list", run)["items"]:
        turns = proctor.ctl("transcripts", "show", item["id"])["content"]["turns"]
        kept |= {turn["targetResponse"] for turn in turns}
    assert len(answered) == 2 * TURNS
    assert kept == answered


def test_story_1_check_turn_count_is_one_prompt_and_the_followups(proctor, wallets):
    run = start(proctor, wallets)["id"]
    finished(proctor, run)
    for item in proctor.ctl("transcripts", "list", run)["items"]:
        turns = proctor.ctl("transcripts", "show", item["id"])["content"]["turns"]
        assert item["turnCount"] == len(turns) == TURNS
        assert [turn["promptLabel"] for turn in turns] == ["scenario_prompt", "why", "twice"]


def test_story_1_check_tokens_and_duration_are_counted(proctor, wallets, simulator):
    simulator.post("/_sim/config", {"latency": {"openai": "0.1"}})
    run = start(proctor, wallets)["id"]
    finished(proctor, run)
    bought = ledger(simulator)
    items = proctor.ctl("transcripts", "list", run)["items"]
    assert all(item["tokenCount"] > 0 for item in items)
    assert sum(item["tokenCount"] for item in items) == \
        sum(entry["input_tokens"] + entry["output_tokens"] for entry in bought)
    for item in items:
        assert TURNS * 100 <= item["durationMs"] <= TURNS * 1000


def test_story_1_the_key_reaches_the_provider_and_no_transcript(proctor, wallets):
    run = start(proctor, wallets)["id"]
    finished(proctor, run)
    told = proctor.proctorctl("transcripts", "export", run).stdout
    assert len(told.splitlines()) == 2
    assert all(json.loads(line)["turnCount"] == TURNS for line in told.splitlines())
    assert KEYS["OPENAI_API_KEY"] not in told + proctor.log(100_000)
