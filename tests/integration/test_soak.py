"""What `make soak` judges by: growth is seen, and what goes up and down is none."""

from soak import flat

SAMPLE = {"heap_bytes": 5_000_000, "descriptors": 44}


def judged(*heaps):
    return flat.judge([{**SAMPLE, "heap_bytes": heap} for heap in heaps])


def test_what_goes_up_and_down_is_flat():
    figures, faults = judged(*[4_000_000, 6_000_000, 5_000_000] * 8)
    assert figures["heap_bytes"] == [5_000_000, 5_000_000]
    assert faults == []


def test_the_warm_up_counts_nothing():
    assert judged(*[1_000_000] * 4, *[5_000_000] * 20)[1] == []


def test_memory_that_grows_by_more_than_a_twentieth_is_a_fault():
    assert judged(*[5_000_000 + 20_000 * number for number in range(24)])[1] == []
    assert judged(*[5_000_000 + 40_000 * number for number in range(24)])[1] == [
        "heap_bytes grew from 5,340,000 to 5,740,000"]


def test_a_descriptor_that_stays_is_a_fault():
    samples = [{**SAMPLE, "descriptors": 44 + number // 12} for number in range(24)]
    assert flat.judge(samples)[1] == ["descriptors grew from 44 to 45"]
