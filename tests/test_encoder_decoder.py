import dataclasses
import math

import pytest
import torch
from torch import nn

from llm_course.models.cross_attention import Attention
from llm_course.models.encoder_decoder import EncoderDecoderConfig, EncoderDecoderTransformer
from llm_course.models.pytorch_transformer import as_pytorch
from llm_course.recording import record_attention
from llm_course.translation import PADDING_TOKEN, TOKENIZER

V, PADDING = 11, 3
SIZES = {"context_length": 9, "n_embd": 12, "n_head": 2, "n_layer": 2}


def model(seed=0, **sizes):
    torch.manual_seed(seed)
    made = EncoderDecoderTransformer(EncoderDecoderConfig(V, **(SIZES | sizes))).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def texts(seed=0, lengths=((7, 4, 5), (6, 8, 3))):
    """Sources, and targets, of different lengths, filled up with padding."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for rows in lengths:
        tokens = torch.randint(4, V, (len(rows), max(rows)), generator=generator)
        for row, length in zip(tokens, rows, strict=True):
            row[length:] = PADDING
        made.append(tokens)
    return made


def copy_attention(ours, theirs):
    theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key_value.weight]).data.clone()
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key_value.bias]).data.clone()
    theirs.out_proj.load_state_dict(ours.output.state_dict())


@pytest.mark.parametrize("target_is_masked", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_pytorchs_transformer_forward_and_gradients(seed, target_is_masked):
    ours = model(seed)
    theirs = as_pytorch(ours)
    source, target = texts(seed)
    ours.zero_grad()

    embedded = ours.token_embedding(source) + ours.source_positions(torch.arange(source.shape[1]))
    embedded_target = ours.token_embedding(target)
    embedded_target = embedded_target + ours.target_positions(torch.arange(target.shape[1]))
    inputs = [part.detach().requires_grad_() for part in (embedded, embedded_target)]
    future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
    by_library = theirs(
        *inputs,
        tgt_mask=future,
        src_key_padding_mask=source == PADDING,
        memory_key_padding_mask=source == PADDING,
        tgt_key_padding_mask=target == PADDING if target_is_masked else None,
    )
    logits = ours.output(by_library)
    is_text = target != PADDING  # what is read there; the padding's own results count for nothing
    mine, _ = ours(source, target)
    torch.testing.assert_close(mine[is_text], logits[is_text], rtol=0, atol=1e-10)

    mine[is_text].square().sum().backward()
    by_us = [block.attention.query.weight.grad for block in [*ours.encoder, *ours.decoder]]
    by_us += [block.cross_attention.key_value.weight.grad for block in ours.decoder]
    tokens_by_us = ours.token_embedding.weight.grad.clone()
    output_by_us = ours.output.weight.grad.clone()
    ours.output.zero_grad()
    logits[is_text].square().sum().backward()
    layers = [*theirs.encoder.layers, *theirs.decoder.layers]
    by_them = [layer.self_attn.in_proj_weight.grad[:12] for layer in layers]
    by_them += [layer.multihead_attn.in_proj_weight.grad[12:] for layer in theirs.decoder.layers]
    torch.testing.assert_close(by_us, by_them, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(output_by_us, ours.output.weight.grad, rtol=1e-10, atol=1e-8)
    tokens_by_them = torch.zeros_like(tokens_by_us)
    for tokens, read in zip((source, target), inputs, strict=True):
        tokens_by_them.index_add_(0, tokens.flatten(), read.grad.flatten(0, 1))
    torch.testing.assert_close(tokens_by_us, tokens_by_them, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_attention_is_pytorchs_and_its_own_formula(seed):
    torch.manual_seed(seed)
    ours, theirs = Attention(12, 3).double(), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs = theirs.double()
    copy_attention(ours, theirs)
    x, memory = torch.randn(2, 5, 12).double(), torch.randn(2, 7, 12).double()
    hidden = torch.zeros(2, 1, 1, 7, dtype=torch.bool)
    hidden[1, ..., 4:] = True
    expected, weights = theirs(x, memory, memory, hidden[:, 0, 0], average_attn_weights=False)
    torch.testing.assert_close(ours(x, memory, hidden), expected, rtol=0, atol=1e-10)
    mine = ours.attention_weights(x, memory, hidden)
    torch.testing.assert_close(mine, weights, rtol=0, atol=1e-10)
    _, v = ours.key_value(memory).chunk(2, dim=-1)
    by_formula = ours.output((mine @ ours.heads(v)).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_formula, expected, rtol=0, atol=1e-10)


def test_padding_changes_nothing():
    made = model()
    source, target = texts()
    logits, loss = made(source, target, target)
    losses = []
    for b, (S, T) in enumerate([(7, 6), (4, 8), (5, 3)]):
        alone, alone_loss = made(
            source[b : b + 1, :S], target[b : b + 1, :T], target[b : b + 1, :T]
        )
        torch.testing.assert_close(logits[b, :T], alone[0], rtol=0, atol=1e-10)
        losses.append(alone_loss * T)
    torch.testing.assert_close(loss, sum(losses) / (6 + 8 + 3), rtol=0, atol=1e-10)


def test_the_decoder_does_not_see_the_future():
    made = model()
    source, target = texts(lengths=((7, 7), (8, 8)))
    changed = target.clone()
    changed[:, 5] = (changed[:, 5] - 3) % 7 + 4  # another token, and no special one
    before, after = made(source, target)[0], made(source, changed)[0]
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(dim=-1).all()


@pytest.mark.parametrize("place", [0, 3, 6])
def test_the_encoder_sees_both_sides_and_the_decoder_sees_it_all(place):
    made = model()
    source, target = texts(lengths=((7, 7), (8, 8)))
    changed = source.clone()
    changed[:, place] = (changed[:, place] - 3) % 7 + 4
    assert (made.encode(source) != made.encode(changed)).any(dim=-1).all()
    assert (made(source, target)[0] != made(changed, target)[0]).any(dim=-1).all()


def test_attention_is_recorded_in_the_order_in_which_it_runs():
    made = model()
    source, target = texts()
    with record_attention(made) as maps:
        before, _ = made(source, target)
    S, T = 7, 8
    encoder, decoder = [(3, 2, S, S)] * 2, [(3, 2, T, T), (3, 2, T, S)] * 2
    assert [tuple(weights.shape) for weights in maps] == encoder + decoder
    assert all(torch.allclose(w.sum(-1), torch.ones(()).double()) for w in maps)
    assert torch.equal(before, made(source, target)[0])
    assert (maps[3][1, :, :, 4:] == 0).all() and (maps[3][1, :, :, :4] > 0).all()


def test_it_begins_near_the_blind_guess():
    torch.manual_seed(0)
    fresh = EncoderDecoderTransformer(EncoderDecoderConfig(30))
    _, loss = fresh(torch.full((2, 5), 7), torch.full((2, 6), 8), torch.arange(4, 10).repeat(2, 1))
    assert loss.item() == pytest.approx(math.log(30), abs=0.2)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="padding must be one of the 11 tokens, and is 11"):
        EncoderDecoderConfig(V, padding=11)
    with pytest.raises(ValueError, match="must be three tokens, and are"):
        EncoderDecoderConfig(V, start=2)
    with pytest.raises(ValueError, match="n_embd must divide by n_head"):
        EncoderDecoderConfig(V, n_embd=11)
    source, target = texts()
    source[1] = PADDING
    with pytest.raises(ValueError, match="a source of padding alone"):
        model()(source, target)
    with pytest.raises(ValueError, match="10 tokens are too many for a window of 9"):
        model()(torch.full((1, 10), 5), target[:1])


def test_the_tokenizer_agrees_with_the_configuration():
    config = EncoderDecoderConfig(TOKENIZER.vocab_size)
    assert TOKENIZER.encode("<>_").tolist() == [config.start, config.end, config.padding]
    assert config.padding == PADDING_TOKEN
    assert dataclasses.replace(config, n_layer=3).n_layer == 3
