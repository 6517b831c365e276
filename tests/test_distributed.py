"""Two processes under torchrun train as one does, and each goes on with what the other has kept."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from llm_course.__main__ import main
from llm_course.checkpoint import load_checkpoint
from llm_course.data import Split
from llm_course.distributed import STRATEGIES, rank, spread, whole
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.modern_transformer import ModernConfig, ModernTransformer
from llm_course.optimizers import make_optimizers
from llm_course.tensor_file import CheckpointError, read, write
from llm_course.training import TrainConfig, train

ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SIZES = {"context_length": 8, "n_embd": 16, "n_head": 2, "n_layer": 2}
CONFIG = TrainConfig(steps=20, batch_size=8, learning_rate=3e-3, eval_every=1, eval_windows=4)
CASES = {
    "decoder": (DecoderTransformer, DecoderConfig(7, **SIZES), CONFIG),
    "clipped, in parts": (
        DecoderTransformer,
        DecoderConfig(7, **SIZES),
        replace(CONFIG, max_grad_norm=0.1, micro_batches=2, warmup_steps=5, decay=True),
    ),
    "modern, by Muon": (
        ModernTransformer,
        ModernConfig(7, **SIZES),
        replace(CONFIG, muon_rate=0.03),
    ),
    "bigram": (BigramLM, BigramConfig(7, 8, 4), CONFIG),
}
DROPOUT = DecoderConfig(7, **SIZES, dropout=0.5)


def data():
    tokens = torch.arange(7).repeat(60)
    return Split(tokens[:300], tokens[300:])


def fresh(case):
    kind, sizes, _ = CASES[case]
    torch.manual_seed(0)
    return kind(sizes)


def stop_at(step):
    def callback(now, history):
        if now == step:
            raise KeyboardInterrupt  # `train` returns, and all its files are there

    return callback


def run(case, path=None, stop=None, resume=False, strategy=None):
    """Train a case in this process' group and return the losses and the whole weights."""
    model, config = fresh(case), CASES[case][2]
    trained = spread(model, strategy) if strategy else model
    callback = stop_at(stop) if stop else None
    in_float32 = patch("llm_course.optimizers.fastest_dtype", return_value=torch.float32)
    with in_float32:  # Muon's directions, whose roundings would differ
        history = train(trained, data(), config, callback, checkpoint=path, resume=resume)
    return history.val_loss, {name: whole(value) for name, value in model.state_dict().items()}


def file_name(case, strategy):
    return re.sub(r"\W+", "-", f"{case} {strategy}") + ".training"


def in_two_processes(folder: Path) -> None:
    """What `torchrun` runs: every case with both strategies, to the end, half of it, the other half."""
    from llm_course.distributed import process_group

    torch.set_num_threads(1)
    results = {}
    with process_group(torch.device("cpu")):
        for strategy in STRATEGIES:
            for case in CASES:
                losses, weights = run(case, strategy=strategy)
                run(case, folder / file_name(case, strategy), stop=10, strategy=strategy)
                copy = (
                    folder / f"one to {strategy} {rank()}.training"
                )  # of a file that one process wrote
                copy.write_bytes((folder / file_name(case, "one")).read_bytes())
                resumed, its_weights = run(case, copy, resume=True, strategy=strategy)
                results[f"{case}, {strategy}"] = losses, weights, resumed, its_weights
        torch.manual_seed(0)
        model = spread(DecoderTransformer(DROPOUT), "ddp")
        logits, _ = model.module(*[torch.zeros(2, 4, dtype=torch.long)] * 2)
        results[f"dropout {rank()}"] = logits.detach()
        torch.save(results, folder / f"results {rank()}.pt")
    os._exit(0)  # as the command line does


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The results of two processes, and what one process did before."""
    folder = tmp_path_factory.mktemp("two")
    alone = {}
    for case in CASES:
        alone[case] = run(case)
        run(case, folder / file_name(case, "one"), stop=10)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_distributed as t;"
    (folder / "two.py").write_text(
        f"{code} from pathlib import Path; t.in_two_processes(Path({str(folder)!r}))\n"
    )
    done = subprocess.run(
        [*TORCHRUN, "two.py"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, alone, [torch.load(folder / f"results {n}.pt") for n in (0, 1)]


def assert_as_alone(alone, losses, weights):
    assert len(losses) == 21 and losses[0] - losses[-1] > 0.01
    assert losses == pytest.approx(alone[0], abs=1e-5, rel=0)
    torch.testing.assert_close(weights, alone[1], rtol=0, atol=1e-4)


cases = pytest.mark.parametrize("case", CASES)
strategies = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.mark.slow
@cases
@strategies
def test_two_processes_train_as_one(two, case, strategy):
    _, alone, results = two
    for result in results:
        assert_as_alone(alone[case], *result[f"{case}, {strategy}"][:2])


@pytest.mark.slow
@cases
@strategies
def test_one_process_goes_on_with_what_two_have_kept(two, case, strategy, tmp_path):
    folder, alone, _ = two
    path = tmp_path / "a.training"
    path.write_bytes((folder / file_name(case, strategy)).read_bytes())
    assert_as_alone(alone[case], *run(case, path, resume=True))


@pytest.mark.slow
@cases
@strategies
def test_two_processes_go_on_with_what_one_has_kept(two, case, strategy):
    _, alone, results = two
    for result in results:
        assert_as_alone(alone[case], *result[f"{case}, {strategy}"][2:])


@pytest.mark.slow
def test_the_processes_draw_different_dropout(two):
    *_, (first, second) = two
    assert not torch.equal(first["dropout 0"], second["dropout 1"])


def test_the_rows_are_shared_out_evenly_or_not_at_all(monkeypatch):
    from llm_course import distributed

    monkeypatch.setattr(distributed, "n_processes", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    model = fresh("bigram")
    rows = torch.arange(6).repeat_interleave(2).reshape(6, 2)
    own, its_targets = distributed._own_rows(model, (rows, rows + 1))
    assert own.tolist() == [[1, 1], [4, 4]] and its_targets.tolist() == [[2, 2], [5, 5]]
    with pytest.raises(ValueError, match="4 windows cannot be shared out evenly to 3 processes"):
        distributed._own_rows(model, (rows[:4], rows[:4]))
    assert distributed._own_rows(model.eval(), (rows,)) == (rows,)


def test_processes_that_see_different_files_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr("llm_course.resuming.as_the_first", lambda steps: [0, 10])
    with pytest.raises(CheckpointError, match="a folder that all machines share"):
        train(fresh("bigram"), data(), CONFIG, checkpoint=tmp_path / "a.training", resume=True)


def test_dropout_stays_apart_on_cuda_too(monkeypatch, tmp_path):
    path, done = tmp_path / "a.training", []
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda state: done.append("as the first"))
    monkeypatch.setattr("llm_course.resuming.keep_dropout_apart", lambda: done.append("apart"))
    train(fresh("bigram"), data(), CONFIG, checkpoint=path)
    header, tensors = read(path, "training")
    tensors["random.dropout on cuda"] = torch.zeros(16, dtype=torch.uint8)
    header = {"training": header["training"]}
    write(path, "training", tensors, header, keep_previous=False)
    train(fresh("bigram"), data(), CONFIG, checkpoint=path, resume=True)
    assert done == ["as the first", "apart"]


def test_strategies_are_named():
    with pytest.raises(ValueError, match="no strategy 'dpp': ddp or fsdp"):
        spread(fresh("bigram"), "dpp")


def test_a_strategy_needs_torchrun_and_torchrun_a_strategy(monkeypatch, capsys):
    assert main(["train", "bigram", "--strategy", "ddp"]) == 2
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert main(["train", "bigram"]) == 2
    said = capsys.readouterr().err
    assert said.count("torchrun --nproc-per-node=2 -m llm_course train bigram --strategy ddp") == 2


def test_one_process_needs_no_group():
    model = fresh("decoder")
    assert rank() == 0 and whole(model.norm.weight) is model.norm.weight
    assert make_optimizers(model, 1e-3, None)


def command(folder, *arguments, torchrun=(), **options):
    start = [*TORCHRUN, *torchrun]
    return subprocess.Popen(
        [*(start if options.pop("two") else [sys.executable]), "-m", "llm_course", *arguments],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.fixture
def own_text(tmp_path):
    (tmp_path / "own.txt").write_text("the cat sat on the mat; the dog sat on the log.\n" * 200)
    return tmp_path


@pytest.mark.slow
@strategies
def test_the_command_line_trains_in_two_processes_and_one_speaks(own_text, strategy):
    losses = {}
    for two in (False, True):
        arguments = ["train", "decoder", "--text", "own.txt", "--steps", "20", "--device", "cpu"]
        arguments += [
            "--set",
            "eval_every=1",
            "--set",
            "eval_windows=10",
            "--out",
            f"{two}.safetensors",
        ]
        arguments += ["--history", f"{two}.json"] + (["--strategy", strategy] if two else [])
        out, error = command(own_text, *arguments, two=two).communicate(timeout=200)
        assert out.count("saved as") == out.count("step 20 of 20") == 1, error
        losses[two] = json.loads((own_text / f"{two}.json").read_text())["val_loss"]
    assert losses[True] == pytest.approx(losses[False], abs=1e-5, rel=0)
    assert len(losses[True]) == 21
    names = {f"{two}.{kind}" for two in (False, True) for kind in ("json", "safetensors")}
    assert {file.name for file in own_text.iterdir()} == names | {"own.txt"}


def of_rank(number, folder):
    """Return the process numbers of the trainings in a folder that have this rank."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            inside = (process / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if inside and f"RANK={number}".encode() in variables:
            found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to find processes in")
@strategies
def test_a_killed_rank_is_started_again_and_goes_on(own_text, strategy):
    arguments = ["train", "decoder", "--text", "own.txt", "--steps", "60", "--device", "cpu"]
    arguments += ["--set", "eval_every=10", "--set", "eval_windows=10"]
    whole_one = command(own_text, *arguments, "--out", "one.safetensors", two=False)
    assert "saved as" in whole_one.communicate(timeout=200)[0]
    arguments += ["--strategy", strategy, "--resume", "--out", "two.safetensors"]
    process = command(own_text, *arguments, two=True, torchrun=["--max-restarts=2"])
    for line in process.stdout:
        if line.startswith("step 20 of 60"):
            break
    (victim,) = of_rank(1, own_text)
    os.kill(victim, signal.SIGKILL)
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert "Going on with two.training: step " in out and "saved as" in out
    one, two = (load_checkpoint(own_text / f"{name}.safetensors").model for name in ("one", "two"))
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Slurm's script is for bash")
def test_the_example_for_slurm_runs(own_text):
    """With a Slurm of one machine and two processes, which is made of two lines of shell."""
    fake = own_text / "fake"
    fake.mkdir()
    for name, does in (("srun", 'exec "$@"'), ("scontrol", "echo localhost")):
        (fake / name).write_text(f"#!/bin/sh\n{does}\n")
        (fake / name).chmod(0o755)
    (own_text / ".venv" / "bin").mkdir(parents=True)
    (own_text / ".venv" / "bin" / "activate").write_text("")
    slurm = {
        "JOB_NODELIST": "node[1-2]",
        "NNODES": "1",
        "GPUS_ON_NODE": "2",
        "JOB_ID": str(os.getpid()),
    }
    where = f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    arguments = ["--text", "own.txt", "--steps", "2", "--device", "cpu", "--out", "a.safetensors"]
    done = subprocess.run(
        ["bash", ROOT / "examples" / "slurm.sh", *arguments],
        cwd=own_text, capture_output=True, text=True, timeout=200,
        env=os.environ | {f"SLURM_{name}": value for name, value in slurm.items()} | {"PATH": where},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved as a.safetensors") == 1
