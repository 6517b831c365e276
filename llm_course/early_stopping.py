"""Ending a training where its validation loss is lowest."""

import math
from copy import deepcopy

from torch import nn

from llm_course.train_config import History


class KeepBest:
    """A callback for `train`: remembers the weights with the lowest validation loss, and may end it.

    `patience`: so many evaluations in a row without a new best end the training; None: nothing does.
    Prechelt, "Early Stopping – But When?" (1998).
    """

    def __init__(self, model: nn.Module, patience: int | None = None) -> None:
        if patience is not None and (type(patience) is not int or patience < 1):
            raise ValueError(f"patience must be a whole number from 1 on, and is {patience!r}")
        self.model, self.patience = model, patience
        self.step, self.loss, self.since_then = 0, math.inf, 0

    def __call__(self, step: int, history: History) -> bool:
        """Look at the newest loss, and return whether the training should end.

        Raises ValueError where a loss of the history that it did not see was lower.
        """
        if history.val_loss[-1] < self.loss:
            self.step, self.loss, self.since_then = step, history.val_loss[-1], 0
            self.weights = deepcopy(self.model.state_dict())
        else:
            self.since_then += 1
        if min(history.val_loss) < self.loss:
            raise ValueError(
                f"the best loss, {min(history.val_loss):.3f}, was measured before the interruption; its "
                "weights are lost: train anew, or without KeepBest"
            )
        return self.patience is not None and self.since_then >= self.patience

    def restore(self) -> None:
        """Give the model its best weights back; ValueError where no evaluation was seen."""
        if self.loss == math.inf:
            raise ValueError("no evaluation was seen, so there are no best weights: train anew")
        self.model.load_state_dict(self.weights)
