"""What others should know of a model before they use it, on one page."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from llm_course.data import Corpus
from llm_course.memorization import Passage

NOT_STATED = "*not stated*"


@dataclass(frozen=True)
class ModelCard:
    """The facts that a card tells; `markdown()` is the card.

    `losses` are nats per character on text that the model has not seen, the model's own and its
    opponents'; `longest_unseen`, how many characters together a text that it has not seen shares with its
    own. What a person must say is left "not stated" until it is said: `author`, `rights` (may the
    text be used for this?), `purpose`, `limits`. After Mitchell and others, "Model Cards for Model
    Reporting" (2019).
    """

    name: str
    corpus: Corpus
    sizes: str
    n_parameters: int
    tokenizer: str
    training: str
    seconds: float
    losses: Mapping[str, float]
    judged_on: str
    passages: list[Passage] = field(default_factory=list)
    longest_unseen: int | None = None
    sample: str = ""
    author: str = ""
    rights: str = ""
    purpose: str = ""
    limits: str = ""

    def markdown(self) -> str:
        """Return the card."""
        text = self.corpus.text
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        best = min(self.losses, key=self.losses.__getitem__, default=None)
        losses = [
            f"| {f'**{name}**' if name == best else name} | {loss:.3f} |"
            for name, loss in self.losses.items()
        ]
        copied = [f"- {len(p.text)} characters: {_code(repr(p.text))}" for p in self.passages]
        if copied and self.longest_unseen is not None:
            copied.insert(
                0, f"Text it has not seen shares up to {self.longest_unseen} characters.\n"
            )
        lines = [
            f"# {self.name}",
            "",
            f"By {self.author or NOT_STATED}, for {self.purpose or NOT_STATED}.",
            "",
            "## The model",
            "",
            f"- {self.n_parameters:,} parameters: {_code(self.sizes)}",
            f"- tokens: {self.tokenizer}",
            f"- training: {_code(self.training)}, {self.seconds:.0f} s",
            "",
            "## The text",
            "",
            f"- {self.corpus.name}, {len(text):,} characters, {len(set(text)):,} different ones",
            f"- SHA-256 `{digest}`",
            f"- rights: {self.rights or NOT_STATED}",
            "",
            "## How good it is",
            "",
            f"Nats per character on {self.judged_on}; lower is better.",
            "",
            "| model | loss |",
            "|---|---:|",
            *losses,
            "",
            "## What it knows by heart",
            "",
            *(copied or ["Nothing was looked for."]),
            "",
            "## What it is not for",
            "",
            self.limits or NOT_STATED,
            "",
        ]
        if self.sample:
            lines += ["## What it writes", "", _block(self.sample), ""]
        return "\n".join(lines)


def _code(text: str) -> str:
    """Return a line of text as code, whatever is in it."""
    fence = _fence(text, at_least=1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _block(text: str) -> str:
    fence = _fence(text, at_least=3)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _fence(text: str, at_least: int) -> str:
    """Return one more backtick than stand together anywhere in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(at_least, longest + 1)
