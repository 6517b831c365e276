"""How GPT-2's files are laid out: the sizes, the names of the weights, and which way matrices lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_course.model_folder import CONFIG, check_shapes, read_json, stored_tensors

# What a part of ours is called there.
IN_FILES = {
    "token_embedding": "wte",
    "position_embedding": "wpe",
    "norm1": "ln_1",
    "attention.query_key_value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "norm2": "ln_2",
    "feed_forward.wider": "mlp.c_fc",
    "feed_forward.back": "mlp.c_proj",
    "norm": "ln_f",
}
PREFIX, HEAD = "transformer.", "lm_head.weight"
SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    **{name: name for name in ("n_embd", "n_head", "n_layer")},
}
# What else a config.json may say, first what its silence means; all else is another model.
ALLOWED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


def name_in_files(name: str) -> str:
    """Return what GPT-2's files call a parameter: `blocks.3.norm1.bias` is `h.3.ln_1.bias`."""
    part, _, kind = name.rpartition(".")
    if not part.startswith("blocks."):
        return f"{IN_FILES[part]}.{kind}"
    _, number, part = part.split(".", 2)
    return f"h.{number}.{IN_FILES[part]}.{kind}"


def is_transposed(name: str) -> bool:
    """Return whether a parameter stands transposed in the files: all matrices of the blocks do.

    The layer there, Conv1D, is x @ W + b; `nn.Linear` is x @ Wᵀ + b.
    """
    return name.startswith("blocks.") and name.endswith(".weight") and ".norm" not in name


def read_sizes(folder: Path) -> dict[str, Any]:
    """Return the sizes by our names, and the dropout; ValueError names what asks for another model."""
    settings = read_json(folder / CONFIG)
    if settings.get("model_type") != "gpt2":
        raise ValueError(f"model_type is {settings.get('model_type')!r}, and should be 'gpt2'")
    for name, values in ALLOWED.items():
        if settings.get(name, values[0]) not in values:
            raise ValueError(f"{name} is {settings[name]!r}, and should be {values[0]!r}")
    sizes = {ours: settings.get(name) for ours, name in SIZES.items()}
    for ours, size in sizes.items():
        if type(size) is not int:
            raise ValueError(f"{SIZES[ours]} must be a whole number, and is {size!r}")
    if settings.get("n_inner") not in (None, 4 * sizes["n_embd"]):
        raise ValueError(f"n_inner is {settings['n_inner']}, and should be {4 * sizes['n_embd']}")
    dropouts = [settings.get(f"{place}_pdrop", 0.1) for place in ("attn", "embd", "resid")]
    if len(set(dropouts)) > 1:
        raise ValueError(f"its dropouts differ ({dropouts}), and this course's GPT-2 has one")
    if sizes["n_layer"] > (n_tensors := len(stored_tensors(folder, PREFIX))):
        raise ValueError(f"it names {sizes['n_layer']} layers, and holds {n_tensors} tensors")
    return {**sizes, "dropout": dropouts[0]}


def read_weights(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the parameters of these names and shapes (both ours), the matrices turned to lie as ours.

    All shapes are compared before anything is read. Masks, which old files hold, are passed over; so is
    the output layer, once it was found to be the embeddings' table.
    """
    stored = {
        name: tensor
        for name, tensor in stored_tensors(folder, PREFIX).items()
        if not name.endswith((".attn.bias", ".attn.masked_bias"))
    }
    head = stored.pop(HEAD, None)
    wanted = {
        name_in_files(name): shape[::-1] if is_transposed(name) else shape
        for name, shape in shapes.items()
    }
    check_shapes(stored, wanted)
    weights = {}
    for name in shapes:
        weight = stored[name_in_files(name)].read()
        weights[name] = weight.T.contiguous() if is_transposed(name) else weight
    if head is not None and not torch.equal(head.read(), weights["token_embedding.weight"]):
        raise ValueError(f"{HEAD} is not the table of the embeddings")
    return weights
