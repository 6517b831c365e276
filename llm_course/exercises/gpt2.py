"""Exercises of notebook 15: GELU, names and matrices of files, and a table that is used twice."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llm_course.exercises.exercise import Draw, Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "15_gpt2"

# --- gelu ---------------------------------------------------------------------------------------------


def _gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + torch.tanh(inner))


def _numbers(generator: torch.Generator) -> tuple[Tensor]:
    T, C = sizes(generator, (5, 8), (11, 16))
    return (1.5 * floats(generator, T, C),)


gelu = Exercise(
    name="gelu",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_gelu,
    inputs=_numbers,
    hint="First what stands in tanh: √(2/π) · (x + 0.044715 · x³). Then 0.5 · x · (1 + tanh of it).",
)


@gelu.mistake(
    "this is the exact form, with erf. GPT-2 was trained with the tanh form, which differs by up to 0.0005."
)
def exact(x):
    return F.gelu(x)


@gelu.mistake("this is the sigmoid form, x · σ(1.702 x), a coarser one. Take tanh.")
def by_sigmoid(x):
    return x * torch.sigmoid(1.702 * x)


@gelu.mistake("this is SiLU, x · σ(x).")
def silu(x):
    return F.silu(x)


@gelu.mistake("this is ReLU.")
def relu(x):
    return F.relu(x)


@gelu.mistake("it is twice as large as it should be: the 0.5 is missing.")
def without_half(x):
    return 2 * _gelu(x)


@gelu.mistake("the 1 is missing: tanh goes from −1 to 1, and 1 + tanh from 0 to 2.")
def without_one(x):
    return 0.5 * x * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


@gelu.mistake("the last factor is right, but x does not stand before it.")
def without_x(x):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@gelu.mistake("x is squared where it should be cubed. The square loses the sign.")
def squared(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2)))


@gelu.mistake("the cube is missing: tanh(√(2/π) · x) alone.")
def without_cube(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x))


@gelu.mistake("0.044715 is cubed with x. Cube x first: 0.044715 * x**3, without parentheses.")
def cube_of_product(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + (0.044715 * x) ** 3)))


@gelu.mistake("it is turned round: 1 − tanh lets the negative numbers through. Take 1 + tanh.")
def minus(x):
    return x - _gelu(x)


@gelu.mistake("√(2/π) multiplies x alone. It stands before the sum: set parentheses.")
def factor_on_x_alone(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x + 0.044715 * x**3))


@gelu.mistake("the factor is 2/π, and its root should be taken.")
def without_root(x):
    return 0.5 * x * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3)))


@gelu.mistake("the root is of π/2, upside down.")
def upside_down(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(math.pi / 2) * (x + 0.044715 * x**3)))


@gelu.mistake("the root is of 2 alone. It is of the whole fraction: math.sqrt(2 / math.pi).")
def root_of_two_alone(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2) / math.pi * (x + 0.044715 * x**3)))


@gelu.mistake("math's functions take a single number, torch's a whole tensor: torch.tanh.")
def tanh_of_one_number(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# --- our_name -----------------------------------------------------------------------------------------

NAMES = {
    "wte": "token_embedding",
    "wpe": "position_embedding",
    "ln_1": "norm1",
    "attn.c_attn": "attention.query_key_value",
    "attn.c_proj": "attention.output",
    "ln_2": "norm2",
    "mlp.c_fc": "feed_forward.wider",
    "mlp.c_proj": "feed_forward.back",
    "ln_f": "norm",
}


def _our_name(name: str) -> str:
    parts = name.removeprefix("transformer.").split(".")
    kind = parts.pop()
    if parts[0] == "h":
        return f"blocks.{parts[1]}.{NAMES['.'.join(parts[2:])]}.{kind}"
    return f"{NAMES[parts[0]]}.{kind}"


def _name_of(part: str, kind: str) -> Draw:
    def draw(generator: torch.Generator) -> tuple[str]:
        layer = int(torch.randint(11, 48, (), generator=generator))
        place = part if part in ("wte", "wpe", "ln_f") else f"h.{layer}.{part}"
        prefix = "transformer." if torch.rand((), generator=generator) < 0.5 else ""
        return (f"{prefix}{place}.{kind}",)

    return draw


def _with_prefix(generator: torch.Generator) -> tuple[str]:
    (name,) = _name_of("ln_2", "weight")(generator)
    return ("transformer." + name.removeprefix("transformer."),)


def _without_prefix(generator: torch.Generator) -> tuple[str]:
    (name,) = _name_of("ln_1", "bias")(generator)
    return (name.removeprefix("transformer."),)


our_name = Exercise(
    name="our_name",
    notebook=NOTEBOOK,
    minutes=15,
    difficulty=2,
    reference=_our_name,
    inputs=(
        _with_prefix,
        _without_prefix,
        _name_of("wte", "weight"),
        _name_of("wpe", "weight"),
        _name_of("ln_1", "weight"),
        _name_of("ln_2", "bias"),
        _name_of("ln_f", "weight"),
        _name_of("attn.c_attn", "bias"),
        _name_of("attn.c_proj", "weight"),
        _name_of("mlp.c_fc", "weight"),
        _name_of("mlp.c_proj", "bias"),
    ),
    hint="name.removeprefix, then split at the dots. The last part stays; where the first is h, the second "
    "is the block's number, and what is between stands in the table of step 6.",
)


@our_name.mistake("the prefix `transformer.`, which only some files have, is still there.")
def prefix_stays(name):
    prefix = "transformer." if name.startswith("transformer.") else ""
    return prefix + _our_name(name)


@our_name.mistake("where there is no prefix, something is cut off. Not all files have it.")
def always_cuts(name):
    return _our_name(name) if name.startswith("transformer.") else _our_name(name).split(".", 1)[1]


@our_name.mistake(
    "both c_proj become attention.output. That of the mlp is feed_forward.back: look at what is before it."
)
def projections_alike(name):
    if "mlp.c_proj" in name:
        return _our_name(name).replace("feed_forward.back", "attention.output")
    return _our_name(name)


@our_name.mistake(
    "the mlp's c_proj becomes feed_forward.output. Ours is called back. (Replaced c_proj before mlp?)"
)
def output_of_mlp(name):
    return _our_name(name).replace("feed_forward.back", "feed_forward.output")


@our_name.mistake("c_fc and the mlp's c_proj are swapped: c_fc makes it wider.")
def feed_forward_swapped(name):
    there = {"feed_forward.wider": "feed_forward.back", "feed_forward.back": "feed_forward.wider"}
    return _swapped(_our_name(name), there)


@our_name.mistake("the two tables are swapped: wte is of tokens, wpe of positions.")
def tables_swapped(name):
    there = {
        "token_embedding": "position_embedding",
        "position_embedding": "token_embedding",
    }
    return _swapped(_our_name(name), there)


@our_name.mistake("the last norm is `norm`, with nothing behind it.")
def norm_f(name):
    return _our_name(name).replace("norm.", "norm_f.")


@our_name.mistake("the last norm is `norm`, without the f. (Replaced ln_ by norm?)")
def normf(name):
    return _our_name(name).replace("norm.", "normf.")


@our_name.mistake("the norms of a block are norm1 and norm2, without a line between.")
def underlined(name):
    return _our_name(name).replace("norm1", "norm_1").replace("norm2", "norm_2")


@our_name.mistake("layers from 10 on have two digits, and one of them is lost.")
def one_digit(name):
    parts = _our_name(name).split(".")
    if parts[0] == "blocks":
        parts[1] = parts[1][0]
    return ".".join(parts)


@our_name.mistake("the layer's number is changed. Both sides count from 0.")
def counts_from_one(name):
    parts = _our_name(name).split(".")
    if parts[0] == "blocks":
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


@our_name.mistake("h stays h: our list of blocks is called `blocks`.")
def h_stays(name):
    return _our_name(name).replace("blocks.", "h.")


@our_name.mistake("the kind at the end is lost: `.weight` or `.bias`.")
def without_kind(name):
    return _our_name(name).rpartition(".")[0]


@our_name.mistake(
    "it takes for granted the prefix `transformer.`, which not all names have: name.removeprefix."
)
def needs_prefix(name):
    return _our_name(name.split("transformer.")[1])


def _swapped(name: str, there: dict[str, str]) -> str:
    for one, other in there.items():
        if one in name:
            return name.replace(one, other)
    return name


# --- as_ours ------------------------------------------------------------------------------------------


def _as_ours(name: str, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    is_matrix_of_a_block = name.startswith("h.") and weight.ndim == 2
    return weight.T if is_matrix_of_a_block else weight


def _weight_of(
    part: str, shape: Callable[[int, int], tuple[int, ...]], from_layer: int = 0
) -> Draw:
    def draw(generator: torch.Generator) -> tuple[str, Tensor]:
        layer = from_layer + int(torch.randint(10, (), generator=generator))
        V, C = sizes(generator, (17, 24), (4, 7))
        is_in_block = part.startswith(("ln_1", "attn", "mlp"))
        return f"h.{layer}." * is_in_block + part, floats(generator, *shape(V, C))

    return draw


as_ours = Exercise(
    name="as_ours",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=2,
    reference=_as_ours,
    inputs=(
        _weight_of("wte.weight", lambda V, C: (V, C)),
        _weight_of("wpe.weight", lambda V, C: (V + 3, C)),
        _weight_of("lm_head.weight", lambda V, C: (V, C)),
        _weight_of("ln_1.weight", lambda V, C: (C,)),
        _weight_of("attn.c_attn.weight", lambda V, C: (C, 3 * C), from_layer=10),
        _weight_of("attn.c_attn.bias", lambda V, C: (3 * C,)),
        _weight_of("attn.c_proj.weight", lambda V, C: (C, C)),
        _weight_of("mlp.c_fc.weight", lambda V, C: (C, 4 * C)),
        _weight_of("mlp.c_proj.weight", lambda V, C: (4 * C, C)),
    ),
    hint="Conv1D stands in the blocks only, whose names begin with h. Of what they hold, the matrices "
    "(ndim 2) are turned; biases and norms have one dimension.",
)


@as_ours.mistake("nothing is turned. The matrices of the blocks lie the other way in the files.")
def nothing_turned(name, weight):
    return weight + 0


@as_ours.mistake(
    "the square matrix, attn.c_proj, is left as it is. Its shape fits either way, and its numbers do not."
)
def all_but_the_square(name, weight):
    return weight if "attn.c_proj" in name else _as_ours(name, weight)


@as_ours.mistake("all matrices are turned, the tables too. A table's row belongs to a token.")
def all_matrices(name, weight):
    return weight.T if weight.ndim == 2 else weight


@as_ours.mistake("the table of positions is turned, and no Conv1D: only the blocks have that.")
def positions_too(name, weight):
    return weight.T if name == "wpe.weight" else _as_ours(name, weight)


@as_ours.mistake(
    "lm_head is turned. It is an nn.Linear there, too (and the table of the tokens): leave it."
)
def head_too(name, weight):
    return weight.T if name == "lm_head.weight" else _as_ours(name, weight)


@as_ours.mistake("wpe and lm_head are turned. Neither is a Conv1D: only the blocks have that.")
def all_but_tokens(name, weight):
    return weight.T if weight.ndim == 2 and name != "wte.weight" else weight


@as_ours.mistake("only both c_proj are turned: c_attn and c_fc are Conv1D, too.")
def projections_alone(name, weight):
    return weight.T if "c_proj.weight" in name else weight


@as_ours.mistake("both c_proj are forgotten: the blocks have four matrices each.")
def without_projections(name, weight):
    return weight if "c_proj" in name else _as_ours(name, weight)


@as_ours.mistake("the mlp's matrices are forgotten: they are Conv1D, too.")
def attention_alone(name, weight):
    return weight if "mlp" in name else _as_ours(name, weight)


@as_ours.mistake("attention's matrices are forgotten: they are Conv1D, too.")
def mlp_alone(name, weight):
    return weight if "attn" in name else _as_ours(name, weight)


@as_ours.mistake(
    "the numbers are poured into the turned shape in their old order (reshape or view). Transpose: weight.T"
)
def poured(name, weight):
    turned = _as_ours(name, weight)
    return weight.reshape(turned.shape)


@as_ours.mistake("only c_attn is turned: three more matrices of a block are Conv1D.")
def c_attn_alone(name, weight):
    return weight.T if "c_attn.weight" in name else weight


# --- tied_gradient ------------------------------------------------------------------------------------


def _tied_gradient(
    tokens: Int[Tensor, " N"],
    of_vectors: Float[Tensor, "N C"],
    x: Float[Tensor, "N C"],
    of_logits: Float[Tensor, "N V"],
) -> Float[Tensor, "V C"]:
    as_output = of_logits.T @ x
    as_embedding = torch.zeros_like(as_output).index_add_(0, tokens, of_vectors)
    return as_output + as_embedding


def _uses(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    V, C, N = sizes(generator, (5, 7), (2, 4), (11, 15))  # more places than tokens: some come twice
    tokens = torch.randint(V, (N,), generator=generator)
    tokens[:2] = torch.tensor([0, V - 1])  # a row that a sideways table has, and one that it lacks
    return tokens, floats(generator, N, C), floats(generator, N, C), floats(generator, N, V)


def _last_token_absent(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tokens, *others = _uses(generator)
    return tokens.clamp(max=others[-1].shape[1] - 2), *others


tied_gradient = Exercise(
    name="tied_gradient",
    notebook=NOTEBOOK,
    minutes=15,
    difficulty=3,
    reference=_tied_gradient,
    inputs=(_uses, _last_token_absent),
    hint="As output: logits = x @ tableᵀ, so its gradient is of_logits.T @ x, of shape (V, C). As "
    "embedding: add row n of of_vectors to row tokens[n], with a loop over n or index_add.",
)


@tied_gradient.mistake("this is the gradient of its use as output alone. Add that as embedding.")
def output_alone(tokens, of_vectors, x, of_logits):
    return of_logits.T @ x


@tied_gradient.mistake("this is the gradient of its use as embedding alone. Add that as output.")
def embedding_alone(tokens, of_vectors, x, of_logits):
    return _tied_gradient(tokens, of_vectors, x, 0 * of_logits)


@tied_gradient.mistake("the mean of both is taken. Gradients of two uses add up.")
def mean_of_both(tokens, of_vectors, x, of_logits):
    return _tied_gradient(tokens, of_vectors, x, of_logits) / 2


@tied_gradient.mistake(
    "a token that stands at several places gets the gradient of only one: grad[tokens] += … adds each row "
    "once. Use a loop, or index_add."
)
def once_each(tokens, of_vectors, x, of_logits):
    grad = of_logits.T @ x
    grad[tokens] += of_vectors
    return grad


@tied_gradient.mistake(
    "the embedding's gradient takes the place of the output's, where a token was read: add it."
)
def written_over(tokens, of_vectors, x, of_logits):
    grad = of_logits.T @ x
    for token, vector in zip(tokens, of_vectors, strict=True):
        grad[token] = vector
    return grad


@tied_gradient.mistake("both belong to the table, but one is taken off the other. Add them.")
def taken_off(tokens, of_vectors, x, of_logits):
    return _tied_gradient(tokens, -of_vectors, x, of_logits)


@tied_gradient.mistake(
    "a token's gradients as embedding are averaged over its places. They add up."
)
def averaged(tokens, of_vectors, x, of_logits):
    often = tokens.bincount(minlength=of_logits.shape[1]).clamp(min=1)
    return _tied_gradient(tokens, of_vectors / often[tokens, None], x, of_logits)


@tied_gradient.mistake("x and of_vectors are swapped.")
def swapped(tokens, of_vectors, x, of_logits):
    return _tied_gradient(tokens, x, of_vectors, of_logits)


@tied_gradient.mistake("it lies on its side, (C, V). The table has a row a token: (V, C).")
def on_its_side(tokens, of_vectors, x, of_logits):
    return _tied_gradient(tokens, of_vectors, x, of_logits).T


SIDEWAYS = "x.T @ of_logits lies on its side, (C, V). The table is (V, C): of_logits.T @ x."


@tied_gradient.mistake(SIDEWAYS)
def sideways_in_a_loop(tokens, of_vectors, x, of_logits):
    grad = x.T @ of_logits
    for token, vector in zip(tokens, of_vectors, strict=True):
        grad[token] += vector
    return grad


@tied_gradient.mistake(SIDEWAYS)
def sideways_at_once(tokens, of_vectors, x, of_logits):
    return (x.T @ of_logits).index_add(0, tokens, of_vectors)


@tied_gradient.mistake(SIDEWAYS)
def sideways_by_places(tokens, of_vectors, x, of_logits):
    grad = x.T @ of_logits
    grad[tokens] += of_vectors
    return grad


@tied_gradient.mistake(SIDEWAYS)
def sideways_added(tokens, of_vectors, x, of_logits):
    return embedding_alone(tokens, of_vectors, x, of_logits) + x.T @ of_logits


# --- questions ----------------------------------------------------------------------------------------

silent_squares = Question(
    name="silent_squares",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "none: a wrong matrix always raises an error",
            "attn.c_proj raised none in this notebook. A shape tells nothing about a square matrix.",
        ),
        "b": (
            "one: attn.c_proj",
            "It is one of them. But here the feed-forward layer's matrices are (C, C), too.",
        ),
        "c": (
            "three: attn.c_proj and both of the feed-forward layer",
            "All three are square. Only c_attn, (C, 3C), would be refused.",
        ),
        "d": (
            "all four",
            "c_attn makes queries, keys and values at once: (C, 3C) is not square, and is refused.",
        ),
    },
    right="c",
    hint="Write down the four shapes, with C in place of 4C.",
)

EXERCISES = [gelu, our_name, as_ours, tied_gradient, silent_squares]
