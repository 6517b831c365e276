from dataclasses import replace

import pytest
import torch

from llm_course.data import Split, split
from llm_course.early_stopping import KeepBest
from llm_course.evaluation import evaluate
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.training import History, TrainConfig, train


def after(losses, patience=None):
    """Let it look at losses one by one; return it, and where it asked to end."""
    model = torch.nn.Linear(1, 1)
    best, history = KeepBest(model, patience), History()
    for step, loss in enumerate(losses):
        torch.nn.init.constant_(model.weight, step)
        history.val_loss.append(loss)
        if best(step, history):
            return best, step
    return best, None


def test_the_best_weights_are_kept_and_given_back():
    best, ended = after([3.0, 1.0, 2.0, 1.0, 4.0])
    assert (best.step, best.loss, ended) == (1, 1.0, None)  # a tie is no new best
    best.restore()
    assert best.model.weight.item() == 1


@pytest.mark.parametrize(("patience", "end"), [(1, 2), (2, 6), (3, 7), (4, None)])
def test_it_ends_after_so_many_in_a_row_without_a_new_best(patience, end):
    _, ended = after([3.0, 2.5, 2.6, 2.4, 2.3, 2.5, 2.3, 2.9], patience)
    assert ended == end


@pytest.mark.parametrize("patience", [0, -1, True])
def test_a_patience_that_is_none_is_refused(patience):
    with pytest.raises(ValueError, match=f"patience must be .* {patience}"):
        KeepBest(torch.nn.Linear(1, 1), patience)


def overfitting():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(7, (60,), generator=generator)  # there is nothing to learn but the slice
    torch.manual_seed(0)
    config = TrainConfig(steps=300, batch_size=4, learning_rate=0.05, eval_every=5)
    return BigramLM(BigramConfig(7, 8, 4)), Split(noise[:30], split(noise).train[30:]), config


def test_a_training_that_goes_on_beyond_its_best_is_refused(tmp_path):
    def interrupted(step, history):
        if step == 40:
            raise KeyboardInterrupt

    path = tmp_path / "a.training"
    model, data, config = overfitting()
    train(model, data, config, callback=interrupted, checkpoint=path)
    again, *_ = overfitting()
    best = KeepBest(again)
    with pytest.raises(ValueError, match=r"the best loss, \d.\d+, was measured before"):
        train(again, data, config, callback=best, checkpoint=path, resume=True)


def test_a_finished_training_has_no_best_weights_to_give_back(tmp_path):
    model, data, config = overfitting()
    call = {"config": replace(config, steps=5), "checkpoint": tmp_path / "a.training"}
    train(model, data, **call)
    best = KeepBest(model)
    train(model, data, **call, callback=best, resume=True)
    with pytest.raises(ValueError, match="no evaluation was seen, .*: train anew"):
        best.restore()


def test_a_training_ends_and_its_best_weights_come_back():
    model, data, config = overfitting()
    best = KeepBest(model, patience=2)
    history = train(model, data, config, callback=best)
    assert history.steps[-1] < 300 and len(history.steps) >= 3
    assert history.val_loss[-3] == min(history.val_loss) == best.loss
    assert history.steps[-3] == best.step
    best.restore()
    assert evaluate(model, data.val) == pytest.approx(best.loss)
