"""Small trainings, the prediction they allow, and the large one that is held against it."""

import datetime
import json
from collections.abc import Iterator
from itertools import chain, product
from typing import Any

import numpy as np
import torch

from llm_course.data import Split, split
from llm_course.evaluation import evaluate
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.practice_corpus import Playwright, practice_text
from llm_course.recorded import RESULTS
from llm_course.scaling import (
    count_parameters,
    fit_power_law,
    lowest_point,
    training_flops,
)
from llm_course.tokenizers import CharTokenizer
from llm_course.training import TrainConfig, train

Rows = Iterator[dict[str, Any]]
SIZES = [(16, 1), (24, 1), (32, 1), (32, 2), (48, 2), (64, 2), (96, 2), (128, 2), (128, 3)]  # C, L
BUDGETS = {5e10: SIZES[:5], 1e11: SIZES[:5], 2e11: SIZES[1:6], 4e11: SIZES[1:6], 8e11: SIZES[2:7]}
LARGE = 8e12  # ten times the largest of them


def scaling(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Sweep one size at a time; then predict a large run by small ones, on two corpora.

    The practice corpus comes with fresh text for training, so that little is read more than once; its
    validation text is the course's. The prediction is written down before the large run begins.
    """
    yield from sweeps(data, tokenizer.vocab_size)
    corpora = {
        "Tiny Shakespeare": (data, tokenizer.vocab_size),
        "Practice corpus": fresh_practice(),
    }
    for corpus, (tokens, V) in corpora.items():
        rows = []
        for (flops, sizes), seed in product(BUDGETS.items(), range(2)):
            for C, L in sizes:
                row = {"kind": "equal compute", "corpus": corpus, "budget": flops}
                rows.append(row | with_compute(tokens, V, C, L, flops, seed))
                yield rows[-1]
        prediction = predict_large(rows, V) | {"kind": "prediction", "corpus": corpus}
        prediction["written at"] = now()
        written = json.dumps({"made": made, "rows": [prediction]}, indent=1)
        name = corpus.split()[0].lower()
        (RESULTS / f"scaling_prediction_{name}.json").write_text(written + "\n", encoding="utf-8")
        print(prediction, flush=True)
        yield prediction
        row = {"kind": "large", "corpus": corpus, "budget": LARGE, "began at": now()}
        yield row | with_compute(tokens, V, *prediction["size"], LARGE, 0)


def floor(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Go on where the small runs of `scaling` end, on the practice corpus, until the curve bends."""
    tokens, V = fresh_practice()
    budgets = {1.6e12: SIZES[3:6], 3.2e12: SIZES[4:7]}
    for (flops, sizes), seed in product(budgets.items(), range(2)):
        for C, L in sizes:
            row = {"kind": "equal compute", "corpus": "Practice corpus", "budget": flops}
            yield row | with_compute(tokens, V, C, L, flops, seed)


def fresh_practice() -> tuple[Split, int]:
    """Return twelve million new characters to learn from, the course's to be judged on, and V."""
    practice = CharTokenizer(practice_text())
    fresh = "".join(chain.from_iterable(Playwright(seed).text for seed in range(100, 112)))
    data = Split(practice.encode(fresh), split(practice.encode(practice_text())).val)
    return data, practice.vocab_size


def sweeps(data: Split, V: int) -> Rows:
    """Train one model for 1,000 steps, with one of its sizes or the text changed."""
    base = {"n_embd": 64, "n_layer": 2, "n_head": 4, "context_length": 64}
    values = {
        "n_embd": (16, 32, 64, 128),
        "n_layer": (1, 2, 4),
        "n_head": (1, 2, 4, 8),
        "context_length": (8, 16, 32, 64, 128),
        "text": (1 / 64, 1 / 16, 1 / 4, 1.0),
    }
    for (name, choices), seed in product(values.items(), range(2)):
        for value in choices:
            sizes = base if name == "text" else base | {name: value}
            share = value if name == "text" else 1.0
            torch.manual_seed(seed)
            model = DecoderTransformer(DecoderConfig(V, **sizes))
            T, C, L = (sizes[size] for size in ("context_length", "n_embd", "n_layer"))
            windows = 16 * 64 // T  # as many tokens in every step
            config = TrainConfig(
                steps=1000, batch_size=windows, learning_rate=4e-3, warmup_steps=50, decay=True,
                eval_every=1000, eval_windows=10, seed=seed,
            )  # fmt: skip
            train(model, Split(data.train[: int(share * len(data.train))], data.val), config)
            row = {"kind": "sweep", "what": name, "value": value, "seed": seed}
            row |= {"loss": evaluate(model, data.val)}
            row |= {"parameters": count_parameters(V, T, C, L)}
            row |= {"flops": training_flops(V, T, C, L, 1000 * 1024)}
            print(row, flush=True)
            yield row


def with_compute(data: Split, V: int, C: int, L: int, flops: float, seed: int) -> dict[str, Any]:
    """Train a decoder of this size for as long as the operations last, and return what came of it."""
    T, batch_size = 64, 4
    steps = round(flops / training_flops(V, T, C, L, batch_size * T))
    torch.manual_seed(seed)
    model = DecoderTransformer(
        DecoderConfig(V, context_length=T, n_embd=C, n_head=max(1, C // 16), n_layer=L)
    )
    config = TrainConfig(
        steps=steps, batch_size=batch_size, learning_rate=0.25 / C, warmup_steps=steps // 20,
        decay=True, eval_every=steps, eval_windows=10, seed=seed,
    )  # fmt: skip
    seconds = train(model, data, config).seconds[-1]
    row = {"n_embd": C, "n_layer": L, "parameters": count_parameters(V, T, C, L), "seed": seed}
    row |= {"tokens": steps * batch_size * T, "loss": evaluate(model, data.val), "seconds": seconds}
    print(f"{flops:.0e}", row, flush=True)
    return row


def predict_large(rows: list[dict[str, Any]], V: int) -> dict[str, Any]:
    """Return the size and the loss that the small runs promise for the large one, and how surely.

    One of two seeds is taken for each budget, in all 32 ways: the interval spans what they predict.
    """
    bottoms = {}
    for flops, seed in product(BUDGETS, range(2)):
        runs = [row for row in rows if (row["budget"], row["seed"]) == (flops, seed)]
        sizes, losses = zip(*((run["parameters"], run["loss"]) for run in runs), strict=True)
        try:
            bottoms[flops, seed] = lowest_point(sizes, losses)
        except ValueError:
            bottoms[flops, seed] = min(zip(sizes, losses, strict=True), key=lambda pair: pair[1])
    laws = []
    for seeds in product(range(2), repeat=len(BUDGETS)):
        chosen = [bottoms[pair][1] for pair in zip(BUDGETS, seeds, strict=True)]
        laws.append(fit_power_law(list(BUDGETS), chosen))
    means = {flops: [bottoms[flops, seed] for seed in range(2)] for flops in BUDGETS}
    law = fit_power_law(list(BUDGETS), [sum(b[1] for b in pair) / 2 for pair in means.values()])
    growth, start = np.polyfit(
        np.log(list(BUDGETS)), [np.log([b[0] for b in pair]).mean() for pair in means.values()], 1
    )
    best_size = float(np.exp(start + growth * np.log(LARGE)))
    size = min(SIZES, key=lambda s: abs(np.log(count_parameters(V, 64, *s) / best_size)))
    predicted = [one.predict(LARGE) for one in laws]
    return {
        "E": law.E, "A": law.A, "alpha": law.alpha, "loss": law.predict(LARGE), "flops": LARGE,
        "from": min(predicted), "to": max(predicted), "E from": min(one.E for one in laws),
        "E to": max(one.E for one in laws), "best size": best_size, "growth": float(growth),
        "size": size,
    }  # fmt: skip


def now() -> str:
    """Return the time, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
