"""Poison in answers: what neither JSON nor Postgres holds is recorded all the same, can be read, harms no neighbour."""

import base64
import json
import os

from probing import failures, hold, script, start, turns_of, wait_asked, wait_end
from trouble import allow, bought, check_settled, refuse, wait_note, wait_spooled

pytest_plugins = ["probe_fixtures"]

CAP_BYTES = 4 << 20
NEARLY = CAP_BYTES - 80_000  # characters of a text that in its response, with all that is around it, is below the cap
TOO_LARGE = 8
# Directives of the simulator: what the answer to each case is.
DIET = {0: "nul", 1: "surrogate", 2: "unicode", 3: f"huge={NEARLY}", 4: "1e400", 5: "usage=1" + "0" * 30,
        6: "usage=NaN", 7: "usage=-1e400", TOO_LARGE: f"huge={CAP_BYTES}", 9: "text=" + "{" * 3000}


def feed(simulator):
    """Gives the first turn of each case that DIET names its answer; all others are ordinary."""
    script(simulator, *[(what, {"contains": f"Case {case}:"}) for case, what in DIET.items()])


def cases_of(daemon, run):
    """{case: turns} of the run's transcripts."""
    return {int(key.removeprefix("case_")): turns for key, turns in turns_of(daemon, run)}


def check_answers(daemon, run, total):
    """All but the one that is too large are recorded, each with what it was."""
    found = cases_of(daemon, run)
    assert set(found) == set(range(total)) - {TOO_LARGE}
    said = {case: turns[0] for case, turns in found.items()}
    raw = {case: base64.b64decode(said[case]["targetResponseRaw"]).decode("utf-8", "surrogatepass") for case in (0, 1)}
    assert "\x00" in raw[0] and raw[0].replace("\x00", "\ufffd") == said[0]["targetResponse"]
    assert "\ud83d" in raw[1] and "\ufffd" in said[1]["targetResponse"]
    assert "👩🏽‍🚀" in said[2]["targetResponse"]
    assert len(said[3]["targetResponse"]) == NEARLY
    for case in (4, 5, 6, 7):
        assert said[case]["outputTokens"] in (0, None) or said[case]["outputTokens"] < 1 << 53
        assert said[case]["usageNote"]
    assert said[9]["targetResponse"] == "{" * 3000
    error, = failures(daemon, run)
    assert error["code"] == "INVALID_RESPONSE"
    size = int(error["details"]["bytes"])
    assert size > CAP_BYTES and str(size) in error["message"]


def check_readable(daemon, run, folder):
    """Every way to look at the transcripts works."""
    rows = daemon.call("transcripts.list", run=run, limit=100)["items"]
    for row in rows:
        shown = daemon.proctorctl("transcripts", "show", row["id"])
        assert shown.returncode == 0 and shown.stdout, shown.stderr
        assert daemon.ctl("transcripts", "show", row["id"])["content"]["turns"]
    path = os.path.join(folder, "export.jsonl")
    done = daemon.proctorctl("transcripts", "export", run, "--output", path)
    assert done.returncode == 0, done.stderr
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == len(rows)
    return rows


def test_poison_in_a_batch_is_recorded_and_harms_no_neighbour(proctor, simulator, tmp_path):
    feed(simulator)
    hold(simulator)
    run = start(proctor, 20, followups=1)
    wait_asked(simulator, 20)
    hold(simulator, False)
    shown = wait_end(proctor, run)
    assert shown["progress"] == {"total": 20, "completed": 19, "failed": 1, "cancelled": 0}, failures(proctor, run)
    check_answers(proctor, run, 20)
    assert len(check_readable(proctor, run, tmp_path)) == 19
    calls = bought(simulator)
    assert len(calls) == len(set(calls))
    assert not [line for line in proctor.log_lines() if "store.row_refused" in line or "protocol" in line]
    check_settled(proctor)


def test_poison_survives_the_spool(make_proctor, simulator, tmp_path):
    with make_proctor({"provider:openai": {"concurrency": 20}}) as daemon:
        feed(simulator)
        hold(simulator)
        run = start(daemon, 20, followups=1)
        wait_asked(simulator, 20)
        for table in ("outcomes", "checkpoints"):
            refuse(daemon, table, "'55P03'", "not yet")
        hold(simulator, False)
        wait_spooled(daemon, depth=58, deadline=30)
        wait_note(daemon, "not yet (SQLSTATE 55P03)")
        daemon.kill()
        daemon.start()
        assert "sending what the spool holds" in wait_note(daemon, "not yet (SQLSTATE 55P03)")
        allow(daemon)
        daemon.wait_ready()
        assert wait_end(daemon, run)["progress"] == {"total": 20, "completed": 19, "failed": 1, "cancelled": 0}
        check_answers(daemon, run, 20)
        check_readable(daemon, run, tmp_path)
        calls = bought(simulator)
        assert len(calls) == len(set(calls))
        check_settled(daemon)
