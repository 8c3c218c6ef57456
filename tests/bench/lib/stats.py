# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What is made of repeated measurements. Pure: knows no tool and no file.

Ratios are estimated from pairs of windows, one with a tool and the mean of the ones without it before and after. The estimate is that of Hodges and Lehmann (the median
of the means of all pairs of log ratios), its interval comes from Wilcoxon's signed ranks: both bear with single windows in which other
load disturbed the machine, which a mean and Student's t do not, and assume nothing of the noise but that it is symmetric.
"""
import functools
import itertools
import math
import statistics

CONFIDENCE = 0.95


def walsh(values):
    """Means of all pairs of the values, each with itself too, in rising order."""
    return sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2))


@functools.cache
def rank_sums(n):
    """How many of the 2^n ways to sign the ranks 1..n give each sum of the positive ones."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for s, count in enumerate(ways):
            longer[s + rank] += count
        ways = longer
    return ways


def ranks_cut(n, confidence=CONFIDENCE):
    """How many Walsh means to leave out at either end for an interval of at least this confidence; None where n is too small for one."""
    tail, cut = 0, None
    for k, ways in enumerate(rank_sums(n)):
        tail += ways / 2 ** n
        if tail > (1 - confidence) / 2:
            break
        cut = k
    return cut


def estimate(values):
    """(middle, low, high, sound): sound is False where there are too few values for the interval, which is then all of their range."""
    if not values:
        return None
    means = walsh(values)
    cut = ranks_cut(len(values))
    low, high = (means[0], means[-1]) if cut is None else (means[cut], means[-1 - cut])
    return statistics.median(means), low, high, cut is not None


def change(with_tool, before, after):
    """By how much a figure is higher with the tool, as a part of it (0.02 for 2 %): (middle, low, high, sound)."""
    return change_of([math.log(w) - (math.log(a) + math.log(b)) / 2 for w, a, b in zip(with_tool, before, after)])


def change_of(logs):
    """The same of log ratios."""
    e = estimate(logs)
    return e and (*map(math.expm1, e[:3]), e[3])


def twin_log(costs, block=10):
    """Log ratio of the second's cost to the first's, of turns one after the other: the median over blocks, each a ratio of sums, so that what comes once in some turns counts."""
    blocks = [costs[i:i + block] for i in range(0, len(costs) - block + 1, block)] or [costs]
    return statistics.median(math.log(sum(b for _, b in part) / sum(a for a, _ in part)) for part in blocks)


def net(before, after, floor_ns):
    """(runs, ns above empty programs) of all programs, from two readings {id: (runs, ns)}; those that came in between count from 0."""
    runs = ns = 0
    for program, (r, n) in after.items():
        r0, n0 = before.get(program, (0, 0))
        runs, ns = runs + r - r0, ns + n - n0
    return runs, ns - runs * floor_ns


def verdict(value, limit, at_most=True):
    """"ok" or "MISSED", by the middle of an estimate; "unsure" with it where its interval has the limit within, or is none. None where there is nothing to judge."""
    if value is None:
        return None
    middle, low, high, sound = value if isinstance(value, tuple) else (value, value, value, True)
    word = "ok" if (middle <= limit if at_most else middle >= limit) else "MISSED"
    return word if sound and not (low <= limit < high) else word + ", unsure"
