"""Exercises of notebook 17: a model of one's own, from cutting the text to what it recites."""

import math
from itertools import takewhile

import torch

from llm_course.exercises.exercise import Exercise, Question
from llm_course.memorization import longest_passages

NOTEBOOK = "17_your_own_model"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _whole(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _some(generator: torch.Generator, letters: str, n: int) -> str:
    return "".join(letters[_whole(generator, 0, len(letters) - 1)] for _ in range(n))


# --- three_parts --------------------------------------------------------------------------------------


def _three_parts(text: str) -> tuple[str, str, str]:
    first, second = int(0.8 * len(text)), int(0.9 * len(text))
    return text[:first], text[first:second], text[second:]


def _cut(text, first, second):
    return text[:first], text[first:second], text[second:]


def _places(text):
    return int(0.8 * len(text)), int(0.9 * len(text))


def _of_length(*last_digits: int):
    """Return a way to draw a text; the last digit of its length decides how its parts are rounded."""

    def draw(generator: torch.Generator) -> tuple[str]:
        digit = last_digits[_whole(generator, 0, len(last_digits) - 1)]
        return (_some(generator, ALPHABET + "    \n", 10 * _whole(generator, 3, 6) + digit),)

    return draw


three_parts = Exercise(
    name="three_parts",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_three_parts,
    inputs=(_of_length(6, 7), _of_length(8, 9), _of_length(1, 2, 3, 4)),
    hint="Two places to cut at, both counted from the beginning. Where one part ends, the next begins: "
    "text[:first], text[first:second], text[second:].",
)


@three_parts.mistake("the second part runs on to the end, and holds the third. End it at 90 %.")
def second_holds_third(text):
    first, second = _places(text)
    return text[:first], text[first:], text[second:]


@three_parts.mistake("the third part holds the second. Begin it at 90 %, where the second ends.")
def third_holds_second(text):
    return *_three_parts(text)[:2], text[int(0.8 * len(text)) :]


@three_parts.mistake("the first part holds the second, to choose by. End it at 80 %.")
def first_holds_second(text):
    return text[: int(0.9 * len(text))], *_three_parts(text)[1:]


@three_parts.mistake("the last two are swapped. The end of the text is to judge by.")
def last_two_swapped(text):
    learn, choose, judge = _three_parts(text)
    return learn, judge, choose


@three_parts.mistake("these are two parts. Cut the last 20 % once more, in the middle.")
def two_parts(text):
    return text[: int(0.8 * len(text))], text[int(0.8 * len(text)) :]


@three_parts.mistake("10 % are there to learn from, and 80 % to judge by: cut at 80 % and 90 %.")
def small_part_first(text):
    return _cut(text, int(0.1 * len(text)), int(0.2 * len(text)))


@three_parts.mistake("the second part is empty: behind the colon is the place where it ends.")
def length_for_place(text):
    first, second = _places(text)
    return text[:first], text[first : int(0.1 * len(text))], text[second:]


@three_parts.mistake("a character is lost at each cut: a part begins where the last ended, no + 1.")
def gaps(text):
    first, second = _places(text)
    return text[:first], text[first + 1 : second], text[second + 1 :]


@three_parts.mistake("the last character is lost: −1 as an end stops before it. text[second:]")
def last_one_lost(text):
    return *_three_parts(text)[:2], _three_parts(text)[2][:-1]


@three_parts.mistake("a character at each cut stands in two parts: no + 1 where a part ends.")
def one_stands_twice(text):
    first, second = _places(text)
    return text[: first + 1], text[first : second + 1], text[second:]


@three_parts.mistake("`round` may round up. Use int(…), which always cuts the decimals off.")
def rounded(text):
    return _cut(text, round(0.8 * len(text)), round(0.9 * len(text)))


@three_parts.mistake("80 % and 10 % are rounded, and then added. Cut at int(0.9 * len(text)).")
def lengths_added(text):
    first, tenth = int(0.8 * len(text)), int(0.1 * len(text))
    return _cut(text, first, first + tenth)


@three_parts.mistake("the end is lost: every length was rounded down. Last part: text[second:].")
def end_lost(text):
    first, tenth = int(0.8 * len(text)), int(0.1 * len(text))
    return text[:first], text[first : first + tenth], text[first + tenth : first + 2 * tenth]


@three_parts.mistake("the second part is 10 % of the *rest*. It is half the rest: 10 % of all.")
def tenth_of_the_rest(text):
    first, _ = _places(text)
    return _cut(text, first, first + int(0.1 * (len(text) - first)))


@three_parts.mistake("every tenth character is taken out: no text to read is left. Cut in pieces.")
def every_tenth(text):
    learn = "".join(character for i, character in enumerate(text) if i % 10 < 8)
    return learn, text[8::10], text[9::10]


@three_parts.mistake("a place must be a whole number: int(0.8 * len(text)).")
def decimal_places(text):
    return _cut(text, 0.8 * len(text), 0.9 * len(text))


# --- per_character ------------------------------------------------------------------------------------


def _per_character(nats_per_token: float, n_tokens: int, n_characters: int) -> float:
    return nats_per_token * n_tokens / n_characters


def _loss_and_counts(generator: torch.Generator) -> tuple[float, int, int]:
    n_tokens = _whole(generator, 300, 900)
    rate = 2.2 + 0.6 * torch.rand((), generator=generator).item()
    loss = 3 + torch.rand((), generator=generator).item()
    return loss, n_tokens, int(rate * n_tokens)


per_character = Exercise(
    name="per_character",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=1,
    reference=_per_character,
    inputs=_loss_and_counts,
    hint="First the nats of the whole text, from all its tokens. Then share them out over its characters.",
)


@per_character.mistake("the wrong way round: there are more characters, and each bears less.")
def tokens_and_characters_swapped(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_characters / n_tokens


@per_character.mistake("this is the loss per token still. A token stands for several characters.")
def not_converted(nats_per_token, n_tokens, n_characters):
    return nats_per_token


@per_character.mistake("these are bits. Nats are wanted: no math.log(2).")
def in_bits(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_tokens / n_characters / math.log(2)


@per_character.mistake("the loss is in nats already: do not multiply by math.log(2).")
def times_ln_2(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_tokens / n_characters * math.log(2)


@per_character.mistake("this is the perplexity of a character. The loss is wanted: no math.exp.")
def perplexity(nats_per_token, n_tokens, n_characters):
    return math.exp(nats_per_token * n_tokens / n_characters)


@per_character.mistake("these are the nats of the whole text. Divide by the number of characters.")
def of_the_text(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_tokens


@per_character.mistake("the nats of *one* token are shared out. Times n_tokens first.")
def mean_taken_for_sum(nats_per_token, n_tokens, n_characters):
    return nats_per_token / n_characters


@per_character.mistake("it is multiplied by n_characters. Times tokens, divided by characters.")
def times_characters(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_characters


@per_character.mistake("the decimals are cut off: `//` and int do that. Divide with `/` alone.")
def whole_division(nats_per_token, n_tokens, n_characters):
    return nats_per_token * n_tokens // n_characters


@per_character.mistake("n_characters // n_tokens loses its decimals. Divide with `/`.")
def whole_characters_a_token(nats_per_token, n_tokens, n_characters):
    return nats_per_token / (n_characters // n_tokens)


# --- longest_copy -------------------------------------------------------------------------------------


def _longest_copy(text: str, source: str) -> str:
    for length in range(len(text), 0, -1):
        for start in range(len(text) - length + 1):
            if text[start : start + length] in source:
                return text[start : start + length]
    return ""


def _passages(generator: torch.Generator) -> tuple:
    """Return three passages, a letter, and gaps that only the text and only the source can have."""
    letters = "".join(ALPHABET[i] for i in torch.randperm(26, generator=generator).tolist())
    parts = letters[:7], letters[7:14], letters[14:21]
    passages = [f"{part[0]} {part[1:3]} {part[3:6]} {part[6]}" for part in parts]

    def gaps_of(own: str):
        return lambda: _some(generator, own, _whole(generator, 2, 4))

    return *passages, letters[21], gaps_of(letters[22:24]), gaps_of(letters[24:])


def _equally_long(generator: torch.Generator) -> tuple[str, str]:
    """Return three passages in different orders; a letter and the first one's begin stand there too."""
    a, b, c, z, t, s = _passages(generator)
    return f"{t()}{z}{a}{t()}{b}{t()}{c}{t()}", f"{s()}{b}{s()}{z}{a[0]}{s()}{a}{s()}{c}{s()}"


def _at_the_end(generator: torch.Generator) -> tuple[str, str]:
    """Return texts that begin alike and end in a longer passage, which begins with a space."""
    a, b, _, z, t, s = _passages(generator)
    return f"{a[:4]}{t()}{z} {b}", f"{a[:4]}{s()}{z} {s()}{b[0]}{s()} {b}"


def _all_of_it(generator: torch.Generator) -> tuple[str, str]:
    a, b, c, _, _, s = _passages(generator)
    return a + b + c, s() + a + b + c + s()


def _nothing(generator: torch.Generator, a=ALPHABET[:13], b=ALPHABET[13:]) -> tuple[str, str]:
    n_text, n_source = _whole(generator, 35, 45), _whole(generator, 50, 60)
    return _some(generator, a, n_text), _some(generator, b, n_source)


def _one_letter(generator: torch.Generator) -> tuple[str, ...]:
    """Return texts that share nothing but a letter, with which the source begins."""
    return tuple("z" + text for text in _nothing(generator))


def _by_chance(generator: torch.Generator) -> tuple[str, str]:
    return _nothing(generator, "abc ", "abc ")


longest_copy = Exercise(
    name="longest_copy",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=3,
    reference=_longest_copy,
    inputs=(*[_equally_long] * 3, _at_the_end, _all_of_it, _nothing, _one_letter, _by_chance),
    hint="Try all pieces, text[start : start + length], the longest first, and for each length from left "
    'to right. The first one that is `in source` is the answer; below both loops: "".',
)


def _pieces_of(text):
    return [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]


def _longest(pieces, source):
    return max((piece for piece in pieces if piece in source), key=len, default="")


@longest_copy.mistake("this is what both *begin* with. A copy may stand anywhere in either.")
def common_beginning(text, source):
    pairs = zip(text, source, strict=False)
    return "".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@longest_copy.mistake("only pieces from the start of `text` are tried. Try every start.")
def only_from_the_start(text, source):
    return _longest([text[:length] for length in range(1, len(text) + 1)], source)


@longest_copy.mistake("both are compared place by place. A copy may stand elsewhere: `in source`.")
def at_the_same_places(text, source):
    best = run = ""
    for a, b in zip(text, source, strict=False):
        run = run + a if a == b else ""
        best = max(best, run, key=len)
    return best


@longest_copy.mistake("it has gaps. The copy must stand in the source in *one* piece: `in source`.")
def with_gaps(text, source):
    row = [""] * (len(source) + 1)
    for a in text:
        new = [""]
        for i, b in enumerate(source):
            new.append(row[i] + a if a == b else max(row[i + 1], new[i], key=len))
        row = new
    return row[-1]


@longest_copy.mistake("this is the set of shared characters. A *piece* of the text is wanted.")
def shared_characters(text, source):
    return set(text) & set(source)


@longest_copy.mistake("this is one word. A copy may go on over spaces, and begin within a word.")
def one_word(text, source):
    return _longest(text.split(), source)


@longest_copy.mistake("this tries whole words only. A copy may begin and end within a word.")
def whole_words(text, source):
    words, n = text.split(), len(text.split())
    return _longest([" ".join(words[i:j]) for i in range(n) for j in range(i + 1, n + 1)], source)


@longest_copy.mistake("of equally long ones this comes *later* in the text. Is >= meant to be >?")
def last_of_equals(text, source):
    return _longest(_pieces_of(text)[::-1], source)


@longest_copy.mistake("of equally long ones this is the first in the *source*. Take the text's.")
def first_in_source(text, source):
    return _longest(_pieces_of(source), text)


@longest_copy.mistake("a piece at the end of `text` is missed: a range leaves its end out, + 1.")
def end_missed(text, source):
    return _longest(_pieces_of(text[:-1]), source)


@longest_copy.mistake("the whole text may stand in the source: begin with the length len(text).")
def whole_text_left_out(text, source):
    return _longest([piece for piece in _pieces_of(text) if piece != text], source)


@longest_copy.mistake("spaces at its ends are gone. They were copied, too: no strip().")
def stripped(text, source):
    return _longest_copy(text, source).strip()


@longest_copy.mistake("this is its length. The piece itself is wanted.")
def its_length(text, source):
    return len(_longest_copy(text, source))


@longest_copy.mistake("this is the *shortest* one. Try the long ones first, or go on to the end.")
def shortest(text, source):
    return next((character for character in text if character in source), "")


@longest_copy.mistake("this is the last one in the *alphabet*. `max` needs key=len.")
def last_in_the_alphabet(text, source):
    return max((piece for piece in _pieces_of(text) if piece in source), default="")


@longest_copy.mistake("this is the first copy, not the longest. Does `return` come too soon?")
def first_found(text, source):
    found = (only_from_the_start(text[i:], source) for i in range(len(text)))
    return next(filter(None, found), "")


@longest_copy.mistake("where a piece ends, a longer one may have begun in it. Try every start.")
def begins_anew_behind(text, source):
    best = run = ""
    for character in text:
        run = run + character if run + character in source else character
        if run in source and len(run) > len(best):
            best = run
    return best


@longest_copy.mistake("`find` and `index` tell the first place only. Ask for `piece in source`.")
def at_the_first_place_only(text, source):
    ends = [text[i:] for i in range(len(text)) if text[i] in source]
    found = [common_beginning(end, source[source.find(end[0]) :]) for end in ends]
    return max(found, key=len, default="")


@longest_copy.mistake('nothing is shared here: [0] of an empty list fails. Return "" then.')
def first_of_no_passages(text, source):
    return longest_passages(text, source, n=1)[0].text


# --- honest_loss --------------------------------------------------------------------------------------

Losses = dict[int, float]


def _honest_loss(val_losses: Losses, test_losses: Losses) -> float:
    return test_losses[min(val_losses, key=val_losses.get)]


def _key(losses, choose=min):
    return choose(losses, key=losses.get)


def _two_tables(generator: torch.Generator) -> tuple[Losses, Losses]:
    """Return losses of ten orders, so that each wrong way to choose one chooses another."""
    while True:
        losses = (1.5 + torch.randperm(800, generator=generator)[:20] / 1000).double()
        orders = [(1 + torch.randperm(10, generator=generator)).tolist() for _ in range(2)]
        val, test = (
            {order: round(loss, 3) for order, loss in zip(*pair, strict=True)}
            for pair in zip(orders, losses.view(2, 10).tolist(), strict=True)
        )
        place = orders[0].index(_key(val))
        chosen = {_key(val), _key(test), _key(val, max), 1, 10, orders[0][-1], place}
        if len(chosen | {orders[1][place]}) == 8 and place > 0:
            return val, test


honest_loss = Exercise(
    name="honest_loss",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_honest_loss,
    inputs=_two_tables,
    hint="`min` over a dictionary goes through its keys; key=val_losses.get compares them by their loss. "
    "With the order that it gives, look into test_losses.",
)


@honest_loss.mistake("the order is *chosen* on the test part, which only judges. Choose by val.")
def least_on_test(val_losses, test_losses):
    return min(test_losses.values())


@honest_loss.mistake("this is the loss that was chosen by. Take the same order's test loss.")
def least_on_validation(val_losses, test_losses):
    return min(val_losses.values())


@honest_loss.mistake("this is the order. Its loss on the test part is wanted: test_losses[order].")
def order_itself(val_losses, test_losses):
    return _key(val_losses)


@honest_loss.mistake("the two are swapped: choose by val_losses, and judge by test_losses.")
def roles_swapped(val_losses, test_losses):
    return val_losses[_key(test_losses)]


@honest_loss.mistake("this is the *worst* order on validation. A lower loss is better: min.")
def worst_on_validation(val_losses, test_losses):
    return test_losses[_key(val_losses, max)]


@honest_loss.mistake("min(val_losses) is the smallest *key*. Add key=val_losses.get.")
def smallest_order(val_losses, test_losses):
    return test_losses[min(val_losses)]


@honest_loss.mistake("this is the largest order. Longer histories are rarer: choose by val.")
def largest_order(val_losses, test_losses):
    return test_losses[max(val_losses)]


@honest_loss.mistake("this is the last order in the dictionary. Does each one overwrite the best?")
def last_order(val_losses, test_losses):
    return test_losses[list(val_losses)[-1]]


@honest_loss.mistake("the test losses are looked up with a *loss*. Their keys are the orders.")
def loss_for_key(val_losses, test_losses):
    return test_losses[min(val_losses.values())]


@honest_loss.mistake("this takes the *place* in the list for the order. Keep the key itself.")
def place_for_order(val_losses, test_losses):
    return test_losses[list(val_losses).index(_key(val_losses))]


@honest_loss.mistake("the orders may stand elsewhere in test_losses: look up by key, not by place.")
def at_the_same_place(val_losses, test_losses):
    return list(test_losses.values())[list(val_losses).index(_key(val_losses))]


@honest_loss.mistake("this is the mean of all. One order is chosen; its test loss is wanted.")
def mean_of_all(val_losses, test_losses):
    return sum(test_losses.values()) / len(test_losses)


@honest_loss.mistake("both are returned. The test loss alone is wanted.")
def order_and_loss(val_losses, test_losses):
    return _key(val_losses), _honest_loss(val_losses, test_losses)


# --- questions ----------------------------------------------------------------------------------------

what_it_recites = Question(
    name="what_it_recites",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "nothing is wrong, if its loss on the test part is low",
            "That loss tells how well it guesses what it has not seen, and not what it has by heart.",
        ),
        "b": (
            "60 characters among thousands are chance",
            "What chance and your usual phrases give, the test part shows: 22. This is far beyond.",
        ),
        "c": (
            "at a higher temperature it may be given away: it can no longer write the passage then",
            "Then it writes it less often. It is in the weights still, and who has them sets the dial.",
        ),
        "d": (
            "it has passages by heart, and would give them away: keep it, or train on less private text, "
            "stop earlier, and look again",
            "What it writes, others read. A short text read many times makes it worse. And to find "
            "nothing is no proof: sure is only that it cannot recite what it was never given.",
        ),
    },
    right="d",
    hint="How long a passage would two texts of yours share, if none had been learned from the other?",
)

EXERCISES = [three_parts, per_character, longest_copy, honest_loss, what_it_recites]
