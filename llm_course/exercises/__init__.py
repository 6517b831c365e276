"""Exercises whose feedback names the mistake: `check(name, attempt)`, `show_hint`, `show_solution`.

Mistakes are code: each exercise lists wrong implementations with a hint, and an attempt that does what one
of them does gets its hint. A teacher adds one by writing the wrong function.
"""

import difflib
import inspect
import textwrap
from typing import Any

from IPython.display import HTML, Markdown, display

from llm_course.exercises import (
    attention_variants,
    bigram,
    decoder_transformer,
    encoder_decoder,
    finetuning,
    generation,
    gpt2,
    gpu_and_distributed,
    multi_head_attention,
    progress,
    regularization,
    scaling,
    single_head_attention,
    speedrun,
    subword_tokenization,
    text_to_tokens,
    transformer_block,
    welcome,
    your_own_model,
)
from llm_course.exercises.check import NotAttemptedError, Result, examine, examine_answer, is_strict
from llm_course.exercises.exercise import Exercise, Question

NOTEBOOKS = (
    welcome,
    text_to_tokens,
    bigram,
    single_head_attention,
    multi_head_attention,
    transformer_block,
    decoder_transformer,
    generation,
    regularization,
    scaling,
    subword_tokenization,
    gpu_and_distributed,
    speedrun,
    attention_variants,
    encoder_decoder,
    gpt2,
    finetuning,
    your_own_model,
)
EXERCISES: dict[str, Exercise | Question] = {
    exercise.name: exercise for notebook in NOTEBOOKS for exercise in notebook.EXERCISES
}


def find(name: str) -> Exercise | Question:
    """Return the exercise of this name; ValueError names those that come close."""
    if name in EXERCISES:
        return EXERCISES[name]
    near = difflib.get_close_matches(str(name), EXERCISES, n=3, cutoff=0.3)
    raise ValueError(
        f"there is no exercise {name!r}. Did you mean {' or '.join(near or EXERCISES)}?"
    )


def check(name: str, attempt: Any) -> Result:
    """Check an attempt, print what to do next, and remember it if it passed.

    An untouched exercise is no error, unless LLM_COURSE_STRICT=1 asks for one (NotAttemptedError).
    """
    exercise = find(name)
    if isinstance(exercise, Question):
        result = examine_answer(exercise, attempt)
    else:
        result = examine(exercise, attempt)
    _say(result.feedback)
    if result.passed:
        progress.remember(name)
    if not result.attempted and is_strict():
        raise NotAttemptedError(f"exercise {name} was not attempted")
    return result


def _say(text: str) -> None:
    """Print in lines that end between words; JupyterLab breaks what is too long within a word."""
    for line in text.splitlines():
        print(textwrap.fill(line, 90, break_long_words=False, break_on_hyphens=False))


def ask(name: str) -> HTML:
    """Return a question's options as folds: opening one tells whether it is right, and why.

    With LLM_COURSE_STRICT=1, as in an assignment, the options alone.
    """
    question = find(name)
    if not isinstance(question, Question):
        raise ValueError(f"{name} is a function to write, and no question: use check")
    return HTML(question.html(with_reasons=not is_strict()))


def show_hint(name: str) -> None:
    """Print one step on the way."""
    _say(find(name).hint)


def show_solution(name: str) -> None:
    """Show the reference, which is the code that attempts are compared with.

    Not with LLM_COURSE_STRICT=1, as in an assignment. That is a reminder and no lock: the reference is in
    the installed package, for everybody to read.
    """
    exercise = find(name)
    if is_strict():
        print(
            f"{name}: in an assignment (LLM_COURSE_STRICT=1) no solution is shown. "
            f'show_hint("{name}") helps.'
        )
        return
    if isinstance(exercise, Question):
        text, reason = exercise.options[exercise.right]
        _say(f"{exercise.right}: {text}. {reason}")
        return
    display(Markdown(f"```python\n{inspect.getsource(exercise.reference).rstrip()}\n```"))


def show_progress(notebook: str = "") -> None:
    """Print the exercises of every notebook whose name begins so, and which are done."""
    done = progress.done()
    shown = [e.notebook for e in EXERCISES.values() if e.notebook.startswith(notebook)]
    if not shown:
        print(f"there are no exercises of a notebook {notebook}")
    for notebook in dict.fromkeys(shown):
        names = [e.name for e in EXERCISES.values() if e.notebook == notebook]
        print(f"{notebook}: {sum(name in done for name in names)} of {len(names)} done")
        for name in names:
            print(f"  {'✓' if name in done else '·'} {name}")
