"""The other places where people start: what can be checked of them without a cloud."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_codespaces_installs_what_make_installs_and_makes_the_copies():
    described = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    command = described["postCreateCommand"]
    makefile = (ROOT / "Makefile").read_text()
    venv, installed = re.findall(r"^(?:VENV|INSTALLED) := (.+)$", makefile, re.M)
    assert f"make {installed.replace('$(VENV)', venv)} TORCH_INDEX=https://" in command
    script = re.search(rf"{venv}/bin/python (\S+) --version", command)[1]
    assert (ROOT / script).exists()
    settings = described["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith(f"/{venv}/bin/python")
    assert re.search(r":3\.1\d$", described["image"])


def test_binder_finds_an_exact_python_and_installs_the_course():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(d for d in dependencies if isinstance(d, str) and d.startswith("python"))
    assert re.fullmatch(r"python=3\.\d+", python), "repo2docker reads no range"
    assert {"pip": ["-e ."]} in dependencies
    assert not (ROOT / "binder").exists() and not (ROOT / ".binder").exists(), (
        "it would be read alone"
    )
    assert not (ROOT / "requirements.txt").exists() and not (ROOT / "Dockerfile").exists()
