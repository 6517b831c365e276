"""The stick for a room without internet; that all of it installs and runs there was rehearsed by hand."""

import importlib.util
import os
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def stick():
    spec = importlib.util.spec_from_file_location("tools_stick", ROOT / "tools" / "stick.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small_course(stick, tmp_path, monkeypatch):
    """A course of a few files, with some that are nobody else's business."""
    root = tmp_path / "course"
    for name in (
        "README.md",
        "notebooks/00_welcome.ipynb",
        "llm_course/data.py",
        "llm_course/__pycache__/data.pyc",
        "my_notebooks/00_welcome.ipynb",
        "runs/mine.safetensors",
        ".venv/bin/python",
        ".git/config",
        "llm_course.egg-info/PKG-INFO",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    monkeypatch.setattr(stick, "ROOT", root)
    return root


def test_the_course_goes_along_and_nothing_that_is_yours(stick, small_course, tmp_path):
    stick.write_course(tmp_path)
    with zipfile.ZipFile(tmp_path / "llm-course.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "llm-course/.gitignore",
            "llm-course/README.md",
            "llm-course/llm_course/data.py",
            "llm-course/notebooks/00_welcome.ipynb",
        ]


def test_a_full_stick_keeps_the_zip_file_it_had(stick, small_course, tmp_path, monkeypatch):
    stick.write_course(tmp_path)
    before = (tmp_path / "llm-course.zip").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stick.zipfile.ZipFile, "write", full)
    with pytest.raises(OSError, match="No space"):
        stick.write_course(tmp_path)
    assert (tmp_path / "llm-course.zip").read_bytes() == before
    assert not (tmp_path / "llm-course.zip.part").exists()


def test_where_nothing_should_be_written_it_says_why(stick, tmp_path, monkeypatch):
    with pytest.raises(stick.StickError, match="there is no folder .*nowhere.* Plug the stick in"):
        stick.check_stick(tmp_path / "nowhere")
    for inside in (ROOT, ROOT / "docs"):
        with pytest.raises(stick.StickError, match="course's own folder. Choose one outside"):
            stick.check_stick(inside)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(stick.shutil, "disk_usage", lambda path: usage(300_000_000))
    with pytest.raises(stick.StickError, match="has 0.3 GB free, and 1 GB should be"):
        stick.check_stick(tmp_path)


def test_the_packages_are_those_of_the_course_and_tried_without_the_network(
    stick, tmp_path, monkeypatch
):
    commands, environments = [], []
    monkeypatch.setenv("PIP_FIND_LINKS", "/another/place")

    def call(command, env):
        commands.append(command)
        environments.append(env)
        (tmp_path / "wheels").mkdir(exist_ok=True)
        return 0

    monkeypatch.setattr(stick.subprocess, "call", call)
    stick.write_wheels(tmp_path, "https://example.org/cpu")
    fetch, rehearse = commands
    for command in commands:
        assert command[:3] == [stick.sys.executable, "-m", "pip"]
        assert str(ROOT / "constraints.txt") in command
        for name in ("setuptools", "torch", "jupyterlab", "transformers", "nbval"):
            assert any(word.startswith(f"{name}>=") for word in command), name
    assert "wheel" in fetch and "https://example.org/cpu" in fetch and "--no-index" not in fetch
    assert {"--dry-run", "--no-index", "--ignore-installed"} <= set(rehearse)
    assert "PIP_FIND_LINKS" not in environments[1] and "PATH" in environments[1]
    assert environments[0] is None and environments[1]["PIP_CONFIG_FILE"] == os.devnull
    assert str(tmp_path / "wheels") in rehearse and "https://example.org/cpu" not in rehearse


def test_packages_that_are_not_enough_are_told(stick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stick.subprocess, "call", lambda command, env: int("--dry-run" in command))
    with pytest.raises(stick.StickError, match="`pip install` failed; its own words are above"):
        stick.write_wheels(tmp_path, "")


def test_instructions_name_each_kind_of_computer_once(stick, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("")
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "02_bigram.html").write_text("")
    monkeypatch.setattr(stick.platform, "python_version_tuple", lambda: ("3", "12", "4"))
    for system, machine in (("Linux", "x86_64"), ("Windows", "AMD64"), ("Linux", "x86_64")):
        monkeypatch.setattr(stick.platform, "system", lambda system=system: system)
        monkeypatch.setattr(stick.platform, "machine", lambda machine=machine: machine)
        stick.write_instructions(tmp_path)
    text = (tmp_path / "READ_ME_FIRST.txt").read_text(encoding="utf-8")
    assert text.count("Linux, x86_64, Python 3.12\n") == 1
    assert text.count("Windows, AMD64, Python 3.12\n") == 1
    assert "site/index.html" in text and "slides/02_bigram.html" in text
    assert "--no-index -f STICK/wheels" in text


def test_from_the_command_line_an_error_is_one_line(stick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stick.sys, "argv", ["stick.py", str(tmp_path / "nowhere")])
    assert stick.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is no folder ")
