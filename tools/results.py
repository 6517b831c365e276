"""Measure what results/ records: `make results`, on Tiny Shakespeare, with nothing else running."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from llm_course.data import load_corpus, split
from llm_course.download import SHA256
from llm_course.evaluation import evaluate
from llm_course.models.ngram import NgramTable
from llm_course.recipes import RECIPES, build
from llm_course.scoreboard import RECORDED, Scoreboard
from llm_course.tokenizers import CharTokenizer
from llm_course.training import train

ROOT = Path(__file__).resolve().parent.parent


def measure() -> Scoreboard:
    """Count every table and train every rung once, and judge each on the validation split."""
    text = load_corpus().text
    tokenizer = CharTokenizer(text)
    data = split(tokenizer.encode(text))
    scoreboard = Scoreboard()
    for order in range(1, 9):
        started = time.perf_counter()
        table = NgramTable(data.train, tokenizer.vocab_size, order)
        seconds = time.perf_counter() - started
        loss = evaluate(table, data.val)
        scoreboard.add(f"{order}-gram table", loss, parameters=table.n_counts, seconds=seconds)
    for name, recipe in RECIPES.items():
        model = build(name, tokenizer.vocab_size)
        seconds = train(model, data, recipe.training).seconds[-1]
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        loss = evaluate(model, data.val)
        scoreboard.add(name, loss, parameters=n_parameters, seconds=seconds)
    return scoreboard


def main() -> int:
    """Write results/scoreboard.json."""
    corpus = load_corpus()
    if corpus.name != "Tiny Shakespeare":
        print(
            "error: results are recorded on Tiny Shakespeare; set LLM_COURSE_DATA", file=sys.stderr
        )
        return 1
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    made = {
        "command": "make results",
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, PyTorch {torch.__version__}",
        "corpus": f"{corpus.name}, SHA-256 {SHA256[:12]}",
    }
    scoreboard = measure()
    RECORDED.parent.mkdir(exist_ok=True)
    recorded = {"made": made, "rows": scoreboard.to_json()}
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    print(scoreboard)
    return 0


if __name__ == "__main__":
    sys.exit(main())
