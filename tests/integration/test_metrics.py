"""Metrics: what is told is what happened, as Prometheus wants it told, by the socket and over HTTP."""

import os
import signal
import socket

import pytest

from harness import place
from harness.control import ControlError
from probing import KEYS, figures, hold, renew, running, script, start, wait_asked, wait_end
from scrape import Scrape, free_port, get, listening, promtool, rows, scrape
from upgrading import Programs

pytest_plugins = ["probe_fixtures"]

# Not before there is something to tell.
MAY_BE_MISSING = {"proctor_environment_healthy", "proctor_provider_check", "proctor_answers_total",
                  "proctor_tokens_total", "proctor_cost_usd_total", "proctor_unpriced_answers_total",
                  "proctor_lane_budget_usd", "proctor_lane_budget_used_usd", "proctor_service_up",
                  "proctor_service_restarts_total", "proctor_alert_messages_owed", "proctor_alert_failed_deliveries"}
STRANGE = 'we"ird\\model'
LIMITS = {"provider:openai": {"budget_usd_per_day": 5, "requests_per_minute": 60000},
          "limit:openai/gpt-4*": {"concurrency": 7}}


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def shared(module_simulator, postgres, port):
    """A daemon for the tests of this module, which all look at differences."""
    ini = {"database": {"url": postgres.database()}, **listening(port), **LIMITS}
    with running(module_simulator, ini) as daemon:
        yield daemon


@pytest.fixture
def daemon(shared, simulator):
    yield shared
    renew(simulator)


def is_told(claim, what):
    return place.wait_until(claim, 10, what)


# what is told is what happened


def test_calls_probes_tokens_and_times_are_those_of_the_simulator(daemon, simulator):
    before, asked = scrape(daemon), figures(simulator)["asked"]
    script(simulator, ("ratelimit=0.2", {}, 2), ("status=400", {}, 1))
    run = start(daemon, 6, followups=1)
    ended = wait_end(daemon, run)["progress"]
    after, seen = scrape(daemon), figures(simulator)

    def more(name, **labels):
        return after(name, **labels) - before(name, **labels)
    assert (ended["completed"], ended["failed"]) == (5, 1)
    assert more("proctor_probes_total", provider="openai", end="completed") == 5
    assert more("proctor_probes_total", provider="openai", end="failed") == 1
    assert more("proctor_probe_failures_total", provider="openai", code="VALIDATION_ERROR") == 1
    assert more("proctor_calls_total", provider="openai", outcome="answered") == seen["bought"] == 10
    assert more("proctor_calls_total", provider="openai", outcome="RATE_LIMIT") == 2
    assert more("proctor_calls_total", provider="openai", outcome="VALIDATION_ERROR") == 1
    assert after.sum("proctor_calls_total") - before.sum("proctor_calls_total") == seen["asked"] - asked == 13
    assert more("proctor_calls_started_total", provider="openai") == 13
    assert more("proctor_probes_claimed_total") == 6
    # Of answers alone; a wait is told of each call, and those that were refused waited again.
    assert more("proctor_call_duration_seconds_count", provider="openai") == 10
    assert more("proctor_call_wait_seconds_count", provider="openai") == 13
    assert more("proctor_call_wait_seconds_sum", provider="openai") >= 0.2
    assert after("proctor_answers_total", provider="openai", model="gpt-4") == \
        after("proctor_unpriced_answers_total", provider="openai", model="gpt-4")  # the simulator is never priced
    spent, = daemon.rows("SELECT sum(input_tokens), sum(output_tokens) FROM spending WHERE lane = 'openai'")
    for direction, tokens in zip(("input", "output"), spent):
        assert after.sum("proctor_tokens_total", provider="openai", direction=direction) == tokens


def test_results_and_runs_are_told_when_the_database_has_them(daemon):
    before = scrape(daemon)
    wait_end(daemon, start(daemon, 3))

    def told():
        now = scrape(daemon)
        return (now("proctor_record_delay_seconds_count") - before("proctor_record_delay_seconds_count") == 3
                and now("proctor_runs_finished_total", status="COMPLETED")
                - before("proctor_runs_finished_total", status="COMPLETED") == 1
                and now.sum("proctor_runs") == 0 and now("proctor_spool_records") == 0)
    is_told(told, "the end of the run")
    assert scrape(daemon)("proctor_spool_written_records_total") >= before("proctor_spool_written_records_total") + 6


def test_what_is_under_way_waits_and_limits_is_told(daemon, simulator):
    hold(simulator)
    run = start(daemon, 9)
    wait_asked(simulator, 7)
    is_told(lambda: scrape(daemon)("proctor_runs", status="RUNNING") == 1, "the run")
    now = scrape(daemon)
    assert now("proctor_lane_calls_in_flight", provider="openai") == 7
    assert now("proctor_lane_queued_probes", provider="openai") == 2
    assert now("proctor_probes_held") == 9
    assert now("proctor_pool_conversations", pool="probe") == 7
    assert now("proctor_workers", pool="probe", state="ready") == now.sum("proctor_workers") == 1
    assert now("proctor_lane_limit", provider="openai", scope="gpt-4*", unit="concurrency") == 7
    assert now("proctor_lane_limit_used", provider="openai", scope="gpt-4*", unit="concurrency") == 7
    assert now("proctor_lane_limit", provider="openai", scope="", unit="requests/min") == 60000
    assert now("proctor_lane_budget_usd", provider="openai") == 5
    hold(simulator, False)
    wait_end(daemon, run)


def test_parking_is_told_with_its_cause(daemon):
    assert scrape(daemon).sum("proctor_lane_parked") == 0
    daemon.call("providers.pause", provider="xai", reason="tests")
    assert scrape(daemon)("proctor_lane_parked", provider="xai", cause="operator") == 1
    assert scrape(daemon).sum("proctor_lane_parked") == 1
    daemon.call("providers.resume", provider="xai")
    assert scrape(daemon).sum("proctor_lane_parked") == 0


def test_the_end_of_a_worker_is_told_with_its_cause(daemon, simulator):
    before = scrape(daemon)
    hold(simulator)
    run = start(daemon, 2)
    wait_asked(simulator, 2)
    os.kill(daemon.worker_pids()[0], signal.SIGKILL)
    hold(simulator, False)
    wait_end(daemon, run)
    after = scrape(daemon)
    assert after("proctor_worker_exits_total", pool="probe", cause="killed") == \
        before("proctor_worker_exits_total", pool="probe", cause="killed") + 1
    assert after.sum("proctor_worker_exits_total") == before.sum("proctor_worker_exits_total") + 1
    assert after("proctor_calls_total", provider="openai", outcome="WORKER_CRASH") == \
        before("proctor_calls_total", provider="openai", outcome="WORKER_CRASH") + 2


# the text


def test_the_text_is_clean_to_promtool_even_with_strange_models(daemon):
    wait_end(daemon, start(daemon, 1, models=[f"openai:{STRANGE}"]))
    text = daemon.call("metrics")["text"]
    assert 'model="openai:we\\"ird\\\\model"' in text
    checked = promtool("check", "metrics", text=text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_metric_of_the_reference_is_there_with_its_labels_and_no_other(daemon):
    wait_end(daemon, start(daemon, 1))
    now, known = scrape(daemon), rows()
    assert now.types() == {name: kind for name, (kind, _) in known.items()}
    assert now.families() <= set(known)
    assert set(known) - now.families() <= MAY_BE_MISSING - {"proctor_answers_total", "proctor_cost_usd_total"}
    for name, labels in now.samples:
        kind, wanted = known[name] if name in known else known[name.rsplit("_", 1)[0]]
        assert {label for label, _ in labels} - {"le"} == set(wanted), name


def test_proctorctl_prints_what_is_served_over_http(daemon, port):
    status, headers, text = get(port)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    printed = daemon.proctorctl("metrics")
    assert printed.returncode == 0
    assert set(Scrape(printed.stdout).samples) == set(Scrape(text).samples)
    assert daemon.ctl("metrics")["contentType"] == headers["Content-Type"]


def test_no_key_no_prompt_no_answer_and_no_run_is_told(daemon):
    run = start(daemon, ["Where is the planted sentence-4711?"])
    wait_end(daemon, run)
    text = daemon.call("metrics")["text"]
    assert not [word for word in [*KEYS.values(), "sentence-4711", run, "Answer in plain words"] if word in text]


# over HTTP


def test_health_and_readiness_are_pages(daemon, port):
    assert get(port, "/healthz")[::2] == (200, "ok\n")
    assert get(port, "/readyz")[::2] == (200, "ready\n")
    status, _, text = get(port, "/")
    assert status == 404 and "/metrics" in text
    assert get(port, "/metrics", "POST")[0] == 405
    assert get(port, "/metrics", "HEAD")[::2] == (200, "")


def test_silent_clients_do_not_disturb_the_control_socket(daemon, port):
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    assert daemon.call("status")["state"] == "ready"
    for one in silent:
        one.close()
    assert get(port, "/healthz")[0] == 200


def test_what_is_supervised_and_a_missing_database_are_told(make_tree, services):
    port = free_port()
    tree = make_tree(listening(port), services.service("one"), services.service("two"))
    services.wait("ready", "two")
    is_told(lambda: get(port, "/readyz")[::2] == (503, "degraded\n"), "the verdict")
    assert get(port, "/healthz")[0] == 200
    now = scrape(tree)
    assert now("proctor_database_ready") == now("proctor_ready") == 0
    assert now("proctor_service_up", service="one") == now("proctor_service_up", service="two") == 1
    tree.call("services.stop", name="one")
    is_told(lambda: "one" not in scrape(tree).labels("proctor_service_up", "service"), "the stop")
    assert "one" in scrape(tree).labels("proctor_service_restarts_total", "service")
    tree.kill_node("two")
    is_told(lambda: scrape(tree)("proctor_service_restarts_total", service="two") == 1, "the restart")


def test_a_port_that_is_taken_is_told_and_nothing_is_started(make_tree, daemon, port):
    assert daemon.call("status")["state"] == "ready"
    late = make_tree(listening(port), start=False).spawn()
    assert late.wait_exit() == 1
    assert f"[metrics] listen = 127.0.0.1:{port}: cannot listen there: Address already in use" in late.log()
    assert "daemon.start" not in late.log()
    assert not os.path.exists(late.socket_path)


# reload and upgrade


def test_a_reload_says_that_metrics_need_a_restart(daemon, port):
    daemon.write_ini({"metrics": {"listen": "127.0.0.1:0"}})
    assert daemon.call("reload")["needsRestart"] == ["[metrics] listen"]
    assert get(port, "/healthz")[0] == 200
    daemon.write_ini(listening(port))
    daemon.call("reload")


def test_counters_and_the_port_go_on_through_an_upgrade(daemon, port):
    programs = Programs()
    wait_end(daemon, start(daemon, 2))
    is_told(lambda: scrape(daemon)("proctor_spool_records") == 0, "the last answer of the database")
    before = scrape(daemon)
    daemon.call("upgrade", program=programs.version()[0])
    programs.remove()
    after = Scrape(get(port)[2])
    counters = [key for key in before.samples
                if key[0].endswith(("_total", "_count", "_sum", "_bucket")) and not key[0].startswith("proctor_record")]
    assert len(counters) > 300
    assert {key: after.samples[key] for key in counters if key[0] != "proctor_upgrades_total"} == \
        {key: before.samples[key] for key in counters if key[0] != "proctor_upgrades_total"}
    assert after("proctor_upgrades_total") == before("proctor_upgrades_total") + 1


def test_a_command_with_an_argument_that_it_does_not_know_is_refused(daemon):
    with pytest.raises(ControlError, match="nonsense"):
        daemon.call("metrics", nonsense=1)
