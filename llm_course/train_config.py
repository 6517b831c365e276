"""What a training is told, and what it tells."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainConfig:
    """How to train: steps of `batch_size` windows, plain AdamW unless told otherwise.

    `warmup_steps`: the learning rate climbs to its full value in so many steps. `decay`: from there it
    falls on a straight line, to 0 after the last step. `max_grad_norm`: a longer gradient is shortened
    to this length. `muon_rate`: Muon moves the blocks' matrices at it. `micro_batches`: the windows of a
    step are computed in so many parts, one after the other. `eval_every` counts steps.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: bool = False
    max_grad_norm: float | None = None
    muon_rate: float | None = None
    micro_batches: int = 1
    eval_every: int = 100
    eval_windows: int | None = None  # None: every window of the validation tokens
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "eval_every": 1, "micro_batches": 1}
        least |= {"warmup_steps": 0, "seed": 0}
        if self.eval_windows is not None:
            least["eval_windows"] = 1
        for name, smallest in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < smallest:
                raise ValueError(
                    f"{name} must be a whole number from {smallest} on, and is {value!r}"
                )
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"micro_batches must divide batch_size, and {self.batch_size} / {self.micro_batches} "
                "is no whole number"
            )
        for name in ("learning_rate", "weight_decay", "max_grad_norm", "muon_rate"):
            value = getattr(self, name)
            if value is None and name in ("max_grad_norm", "muon_rate"):
                continue
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number from 0 on, and is {value!r}")
            if value == 0 and name != "weight_decay":
                raise ValueError(f"{name} must be above 0, and is {value!r}")
        if type(self.decay) is not bool:
            raise ValueError(f"decay must be True or False, and is {self.decay!r}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * (step / self.warmup_steps)
        if self.decay:
            left = (self.steps - step + 1) / (self.steps - self.warmup_steps)
            return self.learning_rate * left
        return self.learning_rate


@dataclass
class History:
    """What was measured along training, one entry an evaluation, the first before the first step.

    `tokens` counts the targets seen so far; `seconds` is time spent in steps, evaluations left out;
    the losses are nats per token, both measured by `evaluate`.
    """

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
