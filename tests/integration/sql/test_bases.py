"""finish_jobs() on top of stored turns: an answer, or an attempt to be repeated, goes on from where it began."""

import psycopg2
import pytest

from queue_calls import body, end, turn


@pytest.fixture
def job(queue):
    """A claimed job of which two turns, a and b, are stored since."""
    one, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.keep(turn(one, 1, "a", text="one"), turn(one, 2, "b", "a", "two"))
    return one


def answers(queue):
    return [answer["targetResponse"] for answer in queue.value("SELECT content->'turns' FROM transcripts")]


def stored(queue):
    return [row["digest"] for row in queue.rows("SELECT digest FROM checkpoints ORDER BY turn_number")]


@pytest.mark.parametrize("base, digest, turns, whole", [
    (2, "b", [], ["one", "two"]), (1, "a", [], ["one"]), (2, "b", [body(3, "three")], ["one", "two", "three"]),
    (1, "a", [body(2, "other")], ["one", "other"]), (0, "", [body(1, "own")], ["own"]),
    (0, "", [body(1, "own"), body(2, "own"), body(3, "own")], ["own"] * 3)])
def test_answer_is_the_stored_turns_it_names_and_its_own(queue, job, base, digest, turns, whole):
    assert queue.finish(end(job, base=base, base_digest=digest, turns=turns)) == [(job["run_id"], "COMPLETED")]
    assert answers(queue) == whole
    assert queue.value("SELECT turn_count FROM transcripts") == len(whole)
    assert queue.count("checkpoints") == 0


@pytest.mark.parametrize("base, digest, turns", [
    (2, "x", []), (2, "", []), (2, "a", [body(3)]), (3, "c", []), (3, "c", [body(4)]), (0, "", []), (2, "b", [body(2)]),
    (2, "b", [body(4)]), (2, "b", [body(3), body(5)]), (1, "a", [body(1)]),
    (0, "", [body(3)]), (0, "", [body(2)]), (2, "b", ["7"])])
def test_answer_that_does_not_go_on_is_refused_in_words(queue, job, base, digest, turns):
    with pytest.raises(psycopg2.DataError, match="the turns do not go on from"):
        queue.finish(end(job, base=base, base_digest=digest, turns=turns))
    assert stored(queue) == ["a", "b"]
    assert queue.count("leases") == 1


def test_answer_that_does_not_go_on_costs_the_others_of_its_batch_nothing(queue, job):
    other, = queue.claim(queue.start(scenarios=1)["run_id"])
    assert queue.finish(end(other), end(job, "REFUSED", error="the turns do not go on")) == [
        (job["run_id"], "FAILED"), (other["run_id"], "COMPLETED")]


@pytest.mark.parametrize("base, digest, digests, kept", [
    (2, "b", "cd", "abcd"), (1, "a", "bc", "abc"), (0, "", "abcd", "abcd"), (0, "", "a", "ab"), (2, "b", "", "ab"),
    (1, "a", "xy", "ab"), (0, "", "axy", "ab"), (1, "x", "bc", "ab"), (2, "x", "c", "ab"), (3, "c", "d", "ab"),
    (0, "", "xbc", "ab")])
def test_repeated_job_keeps_what_goes_on_from_the_stored_turns(queue, job, base, digest, digests, kept):
    turns = [body(base + number) for number, _ in enumerate(digests, 1)]
    queue.finish(end(job, "LATER", turns, base=base, base_digest=digest, digests=list(digests)))
    assert stored(queue) == list(kept)
    again, = queue.claim(job["run_id"])
    assert (again["turn_count"], again["digest"]) == (len(kept), kept[-1])


def test_wrongly_numbered_turn_ends_what_is_kept(queue, job):
    queue.finish(end(job, "LATER", [body(3), body(5), body(5)], base=2, base_digest="b", digests=["c", "d", "e"]))
    assert stored(queue) == ["a", "b", "c"]


@pytest.mark.parametrize("fate", ["RETURNED", "LATER"])
def test_job_given_back_twice_in_a_batch_is_queued_once(queue, job, fate):
    queue.finish(*[end(job, fate, delay=delay) for delay in (0, 5000)])
    assert (queue.count("ready"), queue.count("delayed")) == (1, 0)


def test_counts_too_large_for_their_sum_are_recorded(queue, job):
    most = 2**63 - 1
    with queue.connection.cursor() as cursor:
        cursor.execute("""SELECT * FROM finish_jobs(1, ARRAY[%s]::bigint[], '{1}', '{COMPLETED}', '{[]}', '{""}', '{2}',
            '{b}', '{NULL}', ARRAY[%s]::bigint[], ARRAY[%s]::bigint[], '{0}', ARRAY[%s]::bigint[], ARRAY[%s]::bigint[],
            '{NULL}', '{0}', '{0}', '{0}', '{0}', '{0}')""", (job["job_id"], most, most, most, most))
    assert queue.rows("SELECT token_count, output_tokens FROM transcripts") == [
        {"token_count": most, "output_tokens": most}]
