"""What the commands do; how they are asked for stands in `__main__`."""

import argparse
import json
import os
import re
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.distributed import is_torchelastic_launched

from llm_course.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from llm_course.data import Split, load_corpus, split_text
from llm_course.devices import choose_device, use_autocast
from llm_course.distributed import (
    process_group,
    rank,
    spread,
    unwrapped,
    whole,
)
from llm_course.download import copy_corpus, locate, note, read_tiny_shakespeare
from llm_course.evaluation import bits, evaluate, nats_per_character, perplexity
from llm_course.generation import generate_text, stream_texts
from llm_course.hugging_face import export
from llm_course.recipes import RECIPES, build
from llm_course.sampling import Sampling
from llm_course.scoreboard import beyond_part_one, load_recorded
from llm_course.tensor_file import check_place, previous
from llm_course.tokenizers import BPETokenizer, CharTokenizer
from llm_course.training import train

RUNS = Path("runs")


def get_data(options: argparse.Namespace) -> None:
    """Find or fetch Tiny Shakespeare, or copy it into a folder for a class."""
    if options.to is None:
        file = locate(try_again=True)
        read_tiny_shakespeare(file)
        print(f"Tiny Shakespeare is at {file}")
        return
    file = copy_corpus(options.to)
    print(f"{file} is ready. Hand the folder around, and set on each machine:")
    print(f"  LLM_COURSE_DATA={file.parent.resolve()}")


def train_model(options: argparse.Namespace) -> None:
    """Train one model: in this process, or in several that `torchrun` has started."""
    device = choose_device(options.device)
    if is_torchelastic_launched() != (options.strategy is not None):
        raise ValueError(
            "several processes need both torchrun and --strategy: torchrun --nproc-per-node=2 "
            f"-m llm_course train {options.model} --strategy ddp"
        )
    if options.strategy is None:
        _train_here(options, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    with (
        process_group(device),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere if rank() else sys.stdout),  # the first one speaks for all
    ):
        _train_here(options, device)
    sys.stdout.flush()
    os._exit(0)  # where Python takes them down, FSDP's threads now and then abort (PyTorch 2.13)


def _train_here(options: argparse.Namespace, device: torch.device) -> None:
    corpus = load_corpus(options.text)
    train_text, val_text = split_text(corpus.text)
    if options.subwords is None:
        tokenizer = CharTokenizer(corpus.text)
        pieces = f"{tokenizer.vocab_size} different ones"
    else:
        tokenizer = BPETokenizer.train(train_text, options.subwords)
        pieces = f"{tokenizer.vocab_size:,} subwords"
    data = Split(tokenizer.encode(train_text), tokenizer.encode(val_text))
    name = re.sub(r"\W+", "-", corpus.name.lower()).strip("-")
    if options.subwords is not None:
        name += f"-{options.subwords}-subwords"
    path = options.out or RUNS / f"{options.model}-{name}.safetensors"
    check_place(path)
    if options.history is not None:
        check_place(options.history, "--history")
    unfinished = path.with_name(path.name.removesuffix(".safetensors") + ".training")
    model = build(options.model, tokenizer.vocab_size, options.seed, device)
    config = replace(RECIPES[options.model].training, seed=options.seed)
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    config = replace(config, **dict(options.set))
    print(f"{corpus.name}: {len(corpus.text):,} characters, {pieces}")
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.model}: {n_parameters:,} parameters, {config.steps:,} steps")
    if options.bfloat16:
        use_autocast(model)
    if options.compile:
        model.compile()
    if options.strategy is not None:
        model = spread(model, options.strategy)
    history = train(model, data, config, checkpoint=unfinished, resume=options.resume)
    if history.steps[-1] < config.steps:
        print(f"{unfinished} keeps it; the same command with --resume goes on", file=sys.stderr)
        raise KeyboardInterrupt
    weights = {name: whole(value) for name, value in unwrapped(model).state_dict().items()}
    if rank():
        return
    model = build(options.model, tokenizer.vocab_size, options.seed)
    model.load_state_dict(weights)
    if options.history is not None:
        options.history.write_text(json.dumps(asdict(history)) + "\n", encoding="utf-8")
    loss = evaluate(model, data.val)  # along training, part of the windows may be enough
    loss = nats_per_character(loss, data.val, val_text)
    about = {"corpus": corpus.name, "loss": f"{loss:.4f}", "steps": str(config.steps)}
    if path.exists():
        note(f"{path} was there already, and is kept as {previous(path).name}.")
    save_checkpoint(path, options.model, model, tokenizer, about, keep_previous=True)
    for file in (unfinished, previous(unfinished)):
        file.unlink(missing_ok=True)
    print(f"validation loss {_measured(loss)}, after {history.seconds[-1]:.1f} s of training")
    print(f"saved as {path}\n\nA sample:")
    prompt = _line_end(tokenizer)
    print(generate_text(model, tokenizer, prompt, n_tokens=200, seed=options.seed).lstrip("\n"))


def evaluate_model(options: argparse.Namespace) -> None:
    """Tell a saved model's loss."""
    model, tokenizer, about = _load(options.model)
    corpus = load_corpus(options.text)
    _, val_text = split_text(corpus.text)
    tokens = tokenizer.encode(val_text)
    loss = nats_per_character(evaluate(model, tokens), tokens, val_text)
    print(f"trained on {about['corpus']}, judged on the last 10 % of {corpus.name}:")
    print(f"validation loss {_measured(loss)}")


def write_text(options: argparse.Namespace) -> None:
    """Let a saved model write."""
    model, tokenizer, _ = _load(options.model)
    prompt = _line_end(tokenizer) if options.prompt is None else options.prompt
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    pieces = stream_texts(
        model, tokenizer, [prompt], options.length, seed=options.seed, sampling=sampling
    )
    first = next(pieces)  # what is wrong with the request shows before anything is written
    print(prompt, *first, sep="", end="", flush=True)
    for piece in pieces:
        print(*piece, end="", flush=True)
    print()


def export_model(options: argparse.Namespace) -> None:
    """Write a saved model as a folder for others."""
    model, tokenizer, about = _load(options.model)
    export(model, tokenizer, options.folder)
    print(f"{options.folder} is ready: a {type(model).__name__}, trained on {about['corpus']}.")
    print(f'  GPT2LMHeadModel.from_pretrained("{options.folder}")')


def show_scoreboard(options: argparse.Namespace) -> None:
    """Show the recorded scoreboard."""
    scoreboard, made = load_recorded()
    print(
        f"Recorded on {made['date']} by `{made['command']}` ({made['machine']}), {made['corpus']}"
    )
    scoreboard.rows += beyond_part_one()
    print(scoreboard)


def _line_end(tokenizer: CharTokenizer | BPETokenizer) -> str:
    """Return what a text begins after where nobody says it: a line end, if the model knows it."""
    if isinstance(tokenizer, CharTokenizer) and "\n" not in tokenizer.characters:
        return tokenizer.characters[0]
    return "\n"


def _load(path: Path | None) -> Checkpoint:
    """Load the model at `path`, else the one trained last in this folder, else the course's own."""
    if path is not None:
        return load_checkpoint(path)
    saved = sorted(RUNS.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    if saved:
        return load_checkpoint(saved[-1])
    note(
        "no model was trained in this folder yet, so this is the decoder that ships with the course."
    )
    return load_pretrained()


def _measured(loss: float) -> str:
    return (
        f"{loss:.3f} nats per character ({bits(loss):.2f} bits, perplexity {perplexity(loss):.1f})"
    )
