import os
from pathlib import Path

import pytest
import torch

from llm_course.data import Split, load_corpus, split
from llm_course.download import FILE_NAME, SHA256
from llm_course.practice_corpus import practice_text
from llm_course.tokenizers import CharTokenizer

torch.set_num_threads(1)  # pytest-xdist's two workers have one core each

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def away(monkeypatch, tmp_path):
    """No data, no cache, no network: where a newcomer without any of them stands."""
    monkeypatch.delenv("LLM_COURSE_DATA", raising=False)
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LLM_COURSE_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_shakespeare() -> str:
    """The text of Tiny Shakespeare; tests that need it are skipped, and say so, where it is not at hand."""
    folder = os.environ.get("LLM_COURSE_DATA")
    if not folder or not (Path(folder) / FILE_NAME).exists():
        pytest.skip(f"LLM_COURSE_DATA names no folder with {FILE_NAME} (SHA-256 {SHA256[:12]}…)")
    return load_corpus().text


def _encoded(text: str) -> tuple[Split, CharTokenizer]:
    tokenizer = CharTokenizer(text)
    return split(tokenizer.encode(text)), tokenizer


@pytest.fixture(scope="session")
def shakespeare_data(tiny_shakespeare) -> tuple[Split, CharTokenizer]:
    return _encoded(tiny_shakespeare)


@pytest.fixture(scope="session")
def practice_data() -> tuple[Split, CharTokenizer]:
    return _encoded(practice_text())


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
