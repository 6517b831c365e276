"""Local, strided and grouped-query attention against full attention, PyTorch's own, and their cache."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.flop_counter import FlopCounterMode

from llm_course.generation import generate, next_logits
from llm_course.kv_cache import KVCache, can_cache
from llm_course.models.attention_variants import VariantConfig, VariantTransformer
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.grouped_query_attention import GroupedQueryAttention
from llm_course.models.local_attention import (
    LocalAttention,
    MaskedAttention,
    local_attention,
    local_mask,
    masked_attention,
    strided_mask,
)
from llm_course.models.multi_head_attention import MultiHeadAttention
from llm_course.models.single_head_attention import future_mask
from llm_course.recipes import VARIANTS, build

EXACT = {"rtol": 0, "atol": 1e-12}


def qkv(T, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, 3, T, 4, generator=generator, dtype=dtype).unbind()


@pytest.mark.parametrize(("T", "window"), [(1, 1), (7, 3), (12, 4), (13, 13), (5, 40)])
def test_masks_say_what_their_words_say(T, window):
    local, strided = local_mask(T, window), strided_mask(T, window)
    for t in range(T):
        for s in range(T):
            near = t - window < s <= t
            assert local[t, s].item() is not near
            assert strided[t, s].item() is not (near or (s <= t and (t - s) % window == 0))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 9))
def test_by_blocks_is_as_under_the_mask(T, window, seed):
    q, k, v = qkv(T, seed)
    is_hidden = local_mask(T, window)
    by_blocks = local_attention(q, k, v, window)
    torch.testing.assert_close(by_blocks, masked_attention(q, k, v, is_hidden), **EXACT)
    own = F.scaled_dot_product_attention(q, k, v, attn_mask=~is_hidden)
    torch.testing.assert_close(by_blocks, own, **EXACT)


def test_by_blocks_is_as_under_the_mask_in_float32_over_a_long_text():
    q, k, v = qkv(1000, dtype=torch.float32)
    expected = masked_attention(q, k, v, local_mask(1000, 64))
    torch.testing.assert_close(local_attention(q, k, v, 64), expected, rtol=0, atol=1e-6)


def test_its_gradients_are_those_under_the_mask():
    parts = [x.requires_grad_() for x in qkv(11)]
    towards = torch.randn(2, 3, 11, 4, dtype=torch.float64)
    by_blocks = torch.autograd.grad((local_attention(*parts, 4) * towards).sum(), parts)
    masked = torch.autograd.grad(
        (masked_attention(*parts, local_mask(11, 4)) * towards).sum(), parts
    )
    torch.testing.assert_close(by_blocks, masked, **EXACT)


@pytest.mark.parametrize("window", [9, 10, 1000])
def test_a_window_of_the_whole_text_is_full_attention(window):
    q, k, v = qkv(9)
    full = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(local_attention(q, k, v, window), full, **EXACT)


def operations(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_its_work_grows_with_the_text_and_with_the_window():
    work = {}
    for T in (256, 512, 8192):
        q, k, v = torch.empty(3, 1, 2, T, 8, device="meta")
        for window in (32, 64):
            work[T, window] = operations(lambda: local_attention(q, k, v, window))  # noqa: B023
        work[T] = operations(lambda: masked_attention(q, k, v, future_mask(T, q.device)))  # noqa: B023
    assert work[512, 32] == 2 * work[256, 32] == 2 * 2 * 2 * (2 * 256 * 64 * 8)
    assert work[256, 64] == 2 * work[256, 32]
    assert work[512] == 4 * work[256]
    assert work[8192] == 64 * work[8192, 64]  # T / 2w


def test_flex_attention_agrees():
    q, k, v = qkv(128, dtype=torch.float32)

    def may_see(batch, head, query, key):
        return (query >= key) & (query - key < 32)

    blocks = create_block_mask(may_see, None, None, 128, 128, device="cpu")
    with pytest.warns(UserWarning, match="flex_attention called without torch.compile"):
        flexible = flex_attention(q, k, v, block_mask=blocks)
    torch.testing.assert_close(local_attention(q, k, v, 32), flexible, rtol=0, atol=2e-6)


def layers_of_the_same_weights(dtype=torch.float64):
    torch.manual_seed(0)
    full = MultiHeadAttention(12, 3).to(dtype)
    local = LocalAttention(12, 3, window=4).to(dtype)
    local.load_state_dict(full.state_dict())
    masked = MaskedAttention(12, 3, lambda T, device: local_mask(T, 4, device)).to(dtype)
    masked.load_state_dict(full.state_dict())
    return full, local, masked


def test_the_layers_agree():
    full, local, masked = layers_of_the_same_weights()
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    torch.testing.assert_close(local(x), masked(x), **EXACT)
    torch.testing.assert_close(local(x[:, :4]), full(x[:, :4]), **EXACT)
    weights = local.attention_weights(x)
    assert (weights[..., local_mask(10, 4)] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 10, dtype=torch.float64))
    values = full.heads(x)[2]
    attended = (weights @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(local.output(attended), local(x), **EXACT)


def test_dropout_is_of_training_alone():
    torch.manual_seed(0)
    for layer in (
        LocalAttention(12, 3, window=4, dropout=0.5),
        MaskedAttention(12, 3, local_mask, 0.5),
    ):
        if not isinstance(layer, LocalAttention):
            layer.mask = lambda T, device: local_mask(T, 4, device)
        x = torch.randn(2, 10, 12)
        assert not torch.equal(layer(x), layer(x))
        layer.eval()
        torch.testing.assert_close(layer(x), layer(x), **EXACT)


def test_as_many_keys_as_queries_is_multi_head_attention():
    torch.manual_seed(0)
    full = MultiHeadAttention(12, 3).double()
    grouped = GroupedQueryAttention(12, 3, n_kv_head=3).double()
    grouped.load_state_dict(full.state_dict())
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(grouped(x), full(x), **EXACT)
    torch.testing.assert_close(grouped.attention_weights(x), full.attention_weights(x), **EXACT)


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_grouped_queries_against_a_loop_and_against_pytorch(n_kv_head):
    torch.manual_seed(0)
    layer = GroupedQueryAttention(16, 4, n_kv_head).double()
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    q, k, v = layer.query_key_value(x).split([16, 4 * n_kv_head, 4 * n_kv_head], dim=-1)
    heads = []
    for head in range(4):
        its, group = slice(4 * head, 4 * head + 4), head // (4 // n_kv_head)
        theirs = slice(4 * group, 4 * group + 4)
        hidden = future_mask(6, x.device)
        heads.append(masked_attention(q[..., its], k[..., theirs], v[..., theirs], hidden))
    torch.testing.assert_close(layer(x), layer.output(torch.cat(heads, dim=-1)), **EXACT)
    cut = [part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in (q, k, v)]
    own = F.scaled_dot_product_attention(*cut, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(layer(x), layer.output(own.transpose(1, 2).flatten(2)), **EXACT)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_decoder_that_sees_no_future(name):
    model = build(name, 11).double().eval()
    tokens = torch.randint(11, (2, 64), generator=torch.Generator().manual_seed(0))
    logits, loss = model(tokens, tokens)
    assert logits.shape == (2, 64, 11) and abs(loss.item() - math.log(11)) < 0.2
    changed = tokens.clone()
    changed[:, 40:] = (tokens[:, 40:] + 1) % 11
    torch.testing.assert_close(model(changed)[0][:, :40], logits[:, :40], **EXACT)
    assert not torch.equal(model(changed)[0][:, 40:], logits[:, 40:])


def test_what_each_variant_reaches_through_three_layers():
    tokens = torch.randint(11, (1, 64), generator=torch.Generator().manual_seed(0))
    for name, seen_from in (("local", 45), ("strided", 63), ("multi-query", 63)):
        model = build(name, 11).double().eval()
        x = model.token_embedding(tokens).detach().requires_grad_()
        hidden = x
        for block in model.blocks:
            hidden = block(hidden)
        hidden[0, 63].sum().backward()
        reached = (x.grad[0].abs().sum(dim=-1) > 0).nonzero().min().item()
        assert 63 - reached == seen_from, name  # 3 · (16 − 1) for the local one


def test_a_wide_window_and_full_groups_leave_the_decoder_as_it_was():
    sizes = {"vocab_size": 11, "context_length": 12, "n_embd": 16, "n_head": 4, "n_layer": 2}
    torch.manual_seed(0)
    decoder = DecoderTransformer(DecoderConfig(**sizes)).double()
    tokens = torch.randint(11, (2, 12))
    for dial in ({"window": 12}, {"stride": 12}, {"n_kv_head": 4}):
        variant = VariantTransformer(VariantConfig(**sizes, **dial)).double()
        variant.load_state_dict(decoder.state_dict())
        torch.testing.assert_close(variant(tokens)[0], decoder(tokens)[0], **EXACT)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({}, "give one of window, stride, n_kv_head, and not none"),
        ({"window": 3, "stride": 2}, "give one of window, stride, n_kv_head, and not {'window'"),
        ({"window": 0}, "window must be a whole number from 1 on, and is 0"),
        ({"stride": -1}, "stride must be a whole number from 1 on, and is -1"),
        ({"n_kv_head": True}, "n_kv_head must be a whole number from 1 on, and is True"),
        ({"n_kv_head": 3}, "n_head must divide by n_kv_head, and 4 does not divide by 3"),
    ],
)
def test_dials_that_do_not_fit_are_named(dials, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VariantConfig(vocab_size=11, **dials)


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_the_cache_holds_fewer_keys_and_changes_nothing(n_kv_head):
    config = VariantConfig(11, context_length=16, n_embd=16, n_layer=2, n_kv_head=n_kv_head)
    torch.manual_seed(0)
    model = VariantTransformer(config).double().eval()
    cache = KVCache(model, 2)
    assert cache.keys[0].shape == cache.values[1].shape == (2, n_kv_head, 16, 4)
    tokens = torch.randint(11, (2, 9))
    with torch.no_grad():
        cache.read(tokens[:, :5], [5, 5])
        last = torch.cat([cache.read(tokens[:, [t]], [1, 1]) for t in range(5, 9)], dim=1)[:, -1]
        torch.testing.assert_close(last, next_logits(model, list(tokens)), rtol=0, atol=1e-10)
    texts = [
        generate(model, tokens, 20, generator=torch.Generator().manual_seed(0), cached=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*texts)


def test_a_local_model_is_written_with_without_the_cache():
    assert not can_cache(build("local", 11)) and not can_cache(build("strided", 11))
    assert can_cache(build("multi-query", 11))
