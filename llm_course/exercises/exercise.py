"""What an exercise is: a reference, random inputs, and named mistakes, each of them wrong code.

What there is to do stands in the notebook, and only there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch

Draw = Callable[[torch.Generator], tuple[Any, ...]]


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation, and the sentence that tells whoever wrote it what is wrong."""

    wrong: Callable[..., Any]
    hint: str

    @property
    def name(self) -> str:
        """The name of the wrong function."""
        return self.wrong.__name__


@dataclass(frozen=True)
class Exercise:
    """A function to write. `inputs` draws the arguments of one trial anew from a generator.

    With `causal`, the first argument is a tensor with the places in its second dimension, and no result
    may depend on later places. To add a mistake, write the wrong function under `@exercise.mistake(hint)`.
    """

    name: str
    notebook: str
    minutes: int
    difficulty: int  # 1: repeats a step, 2: changes it, 3: surprises
    reference: Callable[..., Any]
    inputs: Draw | tuple[Draw, ...]  # of several, the trials take turns
    hint: str
    causal: bool = False
    mistakes: list[Mistake] = field(default_factory=list)

    def draw(self, generator: torch.Generator) -> list[tuple[Any, ...]]:
        """Return the arguments of the trials: three, and each way to draw them at least once."""
        draws = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
        return [draws[n % len(draws)](generator) for n in range(max(3, len(draws)))]

    def mistake(self, hint: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add the decorated function as a mistake that gets this hint."""

        def add(wrong: Callable[..., Any]) -> Callable[..., Any]:
            self.mistakes.append(Mistake(wrong, hint))
            return wrong

        return add


@dataclass(frozen=True)
class Question:
    """A prediction, or the reading of a picture: options a, b, c … with a reason for each, one right."""

    name: str
    notebook: str
    minutes: int
    difficulty: int
    options: dict[str, tuple[str, str]]  # letter: (what it says, why it is wrong or right)
    right: str
    hint: str

    def html(self, with_reasons: bool = True) -> str:
        """Return the options as folds, which open without a script; or as a list, without the reasons."""
        if not with_reasons:
            options = (
                f"<li>{letter}: {_html(text)}</li>" for letter, (text, _) in self.options.items()
            )
            return f'<ul style="list-style:none">{"".join(options)}</ul>'
        folds = "".join(
            f"<details><summary>{letter}: {_html(text)}</summary>"
            f'<div style="margin-left:1.5em">{"Right. " if letter == self.right else "No. "}'
            f"{_html(reason)}</div></details>"
            for letter, (text, reason) in self.options.items()
        )
        return f"<div>{folds}</div>"


def _html(text: str) -> str:
    """Return a text with its `code` and *emphasis* as HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?![\w*])", r"<em>\1</em>", text)
