"""Limits on the wire: enforced, counted, and told in each provider's way."""

import time
from datetime import datetime

import pytest
from simulator_fixtures import DEADLINE_S, PROVIDERS, Simulator

from simulator.formats.base import go_duration


@pytest.fixture(scope="module")
def process():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(process):
    process.default()
    return process


def limited(sim, *limits):
    sim.post("/_sim/config", {"limits": list(limits)})


def limit_report(sim, index=0):
    return sim.get("/_sim/stats")["limits"][index]


LONG = 2_000_000  # seconds: no window ends while a test runs


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_limit_is_enforced_and_counted(sim, provider, kind):
    limited(sim, {"provider": provider, "kind": kind, "limit": 3, "window_s": LONG})
    assert [sim.ask(provider, f"Ask {i}").status for i in range(5)] == [200, 200, 200, 429, 429]
    report = limit_report(sim)
    assert (report["peak"], report["admitted"], report["refused"], report["over"]) == (3, 3, 2, 0)
    stats = sim.get("/_sim/stats")["providers"][provider]
    assert (stats["asked"], stats["bought"], stats["refused"]) == (5, 3, 2)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_concurrency_is_enforced_until_an_answer_ends(sim, provider):
    limited(sim, f"{provider}:concurrency=2")
    sim.post("/_sim/config", {"hold": True})
    held = [sim.sent(provider, f"Ask {i}") for i in range(2)]
    sim.wait(in_flight=2)
    assert sim.ask(provider, "One too many").status == 429
    sim.post("/_sim/config", {"hold": False})
    assert [c.getresponse().status for c in held] == [200, 200]
    for connection in held:
        connection.close()
    sim.wait(ledger=3)
    assert sim.ask(provider, "Now there is room").status == 200
    assert (limit_report(sim)["peak"], limit_report(sim)["used"]) == (2, 0)


def test_token_limits_charge_as_each_provider_does(sim):
    limited(sim, f"openai:sliding:tokens=1000/{LONG}", f"anthropic:sliding:output_tokens=1000/{LONG}")
    assert sim.ask("openai", "x" * 40, max_tokens=900).status == 200
    assert limit_report(sim, 0)["used"] == 900
    assert sim.ask("openai", "x" * 400).status == 200
    assert sim.ask("openai", "y" * 4, max_tokens=2).json["error"]["type"] == "tokens"
    assert "too large" in sim.ask("openai", "y", max_tokens=1001).json["error"]["message"]
    assert sim.ask("anthropic", "[[sim:text=12345678]]").status == 200
    assert limit_report(sim, 1)["used"] == 2


def test_limit_of_a_busy_window_is_never_broken_and_used_in_full(sim):
    limited(sim, "openai:sliding=5/0.1")
    deadline = time.monotonic() + DEADLINE_S
    bought = 0
    while bought < 25 and time.monotonic() < deadline:
        bought += sim.ask("openai", "Again").status == 200
    admitted = [e["arrived"] for e in sim.entries(status=200)]
    assert len(admitted) == 25
    assert all(later - earlier >= 0.1 for earlier, later in zip(admitted, admitted[5:]))
    assert limit_report(sim)["peak"] == 5


def test_each_provider_tells_its_wait_in_its_own_way(sim):
    told = {p: sim.ask(p, "[[sim:ratelimit=2.5]]") for p in PROVIDERS}
    assert all(answer.status == 429 for answer in told.values())
    headers = {p: answer.headers for p, answer in told.items()}
    assert (headers["openai"]["retry-after"], headers["openai"]["retry-after-ms"]) == ("3", "2500")
    assert headers["openai"]["x-ratelimit-reset-requests"] == "2.5s"
    assert headers["anthropic"]["retry-after"] == "3"
    reset = datetime.fromisoformat(headers["anthropic"]["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00"))
    assert 0 <= reset.timestamp() - time.time() <= 4
    details = told["google"].json["error"]["details"]
    assert [d["retryDelay"] for d in details if d["@type"].endswith("RetryInfo")] == ["2.5s"]
    assert "retry-after" not in headers["google"]
    assert headers["xai"]["x-ratelimit-reset-requests"] == "2.5s" and "retry-after" not in headers["xai"]
    assert headers["mistral"]["Retry-After"] == "3"
    assert not [h for h in headers["deepseek"] if "ratelimit" in h.lower() or "retry" in h.lower()]


def test_broken_limit_tells_the_exact_wait(sim):
    limited(sim, "openai:sliding=1/300", "google:sliding=1/300", "mistral:sliding=1/300", "anthropic:sliding=1/300")
    for provider in ("openai", "google", "mistral", "anthropic"):
        assert sim.ask(provider, "One").status == 200
    answer = sim.ask("openai", "Two")
    millis = int(answer.headers["retry-after-ms"])
    first, second = [e["arrived"] for e in sim.entries(provider="openai")]
    assert abs(millis / 1000 - (first + 300 - second)) < 0.0011
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    delay = sim.ask("google", "Two").json["error"]["details"][-1]["retryDelay"]
    first, second = [e["arrived"] for e in sim.entries(provider="google")]
    assert abs(float(delay[:-1]) - (first + 300 - second)) < 1e-6
    for provider in ("mistral", "anthropic"):
        assert 280 <= int(sim.ask(provider, "Two").headers["Retry-After"]) <= 300


def test_limit_headers_tell_what_is_left(sim):
    limited(sim, "openai:sliding=10/60", "openai:sliding:tokens=5000/60", "anthropic:sliding:input_tokens=100/60",
            "mistral:fixed=1/1", "mistral:sliding=30/60", "xai:sliding=480/60", "deepseek:sliding=5/60",
            "google:sliding=5/60")
    headers = {p: sim.ask(p, "x" * 40).headers for p in PROVIDERS}
    told = [headers["openai"][f"x-ratelimit-{h}-{u}"] for u in ("requests", "tokens") for h in ("limit", "remaining")]
    assert told == ["10", "9", "5000", "4990"]
    assert headers["openai"]["x-ratelimit-reset-requests"] == "1m0s"
    assert headers["anthropic"]["anthropic-ratelimit-input-tokens-remaining"] == "90"
    told = [headers["mistral"][f"x-ratelimit-{h}-req-minute"] for h in ("limit", "remaining")]
    assert told == ["30", "29"]
    assert headers["xai"]["x-ratelimit-remaining-requests"] == "479"
    assert not [h for p in ("deepseek", "google") for h in headers[p] if "ratelimit" in h.lower()]


def limit_words(answer):
    return [h for h in answer.headers if "ratelimit" in h.lower() or "retry" in h.lower()]


def test_limit_of_less_than_a_minute_is_not_told(sim):
    limited(sim, "openai:sliding=2/59", "openai:fixed:tokens=9000/1", "mistral:bucket=1/59", "anthropic:sliding=1/59",
            "xai:sliding=1/59")
    assert all(not limit_words(sim.ask(p, "One")) for p in ("openai", "mistral", "anthropic", "xai"))
    assert sim.ask("openai", "Two").status == 200
    told = {p: sim.ask(p, "One too many") for p in ("openai", "mistral", "anthropic", "xai")}
    assert all(answer.status == 429 for answer in told.values())
    for provider in ("openai", "mistral", "anthropic"):
        assert int(told[provider].headers["retry-after"]) <= 59
    assert "x-ratelimit-reset-requests" in told["xai"].headers
    assert not [h for answer in told.values() for h in limit_words(answer)
                if h.lower().endswith("limit") or "-limit-" in h or "remaining" in h]


def test_broken_limit_of_a_second_leaves_the_minutes_told(sim):
    limited(sim, "openai:sliding=1/59", "openai:sliding=50/60")
    assert sim.ask("openai", "One").headers["x-ratelimit-limit-requests"] == "50"
    refused = sim.ask("openai", "Two")
    assert (refused.status, refused.headers["x-ratelimit-remaining-requests"]) == (429, "49")


def test_bucket_tells_what_it_is_refilled_with(sim):
    limited(sim, {"provider": "openai", "kind": "bucket", "limit": 600, "burst": 20, "window_s": 60})
    headers = sim.ask("openai", "One").headers
    assert headers["x-ratelimit-limit-requests"] == "600"
    assert headers["x-ratelimit-remaining-requests"] == "19"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_silent_limits_leave_a_bare_429(sim, provider):
    limited(sim, {"provider": provider, "kind": "sliding", "limit": 1, "window_s": LONG})
    sim.post("/_sim/config", {"silent_limits": True})
    answers = [sim.ask(provider, "One"), sim.ask(provider, "Two"), sim.ask(provider, "[[sim:ratelimit=2]]")]
    assert [answer.status for answer in answers] == [200, 429, 429]
    assert not [h for answer in answers for h in limit_words(answer)]
    assert not [answer for answer in answers if "retryDelay" in str(answer.json)]


@pytest.mark.parametrize("seconds, text", [(0, "0ms"), (0.0121, "13ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"),
                                           (360, "6m0s"), (59.9999, "1m0s"), (3661.25, "1h1m1.25s")])
def test_durations_are_written_as_openai_writes_them(seconds, text):
    assert go_duration(seconds) == text


def test_refused_ask_does_not_use_up_its_directives(sim):
    limited(sim, {"provider": "openai", "kind": "sliding", "limit": 1, "window_s": LONG})
    sim.ask("openai", "Fill it")
    assert sim.ask("openai", "[[sim:status=500,times=1]]").status == 429
    limited(sim)
    assert [sim.ask("openai", "[[sim:status=500,times=1]]").status for _ in range(2)] == [500, 200]
