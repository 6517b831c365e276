import math
import time

import pytest
import torch

from llm_course.data import Split, split
from llm_course.evaluation import count_windows, evaluate
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
        ("warmup_steps", -1),
        ("max_grad_norm", 0.0),
    ],
)
def test_a_bad_configuration_names_the_value(field, value):
    with pytest.raises(ValueError, match=f"{field} must .* {value}"):
        TrainConfig(**{field: value})


def test_the_losses_are_those_of_the_two_parts():
    data = split(torch.cat([torch.arange(7).repeat(60), torch.zeros(47, dtype=torch.long)]))
    model = fresh_model()
    history = train(model, data, TrainConfig(steps=200, batch_size=4, learning_rate=0.05))
    assert history.val_loss[-1] == pytest.approx(evaluate(model, data.val))
    assert history.train_loss[-1] == pytest.approx(
        evaluate(model, data.train, count_windows(data.val, 8)), rel=1e-6
    )
    assert history.val_loss[-1] > history.train_loss[-1] + 1  # the last part is not like the first


def test_few_windows_are_enough_for_a_curve(data):
    def first_loss(eval_windows):
        model = fresh_model()
        config = TrainConfig(steps=1, batch_size=4, eval_windows=eval_windows)
        return train(model, data, config).val_loss[0]

    model = fresh_model()
    assert first_loss(3) == pytest.approx(evaluate(model, data.val, n_windows=3))
    assert first_loss(None) == pytest.approx(evaluate(model, data.val))
    assert first_loss(3) != first_loss(None)


def test_it_trains_in_training_mode_and_by_adamw(data):
    modes = []

    class Watched(BigramLM):
        def forward(self, tokens, targets=None):
            if targets is not None:
                modes.append(self.training)
            return super().forward(tokens, targets)

    torch.manual_seed(0)
    model = Watched(BigramConfig(7, 8, 4)).eval()
    untouched = model.token_embedding.weight.detach()[6].clone()
    only_zeros = Split(torch.zeros(50, dtype=torch.long), torch.zeros(50, dtype=torch.long))
    train(
        model, only_zeros, TrainConfig(steps=1, batch_size=4, learning_rate=0.1, weight_decay=0.5)
    )
    assert modes == [True]
    # A row without a gradient moves by weight decay alone: by the factor 1 − 0.1 · 0.5 in AdamW.
    torch.testing.assert_close(model.token_embedding.weight[6], 0.95 * untouched)


def test_weight_decay_is_off_unless_asked_for():
    assert TrainConfig().weight_decay == 0


def test_seconds_count_steps_and_not_evaluations(data):
    started = time.perf_counter()
    config = TrainConfig(steps=3, batch_size=4, eval_every=1)
    history = train(fresh_model(), data, config, callback=lambda step, record: time.sleep(0.2))
    assert 0 < history.seconds[-1] < time.perf_counter() - started - 0.8


def test_the_learning_rate_climbs_and_falls_on_straight_lines():
    config = TrainConfig(steps=10, learning_rate=0.8, warmup_steps=4, decay=True)
    rates = [config.learning_rate_at(step) for step in range(1, 11)]
    expected = [0.2, 0.4, 0.6, 0.8, 0.8, 0.8 * 5 / 6, 0.8 * 4 / 6, 0.4, 0.8 * 2 / 6, 0.8 / 6]
    assert rates == pytest.approx(expected)
    plain = TrainConfig(steps=10, learning_rate=0.8)
    assert {plain.learning_rate_at(step) for step in range(1, 11)} == {0.8}
    only_warm = TrainConfig(steps=3, learning_rate=0.8, warmup_steps=8, decay=True)
    assert only_warm.learning_rate_at(3) == pytest.approx(0.3)


def test_the_optimizer_follows_the_learning_rate(data, monkeypatch):
    used = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a: used.append(self.param_groups[0]["lr"]) or step(self, *a),
    )
    config = TrainConfig(steps=6, batch_size=4, learning_rate=0.1, warmup_steps=2, decay=True)
    train(fresh_model(), data, config)
    assert used == [config.learning_rate_at(step) for step in range(1, 7)]


def test_a_long_gradient_is_shortened_and_a_short_one_is_not(data, monkeypatch):
    lengths = []
    step = torch.optim.AdamW.step

    def watched(self, *arguments):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        lengths.append(torch.cat(gradients).norm().item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    for limit in (None, 1e6, 1e-3):
        train(fresh_model(), data, TrainConfig(steps=1, batch_size=4, max_grad_norm=limit, seed=2))
    assert lengths[0] == pytest.approx(lengths[1]) and lengths[0] > 0.01
    assert lengths[2] == pytest.approx(1e-3, rel=1e-3)
