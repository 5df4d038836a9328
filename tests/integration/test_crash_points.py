"""The daemon ends at each write, send and commit of its store, and the next life makes good what is half done.

Every CRASH_POINT in the sources is tried at its first, second and seventh pass; one that no course of a small run
passes fails the test. Needs build/crash/proctord, which `make check` builds.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from crash_course import COURSES, Case, Ground, points

PASSES = (1, 2, 7)
AT_ONCE = 5


@pytest.fixture(scope="module")
def results(postgres):
    """{(point, pass): (course, Result)}: all cases, several at a time."""
    ground = Ground(postgres)
    try:
        ground.start()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            played = list(pool.map(lambda point: list(play(ground, point)), points()))
    finally:
        ground.remove()
    return {key: (course, result) for one in played for key, course, result in one}


def play(ground, point):
    """The first pass in each course until one passes the point; the later passes in that one, while there are any."""
    for course in COURSES:
        result = Case(ground, point, 1, course).play()
        if result.died or result.faults:
            break
    yield (point, 1), course, result
    for number in PASSES[1:]:
        if not result.died:
            break
        result = Case(ground, point, number, course).play()
        yield (point, number), course, result


@pytest.mark.parametrize("point", points())
def test_a_death_at_this_point_loses_nothing_and_buys_nothing_twice_that_is_spooled(results, point):
    first = results[point, 1][1]
    assert first.died, f"no course passes {point}: {first.faults}\n{first.log}"
    for (name, number), (course, result) in results.items():
        faults = result.faults if name == point else []
        assert not faults, "\n".join([f"{point}, pass {number}, {course}:", *faults, result.log])


def test_every_write_send_and_commit_of_the_store_has_a_point():
    parts = {point.partition(".")[0] for point in points()}
    assert {"spool", "store"} <= parts and len(points()) >= 15
