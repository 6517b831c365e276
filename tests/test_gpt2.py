"""Our GPT-2 against Hugging Face's: logits, gradients, sizes, files."""

import json
import math
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.activations import ACT2FN

from llm_course.data import Split
from llm_course.generation import CachedReader, generate, next_logits
from llm_course.gpt2_files import is_transposed, name_in_files
from llm_course.kv_cache import can_cache
from llm_course.model_folder import find_folder
from llm_course.models.gpt2 import GPT2, GPT2Config, gelu
from llm_course.recording import record_attention
from llm_course.scaling import count_parameters
from llm_course.tensor_file import CheckpointError
from llm_course.training import TrainConfig, train

SIZES = {  # published: C, L, heads, parameters
    "gpt2": (768, 12, 12, 124_439_808),
    "gpt2-medium": (1024, 24, 16, 354_823_168),
    "gpt2-large": (1280, 36, 20, 774_030_080),
    "gpt2-xl": (1600, 48, 25, 1_557_611_200),
}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()


def make_theirs(seed, **changes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 97, "n_positions": 16, "n_embd": 24, "n_head": 3, "n_layer": 2}
    config = transformers.GPT2Config(**{**sizes, **changes}, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():  # far from the beginning, biases and norms included
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2") / "random"
    make_theirs(0).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.mark.parametrize("seed", range(4))
def test_logits_and_gradients_are_theirs(seed, tmp_path, generator):
    changes = {} if seed % 2 else {"n_layer": 3, "n_head": 2, "vocab_size": 60}
    theirs = make_theirs(seed, **changes)
    theirs.save_pretrained(tmp_path)
    ours = GPT2.from_pretrained(tmp_path)
    assert not ours.training
    tokens = torch.randint(60, (3, 16), generator=generator)
    torch.testing.assert_close(ours(tokens)[0], theirs(tokens).logits, rtol=0, atol=1e-5)

    ours, theirs = ours.double(), theirs.double()
    torch.testing.assert_close(ours(tokens)[0], theirs(tokens).logits, rtol=0, atol=1e-12)
    ours(tokens[:, :-1], tokens[:, 1:])[1].backward()
    logits = theirs(tokens[:, :-1]).logits.flatten(0, 1)  # its own loss is in float32
    torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
    for name, parameter in ours.named_parameters():
        wanted = theirs.get_parameter(f"transformer.{name_in_files(name)}").grad
        wanted = wanted.T if is_transposed(name) else wanted
        torch.testing.assert_close(parameter.grad, wanted, rtol=0, atol=1e-12)


def test_dropout_is_where_theirs_is(saved, generator):
    theirs = transformers.GPT2LMHeadModel.from_pretrained(saved).train()
    ours = GPT2.from_pretrained(saved).train()
    tokens = torch.randint(97, (3, 16), generator=generator)
    for seed in range(3):
        torch.manual_seed(seed)
        wanted = theirs(tokens).logits
        torch.manual_seed(seed)
        torch.testing.assert_close(ours(tokens)[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_all_four_sizes_are_theirs(name, size):
    C, L, H, n_parameters = size
    with torch.device("meta"):
        ours = GPT2(GPT2Config(n_embd=C, n_layer=L, n_head=H))
        theirs = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=C, n_layer=L, n_head=H)
        )
    shapes = {f"transformer.{k}": v.shape for k, v in theirs.transformer.named_parameters()}
    for key, parameter in ours.named_parameters():
        shape = parameter.shape[::-1] if is_transposed(key) else parameter.shape
        assert shapes.pop(f"transformer.{name_in_files(key)}") == shape
    assert not shapes
    assert sum(p.numel() for p in ours.parameters()) == n_parameters
    assert count_parameters(50257, 1024, C, L, tied=True) == n_parameters


def test_gelu_is_theirs_and_pytorchs(generator):
    x = 4 * torch.randn(1000, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), ACT2FN["gelu_new"](x), rtol=0, atol=1e-14)
    by_pytorch = torch.nn.functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(gelu(x), by_pytorch, rtol=0, atol=1e-14)
    exact = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    assert 1e-4 < (gelu(x) - exact).abs().max() < 5e-4


def test_the_tables_are_one_and_its_gradient_is_the_sum_of_both_uses(generator):
    config = GPT2Config(11, 8, 12, n_head=3, n_layer=1, dropout=0.0)
    model = GPT2(config).double()
    assert model.output.weight is model.token_embedding.weight
    tokens = torch.randint(11, (2, 9), generator=generator)
    table = model.token_embedding.weight

    def grad():
        model.zero_grad()
        model(tokens[:, :-1], tokens[:, 1:])[1].backward()
        return table.grad.clone()

    both = grad()
    model.output.weight = torch.nn.Parameter(table.detach().clone())
    torch.testing.assert_close(grad() + model.output.weight.grad, both, rtol=0, atol=1e-12)


def test_the_first_weights_are_as_in_gpt2():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(2000, 256, 128, n_head=4, n_layer=8))
    for name, parameter in model.named_parameters():
        adds = name.endswith(("attention.output.weight", "back.weight"))
        wanted = 0.02 / 4 if adds else 0.02  # √(2 · 8) = 4
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(wanted, rel=0.03), name
        else:
            assert parameter.unique().item() == float(name.endswith("weight"))
    tokens = torch.arange(200)[None]
    assert model.eval()(tokens, tokens + 1)[1].item() == pytest.approx(math.log(2000), abs=0.1)
    assert model(tokens, tokens)[1].item() < math.log(2000) - 1, "tied, it begins by repeating"


def test_cached_logits_are_those_of_reading_anew(saved, generator):
    model = GPT2.from_pretrained(saved).double()
    assert can_cache(model)
    texts = [torch.randint(97, (n,), generator=generator) for n in (1, 5, 16, 30)]
    reader = CachedReader(model)
    with torch.no_grad():
        for _ in range(40):
            anew = next_logits(model, texts)
            torch.testing.assert_close(reader.next_logits(texts), anew, rtol=0, atol=1e-10)
            new = torch.randint(97, (4, 1), generator=generator)
            texts = [torch.cat(pair) for pair in zip(texts, new, strict=True)]
    prompt = torch.randint(97, (2, 3), generator=generator)
    written = [
        generate(model, prompt, 20, generator=torch.Generator().manual_seed(1), cached=cached)
        for cached in (True, False, None)
    ]
    assert torch.equal(written[0], written[1]) and torch.equal(written[0], written[2])


def test_theirs_writes_the_same_by_always_taking_the_likeliest(saved, generator):
    theirs = transformers.GPT2LMHeadModel.from_pretrained(saved)
    prompt = torch.randint(97, (1, 3), generator=generator)
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    wanted = theirs.generate(prompt, max_new_tokens=13, attention_mask=prompt >= 0, **options)
    model, row = GPT2.from_pretrained(saved), prompt
    reader = CachedReader(model)
    with torch.no_grad():
        for _ in range(13):
            row = torch.cat([row, reader.next_logits([row[0]]).argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(row, wanted)


def test_attention_is_watched_like_any_other(saved, generator):
    model = GPT2.from_pretrained(saved)
    with record_attention(model) as maps:
        model(torch.randint(97, (1, 7), generator=generator))
    assert [tuple(one.shape) for one in maps] == [(1, 3, 7, 7)] * 2


def test_it_trains_and_goes_on_from_a_checkpoint_with_its_tables_still_one(tmp_path, generator):
    tokens = torch.randint(7, (400,), generator=generator)
    data, whole = Split(tokens[:300], tokens[300:]), TrainConfig(6, 4, 1e-3, eval_every=3)

    def fresh():
        torch.manual_seed(1)
        return GPT2(GPT2Config(7, 8, 12, n_head=3, n_layer=1))

    straight = fresh()
    train(straight, data, whole)
    stopped, again = fresh(), fresh()
    file = tmp_path / "run.training"
    train(stopped, data, whole, callback=lambda step, _: step == 3, checkpoint=file)
    train(again, data, whole, checkpoint=file, resume=True)
    assert again.output.weight is again.token_embedding.weight
    for one, other in zip(straight.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_files_may_be_cut_up_without_prefix_with_masks_or_half_as_long(folder, tmp_path, generator):
    tokens = torch.randint(97, (2, 9), generator=generator)
    wanted = GPT2.from_pretrained(folder)(tokens)[0]
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    assert torch.equal(GPT2.from_pretrained(tmp_path / "parts")(tokens)[0], wanted)

    file = folder / "model.safetensors"
    stored = load_file(file)
    old = {key.removeprefix("transformer."): value for key, value in stored.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 16, 16, dtype=torch.uint8)
    old["h.1.attn.masked_bias"] = torch.tensor(-1e4)
    old["lm_head.weight"] = old["wte.weight"].clone()
    save_file(old, file)
    assert torch.equal(GPT2.from_pretrained(str(folder))(tokens)[0], wanted)

    save_file({key: value.half() for key, value in stored.items()}, file)
    half = GPT2.from_pretrained(folder)
    assert half.norm.weight.dtype == torch.float32
    torch.testing.assert_close(half(tokens)[0], wanted, rtol=0, atol=0.02)


def test_a_model_is_its_own_once_it_is_loaded(folder):
    model = GPT2.from_pretrained(folder)
    before = model.norm.weight.clone()
    (folder / "model.safetensors").write_bytes(bytes((folder / "model.safetensors").stat().st_size))
    assert torch.equal(model.norm.weight, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_type", "llama"),
        ("model_type", None),
        ("activation_function", "relu"),
        ("activation_function", "gelu"),
        ("activation_function", ["gelu_new"]),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("tie_word_embeddings", False),
        ("n_inner", 24),
        ("resid_pdrop", 0.2),
        ("n_head", 5),
        ("n_head", 0),
        ("n_layer", 10**9),
        ("n_layer", "2"),
        ("n_positions", 10**13),
        ("vocab_size", 10**15),
        ("n_embd", 24 * 10**30),
        ("n_embd", 2.5),
    ],
)
def test_another_config_is_refused_by_name(folder, name, value):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    by_ours = {"n_positions": "wpe", "vocab_size": "wte", "resid_pdrop": "dropouts"}
    by_ours |= {"n_layer": "n_layer|layers", "n_embd": "n_embd|verflow"}
    said = by_ours.get(name, name)
    with pytest.raises(CheckpointError, match=f"copy holds no model .*({said})"):
        GPT2.from_pretrained(folder)


def reshaped(stored):
    stored["transformer.h.0.attn.c_proj.bias"] = torch.zeros(7)


def renamed(stored):
    stored["transformer.h.0.attn.c_proj.gain"] = stored.pop("transformer.h.0.attn.c_proj.bias")


def whole_numbers(stored):
    stored["transformer.ln_f.bias"] = stored["transformer.ln_f.bias"].long()


def another_head(stored):
    stored["lm_head.weight"] = stored["transformer.wte.weight"] + 1


def as_ours(stored):
    key = "transformer.h.1.mlp.c_fc.weight"
    stored[key] = stored[key].T.contiguous()


def twice(stored):
    stored["ln_f.bias"] = stored["transformer.ln_f.bias"].clone()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (reshaped, r"h.0.attn.c_proj.bias is \(7,\), and should be \(24,\)"),
        (renamed, "h.0.attn.c_proj.bias is missing"),
        (whole_numbers, "ln_f.bias holds I64, and no decimal numbers"),
        (another_head, "lm_head.weight is not the table"),
        (as_ours, r"h.1.mlp.c_fc.weight is \(96, 24\), and should be \(24, 96\)"),
        (twice, "ln_f.bias is there twice"),
    ],
)
def test_other_tensors_are_refused_by_name(folder, change, said):
    file = folder / "model.safetensors"
    stored = load_file(file)
    change(stored)
    save_file(stored, file)
    with pytest.raises(CheckpointError, match=said):
        GPT2.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", b"{", "config.json is no JSON"),
        ("config.json", b"[" * 100_000, "recursion|JSON"),
        ("config.json", b"[]", "config.json holds no object"),
        ("config.json", b"\xff", "config.json is no JSON"),
        ("config.json", b'{"model_type": "gpt2"}', "vocab_size"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("model.safetensors", b"", "header|small|cut|bytes"),
        ("model.safetensors", b"\xff" * 100, "header|large"),
    ],
)
def test_damaged_files_are_refused(folder, file, content, said):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"copy holds no model .*({said})"):
        GPT2.from_pretrained(folder)


def test_no_pickle_is_read_and_no_file_elsewhere(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin is not read"):
        GPT2.from_pretrained(folder)
    for name in ("../random/model.safetensors", "/model.safetensors", "pytorch_model.bin", ".."):
        index = {"weight_map": {"transformer.wte.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="which is no file beside it"):
            GPT2.from_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(CheckpointError, match="copy holds no model that this course reads"):
        GPT2.from_pretrained(folder)


def test_by_name_it_is_looked_for_at_home_and_never_on_the_network_unasked(
    folder, away, monkeypatch
):
    cache = away / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(cache), raising=False)
    monkeypatch.delenv("LLM_COURSE_GPT2", raising=False)
    with pytest.raises(CheckpointError, match="gpt2 is not at hand: .*download=True"):
        GPT2.from_pretrained("gpt2")
    with pytest.raises(ConnectionError, match="LLM_COURSE_OFFLINE is set"):
        GPT2.from_pretrained("gpt2", download=True)
    with pytest.raises(CheckpointError, match="There is no folder gpt3"):
        GPT2.from_pretrained("gpt3")
    with pytest.raises(CheckpointError, match="There is no folder ../x/y"):
        find_folder("../x/y")

    monkeypatch.setenv("LLM_COURSE_GPT2", str(folder))
    assert find_folder("gpt2") == find_folder("openai-community/gpt2") == folder
    with pytest.raises(CheckpointError, match="gpt2-xl is not at hand"):
        find_folder("gpt2-xl")
    monkeypatch.setenv("LLM_COURSE_GPT2", str(away / "nowhere"))
    with pytest.raises(CheckpointError, match="LLM_COURSE_GPT2 names .*, which is no folder"):
        find_folder("gpt2")

    monkeypatch.delenv("LLM_COURSE_GPT2")
    there = cache / "models--openai-community--gpt2"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, there / "snapshots" / ("0" * 40))
    assert find_folder("gpt2") == there / "snapshots" / ("0" * 40)
    assert GPT2.from_pretrained("openai-community/gpt2").config.n_embd == 24


def test_what_a_half_filled_cache_lacks_is_fetched(away, monkeypatch):
    monkeypatch.delenv("LLM_COURSE_GPT2", raising=False)
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or away
    )
    config = away / "config.json"
    config.touch()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(config))
    assert find_folder("gpt2", download=True) == away and not asked  # offline
    monkeypatch.setenv("LLM_COURSE_OFFLINE", "0")
    for name in ("model.safetensors", "vocab.json", "merges.txt"):
        find_folder("gpt2", download=True)
        (away / name).touch()
    assert asked == ["openai-community/gpt2"] * 3
    find_folder("gpt2", download=True)
    find_folder("gpt2")
    assert len(asked) == 3


def test_a_download_that_fails_is_told_in_a_sentence(away, monkeypatch):
    monkeypatch.setenv("LLM_COURSE_OFFLINE", "0")
    monkeypatch.delenv("LLM_COURSE_GPT2", raising=False)
    asked = []

    def fail(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a: None)
    with pytest.raises(ConnectionError, match="openai-community/gpt2 could .*host. Try again"):
        GPT2.from_pretrained("gpt2", download=True)
    assert not any(name.endswith((".bin", ".h5", ".msgpack")) for name in asked[0][1])
