"""Whether what a process holds stays the same: the judgement on a soak's samples, without a process."""

import statistics

WARM_UP = 1 / 6     # of the samples are taken before caches and pools have their size
MOST_GROWTH = 0.05  # of memory, from the first half of what is behind the warm-up to the second


def judge(samples):
    """(figures, faults) of samples in their order, each {"memory name": bytes, …, "descriptors": count}.

    Each half counts by its median, since a sample is one of a machine at work. Memory may grow by MOST_GROWTH at most,
    descriptors not at all."""
    behind = samples[max(1, round(len(samples) * WARM_UP)):]
    halves = behind[:len(behind) // 2], behind[len(behind) // 2:]
    figures, faults = {}, []
    for name in behind[0]:
        first, last = (statistics.median(sample[name] for sample in half) for half in halves)
        figures[name] = [first, last]
        most = first if name == "descriptors" else first * (1 + MOST_GROWTH)
        if last > most:
            faults.append(f"{name} grew from {first:,.0f} to {last:,.0f}")
    return figures, faults
