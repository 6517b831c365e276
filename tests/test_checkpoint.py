import hashlib
import inspect
import json
import os
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from llm_course.checkpoint import (
    PRETRAINED,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from llm_course.evaluation import evaluate
from llm_course.lora import add_lora, merge_lora
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.recipes import RECIPES, build
from llm_course.tensor_file import CheckpointError, check_place, read, write
from llm_course.tokenizers import BPETokenizer, CharTokenizer

ABOUT = {"corpus": "a text", "loss": "1.2"}


@pytest.fixture
def saved(tmp_path):
    tokenizer = CharTokenizer("to be, or not\n")
    model = build("bigram", tokenizer.vocab_size, seed=3)
    path = tmp_path / "runs" / "model.safetensors"
    save_checkpoint(path, "bigram", model, tokenizer, ABOUT)
    return path, model, tokenizer


def test_what_is_saved_comes_back(saved):
    path, model, tokenizer = saved
    again = load_checkpoint(path)
    assert again.about == ABOUT
    assert again.tokenizer.characters == tokenizer.characters
    assert again.model.config == model.config
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_half_the_digits_are_half_the_size(saved, tmp_path):
    path, model, tokenizer = saved
    small = tmp_path / "small.safetensors"
    save_checkpoint(small, "bigram", model, tokenizer, ABOUT, dtype=torch.float16)
    weights = sum(2 * weight.numel() for weight in model.state_dict().values())
    assert path.stat().st_size - small.stat().st_size == weights
    for name, weight in load_checkpoint(small).model.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_the_decoder_that_ships_is_the_one_on_its_card(shakespeare_data):
    data, _ = shakespeare_data
    card = PRETRAINED.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(PRETRAINED.read_bytes()).hexdigest() in card
    model, tokenizer, _ = load_pretrained()
    assert isinstance(model, DecoderTransformer)
    assert model.config == DecoderConfig(vocab_size=65)
    loss = evaluate(model, data.val)
    assert tokenizer.vocab_size == 65
    assert loss == pytest.approx(
        float(re.search(r"validation loss \| ([\d.]+)", card)[1]), abs=2e-4
    )
    assert loss < 1.65, "well below the best counting table's 1.669"


def test_the_decoder_that_ships_is_small():
    assert PRETRAINED.stat().st_size < 2_000_000


def _rewrite(path, **header):
    full = {
        "recipe": "bigram",
        "config": '{"vocab_size": 3}',
        "characters": "abc",
        "about": '{"corpus": "x"}',
    }
    write(path, "model", build("bigram", 3).state_dict(), full | header, keep_previous=False)


def test_damaged_files_are_named(saved):
    path, *_ = saved
    whole = path.read_bytes()
    damages = [
        lambda: path.write_bytes(whole[:-10]),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"PK\x03\x04 not a model"),
        lambda: save_file({"a": torch.zeros(2)}, path),
        lambda: _rewrite(path, recipe="unheard-of"),
        lambda: _rewrite(path, config="{"),
        lambda: _rewrite(path, config='{"vocab_size": 4}'),
        lambda: _rewrite(path, config='{"vocab_size": -4}'),
        lambda: _rewrite(path, config='{"size": 4}'),
        lambda: _rewrite(path, config="[]"),
        lambda: _rewrite(path, characters="ab"),
        lambda: _rewrite(path, merges="[]", special="[]"),
        lambda: _rewrite(path, merges="[]"),
        lambda: _rewrite(path, merges='[["61"]]', special="[]"),
        lambda: _rewrite(path, merges='[["61", "xy"]]', special="[]"),
        lambda: _rewrite(path, merges='[["6161", "61"]]', special="[]"),
        lambda: _rewrite(path, merges="[]", special='["a"]'),
        lambda: _rewrite(path, about="no JSON"),
        lambda: _rewrite(path, about="[]"),
        lambda: _rewrite(path, about="{}"),
        lambda: _rewrite(path, config='{"vocab_size": 3, "context_length": 8.5}'),
        lambda: _rewrite(path, config='{"vocab_size": 3, "context_length": "8"}'),
        lambda: _rewrite(path, config='{"vocab_size": 3, "n_embd": 100000000000}'),
    ]
    _rewrite(path)
    load_checkpoint(path)
    for damage in damages:
        damage()
        with pytest.raises(CheckpointError, match="is not a model of this course") as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_special_token_that_is_no_text_is_named(saved, monkeypatch):
    unchecked = inspect.unwrap(BPETokenizer.__init__)  # types are checked in tests alone
    monkeypatch.setattr(BPETokenizer, "__init__", unchecked)
    path, *_ = saved
    _rewrite(path, merges="[]", special="[5]")
    with pytest.raises(CheckpointError, match="is not a model of this course"):
        load_checkpoint(path)


def test_a_model_on_subwords_comes_back_with_them(tmp_path):
    merges = BPETokenizer.train("the cat and the hat and thé 猫 " * 3, 262).merges
    tokenizer = BPETokenizer(merges, ["<|endoftext|>"])
    model = build("bigram", tokenizer.vocab_size)
    save_checkpoint(tmp_path / "m.safetensors", "bigram", model, tokenizer, ABOUT)
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert isinstance(loaded.tokenizer, BPETokenizer)
    assert loaded.tokenizer.merges == tokenizer.merges and len(tokenizer.merges) == 6
    tokens = loaded.tokenizer.encode("the 猫<|endoftext|>")
    assert tokens[-1] == 262 and torch.equal(tokens, tokenizer.encode("the 猫<|endoftext|>"))
    assert torch.equal(loaded.model(tokens[None])[0], model(tokens[None])[0])


def test_lora_is_merged_before_it_is_saved(tmp_path):
    path = tmp_path / "m.safetensors"
    model, tokenizer = build("decoder", 3), CharTokenizer("abc")
    add_lora(model, 2, 4.0)
    with pytest.raises(ValueError, match="merge it first"):
        save_checkpoint(path, "decoder", model, tokenizer, ABOUT)
    merge_lora(model)
    save_checkpoint(path, "decoder", model, tokenizer, ABOUT)
    tokens = tokenizer.encode("abba")[None]
    assert torch.equal(load_checkpoint(path).model.eval()(tokens)[0], model.eval()(tokens)[0])


def test_a_missing_file_tells_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="train bigram"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_a_place_that_cannot_be_written(saved, tmp_path):
    _, model, tokenizer = saved
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="--out"):
        save_checkpoint(tmp_path / "file" / "m.safetensors", "bigram", model, tokenizer, ABOUT)


def test_a_file_that_is_cut_off_while_writing_leaves_the_old_one(saved, monkeypatch):
    path, model, tokenizer = saved
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llm_course.tensor_file.os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(path, "bigram", model, tokenizer, ABOUT)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_weights_that_are_missing_are_noticed(saved):
    path, *_ = saved
    header = {
        "recipe": "bigram",
        "config": '{"vocab_size": 3}',
        "characters": "abc",
        "about": '{"corpus": "x"}',
    }
    weights = build("bigram", 3).state_dict()
    del weights["output.bias"]
    write(path, "model", weights, header, keep_previous=False)
    with pytest.raises(CheckpointError, match="is not a model of this course"):
        load_checkpoint(path)


@pytest.mark.skipif(os.name == "nt", reason="links and devices are other things there")
def test_a_place_is_checked_before_training(saved, tmp_path):
    path, *_ = saved
    check_place(path)
    check_place(tmp_path / "new" / "m.safetensors")
    link = tmp_path / "link"
    link.symlink_to(path)
    (tmp_path / "file").write_text("in the way")
    for bad in (tmp_path, link, "/dev/null", tmp_path / "file" / "m.safetensors"):
        with pytest.raises(CheckpointError, match="could not be written"):
            check_place(bad)


@pytest.mark.parametrize(
    ("recipe", "sizes"),
    [
        ("bigram", {"n_embd": 10**10}),
        ("decoder", {"n_embd": 10**9, "n_head": 1}),
        ("block", {"n_layer": 10**4}),
        ("modern", {"context_length": 10**9}),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(saved, monkeypatch, recipe, sizes):
    path, *_ = saved
    real = RECIPES[recipe]

    def build_empty(config):
        assert torch.get_default_device().type == "meta", "memory would be taken"
        return real.model(config)

    _rewrite(path, recipe=recipe, config=json.dumps({"vocab_size": 3} | sizes))
    monkeypatch.setitem(RECIPES, recipe, replace(real, model=build_empty))
    with pytest.raises(CheckpointError, match="is not a model of this course, or is damaged"):
        load_checkpoint(path)


def test_buffers_beside_the_weights_are_bounded(tmp_path):
    """The rotations of a modern transformer are not in the file; its window decides how large they are."""
    path = tmp_path / "m.safetensors"
    model = build("modern", 3)
    save_checkpoint(path, "modern", model, CharTokenizer("abc"), ABOUT)
    load_checkpoint(path)
    header, weights = read(path, "model")
    header["config"] = json.dumps({"vocab_size": 3, "context_length": 10**8})
    write(path, "model", weights, header, keep_previous=False)
    with pytest.raises(CheckpointError, match=r"ask for 11.9 GB beside its weights"):
        load_checkpoint(path)
    header["config"] = json.dumps({"vocab_size": 3, "context_length": 2**64})
    write(path, "model", weights, header, keep_previous=False)
    with pytest.raises(CheckpointError, match="is not a model of this course"):
        load_checkpoint(path)
