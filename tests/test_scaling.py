import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.scaling import (
    PowerLaw,
    count_parameters,
    fit_power_law,
    lowest_point,
    training_flops,
)


@pytest.mark.parametrize("sizes", [(65, 64, 128, 3), (7, 9, 16, 1), (300, 16, 32, 5)])
def test_the_counts_are_those_of_the_model(sizes):
    V, T, C, L = sizes
    model = DecoderTransformer(DecoderConfig(V, context_length=T, n_embd=C, n_head=4, n_layer=L))
    assert count_parameters(*sizes) == sum(p.numel() for p in model.parameters())
    tokens = torch.zeros(2, T, dtype=torch.long)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        model(tokens)
    assert training_flops(*sizes, n_tokens=2 * T) == 3 * counter.get_total_flops()


@pytest.mark.parametrize(
    ("C", "L", "published"),
    [
        (768, 12, 124_439_808),
        (1024, 24, 354_823_168),
        (1280, 36, 774_030_080),
        (1600, 48, 1_557_611_200),
    ],
)
def test_gpt2_has_the_published_parameters(C, L, published):
    assert count_parameters(50257, 1024, C, L, tied=True) == published
    with torch.device("meta"):  # shapes alone
        model = DecoderTransformer(
            DecoderConfig(50257, context_length=1024, n_embd=C, n_head=C // 64, n_layer=L)
        )
        model.output.weight = model.token_embedding.weight
    assert sum(p.numel() for p in model.parameters()) == published


def test_gpt3_is_as_large_and_as_dear_as_its_paper_says():
    assert count_parameters(50257, 2048, 12288, 96, tied=True) == pytest.approx(175e9, rel=0.02)
    assert training_flops(50257, 2048, 12288, 96, 300_000_000_000) == pytest.approx(
        3.14e23, rel=0.05
    )


@pytest.mark.parametrize("law", [PowerLaw(0.6, 500.0, 0.3), PowerLaw(0.0, 30.0, 0.1)])
def test_a_law_is_found_again(law):
    flops = [1e10, 1e11, 1e12, 1e13]
    found = fit_power_law(flops, [law.predict(c) for c in flops])
    assert abs(found.E - law.E) < 0.01
    assert found.alpha == pytest.approx(law.alpha, rel=0.03)
    assert found.predict(1e15) == pytest.approx(law.predict(1e15), abs=0.01)


def test_what_is_no_law_is_refused():
    with pytest.raises(ValueError, match="no three points"):
        fit_power_law([1e10, 1e11], [2.0, 1.0])
    with pytest.raises(ValueError, match="above 0"):
        fit_power_law([1e10, 1e11, 1e12], [2.0, 1.0, math.nan])


def test_the_bottom_of_a_valley_is_found():
    sizes = [1e4, 3e4, 1e5, 3e5]
    losses = [1.5 + 0.1 * math.log(size / 7e4) ** 2 for size in sizes]
    size, loss = lowest_point(sizes, losses)
    assert size == pytest.approx(7e4, rel=1e-3) and loss == pytest.approx(1.5)
    with pytest.raises(ValueError, match="no valley"):
        lowest_point(sizes, [-loss for loss in losses])
