import pytest
import torch
from torch import nn

from llm_course.models.block_variants import (
    NoNormBlock,
    NoResidualBlock,
    PostNormBlock,
    with_blocks,
)
from llm_course.models.single_block_transformer import BlockConfig, TransformerBlock


@pytest.fixture
def x():
    return torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def made(kind):
    torch.manual_seed(0)
    return kind(12, 3).double()


def test_post_norm_is_the_librarys_layer_with_its_norms_last(x):
    ours = made(PostNormBlock)
    theirs = nn.TransformerEncoderLayer(12, 3, 48, dropout=0.0, batch_first=True).double()
    theirs.self_attn.in_proj_weight.data = ours.attention.query_key_value.weight.data
    theirs.self_attn.in_proj_bias.data = ours.attention.query_key_value.bias.data
    theirs.self_attn.out_proj.load_state_dict(ours.attention.output.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.wider.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.back.state_dict())
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours(x), theirs(x, src_mask=mask), rtol=0, atol=1e-10)


def test_no_norm_is_the_block_with_norms_that_do_nothing(x):
    ours, plain = made(NoNormBlock), made(TransformerBlock)
    plain.norm1 = plain.norm2 = nn.Identity()
    torch.testing.assert_close(ours(x), plain(x))


def test_no_residual_is_one_part_after_the_other(x):
    ours = made(NoResidualBlock)
    parts = nn.Sequential(ours.norm1, ours.attention, ours.norm2, ours.feed_forward)
    torch.testing.assert_close(ours(x), parts(x))


@pytest.mark.parametrize("kind", [TransformerBlock, NoNormBlock, NoResidualBlock, PostNormBlock])
def test_a_transformer_of_variants_has_as_many_as_asked_for_and_looks_back_only(kind, generator):
    torch.manual_seed(0)
    model = with_blocks(BlockConfig(11, 12, 20, n_head=5, n_layer=3), kind)
    assert [type(block) for block in model.blocks] == [kind] * 3
    assert isinstance(model.norm, nn.Identity) == (kind in (NoNormBlock, PostNormBlock))
    tokens = torch.randint(11, (2, 9), generator=generator)
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 11
    before, after = model(tokens)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5], after[:, 5])


def test_the_variants_hold_the_same_numbers():
    states = [
        made(kind).state_dict()
        for kind in (TransformerBlock, NoNormBlock, NoResidualBlock, PostNormBlock)
    ]
    for state in states:
        assert all(torch.equal(value, states[0][name]) for name, value in state.items())
