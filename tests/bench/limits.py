"""Whether limits are kept and used, by the simulator's own books (tests/harness/limit_proof.py says how they are read).

limit_use_percent, limit_429s                   one node, 120 s of real time, 600 requests and 120,000 tokens a minute
limit_use_3nodes_percent, limit_429s_3nodes     three nodes on one Postgres that share the same limits
limit_kinds_use_percent, limit_kinds_429s       one node, six providers side by side, each with another kind of limit
limit_wrong_use_percent, limit_wrong_429_percent   limits configured ten times too high, from the first 429 on
admission_us                                    what deciding on a call costs, policy alone
"""

import functools
import json
import statistics
import subprocess

from harness import place
from harness.limit_proof import HEAVY_TAILED, SHORT, Lane, LimitProof

from . import spool

RAMP_S = 20
SPAN_S = 120
REQUESTS = 600
TOKENS = 150_000        # a minute; with MAX_TOKENS charged for each call a little more than REQUESTS need
MAX_TOKENS = 240
CONCURRENCY = 20

NO_LIMIT = {"requests_per_minute": 0, "tokens_per_minute": 0, "input_tokens_per_minute": 0,
            "output_tokens_per_minute": 0, "requests_per_day": 0, "concurrency": 0}

WRONG_FACTOR = 10
WRONG_REQUESTS = 300    # the true limit
WRONG_SPAN_S = 300      # from the first 429
FOUND_AFTER_S = 120     # from the first 429: by then the true limit is to be found

DECISIONS = 1_000_000
TIMES = 5


def sliding(limit, unit="requests"):
    return {"kind": "sliding", "unit": unit, "limit": limit, "window_s": 60.0}


# right limits


@functools.lru_cache(maxsize=2)
def keep(tell, nodes):
    """What the ramp and the span behind it gave, for both figures."""
    lane = Lane("openai", "gpt-4", [sliding(REQUESTS), sliding(TOKENS, "tokens")],
                {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS}, latency=HEAVY_TAILED,
                options={"maxTokens": MAX_TOKENS})
    with LimitProof([lane], nodes, durable=True) as proof:
        proof.begin()
        ramp, (span,) = proof.measure(RAMP_S, SPAN_S)
    for figure in (*ramp, *span):
        tell(str(figure))
    return ramp, span


def describe(nodes, span):
    return {"nodes": nodes, "limits": [f"{one.kind} {one.unit}" for one in span], "requests_per_minute": REQUESTS,
            "tokens_per_minute": TOKENS, "span_s": SPAN_S, "after_s": RAMP_S, "latency": HEAVY_TAILED,
            "calls": span[0].calls, "use_of": "the limit that is reached first: requests",
            "counted": "by the simulator, which enforces the limits"}


def use(tell, nodes):
    _, span = keep(tell, nodes)
    return round(span[0].use, 2), "percent", describe(nodes, span)


def refusals(tell, nodes):
    """Of the span; those of the ramp are told beside it."""
    ramp, span = keep(tell, nodes)
    return span[0].refused, "calls", {**describe(nodes, span), "in_the_ramp": ramp[0].refused}


def measure_use(tell):
    return use(tell, 1)


def measure_429s(tell):
    return refusals(tell, 1)


def measure_use_3nodes(tell):
    return use(tell, 3)


def measure_429s_3nodes(tell):
    return refusals(tell, 3)


# kinds of limits


def kinds():
    """In each the limit that is there is the only one, and always reached."""
    def lane(provider, model, limit, latency=HEAVY_TAILED, turns=1, **keys):
        return Lane(provider, model, [limit], {**NO_LIMIT, **keys}, latency=latency, turns=turns,
                    options={"maxTokens": MAX_TOKENS})
    return [
        lane("openai", "gpt-4", sliding(REQUESTS), turns=5, requests_per_minute=REQUESTS),
        lane("google", "gemini-1.5-pro", {**sliding(REQUESTS), "kind": "bucket"}, SHORT, requests_per_minute=REQUESTS),
        lane("anthropic", "claude-3-sonnet", sliding(TOKENS, "output_tokens"), output_tokens_per_minute=TOKENS),
        lane("xai", "grok-2", sliding(TOKENS, "tokens"), SHORT, turns=5, tokens_per_minute=TOKENS),
        lane("mistral", "mistral-large", {"kind": "fixed", "limit": REQUESTS // 60, "window_s": 1.0},
             requests_per_minute=REQUESTS, requests_window="1s"),
        lane("deepseek", "deepseek-chat", {"kind": "concurrency", "limit": CONCURRENCY}, "lognormal:2:0.5:10",
             turns=5, concurrency=CONCURRENCY),
    ]


@functools.lru_cache(maxsize=1)
def keep_all(tell):
    with LimitProof(kinds()) as proof:
        proof.begin()
        ramp, (span,) = proof.measure(RAMP_S, SPAN_S)
    for figure in (*ramp, *span):
        tell(str(figure))
    return ramp, span


def describe_kinds(figures):
    return {"limits": {f"{one.kind} {one.unit}": round(one.use, 2) for one in figures}, "span_s": SPAN_S,
            "after_s": RAMP_S, "turns": "one and five", "latency": "uniform and lognormal",
            "counted": "by the simulator, which enforces the limits"}


def measure_kinds_use(tell):
    _, span = keep_all(tell)
    return round(min(one.use for one in span if one.kind != "fixed"), 2), "percent", {
        **describe_kinds(span), "least_of": "all but the fixed window of a second"}


def measure_kinds_429s(tell):
    ramp, span = keep_all(tell)
    return sum(one.refused for one in span), "calls", {**describe_kinds(span),
                                                       "in_the_ramp": sum(one.refused for one in ramp)}


# wrong limits


def lane_of(provider, model):
    return Lane(provider, model, [sliding(WRONG_REQUESTS)],
                {"requests_per_minute": WRONG_FACTOR * WRONG_REQUESTS, "tokens_per_minute": 0})


@functools.lru_cache(maxsize=1)
def mislead(tell):
    """{case: (percent of calls that are 429s, percent of the true limit)}, side by side, of providers that tell their
    limit, that tell with a 429 when to come back, and that say nothing."""
    found = {}
    with LimitProof([lane_of("openai", "gpt-4"), lane_of("google", "gemini-1.5-pro")]) as speaking, \
            LimitProof([lane_of("xai", "grok-2")], settings={"silent_limits": True}) as silent:
        cases = {"tells_limit": (speaking, "openai"), "tells_wait": (speaking, "google"), "silent": (silent, "xai")}
        for proof in (speaking, silent):
            proof.begin()
        for proof, provider in list(cases.values())[1:]:
            place.wait_until(lambda: proof.read().providers[provider]["refused"], 60, f"the first 429 of {provider}")
        silent.wait_span(WRONG_SPAN_S)
        for proof, provider in cases.values():
            assert proof.left(provider) > 0, f"no work was left for {provider}"
        for proof in (speaking, silent):
            proof.end()
        for case, (proof, provider) in cases.items():
            found[case] = reckon(proof.ledger(provider))
            tell(f"{case}: {found[case][0]:.2f} % of calls refused, {found[case][1]:.2f} % of the true limit used")
    return found


def reckon(ledger):
    """By arrival: the share of refusals in WRONG_SPAN_S from the first one on, itself among them; the use of the true
    limit in the part of it behind FOUND_AFTER_S. From the first call on when there is no refusal at all."""
    first = min([call["arrived"] for call in ledger if call.get("refused_by")] or
                [call["arrived"] for call in ledger])
    calls = [call for call in ledger if 0 <= call["arrived"] - first < WRONG_SPAN_S]
    refused = sum(1 for call in calls if call.get("refused_by"))
    late = sum(1 for call in calls if call["arrived"] - first >= FOUND_AFTER_S and not call.get("refused_by"))
    could = WRONG_REQUESTS * (WRONG_SPAN_S - FOUND_AFTER_S) / 60
    return 100 * refused / len(calls), 100 * late / could


def describe_wrong(found, index):
    return {**{case: round(figures[index], 2) for case, figures in found.items()}, "true_per_minute": WRONG_REQUESTS,
            "configured_per_minute": WRONG_FACTOR * WRONG_REQUESTS, "span_s": WRONG_SPAN_S,
            "from": "the first 429, or the first call of a lane that has none", "worst_of": "the cases"}


def measure_wrong_429(tell):
    found = mislead(tell)
    return round(max(refused for refused, _ in found.values()), 2), "percent", describe_wrong(found, 0)


def measure_wrong_use(tell):
    found = mislead(tell)
    return round(min(used for _, used in found.values()), 2), "percent", {
        **describe_wrong(found, 1), "found_after_s": FOUND_AFTER_S}


# what a decision costs


def measure_admission(tell):
    program = spool.build("build/bench/admission")
    done = subprocess.run([program, str(DECISIONS), str(TIMES)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    tell(f"{told['ns']} ns")
    return round(statistics.median(told["ns"]) / 1000, 3), "us", {
        "decisions": DECISIONS, "times": TIMES, "ns": told["ns"], "admitted": told["admitted"], "lanes": 6,
        "families": 18, "runs": 1000, "local_jobs": 2000, "of": "median of the means",
        "includes": "choosing from the runs, estimate, charge, entering or how long to wait, leaving, settling",
        "clock": "CPU time of the process"}
