"""Exercises of notebook 13: masks of local attention, its blocks, shared keys, and the size of a cache."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "13_attention_variants"

# --- sliding_mask -------------------------------------------------------------------------------------


def _sliding_mask(T: int, window: int) -> Bool[Tensor, "T T"]:
    places = torch.arange(T)
    back = places[:, None] - places  # how far back each column lies from each row
    return (back < 0) | (back >= window)


def _back(T: int) -> Int[Tensor, "T T"]:
    return torch.arange(T)[:, None] - torch.arange(T)


def _text_and_window(generator: torch.Generator) -> tuple[int, int]:
    return tuple(sizes(generator, (10, 15), (3, 5)))


def _wide_window(generator: torch.Generator) -> tuple[int, int]:
    """Return a window in which all of the text fits."""
    T, more = sizes(generator, (5, 9), (0, 4))
    return T, T + more


sliding_mask = Exercise(
    name="sliding_mask",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_sliding_mask,
    inputs=(_text_and_window, _wide_window),
    hint="How far back does each column lie from each row? places[:, None] − places, with places = "
    "torch.arange(T). Hidden is what lies less than 0 back, or `window` and more: two comparisons, and | "
    "between them.",
)


@sliding_mask.mistake(
    "each place sees one too many: itself and `window` more. The place itself is one of the `window`."
)
def one_too_wide(T, window):
    return _sliding_mask(T, window + 1)


@sliding_mask.mistake(
    "each place sees one too few. It sees itself and window − 1 before it, so what lies exactly "
    "window − 1 back is not hidden."
)
def one_too_narrow(T, window):
    return _sliding_mask(T, window - 1)


@sliding_mask.mistake("what is far back is hidden, but not what lies ahead: the future is visible.")
def future_visible(T, window):
    return _back(T) >= window


@sliding_mask.mistake(
    "only what lies ahead is hidden: this is the mask of the notebooks before. What lies `window` back and "
    "more must be hidden, too."
)
def window_ignored(T, window):
    return _back(T) < 0


@sliding_mask.mistake(
    "each place sees to both sides. It must see back, and never ahead: do not take the absolute value."
)
def both_sides(T, window):
    return _back(T).abs() >= window


@sliding_mask.mistake(
    "rows and columns are swapped: each place sees itself and what lies *ahead*. The row looks, the "
    "column is looked at."
)
def rows_and_columns_swapped(T, window):
    return _sliding_mask(T, window).T


@sliding_mask.mistake("True stands where a place *may* look. It must be True where it must not.")
def true_where_it_may_look(T, window):
    return ~_sliding_mask(T, window)


@sliding_mask.mistake(
    "two things: True stands where a place *may* look, and it may look at one too many. Turn it round "
    "with ~, and count the place itself among the `window`."
)
def may_look_and_too_wide(T, window):
    return ~_sliding_mask(T, window + 1)


@sliding_mask.mistake(
    "the text is cut into blocks here, and the first place of a block sees itself alone. The window "
    "slides: *every* place sees the window − 1 before it."
)
def cut_into_blocks(T, window):
    block = torch.arange(T) // window
    return (block[:, None] != block) | (_back(T) < 0)


@sliding_mask.mistake(
    "each place sees every `window`-th place. That is a stride. It should see its nearest ones."
)
def every_nth(T, window):
    return (_back(T) < 0) | (_back(T) % window != 0)


@sliding_mask.mistake("no place sees itself. The place itself belongs to its window.")
def itself_hidden(T, window):
    return (_back(T) <= 0) | (_back(T) >= window)


@sliding_mask.mistake(
    "each place sees the `window` places *before* it, and not itself. It counts as one of them."
)
def window_before_itself(T, window):
    return (_back(T) <= 0) | (_back(T) > window)


@sliding_mask.mistake(
    "in the first rows everything is hidden: where a slice begins below 0, Python counts from the end. "
    "Begin at max(0, …)."
)
def begins_below_zero(T, window):
    mask = torch.ones(T, T, dtype=torch.bool)
    for t in range(T):
        mask[t, t - window + 1 : t + 1] = False
    return mask


@sliding_mask.mistake(
    "nothing is hidden: & asks for both at once, ahead *and* far back. Either of them hides: |."
)
def nothing_hidden(T, window):
    return torch.zeros(T, T, dtype=torch.bool)


@sliding_mask.mistake(
    "everything is hidden. Have a look at each of the two parts by itself: in tril(n), a diagonal n below "
    "the main one is −n."
)
def everything_hidden(T, window):
    return torch.ones(T, T, dtype=torch.bool)


@sliding_mask.mistake(
    "the right places, but as numbers. A mask holds True and False: compare numbers, or end with .bool()."
)
def as_numbers(T, window):
    return _sliding_mask(T, window).float()


@sliding_mask.mistake(
    "these are numbers, and 1 stands where a place *may* look. A mask holds True and False, and True "
    "where it must not look: == 0 gives both."
)
def numbers_where_it_may_look(T, window):
    return 1 - as_numbers(T, window)


@sliding_mask.mistake(
    "`if`, `or`, `and`, `not` and 0 <= a < b ask for a single truth, and a tensor has many. Write |, & or "
    "~, and each comparison in parentheses: (… < 0) | (… >= window)."
)
def with_or(T, window):
    return _back(T) < 0 or _back(T) >= window


# --- share_keys ---------------------------------------------------------------------------------------


def _share_keys(k: Float[Tensor, "B G T D"], n_head: int) -> Float[Tensor, "B n_head T D"]:
    return k.repeat_interleave(n_head // k.shape[1], dim=1)


def _keys(generator: torch.Generator, each: int) -> tuple[Tensor, int]:
    B, G, T, D = sizes(
        generator, (2, 3), (4, 6), (6, 7), (21, 25)
    )  # `each` is below G, n_head below D
    return floats(generator, B, G, T, D), G * each


share_keys = Exercise(
    name="share_keys",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_share_keys,
    inputs=(lambda g: _keys(g, each=3), lambda g: _keys(g, each=2)),
    hint="How many heads of queries share one head of keys? n_head // G, with G = k.shape[1]. "
    "repeat_interleave repeats each one so often, right behind itself, along dim=1.",
)


@share_keys.mistake(
    "the heads come in turns, 0 1 0 1. Those that share must be neighbours: 0 0 1 1. repeat (or cat) puts "
    "the whole again behind itself, repeat_interleave puts each behind itself."
)
def in_turns(k, n_head):
    return k.repeat(1, n_head // k.shape[1], 1, 1)


@share_keys.mistake(
    "the *places* are repeated, and then cut into heads: a head holds a part of the text, each place "
    "several times. Repeat along dim=1."
)
def places_repeated(k, n_head):
    B, G, T, D = k.shape
    return k.repeat_interleave(n_head // G, dim=2).reshape(B, n_head, T, D)


@share_keys.mistake(
    "the *texts* are repeated, and then cut into heads, so that a text gets keys of another. Repeat along "
    "dim=1."
)
def texts_repeated(k, n_head):
    B, G, T, D = k.shape
    return k.repeat(n_head // G, 1, 1, 1).reshape(B, n_head, T, D)


@share_keys.mistake(
    "all shape is lost: without dim, repeat_interleave makes one long row of everything. dim=1."
)
def without_dim(k, n_head):
    return k.repeat_interleave(n_head // k.shape[1])


@share_keys.mistake(
    "each head is repeated n_head times, which makes n_head · G. In all there must be n_head: repeat "
    "n_head // G times."
)
def each_n_head_times(k, n_head):
    return k.repeat_interleave(n_head, dim=1)


@share_keys.mistake(
    "the first head of keys goes to *all* heads of queries. That is right for G = 1 alone: each group has "
    "its own."
)
def first_head_only(k, n_head):
    return k[:, :1].expand(-1, n_head, -1, -1)


@share_keys.mistake("the heads are averaged. They stay as they are: each is repeated.")
def mean_over_heads(k, n_head):
    return k.mean(dim=1, keepdim=True).expand(-1, n_head, -1, -1)


@share_keys.mistake(
    "query head h gets the keys h // G. G is the number of groups, and not how many share: divide by "
    "n_head // G."
)
def head_divided_by_G(k, n_head):
    return k[:, torch.arange(n_head) // k.shape[1]]


@share_keys.mistake(
    "`/` gives a decimal number even where nothing is left over, and one can't repeat 2.0 times: //."
)
def divided_with_one_slash(k, n_head):
    return k.repeat_interleave(n_head / k.shape[1], dim=1)


@share_keys.mistake(
    "`expand` can only stretch a dimension of size 1, and here are G heads. repeat_interleave repeats."
)
def only_expanded(k, n_head):
    return k.expand(k.shape[0], n_head, *k.shape[2:])


# --- cache_bytes --------------------------------------------------------------------------------------


def _cache_bytes(
    n_layer: int, n_kv_head: int, head_size: int, n_places: int, bytes_per_number: int
) -> int:
    numbers_a_place = 2 * n_layer * n_kv_head * head_size  # 2: keys and values
    return numbers_a_place * n_places * bytes_per_number


def _sizes_of_a_cache(generator: torch.Generator) -> tuple[int, int, int, int]:
    return tuple(sizes(generator, (11, 40), (5, 9), (50, 128), (500, 4000)))


def _in_four_bytes(generator: torch.Generator) -> tuple[int, int, int, int, int]:
    return *_sizes_of_a_cache(generator), 4  # with 2, it is taken for keys and values


def _in_one_byte(generator: torch.Generator) -> tuple[int, int, int, int, int]:
    return *_sizes_of_a_cache(generator), 1


cache_bytes = Exercise(
    name="cache_bytes",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=1,
    reference=_cache_bytes,
    inputs=(_in_four_bytes, _in_one_byte),
    hint="At each place, each layer keeps keys and values of each head: n_kv_head · head_size numbers, "
    "twice. Each number takes bytes_per_number.",
)


@cache_bytes.mistake("keys *and* values are kept: twice as much.")
def keys_alone(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, n_places, bytes_per_number) // 2


@cache_bytes.mistake("queries are counted, too. They are used once, and not kept: 2, and not 3.")
def queries_too(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, n_places, bytes_per_number) // 2 * 3


@cache_bytes.mistake("this is a single layer's cache. Each of the n_layer layers keeps its own.")
def one_layer(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(1, n_kv_head, head_size, n_places, bytes_per_number)


@cache_bytes.mistake("this is what *one* place takes. All n_places are kept.")
def one_place(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, 1, bytes_per_number)


@cache_bytes.mistake(
    "the heads of keys are missing. head_size belongs to a single head: multiply by n_kv_head, and do not "
    "divide."
)
def one_head(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, 1, head_size, n_places, bytes_per_number)


@cache_bytes.mistake("this divides by n_kv_head. More heads take *more* room: multiply.")
def divided_by_heads(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return 2 * n_layer * head_size * n_places * bytes_per_number / n_kv_head


@cache_bytes.mistake("a key is more than one number: head_size of them.")
def one_number_a_key(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, 1, n_places, bytes_per_number)


@cache_bytes.mistake(
    "the places are squared. That is the number of scores, which are not kept. Each place keeps a key and "
    "a value once."
)
def places_squared(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, n_places**2, bytes_per_number)


@cache_bytes.mistake("these are *numbers*. Each takes bytes_per_number bytes: multiply.")
def numbers_not_bytes(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, n_places, 1)


@cache_bytes.mistake("these are bits, 8 a byte. Bytes are wanted: without the 8.")
def in_bits(n_layer, n_kv_head, head_size, n_places, bytes_per_number):
    return _cache_bytes(n_layer, n_kv_head, head_size, n_places, 8 * bytes_per_number)


# --- blocks -------------------------------------------------------------------------------------------


def _blocks(x: Float[Tensor, "B H T D"], window: int) -> Float[Tensor, "B H n two_windows D"]:
    own = x.unflatten(2, (-1, window))
    none = torch.zeros_like(own[:, :, :1])
    before = torch.cat([none, own[:, :, :-1]], dim=2)
    return torch.cat([before, own], dim=3)


def _own(x, window):
    return x.unflatten(2, (-1, window))


def _after(own):
    return torch.cat([own[:, :, 1:], torch.zeros_like(own[:, :, :1])], dim=2)


def _before(own):
    return torch.cat([torch.zeros_like(own[:, :, :1]), own[:, :, :-1]], dim=2)


def _unfolded(x, padding, size, step):
    return F.pad(x, padding).unfold(2, size, step).transpose(-2, -1)


def _keys_in_blocks(generator: torch.Generator) -> tuple[Tensor, int]:
    B, H, n, window, D = sizes(generator, (2, 3), (2, 4), (4, 6), (3, 6), (7, 11))
    return floats(generator, B, H, n * window, D), window


blocks = Exercise(
    name="blocks",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_blocks,
    inputs=_keys_in_blocks,
    hint="x.unflatten(2, (-1, window)) cuts the text into blocks, numbered by dimension 2. The blocks "
    "before are the same, one further: a block of zeros, then all but the last (torch.cat, dim=2). Then "
    "join both along the places of a block, dim=3.",
)


@blocks.mistake("each block's own places come first. Put the block *before* in front of them.")
def own_first(x, window):
    return torch.cat([_own(x, window), _before(_own(x, window))], dim=3)


@blocks.mistake(
    "the own block is followed by the one *after* it, which is the future. Put the zeros before the text "
    "and not behind it."
)
def own_and_after(x, window):
    return torch.cat([_own(x, window), _after(_own(x, window))], dim=3)


@blocks.mistake(
    "these are the block *after* and the own. Zeros come first, then all blocks but the last one."
)
def after_and_own(x, window):
    return torch.cat([_after(_own(x, window)), _own(x, window)], dim=3)


@blocks.mistake(
    "the first block meets the *last* one: roll brings round what falls off at the end. Zeros belong "
    "there."
)
def rolled(x, window):
    return torch.cat([_own(x, window).roll(1, dims=2), _own(x, window)], dim=3)


@blocks.mistake(
    "each block meets the one *after* it, and the last meets the first. Move the blocks the other way, "
    "and put zeros first."
)
def rolled_the_other_way(x, window):
    return torch.cat([_own(x, window).roll(-1, dims=2), _own(x, window)], dim=3)


@blocks.mistake(
    "the shifted text and the text are joined, and cut afterwards, so that most pieces are not where they "
    "belong. Cut both into blocks first, then join them along dim=3."
)
def joined_before_cutting(x, window):
    shifted = F.pad(x, (0, 0, window, 0))[:, :, :-window]
    return _own(torch.cat([shifted, x], dim=2), 2 * window)


@blocks.mistake("each block stands there twice. The first half is the block *before*.")
def own_twice(x, window):
    return torch.cat([_own(x, window), _own(x, window)], dim=3)


@blocks.mistake("the first block meets itself twice. Nothing is before it: zeros.")
def first_block_twice(x, window):
    own = _own(x, window)
    return torch.cat([torch.cat([own[:, :, :1], own[:, :, :-1]], dim=2), own], dim=3)


@blocks.mistake("each block comes alone. Join it with the one before: 2 · window places.")
def own_alone(x, window):
    return _own(x, window)


@blocks.mistake("unfold puts the places *last*. Swap the last two dimensions: .transpose(-2, -1).")
def not_transposed(x, window):
    return _unfolded(x, (0, 0, window, 0), 2 * window, window).transpose(-2, -1)


@blocks.mistake(
    "the shape is right, but numbers of different places are mixed: after unfold, reshape cuts anew, "
    "where dimensions must be swapped: .transpose(-2, -1)."
)
def reshaped(x, window):
    return not_transposed(x, window).reshape(_blocks(x, window).shape)


@blocks.mistake(
    "the first block is missing. Zeros stand before it; with unfold, F.pad(x, (0, 0, window, 0)) first."
)
def without_zeros(x, window):
    return _unfolded(x, (0, 0, 0, 0), 2 * window, window)


@blocks.mistake(
    "the pieces do not overlap. Each is 2 · window long, but the step must be `window`."
)
def without_overlap(x, window):
    return _unfolded(x, (0, 0, window, 0), 2 * window, 2 * window)


@blocks.mistake("joined along the blocks (dim=2). Join along the places in a block: dim=3.")
def joined_along_blocks(x, window):
    return torch.cat([_before(_own(x, window)), _own(x, window)], dim=2)


@blocks.mistake(
    "`window` is the *length* of a block, and not their number: it comes last, (-1, window)."
)
def window_blocks(x, window):
    own = x.unflatten(2, (window, -1))
    return torch.cat([_before(own), own], dim=3)


# --- questions ----------------------------------------------------------------------------------------

why_fewer_keys = Question(
    name="why_fewer_keys",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "the scores: there are fewer of them to compute",
            "Each of the 64 query heads still meets every place: there are as many scores as before.",
        ),
        "b": (
            "reading the cache, which is an eighth as large",
            "Each new token reads all kept keys and values from memory and computes little with each "
            "number, so that reading takes the time. Now eight heads of queries share what is read.",
        ),
        "c": (
            "the softmax: each place looks at an eighth of the places",
            "A window would do that. Here the *heads* of keys are fewer, and every place is still seen.",
        ),
        "d": (
            "the layers: the model has an eighth of the weights",
            "Only the layers that make keys and values shrink. Most weights are in the others.",
        ),
    },
    right="b",
    hint="What must be fetched from memory for each new token, and how often is each number of it used?",
)

EXERCISES = [sliding_mask, share_keys, cache_bytes, blocks, why_fewer_keys]
