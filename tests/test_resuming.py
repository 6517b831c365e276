"""A training that goes on ends bit for bit as one that was never interrupted."""

import json
from dataclasses import replace

import pytest
import torch

from llm_course import training
from llm_course.data import Split, get_batch
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.recipes import RECIPES
from llm_course.tensor_file import CheckpointError, previous, read, write
from llm_course.training import DivergedError, TrainConfig, train

V = 7
SIZES = {"context_length": 8, "n_embd": 8, "n_head": 2, "n_layer": 2}


@pytest.fixture
def data():
    tokens = torch.randint(V, (400,), generator=torch.Generator().manual_seed(5))
    return Split(tokens[:300], tokens[300:])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.training"


def small(name, seed=0, **sizes):
    """Return a rung's model in a small size, and its training cut short."""
    recipe = RECIPES[name]
    fields = getattr(recipe.config, "func", recipe.config).__dataclass_fields__
    torch.manual_seed(seed)
    model = recipe.model(
        recipe.config(V, **{k: v for k, v in (SIZES | sizes).items() if k in fields})
    )
    config = replace(
        recipe.training, steps=12, batch_size=3, warmup_steps=0, eval_every=3, eval_windows=4
    )
    return model, config


class CrashError(Exception):
    pass


def crash_at(step):
    def callback(now, history):
        if now == step:
            raise CrashError

    return callback


def assert_same(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("name", RECIPES)
def test_every_model_goes_on_bit_for_bit(name, data, path):
    whole, config = small(name)
    expected = train(whole, data, config)
    broken, _ = small(name)
    with pytest.raises(CrashError):
        train(broken, data, config, crash_at(9), checkpoint=path)
    again, _ = small(name, seed=99)
    history = train(again, data, config, checkpoint=path, resume=True)
    assert_same(whole, again)
    assert history.val_loss == expected.val_loss and history.train_loss == expected.train_loss
    assert history.steps == expected.steps == [0, 3, 6, 9, 12]
    assert history.seconds == sorted(history.seconds)


@pytest.mark.parametrize(
    "options",
    [
        {"warmup_steps": 5, "decay": True},
        {"max_grad_norm": 0.01, "weight_decay": 0.1},
    ],
)
def test_so_do_dropout_schedule_and_clipping(data, path, options):
    def fresh(seed=0):
        model, config = small("decoder", seed, dropout=0.5)
        return model, replace(config, **options)

    whole, config = fresh()
    train(whole, data, config)
    broken, _ = fresh()
    with pytest.raises(CrashError):
        train(broken, data, config, crash_at(12), checkpoint=path)
    torch.rand(17)  # whatever else was drawn meanwhile
    again, _ = fresh(99)
    train(again, data, config, checkpoint=path, resume=True)
    assert_same(whole, again)


def test_the_precision_is_that_of_the_start(data, path):
    """A machine measures which precision is faster; on another day it may decide otherwise."""
    whole, config = small("modern")
    whole.training_dtype = torch.bfloat16
    train(whole, data, config)
    broken, _ = small("modern")
    broken.training_dtype = torch.bfloat16
    with pytest.raises(CrashError):
        train(broken, data, config, crash_at(6), checkpoint=path)
    again, _ = small("modern")
    again.training_dtype = torch.float32
    train(again, data, config, checkpoint=path, resume=True)
    assert again.training_dtype == torch.bfloat16
    assert_same(whole, again)


def test_a_finished_training_is_only_loaded(data, path, capsys):
    model, config = small("bigram")
    expected = train(model, data, config, checkpoint=path)
    again, _ = small("bigram", seed=1)
    history = train(again, data, config, checkpoint=path, resume=True)
    assert history == expected
    assert_same(model, again)
    assert "Going on with" in capsys.readouterr().out


def test_nothing_is_continued_or_overwritten_unasked(data, path, capsys):
    model, config = small("bigram")
    train(model, data, config, checkpoint=path)
    before = path.read_bytes()
    again, _ = small("bigram", seed=1)
    with pytest.raises(CheckpointError, match=r"step 12 of 12, validation loss .* resume=True"):
        train(again, data, config, checkpoint=path)
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(
        CheckpointError, match=r"a.training.previous is there already: step 9 of 12"
    ):
        train(again, data, config, checkpoint=path)
    path.write_text("my diary")
    with pytest.raises(CheckpointError, match="is no checkpoint .* choose another name"):
        train(again, data, config, checkpoint=path)
    assert path.read_text() == "my diary"


def test_with_nothing_to_go_on_with_it_begins_and_says_so(data, path, capsys):
    model, config = small("bigram")
    train(model, data, config, checkpoint=path, resume=True)
    assert "from the beginning" in capsys.readouterr().out


def test_going_on_needs_the_name_of_a_file(data):
    model, config = small("bigram")
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        train(model, data, config, resume=True)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_if_the_last_one_is_damaged_the_one_before_is_taken(data, path, damage, capsys):
    whole, config = small("block")
    train(whole, data, config)
    broken, _ = small("block")
    with pytest.raises(CrashError):
        train(broken, data, config, crash_at(9), checkpoint=path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()  # as between the two renames
    again, _ = small("block")
    train(again, data, config, checkpoint=path, resume=True)
    assert_same(whole, again)
    said = capsys.readouterr()
    assert "step 3 of 12" in said.out
    assert ("The one before it is taken" in said.err) == (damage == "cut")


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"steps": 13}, "steps is 12 there, and 13 here"),
        ({"learning_rate": 0.5}, "learning_rate is .* there, and 0.5 here"),
        ({"seed": 1}, "seed is 0 there, and 1 here"),
    ],
)
def test_another_training_is_refused_and_named(data, path, other, complaint):
    model, config = small("bigram")
    train(model, data, config, checkpoint=path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=complaint):
        train(model, data, replace(config, **other), checkpoint=path, resume=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_another_model_and_another_text_are_refused(data, path):
    model, config = small("block")
    train(model, data, config, checkpoint=path)
    decoder, _ = small("decoder")
    with pytest.raises(CheckpointError, match="SingleBlockTransformer, and this is a Decoder"):
        train(decoder, data, config, checkpoint=path, resume=True)
    wider, _ = small("block", n_embd=16)
    with pytest.raises(CheckpointError, match="n_embd is 8 there, and 16 here"):
        train(wider, data, config, checkpoint=path, resume=True)
    other = Split(data.train.flip(0), data.val)
    with pytest.raises(CheckpointError, match="another text"):
        train(model, other, config, checkpoint=path, resume=True)


def test_what_may_change_the_last_digits_is_told(data, path, capsys):
    model, config = small("bigram")
    train(model, data, config, checkpoint=path)
    header, tensors = read(path, "training")
    saved = json.loads(header["training"]) | {"threads": 77}
    write(path, "training", tensors, {"training": json.dumps(saved)}, keep_previous=False)
    train(model, data, config, checkpoint=path, resume=True)
    assert "threads: 77 there" in capsys.readouterr().err


def _hostile(path, change):
    header, tensors = read(path, "training")
    saved = json.loads(header["training"])
    change(saved, tensors)
    write(path, "training", tensors, {"training": json.dumps(saved)}, keep_previous=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved, tensors: saved.clear(),
        lambda saved, tensors: saved.update(history=[]),
        lambda saved, tensors: saved["history"].update(steps=["1"] * 5),
        lambda saved, tensors: saved["history"].update(steps=[]),
        lambda saved, tensors: saved["history"].update(more=[1]),
        lambda saved, tensors: saved.update(dtypes=["os.system", "None"]),
        lambda saved, tensors: saved.update(dtypes=["None"]),
        lambda saved, tensors: saved.update(config=3),
        lambda saved, tensors: tensors.pop("random.batches"),
        lambda saved, tensors: tensors.update({"random.dropout": torch.zeros(3)}),
        lambda saved, tensors: tensors.update({"random.batches": torch.zeros(5056)}),
        lambda saved, tensors: tensors.pop("model.output.weight"),
        lambda saved, tensors: tensors.update({"model.output.weight": torch.zeros(1, 1)}),
        lambda saved, tensors: tensors.update({"model.more": torch.zeros(1)}),
        lambda saved, tensors: tensors.update({"optimizer.0.exp_avg.nowhere": torch.zeros(2)}),
        lambda saved, tensors: tensors.update({"optimizer.7.step.output.bias": torch.zeros(())}),
        lambda saved, tensors: tensors.update({"optimizer.x": torch.zeros(2)}),
        lambda saved, tensors: tensors.update(
            {"optimizer.0.exp_avg.output.weight": torch.zeros(2)}
        ),
    ],
)
def test_hostile_checkpoints_change_nothing(data, path, change):
    model, config = small("bigram")
    train(model, data, config, checkpoint=path)
    previous(path).unlink()
    _hostile(path, change)
    again, _ = small("bigram", seed=1)
    before = {name: value.clone() for name, value in again.state_dict().items()}
    with pytest.raises(CheckpointError, match="cannot be gone on with: .* choose another name"):
        train(again, data, config, checkpoint=path, resume=True)
    for name, value in again.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_disk_that_fills_up_stops_no_training(data, path, monkeypatch, capsys):
    whole, config = small("block")
    train(whole, data, config)
    model, _ = small("block")

    def fills_up(now, history):
        if now == 6:
            monkeypatch.setattr("llm_course.tensor_file.os.fsync", full)

    def full(handle):
        raise OSError(28, "No space left on device")

    train(model, data, config, fills_up, checkpoint=path)
    assert_same(whole, model)
    assert capsys.readouterr().err.count("No space left on device") == 3
    monkeypatch.undo()
    again, _ = small("block")
    train(again, data, config, checkpoint=path, resume=True)
    assert_same(whole, again)


@pytest.mark.parametrize("where", ["step", "evaluation", "writing"])
def test_an_interrupt_returns_what_there_is(data, path, where, monkeypatch, capsys):
    model, config = small("decoder")
    calls = []

    def interrupts(real):
        def wrapped(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return wrapped

    name = {"step": "get_batch", "evaluation": "_measure", "writing": "keep"}[where]
    monkeypatch.setattr(training, name, interrupts(getattr(training, name)))
    history = train(model, data, config, checkpoint=path)
    stopped = {"step": 3, "evaluation": 6, "writing": 9}[where]
    assert f"Stopped in step {stopped} of 12" in capsys.readouterr().out
    assert history.steps[-1] == {"step": 0, "evaluation": 3, "writing": 9}[where]
    tokens = torch.zeros(1, 4, dtype=torch.long)
    assert model(tokens)[0].isfinite().all()
    monkeypatch.undo()
    whole, _ = small("decoder")
    train(whole, data, config)
    again, _ = small("decoder")
    train(again, data, config, checkpoint=path, resume=True)
    assert_same(whole, again)


def test_a_loss_that_is_no_number_says_where_and_what_to_try(data, path, monkeypatch):
    model, config = small("decoder")
    draws = []

    def poison(*arguments):
        draws.append(1)
        if len(draws) == 4:
            with torch.no_grad():
                model.token_embedding.weight.mul_(torch.inf)
        return get_batch(*arguments)

    monkeypatch.setattr(training, "get_batch", poison)

    with pytest.raises(
        DivergedError,
        match=r"loss is nan in step 4 of 12, at a learning rate of 0.002, after a gradient of length "
        r"\d.* warmup_steps=100, or max_grad_norm",
    ):
        train(model, data, replace(config, decay=False), checkpoint=path)
    again, _ = small("decoder")
    train(again, data, replace(config, decay=False), checkpoint=path, resume=True)  # from step 3 on


def test_where_gradients_are_clipped_it_says_so(data):
    model, config = small("decoder")
    config = replace(config, learning_rate=1e30, max_grad_norm=0.01)
    with pytest.raises(
        DivergedError, match=r"of clipped length 0.01\. .*, or a smaller max_grad_norm"
    ):
        train(model, data, config)


def test_so_does_one_that_is_noticed_by_an_evaluation(data):
    model = DecoderTransformer(DecoderConfig(V, **SIZES))
    torch.nn.init.constant_(model.token_embedding.weight, torch.nan)
    with pytest.raises(DivergedError, match="loss is nan in step 0 of 5"):
        train(model, data, TrainConfig(steps=5, batch_size=2))
