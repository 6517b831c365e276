"""Models of this course as others load them: folders that Hugging Face's `transformers` reads."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from llm_course.gpt2_files import ALLOWED, HEAD, PREFIX, SIZES, is_transposed, name_in_files
from llm_course.kv_cache import can_cache
from llm_course.lora import check_merged
from llm_course.model_folder import CONFIG, OURS, WEIGHTS, find_folder, write_folder
from llm_course.models.decoder_transformer import DecoderTransformer
from llm_course.models.gpt2 import GPT2
from llm_course.tokenizers import BPETokenizer, CharTokenizer, Tokenizer

ACTIVATIONS = {DecoderTransformer: "relu", GPT2: "gelu_new"}


def load_tokenizer(name: str | Path, *, download: bool = False) -> BPETokenizer:
    """Return the byte-level BPE of a model, found as `GPT2.from_pretrained` finds its weights.

    Read are vocab.json and merges.txt where both are there, else tokenizer.json. ValueError says what in
    them is of another kind.
    """
    folder = find_folder(name, download=download)
    files = folder / "vocab.json", folder / "merges.txt"
    if all(file.is_file() for file in files):
        return BPETokenizer.from_files(*files)
    if not (whole := folder / "tokenizer.json").is_file():
        raise ValueError(
            f"{folder} has no tokenizer: neither vocab.json and merges.txt nor {whole.name}"
        )
    return BPETokenizer.load(whole)


def export(model: nn.Module, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a folder from which `transformers` makes the same logits, and the same tokens.

    For `GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained`. The weights are written in
    float32. In training, theirs drops at one place more than our plain decoder: behind attention.
    The folder appears whole or not at all, and takes the place of an earlier export only. Raises ValueError
    for models that GPT-2's layout has no place for, CheckpointError where nothing can be written.
    """
    if type(model) not in ACTIVATIONS or not can_cache(model):
        raise ValueError(
            f"{type(model).__name__} cannot be written in GPT-2's layout: "
            "DecoderTransformer and GPT2 can, with the parts that they are built of"
        )
    check_merged(model)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"a tokenizer of {tokenizer.vocab_size} tokens is not that of a model of "
            f"{model.config.vocab_size}"
        )
    is_tied = model.output.weight is model.token_embedding.weight
    config = {**OURS, **_config(model, is_tied), **_ends(tokenizer)}
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.context_length,
        "clean_up_tokenization_spaces": False,
        **{f"{end}_token": text for end, text in _special(tokenizer).items()},
    }
    files: dict[str, Any] = {
        CONFIG: _json(config),
        WEIGHTS: save(_weights(model, is_tied), metadata={"format": "pt"}),
        "tokenizer_config.json": _json(about),
    }
    if isinstance(tokenizer, BPETokenizer):
        files["tokenizer.json"] = tokenizer.save
    elif isinstance(tokenizer, CharTokenizer):
        files["tokenizer.json"] = _json(_characters(tokenizer))
    else:
        raise ValueError(f"{type(tokenizer).__name__} has no form that others read")
    write_folder(Path(folder).expanduser(), files)


def _weights(model: nn.Module, is_tied: bool) -> dict[str, torch.Tensor]:
    """Return the weights as files hold them: by their names, the matrices of the blocks turned."""
    weights = {}
    for name, value in model.state_dict().items():
        value = value.detach().to("cpu", torch.float32)
        if name != "output.weight":
            value = value.T if is_transposed(name) else value
            weights[PREFIX + name_in_files(name)] = value.contiguous()
        elif not is_tied:
            weights[HEAD] = value.contiguous()
    return weights


def _config(model: nn.Module, is_tied: bool) -> dict[str, Any]:
    sizes = {theirs: getattr(model.config, ours) for ours, theirs in SIZES.items()}
    dropouts = {f"{place}_pdrop": model.config.dropout for place in ("attn", "embd", "resid")}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
        **{name: values[0] for name, values in ALLOWED.items()},
        "activation_function": ACTIVATIONS[type(model)],
        "tie_word_embeddings": is_tied,
        **sizes,
        **dropouts,
    }


def _special(tokenizer: Tokenizer) -> dict[str, str]:
    """Return what stands before and behind a text: the first special token, where there is one."""
    special = list(getattr(tokenizer, "special", ()))[:1]
    return {end: text for end in ("bos", "eos") for text in special}


def _ends(tokenizer: Tokenizer) -> dict[str, int | None]:
    """Return the numbers of `_special`; None, lest GPT-2's own be taken, which is beyond our tables."""
    special = _special(tokenizer)
    number = tokenizer.special[special["eos"]] if special else None
    return {"bos_token_id": number, "eos_token_id": number}


def _characters(tokenizer: CharTokenizer) -> dict[str, Any]:
    """Return a tokenizer.json of one word a character: the text is cut behind each, line ends too.

    A character that it does not know is an error there, as here.
    """
    none = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
    vocab = {character: token for token, character in enumerate(tokenizer.characters)}
    return {
        "version": "1.0",
        **none,
        "added_tokens": [],
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": ""},
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
