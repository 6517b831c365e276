import math

import pytest
import torch
from torch import nn

from llm_course.models import modern_transformer
from llm_course.models.modern_transformer import (
    ATTENTION_SCALE,
    ModernAttention,
    ModernConfig,
    ModernTransformer,
    rms_norm,
    rotations,
)
from llm_course.recipes import RECIPES, build


def model(dtype=torch.float64, **sizes):
    torch.manual_seed(0)
    config = ModernConfig(
        11, **{"context_length": 8, "n_embd": 12, "n_head": 3, "n_layer": 2} | sizes
    )
    made = ModernTransformer(config).to(dtype).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def test_rms_norm_is_pytorchs_and_its_formula(generator):
    x = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(rms_norm(x), nn.RMSNorm(5, eps=1e-6).double()(x))
    torch.testing.assert_close(rms_norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())


def test_a_rotation_turns_pairs_and_keeps_their_length():
    cos, sin = rotations(8, 6)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones(8, 1, 1, 3))
    torch.testing.assert_close(sin[:, 0, 0, 0], torch.arange(8).float().sin())


def test_scores_depend_on_the_distance_alone(generator):
    attention = ModernAttention(12, 3).double()
    nn.init.normal_(attention.query_key_value.weight)
    rotation = rotations(16, 4).double()
    x = torch.randn(1, 1, 12, generator=generator, dtype=torch.float64).expand(1, 16, 12)
    q, k, _ = attention.heads(x, rotation)  # the same content at every place
    scores = (q @ k.transpose(-2, -1))[0, 0]
    for distance in range(4):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert scores.diagonal().std() < 1e-5 < (scores[10, 10] - scores[10, 9]).abs()


def test_the_loop_over_heads_gives_the_same(generator):
    attention = ModernAttention(12, 3).double()
    nn.init.normal_(attention.output.weight)
    rotation = rotations(8, 4).double()
    x = torch.randn(2, 8, 12, generator=generator, dtype=torch.float64)
    q, k, v = attention.heads(x, rotation)
    weights = attention.attention_weights(x, rotation)
    outputs = []
    for head in range(3):
        scores = ATTENTION_SCALE * q[:, head] @ k[:, head].mT
        by_hand = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), -math.inf).softmax(-1)
        torch.testing.assert_close(weights[:, head], by_hand)
        outputs.append(by_hand @ v[:, head])
    torch.testing.assert_close(attention(x, rotation), attention.output(torch.cat(outputs, -1)))


def test_no_place_sees_the_future(generator):
    modern = model()
    tokens = torch.randint(11, (2, 8), generator=generator)
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 11
    before, after = modern(tokens)[0], modern(changed)[0]
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.equal(before[:, 5], after[:, 5])


def test_it_begins_as_a_blind_guess(generator):
    modern = build("modern", 65)
    tokens = torch.randint(65, (2, 64), generator=generator)
    _, loss = modern(tokens, tokens)
    assert loss.item() == pytest.approx(math.log(65), abs=1e-4)
    n_parameters = sum(p.numel() for p in modern.parameters())
    assert (
        n_parameters == 2 * 65 * 128 + 4 * 12 * 128**2 <= 804_096
    )  # nanoGPT's, on this vocabulary


def test_low_precision_is_for_training_only(generator):
    modern = model(torch.float32)
    tokens = torch.randint(11, (2, 8), generator=generator)
    exact = modern(tokens)[0]
    modern.training_dtype = torch.bfloat16
    assert torch.equal(modern(tokens)[0], exact)
    rough = modern.train()(tokens)[0]
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.2)


def test_impossible_sizes_are_named():
    with pytest.raises(ValueError, match="must be even, .* and is 3"):
        ModernConfig(11, n_embd=12, n_head=4)


def test_the_recipes_use_what_they_name():
    for name in ("modern", "sprint"):
        config = RECIPES[name].training
        assert config.muon_rate and config.decay
        assert modern_transformer.ModernTransformer is type(build(name, 65))


def test_dropout_acts_in_training_alone(generator):
    wet = model(dropout=0.5)
    tokens = torch.randint(11, (2, 8), generator=generator)
    torch.testing.assert_close(wet(tokens)[0], model()(tokens)[0])
    wet.train()
    assert not torch.equal(wet(tokens)[0], wet(tokens)[0])
