"""What a training is told, and what it tells."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainConfig:
    """How to train: steps of `batch_size` windows, plain AdamW unless told otherwise.

    `warmup_steps`: the learning rate climbs to its full value in so many steps. `decay`: from there it
    falls on a straight line, to 0 after the last step. `max_grad_norm`: a longer gradient is shortened
    to this length. `muon_rate`: Muon moves the blocks' matrices at it. `eval_every` counts steps.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: bool = False
    max_grad_norm: float | None = None
    muon_rate: float | None = None
    eval_every: int = 100
    eval_windows: int | None = None  # None: every window of the validation tokens
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")
        for name in ("max_grad_norm", "muon_rate"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}")
        if self.eval_windows is not None and self.eval_windows < 1:
            raise ValueError(f"eval_windows must be at least 1, and is {self.eval_windows}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
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
