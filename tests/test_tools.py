"""The tools for maintainers and the way the house is built."""

import ast
import importlib.util
import json
import os
import re
import tomllib
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "llm_course"


def load(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """tools/notebooks.py on a folder of its own, with notebooks made of the given cells."""
    module = load("notebooks")
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def write(**sources):
        paths = []
        for name, cells in sources.items():
            notebook = nbformat.v4.new_notebook()
            notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
            paths.append(tmp_path / f"{name}.ipynb")
            nbformat.write(notebook, paths[-1])
        monkeypatch.setattr(module, "NOTEBOOKS", paths)
        return module, paths

    return write


def test_course_goes_on_after_a_failure_and_reports_it(notebooks, tmp_path, capsys):
    module, _ = notebooks(a=["1 / 0", "print('never')"], b=["print('fine')"])
    assert module.course() == 1
    summary = (tmp_path / "_build" / "summary.md").read_text()
    assert re.search(r"\| a \| 2 \| [\d.]+ \| failed \|\n\| b \| 1 \| [\d.]+ \| passed \|", summary)
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "fine" in (tmp_path / "_build" / "notebooks" / "b.ipynb").read_text()


def test_course_is_content_when_all_is_well(notebooks):
    module, _ = notebooks(b=["print('fine')"])
    assert module.course() == 0


def test_saving_executes_and_normalises(notebooks, tiny_shakespeare):
    module, (path,) = notebooks(a=["print('one\\rtwo')", "print(' \\r', end='')", "3"])
    assert module.save([]) == 0
    saved = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in saved.cells] == [1, 2, 3]
    assert [len(cell.outputs) for cell in saved.cells] == [1, 0, 1]
    assert saved.cells[0].outputs[0].text == "two\n"
    assert set(saved.metadata) == {"kernelspec", "language_info"}
    first = path.read_bytes()
    module.save([])
    assert path.read_bytes() == first


def test_a_notebook_that_fails_stays_as_it_was(notebooks, tiny_shakespeare, capsys):
    module, (path,) = notebooks(a=["1 / 0"])
    before = path.read_bytes()
    assert module.save([]) == 1
    assert path.read_bytes() == before
    assert "stays as it was" in capsys.readouterr().err


def test_nothing_is_saved_on_the_practice_corpus(notebooks, away, capsys):
    module, (path,) = notebooks(a=["1"])
    before = path.read_bytes()
    assert module.save([]) == 1
    assert path.read_bytes() == before
    assert "LLM_COURSE_DATA" in capsys.readouterr().err


def test_copies_are_made_once_and_never_overwritten(tmp_path):
    copy_notebooks = load("lab").copy_notebooks
    source, target = tmp_path / "notebooks", tmp_path / "mine"
    source.mkdir()
    for name in ("a", "b"):
        (source / f"{name}.ipynb").write_text(f"{name}, first version")
    assert copy_notebooks(source, target) == []
    (target / "a.ipynb").write_text("my own work")
    assert copy_notebooks(source, target) == []

    (source / "a.ipynb").write_text("a, second version")
    (source / "c.ipynb").write_text("c is new")
    (said,) = copy_notebooks(source, target)
    assert said.startswith("a.ipynb has a newer version") and "rename yours" in said
    assert (target / "a.ipynb").read_text() == "my own work"
    assert (target / "c.ipynb").read_text() == "c is new"

    (target / "a.ipynb").rename(target / "a-mine.ipynb")
    (target / ".copied.json").write_text("{ damaged")
    (target / "b.ipynb").write_text("my own b")
    (said,) = copy_notebooks(source, target)
    assert said.startswith("b.ipynb may have a newer version")
    assert (target / "a.ipynb").read_text() == "a, second version"
    assert set(json.loads((target / ".copied.json").read_text())) == {"a.ipynb"}


def test_conda_and_pip_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lab"], *extras["test"]]
    renamed = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    by_pip = {re.sub(r"^[\w-]+", lambda m: renamed.get(m[0], m[0]), spec) for spec in wanted}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    by_conda = [spec for spec in conda["dependencies"] if isinstance(spec, str) and spec != "pip"]
    assert conda["channels"][0] == "conda-forge"
    python = "3.12"  # exactly, for Binder
    assert set(by_conda) == by_pip | {f"python={python}"}
    assert numbers(python) >= numbers(project["requires-python"])
    assert {"pip": ["-e ."]} in conda["dependencies"]


def test_every_requirement_is_pinned_inside_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(
        re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines if line[0] != "#"
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for spec in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        name, least = spec.split(">=")
        assert numbers(pins[name]) >= numbers(least)


def numbers(version):
    return [int(part) for part in re.findall(r"\d+", version)]


def imported(path):
    """Return the modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("llm_course")
        ):
            found.add(node.module.removeprefix("llm_course."))
    return found


ROOMS = [  # each may import from those above it, and only from those
    {
        "practice_words",
        "download",
        "byte_pairs",
        "recorded",
        "sampling",
        "memorization",
        "distributed",
        "devices",
        "scaling",
        "lora",
        "speakers",
        "ngram_classifier",
    },
    {"tokenizers", "tensor_file", "train_config"},
    {"model_folder"},
    {"gpt2_files"},
    {"practice_corpus"},
    {"data", "translation"},
    {"models.bigram", "models.ngram", "models.cross_attention", "model_card"},
    {"models.single_head_attention"},
    {"models.multi_head_attention"},
    {"models.single_block_transformer", "models.local_attention", "models.grouped_query_attention"},
    {"models.decoder_transformer", "models.block_variants", "models.encoder_decoder"},
    {"models.attention_variants"},
    {
        "models.modern_transformer",
        "models.gpt2",
        "models.decoder_classifier",
        "models.pytorch_transformer",
        "optimizers",
    },
    {"evaluation", "kv_cache"},
    {"generation", "recording", "hugging_face", "beam_search"},
    {"resuming", "alignment", "translator", "finetuning"},
    {"training"},
    {"models.modern_variants", "early_stopping"},
    {"plots", "notebook", "recipes"},
    {"checkpoint", "attention_view", "scoreboard"},
    {
        "exercises.exercise",
        "exercises.trial",
        "exercises.progress",
        "exercises.inputs",
        "exercises.comparison",
    },
    {"exercises.difference"},
    {
        "exercises.check",
        "exercises.welcome",
        "exercises.text_to_tokens",
        "exercises.bigram",
        "exercises.decoder_transformer",
        "exercises.finetuning",
        "exercises.single_head_attention",
        "exercises.multi_head_attention",
        "exercises.transformer_block",
        "exercises.generation",
        "exercises.regularization",
        "exercises.scaling",
        "exercises.gpu_and_distributed",
        "exercises.speedrun",
        "exercises.attention_variants",
        "exercises.your_own_model",
        "exercises.gpt2",
        "exercises.encoder_decoder",
        "exercises.subword_tokenization",
    },
    {"commands"},
    {"__main__"},
]


def test_imports_run_one_way():
    names = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert names == set().union(*ROOMS)
    above = set()
    for room in ROOMS:
        for name in room:
            assert imported(PACKAGE / f"{name.replace('.', '/')}.py") <= above, name
        above |= room


def test_files_stay_small():
    for path in PACKAGE.rglob("*.py"):
        limit = 150 if path.parent.name == "models" or path.stem == "training" else 320
        if path.parent.name == "exercises":  # lists of wrong answers
            limit = 550
        assert len(path.read_text(encoding="utf-8").splitlines()) <= limit, path.name


def test_the_corpus_is_not_in_the_repository(tiny_shakespeare):
    passage = tiny_shakespeare[:2000]
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        if path.is_file() and inside[0] not in {".git", ".venv", "_build", "my_notebooks", "runs"}:
            assert passage.encode() not in path.read_bytes(), path


def test_the_lab_opens_on_this_machine_only_with_its_token(tmp_path, monkeypatch):
    lab = load("lab")
    commands = []
    monkeypatch.setattr(lab, "COPIES", tmp_path / "mine")
    monkeypatch.setattr(lab.subprocess, "call", lambda command: commands.append(command) or 7)
    monkeypatch.setattr(lab.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(lab.sys, "argv", ["lab.py", "--no-browser"])
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        lab.main()
    assert caught.value.code == 7
    (command,) = commands
    assert "--ServerApp.ip=127.0.0.1" in command and "--no-browser" in command
    assert not any("token" in word or "password" in word for word in command)
    assert not any("allow-root" in word or "allow_root" in word for word in command)
    for silent in ("news_url=None", "NeverCheckForUpdate", "extension_manager=readonly"):
        assert any(word.endswith(silent) for word in command)
    ours, users = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    settings = json.loads((Path(ours) / "labconfig/default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert users == str(tmp_path)
    assert str(tmp_path / "mine" / "00_welcome.ipynb") in command
    assert (tmp_path / "mine" / "00_welcome.ipynb").exists()


def test_a_copy_is_whole_or_not_there(tmp_path, monkeypatch):
    lab = load("lab")
    source, target = tmp_path / "notebooks", tmp_path / "mine"
    source.mkdir()
    for name in ("a", "b"):
        (source / f"{name}.ipynb").write_text(f"notebook {name}")
    copy_file = lab.shutil.copy

    def full(original, copy):
        if original.name == "a.ipynb":
            return copy_file(original, copy)
        copy.write_text("noteb")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lab.shutil, "copy", full)
    with pytest.raises(OSError, match="No space"):
        lab.copy_notebooks(source, target)
    assert not (target / "b.ipynb").exists()
    monkeypatch.undo()
    (target / "a.ipynb").write_text("my own work")
    assert lab.copy_notebooks(source, target) == [], "the copy of a was noted down"
    assert (target / "b.ipynb").read_text() == "notebook b"
    (target / "a.ipynb").write_text("notebook a")
    (target / ".copied.json").write_text("[]")
    assert lab.copy_notebooks(source, target) == [], "the same content is no newer version"
