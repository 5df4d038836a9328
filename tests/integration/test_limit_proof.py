"""The short form of the limit proof: kinds of limits, units, latencies and lengths of conversations side by side, so
that each is seen within seconds. The figures to be held on a quiet machine belong to `make bench`. Here a span that
other tests have disturbed is followed by another: what is refused counts in all, what is left unused in the best."""

import dataclasses
import itertools

import pytest

from harness.limit_proof import HEAVY_TAILED, Lane, LimitProof

pytestmark = pytest.mark.timed

QUIET_USE = {"sliding": 90, "bucket": 90, "fixed": 85, "concurrency": 90}  # percent, of some seconds
RAMP_UP = "2s"
RAMP_S = 4
SPAN_S = 6
SPANS = 4


def over_time(kind, unit, limit, window_s, **options):
    return {"kind": kind, "unit": unit, "limit": limit, "window_s": window_s, **options}


# A provider that lets little through at once knows only by the key requests_window of a lane that would make up, over a
# minute, for what it left unused. Of tokens, what a ramp leaves is made up for slowly, so they get two seconds' worth.
ONE_TURN = [
    Lane("openai", "gpt-4", [over_time("sliding", "requests", 60, 2.0)],
         {"requests_per_minute": 1800, "requests_window": "2s", "tokens_per_minute": 0}),
    Lane("anthropic", "claude-3-sonnet", [over_time("bucket", "requests", 40, 2.0)],
         {"requests_per_minute": 1200, "requests_window": "2s", "input_tokens_per_minute": 0,
          "output_tokens_per_minute": 0}, latency=HEAVY_TAILED),
    Lane("mistral", "mistral-large", [over_time("fixed", "requests", 20, 1.0)],
         {"requests_per_minute": 1200, "requests_window": "1s"}, latency=HEAVY_TAILED),
    Lane("deepseek", "deepseek-chat", [{"kind": "concurrency", "limit": 20}],
         {"concurrency": 20}, latency="lognormal:0.6:0.5:3"),
]

FIVE_TURNS = [
    Lane("openai", "gpt-4", [over_time("sliding", "requests", 60, 3.0),
                             over_time("bucket", "tokens", 3000, 1.0, burst=6000)],
         {"requests_per_minute": 1200, "requests_window": "3s", "tokens_per_minute": 180_000},
         turns=5, options={"maxTokens": 200}),
    Lane("anthropic", "claude-3-sonnet", [over_time("bucket", "output_tokens", 3000, 1.0, burst=6000)],
         {"requests_per_minute": 0, "input_tokens_per_minute": 0, "output_tokens_per_minute": 180_000},
         turns=5, options={"maxTokens": 400}),
    Lane("mistral", "mistral-large", [over_time("fixed", "requests", 20, 1.0)],
         {"requests_per_minute": 1200, "requests_window": "1s"}, latency=HEAVY_TAILED, turns=5),
    Lane("deepseek", "deepseek-chat", [{"kind": "concurrency", "limit": 20}],
         {"concurrency": 20}, latency="uniform:0.4:0.8", turns=5),
]

THREE_NODES = [
    Lane("openai", "gpt-4", [over_time("sliding", "requests", 240, 6.0)],
         {"requests_per_minute": 2400, "requests_window": "6s", "tokens_per_minute": 0}, latency=HEAVY_TAILED),
    Lane("deepseek", "deepseek-chat", [{"kind": "concurrency", "limit": 30}],
         {"concurrency": 30}, latency="uniform:0.4:0.8", turns=5),
]


def fullest(spans):
    """Of each provider the figures of its best span, and of several limits those of the one that it reaches first:
    no other can be used in full."""
    best = {}
    for figure in itertools.chain(*spans):
        best[figure.provider] = max(figure, best.get(figure.provider, figure), key=lambda one: one.use)
    return best.values()


def over_time_alone(spans):
    return [[figure for figure in span if figure.kind != "concurrency"] for span in spans]


def left_unused(spans):
    return [str(figure) for figure in fullest(spans) if figure.use < QUIET_USE[figure.kind]]


@pytest.mark.parametrize("lanes", [ONE_TURN, FIVE_TURNS], ids=["one_turn", "five_turns"])
def test_one_node_keeps_every_kind_of_limit_and_uses_it(lanes):
    hold(lanes)


def test_three_nodes_together_keep_a_limit_and_use_it():
    hold(THREE_NODES, nodes=3)


def test_nodes_that_come_and_go_break_no_limit():
    with LimitProof(quickly(THREE_NODES[:1]), nodes=3) as proof:
        proof.begin()
        born, _ = proof.wait_span(RAMP_S)
        proof.nodes[1].kill()
        proof.nodes[2].stop()
        proof.wait_span(SPAN_S / 3)
        proof.nodes[1].start()
        proof.nodes[2].start()
        first, last = proof.wait_span(SPAN_S)
        proof.end()
        whole, = proof.figures(born, last)
        after, = proof.figures(first, last)
        assert whole.refused == 0, str(whole)
        assert after.use >= 70, str(after)


def quickly(lanes):
    return [dataclasses.replace(lane, keys={**lane.keys, "ramp_up": RAMP_UP}) for lane in lanes]


def hold(lanes, nodes=1):
    with LimitProof(quickly(lanes), nodes) as proof:
        proof.begin()
        ramp, spans = proof.measure(RAMP_S, SPAN_S, SPANS, enough=lambda spans: not left_unused(over_time_alone(spans)))
        told = "\n".join(map(str, itertools.chain(*spans)))
        assert [str(figure) for figure in itertools.chain(ramp, *spans) if figure.refused] == [], told
        assert left_unused(spans) == [], told
