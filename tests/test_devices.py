"""The same training on every device: here on the CPU, and by `pytest -m gpu` on a GPU."""

import pytest
import torch

from llm_course import training
from llm_course.checkpoint import load_checkpoint, save_checkpoint
from llm_course.data import Split, get_batch
from llm_course.devices import choose_device, use_autocast
from llm_course.evaluation import evaluate
from llm_course.generation import generate_text
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.modern_transformer import ModernConfig, ModernTransformer
from llm_course.recipes import RECIPES, build
from llm_course.recording import attention_maps
from llm_course.tensor_file import CheckpointError
from llm_course.tokenizers import CharTokenizer
from llm_course.training import TrainConfig, train

TOKENIZER = CharTokenizer("abcdefg")
CONFIG = TrainConfig(steps=20, batch_size=8, learning_rate=3e-3, eval_every=5, eval_windows=4)
SIZES = {"context_length": 8, "n_embd": 16, "n_head": 2, "n_layer": 2}

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, no_cuda])])
def device(request):
    return request.param


@pytest.fixture
def data():
    tokens = torch.arange(7).repeat(60)
    return Split(tokens[:300], tokens[300:])


def decoder(device="cpu", **sizes):
    torch.manual_seed(0)
    return DecoderTransformer(DecoderConfig(7, **SIZES | sizes)).to(device)


def modern(device="cpu"):
    torch.manual_seed(0)
    return ModernTransformer(ModernConfig(7, **SIZES)).to(device)


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_weights_are_the_same_everywhere(device, name):
    expected = build(name, 7, seed=3).state_dict()
    for key, value in build(name, 7, seed=3, device=device).state_dict().items():
        assert value.device.type == device and torch.equal(value.cpu(), expected[key])


def test_the_losses_are_those_of_the_cpu(device, data):
    expected = train(decoder(), data, CONFIG)
    history = train(decoder(device), data, CONFIG)
    assert history.val_loss == pytest.approx(expected.val_loss, abs=1e-4)
    assert history.val_loss[-1] < history.val_loss[0] - 0.05


def test_the_modern_transformer_trains_by_muon(device, data):
    model = modern(device)
    history = train(
        model, data, TrainConfig(steps=40, batch_size=8, muon_rate=0.05, learning_rate=0.02)
    )
    assert history.val_loss[-1] < 0.5


def test_a_training_moves_to_another_device(device, data, tmp_path):
    def stop(step, history):
        if step == 15:
            raise KeyboardInterrupt

    expected = train(decoder(), data, CONFIG)
    for path in (tmp_path / "there.training", tmp_path / "back.training"):
        first, second = ("cpu", device) if path.stem == "there" else (device, "cpu")
        train(decoder(first), data, CONFIG, stop, checkpoint=path)
        history = train(decoder(second), data, CONFIG, checkpoint=path, resume=True)
        assert history.val_loss == pytest.approx(expected.val_loss, abs=1e-4)


def test_a_trained_model_judges_writes_and_is_kept(device, data, tmp_path):
    model = decoder(device)
    train(model, data, CONFIG)
    save_checkpoint(tmp_path / "a", "decoder", model, TOKENIZER, {"corpus": "seven"})
    again = load_checkpoint(tmp_path / "a").model
    assert evaluate(again, data.val) == pytest.approx(evaluate(model, data.val), abs=1e-4)
    assert len(generate_text(model, TOKENIZER, "abc", 20)) == 23
    maps = attention_maps(model, TOKENIZER, "abcdefg").cpu()
    torch.testing.assert_close(maps, attention_maps(again, TOKENIZER, "abcdefg"), atol=1e-3, rtol=0)


@pytest.mark.parametrize("make", [decoder, modern])
def test_autocast_computes_in_short_numbers_in_training_alone(device, data, make):
    model, plain = make(device), make(device)
    assert use_autocast(model) is model
    seen = []
    layer = model.blocks[0].attention.query_key_value
    layer.register_forward_hook(lambda *call: seen.append((model.training, call[2].dtype)))
    history = train(model, data, CONFIG)
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert history.val_loss[-1] == pytest.approx(train(plain, data, CONFIG).val_loss[-1], abs=0.02)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_autocast_is_kept_with_the_training(data, tmp_path):
    path = tmp_path / "a.training"
    train(use_autocast(decoder()), data, CONFIG, checkpoint=path)
    model = use_autocast(decoder(), torch.float16)
    train(model, data, CONFIG, checkpoint=path, resume=True)
    assert model.training_dtype == torch.bfloat16


@pytest.mark.parametrize(("short_there", "short_here"), [(True, False), (False, True)])
def test_with_autocast_goes_on_with_it_alone(data, tmp_path, short_there, short_here):
    def fresh(is_short):
        return use_autocast(decoder()) if is_short else decoder()

    path = tmp_path / "a.training"
    train(fresh(short_there), data, CONFIG, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"training_dtype is .* there, and .* here"):
        train(fresh(short_here), data, CONFIG, checkpoint=path, resume=True)


def test_evaluation_never_uses_short_numbers(device, data):
    model = decoder(device)
    expected = evaluate(model, data.val)
    with torch.autocast(device, torch.bfloat16):
        assert evaluate(model, data.val) == expected


@pytest.mark.parametrize("micro_batches", [2, 4, 8])
def test_many_small_parts_are_one_big_batch(device, data, micro_batches):
    whole, parts = decoder(device).double(), decoder(device).double()
    history = train(whole, data, CONFIG)
    config = TrainConfig(**vars(CONFIG) | {"micro_batches": micro_batches})
    assert train(parts, data, config).val_loss == pytest.approx(history.val_loss, abs=1e-10)
    assert history.tokens[-1] == 20 * 8 * 8
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=1e-8, rtol=0)


def test_parts_are_as_small_as_they_should_be(data, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        training, "get_batch", lambda *call: drawn.append(call[1]) or get_batch(*call)
    )
    train(decoder(), data, TrainConfig(steps=1, batch_size=8, micro_batches=4))
    assert drawn == [2, 2, 2, 2]


def test_parts_are_equal_or_refused():
    with pytest.raises(ValueError, match="micro_batches must divide batch_size, and 8 / 3"):
        TrainConfig(batch_size=8, micro_batches=3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
def test_a_compiled_model_trains_the_same(device, data):
    compiled = decoder(device)
    compiled.compile()
    expected = train(decoder(device), data, CONFIG)
    assert train(compiled, data, CONFIG).val_loss == pytest.approx(expected.val_loss, abs=1e-4)
    assert list(compiled.state_dict()) == list(decoder().state_dict())


def test_devices_are_there_or_refused(monkeypatch):
    with pytest.raises(ValueError, match="no device 'gpu': auto, cpu, cuda, mps"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False, raising=False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "mps"):
        with pytest.raises(ValueError, match=f"finds no {name} device here"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == torch.device("cuda")
