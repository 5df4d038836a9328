"""The limiter alone, on a clock that the tests own: exact to the nanosecond."""

import simulator_fixtures  # noqa: F401  it puts workers/ on the path
import pytest
from hypothesis import given, settings, strategies as st

from simulator.limits import NEVER, NS, Book, LimitSpec

ONE = {"requests": 1, "tokens": 10, "input_tokens": 4, "output_tokens": 6}


def spec(kind, limit, **more):
    return LimitSpec("openai", kind, limit, **more)


def admit(book, now, model="gpt-4", costs=None):
    return book.admit(now, "openai", model, costs or ONE)


def test_sliding_window_counts_an_event_for_exactly_its_span():
    book = Book([spec("sliding", 2)])
    start = 7
    assert admit(book, start).refused is None
    assert admit(book, start + 5 * NS).refused is None
    refused = admit(book, start + 10 * NS)
    assert (refused.refused.scope, refused.wait_ns) == ("openai", 50 * NS)
    assert admit(book, start + 60 * NS - 1).wait_ns == 1
    assert admit(book, start + 60 * NS).refused is None
    assert admit(book, start + 60 * NS).wait_ns == 5 * NS


def test_fixed_window_starts_afresh_at_each_multiple():
    book = Book([spec("fixed", 1, window_s=1.0)])
    assert admit(book, 5 * NS + 900_000_000).refused is None
    assert admit(book, 5 * NS + 999_999_999).wait_ns == 1
    assert admit(book, 6 * NS).refused is None
    assert admit(book, 6 * NS + 1).wait_ns == NS - 1


def test_token_bucket_refills_evenly_and_holds_its_burst():
    book = Book([spec("bucket", 60, burst=3)])
    assert [admit(book, 0).refused is None for _ in range(4)] == [True, True, True, False]
    assert admit(book, 0).wait_ns == NS
    assert admit(book, NS - 1).wait_ns == 1
    assert admit(book, NS).refused is None
    hour = 3600 * NS
    assert [admit(book, hour).refused is None for _ in range(4)] == [True, True, True, False]


def test_concurrency_is_given_back_once():
    book = Book([spec("concurrency", 2)])
    first, second = admit(book, 0), admit(book, 0)
    assert admit(book, 0).refused is not None
    book.release(first)
    book.release(first)
    assert admit(book, 1).refused is None
    assert admit(book, 1).refused is not None
    book.release(second)
    assert admit(book, 2).refused is None
    report = book.report(3)[0]
    assert (report["used"], report["peak"], report["refused"], report["admitted"]) == (2, 2, 2, 4)


def test_refused_call_uses_up_nothing_of_any_limit():
    book = Book([spec("sliding", 100), spec("sliding", 25, unit="tokens")])
    assert [admit(book, 0).refused is None for _ in range(3)] == [True, True, False]
    requests, tokens = book.report(0)
    assert (requests["used"], requests["refused"]) == (2, 0)
    assert (tokens["used"], tokens["refused"], tokens["admitted_cost"]) == (20, 1, 20)


def test_longest_wait_of_several_broken_limits_is_told():
    book = Book([spec("fixed", 1, window_s=1.0), spec("sliding", 1)])
    admit(book, 0)
    verdict = admit(book, 0)
    assert (verdict.wait_ns, verdict.refused.spec.kind) == (60 * NS, "sliding")
    assert [r["refused"] for r in book.report(0)] == [1, 1]


@pytest.mark.parametrize("kind", ["sliding", "fixed", "bucket"])
def test_call_beyond_the_limit_itself_can_never_pass(kind):
    book = Book([spec(kind, 9, unit="tokens")])
    assert admit(book, 0).wait_ns == NEVER


def test_models_share_a_limit_unless_each_has_its_own():
    shared = Book([spec("sliding", 1, model="gpt-4*")])
    assert admit(shared, 0, "gpt-4").refused is None
    assert admit(shared, 0, "gpt-4o").refused.scope == "openai/gpt-4*"
    assert admit(shared, 0, "o3").refused is None
    own = Book([spec("sliding", 1, model="gpt-4*", per="model")])
    assert admit(own, 0, "gpt-4").refused is None
    assert admit(own, 0, "gpt-4o").refused is None
    assert admit(own, 0, "gpt-4o").refused.scope == "openai/gpt-4o"


def test_unenforced_limit_refuses_nothing_and_counts_what_was_over():
    book = Book([spec("sliding", 2, enforce=False)])
    assert all(admit(book, 0).refused is None for _ in range(5))
    report = book.report(0)[0]
    assert (report["peak"], report["over"], report["refused"]) == (5, 3, 0)


def test_other_providers_are_not_touched():
    book = Book([spec("sliding", 1)])
    assert all(book.admit(0, "xai", "grok-2", ONE).refused is None for _ in range(3))


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), min_size=1, max_size=60)


def _run(book, steps):
    """Admitted (time, cost); checks that the told wait is the shortest that helps."""
    now, admitted = 0, []
    for step, cost in steps:
        now += step
        costs = {"requests": 1, "tokens": cost}
        verdict = admit(book, now, costs=costs)
        if verdict.refused is None:
            admitted.append((now, cost))
        elif verdict.wait_ns != NEVER:
            shape = verdict.refused.shape
            assert shape.wait(now + verdict.wait_ns - 1, cost) == 1
            now += verdict.wait_ns
            assert admit(book, now, costs=costs).refused is None
            admitted.append((now, cost))
    return admitted


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_sliding_span_ever_holds_more_than_the_limit(steps):
    admitted = _run(Book([spec("sliding", 6, unit="tokens", window_s=20 / NS)]), steps)
    for at, _ in admitted:
        assert sum(c for t, c in admitted if at <= t < at + 20) <= 6


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_fixed_window_ever_holds_more_than_the_limit(steps):
    admitted = _run(Book([spec("fixed", 5, unit="tokens", window_s=20 / NS)]), steps)
    for at, _ in admitted:
        assert sum(c for t, c in admitted if t // 20 == at // 20) <= 5


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_span_takes_more_from_a_bucket_than_burst_and_refill(steps):
    admitted = _run(Book([spec("bucket", 3, unit="tokens", window_s=20 / NS, burst=4)]), steps)
    for first, _ in admitted:
        for last, _ in admitted:
            if last >= first:
                taken = sum(c for t, c in admitted if first <= t <= last)
                assert (taken - 4) * 20 <= (last - first) * 3
