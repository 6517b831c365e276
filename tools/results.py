"""Measure what results/ records: `make results`, on Tiny Shakespeare, with nothing else running.

python tools/results.py                 everything (well over an hour on two cores)
python tools/results.py scoreboard …    only what is named: scoreboard, counting, decoder, blocks, speedrun,
                                        subwords, regularization, scaling, floor, variants, finetuning
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from finetuning_runs import finetuning  # this and the next two stand beside this file
from kneser_ney import KneserNeyTable
from scaling_runs import floor, scaling

from llm_course.checkpoint import PRETRAINED, load_pretrained, save_checkpoint
from llm_course.data import Split, load_corpus, split
from llm_course.download import SHA256
from llm_course.early_stopping import KeepBest
from llm_course.evaluation import bits_per_byte, evaluate
from llm_course.models.attention_variants import VariantConfig, VariantTransformer
from llm_course.models.block_variants import (
    NoNormBlock,
    NoResidualBlock,
    PostNormBlock,
    with_blocks,
)
from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.modern_variants import IDEAS
from llm_course.models.ngram import NgramTable
from llm_course.models.single_block_transformer import BlockConfig, TransformerBlock
from llm_course.recipes import LADDER, RECIPES, VARIANTS, build
from llm_course.recorded import RESULTS
from llm_course.scoreboard import Scoreboard
from llm_course.tokenizers import BPETokenizer, CharTokenizer
from llm_course.training import DivergedError, TrainConfig, train

ROOT = Path(__file__).resolve().parent.parent
Rows = Iterator[dict[str, Any]]


def scoreboard(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Count every table and train every rung once; the decoder is kept as the one that ships."""
    board = Scoreboard()
    for order in range(1, 9):
        started = time.perf_counter()
        table = NgramTable(data.train, tokenizer.vocab_size, order)
        seconds = time.perf_counter() - started
        loss = evaluate(table, data.val)
        board.add(f"{order}-gram table", loss, parameters=table.n_counts, seconds=seconds)
    for name in LADDER:
        model = build(name, tokenizer.vocab_size)
        seconds = train(model, data, RECIPES[name].training).seconds[-1]
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        loss = evaluate(model, data.val)
        board.add(name, loss, parameters=n_parameters, seconds=seconds)
    print(board)
    ship(model, tokenizer, data, seconds, made)
    yield from board.to_json()


def counting(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Judge a cleverer kind of counting than the course's, which the decoder has not beaten yet."""
    train_text, val_text = tokenizer.decode(data.train), tokenizer.decode(data.val)
    for order in range(4, 9):
        table = KneserNeyTable(train_text, tokenizer.vocab_size, order)
        row = {"table": "Kneser-Ney", "order": order, "loss": table.loss(val_text)}
        print(row, flush=True)
        yield row


def ship(
    model: torch.nn.Module,
    tokenizer: CharTokenizer,
    data: Split,
    seconds: float,
    made: dict[str, str],
) -> None:
    """Write the decoder that ships with the course, and its card; the loss is that of the file."""
    about = {"corpus": "Tiny Shakespeare", "steps": str(RECIPES["decoder"].training.steps)}
    save_checkpoint(PRETRAINED, "decoder", model, tokenizer, about, dtype=torch.float16)
    loss = evaluate(load_pretrained().model, data.val)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    PRETRAINED.with_name("README.md").write_text(
        f"""# The decoder that ships with the course

Written by `{made["command"]}`; not to be edited by hand.

| | |
|---|---|
| file | `{PRETRAINED.name}`, safetensors, float16, {PRETRAINED.stat().st_size:,} bytes |
| SHA-256 | `{hashlib.sha256(PRETRAINED.read_bytes()).hexdigest()}` |
| model | `DecoderTransformer`, {n_parameters:,} parameters, `{model.config}` |
| trained on | the first 90 % of {made["corpus"]} |
| how | `python -m llm_course train decoder`: `{RECIPES["decoder"].training}` |
| time | {seconds:.0f} s ({made["machine"]}), {made["date"]}, commit {made["commit"]} |
| validation loss | {loss:.4f} nats per character on the last 10 %, by `evaluate` |

It writes in the manner of Shakespeare's plays, knows their 65 characters and no others, and nothing of
the world. It is there to be looked into, and to be beaten. MIT licence, as the course; the plays are in
the public domain.
""",
        encoding="utf-8",
    )


def decoder(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Train the decoder with three seeds, and with one thing about its training changed."""
    recipe = RECIPES["decoder"].training
    runs = [("as in the recipe", replace(recipe, seed=seed)) for seed in range(3)]
    runs += [
        ("without warm-up", replace(recipe, warmup_steps=0)),
        ("without decay", replace(recipe, decay=False)),
        ("without both, at 1e-3", replace(recipe, warmup_steps=0, decay=False, learning_rate=1e-3)),
        ("with clipping at 1", replace(recipe, max_grad_norm=1.0)),
        ("with small embeddings", recipe),
    ]
    for name, config in runs:
        model = build("decoder", tokenizer.vocab_size, config.seed)
        if name == "with small embeddings":
            for embedding in (model.token_embedding, model.position_embedding):
                torch.nn.init.normal_(embedding.weight, std=0.02)
        train(model, data, replace(config, eval_every=config.steps))
        row = {"training": name, "seed": config.seed, "loss": evaluate(model, data.val)}
        print(row, flush=True)
        yield row


def blocks(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Train each variant of the block for 500 steps at several depths and learning rates."""
    kinds = {
        "pre-norm": TransformerBlock,
        "post-norm": PostNormBlock,
        "no norm": NoNormBlock,
        "no residual": NoResidualBlock,
    }
    for (name, block), n_layer, learning_rate in product(kinds.items(), (2, 6), (3e-3, 1e-2, 3e-2)):
        torch.manual_seed(0)
        model = with_blocks(BlockConfig(tokenizer.vocab_size, n_layer=n_layer), block)
        config = TrainConfig(
            steps=500, learning_rate=learning_rate, eval_every=500, eval_windows=500
        )
        row = {"block": name, "n_layer": n_layer, "learning rate": learning_rate}
        try:
            train(model, data, config)
            loss = evaluate(model, data.val)
        except DivergedError:
            loss = None
        row |= {"steps": config.steps, "loss": loss}
        print(row, flush=True)
        yield row


def speedrun(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Train as the sprint is trained: the modern ideas put in one by one, then all but one of them."""
    names = list(IDEAS)
    runs = [("up to", name, names[stage + 1 :]) for stage, name in enumerate(names)]
    # "All but bfloat16" is the last stage but one.
    runs += [("all but", name, [name]) for name in names[1:-1]]
    for ideas, name, without in runs:
        for seed in range(3):
            model = build("sprint", tokenizer.vocab_size, seed)
            torch.manual_seed(seed)  # for weights that are drawn anew
            config = RECIPES["sprint"].training
            config = replace(config, seed=seed, eval_every=10, eval_windows=300)
            for taken_out in without:
                config = IDEAS[taken_out](model, config)
            history = train(model, data, config)
            row = {"ideas": ideas, "idea": name, "seed": seed, "loss": evaluate(model, data.val)}
            row |= {"seconds": history.seconds[-1]}
            print(row, flush=True)
            yield row | {"curve seconds": history.seconds, "curve loss": history.val_loss}


def subwords(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Train the decoder for half its steps on several vocabularies, and for all of them on one."""
    train_text, val_text = tokenizer.decode(data.train), tokenizer.decode(data.val)
    learned = BPETokenizer.train(train_text, 2048)
    tokenizers = {"characters": tokenizer}
    for size in (512, 1024, 2048):
        tokenizers[f"{size} subwords"] = BPETokenizer(learned.merges[: size - 256])
    runs = [(name, 1600, seed) for name, seed in product(tokenizers, range(2))]
    runs += [("1024 subwords", RECIPES["decoder"].training.steps, seed) for seed in range(3)]
    for name, steps, seed in runs:
        its = tokenizers[name]
        tokens = Split(its.encode(train_text), its.encode(val_text))
        model = build("decoder", its.vocab_size, seed)
        config = replace(RECIPES["decoder"].training, steps=steps, seed=seed, eval_every=steps)
        seconds = train(model, tokens, config).seconds[-1]
        loss = evaluate(model, tokens.val)
        row = {
            "tokens": name,
            "steps": steps,
            "seed": seed,
            "n_tokens": len(tokens.val),
            "loss": loss,
        }
        row |= {"bits per byte": bits_per_byte(loss, tokens.val, val_text)}
        row |= {"parameters": sum(p.numel() for p in model.parameters()), "seconds": seconds}
        print(row, flush=True)
        yield row


def regularization(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Overfit a small model on a slice, with one remedy at a time; then the decoder with dropout.

    The first half of the validation text chooses when to stop, the second half judges.
    """
    choose, judge = data.val.chunk(2)
    small = DecoderConfig(tokenizer.vocab_size, context_length=32, n_embd=64, n_layer=2)
    training = TrainConfig(steps=1500, learning_rate=3e-3, eval_every=150, eval_windows=300)
    remedies = [("nothing", {})]
    remedies += [("dropout", {"dropout": p}) for p in (0.1, 0.2, 0.3, 0.5)]
    remedies += [("weight decay", {"weight_decay": decay}) for decay in (0.1, 0.3, 1.0)]
    remedies += [("more text", {"n": n}) for n in (40_000, 80_000)]
    for (remedy, options), seed in product(remedies, range(5)):
        dropout, n = options.get("dropout", 0.0), options.get("n", 20_000)
        torch.manual_seed(seed)
        model = DecoderTransformer(replace(small, dropout=dropout))
        config = replace(training, seed=seed, weight_decay=options.get("weight_decay", 0.0))
        best = KeepBest(model)
        history = train(model, Split(data.train[:n], choose), config, best)
        row = {"remedy": remedy, **options, "seed": seed, "loss at the end": evaluate(model, judge)}
        best.restore()
        row |= {"loss at the best": evaluate(model, judge), "best step": best.step}
        print(row, flush=True)
        yield row | {"steps": history.steps, "train": history.train_loss, "val": history.val_loss}
    train_text, val_text = tokenizer.decode(data.train), tokenizer.decode(data.val)
    words = BPETokenizer.train(train_text, 1024)
    in_words = Split(words.encode(train_text), words.encode(val_text))
    runs = [("characters", data, 0.1)]  # 0.0 is in `decoder` and `subwords`
    runs += [("1024 subwords", in_words, p) for p in (0.1, 0.2)]
    for (name, tokens, dropout), seed in product(runs, range(2)):
        vocab_size = tokenizer.vocab_size if name == "characters" else words.vocab_size
        torch.manual_seed(seed)
        model = DecoderTransformer(DecoderConfig(vocab_size, dropout=dropout))
        config = replace(RECIPES["decoder"].training, seed=seed)
        history = train(model, tokens, config)
        loss = evaluate(model, tokens.val)
        row = {"remedy": "decoder", "tokens": name, "dropout": dropout, "seed": seed, "loss": loss}
        row |= {"nats per character": loss * len(tokens.val) / len(val_text)}
        row |= {"train loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        print(row, flush=True)
        yield row


def variants(data: Split, tokenizer: CharTokenizer, made: dict[str, str]) -> Rows:
    """Train the decoder with other attentions; then with a window of 256, full and local.

    All see as many characters a step. `full` with a window of 64 is in `decoder`.
    """
    V = tokenizer.vocab_size
    recipe = RECIPES["decoder"].training
    long = replace(recipe, batch_size=recipe.batch_size // 4)
    runs = [(name, recipe, partial(build, name, V)) for name in VARIANTS]
    wide = {"context_length": 256}
    runs += [
        ("full, 256", long, lambda seed: DecoderTransformer(DecoderConfig(V, **wide))),
        (
            "local 64, 256",
            long,
            lambda seed: VariantTransformer(VariantConfig(V, **wide, window=64)),
        ),
    ]
    for seed, (name, training, make) in product(range(2), runs):
        torch.manual_seed(seed)
        model = make(seed=seed)
        seconds = train(model, data, replace(training, seed=seed)).seconds[-1]
        row = {"attention": name, "context_length": model.config.context_length, "seed": seed}
        row |= {"loss": evaluate(model, data.val), "seconds": seconds}
        row |= {"parameters": sum(p.numel() for p in model.parameters())}
        print(row, flush=True)
        yield row


MEASUREMENTS: dict[str, Callable[[Split, CharTokenizer, dict[str, str]], Rows]] = {
    "scoreboard": scoreboard,
    "counting": counting,
    "decoder": decoder,
    "blocks": blocks,
    "speedrun": speedrun,
    "subwords": subwords,
    "regularization": regularization,
    "scaling": scaling,
    "floor": floor,
    "variants": variants,
    "finetuning": finetuning,
}


def main() -> int:
    """Write results/<name>.json for each measurement asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    names = parser.parse_args().names or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    corpus = load_corpus()
    if corpus.name != "Tiny Shakespeare":
        print(
            "error: results are recorded on Tiny Shakespeare; set LLM_COURSE_DATA", file=sys.stderr
        )
        return 1
    tokenizer = CharTokenizer(corpus.text)
    data = split(tokenizer.encode(corpus.text))
    for name in names:
        made = made_by(f"make results RESULTS={name}", corpus.name)
        rows = list(MEASUREMENTS[name](data, tokenizer, made))
        RESULTS.mkdir(exist_ok=True)
        recorded = json.dumps({"made": made, "rows": rows}, indent=1, allow_nan=False)
        (RESULTS / f"{name}.json").write_text(recorded + "\n", encoding="utf-8")
    return 0


def made_by(command: str, corpus_name: str) -> dict[str, str]:
    """Return what is written down beside every measurement."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "command": command,
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, PyTorch {torch.__version__}",
        "corpus": f"{corpus_name}, SHA-256 {SHA256[:12]}",
    }


if __name__ == "__main__":
    sys.exit(main())
