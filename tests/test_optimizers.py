import pytest
import torch
from torch import nn

from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.optimizers import Muon, fastest_dtype, make_optimizers, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 10), (2, 20, 5)])
def test_singular_values_come_near_one_and_vectors_stay(shape, generator):
    matrices = torch.randn(*shape, generator=generator, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalise(matrices, steps=8, dtype=torch.float64)
    assert result.shape == matrices.shape and result.dtype == matrices.dtype
    inner = u.mT @ result @ vh.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert values.min() > 0.6 and values.max() < 1.3
    torch.testing.assert_close(inner, torch.diag_embed(values), rtol=0, atol=1e-6)


def test_a_batch_is_each_matrix_by_itself(generator):
    matrices = torch.randn(4, 5, 7, generator=generator)
    alone = torch.cat([orthogonalise(m[None], dtype=torch.float32) for m in matrices])
    torch.testing.assert_close(orthogonalise(matrices, dtype=torch.float32), alone)


@pytest.mark.parametrize("weight_decay", [0.0, 2.0])
def test_muon_is_pytorchs(generator, weight_decay):
    shapes = [(6, 6), (12, 4), (4, 12), (6, 6)]
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [nn.Parameter(matrix.detach().clone()) for matrix in ours]
    muon = Muon(ours, lr=0.02, momentum=0.9, weight_decay=weight_decay)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=weight_decay)
    begin = [matrix.detach().clone() for matrix in ours]
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        muon.step()
        reference.step()
    for mine, other, before in zip(ours, theirs, begin, strict=True):
        moved = (other - before).norm()
        difference = (mine - other).norm() / moved
        assert difference < 0.05  # both round to bfloat16, in another order


def test_who_trains_what():
    model = DecoderTransformer(DecoderConfig(11, 8, 12, n_head=3, n_layer=2))
    (adamw,) = make_optimizers(model, 1e-3, None)
    assert len(adamw.param_groups[0]["params"]) == len(list(model.parameters()))
    adamw, muon = make_optimizers(model, 1e-3, 0.02, weight_decay=0.3)
    assert [optimizer.param_groups[0]["weight_decay"] for optimizer in (adamw, muon)] == [0.3, 0.3]
    moved = muon.param_groups[0]["params"]
    assert len(moved) == 2 * 4 and all(matrix.ndim == 2 for matrix in moved)
    assert len(moved) + len(adamw.param_groups[0]["params"]) == len(list(model.parameters()))
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (1e-3, 0.02)


def test_what_muon_cannot_move_is_named():
    with pytest.raises(ValueError, match=r"has shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match="BigramLM has no blocks"):
        make_optimizers(BigramLM(BigramConfig(5)), 1e-3, 0.02)


def test_a_matrix_without_a_gradient_stays():
    matrix = nn.Parameter(torch.ones(3, 3))
    Muon([matrix], lr=0.1).step()
    assert torch.equal(matrix, torch.ones(3, 3))


def test_the_precision_is_one_of_two_and_measured_once():
    first = fastest_dtype(torch.device("cpu"))
    assert first in (torch.float32, torch.bfloat16) and fastest_dtype(torch.device("cpu")) is first
