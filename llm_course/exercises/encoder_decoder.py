"""Exercises of notebook 14: two texts, padding, and the likeliest translation."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "14_encoder_decoder"

# --- padding_mask -------------------------------------------------------------------------------------


def _padding_mask(source: Int[Tensor, "B S"], padding: int) -> Bool[Tensor, "B 1 1 S"]:
    return (source == padding)[:, None, None, :]


def _sources(generator: torch.Generator) -> tuple[Tensor, int]:
    """Return rows of different lengths; what fills them up is larger than some tokens, and not 0."""
    B, S = sizes(generator, (3, 4), (7, 9))
    padding = int(torch.randint(2, 6, (), generator=generator))
    source = torch.randint(0, 12, (B, S), generator=generator)
    source[source == padding] = 12
    source[:, 0], source[0, 1] = 0, 11
    for b in range(1, B):
        source[b, S - b - 1 :] = padding
    return source, padding


padding_mask = Exercise(
    name="padding_mask",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_padding_mask,
    inputs=_sources,
    hint="source == padding has the shape (B, S). Indexing with None puts in a dimension of size 1.",
)


@padding_mask.mistake(
    "it is the wrong way round: True is where nobody may look, and that is padding."
)
def text_hidden(source, padding):
    return ~_padding_mask(source, padding)


@padding_mask.mistake(
    "the shape is (B, S). Scores have the shape (B, H, T, S): put in two dimensions of size 1 between."
)
def without_heads(source, padding):
    return source == padding


@padding_mask.mistake(
    "the shape is (B, 1, S): the mask would be taken for one of H, T and S, the batch for heads. Two "
    "dimensions of size 1 are missing, and only one is there."
)
def one_dimension_short(source, padding):
    return (source == padding)[:, None, :]


@padding_mask.mistake(
    "this hides *rows*: padding may not look. It is the columns, those looked at, that must be hidden."
)
def rows_hidden(source, padding):
    return (source == padding)[:, None, :, None]


@padding_mask.mistake(
    "token 0 is hidden, whatever the padding is. Compare with the argument `padding`."
)
def zero_hidden(source, padding):
    return (source == 0)[:, None, None, :]


@padding_mask.mistake(
    "all tokens from the padding's number on are hidden. Only those equal to it are padding: ==."
)
def larger_hidden(source, padding):
    return (source >= padding)[:, None, None, :]


@padding_mask.mistake(
    "this is 0 and −∞, to be added to the scores. Wanted is a mask of True and False, for masked_fill."
)
def to_be_added(source, padding):
    hidden = _padding_mask(source, padding)
    return torch.zeros(hidden.shape).masked_fill(hidden, -math.inf)


@padding_mask.mistake("one mask serves the whole batch. Each row has a padding of its own.")
def one_for_all(source, padding):
    hidden = (source == padding).any(dim=0, keepdim=True).expand(source.shape)
    return hidden[:, None, None, :]


@padding_mask.mistake(
    "a square of S × S is made, which fits only where a text looks at itself. A 1 in place of the first "
    "S fits everywhere."
)
def square(source, padding):
    S = source.shape[1]
    return (source == padding)[:, None, None, :].expand(-1, 1, S, S)


# --- to_read_and_say ----------------------------------------------------------------------------------


def _to_read_and_say(
    target: list[int], length: int, start: int, end: int, padding: int
) -> tuple[list[int], list[int]]:
    row = [start, *target, end] + [padding] * (length - len(target) - 1)
    return row[:-1], row[1:]


def _targets(generator: torch.Generator) -> tuple[list[int], int, int, int, int]:
    n, more = sizes(generator, (4, 7), (2, 3))
    target = torch.randint(5, 30, (n,), generator=generator).tolist()
    start, end, padding = torch.randperm(5, generator=generator)[:3].tolist()
    return target, n + 1 + more, start, end, padding


to_read_and_say = Exercise(
    name="to_read_and_say",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_to_read_and_say,
    inputs=_targets,
    hint="Make one row of length + 1 tokens: start, target, end, padding. Then [:-1] and [1:] of it.",
)


@to_read_and_say.mistake(
    "both rows are the same: what the decoder must say, it can read at the same place. Without the shift "
    "it learns to copy."
)
def not_shifted(target, length, start, end, padding):
    fill = [padding] * (length - len(target) - 2)
    both = [start, *target, end, *fill]
    return both, both


@to_read_and_say.mistake("the two are swapped: first what is read, then what is to be said.")
def swapped(target, length, start, end, padding):
    return _to_read_and_say(target, length, start, end, padding)[::-1]


@to_read_and_say.mistake("no end token is to be said: the model never learns when it is done.")
def never_ending(target, length, start, end, padding):
    row = [start, *target] + [padding] * (length - len(target))
    return row[:-1], row[1:]


@to_read_and_say.mistake(
    "the end token stands behind the padding, as the last of the row. It belongs behind the text."
)
def end_after_padding(target, length, start, end, padding):
    row = [start, *target] + [padding] * (length - len(target) - 1) + [end]
    return row[:-1], row[1:]


@to_read_and_say.mistake("the padding stands before the text. It fills up what is behind it.")
def padded_before(target, length, start, end, padding):
    row = [padding] * (length - len(target) - 1) + [start, *target, end]
    return row[:-1], row[1:]


@to_read_and_say.mistake("start and end are swapped.")
def tokens_swapped(target, length, start, end, padding):
    return _to_read_and_say(target, length, end, start, padding)


@to_read_and_say.mistake("the rows end with the text. Fill them up to `length` with padding.")
def without_padding(target, length, start, end, padding):
    row = [start, *target, end]
    return row[:-1], row[1:]


@to_read_and_say.mistake("the rows are one too short: what they are cut from has length + 1.")
def one_too_short(target, length, start, end, padding):
    return _to_read_and_say(target, length - 1, start, end, padding)


@to_read_and_say.mistake("the rows are one token too long. Each of the two has `length` tokens.")
def one_too_long(target, length, start, end, padding):
    return _to_read_and_say(target, length + 1, start, end, padding)


@to_read_and_say.mistake(
    "the start token is to be said, too. It is given, and nobody asks for it: say begins with the text."
)
def start_to_be_said(target, length, start, end, padding):
    fill = [padding] * (length - len(target) - 2)
    whole = [start, *target, end, *fill]
    return [padding, *whole[:-1]], whole


@to_read_and_say.mistake(
    "the end is not read here: padding stands in its place. It would do no harm, since nothing is to be "
    "said there; but take both from the same row, once without its last token, once without its first."
)
def end_not_read(target, length, start, end, padding):
    read, say = _to_read_and_say(target, length, start, end, padding)
    read[len(target) + 1] = padding
    return read, say


# --- cross_attend -------------------------------------------------------------------------------------


def _cross_attend(
    x: Float[Tensor, "B T C"],
    memory: Float[Tensor, "B S C"],
    hidden: Bool[Tensor, "B 1 S"],
    w_q: Float[Tensor, "C D"],
    w_k: Float[Tensor, "C D"],
    w_v: Float[Tensor, "C D"],
) -> Float[Tensor, "B T D"]:
    q, k, v = x @ w_q, memory @ w_k, memory @ w_v
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(hidden, -math.inf).softmax(dim=-1) @ v


def _two_texts(generator: torch.Generator) -> tuple[Tensor, ...]:
    B, T, S, C, D = sizes(generator, (2, 3), (4, 5), (6, 8), (9, 10), (11, 13))
    hidden = torch.zeros(B, 1, S, dtype=torch.bool)
    for b in range(B):
        hidden[b, :, S - b - 1 :] = True
    weights = (floats(generator, C, D) / 2 for _ in range(3))
    return floats(generator, B, T, C), floats(generator, B, S, C), hidden, *weights


cross_attend = Exercise(
    name="cross_attend",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_cross_attend,
    inputs=_two_texts,
    hint="Notebook 03's head, but keys and values are made from memory. Who is asked, and who answers?",
)


def _attend(q, k, v, hidden, scale=None, dim=-1):
    scale = math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.transpose(-2, -1) / scale
    return scores.masked_fill(hidden, -math.inf).softmax(dim=dim) @ v


@cross_attend.mistake(
    "the two texts are swapped: here the source asks and the target answers. The queries come from x."
)
def source_asks(x, memory, hidden, w_q, w_k, w_v):
    return (memory @ w_q @ (x @ w_k).mT / math.sqrt(w_q.shape[1])).softmax(dim=-1) @ (x @ w_v)


@cross_attend.mistake(
    "this is self-attention: x looks at x, and the other text is not used. Keys and values come from "
    "memory."
)
def looks_at_itself(x, memory, hidden, w_q, w_k, w_v):
    return (x @ w_q @ (x @ w_k).mT / math.sqrt(w_q.shape[1])).softmax(dim=-1) @ (x @ w_v)


@cross_attend.mistake(
    "the source's mask does not fit keys made from x. Queries come from x, keys and values from memory."
)
def looks_at_itself_masked(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, x @ w_k, x @ w_v, hidden)


@cross_attend.mistake(
    "the weights belong to S places of memory, and the values are made from x, which has T. Who was "
    "looked at hands over the values."
)
def values_of_x(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, x @ w_v, hidden)


@cross_attend.mistake("the mask is not used: padding is looked at.")
def without_mask(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, torch.zeros_like(hidden))


@cross_attend.mistake("the mask is the wrong way round: all but the padding is hidden.")
def mask_inverted(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, ~hidden)


@cross_attend.mistake(
    "padding gets a weight of 0 *after* the softmax, so that rows sum to less than 1. Hide it before."
)
def mask_after_softmax(x, memory, hidden, w_q, w_k, w_v):
    weights = (x @ w_q @ (memory @ w_k).mT / math.sqrt(w_q.shape[1])).softmax(dim=-1)
    return weights.masked_fill(hidden, 0) @ (memory @ w_v)


@cross_attend.mistake(
    "padding gets a score of 0, which is a score like others: the softmax gives it weight. Use −inf."
)
def score_of_zero(x, memory, hidden, w_q, w_k, w_v):
    scores = x @ w_q @ (memory @ w_k).mT / math.sqrt(w_q.shape[1])
    return scores.masked_fill(hidden, 0).softmax(dim=-1) @ (memory @ w_v)


@cross_attend.mistake("the scores are not divided by √D.")
def unscaled(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, hidden, scale=1)


@cross_attend.mistake("the scores are divided by √C. It is the head's width D that counts.")
def scaled_by_c(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, hidden, scale=math.sqrt(x.shape[-1]))


@cross_attend.mistake("the scores are divided by D, and not by its root.")
def scaled_by_d(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, hidden, scale=w_q.shape[1])


@cross_attend.mistake(
    "all is nan. Either the softmax runs over those who ask (dim=-2), and not over the source's places; or "
    "what is hidden is inf or 0 · inf, and not masked_fill(hidden, -math.inf)."
)
def softmax_over_queries(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, hidden, dim=-2)


@cross_attend.mistake(
    "the source's later places are hidden, as the future is in a decoder. The source is there as a whole."
)
def future_hidden(x, memory, hidden, w_q, w_k, w_v):
    later = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).triu(1)
    return _attend(x @ w_q, memory @ w_k, memory @ w_v, hidden | later)


@cross_attend.mistake("`.T` turns round all three dimensions. Swap two: transpose(-2, -1).")
def all_dimensions_turned(x, memory, hidden, w_q, w_k, w_v):
    return x @ w_q @ (memory @ w_k).permute(2, 1, 0)


@cross_attend.mistake("the keys serve as values. Values have a matrix of their own, w_v.")
def keys_as_values(x, memory, hidden, w_q, w_k, w_v):
    return _attend(x @ w_q, memory @ w_k, memory @ w_k, hidden)


# --- beam_step ----------------------------------------------------------------------------------------


def _beam_step(
    written: Int[Tensor, "K T"], scores: Float[Tensor, " K"], log_probs: Float[Tensor, "K V"]
) -> tuple[Int[Tensor, "K T_and_1"], Float[Tensor, " K"]]:
    K, V = log_probs.shape
    best, chosen = (scores[:, None] + log_probs).flatten().topk(K)
    beam, token = chosen // V, chosen % V
    return torch.cat([written[beam], token[:, None]], dim=1), best


def _beams(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return beams of which the second goes on best, twice; the later ones go on better than the first.

    Yet they fell so far behind that they are out.
    """
    K, T, V = sizes(generator, (3, 4), (5, 6), (9, 12))
    written = torch.randint(1, V, (K, T), generator=generator)
    written[:, -1] = torch.randperm(V, generator=generator)[:K]

    def near(*numbers: float) -> Tensor:
        return torch.tensor(numbers) + 0.04 * torch.rand(len(numbers), generator=generator)

    scores = near(-1.0, -1.5, *(-2.5 - 0.1 * k for k in range(K - 2)))
    log_probs = -4 - 2 * torch.rand(K, V, generator=generator)
    for k in range(K):
        best, second = (torch.randperm(V - 1, generator=generator)[:2] + 1).tolist()
        if k == 1:  # so that the order in the table is not the reverse of the right one
            best, second = sorted((best, second))
        chances = {0: (-1.2, -1.3), 1: (-0.3, -0.6)}.get(k, (-0.9, -1.0))
        log_probs[k, [best, second]] = near(*chances)
    return written, scores, log_probs


beam_step = Exercise(
    name="beam_step",
    notebook=NOTEBOOK,
    minutes=15,
    difficulty=3,
    reference=_beam_step,
    inputs=_beams,
    hint="Add: a (K, V) table of candidates. Flatten it, topk(K), and get beam and token back by // and %.",
)


@beam_step.mistake(
    "each beam goes on by its own best token: K greedy searches. The K best of *all* candidates stay, and "
    "two may come from one beam."
)
def each_for_itself(written, scores, log_probs):
    best, token = log_probs.max(dim=1)
    return torch.cat([written, token[:, None]], dim=1), scores + best


@beam_step.mistake(
    "the beams' scores so far are forgotten: only the next token counts. Add them before topk."
)
def without_the_past(written, scores, log_probs):
    return _beam_step(written, torch.zeros_like(scores), log_probs)


@beam_step.mistake(
    "the right candidates are found, and the scores returned are those of the last token alone."
)
def scores_of_the_token(written, scores, log_probs):
    longer, best = _beam_step(written, scores, log_probs)
    beam = (scores[:, None] + log_probs).flatten().topk(len(scores)).indices // log_probs.shape[1]
    return longer, best - scores[beam]


@beam_step.mistake(
    "the tokens are right, and are put behind the wrong beams: take written[beam], since a beam may go on "
    "twice, or not at all."
)
def own_past_kept(written, scores, log_probs):
    longer, best = _beam_step(written, scores, log_probs)
    return torch.cat([written, longer[:, -1:]], dim=1), best


@beam_step.mistake(
    "beam and token are swapped: in a flattened (K, V) table the row is place // V, the column place % V."
)
def swapped_division(written, scores, log_probs):
    K, V = log_probs.shape
    best, chosen = (scores[:, None] + log_probs).flatten().topk(K)
    beam, token = chosen % V % K, chosen // V
    return torch.cat([written[beam], token[:, None]], dim=1), best


@beam_step.mistake(
    "the division is by K. Each row of the (K, V) table has V entries: // V and % V."
)
def divided_by_k(written, scores, log_probs):
    K = len(scores)
    best, chosen = (scores[:, None] + log_probs).flatten().topk(K)
    beam, token = (chosen // K).clamp(max=K - 1), chosen % K
    return torch.cat([written[beam], token[:, None]], dim=1), best


@beam_step.mistake("these are the K *least* likely ones.")
def worst_kept(written, scores, log_probs):
    K, V = log_probs.shape
    best, chosen = (scores[:, None] + log_probs).flatten().topk(K, largest=False)
    return torch.cat([written[chosen // V], (chosen % V)[:, None]], dim=1), best


@beam_step.mistake(
    "the log-probabilities are multiplied. Probabilities multiply, and so their logarithms add up."
)
def multiplied(written, scores, log_probs):
    K, V = log_probs.shape
    best, chosen = (scores[:, None] * log_probs).flatten().topk(K)
    return torch.cat([written[chosen // V], (chosen % V)[:, None]], dim=1), best


@beam_step.mistake("the right ones, in the wrong order: the likeliest comes first.")
def likeliest_last(written, scores, log_probs):
    longer, best = _beam_step(written, scores, log_probs)
    return longer.flip(0), best.flip(0)


@beam_step.mistake(
    "the right ones, in the order of their places in the table. Put the likeliest first: topk sorts them."
)
def unsorted(written, scores, log_probs):
    K, V = log_probs.shape
    candidates = (scores[:, None] + log_probs).flatten()
    chosen = candidates.topk(K).indices.sort().values
    return torch.cat([written[chosen // V], (chosen % V)[:, None]], dim=1), candidates[chosen]


@beam_step.mistake(
    "the texts are right, and their scores are probabilities, multiplied. A score is a logarithm: add them."
)
def probabilities_multiplied(written, scores, log_probs):
    longer, best = _beam_step(written, scores, log_probs)
    return longer, best.exp()


@beam_step.mistake(
    "only the first beam goes on. Its score is the best so far, but another may overtake it: compare the "
    "candidates of all."
)
def first_beam_only(written, scores, log_probs):
    best, token = (scores[0] + log_probs[0]).topk(len(scores))
    return torch.cat([written[:1].expand(len(scores), -1), token[:, None]], dim=1), best


@beam_step.mistake(
    "log-probabilities and probabilities are mixed: what is added to a score must be a logarithm, too."
)
def probabilities_added(written, scores, log_probs):
    return _beam_step(written, scores, log_probs.exp())


@beam_step.mistake(
    "the scores are divided by the length. That is another search, with length normalisation; here a "
    "score is the plain sum."
)
def normalised(written, scores, log_probs):
    longer, best = _beam_step(written, scores, log_probs)
    return longer, best / longer.shape[1]


# --- questions ----------------------------------------------------------------------------------------

whole_phrases = Question(
    name="whole_phrases",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "about 95 %: e to the −0.05",
            "That is the chance of *one* character. A translation is right when all 14 are.",
        ),
        "b": (
            "about 50 %: e to the −0.05 · 14",
            "The chance of a text is the product over its characters, and e^−0.7 is about one half. (Were "
            "0.05 only a *mean* over many phrases, more could be right: errors crowd in the hard ones.)",
        ),
        "c": (
            "about 0.3 %: 0.05 · 14 = 0.7, and 0.7 / 256 is left",
            "Nothing is divided by 256 here. The losses of 14 characters add up, to 0.7 nats; and nats "
            "become a chance by e to the minus.",
        ),
        "d": (
            "it cannot be said: a loss says nothing about whole texts",
            "It can, since the loss of *each* character is given: it is minus the log-probability, and "
            "those of a text's characters add up to that of the text.",
        ),
    },
    right="b",
    hint="What is the chance that 14 characters, each with a loss of 0.05, are all right?",
)

EXERCISES = [padding_mask, to_read_and_say, cross_attend, beam_step, whole_phrases]
