"""The attention models: equal to PyTorch's own, and with the properties that make them what they are."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llm_course.data import get_batch
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.multi_head_attention import MultiHeadAttention, MultiHeadConfig, MultiHeadLM
from llm_course.models.single_block_transformer import (
    BlockConfig,
    FeedForward,
    LayerNorm,
    SingleBlockTransformer,
    TransformerBlock,
)
from llm_course.models.single_head_attention import (
    SingleHeadAttention,
    SingleHeadConfig,
    SingleHeadLM,
)
from llm_course.recipes import build
from llm_course.recording import attention_maps, record_attention
from llm_course.tokenizers import CharTokenizer

LANGUAGE_MODELS = {
    "single head": lambda: SingleHeadLM(SingleHeadConfig(11, 12, 20)),
    "multi head": lambda: MultiHeadLM(MultiHeadConfig(11, 12, 20, n_head=5)),
    "decoder": lambda: DecoderTransformer(DecoderConfig(11, 12, 20, n_head=5, n_layer=3)),
    "block": lambda: SingleBlockTransformer(BlockConfig(11, 12, 20, n_head=5, n_layer=2)),
}


@pytest.fixture(params=LANGUAGE_MODELS)
def model(request):
    torch.manual_seed(0)
    return LANGUAGE_MODELS[request.param]()


def assert_same(ours, theirs, x, parameters=()):
    """Values and gradients of both, in float64, by x and by the paired parameters, to 1e-10."""
    results = []
    for module in (ours, theirs):
        inputs = x.clone().requires_grad_()
        out = module(inputs)
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        (out * weights).sum().backward()
        results.append((out, inputs.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
    for mine, other in parameters:
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-10)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def causal(T):
    return nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)


def test_one_head_is_the_librarys_attention():
    torch.manual_seed(0)
    head = SingleHeadAttention(6, 4).double()

    def library(x):
        return F.scaled_dot_product_attention(
            head.query(x), head.key(x), head.value(x), is_causal=True
        )

    assert_same(head, library, draw(2, 7, 6))


def test_one_head_is_the_loop_of_its_formula():
    torch.manual_seed(0)
    head, x = SingleHeadAttention(6, 4).double(), draw(2, 5, 6)
    q, k, v = head.query(x), head.key(x), head.value(x)
    out = head(x)
    for b in range(2):
        for t in range(5):
            scores = torch.stack([q[b, t] @ k[b, s] / math.sqrt(4) for s in range(t + 1)])
            mixed = sum(w * v[b, s] for s, w in enumerate(scores.exp() / scores.exp().sum()))
            torch.testing.assert_close(out[b, t], mixed, rtol=0, atol=1e-10)


def test_heads_at_once_are_heads_in_a_loop():
    torch.manual_seed(0)
    fused = MultiHeadAttention(12, 3).double()
    q, k, v = fused.query_key_value.weight.chunk(3)
    qb, kb, vb = fused.query_key_value.bias.chunk(3)

    def loop(x):
        outs = []
        for h in range(3):
            rows = slice(4 * h, 4 * h + 4)
            scores = (x @ q[rows].T + qb[rows]) @ (x @ k[rows].T + kb[rows]).transpose(1, 2) / 2
            scores = scores + causal(x.shape[1])
            outs.append(scores.softmax(-1) @ (x @ v[rows].T + vb[rows]))
        return fused.output(torch.cat(outs, dim=-1))

    assert_same(fused, loop, draw(2, 7, 12))


def test_heads_at_once_are_single_heads_side_by_side():
    torch.manual_seed(0)
    fused = MultiHeadAttention(12, 3).double()
    nn.init.zeros_(fused.query_key_value.bias)
    heads = [SingleHeadAttention(12, 4).double() for _ in range(3)]
    for part, name in zip(
        fused.query_key_value.weight.chunk(3), ("query", "key", "value"), strict=True
    ):
        for head, weight in zip(heads, part.chunk(3), strict=True):
            getattr(head, name).weight.data = weight.detach().clone()
    assert_same(fused, lambda x: fused.output(torch.cat([h(x) for h in heads], -1)), draw(2, 7, 12))


def library_attention(ours):
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    theirs.in_proj_weight.data = ours.query_key_value.weight.detach().clone()
    theirs.in_proj_bias.data = ours.query_key_value.bias.detach().clone()
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    return theirs


def test_multi_head_attention_is_the_librarys():
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3).double()
    theirs = library_attention(ours)
    assert_same(
        ours,
        lambda x: theirs(x, x, x, attn_mask=causal(7), need_weights=False)[0],
        draw(2, 7, 12),
        [
            (ours.query_key_value.weight, theirs.in_proj_weight),
            (ours.output.bias, theirs.out_proj.bias),
        ],
    )
    x = draw(2, 7, 12)
    _, weights = theirs(x, x, x, attn_mask=causal(7), average_attn_weights=False)
    torch.testing.assert_close(ours.attention_weights(x), weights, rtol=0, atol=1e-10)


def test_layer_norm_is_the_librarys():
    ours, theirs = LayerNorm(9).double(), nn.LayerNorm(9).double()
    ours.weight.data = theirs.weight.data = draw(9)
    ours.bias.data = theirs.bias.data = draw(9) / 3
    assert_same(
        ours,
        theirs,
        5 * draw(2, 7, 9) + 3,
        [(ours.weight, theirs.weight), (ours.bias, theirs.bias)],
    )


def test_layer_norm_is_its_formula():
    norm = LayerNorm(9).double()
    norm.weight.data, norm.bias.data = draw(9), draw(9)
    x = 5 * draw(2, 7, 9) + 3
    torch.testing.assert_close(norm(x), norm.by_formula(x), rtol=0, atol=1e-12)


def library_block(ours):
    theirs = nn.TransformerEncoderLayer(12, 3, 48, dropout=0.0, norm_first=True, batch_first=True)
    theirs = theirs.double()
    theirs.self_attn = library_attention(ours.attention)
    theirs.linear1.load_state_dict(ours.feed_forward.wider.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.back.state_dict())
    for mine, other in ((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2)):
        other.load_state_dict(mine.state_dict())
    return theirs


def test_a_block_is_the_librarys():
    torch.manual_seed(0)
    ours = TransformerBlock(12, 3).double()
    for norm in (ours.norm1, ours.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    theirs = library_block(ours)
    assert_same(
        ours,
        lambda x: theirs(x, src_mask=causal(7)),
        draw(2, 7, 12),
        [
            (ours.feed_forward.wider.weight, theirs.linear1.weight),
            (ours.norm1.weight, theirs.norm1.weight),
        ],
    )


def test_the_decoder_is_a_stack_of_the_librarys_layers():
    torch.manual_seed(0)
    ours = DecoderTransformer(DecoderConfig(11, 7, 12, n_head=3, n_layer=4)).double()
    theirs = nn.TransformerEncoder(library_block(ours.blocks[0]), 4, enable_nested_tensor=False)
    for i, block in enumerate(ours.blocks):
        theirs.layers[i] = library_block(block)
    tokens = torch.randint(11, (2, 7), generator=torch.Generator().manual_seed(1))
    x = ours.token_embedding(tokens) + ours.position_embedding(torch.arange(7))
    library = ours.output(F.layer_norm(theirs(x, mask=causal(7)), (12,)))
    torch.testing.assert_close(ours(tokens)[0], library, rtol=0, atol=1e-10)

    library.square().sum().backward()
    by_library = [layer.linear1.weight.grad.clone() for layer in theirs.layers]
    ours.zero_grad()
    ours(tokens)[0].square().sum().backward()
    for block, gradient in zip(ours.blocks, by_library, strict=True):
        torch.testing.assert_close(
            block.feed_forward.wider.weight.grad, gradient, rtol=1e-10, atol=1e-10
        )


def test_the_decoder_has_the_size_that_its_formula_says():
    V, T, C, L = 65, 64, 128, 3
    decoder = DecoderTransformer(DecoderConfig(V))
    per_block = (
        2 * 2 * C + (3 * C * C + 3 * C) + (C * C + C) + (4 * C * C + 4 * C) + (4 * C * C + C)
    )
    expected = V * C + T * C + L * per_block + 2 * C + C * V
    assert sum(p.numel() for p in decoder.parameters()) == expected == 619_904


def test_dropout_works_in_training_only():
    torch.manual_seed(0)
    block, x = TransformerBlock(12, 3, dropout=0.5).double(), draw(2, 7, 12)
    assert not torch.equal(block(x), block(x))
    block.eval()
    plain = TransformerBlock(12, 3).double()
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block(x), plain(x))
    dropped = FeedForward(12, dropout=0.5).double()(x)
    assert 0.3 < (dropped == 0).double().mean() < 0.7


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(LANGUAGE_MODELS)),
    st.integers(1, 3),
    st.integers(2, 12),
    st.integers(0, 2**16),
)
def test_nothing_depends_on_later_tokens(name, B, T, seed):
    generator = torch.Generator().manual_seed(seed)
    model = LANGUAGE_MODELS[name]().double()
    tokens = torch.randint(11, (B, T), generator=generator)
    place = int(torch.randint(1, T, (), generator=generator))
    changed = tokens.clone()
    changed[:, place:] = (changed[:, place:] + 1) % 11
    before, after = model(tokens)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :place], after[:, :place], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, place], after[:, place])


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 12), st.integers(0, 2**16))
def test_without_positions_one_layer_does_not_see_the_order(T, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (2, T), generator=generator)
    order = torch.cat([torch.randperm(T - 1, generator=generator), torch.tensor([T - 1])])
    for name in ("single head", "multi head"):
        model = LANGUAGE_MODELS[name]().double()
        nn.init.zeros_(model.position_embedding.weight)
        last, shuffled = model(tokens)[0][:, -1], model(tokens[:, order])[0][:, -1]
        torch.testing.assert_close(last, shuffled, rtol=0, atol=1e-12)


def test_two_causal_layers_see_the_order_even_without_positions():
    torch.manual_seed(0)
    model = LANGUAGE_MODELS["block"]().double()
    nn.init.zeros_(model.position_embedding.weight)
    tokens = torch.tensor([[1, 2, 3, 4]])
    assert not torch.allclose(model(tokens)[0][:, -1], model(tokens[:, [1, 0, 2, 3]])[0][:, -1])


def test_recording_gives_every_map_and_changes_nothing(model, generator):
    tokens = torch.randint(11, (3, 9), generator=generator)
    before = copy.deepcopy(model.state_dict())
    plain = model(tokens)[0]
    with record_attention(model) as maps:
        watched = model(tokens)[0]
    assert torch.equal(plain, watched)
    assert len(maps) == getattr(model.config, "n_layer", 1)
    for weights in maps:
        assert weights.shape == (3, getattr(model.config, "n_head", 1), 9, 9)
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert (weights.triu(1) == 0).all() and (weights >= 0).all() and not weights.requires_grad
    model(tokens)
    assert len(maps) == getattr(model.config, "n_layer", 1), "the hooks are gone"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_maps_of_a_text_are_those_without_dropout():
    tokenizer = CharTokenizer("abcdefghijk")
    model = SingleBlockTransformer(
        BlockConfig(11, 12, 20, n_head=5, n_layer=2, dropout=0.5)
    ).train()
    maps = attention_maps(model, tokenizer, "cab")
    assert maps.shape == (2, 5, 3, 3) and model.training
    assert torch.equal(maps, attention_maps(model, tokenizer, "cab"))


def test_recording_ends_when_the_model_fails(model):
    with pytest.raises(IndexError), record_attention(model):
        model(torch.full((1, 4), 99))
    assert all(not module._forward_hooks for module in model.modules())


def test_it_begins_near_the_uniform_guess(model, generator):
    tokens, targets = torch.randint(11, (2, 64, 12), generator=generator)
    assert abs(model(tokens, targets)[1].item() - math.log(11)) < 0.05


def test_the_courses_decoder_begins_there_too(generator):
    tokens, targets = torch.randint(65, (2, 64, 64), generator=generator)
    for seed in range(3):  # those of the recorded runs
        model = build("decoder", 65, seed)
        assert abs(model(tokens, targets)[1].item() - math.log(65)) < 0.05


def test_it_can_learn_one_batch_by_heart(generator):
    tokens = torch.randint(11, (200,), generator=generator)
    inputs, targets = get_batch(tokens, 1, 12, generator)
    for make in LANGUAGE_MODELS.values():
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        for _ in range(1200):
            loss = model(inputs, targets)[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.05


def test_bad_sizes_are_named():
    with pytest.raises(
        ValueError, match="n_embd must divide by n_head, and 10 does not divide by 4"
    ):
        MultiHeadConfig(5, n_embd=10)
    with pytest.raises(ValueError, match=r"dropout must lie from 0 to below 1, and is 1.0"):
        BlockConfig(5, dropout=1.0)
    with pytest.raises(ValueError, match="n_layer must be a whole number from 1 on, and is 0"):
        BlockConfig(5, n_layer=0)
