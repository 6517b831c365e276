"""Notebook 17 with texts that a learner may bring: its cells, run as they stand but for fewer steps."""

import random
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "17_your_own_model.ipynb"


def code():
    """Return the code up to the exercises, as one program."""
    cells = [
        cell.source
        for cell in nbformat.read(NOTEBOOK, as_version=4).cells
        if cell.cell_type == "code"
    ]
    end = next(i for i, source in enumerate(cells) if "llm_course.exercises" in source)
    return "\n".join(cells[:end])


def replaced(program, old, new):
    assert program.count(old) == 1, old
    return program.replace(old, new)


def a_chinese_text(draw):
    """Few words of many signs: hundreds of characters of three bytes."""
    signs = [chr(0x4E00 + i) for i in range(600)]
    words = ["".join(draw.choices(signs, k=draw.randint(1, 3))) for _ in range(400)]
    return "".join(draw.choice(words) + draw.choice(["", "", "，", "。\n"]) for _ in range(12_000))


def a_program(draw):
    return "\n\n".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))
    )


def notes_without_a_line_end(draw):
    """Accents, emoji, and one endless line."""
    words = ["café", "naïve", "🙂", "façade", "👩\u200d🚀", "über", "señor", "—", "«non»", "12:30"]
    return " ".join(draw.choice(words) for _ in range(7_000))


@pytest.mark.slow
@pytest.mark.parametrize("text_of", [a_chinese_text, a_program, notes_without_a_line_end])
def test_any_text_goes_all_the_way(text_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(text_of(random.Random(0)), encoding="utf-8")
    program = replaced(code(), 'MY_TEXT = ""', 'MY_TEXT = "mine.txt"')
    program = replaced(program, "STEPS = 400", "STEPS = 40")
    program = replaced(program, "recipe(steps=56)", "recipe(steps=24)")
    program = replaced(program, "n_tokens=600", "n_tokens=100")
    program = replaced(program, 'KEEP_IN = ""', 'KEEP_IN = "kept"')
    names = {}
    exec(compile(program, "notebook 17", "exec"), names)
    names["temporary"].cleanup()
    said = capsys.readouterr().out
    assert "Loaded again, it gives the same logits." in said
    card = Path("kept", "README.md").read_text(encoding="utf-8")
    assert "mine" in card and "counting, order" in card
    assert {file.name for file in Path("kept").iterdir()} == {
        "README.md", "model.safetensors", "for_transformers",
    }  # fmt: skip
