"""LoRA is the layer it stands beside at first, and a plain layer when it is merged."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from llm_course.data import Split
from llm_course.generation import generate
from llm_course.lora import LoRALinear, adapters, add_lora, merge_lora, n_trainable, unmerge_lora
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.modern_transformer import ModernConfig, ModernTransformer
from llm_course.training import TrainConfig, train

SMALL = DecoderConfig(11, context_length=8, n_embd=12, n_head=3, n_layer=2)
SEEDS = range(5)


def small(seed=0, **sizes):
    torch.manual_seed(seed)
    return DecoderTransformer(replace(SMALL, **sizes)).double()


def with_lora(seed=0, rank=2, alpha=3.0, **sizes):
    """A small model with LoRA whose B is not zero any more."""
    model = small(seed, **sizes)
    for adapter in add_lora(model, rank, alpha).values():
        nn.init.normal_(adapter.B)
    return model.double()


@pytest.mark.parametrize("seed", SEEDS)
def test_it_begins_as_the_model_that_it_was(seed, generator):
    model = small(seed)
    tokens = torch.randint(11, (3, 8), generator=generator)
    before = model(tokens)[0]
    add_lora(model, rank=2, alpha=4.0)
    assert torch.equal(model(tokens)[0], before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_what_the_formula_says(seed, bias):
    torch.manual_seed(seed)
    linear = nn.Linear(5, 7, bias=bias).double()
    lora = LoRALinear(linear, rank=3, alpha=4.5)
    assert lora.A.shape == (3, 5) and lora.B.shape == (7, 3) and lora.A.dtype == torch.float64
    nn.init.normal_(lora.B)
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    wanted = x @ (linear.weight + 1.5 * lora.B @ lora.A).T + (linear.bias if bias else 0)
    torch.testing.assert_close(lora(x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(lora.merged()(x), wanted, rtol=0, atol=1e-12)
    assert torch.linalg.matrix_rank(lora.weight - linear.weight) == 3
    assert lora.merged().weight.data_ptr() != linear.weight.data_ptr()


@pytest.mark.parametrize("seed", SEEDS)
def test_merged_is_unmerged_and_back_again_bit_for_bit(seed, generator):
    model = with_lora(seed)
    tokens = torch.randint(11, (3, 8), generator=generator)
    before = model(tokens)[0]
    names = set(small().state_dict())
    taken_out = merge_lora(model)
    assert set(model.state_dict()) == names and not adapters(model)
    torch.testing.assert_close(model(tokens)[0], before, rtol=0, atol=1e-10)
    unmerge_lora(model, taken_out)
    assert torch.equal(model(tokens)[0], before) and len(adapters(model)) == 8


def test_only_a_and_b_learn_and_their_number_follows_the_formula():
    model = small()
    add_lora(model, rank=2, alpha=4.0)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning and all(name.endswith((".A", ".B")) for name in learning)
    assert n_trainable(model) == 2 * 16 * 12 * 2  # r · 16 C · L
    frozen = {name: p.clone() for name, p in model.named_parameters() if name not in learning}
    data = Split(torch.arange(110) % 11, torch.arange(50) % 11)
    config = TrainConfig(steps=3, batch_size=2, learning_rate=0.1, eval_every=3, weight_decay=0.1)
    train(model.float(), data, config)
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name].float())
        else:
            assert parameter.grad is not None


def test_with_both_at_zero_nothing_ever_learns_and_with_b_at_zero_b_learns_first():
    for both in (False, True):
        model = small()
        for adapter in add_lora(model, rank=2, alpha=4.0).values():
            if both:
                nn.init.zeros_(adapter.A)
        tokens = torch.arange(16).view(2, 8) % 11
        model(tokens, tokens)[1].backward()
        for adapter in adapters(model).values():
            assert adapter.A.grad.abs().max() == 0
            assert (adapter.B.grad.abs().max() == 0) == both


@pytest.mark.parametrize("cached", [False, True])
def test_it_writes_the_same_before_and_after_merging(cached):
    model = with_lora(n_embd=48, alpha=0.5)
    prompt = torch.tensor([[1, 2, 3], [4, 5, 6]])
    texts = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        texts.append(generate(model, prompt, 12, generator=generator, cached=cached))
        merge_lora(model)
    assert torch.equal(*texts)


def test_what_is_wrong_is_named():
    linear = nn.Linear(4, 6)
    for rank in (-1, 0, 5):
        with pytest.raises(ValueError, match="rank must be a whole number from 1 to 4"):
            LoRALinear(linear, rank, 1.0)
    for alpha in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="alpha must be above 0"):
            LoRALinear(linear, 2, alpha)
    model = small()
    with pytest.raises(ValueError, match="no layers gate in its blocks"):
        add_lora(model, 2, 4.0, layers=("output", "gate"))
    with pytest.raises(ValueError, match="has no layers"):
        add_lora(model, 2, 4.0, layers=())
    with pytest.raises(ValueError, match="rank must be a whole number from 1 to 12"):
        add_lora(model, 13, 4.0)
    assert n_trainable(model) == sum(p.numel() for p in model.parameters())
    add_lora(model, 2, 4.0, layers=("query_key_value",))
    assert list(adapters(model)) == [f"blocks.{i}.attention.query_key_value" for i in (0, 1)]
    with pytest.raises(
        ValueError, match=r"has LoRA beside its layers: merge it first \(merge_lora\)"
    ):
        add_lora(model, 2, 4.0)


def test_the_modern_transformer_computes_in_its_own_precision_again_once_it_is_merged():
    torch.manual_seed(0)
    model = ModernTransformer(ModernConfig(11, context_length=8, n_embd=12, n_head=3, n_layer=1))
    tokens = torch.arange(8).view(1, 8)
    model.training_dtype = torch.bfloat16
    with pytest.raises(ValueError, match="set the model's training_dtype to None first"):
        add_lora(model, 2, 4.0)
    model.training_dtype = None
    add_lora(model, 2, 4.0)
    model(tokens, tokens)[1].backward()
    merge_lora(model)
    model.training_dtype = torch.bfloat16
    model(tokens, tokens)[1].backward()
    assert all(parameter.requires_grad for parameter in model.blocks.parameters())


def test_a_copy_is_a_model_of_its_own():
    model = with_lora()
    copy = deepcopy(model)
    nn.init.zeros_(adapters(copy)["blocks.0.attention.output"].B)
    assert adapters(model)["blocks.0.attention.output"].B.abs().max() > 0
