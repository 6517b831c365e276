"""Counting as a classifier: naive Bayes on runs of characters, the opponent of notebook 16."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


class NgramClassifier:
    """Naive Bayes: the class that makes the runs of characters likeliest, if each came by itself.

    score(k | text) = log p(k) + Σ log p(run | k), over all runs of the given orders that were seen, where
    p(run | k) = (count + s) / (all counts of k + s · runs), and s is `smoothing`.
    Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 13.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Int[Tensor, " N"],
        n_classes: int,
        orders: tuple[int, ...],
        smoothing: float,
    ) -> None:
        if len(texts) != len(labels) or not len(texts):
            raise ValueError(f"{len(texts)} texts with {len(labels)} labels leave nothing to count")
        if smoothing <= 0 or min(orders) < 1:
            raise ValueError(
                f"smoothing and orders must be above 0; they are {smoothing}, {orders}"
            )
        self.orders = orders
        counts: list[Counter[str]] = [Counter() for _ in range(n_classes)]
        for text, label in zip(texts, labels.tolist(), strict=True):
            counts[label].update(self._runs(text))
        self.number_of = {
            run: i for i, run in enumerate(dict.fromkeys(r for c in counts for r in c))
        }
        table = torch.tensor([[c[run] for c in counts] for run in self.number_of]) + smoothing
        self.log_probs = (table / table.sum(dim=0)).log()
        n_texts = torch.bincount(labels, minlength=n_classes)
        self.log_prior = (n_texts / len(texts)).log()

    def scores(self, texts: Sequence[str]) -> Float[Tensor, "N K"]:
        """Return how likely each class is for each text: logits."""
        rows = [
            [self.number_of[run] for run in self._runs(text) if run in self.number_of]
            for text in texts
        ]
        return torch.stack([self.log_prior + self.log_probs[row].sum(dim=0) for row in rows])

    def _runs(self, text: str) -> list[str]:
        return [text[i : i + n] for n in self.orders for i in range(len(text) - n + 1)]
