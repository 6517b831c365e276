"""The opponent in speed is the one that is named, and the bench records what it measures."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from llm_course.data import Corpus, Split

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(TOOLS)  # the tools import each other
    module = importlib.import_module("bench")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    text = "to be or not to be, that is the question. " * 40
    monkeypatch.setattr(module, "load_corpus", lambda: Corpus("Tiny Shakespeare", text, ""))
    return module


def test_the_opponent_has_the_published_size_and_learns(monkeypatch, generator):
    monkeypatch.syspath_prepend(TOOLS)
    nanogpt = importlib.import_module("nanogpt")
    torch.manual_seed(0)
    model = nanogpt.NanoGPT(65)
    assert sum(p.numel() for p in model.parameters()) == 804_096
    tokens = torch.arange(65).repeat(20)
    _, before = model(tokens[None, :64], tokens[None, 1:65])
    nanogpt.train_as_published(model, Split(tokens, tokens[:100]), steps=12)
    _, after = model(tokens[None, :64], tokens[None, 1:65])
    assert abs(before - torch.tensor(65.0).log()) < 0.1 and after < before - 0.1


def test_what_is_measured_is_kept_beside_what_was(bench, monkeypatch, tmp_path, capsys):
    parts = {
        "one": lambda data, V: iter([bench.spread("first", "s", [3.0, 1.0, 2.0])]),
        "two": lambda data, V: iter([bench.spread("second", "GB/s", [float(V)])]),
    }
    monkeypatch.setattr(bench, "PARTS", parts)
    monkeypatch.setattr(bench.sys, "argv", ["bench.py"])
    assert bench.main() == 0
    monkeypatch.setattr(bench.sys, "argv", ["bench.py", "one"])
    assert bench.main() == 0
    rows = json.loads((tmp_path / "results" / "bench.json").read_text())["rows"]
    assert [(row["part"], row["what"]) for row in rows] == [("two", "second"), ("one", "first")]
    assert (rows[1]["median"], rows[1]["from"], rows[1]["to"], rows[1]["n"]) == (2.0, 1.0, 3.0, 3)
    assert "first" in capsys.readouterr().out
    monkeypatch.setattr(bench.sys, "argv", ["bench.py", "three"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "no part three" in capsys.readouterr().err


def test_only_tiny_shakespeare_is_measured(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "load_corpus", lambda: Corpus("Practice corpus", "abc", ""))
    monkeypatch.setattr(bench.sys, "argv", ["bench.py"])
    assert bench.main() == 1 and "needs Tiny Shakespeare" in capsys.readouterr().err


def test_seconds_are_those_of_the_work(bench):
    assert bench.seconds_of(lambda: bench.time.sleep(0.05)) >= 0.05


def test_the_gpu_part_runs_on_any_device_and_says_where_there_is_none(bench, monkeypatch, capsys):
    tokens = torch.randint(7, (300,))
    data = Split(tokens, tokens[:60])
    sizes = bench.ModernConfig(7, context_length=8, n_embd=8, n_head=2, n_layer=1, dropout=0.1)
    training = bench.TrainConfig(steps=2, batch_size=2, muon_rate=0.01)
    monkeypatch.setattr(bench.ModernTransformer, "compile", lambda self: None)  # needs a C compiler
    rows = list(bench.gpu(data, 7, "cpu", sizes, training))
    assert [row["unit"] for row in rows] == ["s", "s", "nats"] * 2
    assert abs(rows[2]["median"] - torch.tensor(7.0).log()) < 0.5
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    assert not list(bench.gpu(data, 7)) and "no CUDA device" in capsys.readouterr().out
