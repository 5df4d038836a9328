"""Transcripts: listed, shown and exported whole, in pages that a slow reader sets the pace of."""

import csv
import io
import json
import os
import subprocess

import pytest

from harness import place
from harness.control import ControlError
from probing import ONE_OF_EACH, script, sql, start, wait_end

pytest_plugins = ["probe_fixtures"]

CLIENT_LIMIT_BYTES = 16 << 20


def content_rows(daemon, run):
    return dict(sql(daemon, "SELECT id, content->'turns' FROM transcripts WHERE run_id = %s", run))


def exported(daemon, run, *words):
    done = daemon.proctorctl("transcripts", "export", run, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pages_of_the_list_join_to_the_whole(proctor):
    run = start(proctor, 25, ["gpt-4", "grok-2"])
    wait_end(proctor, run)
    found, after = [], None
    while True:
        page = proctor.call("transcripts.list", run=run, limit=7, **({"after": after} if after else {}))
        found += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
        assert len(page["items"]) == 7
    assert len(found) == len(set(found)) == 50
    assert set(found) == set(content_rows(proctor, run))


def test_the_list_can_be_of_one_model(proctor):
    run = start(proctor, 3, ["gpt-4", "grok-2"])
    wait_end(proctor, run)
    listed = proctor.ctl("transcripts", "list", run, "--model", "grok-2")["items"]
    assert [item["modelId"] for item in listed] == ["grok-2"] * 3


def test_a_transcript_is_shown_turn_by_turn(proctor):
    run = start(proctor, 1, followups=1)
    wait_end(proctor, run)
    (ident, turns), = content_rows(proctor, run).items()
    assert proctor.ctl("transcripts", "show", ident)["content"]["turns"] == turns
    text = proctor.proctorctl("transcripts", "show", ident).stdout
    for turn in turns:
        assert turn["probePrompt"] in text and turn["targetResponse"].split("\n")[0][:40] in text
    with pytest.raises(ControlError) as refused:
        proctor.call("transcripts.show", transcript="trn_nowhere")
    assert refused.value.code == "NOT_FOUND"


def test_json_lines_hold_every_transcript_whole(proctor):
    run = start(proctor, 3, ONE_OF_EACH, followups=1)
    wait_end(proctor, run)
    kept = {}
    for line in exported(proctor, run).splitlines():
        item = json.loads(line)
        assert item["runId"] == run and item["turnCount"] == 2
        kept[item["id"]] = item["content"]["turns"]
    assert kept == content_rows(proctor, run)


def test_csv_has_a_line_for_each_turn(proctor, simulator):
    script(simulator, ("unicode", {"contains": "Case 1:"}), ("text=a \"quoted\"; b", {"contains": "Case 2:"}))
    run = start(proctor, 4, followups=1)
    wait_end(proctor, run)
    rows = list(csv.DictReader(io.StringIO(exported(proctor, run, "--format", "csv"), newline="")))
    assert len(rows) == 8
    answers = {(row["transcript_id"], int(row["turn_number"])): row["target_response"] for row in rows}
    expected = {(ident, turn["turnNumber"]): turn["targetResponse"].replace("\r\n", "\n")
                for ident, turns in content_rows(proctor, run).items() for turn in turns}
    assert {key: text.replace("\r\n", "\n") for key, text in answers.items()} == expected


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_is_written_whole_or_not_at_all(proctor, tmp_path, kind):
    run = start(proctor, 5)
    wait_end(proctor, run)
    target = tmp_path / "out"
    exported(proctor, run, "--format", kind, "--output", target)
    assert target.read_text(encoding="utf-8") == exported(proctor, run, "--format", kind)
    assert os.listdir(tmp_path) == ["out"]
    done = proctor.proctorctl("transcripts", "export", run, "--output", tmp_path / "absent" / "out")
    assert done.returncode != 0 and "absent" in done.stderr
    before = target.read_bytes()
    done = proctor.proctorctl("transcripts", "export", "run_nowhere", "--output", target)
    assert done.returncode != 0 and target.read_bytes() == before and os.listdir(tmp_path) == ["out"]


def test_a_run_without_transcripts_exports_nothing(proctor):
    run = start(proctor, 1, ["unheard-of"])
    assert exported(proctor, run) == ""
    assert len(exported(proctor, run, "--format", "csv").splitlines()) == 1, "the heading alone"


def test_many_megabytes_flow_at_the_readers_pace(proctor, simulator):
    """The daemon answers others meanwhile, and holds no more than a page of it."""
    script(simulator, ("huge=1000000", {}))
    run = start(proctor, 24)
    wait_end(proctor, run)
    simulator.post("/_sim/reset", {})
    export = subprocess.Popen([os.path.join(proctor.root, "bin", "proctorctl"), "--socket", proctor.socket_path,
                               "transcripts", "export", run], stdout=subprocess.PIPE)
    try:
        first = export.stdout.readline()
        assert len(json.loads(first)["content"]["turns"][0]["targetResponse"]) == 1_000_000
        # The reader rests; others do not wait for it, and the daemon's memory stays.
        before = rss_bytes(proctor.process.pid)
        for _ in range(20):
            began = place.time.monotonic()
            proctor.call("status")
            proctor.call("run.show", run=run, brief=True)
            assert place.time.monotonic() - began < 2
        assert rss_bytes(proctor.process.pid) - before < CLIENT_LIMIT_BYTES
        rest = export.stdout.read().splitlines()
    finally:
        export.stdout.close()
        status = export.wait(20)
    assert status == 0 and len(rest) == 23
    assert {len(json.loads(line)["content"]["turns"][0]["targetResponse"]) for line in rest} == {1_000_000}


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_page_of_the_export_ends_at_about_four_megabytes(proctor, simulator):
    script(simulator, ("huge=900000", {}))
    run = start(proctor, 12)
    wait_end(proctor, run)
    page = proctor.call("transcripts.export", run=run)
    assert 4 <= len(page["items"]) <= 6 and page["next"] == page["items"][-1]["id"]
    assert len(proctor.call("transcripts.export", run=run, limit=2)["items"]) == 2
