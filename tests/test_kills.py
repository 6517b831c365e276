"""Training processes are killed at random moments, again and again, and nothing is lost.

20 kills in `make test`, 200 in `make soak`.
"""

import os
import random
import subprocess
import sys
import time

import pytest
import torch

from llm_course.checkpoint import load_checkpoint
from llm_course.tensor_file import read_header

KILLS = 200 if "LLM_COURSE_SOAK" in os.environ else 20
WORKERS = 2

# A decoder with dropout, which writes a checkpoint after every step: half of all kills hit a writing.
TRAINING = """
import hashlib, sys, torch
from llm_course.data import Split
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.training import TrainConfig, train

torch.set_num_threads(1)
torch.manual_seed(0)
sizes = dict(context_length=16, n_embd=64, n_head=2, n_layer=2, dropout=0.2)
model = DecoderTransformer(DecoderConfig(11, **sizes))
tokens = torch.randint(11, (3000,), generator=torch.Generator().manual_seed(1))
config = TrainConfig(steps=150, batch_size=8, eval_every=1, eval_windows=1, decay=True)
checkpoint = sys.argv[1] if len(sys.argv) > 1 else None
print("begins", flush=True)
data = Split(tokens[:2000], tokens[2000:])
train(model, data, config, checkpoint=checkpoint, resume=checkpoint is not None)
digest = hashlib.sha256()
for value in model.state_dict().values():
    digest.update(value.numpy().tobytes())
print("ended with", digest.hexdigest(), flush=True)
"""

pytestmark = pytest.mark.slow


def start(arguments, **options):
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def ended(output: str) -> str | None:
    """Return the digest of the final weights, or None."""
    return output.split("ended with ")[1].strip() if "ended with" in output else None


@pytest.fixture(scope="module")
def uninterrupted():
    """Return the digest of the weights, and the seconds from the beginning of the training to its end."""
    process = start(["-c", TRAINING])
    assert process.stdout.readline() == "begins\n"
    began = time.perf_counter()
    output = process.communicate(timeout=120)[0]
    assert ended(output), output
    return ended(output), time.perf_counter() - began


@pytest.mark.parametrize("worker", range(WORKERS))
def test_kills_lose_nothing(worker, tmp_path, uninterrupted):
    digest_wanted, seconds = uninterrupted
    luck = random.Random(worker)
    kills = lives = steps_kept = 0
    path = tmp_path / "a.training"
    while kills < KILLS // WORKERS or lives == 0:
        process = start(["-c", TRAINING, str(path)])
        assert process.stdout.readline() == "begins\n"
        time.sleep(luck.uniform(0, seconds))
        process.kill()
        output = process.communicate(timeout=60)[0]
        assert "Traceback" not in output and "Note:" not in output, output
        if digest := ended(output):  # it was faster
            assert digest == digest_wanted
            lives += 1
            for file in tmp_path.iterdir():
                file.unlink()
            continue
        kills += 1
        if path.exists():
            read_header(path, "training")  # whole, whatever happened
            steps_kept += 1
    assert steps_kept, "every kill came before the first checkpoint: nothing was tried"
    final = start(["-c", TRAINING, str(path)])
    assert ended(final.communicate(timeout=120)[0]) == digest_wanted
    print(f"{kills} kills, {lives + 1} trainings ended, all with the same weights")


def test_the_command_line_goes_on_after_a_kill(tmp_path):
    (tmp_path / "own.txt").write_text("the cat sat on the mat; the dog sat on the log.\n" * 200)
    train = ["-m", "llm_course", "train", "single-head", "--text", "own.txt", "--steps", "600"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.txt").write_text((tmp_path / "own.txt").read_text())
    whole = start(train, cwd=tmp_path / "whole")
    assert "saved as" in whole.communicate(timeout=120)[0]

    killed = start(train, cwd=tmp_path / "killed")
    for line in killed.stdout:
        if line.startswith("step 300 of 600"):
            break
    killed.kill()
    killed.communicate()
    refused = start(train, cwd=tmp_path / "killed")
    said = refused.communicate(timeout=60)[0]
    assert refused.returncode == 2 and "--resume" in said and "step 300 of 600" in said
    resumed = start([*train, "--resume"], cwd=tmp_path / "killed")
    said = resumed.communicate(timeout=120)[0]
    assert "Going on with" in said and "saved as" in said
    models = [
        load_checkpoint(tmp_path / name / "runs" / "single-head-own.safetensors").model
        for name in ("whole", "killed")
    ]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
    left = [file.name for file in (tmp_path / "killed" / "runs").iterdir()]
    assert left == ["single-head-own.safetensors"]
