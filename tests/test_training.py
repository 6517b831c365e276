import math

import pytest
import torch

from llm_course.data import split
from llm_course.evaluation import evaluate
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.training import TrainConfig, train


@pytest.fixture
def data():
    return split(torch.arange(7).repeat(60))


def fresh_model():
    torch.manual_seed(0)
    return BigramLM(BigramConfig(7, 8, 4))


def test_training_learns_and_records(data):
    model = fresh_model()
    config = TrainConfig(steps=250, batch_size=4, learning_rate=0.05, eval_every=100)
    seen = []
    history = train(model, data, config, callback=lambda step, record: seen.append(step))
    assert history.steps == seen == [0, 100, 200, 250]
    assert history.tokens == [step * 4 * 8 for step in seen]
    assert history.seconds[0] == 0 and history.seconds == sorted(history.seconds)
    assert history.val_loss[0] == pytest.approx(math.log(7), abs=0.05)
    assert history.val_loss[-1] < 0.1
    assert history.val_loss[-1] == pytest.approx(evaluate(model, data.val))
    assert len(history.train_loss) == 4


def test_the_same_seed_gives_the_same_weights(data):
    def weights(seed):
        model = fresh_model()
        train(model, data, TrainConfig(steps=20, batch_size=4, seed=seed))
        return model.output.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_evaluating_more_often_does_not_change_the_training(data):
    def weights(eval_every):
        model = fresh_model()
        train(model, data, TrainConfig(steps=20, batch_size=4, eval_every=eval_every))
        return model.output.weight.detach()

    assert torch.equal(weights(1), weights(20))


def test_progress_in_a_log_is_a_line_an_evaluation(data, capsys):
    history = train(fresh_model(), data, TrainConfig(steps=20, batch_size=4, eval_every=10))
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines() == [
        f"step {step} of 20: validation loss {loss:.3f}"
        for step, loss in zip([10, 20], history.val_loss[1:], strict=True)
    ]


def test_progress_in_a_terminal_rewrites_one_line_and_leaves_none(data, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    train(fresh_model(), data, TrainConfig(steps=20, batch_size=4))
    shown = capsys.readouterr()
    assert "training" in shown.out and "\n" not in shown.out
    assert shown.out.rsplit("\r", 1)[-1].strip() == "" and shown.err == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("eval_every", -1),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("eval_windows", 0),
    ],
)
def test_a_bad_configuration_names_the_value(field, value):
    with pytest.raises(ValueError, match=f"{field} must .* {value}"):
        TrainConfig(**{field: value})
