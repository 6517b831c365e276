"""A stronger opponent, for the record only: interpolated Kneser–Ney tables with modified discounts.

    p_n(x | h) = (c(hx) − D(c(hx))) / c(h) + γ(h) · p_{n−1}(x | h′)

c counts at the highest order how often a run occurred; below it, how many different characters stood
before the run. D takes D₁, D₂ or D₃ off a count of 1, 2, or 3 and more; γ(h) is what was taken off the
followers of h, as a share of c(h). Below order 1 stands the uniform distribution.
S. Chen and J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1999).
"""

import math
from collections import Counter, defaultdict


class KneserNeyTable:
    """The tables of orders 1 to n of a text."""

    def __init__(self, text: str, vocab_size: int, order: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        runs = {n: Counter(_runs(text, n)) for n in range(1, order + 1)}
        below = [Counter(run[1:] for run in runs[n + 1]) for n in range(1, order)]
        self.levels = [_Level(counts) for counts in [*below, runs[order]]]

    def chance(self, x: str, history: str) -> float:
        """Return the chance of x after the history, of which the last n − 1 characters count."""
        p = 1 / self.vocab_size
        for n, level in enumerate(self.levels, start=1):
            if n - 1 > len(history):
                break
            p = level.blend(history[len(history) - n + 1 :], x, p)
        return p

    def loss(self, text: str) -> float:
        """Return the mean loss in nats per character, of all but the first, as `evaluate` does."""
        reach = self.order - 1
        chances = (self.chance(text[i], text[max(0, i - reach) : i]) for i in range(1, len(text)))
        return -sum(map(math.log, chances)) / (len(text) - 1)


class _Level:
    """The counts of one order, and what is taken off them."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.totals: Counter[str] = Counter()
        self.followers: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # seen 1, 2, 3+ times
        for run, count in counts.items():
            self.totals[run[:-1]] += count
            self.followers[run[:-1]][min(count, 3) - 1] += 1
        n = Counter(counts.values())  # how many runs have each count
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        self.discounts = [  # on tiny texts the formula may leave these bounds
            min(j, max(0.1, j - (j + 1) * y * n[j + 1] / n[j])) if n[j] else 0.5 for j in (1, 2, 3)
        ]

    def blend(self, history: str, x: str, shorter: float) -> float:
        total = self.totals[history]
        if not total:
            return shorter
        count = self.counts[history + x]
        kept = count - self.discounts[min(count, 3) - 1] if count else 0.0
        taken = sum(d * f for d, f in zip(self.discounts, self.followers[history], strict=True))
        return (kept + taken * shorter) / total


def _runs(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]
