"""Exercises of notebook 00: what a language model does."""

from collections.abc import Callable

import torch

from llm_course.exercises.exercise import Exercise, Question

NOTEBOOK = "00_welcome"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# --- most_likely --------------------------------------------------------------------------------------


def _most_likely(chances: dict[str, float]) -> str:
    return max(chances, key=chances.get)


def _guess(generator: torch.Generator) -> tuple[dict[str, float]]:
    """Return chances of some letters: best, worst, first, last, and the alphabet's ends all differ."""
    while True:
        n = int(torch.randint(6, 10, (), generator=generator))
        shares = torch.rand(n, generator=generator) + 0.1
        letters = [LETTERS[i] for i in torch.randperm(26, generator=generator)[:n].tolist()]
        chances = dict(zip(letters, (shares / shares.sum()).tolist(), strict=True))
        special = max(chances, key=chances.get), min(chances, key=chances.get)
        if len({*special, max(chances), min(chances), letters[0], letters[-1]}) == 6:
            return (chances,)


most_likely = Exercise(
    name="most_likely",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_most_likely,
    inputs=_guess,
    hint="Go through chances.items() and remember the character with the largest chance so far. (max does "
    "it in one line, if it is told what to compare: key=chances.get.)",
)


@most_likely.mistake(
    "this is the character that comes last in the *alphabet*: max of a dictionary compares its keys. Tell "
    "it to compare the chances: key=chances.get."
)
def last_in_the_alphabet(chances):
    return max(chances)


@most_likely.mistake("this is the largest chance itself. Which *character* has it?")
def the_chance(chances):
    return max(chances.values())


@most_likely.mistake("this is the *unlikeliest* character.")
def unlikeliest(chances):
    return min(chances, key=chances.get)


@most_likely.mistake("this is the first character of the dictionary, whatever its chance.")
def first_of_all(chances):
    return next(iter(chances))


@most_likely.mistake("this is the last character of the dictionary, whatever its chance.")
def last_of_all(chances):
    return list(chances)[-1]


@most_likely.mistake("this is the character together with its chance. Return the character alone.")
def with_its_chance(chances):
    return max(chances.items(), key=lambda item: item[1])


# --- write --------------------------------------------------------------------------------------------


def _write(guess: Callable[[str], str], text: str, n: int) -> str:
    for _ in range(n):
        text = text + guess(text)
    return text


def _writer(generator: torch.Generator) -> tuple[Callable[[str], str], str, int]:
    """Return a guess that looks at all of the text, a beginning, and a number of characters."""
    step = 3 + 2 * int(torch.randint(0, 5, (), generator=generator))

    def guess(text: str) -> str:
        return LETTERS[sum((i + step) * ord(c) for i, c in enumerate(text, 1)) % 26]

    length, n = (int(torch.randint(4, 9, (), generator=generator)) for _ in range(2))
    start = torch.randint(26, (length,), generator=generator).tolist()
    return guess, "".join(LETTERS[i] for i in start), n


write = Exercise(
    name="write",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_write,
    inputs=_writer,
    hint="A loop of n rounds. In each, text becomes text + guess(text). After the loop, return it.",
)


@write.mistake(
    "it stops after one character. Is `return` inside of the loop? Move it to the left, below the loop."
)
def returns_in_the_loop(guess, text, n):
    return text + guess(text)


@write.mistake(
    "the text is *replaced* by each new character. Join it on: text = text + guess(text)."
)
def replaces_the_text(guess, text, n):
    for _ in range(n):
        text = guess(text)
    return text


@write.mistake(
    "nothing is written. Is the sum thrown away? Give it the name: text = text + guess(text)."
)
def sum_thrown_away(guess, text, n):
    return text


@write.mistake(
    "each time the model is asked about the *first* text, and never about what it has written since. Ask "
    "with the text so far."
)
def asks_about_the_beginning(guess, text, n):
    return text + guess(text) * n


@write.mistake("the model is shown the last character only. Show it all of the text so far.")
def shows_the_last_character(guess, text, n):
    for _ in range(n):
        text = text + guess(text[-1])
    return text


@write.mistake(
    "the model is shown only what it wrote itself, and not the text that it was to go on from."
)
def shows_the_new_text(guess, text, n):
    return text + _write(guess, "", n)


@write.mistake("what was written is right, and the text it goes on from is missing in front of it.")
def without_the_beginning(guess, text, n):
    return _write(guess, text, n)[len(text) :]


@write.mistake("new characters are put in *front* of the text.")
def in_front(guess, text, n):
    for _ in range(n):
        text = guess(text) + text
    return text


@write.mistake("one character too many is written: n + 1.")
def one_too_many(guess, text, n):
    return _write(guess, text, n + 1)


@write.mistake("one character is missing: n − 1 are written. range(n) has n rounds.")
def one_too_few(guess, text, n):
    return _write(guess, text, n - 1)


# --- questions ----------------------------------------------------------------------------------------

another_context = Question(
    name="another_context",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=1,
    options={
        "a": (
            "all three",
            "C looks at nothing: its chances are the same after any text. So it cannot change.",
        ),
        "b": (
            "A and B",
            "A looks at the last character only, and that is h both times. So it cannot change.",
        ),
        "c": (
            "B alone",
            "It saw 'd th', and now sees 'r th'. The others see the same as before: h, or nothing.",
        ),
        "d": (
            "none, since both end in th",
            "One of them looks at four characters, and th is two. What stands before them?",
        ),
    },
    right="c",
    hint="What exactly does each of them see of 'and th', and what of 'or th'?",
)

fourth_writer = Question(
    name="fourth_writer",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "above 3.3",
            "That is the loss of C, which sees nothing. Two characters tell more than none.",
        ),
        "b": (
            "between 2.5 and 3.3",
            "A sees one character and has 2.5 already. One that sees two knows all that A knows, and more.",
        ),
        "c": (
            "between 1.7 and 2.5",
            "It knows more than A, who sees one, and less than B, who sees four. (Notebook 02: 2.05.)",
        ),
        "d": (
            "below 1.7",
            "B sees four characters and has 1.7. Two of them will hardly tell more than all four.",
        ),
    },
    right="c",
    hint="Between which two of A, B and C does it stand, by how much it sees?",
)

EXERCISES = [another_context, most_likely, write, fourth_writer]
