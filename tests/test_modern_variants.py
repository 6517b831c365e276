import pytest
import torch

from llm_course.models.modern_variants import IDEAS
from llm_course.recipes import RECIPES, build
from llm_course.training import train

RECIPE = RECIPES["sprint"].training


def changed(name):
    model = build("sprint", 65)
    return model, IDEAS[name](model, RECIPE)


@pytest.mark.parametrize("name", IDEAS)
def test_what_is_left_still_looks_back_only(name, generator):
    model, _ = changed(name)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    tokens = torch.randint(65, (2, 9), generator=generator)
    other = torch.cat([tokens[:, :6], (tokens[:, 6:] + 1) % 65], dim=1)
    assert torch.equal(model(tokens)[0][:, :6], model(other)[0][:, :6])


@pytest.mark.parametrize("name", [name for name in IDEAS if name not in ("plain", "Muon")])
def test_taking_an_idea_out_changes_the_model(name, generator):
    model, config = changed(name)
    tokens = torch.randint(65, (2, 9), generator=generator)
    before = build("sprint", 65)
    before.training_dtype = torch.bfloat16  # also where this machine has no use for it
    if name != "bfloat16":
        model.training_dtype = torch.bfloat16
    torch.manual_seed(0)
    for block in (*model.blocks, *before.blocks):  # zeros hide what stands before them
        if name != "zeros":
            torch.nn.init.eye_(block.attention.output.weight)
            block.back.weight.data[:, :128] = torch.eye(128)
    if name != "zeros":
        torch.nn.init.eye_(model.output.weight), torch.nn.init.eye_(before.output.weight)
    assert config == RECIPE and not torch.equal(model(tokens)[0], before(tokens)[0])


def test_without_muon_adamw_moves_all(generator):
    _, config = changed("Muon")
    assert config.muon_rate is None and config.learning_rate < RECIPE.learning_rate


def test_every_stage_can_be_trained(generator):
    from dataclasses import replace

    from llm_course.data import Split

    tokens = torch.randint(65, (300,), generator=generator)
    for stage in range(len(IDEAS)):
        model, config = build("sprint", 65), RECIPE
        for take_out in list(IDEAS.values())[stage + 1 :]:
            config = take_out(model, config)
        short = replace(config, steps=2, batch_size=2, eval_every=2)
        history = train(model, Split(tokens, tokens[:100]), short)
        assert torch.tensor(history.val_loss).isfinite().all()
