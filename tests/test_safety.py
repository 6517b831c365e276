"""What the course must never do: unpickle, execute what a file says, ask the network unasked."""

import ast
import importlib
import os
import pkgutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import llm_course
from llm_course.data import split
from llm_course.generation import generate_text
from llm_course.models.bigram import BigramConfig, BigramLM
from llm_course.tokenizers import CharTokenizer
from llm_course.training import TrainConfig, train

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "llm_course").rglob("*.py"), *(ROOT / "tools").glob("*.py")])
EXECUTES = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NETWORK = {"requests", "urllib", "http", "socket", "ftplib", "httpx", "aiohttp", "pooch"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_is_unpickled_or_executed(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not UNPICKLES & set(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in EXECUTES, node.lineno
            called = ast.unparse(node.func)
            if called in ("torch.load", "np.load", "numpy.load"):
                assert "weights_only=True" in ast.unparse(node), f"{path}:{node.lineno}"


def test_only_the_download_knows_the_network():
    for path in (ROOT / "llm_course").rglob("*.py"):
        found = NETWORK & set(imported(ast.parse(path.read_text(encoding="utf-8"))))
        allowed = {"download": {"pooch", "requests"}, "progress": {"pooch"}}  # its cache folder
        assert found <= allowed.get(path.stem, set()), path


def test_training_and_writing_ask_nobody(away, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for module in pkgutil.walk_packages(llm_course.__path__, "llm_course."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    tokenizer = CharTokenizer("to be or not to be")
    data = split(tokenizer.encode("to be or not to be" * 20))
    model = BigramLM(BigramConfig(tokenizer.vocab_size))
    train(model, data, TrainConfig(steps=2, batch_size=2))
    assert len(generate_text(model, tokenizer, "to", 5)) == 7


@pytest.mark.slow
def test_a_disk_that_is_full_loses_nothing(tmp_path):
    """On a real disk of 2 MB, in a namespace of its own, where the system allows one."""
    from test_kills import TRAINING, ended, start

    plain = start(["-c", TRAINING]).communicate(timeout=120)[0]
    script = tmp_path / "training.py"
    script.write_text(TRAINING, encoding="utf-8")
    disk = tmp_path / "disk"
    disk.mkdir()
    run = f"{sys.executable} {script} {disk}/a.training"
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.returncode:
        pytest.skip(f"this system allows no disk of one's own: {probe.stderr.strip()}")
    steps = [
        f"mount -t tmpfs -o size=2m none {disk}",
        run,
        "echo; echo on a disk with room:",
        f"mount -o remount,size=20m {disk}",
        run,
        f"ls {disk}",
    ]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", "\n".join(steps)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    full, room = done.stdout.split("on a disk with room:")
    assert "a.training could not be written: No space left on device. Make room" in full
    assert "Going on with" in room
    assert ended(plain) in full and ended(plain) in room
    assert ".part" not in room
